-- Keeps what a service says about itself. Services that have been silent for `forget_ms` are forgotten.
local services = KEYS[1]
local name, facts, forget_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])

local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
-- HDEL takes no memory and comes first, so that a Redis with its memory full still takes reports.
redis.call('HDEL', services, name)
local reports = redis.call('HGETALL', services)
for i = 1, #reports, 2 do
  local said_ms = report_time_ms(reports[i + 1])
  if not said_ms or now_ms - said_ms > forget_ms then -- what is not a report was written by another program
    redis.call('HDEL', services, reports[i])
  end
end
redis.call('HSET', services, name, report_text(now_ms, facts))
