-- A node's heartbeat: the last batch it has written, its connections, and its generation: the number of its connection
-- to Redis (see announce.lua). A heartbeat that comes late, over an older connection, is refused.
-- A node that was expelled gets -1 and must not continue under this id; so does a node whose heartbeat another program has
-- overwritten, since the current generation is lost. A new node enters with the batch that is committed now, and owes
-- nothing older. All others get {batch committed now, its epoch, Redis time in ms, the deployment's history or '',
-- the number released next after that batch, or 0}.
local nodes, state = KEYS[1], KEYS[2]
local node, batch, connections, generation = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local committed = redis.call('HGET', state, 'batch') or '0'
local epoch = redis.call('HGET', state, 'epoch') or ''
local history = string.match(redis.call('HGET', state, 'history') or '', '^%w*$') or ''
local next = redis.call('HGET', state, 'next') or '0'
if not string.match(committed, '^%d+$') then
  return redis.error_reply('STATE batch of ' .. state .. ' is not a number: ' .. committed)
end
local last = redis.call('HGET', nodes, node)
local current = last and heartbeat_generation(last)
if current and current > tonumber(generation) then
  return redis.error_reply('GENERATION ' .. generation .. ' of ' .. node .. ' is over')
end
if batch == 'new' then
  batch = committed
elseif not current then
  return { -1, epoch, 0, history, 0 }
end
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
-- HDEL takes no memory and comes first, so that a Redis with its memory full still takes heartbeats.
redis.call('HDEL', nodes, node)
redis.call('HSET', nodes, node, heartbeat_text(batch, now_ms, connections, generation))
return { tonumber(committed), epoch, now_ms, history, tonumber(next) or 0 }
