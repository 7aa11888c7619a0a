--- data.lua - orders the trials of a sweep into cells (series x column) with statistics over their seeds.
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
--     comparison = { arms = {..}, metrics = {..}, claims = {..} },   -- with a paper's numbers (comparison.lua)
--     figures = { { title, figures = {..}, caption }, .. },   -- groups of the script (plot/lines.lua), shown first
--     tables = { { title, head = {..}, rows = {{..}, ..}, note }, .. },       -- of texts, shown after these
--     grid = { { name = "depth", values = {4, 8} }, .. },     -- in the order in which they are shown
--     trials = { { id, params, status, reason, results = {perplexity = ..}, arrays = {variance = {..}},
--                  intervals = {layer_removal = {{lo, hi}, ..}},   -- of arrays that a probe measured, over windows
--                  history = { {step = .., tokens = .., loss = ..}, .. }, seconds, link }, .. },
--     provenance = { {"version", ".."}, .. }, configs = { {title, text}, .. },
--   }

local args = require "sonde.base.args"
local grid = require "sonde.sweep.grid"
local quantity = require "sonde.report.quantity"
local sorted_keys = require "sonde.base.sorted_keys"
local stats = require "sonde.base.stats"
local format = require "sonde.base.format"

local report_data = {}
local view = {}
view.__index = view

