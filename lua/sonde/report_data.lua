--- report_data.lua - orders the trials of a sweep into cells (series x column) with statistics over their seeds.
--
-- A view answers what every part of a report asks: which lines and columns there are, which trials stand in a
-- cell, what their metric's mean and spread are. It draws and prints nothing.
--
--   data = {
--     name, title, question, command, notes = {..}, metric, higher, by = {"placement", "depth"}, over = "seed",
--     where = {..}, reference = "pre_ln",                     -- reference: a value of by[1] to compare with, or nil
--     panels = "placement",                                   -- a parameter whose values stand side by side; then
--                                                             -- reference is one of them; metric may be a list
--     intervals = true,                                       -- bars are 95 % intervals, not sd
--     beside = data,                                          -- of another sweep, shown below
--     grid = { { name = "depth", values = {4, 8} }, .. },     -- in the order in which they are shown
--     trials = { { id, params, status, reason, results = {perplexity = ..}, arrays = {variance = {..}},
--                  intervals = {layer_removal = {{lo, hi}, ..}},   -- of arrays that a probe measured, over windows
--                  history = { {step = .., tokens = .., loss = ..}, .. }, seconds, link }, .. },
--     provenance = { {"version", ".."}, .. }, configs = { {title, text}, .. },
--   }

local stats = require "sonde.stats"

local report_data = {}
local view = {}
view.__index = view

local function finite(v)
  return type(v) == "number" and v == v and v ~= math.huge and v ~= -math.huge
end

