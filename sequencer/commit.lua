-- Makes one batch true, all of it or none: reading position, order, graph, who is online, publication.
--
-- It first checks that the caller still holds the lease and that this is the very next batch, so neither
-- a paused sequencer that wakes up nor a repeated call can commit anything twice.
-- Returns the nodes' reports (field, value, …), which the flow control needs after every batch anyway.

local state, lease, waiting, events, rejected, nodes, broadcast =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local followers, following, online, user = KEYS[8], KEYS[9], KEYS[10], KEYS[11] -- prefixes
local deliveries = KEYS[12]

local token, lease_ms, batch, next, cursor, after_cursor, raw_bytes, rejected_entries, frame, journal_first =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local at = 11
local part_fields = 2000 -- of one journal entry: users and their lines; far below what unpack can take

if redis.call('GET', lease) ~= token then
  return redis.error_reply('LEASE is not held by ' .. token)
end
local last = tonumber(redis.call('HGET', state, 'batch') or '0')
if last + 1 ~= tonumber(batch) then
  return redis.error_reply('BATCH ' .. batch .. ' does not follow ' .. last)
end

-- Each section is a count and that many pairs.
local function each_pair(apply)
  local last_of_section = at + 2 * tonumber(ARGV[at])
  for i = at + 1, last_of_section, 2 do
    apply(ARGV[i], ARGV[i + 1])
  end
  at = last_of_section + 1
end

redis.call('PEXPIRE', lease, lease_ms) -- 0 gives the lease back
redis.call('HSET', state, 'batch', batch, 'next', next, 'cursor', cursor)

-- The counters.
each_pair(function(name, count) redis.call('HINCRBY', state, name, count) end)

-- The graph: edges that are there now, edges that are gone now.
each_pair(function(follower, followee)
  redis.call('SADD', followers .. followee, follower)
  redis.call('SADD', following .. follower, followee)
end)
each_pair(function(follower, followee)
  redis.call('SREM', followers .. followee, follower)
  redis.call('SREM', following .. follower, followee)
end)

-- The waiting set: what was released leaves, what waits now comes.
redis.call('ZREMRANGEBYSCORE', waiting, '-inf', '(' .. next)
each_pair(function(number, line) redis.call('ZADD', waiting, number, line) end)

each_pair(function(reason, line)
  redis.call('XADD', rejected, 'MAXLEN', '~', rejected_entries, '*', 'reason', reason, 'line', line)
end)

-- Who is online.
each_pair(function(node, id) redis.call('SREM', online .. node, id) end)
each_pair(function(node, id) redis.call('SADD', online .. node, id) end)
local last_gone = at + tonumber(ARGV[at])
for i = at + 1, last_gone do
  redis.call('DEL', online .. ARGV[i])
  redis.call('HDEL', nodes, ARGV[i])
end
at = last_gone + 1

-- The consumed entries; an empty stream has no backlog, whatever was counted.
redis.call('XTRIM', events, 'MINID', after_cursor)
local backlog = redis.call('HINCRBY', state, 'backlog', 0 - raw_bytes) -- not -raw_bytes: Redis 7.0 refuses "-0"
if backlog ~= 0 and (backlog < 0 or redis.call('XLEN', events) == 0) then
  redis.call('HSET', state, 'backlog', 0)
end

-- Publication, and the same in the journal: each user's lines, then the frame that closes the batch. A part of
-- the journal holds some users; the last one holds the frame.
redis.call('XTRIM', deliveries, 'MINID', journal_first)
local part, fields = 1, {}
each_pair(function(id, lines)
  redis.call('PUBLISH', user .. id, lines)
  fields[#fields + 1] = id
  fields[#fields + 1] = lines
  if #fields == part_fields then
    redis.call('XADD', deliveries, batch .. '-' .. part, unpack(fields))
    part, fields = part + 1, {}
  end
end)
fields[#fields + 1] = 'frame'
fields[#fields + 1] = frame
redis.call('XADD', deliveries, batch .. '-' .. part, unpack(fields))
redis.call('PUBLISH', broadcast, frame)

return redis.call('HGETALL', nodes)
