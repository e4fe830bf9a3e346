-- Digests that gateways share: one call of one gateway, with all that it has to say and to ask. docs/decisions/0017-shared-digests.md has the rules; here
-- is nothing but the steps that must not be divided.
--
-- KEYS[1]: the gateways, by when they were seen. KEYS[2]: what this one is asked. KEYS[3...]: one for each step.
-- ARGV: this gateway; for how long a gateway counts as there; for how long a request is kept (both in milliseconds); then the steps.
-- Answers what this gateway is asked, and one answer for each step.
local me, alive, ttl = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- The numbers are longer than Lua writes them by itself.
local function whole(number) return string.format('%.0f', number) end

redis.call('ZADD', KEYS[1], whole(now), me)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now - alive))
-- Seen in the future: the clock was set back.
redis.call('ZREMRANGEBYSCORE', KEYS[1], whole(now + alive), '+inf')
redis.call('PEXPIRE', KEYS[1], whole(alive))

local answer = { redis.call('LRANGE', KEYS[2], 0, -1) }
redis.call('DEL', KEYS[2])

local function write(request, state)
  redis.call('HSET', request, me, state)
  redis.call('PEXPIRE', request, ttl)
end

local at = 4
for step = 3, #KEYS do
  local key, what = KEYS[step], ARGV[at]
  if what == 'claim' then
    -- Open, unless others are at it, or it is lost here: gateway, state, whether it is there.
    local others, all = {}, redis.call('HGETALL', key)
    for field = 1, #all, 2 do
      if all[field] ~= me or all[field + 1] == 'lost' then
        others[#others + 1] = all[field]
        others[#others + 1] = all[field + 1]
        others[#others + 1] = redis.call('ZSCORE', KEYS[1], all[field]) and '1' or '0'
      end
    end
    if #others == 0 then write(key, 'open') end
    answer[#answer + 1] = others
    at = at + 1
  elseif what == 'take' then
    -- Another's field for one's own, if it is as it was seen: gateway, its state, one's own state.
    local taken = redis.call('HGET', key, ARGV[at + 1]) == ARGV[at + 2]
    if taken then
      redis.call('HDEL', key, ARGV[at + 1])
      write(key, ARGV[at + 3])
    end
    answer[#answer + 1] = { taken and '1' or '0' }
    at = at + 4
  elseif what == 'say' then
    write(key, ARGV[at + 1])
    answer[#answer + 1] = {}
    at = at + 2
  elseif what == 'forget' then
    if redis.call('HGET', key, me) ~= 'lost' then redis.call('HDEL', key, me) end
    answer[#answer + 1] = {}
    at = at + 1
  elseif what == 'give up' then
    local said = redis.call('HGET', key, me)
    if said == 'open' then
      redis.call('HDEL', key, me)
    elseif said then
      write(key, 'lost')
    end
    answer[#answer + 1] = {}
    at = at + 1
  elseif what == 'doubt' then
    if redis.call('HGET', key, ARGV[at + 1]) == 'fine' then redis.call('HSET', key, ARGV[at + 1], 'kept') end
    answer[#answer + 1] = {}
    at = at + 2
  elseif what == 'ask' then
    -- Of the gateway whose list this is: a request.
    redis.call('RPUSH', key, ARGV[at + 1])
    redis.call('LTRIM', key, -1000, -1)
    redis.call('PEXPIRE', key, whole(alive))
    answer[#answer + 1] = {}
    at = at + 2
  else
    redis.call('ZREM', KEYS[1], me)
    answer[#answer + 1] = {}
    at = at + 1
  end
end
return answer
