-- Takes the lease, if it is free or still ours; returns 1 when it is ours.
-- DEL takes no memory and comes first, so that a Redis with its memory full lets the SET after it pass.
local lease, token, lease_ms = KEYS[1], ARGV[1], ARGV[2]

local holder = redis.call('GET', lease)
if holder and holder ~= token then
  if redis.call('PTTL', lease) == -1 then
    return redis.error_reply('ENDLESS ' .. lease .. ' holds ' .. holder .. ' and never expires')
  end
  return 0
end
redis.call('DEL', lease)
redis.call('SET', lease, token, 'PX', lease_ms)
return 1
