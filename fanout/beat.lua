-- A node's heartbeat: the last batch it has written, when (Redis time, ms), and its connections.
-- A node that was expelled gets 0 and must not go on under this id. A new node enters with the batch
-- that is committed now: it owes nothing older.
local nodes, state = KEYS[1], KEYS[2]
local node, batch, connections = ARGV[1], ARGV[2], ARGV[3]

if batch == 'new' then
  batch = redis.call('HGET', state, 'batch') or '0'
elseif redis.call('HEXISTS', nodes, node) == 0 then
  return 0
end
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('HSET', nodes, node, batch .. ' ' .. string.format('%.0f', now_ms) .. ' ' .. connections)
return 1
