-- Makes one batch true, all of it or none: reading position, order, graph, who is online, publication.
--
-- It first checks that the caller still holds the lease and that this is the very next batch, so neither
-- a paused sequencer that wakes up nor a repeated call can commit anything twice.
-- Redis does not roll a script back that fails midway. So whatever can fail is checked before the first write, or
-- (the many sets of the graph, which would cost too much to look at first) undone before anything else is written.
--
-- What holds after each commit: the consumed entries are trimmed; nobody is both away and online; `since` has everybody who
-- is away. Who has a place and is neither, was at a node that this batch expels, or has come in or gone from it in a batch
-- that was made before this one and comes next: a new term takes such a user for away (`sequencer/away.py`).
-- Returns the nodes' reports (field, value, …), which the flow control needs after every batch anyway.

local state, lease, waiting, events, rejected, nodes, broadcast =
  KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local followers, following, online, user = KEYS[8], KEYS[9], KEYS[10], KEYS[11] -- prefixes
local deliveries, away, since, server, histories = KEYS[12], KEYS[13], KEYS[14], KEYS[15], KEYS[16]

local token, lease_ms, batch, next, cursor, after_cursor, skip_to =
  ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local epoch, raw_bytes, rejected_entries, frame, journal_first = ARGV[8], ARGV[9], ARGV[10], ARGV[11], ARGV[12]
local part_fields = 2 * ARGV[13] -- of one journal entry: users and their lines; unpack takes no more than 8,000
local frame_field = ARGV[14]
-- What only the first batch of a term has, and only that of a history; how many users' places change; and how long
-- they stay away.
local history, server_now, earlier, places, away_ms = ARGV[15], ARGV[16], ARGV[17], ARGV[18], ARGV[19]
local at = 20

-- What can fail, before the first write.

if redis.call('GET', lease) ~= token then
  return redis.error_reply('LEASE is not held by ' .. token)
end
local types = {
  [state] = 'hash', [nodes] = 'hash', [waiting] = 'zset', [events] = 'stream', [rejected] = 'stream',
  [deliveries] = 'stream',
}
if places ~= '0' then
  types[away], types[since] = 'zset', 'hash'
end
for key, wanted in pairs(types) do
  local found = redis.call('TYPE', key).ok
  if found ~= wanted and found ~= 'none' then
    return redis.error_reply('KEYTYPE ' .. key .. ' is a ' .. found .. ', not a ' .. wanted .. ': delete it')
  end
end
local numbers = redis.call('HGETALL', state)
local last = '0'
for i = 1, #numbers, 2 do
  local name, value = numbers[i], numbers[i + 1]
  if name == 'batch' then
    last = value
  end
  if name ~= 'cursor' and name ~= 'epoch' and name ~= 'history' and not string.match(value, '^-?%d+$') then
    return redis.error_reply('STATE ' .. name .. ' of ' .. state .. ' is not a number: ' .. value)
  end
end
if tonumber(last) + 1 ~= tonumber(batch) then
  return redis.error_reply('BATCH ' .. batch .. ' does not follow ' .. last)
end

-- The graph's changes are text, `follower followee follower followee …`; any other section is a count and that many
-- pairs, or names.
local function each_edge(apply)
  for follower, followee in string.gmatch(ARGV[at], '([^ ]+) ([^ ]+)') do
    apply(follower, followee)
  end
  at = at + 1
end
local function each_pair(apply)
  local last_of_section = at + 2 * tonumber(ARGV[at])
  for i = at + 1, last_of_section, 2 do
    apply(ARGV[i], ARGV[i + 1])
  end
  at = last_of_section + 1
end

-- Names or pairs as arguments of a command, some at a time: unpack takes no more than 8,000.
local function each_chunk(width, apply)
  local last_of_section = at + width * tonumber(ARGV[at])
  for first = at + 1, last_of_section, 1000 do
    apply(unpack(ARGV, first, math.min(first + 999, last_of_section)))
  end
  at = last_of_section + 1
end

-- A first write that takes no memory: Redis with its memory full refuses a script only before its first write, and
-- a batch frees what it consumed.
redis.call('PEXPIRE', lease, lease_ms) -- 0 gives the lease back