local function grid_values(data, name)
  for _, axis in ipairs(data.grid) do
    if axis.name == name then return axis.values end
  end
  local names = {}
  for _, axis in ipairs(data.grid) do names[#names + 1] = axis.name end
  error(("summary: the sweep '%s' has no parameter '%s'; it has %s"):format(data.name, name,
    table.concat(names, ", ")), 0)
end

-- A parameter that is neither shown, averaged over nor fixed would be averaged over in silence.
local function check_parameters(data)
  local known = { [data.over or "seed"] = true }
  for _, name in ipairs(data.by) do known[name] = true end
  for name in pairs(data.where or {}) do known[name] = true end
  for _, axis in ipairs(data.grid) do
    if not known[axis.name] and #axis.values > 1 then
      error(("summary: '%s' varies in the sweep '%s' and is neither in by nor fixed; add it to by, or choose one "
        .. "value with where = { %s = .. }"):format(axis.name, data.name, axis.name), 0)
    end
  end
end

local function check_reference(data, series)
  if data.reference == nil then return end
  for _, value in ipairs(series) do
    if value == data.reference then return end
  end
  error(("summary: the reference '%s' is no value of %s"):format(tostring(data.reference), data.by[1]), 0)
end

local function matches(params, wanted)
  for name, value in pairs(wanted) do
    if params[name] ~= value then return false end
  end
  return true
end

--- Builds the view of a sweep's data.
---@param data table see the head of this file
---@return table view with fields series, columns (lists of values), series_name, column_name, metric
function report_data.view(data)
  if #data.by < 1 or #data.by > 2 then
    error("summary: by takes one or two parameter names (lines, and columns)", 0)
  end
  check_parameters(data)
  local self = setmetatable({ data = data, metric = data.metric, cells = {} }, view)
  self.series_name, self.column_name = data.by[1], data.by[2]
  self.series = grid_values(data, self.series_name)
  check_reference(data, self.series)
  self.columns = self.column_name and grid_values(data, self.column_name) or { false }
  return self
end

local function copy_with(t, changes)
  local copy = {}
  for key, value in pairs(t) do copy[key] = value end
  for key, value in pairs(changes) do copy[key] = value end
  return copy
end

-- One view for each value of the panels' parameter; all but the reference's know that one as `other`.
local function panel_views(data, metric)
  local views, reference = {}, nil
  for k, value in ipairs(grid_values(data, data.panels)) do
    local own = copy_with(data, { metric = metric, where = copy_with(data.where or {}, { [data.panels] = value }) })
    own.reference = nil
    views[k] = report_data.view(own)
    views[k].panel = value
    if value == data.reference then reference = views[k] end
  end
  if data.reference ~= nil and not reference then
    error(("summary: the reference '%s' is no value of %s"):format(tostring(data.reference), data.panels), 0)
  end
  for _, each in ipairs(views) do
    if each ~= reference then each.other = reference end
  end
  return views
end

--- The views of a page: for each metric { metric, views }, with one view, or one for each value of `panels`.
---@param data table see the head of this file
---@return table[]
function report_data.sections(data)
  local sections = {}
  local better = {}
  for _, metric in ipairs(type(data.higher) == "table" and data.higher or {}) do better[metric] = true end
  for k, metric in ipairs(type(data.metric) == "table" and data.metric or { data.metric }) do
    local own = copy_with(data, { metric = metric, higher = better[metric] or data.higher == true })
    local views = data.panels and panel_views(own, metric) or { report_data.view(own) }
    sections[k] = { metric = metric, views = views }
  end
  return sections
end

--- Whether the columns are numbers, so that the metric can be drawn against them.
function view:numeric_columns()
  for _, c in ipairs(self.columns) do
    if type(c) ~= "number" then return false end
  end
  return true
end

--- The trials of a cell, in the order of the sweep.
function view:trials(series, column)
  local wanted = { [self.series_name] = series }
  if self.column_name then wanted[self.column_name] = column end
  local found = {}
  for _, trial in ipairs(self.data.trials) do
    if matches(trial.params, wanted) and matches(trial.params, self.data.where or {}) then found[#found + 1] = trial end
  end
  return found
end

--- Statistics of a metric in a cell: stats.describe over the finite values of done trials, with `values`, and
--- `diverged`, `failed`, `missing` counting the others.
function view:cell(series, column, metric)
  metric = metric or self.metric
  local values, diverged, failed, missing = {}, 0, 0, 0
  for _, trial in ipairs(self:trials(series, column)) do
    if trial.status == "failed" then
      failed = failed + 1
    elseif trial.status ~= "done" and trial.status ~= "diverged" then
      missing = missing + 1
    elseif trial.status == "diverged" or not finite(trial.results[metric]) then
      diverged = diverged + 1
    else
      values[#values + 1] = trial.results[metric]
    end
  end
  local cell = stats.describe(values)
  cell.values, cell.diverged, cell.failed, cell.missing = values, diverged, failed, missing
  return cell
end

-- The metric of each seed of a cell, for seeds that have one.
local function by_seed(self, series, column)
  local values = {}
  for _, trial in ipairs(self:trials(series, column)) do
    local value = trial.status == "done" and trial.results[self.metric]
    if finite(value) then values[trial.params[self.data.over or "seed"]] = value end
  end
  return values
end

-- Ratios in percent less 100, by their logarithms: those of x over y and y over x then tell the same.
local function ratios(own, reference, seeds)
  local logs = {}
  for k, seed in ipairs(seeds) do logs[k] = math.log(own[seed] / reference[seed]) end
  local d = stats.describe(logs)
  for _, key in ipairs { "mean", "lo", "hi" } do d[key] = d[key] and 100 * (math.exp(d[key]) - 1) end
  return d
end

--- The metric of a cell less that of the reference (the reference series in the same column, or the same cell of the
--- reference panel), seed by seed: trials of one seed share data and draws, so their difference varies less than they
--- do. With `percent`, in percent of the reference.
---@return table stats.describe of the differences
function view:difference(series, column)
  local own, differences = by_seed(self, series, column), {}
  local reference = self.other and by_seed(self.other, series, column) or by_seed(self, self.data.reference, column)
  local seeds = {}
  for seed in pairs(own) do
    if reference[seed] then seeds[#seeds + 1] = seed end
  end
  table.sort(seeds)
  if self.data.percent then return ratios(own, reference, seeds) end
  for k, seed in ipairs(seeds) do differences[k] = own[seed] - reference[seed] end
  return stats.describe(differences)
end

--- Whether a series has differences to show; without one, whether any has.
---@param series? any
---@return boolean
function view:compares(series)
  if self.other then return true end
  return self.data.reference ~= nil and (series == nil or series ~= self.data.reference)
end

--- What a difference is, in words.
---@return string
function view:difference_name()
  local reference = self.other and self.other.panel or self.data.reference
  return ("difference from %s%s"):format(tostring(reference), self.data.percent and " in percent" or "")
end

--- What may be said of a column: `best` (a series value or nil), `tied` (set of those whose interval overlaps
--- its own), `complete` (every trial that the sweep has there gave a value), `count` (cells with a value).
function view:ranking(column)
  local described, by_key, complete, count = {}, {}, true, 0
  for k, series in ipairs(self.series) do
    local cell = self:cell(series, column)
    if cell.diverged + cell.failed + cell.missing > 0 then complete = false end
    if cell.n > 0 then count = count + 1 end
    if cell.n > 0 and cell.diverged == 0 then
      local key = string.format("%06d", k)
      described[key], by_key[key] = cell, series
    end
  end
  local best, tied = stats.leaders(described, self.data.higher)
  local names = {}
  for key in pairs(tied) do names[by_key[key]] = true end
  return { best = best and by_key[best], tied = names, complete = complete, count = count }
end

-- ---- curves: means over the seeds of a cell -----------------------------------------------------------

-- The arrays of that name that a cell's done trials reported, as rows (a list is one row); and if there is one alone,
-- its intervals.
local function arrays_of(trials, name, matrix)
  local arrays, intervals = {}, nil
  for _, trial in ipairs(trials) do
    local array = trial.arrays and trial.arrays[name]
    if trial.status == "done" and type(array) == "table" and (type(array[1]) == "table") == matrix then
      local ci = trial.intervals and trial.intervals[name]
      arrays[#arrays + 1], intervals = matrix and array or { array }, ci and (matrix and ci or { ci })
    end
  end
  return arrays, #arrays == 1 and intervals or nil
end

-- stats.describe of the finite values that arrays have at a place. Student's interval of two values is six times as wide as
-- they lie apart, and a band of it hides all lines: of two the ends are given.
local function described(arrays, r, c)
  local values = {}
  for _, rows in ipairs(arrays) do
    local value = rows[r] and rows[r][c]
    if finite(value) then values[#values + 1] = value end
  end
  local d = stats.describe(values)
  if #values == 2 then d.lo, d.hi = math.min(values[1], values[2]), math.max(values[1], values[2]) end
  return d
end

--- What a cell's done trials reported as an array, entry by entry: mean, lo and hi (lists, or lists of lists, NaN where
--- there is none), `over` and `n`. An entry that some trial lacks is averaged over those that have it. The interval is
--- Student's over n seeds (over = "seed", say), of two seeds from one to the other ("pair"), or with one trial its probe's
--- own ("window"); else over is nil.
---@param matrix boolean     whether lists of lists are meant
---@return table|nil
function view:array(series, column, name, matrix)
  local arrays, intervals = arrays_of(self:trials(series, column), name, matrix)
  if #arrays == 0 then return nil end
  local over = #arrays == 2 and "pair" or #arrays > 1 and (self.data.over or "seed") or intervals and "window" or nil
  local found, rows = { mean = {}, lo = {}, hi = {}, over = over, n = #arrays }, 0
  for _, array in ipairs(arrays) do rows = math.max(rows, #array) end
  for r = 1, rows do
    local length, mean, lo, hi = 0, {}, {}, {}
    for _, array in ipairs(arrays) do length = math.max(length, array[r] and #array[r] or 0) end
    for c = 1, length do
      local d = described(arrays, r, c)
      local ci = intervals and intervals[r] and intervals[r][c] or { d.lo, d.hi }
      mean[c], lo[c], hi[c] = d.mean or 0 / 0, ci[1] or 0 / 0, ci[2] or 0 / 0
    end
    found.mean[r], found.lo[r], found.hi[r] = mean, lo, hi
  end
  if not matrix then found.mean, found.lo, found.hi = found.mean[1], found.lo[1], found.hi[1] end
  return found
end

-- Neighbouring points are averaged until at most `most` are left: a figure cannot show more.
local function thinned(points, most)
  local stride = math.ceil(#points / most)
  if stride <= 1 then return points end
  local out = {}
  for first = 1, #points, stride do
    local last = math.min(first + stride - 1, #points)
    local x, y = 0, 0
    for k = first, last do x, y = x + points[k].x, y + points[k].y end
    out[#out + 1] = { x = x / (last - first + 1), y = y / (last - first + 1) }
  end
  return out
end

--- A field of the training history against another (tokens, say), averaged over the seeds of a cell step by
--- step; `pick` makes the number out of a field's value (the last entry of an array, say).
---@return table[] points { {x = .., y = ..}, .. }, sorted by x
function view:curve(series, column, x_field, y_field, pick)
  local sums, counts, xs = {}, {}, {}
  for _, trial in ipairs(self:trials(series, column)) do
    for _, row in ipairs(trial.history or {}) do
      local x, y = row[x_field], row[y_field]
      if y ~= nil and pick then y = pick(y) end
      if finite(x) and finite(y) then
        if not sums[x] then xs[#xs + 1] = x end
        sums[x], counts[x] = (sums[x] or 0) + y, (counts[x] or 0) + 1
      end
    end
  end
  table.sort(xs)
  local points = {}
  for k, x in ipairs(xs) do points[k] = { x = x, y = sums[x] / counts[x] } end
  return thinned(points, 120)
end

--- Names of the arrays (`matrix` false) or matrices (true) that any trial reported, sorted.
function view:array_names(matrix)
  local seen, names = {}, {}
  for _, trial in ipairs(self.data.trials) do
    for name, array in pairs(trial.arrays or {}) do
      if (type(array[1]) == "table") == matrix and not seen[name] then
        seen[name] = true
        names[#names + 1] = name
      end
    end
  end
  table.sort(names)
  return names
end

--- "3 seeds", "1 to 3 seeds": how many the cells have, by the name of what trials repeat over.
---@return string
function view:repeats()
  local low, high = self:seeds()
  local name = self.data.over or "seed"
  if low ~= high then return ("%d to %d %ss"):format(low, high, name) end
  return ("%d %s%s"):format(high, name, high == 1 and "" or "s")
end

--- How many seeds the cells have: the least and the most over all cells with a value.
function view:seeds()
  local low, high
  for _, series in ipairs(self.series) do
    for _, column in ipairs(self.columns) do
      local n = self:cell(series, column).n
      if n > 0 then low, high = math.min(low or n, n), math.max(high or n, n) end
    end
  end
  return low or 0, high or 0
end

return report_data
