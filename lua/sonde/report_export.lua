--- report_export.lua - a sweep's numbers as CSV (RFC 4180), to be taken into other programs.

local registry = require("sonde.probe").registry
local sorted_keys = require "sonde.sorted_keys"

local report_export = {}

local function field(value)
  if value == nil then return "" end
  if type(value) == "number" then
    if value ~= value or value == math.huge or value == -math.huge then return "" end
    return string.format("%.17g", value)
  end
  local text = tostring(value)
  if text:find("[,\"\r\n]") then return "\"" .. text:gsub("\"", "\"\"") .. "\"" end
  return text
end

local function line(values, n)
  local parts = {}
  for k = 1, n do parts[k] = field(values[k]) end
  return table.concat(parts, ",")
end

local function result_names(data)
  local seen, names = {}, {}
  for _, trial in ipairs(data.trials) do
    for name in pairs(trial.results or {}) do
      if not seen[name] then
        seen[name] = true
        names[#names + 1] = name
      end
    end
  end
  table.sort(names)
  return names
end

--- One line a trial: id, parameters, status, seconds, every reported number, reason.
---@param data table see report_data.lua
---@return string
function report_export.trials_csv(data)
  local results = result_names(data)
  local head = { "trial" }
  for _, axis in ipairs(data.grid) do head[#head + 1] = axis.name end
  head[#head + 1], head[#head + 2] = "status", "seconds"
  for _, name in ipairs(results) do head[#head + 1] = name end
  head[#head + 1] = "reason"
  local lines = { line(head, #head) }
  for _, trial in ipairs(data.trials) do
    local values, n = { trial.id }, 1
    local function put(value)
      n = n + 1
      values[n] = value
    end
    for _, axis in ipairs(data.grid) do put(trial.params[axis.name]) end
    put(trial.status)
    put(trial.seconds)
    for _, name in ipairs(results) do put((trial.results or {})[name]) end
    put(trial.reason)
    lines[#lines + 1] = line(values, n)
  end
  return table.concat(lines, "\n") .. "\n"
end

--- One line an entry of every reported array or matrix: trial, name, row, column, value. Rows and columns count as in the
--- figures. nil when there is none.
---@param data table see report_data.lua
---@return string|nil
function report_export.arrays_csv(data)
  local lines = { "trial,array,row,column,value" }
  for _, trial in ipairs(data.trials) do
    for _, name in ipairs(sorted_keys(trial.arrays or {})) do
      local axes = (registry.find(name) or { axes = {} }).axes
      local top, left = registry.first(axes[1]), registry.first(axes[2])
      for r, row in ipairs(trial.arrays[name]) do
        if type(row) ~= "table" then row = { row } end
        for c, value in ipairs(row) do lines[#lines + 1] = line({ trial.id, name, top + r - 1, left + c - 1, value }, 5) end
      end
    end
  end
  return #lines > 1 and table.concat(lines, "\n") .. "\n" or nil
end

return report_export
