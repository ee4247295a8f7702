-- What Redis knows of a producer, for the scripts that need it: its generation and the lines of it that are in the
-- stream; nil for one that it does not know. The last value is an error.
local function known_producer(key)
  local found = redis.call('TYPE', key).ok
  if found == 'none' then
    return nil, nil, nil
  end
  if found ~= 'hash' then
    return nil, nil, redis.error_reply('KEYTYPE ' .. key .. ' is a ' .. found .. ', not a hash: delete it')
  end
  local fields = { 'generation', 'received' }
  local values = redis.call('HMGET', key, fields[1], fields[2])
  for i, name in ipairs(fields) do
    if not string.match(values[i] or '', '^%d+$') then
      local junk = values[i] or 'nothing'
      return nil, nil, redis.error_reply('STATE ' .. name .. ' of ' .. key .. ' is not a number: ' .. junk)
    end
  end
  return tonumber(values[1]), tonumber(values[2]), nil
end
