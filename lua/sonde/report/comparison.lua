--- comparison.lua - a paper's table beside the sweep's, and for each of its claims whether the direction holds here.
--
--   comparison = {
--     arms = { { value = 0.1, note = "rejected" }, .. },       -- values of by[1]
--     paper = { { value = 0.1, perplexity = 14.83, .. }, .. }, -- its rows, which need not be of our arms
--     metrics = { "perplexity", "usefulness_score", .. },      -- columns, where any trial reported them
--     claims = { { x = "weight_decay", y = "last_variance", sign = -1 },      -- rank correlation over trials
--                { arm = 16, over = 1, y = "usefulness_score", sign = 1, paper = 0.06 } },   -- paired over seeds
--   }
--
-- A direction holds, or the opposite does, where the 95 % interval is clear of 0; otherwise it cannot be told.

local correlation = require "sonde.report.correlation"
local core = require "sonde.core"
local export = require "sonde.report.export"
local format = require "sonde.base.format"
local grid = require "sonde.sweep.grid"
local html = require "sonde.report.html"
local quantity = require "sonde.report.quantity"
local report_data = require "sonde.report.data"
local report_table = require "sonde.report.table"
local sorted_keys = require "sonde.base.sorted_keys"

local comparison = {}
local el, esc = html.element, html.escape

local HOLDS, OPPOSITE = "the paper's direction holds", "the paper's direction does not hold: the opposite does"
local OURS_HOLDS, OURS_OPPOSITE = "the direction holds", "the opposite does"      -- of claims that no paper makes
local UNKNOWN = "cannot be told"

-- ---- numbers of trials and of the paper --------------------------------------------------------------------------

local function axis_of(data) return data.by[1] end

local function view_of(data, metric)
  local own = {}
  if type(metric) == "table" then metric = metric[1] end   -- of several, what trials there are is the same
  for key, value in pairs(data) do own[key] = value end
  own.metric, own.by, own.panels, own.reference = metric, { axis_of(data) }, nil, nil
  return report_data.view(own)
end