-- Sets of users: the graph (edges that are there now, edges that are gone now), then who is online.
local inverse = { SADD = 'SREM', SREM = 'SADD' }
local done, n, failure = {}, 0, nil
local function change(command, key, member)
  if failure then
    return
  end
  local changed = redis.pcall(command, key, member)
  if changed == 1 then
    done[n + 1], done[n + 2], done[n + 3] = inverse[command], key, member
    n = n + 3
  elseif changed ~= 0 then
    failure = 'KEYTYPE ' .. key .. ' is not a set: delete it (' .. tostring(changed.err) .. ')'
  end
end
local function undo(reason)
  for i = n - 2, 1, -3 do
    redis.call(done[i], done[i + 1], done[i + 2])
  end
  return redis.error_reply(reason)
end

each_edge(function(follower, followee)
  change('SADD', followers .. followee, follower)
  change('SADD', following .. follower, followee)
end)
each_edge(function(follower, followee)
  change('SREM', followers .. followee, follower)
  change('SREM', following .. follower, followee)
end)
each_pair(function(node, id) change('SREM', online .. node, id) end)
each_pair(function(node, id) change('SADD', online .. node, id) end)
if failure then
  return undo(failure)
end

-- The journal: each user's lines, then the frame that closes the batch. A part holds some users; the last one
-- holds the frame. Redis refuses an id that is not above the last one; after the first part it can't.
local published = at
local part, fields = 1, {}
local function write_part()
  local written = redis.pcall('XADD', deliveries, batch .. '-' .. part, unpack(fields))
  if type(written) == 'table' then
    failure = 'JOURNAL ' .. deliveries .. ' does not take batch ' .. batch .. ': ' .. tostring(written.err)
  end
  part, fields = part + 1, {}
end
local function journal(id, lines)
  if failure then
    return
  end
  fields[#fields + 1] = id
  fields[#fields + 1] = lines
  if #fields == part_fields then
    write_part()
  end
end
each_pair(journal)
each_pair(journal) -- what away users missed, which is not published
if not failure then
  fields[#fields + 1] = frame_field
  fields[#fields + 1] = frame
  write_part()
end
if failure then
  return undo(failure)
end

-- From here on nothing can fail.

redis.call('XTRIM', deliveries, 'MINID', journal_first)
redis.call('HSET', state, 'batch', batch, 'next', next, 'cursor', cursor, 'epoch', epoch, 'skip_to', skip_to)
if server_now ~= '' then
  redis.call('HSET', state, 'history', history)
  redis.call('SET', server, server_now)
end
if earlier ~= '' then
  redis.call('SET', histories, earlier)
end
each_pair(function(name, count) redis.call('HINCRBY', state, name, count) end)

-- The waiting set: what was released leaves, what waits now comes.
redis.call('ZREMRANGEBYSCORE', waiting, '-inf', '(' .. next)
each_pair(function(number, line) redis.call('ZADD', waiting, number, line) end)

each_pair(function(reason, line)
  redis.call('XADD', rejected, 'MAXLEN', '~', rejected_entries, '*', 'reason', reason, 'line', line)
end)

local last_gone = at + tonumber(ARGV[at])
for i = at + 1, last_gone do
  redis.call('DEL', online .. ARGV[i])
  redis.call('HDEL', nodes, ARGV[i])
end
at = last_gone + 1

-- The places that have changed: who is away now, and until when; who is not; whose place is kept, and whose is not.
if places ~= '0' then
  local now = redis.call('TIME')
  local deadline = now[1] * 1000 + math.floor(now[2] / 1000) + away_ms
  each_chunk(1, function(...)
    local scored = {}
    for i, id in ipairs({ ... }) do
      scored[2 * i - 1], scored[2 * i] = deadline, id
    end
    redis.call('ZADD', away, unpack(scored))
  end)
  each_chunk(1, function(...) redis.call('ZREM', away, ...) end)
  each_chunk(2, function(...) redis.call('HSET', since, ...) end)
  each_chunk(1, function(...) redis.call('HDEL', since, ...) end)
end

-- The consumed entries; an empty stream has no backlog, whatever was counted.
redis.call('XTRIM', events, 'MINID', after_cursor)
local backlog = redis.call('HINCRBY', state, 'backlog', 0 - raw_bytes) -- not -raw_bytes: Redis 7.0 refuses "-0"
if backlog ~= 0 and (backlog < 0 or redis.call('XLEN', events) == 0) then
  redis.call('HSET', state, 'backlog', 0)
end

at = published
each_pair(function(id, lines) redis.call('PUBLISH', user .. id, lines) end)
redis.call('PUBLISH', broadcast, frame)

return redis.call('HGETALL', nodes)
