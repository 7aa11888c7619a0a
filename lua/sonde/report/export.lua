--- export.lua - a sweep's numbers as CSV (RFC 4180), to be taken into other programs.

local registry = require "sonde.probe.registry"
local grid = require "sonde.sweep.grid"
local sorted_keys = require "sonde.base.sorted_keys"

local report_export = {}

local function field(value)
  if value == nil then return "" end
  local text = type(value) == "table" and grid.text(value) or tostring(value)
  if type(value) == "number" and not text:find "^%-?%d+$" then
    return value - value == 0 and string.format("%.17g", value) or ""
  end
  if text:find("[,\"\r\n]") then return "\"" .. text:gsub("\"", "\"\"") .. "\"" end
  return text
end

local function line(values, n)
  local parts = {}
  for k = 1, n do parts[k] = field(values[k]) end
  return table.concat(parts, ",")
end

--- A table as CSV (RFC 4180, with line feeds): a heading, then a line for each row. A number that is not finite, and
--- what there is not, is an empty field.
---@param head string[]
---@param rows table[]     lists of values, with holes
---@return string
function report_export.csv(head, rows)
  local lines = { line(head, #head) }
  for k, row in ipairs(rows) do lines[k + 1] = line(row, #head) end
  return table.concat(lines, "\n") .. "\n"
end

local function result_names(data)
  local seen = {}
  for _, trial in ipairs(data.trials) do
    for name in pairs(trial.results or {}) do seen[name] = true end
  end
  return sorted_keys(seen)
end

--- Names for the columns of one table, from lists of names in the order of the table. A name that an earlier list has
--- gets its list's prefix, so that no two columns are called the same.
---@param lists table[]     { { prefix, names }, .. }
---@return string[]
function report_export.columns(lists)
  local seen, head = {}, {}
  for _, list in ipairs(lists) do
    for _, name in ipairs(list[2]) do
      local unique = name
      while seen[unique] do unique = list[1] .. "." .. unique end
      seen[unique], head[#head + 1] = true, unique
    end
  end
  return head
end

--- One line a trial: id, parameters, status, seconds, every reported number, text or boolean, reason.
---@param data table see report/data.lua
---@return string
function report_export.trials_csv(data)
  local results, axes, rows = result_names(data), {}, {}
  for k, axis in ipairs(data.grid) do axes[k] = axis.name end
  local head = report_export.columns { { "trial", { "trial" } }, { "parameter", axes },
    { "trial", { "status", "seconds" } },
    { "result", results }, { "trial", { "reason" } } }
  for r, trial in ipairs(data.trials) do
    local row, n = { trial.id }, 1
    local function put(value)
      n = n + 1
      row[n] = value
    end
    for _, name in ipairs(axes) do put(trial.params[name]) end
    put(trial.status)
    put(trial.seconds)
    for _, name in ipairs(results) do put((trial.results or {})[name]) end
    put(trial.reason)
    rows[r] = row
  end
  return report_export.csv(head, rows)
end

-- The parameters that say which cell it is, outermost first, and their values there.
local function cell_names(view)
  local names = { view.series_name, view.column_name }
  if view.panel ~= nil then table.insert(names, 1, view.data.panels) end
  return names
end

local function cell_place(view, series, column)
  local place = { series }
  if view.column_name then place[2] = column end
  if view.panel ~= nil then table.insert(place, 1, view.panel) end
  return place
end

-- Calls f(view, series, column, place) for every cell of some views; `place` is a new list of its parameters' values.
local function each_cell(views, f)
  for _, view in ipairs(views) do
    for _, series in ipairs(view.series) do
      for _, column in ipairs(view.columns) do f(view, series, column, cell_place(view, series, column)) end
    end
  end
end

local CELL = { "n", "mean", "sd", "lo", "hi", "diverged", "not_finite", "failed", "missing", "unreported" }

--- One line a cell and metric of the tables: how many trials gave a value, their mean, standard deviation and 95 %
--- interval, and how many gave none, and why.
---@param sections table[] of report_data.sections
---@return string
function report_export.cells_csv(sections)
  local names, rows = cell_names(sections[1].views[1]), {}
  for _, section in ipairs(sections) do
    each_cell(section.views, function(view, series, column, row)
      local cell = view:cell(series, column)
      row[#names + 1] = section.metric
      for k, key in ipairs(CELL) do row[#names + 1 + k] = cell[key] end
      rows[#rows + 1] = row
    end)
  end
  return report_export.csv(report_export.columns { { "parameter", names }, { "cell", { "metric" } }, { "cell", CELL } },
    rows)
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

-- A number, or nothing for what is none (null, NaN).
local function number(value)
  return type(value) == "number" and value or nil
end

--- Appends a row for each entry of a list or matrix: `lead`, name, row, column, value and the ends of its interval. A
--- list of other things gives none.
---@param rows table[]
---@param lead any[]
---@param name string
---@param values table
---@param ci? table     { low, high } for each entry
function report_export.list_rows(rows, lead, name, values, ci)
  each_entry(name, values, function(row, column, r, c)
    local value, ends = at(values, r, c), type(ci) == "table" and ci[r] or nil
    if type(value) == "table" then return end
    if c and type(ends) == "table" then ends = ends[c] end
    if type(ends) ~= "table" then ends = {} end
    local made = {}
    for k, v in ipairs(lead) do made[k] = v end
    local n = #lead
    made[n + 1], made[n + 2], made[n + 3], made[n + 4] = name, row, column, number(value)
    made[n + 5], made[n + 6] = number(ends[1]), number(ends[2])
    rows[#rows + 1] = made
  end)
end

--- One line an entry of every reported array or matrix: trial, name, row, column, value. Rows and columns count as in
--- the figures. nil when there is none.
---@param data table see report/data.lua
---@return string|nil
function report_export.arrays_csv(data)
  local rows = {}
  for _, trial in ipairs(data.trials) do
    for _, name in ipairs(sorted_keys(trial.arrays or {})) do
      local array = trial.arrays[name]
      each_entry(name, array, function(row, column, r, c)
        rows[#rows + 1] = { trial.id, name, row, column, at(array, r, c) }
      end)
    end
  end
  return #rows > 0 and report_export.csv({ "trial", "array", "row", "column", "value" }, rows) or nil
end

local MEANS = { "array", "row", "column", "trials", "mean", "low", "high", "over" }

--- The same over the trials of each cell: how many, mean, and the ends of its 95 % interval, over seeds or, of a single
--- trial, over windows of text.
---@param views table[] of report_data.sections
---@return string|nil
function report_export.means_csv(views)
  local names, rows = cell_names(views[1]), {}
  each_cell(views, function(view, series, column)
    for _, matrix in ipairs { false, true } do
      for _, name in ipairs(view:array_names(matrix)) do
        local found = view:array(series, column, name, matrix)
        each_entry(name, found and found.mean or {}, function(row, left, r, c)
          local values = cell_place(view, series, column)
          for k, value in pairs { name, row, left, found.n, at(found.mean, r, c), at(found.lo, r, c),
            at(found.hi, r, c),
            found.over } do values[#names + k] = value end
          rows[#rows + 1] = values
        end)
      end
    end
  end)
  return #rows > 0 and report_export.csv(report_export.columns { { "parameter", names }, { "array", MEANS } }, rows)
    or nil
end

--- The tables of a sweep that there are.
---@param data table see report/data.lua
---@param sections table[] of report_data.sections
---@return table[] { { name, doc, text }, .. }, that of the trials first
function report_export.tables(data, sections)
  local all, there = {
    { name = "trials", doc = "parameters and results of each trial", text = report_export.trials_csv(data) },
    { name = "cells",
      doc = "mean, standard deviation and 95 % interval of each cell", text = report_export.cells_csv(sections) },
    { name = "arrays", doc = "lists and matrices of each trial", text = report_export.arrays_csv(data) },
    { name = "means", doc = "their means with 95 % intervals", text = report_export.means_csv(sections[1].views) },
  }, {}
  for k = 1, 4 do there[#there + 1] = all[k].text and all[k] or nil end
  return there
end

return report_export
