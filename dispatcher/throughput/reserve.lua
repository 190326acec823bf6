-- Reserve room for one request, atomically, and answer with the instant at which to send it.
--
-- ARGV  2: margin, µs: how late after its instant the caller may still send
--       3, 4: requests and segments a second; empty means no limit
--       5: the share of the requests that look-ups may take
--       6, 7: the requests and segments asked for
--       8: '1' for a look-up
--       9: the longest wait to accept, µs; negative means only ask, reserve nothing
--      10: lead, µs: send no sooner than this from now
--      11: spread: the share of its part of the window that a grant keeps free behind it
-- Returns {1 if granted, wait in µs, now in µs}.
--
-- Each limit has a log: one sorted-set entry a grant, scored by the units granted before it. A request that
-- takes the total from T to T + cost may not share a window with any entry that begins below
-- T + cost - limit; so it waits until one window after the newest of those. That is exact for any mixture of
-- costs, in two look-ups, however many entries there are. An entry holds the *latest* instant at which its
-- request may be sent, so that a caller who wakes late, but within its margin, breaks nothing.

local margin = tonumber(ARGV[2])
local requests_rate, segments_rate = tonumber(ARGV[3]), tonumber(ARGV[4])
local share = tonumber(ARGV[5])
local requests_cost, segments_cost = tonumber(ARGV[6]), tonumber(ARGV[7])
local lookup = ARGV[8] == '1'
local max_wait = tonumber(ARGV[9])
local lead = tonumber(ARGV[10])
local spread = tonumber(ARGV[11])

-- How far ahead callers are taken to book, at the least, when it is not known what was booked.
local USUAL_BOOKING = SECOND

-- A limit below one a second is one unit in a longer window; any other is its whole units in a second.
local function open(key, rate, cost)
  if not rate or cost == 0 then
    return nil
  end
  rate = rate * factor
  local log = { key = key, cost = cost, capacity = math.floor(rate + 1e-9), window = SECOND }
  if log.capacity < 1 then
    log.capacity, log.window = 1, math.ceil(SECOND / rate)
  end
  return log
end

-- Put an absent log in its place, full. Callers may still hold permits that nobody remembers: submissions up
-- to max_wait ahead, and look-ups one window later still, at most their share of it (see below).
local function hold(log)
  local until_then = now + math.max(max_wait, USUAL_BOOKING) + margin
  redis.call('ZADD', log.key, '-inf', whole(until_then) .. ':0')
  if log.key == REQUESTS then
    local lookups = math.min(log.capacity, math.ceil(share * log.capacity - 1e-9))
    redis.call('ZADD', log.key, whole(-lookups), whole(until_then + log.window) .. ':0')
  end
  redis.call('EXPIRE', log.key, KEPT)
end

-- Read the log's newest entry, and return the first instant at which its cost fits.
local function earliest(log)
  local newest, before_newest = unpack(redis.call('ZRANGE', log.key, -1, -1, 'WITHSCORES'))
  if not newest then
    log.total = 0
    return now
  end
  local latest
  latest, log.total = parse(newest)
  -- In order: never before what is booked already. And never while a request over the limit is paid off.
  local at = math.max(latest - margin, tonumber(state['closed:' .. log.key]) or 0)
  -- One after another rather than all at once: on its way a request is late by some milliseconds, and of a burst all
  -- that are late would fall into the next one's window, as the provider counts.
  local from = tonumber(before_newest)
  local cost = from and from >= 0 and log.total - from or 0  -- below zero are the entries that only hold
  if cost > 0 and log.key ~= LOOKUPS then
    at = math.max(at, latest - margin + math.floor(spread * log.window * math.min(cost, log.capacity) / log.capacity))
  end
  local bound = log.total + math.min(log.cost, log.capacity) - log.capacity
  local before = redis.call('ZREVRANGEBYSCORE', log.key, '(' .. whole(bound), '-inf', 'LIMIT', 0, 1)[1]
  if before then
    at = math.max(at, parse(before) + log.window)
  end
  return at
end

local function record(log, at)
  -- Two windows back nothing can matter any more. Eight a call keeps up, since each call adds one.
  local stale = 0
  for _, entry in ipairs(redis.call('ZRANGE', log.key, 0, 7)) do
    if parse(entry) + 2 * log.window < now then
      stale = stale + 1
    end
  end
  if stale > 0 then
    redis.call('ZREMRANGEBYRANK', log.key, 0, stale - 1)
  end
  redis.call('ZADD', log.key, whole(log.total), whole(at + margin) .. ':' .. whole(log.total + log.cost))
  redis.call('EXPIRE', log.key, KEPT)
  if log.cost > log.capacity then
    local paid = at + margin + math.ceil(log.window * log.cost / log.capacity)
    redis.call('HSET', STATE, 'closed:' .. log.key, whole(paid))
  end
end

-- What is in the logs is the truth only if this is the server that wrote them, and its clock has not been set
-- back. After a restart or a failover the last of them may be missing; so forget them all, and hold.
-- pcall: INFO may be forbidden here; then a lost log still holds, because it is absent.
local info = redis.pcall('INFO', 'server')
local run = type(info) == 'string' and info:match('run_id:(%w+)') or ''
local seen = tonumber(state.seen) or 0
local set_back = seen - now > SECOND
if state.run ~= run or set_back then
  redis.call('DEL', REQUESTS, SEGMENTS, LOOKUPS)
end
if set_back then
  for _, field in ipairs({ 'paused', 'fell', 'closed:' .. REQUESTS, 'closed:' .. SEGMENTS }) do
    if state[field] then
      state[field] = whole(math.max(0, tonumber(state[field]) - (seen - now)))
      redis.call('HSET', STATE, field, state[field])
    end
  end
  paused = tonumber(state.paused) or 0
end
if state.run ~= run or set_back or now - seen > SECOND then
  redis.call('HSET', STATE, 'run', run, 'seen', whole(now))
  redis.call('EXPIRE', STATE, KEPT)
end

local requests = open(REQUESTS, requests_rate, requests_cost)
local segments = open(SEGMENTS, segments_rate, segments_cost)
local charged = {}
local at = math.max(now + lead, paused)

local function charge(log)
  if redis.call('EXISTS', log.key) == 0 then
    hold(log)
  end
  at = math.max(at, earliest(log))
  table.insert(charged, log)
end

if requests then
  charge(requests)
end
if segments then
  charge(segments)
end

-- A look-up takes the next free request like a submission: behind all that is booked, so it delays nothing
-- that was granted. Two rules keep the peace. Its own log must have room by then, so look-ups never take more
-- than their share. And it may wait one window longer than it asked: submissions book at most max_wait ahead,
-- so there is always a place for it within that, however long the queue of those that want to be sent.
local own = lookup and requests and open(LOOKUPS, requests_rate * share, requests_cost)
if own then
  local free = earliest(own)
  if free > at then
    return { 0, free - now, now }
  end
  if max_wait >= 0 then
    max_wait = max_wait + requests.window + margin
  end
  table.insert(charged, own)
end

if at - now > max_wait then
  return { 0, at - now, now }
end
for _, log in ipairs(charged) do
  record(log, at)
end
return { 1, at - now, now }
