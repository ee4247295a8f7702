-- A producer says HELLO: from now on nothing is appended that an older connection of it has sent.
-- Who has the newest generation already goes on under it, and fences nobody.
-- Returns the generation, and how many lines of the producer are in the stream.
local producer, keep_ms, held = KEYS[1], ARGV[1], tonumber(ARGV[2])

local last, received, problem = known_producer(producer)
if problem then
  return problem
end
-- The time makes generations that an older copy of the data does not know differ from those given out after it.
local now = redis.call('TIME')
local generation = last == held and held or math.max((last or 0) + 1, now[1] * 1000000 + now[2])
received = received or 0
redis.call('HSET', producer, 'generation', string.format('%.0f', generation), 'received', string.format('%.0f', received))
redis.call('PEXPIRE', producer, keep_ms)
return { generation, received }
