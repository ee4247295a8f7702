-- Append one chunk whose lines are counted for their producers, in the same step.
--
-- The chunk is cut into groups, each of one owner. A group is appended when the count of its producer is where the
-- group begins. It is passed over when a newer HELLO of the producer was said, when it is in the stream already (its
-- append is repeated, because the answer was lost), and when Redis knows of fewer lines than it had confirmed.
-- Everything that can fail is done before the first count is written.
-- Returns the bytes that the sequencer has before it, and for each group 0: in the stream, 1: fenced, 2: went back.
local events, state = KEYS[1], KEYS[2]
local field, raw, keep_ms = ARGV[1], ARGV[2], ARGV[3]
local DONE, FENCED, WENT_BACK = 0, 1, 2

local generations, counts = {}, {}
for place = 1, #KEYS - 2 do
  local generation, received, problem = known_producer(KEYS[2 + place])
  if problem then
    return problem
  end
  generations[place], counts[place] = generation or 0, received or 0
end

local verdicts, kept, counted, at = {}, {}, {}, 1
for i = 4, #ARGV, 5 do
  local place, generation, before, lines, size =
    tonumber(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
  local verdict = DONE
  if place == 0 then -- no producer
    kept[#kept + 1] = string.sub(raw, at, at + size - 1)
  elseif generations[place] ~= generation then
    verdict = generations[place] > generation and FENCED or WENT_BACK
  elseif counts[place] == before then
    kept[#kept + 1] = string.sub(raw, at, at + size - 1)
    counts[place] = before + lines
    counted[place] = true
  elseif counts[place] < before + lines then
    verdict = WENT_BACK
  end
  verdicts[#verdicts + 1] = verdict
  at = at + size
end

local backlog = append_lines(events, state, field, table.concat(kept))
if type(backlog) == 'table' then
  return backlog
end

-- From here on nothing can fail.
for place in pairs(counted) do
  redis.call('HSET', KEYS[2 + place], 'received', string.format('%.0f', counts[place]))
  redis.call('PEXPIRE', KEYS[2 + place], keep_ms)
end
table.insert(verdicts, 1, backlog)
return verdicts
