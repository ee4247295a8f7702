-- The append itself, for the scripts that append. Returns the bytes that the sequencer has before it, or an error.
-- The stream knows its length in entries only, so the bytes are counted beside it, in the same step.
local function append_lines(events, state, field, raw)
  -- Redis does not roll a script back. The entry comes last: half of this, repeated, would fill the stream with copies.
  local backlog = redis.pcall('HINCRBY', state, 'backlog', #raw)
  if type(backlog) == 'table' then
    if string.find(backlog.err, 'not an integer', 1, true) then
      local found = redis.call('HGET', state, 'backlog')
      return redis.error_reply('STATE backlog of ' .. state .. ' is not a number: ' .. found)
    end
    return backlog
  end
  local entry = #raw > 0 and redis.pcall('XADD', events, '*', field, raw)
  if type(entry) == 'table' then
    redis.call('HINCRBY', state, 'backlog', 0 - #raw)
    return entry
  end
  return backlog
end
