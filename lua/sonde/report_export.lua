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

-- Calls f(row, column, r, c) for each entry of an array or matrix; rows and columns count as in the figures, r and c
-- from 1, and c is nil in a list.
local function each_entry(name, array, f)
  local axes = (registry.find(name) or { axes = {} }).axes
  local top, left = registry.first(axes[1]), registry.first(axes[2])
  for r, row in ipairs(array) do
    if type(row) ~= "table" then f(top + r - 1, left, r) end
    for c = 1, type(row) == "table" and #row or 0 do f(top + r - 1, left + c - 1, r, c) end
  end
end

local function at(array, r, c)
  if c then return array[r][c] end
  return array[r]
end

--- One line an entry of every reported array or matrix: trial, name, row, column, value. Rows and columns count as in the
--- figures. nil when there is none.
---@param data table see report_data.lua
---@return string|nil
function report_export.arrays_csv(data)
  local lines = { "trial,array,row,column,value" }
  for _, trial in ipairs(data.trials) do
    for _, name in ipairs(sorted_keys(trial.arrays or {})) do
      local array = trial.arrays[name]
      each_entry(name, array, function(row, column, r, c)
        lines[#lines + 1] = line({ trial.id, name, row, column, at(array, r, c) }, 5)
      end)
    end
  end
  return #lines > 1 and table.concat(lines, "\n") .. "\n" or nil
end

-- The lines of one cell; `place` is what says which.
local function cell_means(lines, view, series, column, place)
  for _, matrix in ipairs { false, true } do
    for _, name in ipairs(view:array_names(matrix)) do
      local found = view:array(series, column, name, matrix)
      each_entry(name, found and found.mean or {}, function(row, left, r, c)
        lines[#lines + 1] = place .. line({ name, row, left, found.n, at(found.mean, r, c), at(found.lo, r, c),
          at(found.hi, r, c), found.over }, 8)
      end)
    end
  end
end

--- The same over the trials of each cell: how many, mean, and the ends of its 95 % interval, over seeds or, of a single
--- trial, over windows of text.
---@param views table[] of report_data.sections
---@return string|nil
function report_export.means_csv(views)
  local names, first = { "array", "row", "column", "trials", "mean", "low", "high", "over" }, views[1]
  for _, name in ipairs { first.column_name or false, first.series_name, first.data.panels or false } do
    if name then table.insert(names, 1, name) end
  end
  local lines = { line(names, #names) }
  for _, view in ipairs(views) do
    for _, series in ipairs(view.series) do
      for _, column in ipairs(view.columns) do
        local place = field(series) .. "," .. (column and field(column) .. "," or "")
        if view.panel ~= nil then place = field(view.panel) .. "," .. place end
        cell_means(lines, view, series, column, place)
      end
    end
  end
  return #lines > 1 and table.concat(lines, "\n") .. "\n" or nil
end

return report_export
