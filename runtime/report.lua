-- Keeps what a service says about itself: `<Redis time, ms> <JSON>`. Those silent for `forget_ms` are forgotten.
local services = KEYS[1]
local name, facts, forget_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])

local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
-- HDEL takes no memory and comes first, so that a Redis with its memory full still takes reports.
redis.call('HDEL', services, name)
local reports = redis.call('HGETALL', services)
for i = 1, #reports, 2 do
  local said_ms = tonumber(string.match(reports[i + 1], '^(%d+) {'))
  if not said_ms or now_ms - said_ms > forget_ms then -- what is no report is somebody else's
    redis.call('HDEL', services, reports[i])
  end
end
redis.call('HSET', services, name, string.format('%.0f', now_ms) .. ' ' .. facts)
