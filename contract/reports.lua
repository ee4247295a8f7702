-- Heartbeats and reports as scripts read and write them; contract/reports.py draws their fields.
local function heartbeat_text(batch, time_ms, connections, generation)
  local has_channel = 1 -- a node of an older version does not write this field
  return table.concat({ batch, string.format('%.0f', time_ms), connections, generation, has_channel }, ' ')
end

-- The generation, or nil when `text` is not a heartbeat that has one.
local function heartbeat_generation(text)
  return tonumber(string.match(text .. ' ', '^%d+ %d+ %d+ (%d+) '))
end

local function report_text(time_ms, facts)
  return string.format('%.0f', time_ms) .. ' ' .. facts
end

-- When a report was written, or nil when `text` is not one.
local function report_time_ms(text)
  return tonumber(string.match(text, '^(%d+) {'))
end
