--- tensorboard.lua - the metrics of a run as an event file of TensorBoard: a record for each line of metrics.jsonl.
--
-- Lines and records correspond by number, so whatever was killed, or went back to a checkpoint, can be continued: the
-- file is cut to the lines that there are, and gets the ones that it lacks.

local core = require "sonde.core"
local sorted_keys = require "sonde.base.sorted_keys"

---@class sonde.tensorboard
---@field file string     the event file
local board = {}
board.__index = board

local NAME = "events.out.tfevents.sonde"      -- "tfevents" is what TensorBoard looks for

-- The whole lines of a file from an offset on, and the offset behind them.
local function lines_of(path, offset)
  local lines, file = {}, io.open(path, "rb")
  if not file then return lines, offset end
  file:seek("set", offset)
  for line in string.gmatch(file:read "*a" or "", "([^\n]*)\n") do
    lines[#lines + 1], offset = line, offset + #line + 1
  end
  file:close()
  return lines, offset
end

-- The numbers of a line by their tags: each entry of a list has its own, block/variance/0.
local function scalars_of(values)
  local tags, numbers = {}, {}
  local function put(tag, value)
    if type(value) == "number" then tags[#tags + 1], numbers[#numbers + 1] = tag, value end
  end
  for _, key in ipairs(sorted_keys(values)) do
    local value = values[key]
    if key ~= "step" then put(key, value) end
    for k, entry in ipairs(type(value) == "table" and value or {}) do
      put(string.format("%s/%d", key, k - 1), entry)
    end
  end
  return tags, numbers
end

-- The lines as records. The last one was written now, the others as much earlier as training took since.
local function append(self, lines)
  local values, now = {}, os.time()
  for k, line in ipairs(lines) do values[k] = core.json_decode(line, self.path) end
  local last = values[#values]
  for _, each in ipairs(values) do
    local tags, numbers = scalars_of(each)
    self.events:add(now - ((last.wall or 0) - (each.wall or 0)), each.step, tags, numbers)
  end
end

--- Opens the event file of a run folder, and brings it up to date.
---@param dir string
---@return sonde.tensorboard
function board.open(dir)
  local self = setmetatable({ path = dir .. "/metrics.jsonl", file = dir .. "/" .. NAME }, board)
  local lines, records
  lines, self.offset = lines_of(self.path, 0)
  self.events, records = core.tfevents(self.file, #lines)
  local missing = {}
  for k = records + 1, #lines do missing[#missing + 1] = lines[k] end
  append(self, missing)
  return self
end

--- Adds the lines that metrics.jsonl has got since.
function board:update()
  local lines
  lines, self.offset = lines_of(self.path, self.offset)
  append(self, lines)
end

--- The same, for the last time.
function board:close()
  self:update()
  self.events:close()
end

return board
