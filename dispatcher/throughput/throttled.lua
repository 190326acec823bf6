-- The provider answered 429: pause the account for everyone, and lower its rate.
--
-- ARGV  2: the pause it asked for, µs; empty if it did not say
-- Returns the pause, µs.

local FALL, FLOOR = 0.7, 0.1
-- Without a Retry-After the pause doubles with each 429 that follows another, up to the longest.
local FIRST_PAUSE, LONGEST_PAUSE = SECOND, 60 * SECOND
-- 429s this long after a pause are no longer a consequence of the one before.
local CALM = 60 * SECOND

local hits = tonumber(state.hits) or 0
-- Many calls are under way at once, and all of them are told. Those are one fall, not many.
local fell = tonumber(state.fell)
if now >= paused and not (fell and now - fell < SECOND) then
  hits = now - paused > CALM and 1 or hits + 1
  redis.call('HSET', STATE, 'factor', tostring(math.max(FLOOR, factor * FALL)), 'hits', hits, 'fell', whole(now))
end

local pause = tonumber(ARGV[2]) or math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ^ (math.max(hits, 1) - 1))
redis.call('HSET', STATE, 'paused', whole(math.max(paused, now + pause)))
redis.call('EXPIRE', STATE, KEPT)
return math.max(paused, now + pause) - now
