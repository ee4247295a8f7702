-- Posts who left a node and who came to it (contract/entries.py has the fields, which follow the generation).
-- What a node wrote to a connection that it has given up can still arrive, long after it has posted the same, or more,
-- on a new one: a late "left" would take away a user who has come back. So each connection of a node to Redis has a
-- number, the generation; heartbeats say which one is current, and only the current one may post.
local events, nodes = KEYS[1], KEYS[2]
local generation, node = ARGV[1], ARGV[3]

local heartbeat = redis.call('HGET', nodes, node)
if heartbeat and heartbeat_generation(heartbeat) ~= tonumber(generation) then
  return redis.error_reply('GENERATION ' .. generation .. ' of ' .. node .. ' is over')
end
return redis.pcall('XADD', events, '*', unpack(ARGV, 2))
