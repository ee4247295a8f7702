-- Takes the lease if it is free, still ours, or held by a process that has ended; returns 1 when it is ours.
-- Otherwise {holder, connections that have subscribed to its channel}. A process that has ended has none; `ended` is the
-- holder for which the caller has seen that before, so that two looks agree.
-- DEL takes no memory and comes first, so that a Redis with its memory full lets the SET after it pass.
local lease, token, lease_ms, channels, ended = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local holder = redis.call('GET', lease)
if holder and holder ~= token then
  local subscribed = redis.call('PUBSUB', 'NUMSUB', channels .. holder)[2]
  if subscribed > 0 or holder ~= ended then
    if redis.call('PTTL', lease) == -1 then
      return redis.error_reply('ENDLESS ' .. lease .. ' holds ' .. holder .. ' and never expires')
    end
    return { holder, subscribed }
  end
end
redis.call('DEL', lease)
redis.call('SET', lease, token, 'PX', lease_ms)
return 1
