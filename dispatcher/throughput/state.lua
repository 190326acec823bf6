-- What an account has used and how it stands; reads only.
--
-- Returns {requests and segments reserved for the last second, what is left of the pause in µs, factor}.

local function used(key)
  local sum = 0
  local entries = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  for i = 1, #entries, 2 do
    local latest, total = parse(entries[i])
    local before = tonumber(entries[i + 1])
    -- Below zero are the entries that only hold (see reserve.lua).
    if before and before >= 0 and latest > now - SECOND and latest <= now then
      sum = sum + total - before
    end
  end
  return sum
end

return { used(REQUESTS), used(SEGMENTS), math.max(0, paused - now), tostring(factor) }
