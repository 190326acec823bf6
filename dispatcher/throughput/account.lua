-- What every script of this package begins with: the clock, and what is known of the account.
--
-- KEYS  state, requests, segments, lookups: all of one account, sharing its hash tag
-- ARGV  1: the time in microseconds, for tests only; empty means Redis's own clock
--
-- Times are whole microseconds: a double holds those exactly, seconds it would round.

local STATE, REQUESTS, SEGMENTS, LOOKUPS = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local SECOND = 1000000
-- Long, because an account whose state has gone is held (see reserve.lua) as if Redis had lost it.
local KEPT = 7 * 24 * 3600
local CLIMB, CLIMB_EVERY = 0.05, 10 * SECOND

local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * SECOND + tonumber(time[2])
end

local state = {}
local fields = redis.call('HGETALL', STATE)
for i = 1, #fields, 2 do
  state[fields[i]] = fields[i + 1]
end

-- tostring() keeps 14 digits, which is two too few for microseconds.
local function whole(number)
  return string.format('%.0f', number)
end

-- An entry of a log is '<latest instant at which it may be sent>:<units granted up to and including it>'.
local function parse(entry)
  local latest, total = entry:match('^(%d+):(%d+)$')
  return tonumber(latest), tonumber(total)
end

local paused = tonumber(state.paused) or 0

-- The share of the limits in use: lowered by each 429, and climbing in steps once the pause is over.
-- It is computed when read, so that nothing has to run for it to climb.
local factor = tonumber(state.factor) or 1
if now > paused then
  factor = math.min(1, factor + CLIMB * math.floor((now - paused) / CLIMB_EVERY))
end