-- The metrics that any trial has.
local function metrics_of(data)
  local list = {}
  for _, metric in ipairs(data.comparison.metrics) do
    for _, trial in ipairs(data.trials) do
      if report_data.value(trial, metric) then
        list[#list + 1] = metric
        break
      end
    end
  end
  return list
end

-- A number of a row of the paper; the axis is one where its values are numbers.
local function in_paper(data, row, name)
  if name ~= axis_of(data) then return row[name] end
  return type(row.value) == "number" and row.value or nil
end

local function of_trial(data, trial, name)
  if name ~= axis_of(data) then return report_data.value(trial, name) end
  local value = trial.params[name]
  return type(value) == "number" and value or nil
end

-- The entry of a list whose `value` that is.
local function with_value(list, value)
  for _, entry in ipairs(list) do
    if grid.same(entry.value, value) then return entry end
  end
end

-- ---- claims --------------------------------------------------------------------------------------------------------

local function called(name)
  return quantity.short(name)
end

local function said(claim)
  local verb = claim.sign > 0 and "higher" or "lower"
  if claim.x then return ("%s is %s where %s is higher"):format(called(claim.y), verb, called(claim.x)) end
  return ("%s is %s with %s than with %s"):format(called(claim.y), verb, grid.text(claim.arm), grid.text(claim.over))
end

local function judged(claim, found)
  if found.lo == 0 and found.hi == 0 then return UNKNOWN .. ": all trials are alike" end
  local side = found.lo and (found.lo > 0 and 1 or found.hi < 0 and -1)
  if side and claim.ours then return side == claim.sign and OURS_HOLDS or OURS_OPPOSITE end
  if side then return side == claim.sign and HOLDS or OPPOSITE end
  return UNKNOWN .. ": " .. (found.lo and "the interval contains 0" or found.why)
end

-- Says of a metric of a claim that no trial has it, with the name that may be meant; nil where one has.
local function missing(data, name)
  local names = { [axis_of(data)] = true }
  if names[name] then return nil end
  for _, trial in ipairs(data.trials) do
    if report_data.value(trial, name) then return nil end
    for key, value in pairs(trial.results or {}) do names[key] = type(value) == "number" or nil end
  end
  local near = core.nearest(name, sorted_keys(names))
  return "no trial reported '" .. name .. "'" .. (near and "; did you mean '" .. near .. "'?" or "")
end

local function of_correlation(data, claim)
  local ours, xs, ys = {}, {}, {}
  for k, value in ipairs(view_of(data, claim.y).series) do
    ours[k] = {}
    for _, trial in ipairs(data.trials) do
      local x, y = of_trial(data, trial, claim.x), of_trial(data, trial, claim.y)
      if x and y and trial.params[axis_of(data)] == value then table.insert(ours[k], { x, y }) end
    end
  end
  for _, row in ipairs(data.comparison.paper) do
    local x, y = in_paper(data, row, claim.x), in_paper(data, row, claim.y)
    if x and y then xs[#xs + 1], ys[#ys + 1] = x, y end
  end
  local found = correlation.over(ours)
  found.value, found.paper = found.rho, #xs > 2 and correlation.spearman(xs, ys) or nil
  found.why = missing(data, claim.y) or missing(data, claim.x)
    or not found.rho and "all trials are alike in one of the two"
    or ("%d trials of %d arms allow no interval"):format(found.trials, found.arms)
  found.over = found.drawn and ("%d trials, %d arms; draws of %s"):format(found.trials, found.arms, found.drawn)
    or ("%d trials, %d arms"):format(found.trials, found.arms)
  return found
end

local function of_difference(data, claim)
  local view = view_of(data, claim.y)
  local arm = with_value(data.comparison.arms, claim.arm)
  view.reference = claim.over
  if not arm or not with_value(data.comparison.arms, claim.over) then
    return { difference = true, paper = claim.paper, over = "no seeds", why = "the sweep lacks one of the arms" }
  end
  local d = view:difference(claim.arm, false)
  return { value = d.mean, lo = d.lo, hi = d.hi, difference = true, paper = claim.paper,
    why = missing(data, claim.y) or d.n == 0 and "no seed has both" or "one seed has no interval",
    over = ("%d seed%s, paired"):format(d.n, d.n == 1 and "" or "s") }
end

--- What may be said of each claim: { claim, text, verdict, value, lo, hi, paper, over, .. }.
---@param data table     see report/data.lua
---@return table[]
function comparison.claims(data)
  local list = {}
  for k, claim in ipairs(data.comparison.claims) do
    local found = claim.x and of_correlation(data, claim) or of_difference(data, claim)
    found.claim, found.text, found.verdict = claim, said(claim), judged(claim, found)
    list[k] = found
  end
  return list
end

-- ---- tables --------------------------------------------------------------------------------------------------------

-- The values of the axis that are arms of ours or rows of the paper: numbers in their order, words as they are given.
local function rows_of(data)
  local list, numbers = {}, true
  for _, entries in ipairs { data.comparison.arms, data.comparison.paper } do
    for _, entry in ipairs(entries) do
      if not with_value(list, entry.value) then list[#list + 1] = { value = entry.value, note = entry.note } end
      numbers = numbers and type(entry.value) == "number"
    end
  end
  if numbers then table.sort(list, function(a, b) return a.value < b.value end) end
  return list
end

local function has(list, name)
  for _, entry in ipairs(list) do
    if entry[name] ~= nil then return true end
  end
  return false
end

-- The heading and the rows of the table of arms, as texts; columns of the paper where it has any number of a metric.
local function arms_table(data)
  local head, rows, paper = { axis_of(data) }, {}, data.comparison.paper
  local entries = rows_of(data)
  for r, entry in ipairs(entries) do
    rows[r] = { grid.text(entry.value) .. (entry.note and " (" .. entry.note .. ")" or "") }
  end
  for _, metric in ipairs(metrics_of(data)) do
    local view, published = view_of(data, metric), has(paper, metric)
    head[#head + 1] = called(metric)
    if published then head[#head + 1] = "paper" end
    for r, entry in ipairs(entries) do
      local row = with_value(paper, entry.value)
      local cell = view:cell(entry.value, false)
      local lacks = cell.diverged > 0 and (" (%d diverged)"):format(cell.diverged) or ""
      table.insert(rows[r], report_table.mean_sd(cell) .. lacks)
      if published then table.insert(rows[r], row and row[metric] and ("%.10g"):format(row[metric]) or "–") end
    end
  end
  return head, rows
end

local function number(found, value)
  if not value then return "–" end
  return found.difference and report_table.signed(value, 3) or (("%+.2f"):format(value):gsub("%-", "−"))
end

local function with_interval(found)
  if not found.lo then return number(found, found.value) end
  return ("%s [%s, %s]"):format(number(found, found.value), number(found, found.lo), number(found, found.hi))
end

-- Whether there are a paper's numbers beside the sweep's.
local function has_paper(data) return #data.comparison.paper > 0 end

-- The heading and the rows of the claims, as texts; the last column is the paper's.
local function claims_table(data)
  local head, rows = { "claim", "verdict", "here, with 95 % interval", has_paper(data) and "paper" or nil }, {}
  for k, found in ipairs(comparison.claims(data)) do
    rows[k] = { found.text, found.verdict, ("%s (%s)"):format(with_interval(found), found.over),
      has_paper(data) and number(found, found.paper) or nil }
  end
  return head, rows
end

--- The claims as CSV, a table as report/export.lua gives them.
---@param data table
---@return {name: string, doc: string, text: string}
function comparison.csv(data)
  local rows = {}
  for k, found in ipairs(comparison.claims(data)) do
    local claim = found.claim
    rows[k] = { claim.y, claim.x, claim.arm, claim.over, claim.sign, found.paper, found.value, found.lo, found.hi,
      found.verdict }
  end
  return { name = "claims", doc = "each claim: the paper's value, ours, its interval, the verdict",
    text = export.csv({ "metric", "with", "arm", "over", "sign", "paper", "value", "lo", "hi", "verdict" }, rows) }
end

local RULE = "A claim on two quantities is Spearman's rank correlation over trials; on two arms, the mean difference "
  .. "of trials of one seed with Student's interval. A direction holds, or the opposite does, where the interval is "
  .. "clear of 0. Intervals of correlations are bootstrapped: of arms and the trials within each where there are five "
  .. "arms or more; with three or four the arms are kept, and the interval is over seeds alone. They are not corrected "
  .. "for the number of claims."

--- Both tables for a terminal.
---@param data table
---@return string
function comparison.text(data)
  local head, rows = arms_table(data)
  table.insert(rows, 1, head)
  local lines = { data.name .. (has_paper(data) and ": this sweep and the paper" or ": the arms of this sweep") }
  for _, line in ipairs(format.columns(rows, 1)) do lines[#lines + 1] = line end
  local _, claims = claims_table(data)
  if #claims > 0 then lines[#lines + 1] = "" end
  for _, row in ipairs(claims) do
    lines[#lines + 1] = row[1]
    lines[#lines + 1] = ("  here %s%s: %s"):format(row[3], row[4] and ", paper " .. row[4] or "", row[2])
  end
  return table.concat(lines, "\n") .. "\n"
end

--- The section of a page.
---@param data table
---@param prefix string     of its id
---@return string
function comparison.html(data, prefix)
  local head, rows = arms_table(data)
  local view, titles, claims = view_of(data, data.metric), claims_table(data)
  local note = ("%s%s."):format(
    view:has_spread() and "Mean ± standard deviation over " .. view:repeats() or "Values of " .. view:repeats(),
    has_paper(data) and " of this sweep, and the paper's numbers, of models and texts of another size" or "")
  local title = has_paper(data) and "This sweep and the paper" or "The arms of this sweep"
  local parts = { el("h2", nil, title), html.table("main arms", head, rows),
    el("p", { class = "note" }, esc(note)) }
  if #claims > 0 then
    parts[#parts + 1] = el("h3", nil, esc "Do these directions hold here?")
    parts[#parts + 1] = html.table("claims", titles, claims)
    parts[#parts + 1] = el("p", { class = "note" }, esc(RULE))
  end
  return el("section", { id = prefix .. "comparison" }, parts) .. "\n"
end

-- ---- figures -------------------------------------------------------------------------------------------------------

-- Whether the trials have two different values of a metric: those that are all alike give no figure.
local function varies(data, metric)
  local first
  for _, trial in ipairs(data.trials) do
    local value = of_trial(data, trial, metric)
    first = first or value
    if value and value ~= first then return true end
  end
  return false
end

-- A metric by arm that has it, at even distances: an axis of a factor of 300 that begins with 0 has no other. Arms with
-- names have no order that a line would show.
local function metric_figure(data, metric)
  local view, s, dots = view_of(data, metric), { colour = 1, markers = true, x = {}, y = {}, lo = {}, hi = {} },
    { colour = 1, scatter = true, x = {}, y = {} }
  local known, ticks = quantity.of(metric), {}
  for _, value in ipairs(view.series) do
    local cell = view:cell(value, false)
    if #cell.values > 0 then
      local k = #ticks + 1
      s.x[k], s.y[k], ticks[k] = k, cell.mean or 0 / 0, { at = k, text = grid.text(value) }
      s.scatter = s.scatter or type(value) ~= "number"
      if cell.sd then s.lo[k], s.hi[k] = cell.mean - cell.sd, cell.mean + cell.sd end
      for _, each in ipairs(cell.values) do dots.x[#dots.x + 1], dots.y[#dots.y + 1] = k, each end
    end
  end
  return { xlabel = quantity.label(axis_of(data)), ylabel = called(metric), xticks = ticks, series = { s, dots },
    ylog = quantity.wants_log(known.log, { s }), alt = ("%s by %s"):format(metric, axis_of(data)) }
end

-- Two metrics of each trial, an arm in its colour.
local function scatter_figure(data, claim)
  local figure = { xlabel = called(claim.x), ylabel = called(claim.y), series = {},
    alt = ("%s against %s, a mark for each trial"):format(claim.y, claim.x) }
  local flipped = { series = {} }
  for k, value in ipairs(view_of(data, claim.y).series) do
    local s = { label = grid.text(value), colour = k, scatter = true, markers = true, x = {}, y = {} }
    for _, trial in ipairs(data.trials) do
      local x, y = of_trial(data, trial, claim.x), of_trial(data, trial, claim.y)
      if x and y and trial.params[axis_of(data)] == value then s.x[#s.x + 1], s.y[#s.y + 1] = x, y end
    end
    figure.series[k], flipped.series[k] = s, { y = s.x }
  end
  figure.ylog = quantity.wants_log(quantity.of(claim.y).log, figure.series)
  figure.xlog = quantity.wants_log(quantity.of(claim.x).log, flipped.series)
  return figure
end

--- The groups of figures: the metrics by arm, and the pairs of the claims that are correlations of two metrics.
---@param data table
---@return table[]     as figures.groups gives them
function comparison.groups(data)
  local by_arm, pairs_ = {}, {}
  for _, metric in ipairs(metrics_of(data)) do
    if varies(data, metric) then by_arm[#by_arm + 1] = metric_figure(data, metric) end
  end
  for _, claim in ipairs(data.comparison.claims) do
    if claim.x and claim.x ~= axis_of(data) and varies(data, claim.x) and varies(data, claim.y) then
      pairs_[#pairs_ + 1] = scatter_figure(data, claim)
    end
  end
  local view = view_of(data, data.metric)
  local groups = {}
  if #by_arm > 0 then
    groups[1] = { id = "by-arm", title = "By " .. called(axis_of(data)), figures = by_arm, caption = view:has_spread()
      and ("Mean over %s, bars ± 1 sd, dots single trials."):format(view:repeats())
      or ("Of %s: there are no bars."):format(view:repeats()) }
  end
  if #pairs_ > 0 then
    groups[#groups + 1] = { id = "pairs", title = "Sparsity, variance and usefulness", figures = pairs_,
      caption = ("A mark is a trial, its colour and shape say the %s."):format(called(axis_of(data))) }
  end
  return groups
end

return comparison
