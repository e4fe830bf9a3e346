-- What all replicas used of their keys, as one time for each rate (GCRA): when everything that was let through has been paid for.
--
-- KEYS[1]: the replicas, by when they were seen. KEYS[2...]: one for each key that was used.
-- ARGV: the replica's id; how long a replica counts; then, for each key and each of its three rates: how far the replica knows it to be used
-- already, what it used since its last report, and how far a rate can be used at most. All times are in microseconds and count from now: the
-- server's clock is the only one.
-- Answers how many replicas there are, and for each key and rate how far it is used.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
-- The numbers are longer than Lua writes them by itself.
local function whole(number) return string.format('%.0f', number) end

local ttl = tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], whole(now), ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now - ttl))
-- Seen in the future: the clock was set back.
redis.call('ZREMRANGEBYSCORE', KEYS[1], whole(now + ttl), '+inf')
redis.call('PEXPIRE', KEYS[1], whole(math.ceil(ttl / 1000)))
local answer = { redis.call('ZCARD', KEYS[1]) }

local at = 3
for key = 2, #KEYS do
  local kept = redis.call('GET', KEYS[key]) or ''
  local times, last = {}, 0
  local known = string.gmatch(kept, '%d+')
  for rate = 1, 3 do
    local floor, used, most = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
    at = at + 3
    local debt = math.max((tonumber(known() or '0')) - now, floor, 0) + used
    -- More than a rate can be used is a clock that was set back, or a flood; neither shuts a key for long.
    debt = math.min(debt, most)
    times[rate] = whole(now + debt)
    last = math.max(last, debt)
    answer[#answer + 1] = math.floor(debt)
  end
  if last > 0 then
    redis.call('SET', KEYS[key], table.concat(times, ' '), 'PX', whole(math.ceil(last / 1000) + 1))
  end
end
return answer
