-- Keeps the lease for another `lease_ms`, if it is still ours: a commit can be a while away.
local lease, token, lease_ms = KEYS[1], ARGV[1], ARGV[2]

if redis.call('GET', lease) ~= token then
  return redis.error_reply('LEASE is not held by ' .. token)
end
return redis.call('PEXPIRE', lease, lease_ms)
