-- Append one chunk of event lines and say how much the sequencer still has before it.
-- The stream knows its length in entries only, so the bytes are counted beside it, in the same step.
local events, state = KEYS[1], KEYS[2]
local raw = ARGV[2] -- after the field's name: contract/entries.py

-- Redis does not roll a script back. The entry comes last: half of this, repeated, would fill the stream with copies.
local backlog = redis.pcall('HINCRBY', state, 'backlog', #raw)
if type(backlog) == 'table' then
  if string.find(backlog.err, 'not an integer', 1, true) then
    local found = redis.call('HGET', state, 'backlog')
    return redis.error_reply('STATE backlog of ' .. state .. ' is not a number: ' .. found)
  end
  return backlog
end
local entry = redis.pcall('XADD', events, '*', ARGV[1], raw)
if type(entry) == 'table' then
  redis.call('HINCRBY', state, 'backlog', 0 - #raw)
  return entry
end
return backlog
