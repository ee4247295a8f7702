-- Append one chunk of event lines and say how much the sequencer still has before it.
-- The stream knows its length in entries only, so the bytes are counted beside it, in the same step.
local events, state = KEYS[1], KEYS[2]
local raw = ARGV[1]

redis.call('XADD', events, '*', 'raw', raw)
return redis.call('HINCRBY', state, 'backlog', #raw)