local function grid_values(data, name)
  for _, axis in ipairs(data.grid) do
    if axis.name == name then return axis.values end
  end
  local names = {}
  for _, axis in ipairs(data.grid) do names[#names + 1] = axis.name end
  error(("summary: the sweep '%s' has no parameter '%s'%s"):format(data.name, name, args.hint(name, names)), 0)
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

-- The value among those of a parameter that is meant, which of a table is another one.
local function known_value(data, name, wanted, what)
  local texts = {}
  for k, value in ipairs(grid_values(data, name)) do
    if grid.same(value, wanted) then return value end
    texts[k] = grid.text(value)
  end
  error(("summary: %s '%s' is no value of %s%s"):format(what, grid.text(wanted), name,
    args.hint(grid.text(wanted), texts)), 0)
end

-- The values are those of the axes themselves, so that tables are compared as such.
local function matches(params, wanted)
  for name, value in pairs(wanted) do
    if params[name] ~= value then return false end
  end
  return true
end

-- ---- metrics --------------------------------------------------------------------------------------------------------

--- A number of a trial, if it counts. Of a trial whose training diverged those do that it reported before
--- (record.sound names them).
---@param trial table
---@param metric string
---@return number|nil
function report_data.value(trial, metric)
  local value = trial.results and trial.results[metric]
  if not format.finite(value) then return nil end
  if trial.status == "done" then return value end
  for _, name in ipairs(trial.status == "diverged" and trial.record and trial.record.sound or {}) do
    if name == metric then return value end
  end
end

local function is_not_finite(trial, metric)
  for _, name in ipairs(trial.record and trial.record.not_finite or {}) do
    if name == metric then return true end
  end
  local value = trial.results and trial.results[metric]
  return type(value) == "number" and not format.finite(value)
end

-- What done trials reported under a name that is no number: "a list", "a string"; nil where there is no such thing.
local function other_kind(trials, name)
  for _, trial in ipairs(trials) do
    local value = trial.results and trial.results[name]
    if trial.arrays and trial.arrays[name] then return "a list" end
    if value ~= nil and type(value) ~= "number" then return "a " .. type(value) end
  end
end

-- A metric that no done trial has is a mistake of whoever asks. Where nothing is done yet, nobody knows.
local function check_metric(data, metric)
  local names, done = {}, false
  for _, trial in ipairs(data.trials) do
    if report_data.value(trial, metric) or is_not_finite(trial, metric) then return end
    done = done or trial.status == "done"
    for name, value in pairs(trial.results or {}) do
      if type(value) == "number" then names[name] = true end
    end
  end
  if not done then return end
  local kind = other_kind(data.trials, metric)
  if kind then
    error(("summary of '%s': '%s' is reported as %s; a metric is a number"):format(data.name, metric, kind), 0)
  end
  names = sorted_keys(names)
  error(("summary of '%s': no trial reported '%s'%s"):format(data.name, metric,
    #names > 0 and args.hint(metric, names) or "; none reported any number"), 0)
end

--- Builds the view of a sweep's data.
---@param data table see the head of this file
---@return table view with fields series, columns (lists of values), series_name, column_name, metric
function report_data.view(data)
  if #data.by < 1 or #data.by > 2 then
    error("summary: by takes one or two parameter names (lines, and columns)", 0)
  end
  check_parameters(data)
  local self = setmetatable({ data = data, metric = data.metric, where = {}, cells = {} }, view)
  for name, value in pairs(data.where or {}) do
    self.where[name] = known_value(data, name, value, "where: the value")
  end
  self.series_name, self.column_name = data.by[1], data.by[2]
  self.series = grid_values(data, self.series_name)
  if data.reference ~= nil then
    self.reference = known_value(data, self.series_name, data.reference, "the reference")
  end
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
  local chosen
  if data.reference ~= nil then chosen = known_value(data, data.panels, data.reference, "the reference") end
  for k, value in ipairs(grid_values(data, data.panels)) do
    local own = copy_with(data, { metric = metric, where = copy_with(data.where or {}, { [data.panels] = value }) })
    own.reference = nil
    views[k] = report_data.view(own)
    views[k].panel = value
    if chosen ~= nil and value == chosen then reference = views[k] end
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
    if sections[metric] then error(("summary: the metric '%s' is named twice"):format(metric), 0) end
    sections[metric] = true
    check_metric(data, metric)
    local own = copy_with(data, { metric = metric, higher = better[metric] or data.higher == true })
    local views = data.panels and panel_views(own, metric) or { report_data.view(own) }
    sections[k] = { metric = metric, views = views }
  end
  return sections
end

-- Trials that repeat one (another seed, nothing else) and ended in the very same weights repeat nothing: the seed did
-- not reach what was computed, and counting each would make an interval of nothing.
local function is_copy(trial, seen)
  local weights = trial.results and trial.results.state_sha256
  if not weights then return false end
  local copy = seen[weights]
  seen[weights] = true
  return copy
end

--- A note on trials that only the repeated parameter tells apart and that ended in the same weights; nil where there
--- are none.
---@param data table see the head of this file
---@return string|nil
function report_data.copies(data)
  local over, seen, copies = data.over or "seed", {}, 0
  for _, trial in ipairs(data.trials) do
    local rest = {}
    for _, axis in ipairs(data.grid) do
      if axis.name ~= over then rest[#rest + 1] = axis.name .. "=" .. grid.text(trial.params[axis.name]) end
    end
    local group = table.concat(rest, ",")
    seen[group] = seen[group] or {}
    if is_copy(trial, seen[group]) then copies = copies + 1 end
  end
  if copies == 0 then return nil end
  return ("%d of %d trials ended in the same weights as another that only %s tells apart, so they repeat nothing and "
    .. "count once; "
    .. "does the function use p.%s?"):format(copies, #data.trials, over, over)
end

--- What is to be said of a sweep before its results: the data's notes, and of how many trials a loss is no validation
--- loss.
---@param data table see the head of this file
---@return string[]
function report_data.notes(data)
  local notes, without, copies = {}, 0, report_data.copies(data)
  for k, note in ipairs(data.notes or {}) do notes[k] = note end
  notes[#notes + 1] = copies
  for _, trial in ipairs(data.trials) do without = without + (trial.validated == false and 1 or 0) end
  if without > 0 then
    notes[#notes + 1] = ("%d of %d trials had no validation text: what their training reports as loss and perplexity "
      .. "is of "
      .. "the training text"):format(without, #data.trials)
  end
  return notes
end

--- Whether the columns are numbers, so that the metric can be drawn against them.
function view:numeric_columns()
  for _, c in ipairs(self.columns) do
    if type(c) ~= "number" then return false end
  end
  return true
end

--- The trials of a cell, in the order of the sweep; of several with the same weights the first.
function view:trials(series, column)
  local wanted = { [self.series_name] = series }
  if self.column_name then wanted[self.column_name] = column end
  local found, seen = {}, {}
  for _, trial in ipairs(self.data.trials) do
    if matches(trial.params, wanted) and matches(trial.params, self.where) and not is_copy(trial, seen) then
      found[#found + 1] = trial
    end
  end
  return found
end

-- Why a trial gives a cell no value, as a field of view:cell.
local function lack_of(trial, metric)
  if trial.status == "failed" then return "failed" end
  if trial.status ~= "done" and trial.status ~= "diverged" then return "missing" end
  if is_not_finite(trial, metric) then return "not_finite" end
  return trial.status == "diverged" and "diverged" or "unreported"
end

--- Statistics of the metric in a cell: stats.describe over the values that count, with `values`, and how many trials
--- have none: `diverged`, `not_finite`, `failed`, `missing` (not done), `unreported` (done, without that number).
function view:cell(series, column)
  local row = self.cells[series] or {}
  self.cells[series] = row
  if row[column] == nil then row[column] = self:make_cell(series, column) end
  return row[column]
end

---@private
function view:make_cell(series, column)
  local values, lacks = {}, { diverged = 0, not_finite = 0, failed = 0, missing = 0, unreported = 0 }
  for _, trial in ipairs(self:trials(series, column)) do
    local value = report_data.value(trial, self.metric)
    values[#values + 1] = value
    if not value then
      local lack = lack_of(trial, self.metric)
      lacks[lack] = lacks[lack] + 1
    end
  end
  local cell = stats.describe(values)
  cell.values = values
  for name, n in pairs(lacks) do cell[name] = n end
  return cell
end

-- The metric of each seed of a cell, for seeds that have one, and these seeds in the sweep's order.
local function by_seed(self, series, column)
  local values, order = {}, {}
  for _, trial in ipairs(self:trials(series, column)) do
    local value, seed = report_data.value(trial, self.metric), trial.params[self.data.over or "seed"]
    if type(seed) == "table" then seed = grid.text(seed) elseif seed == nil then seed = false end
    if value then values[seed], order[#order + 1] = value, seed end
  end
  return values, order
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
  local own, order = by_seed(self, series, column)
  local reference = by_seed(self.other or self, self.other and series or self.reference, column)
  local seeds, differences = {}, {}
  for _, seed in ipairs(order) do
    if reference[seed] then seeds[#seeds + 1] = seed end
  end
  if self.data.percent then return ratios(own, reference, seeds) end
  for k, seed in ipairs(seeds) do differences[k] = 1.0 * own[seed] - reference[seed] end
  return stats.describe(differences)
end

--- Whether a series has differences to show; without one, whether any has.
---@param series? any
---@return boolean
function view:compares(series)
  if self.other then return true end
  return self.reference ~= nil and (series == nil or series ~= self.reference)
end

--- What a difference is, in words.
---@return string
function view:difference_name()
  local reference = self.reference
  if self.other then reference = self.other.panel end
  return ("difference from %s%s"):format(grid.text(reference), self.data.percent and " in percent" or "")
end

--- What may be said of a column: `best` (a series value or nil), `tied` (set of those whose interval overlaps
--- its own), `unknown` (set of those that have one value and so no interval), `complete` (every trial that the sweep
--- has there gave a value), `count` (cells with a value). A quantity without a better end has no best.
function view:ranking(column)
  local described, by_key, complete, count = {}, {}, true, 0
  for k, series in ipairs(self.series) do
    local cell = self:cell(series, column)
    if cell.diverged + cell.not_finite + cell.failed + cell.missing + cell.unreported > 0 then complete = false end
    if cell.n > 0 then count = count + 1 end
    if cell.n > 0 and cell.diverged + cell.not_finite == 0 then
      local key = string.format("%06d", k)
      described[key], by_key[key] = cell, series
    end
  end
  local ranking = { tied = {}, unknown = {}, complete = complete, count = count }
  if not quantity.is_ranked(self.metric) then return ranking end
  local best, tied, unknown = stats.leaders(described, self.data.higher)
  if best then ranking.best = by_key[best] end
  for key in pairs(tied) do ranking.tied[by_key[key]] = true end
  for key in pairs(unknown) do ranking.unknown[by_key[key]] = true end
  return ranking
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

-- stats.describe of the finite values that arrays have at a place. Student's interval of two values is six times as
-- wide as they lie apart, and a band of it hides all lines: of two the ends are given.
local function described(arrays, r, c)
  local values = {}
  for _, rows in ipairs(arrays) do
    local value = rows[r] and rows[r][c]
    if format.finite(value) then values[#values + 1] = value end
  end
  local d = stats.describe(values)
  if #values == 2 then d.lo, d.hi = math.min(values[1], values[2]), math.max(values[1], values[2]) end
  return d
end

--- What a cell's done trials reported as an array, entry by entry: mean, lo and hi (lists, or lists of lists, NaN where
--- there is none), `over` and `n`. An entry that some trial lacks is averaged over those that have it. The interval is
--- Student's over n seeds (over = "seed", say), of two seeds from one to the other ("pair"), or with one trial its
--- probe's own ("window"); else over is nil.
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
      if format.finite(x) and format.finite(y) then
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

--- What trials repeat over: "seed", or where the grid has none "trial".
---@return string
function view:repeated()
  for _, axis in ipairs(self.data.grid) do
    if axis.name == (self.data.over or "seed") then return axis.name end
  end
  return "trial"
end

--- "3 seeds", "1 to 3 seeds": how many the cells have, by the name of what trials repeat over.
---@return string
function view:repeats()
  local low, high = self:seeds()
  local name = self:repeated()
  if low ~= high then return ("%d to %d %ss"):format(low, high, name) end
  return ("%d %s%s"):format(high, name, high == 1 and "" or "s")
end

--- Whether any cell has more than one value.
---@return boolean
function view:has_spread()
  local _, most = self:seeds()
  return most > 1
end

--- What a cell's number is: "mean ± sd over 3 seeds", or "of 1 seed", which has no spread.
---@return string
function view:spread()
  local _, most = self:seeds()
  if most == 0 then return "no value yet" end
  return (most < 2 and "of " or "mean ± sd over ") .. self:repeats()
end

--- Whether the trials' losses are of validation text: true, false (the corpus had none, so they are of training text),
--- or nil where the trials differ or trained nothing.
---@return boolean|nil
function view:validated()
  local yes, no = 0, 0
  for _, trial in ipairs(self.data.trials) do
    if trial.validated == true then yes = yes + 1 elseif trial.validated == false then no = no + 1 end
  end
  if yes > 0 and no > 0 or yes + no == 0 then return nil end
  return yes > 0
end

--- The metric in words: with the text that a loss is of, where training had no other.
---@return string
function view:metric_name()
  local on_training = quantity.of_text(self.metric) and self:validated() == false
  return quantity.short(self.metric) .. (on_training and " of the training text (there is no validation text)" or "")
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
