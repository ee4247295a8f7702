-- Posts who came to a node and who left it.
-- What a node wrote to a connection that it has given up can still arrive, long after it has told the same, or
-- more, on a new one: a late "left" would take away a user who has come back. So each connection of a node is a
-- session with a number, its heartbeats say which one is current, and only the current one may post.
local events, nodes = KEYS[1], KEYS[2]
local node, session = ARGV[1], ARGV[2]

local report = redis.call('HGET', nodes, node)
if report and string.match(report, '%d+$') ~= session then
  return redis.error_reply('SESSION ' .. session .. ' of ' .. node .. ' is over')
end
return redis.pcall('XADD', events, '*', 'node', node, unpack(ARGV, 3))
