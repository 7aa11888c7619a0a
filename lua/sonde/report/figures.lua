--- figures.lua - which figures a sweep's data gives, and what a reader should look for in each.
--
-- Figures come in groups that share a caption: the metric against the columns (depth), each per-block array for
-- each column, the training curves for each column. sonde.plot draws them.

local probes = require "sonde.probe.registry"
local quantity = require "sonde.report.quantity"
local report_table = require "sonde.report.table"
local stats = require "sonde.base.stats"

local report_figures = {}

-- The quantity of a view's metric: of which text a loss is, where that is known.
local function metric_quantity(view)
  local validated = view:validated()
  return quantity.of(view.metric, validated and "validation " or validated == false and "training " or "")
end

-- What a figure of a cell's column is called: "placement lns, depth 8"; nil where there is but one.
local function place_text(view, column)
  local parts = {}
  if view.panel ~= nil then parts[1] = view.data.panels .. " " .. report_table.value(view.panel) end
  if view.column_name then parts[#parts + 1] = view.column_name .. " " .. report_table.value(column) end
  return #parts > 0 and table.concat(parts, ", ") or nil
end

--- What a metric is called on the page.
---@param name string
---@return string
function report_figures.title(name)
  return quantity.of(name).title or name
end

-- ---- the metric against the columns -------------------------------------------------------------------------

local function metric_series(view, k, series)
  local s = { label = report_table.value(series), colour = k, markers = true, x = {}, y = {}, lo = {}, hi = {} }
  local dots = { colour = k, scatter = true, x = {}, y = {} }
  for _, column in ipairs(view.columns) do
    local cell = view:cell(series, column)
    local at = #s.x + 1
    s.x[at], s.y[at] = column, cell.mean or 0 / 0
    if cell.lo and view.data.intervals then
      s.lo[at], s.hi[at] = cell.lo, cell.hi
    elseif cell.sd then
      s.lo[at], s.hi[at] = cell.mean - cell.sd, cell.mean + cell.sd
    end
    for _, value in ipairs(cell.values) do
      dots.x[#dots.x + 1], dots.y[#dots.y + 1] = column, value
    end
  end
  return s, dots
end

-- One runaway line presses the others together. Where the values (sorted) have a gap of more than half, and most lie
-- below it, a second figure shows those; lines leave it at the top.
local function close_up(figure)
  local values = {}
  for _, s in ipairs(figure.series) do
    for _, y in ipairs(s.y) do
      if y == y and y > 0 and y ~= math.huge then values[#values + 1] = y end
    end
  end
  table.sort(values)
  local ceiling
  for k = math.floor(#values / 2), #values - 1 do
    if k >= 1 and not ceiling and values[k + 1] > 1.5 * values[k] then ceiling = values[k] end
  end
  if not ceiling then return nil end
  local detail = {}
  for key, value in pairs(figure) do detail[key] = value end
  figure.title, detail.title = "all values", "close-up"
  detail.ylog, detail.ytop, detail.alt = false, ceiling, figure.alt .. ", close-up"
  return detail
end

local function metric_figure(view)
  local known = metric_quantity(view)
  local figure = { xlabel = quantity.label(view.column_name), ylabel = known.axis, xticks = view.columns,
    title = view.panel ~= nil and ("%s %s"):format(view.data.panels, report_table.value(view.panel)) or nil,
      series = {} }
  for k, series in ipairs(view.series) do
    local s, dots = metric_series(view, k, series)
    figure.series[#figure.series + 1] = s
    figure.series[#figure.series + 1] = dots
  end
  figure.ylog = quantity.wants_log(known.log, figure.series)
  figure.xlog = quantity.of(view.column_name).log == true
  figure.alt = ("%s against %s%s, one line per %s"):format(view.metric, view.column_name,
    figure.title and ", " .. figure.title or "", view.series_name)
  return figure
end

local function metric_group(view, figures)
  local known = metric_quantity(view)
  local what = ("Of %s: there are no bars."):format(view:repeats())
  if view:has_spread() then
    what = ("Mean over %s, bars %s, dots single trials."):format(view:repeats(),
      view.data.intervals and "95 % Student intervals" or "± 1 sd")
  end
  return { id = "metric", title = known.title or ("%s against %s"):format(view.metric, view.column_name),
    figures = figures, caption = (known.look .. " " .. what .. " " .. known.doc):gsub("^ ", "") }
end

-- What the figures' values and bars span, without the series of one colour.
local function span(figures, without)
  local low, high
  for _, figure in ipairs(figures) do
    for _, s in ipairs(figure.series) do
      for _, list in ipairs(s.colour == without and {} or { s.y, s.lo or {}, s.hi or {} }) do
        for _, y in pairs(list) do
          if y == y and math.abs(y) ~= math.huge then low, high = math.min(low or y, y), math.max(high or y, y) end
        end
      end
    end
  end
  return low or 0, high or 1
end

-- One series that presses all others together: the figures again at the scale of those. It leaves them where it may.
local function panel_close_ups(figures, count)
  local low, high = span(figures)
  local best, bottom, top = (high - low) / 2.5, nil, nil
  for colour = 1, count > 2 and count or 0 do
    local least, most = span(figures, colour)
    if most - least < best then best, bottom, top = most - least, least, most end
  end
  local details = {}
  for k, figure in ipairs(bottom and figures or {}) do
    details[k] = {}
    for key, value in pairs(figure) do details[k][key] = value end
    details[k].ybottom, details[k].ytop = bottom, top
    details[k].title, details[k].alt = figure.title .. ", close-up", figure.alt .. ", close-up"
  end
  return details
end

-- The metric of each panel side by side, on one scale.
local function panel_group(views)
  local figures = {}
  for k, view in ipairs(views) do figures[k] = metric_figure(view) end
  local low, high = span(figures)
  for _, figure in ipairs(figures) do figure.ylow, figure.yhigh, figure.ylog = low, high, false end
  for _, detail in ipairs(views[1].panel ~= nil and panel_close_ups(figures, #views[1].series) or {}) do
    figures[#figures + 1] = detail
  end
  local group = metric_group(views[1], figures)
  group.id = "metric-" .. views[1].metric
  return group
end

-- ---- arrays along the blocks ----------------------------------------------------------------------------------

--- Ticks of an axis of n blocks: whole numbers, at most about eight of them, the first and the last block among them.
---@param n integer
---@return integer[]
function report_figures.block_ticks(n)
  local ticks, stride = {}, math.max(1, math.ceil((n - 1) / 7))
  for b = 0, n - 1 - stride, stride do ticks[#ticks + 1] = b end
  if n > 0 then ticks[#ticks + 1] = n - 1 end
  return ticks
end

-- Bands of more lines than there are colours hide each other and the lines.
local MOST_BANDS = 8

local function array_figure(view, name, column, overs)
  local known = quantity.of(name)
  local figure = { xlabel = known.along or "block", ylabel = known.axis, title = place_text(view, column), series = {} }
  local longest = 0
  for k, series in ipairs(view.series) do
    local found = view:array(series, column, name, false)
    if found then
      local s = { label = report_table.value(series), colour = k, markers = #found.mean <= 32, x = {}, y = found.mean }
      if #view.series <= MOST_BANDS then s.lo, s.hi, s.band = found.lo, found.hi, true end
      for b = 1, #found.mean do s.x[b] = b - 1 end
      figure.series[#figure.series + 1] = s
      longest = math.max(longest, #found.mean)
      overs[found.over or "none"] = true
    end
  end
  figure.xticks = report_figures.block_ticks(longest)
  figure.ylog = quantity.wants_log(known.log, figure.series)
  figure.alt = ("%s against the %s, %s, one line per %s"):format(known.axis, figure.xlabel, figure.title or "all",
    view.series_name)
  return #figure.series > 0 and figure or nil
end

-- The least and the largest number of some lists of the series, on a log axis of the positive ones.
local function reach(figures, lists, log)
  local low, high
  for _, f in ipairs(figures) do
    for _, s in ipairs(f.series) do
      for _, list in ipairs(lists) do
        for _, y in ipairs(s[list] or {}) do
          if y == y and math.abs(y) ~= math.huge and (not log or y > 0) then
            low, high = math.min(low or y, y), math.max(high or y, y)
          end
        end
      end
    end
  end
  return low, high
end

-- Panels of one group share their vertical axis, so that they can be compared at a glance. Bands have room above and
-- below the lines, each half as much as the lines; more would hide these. Tells whether bands are cut.
local function share_axis(figures)
  local log = false
  for _, f in ipairs(figures) do log = log or f.ylog end
  local low, high = reach(figures, { "y" }, log)
  log = log and low ~= nil
  local first, last = reach(figures, { "y", "lo", "hi" }, false)
  local least, most = reach(figures, { "y", "lo", "hi" }, log)
  if log then
    least, most = math.max(least, low * (low / high) ^ 0.5), math.min(most, high * (high / low) ^ 0.5)
  elseif low and high > low then
    least, most = math.max(least, 1.5 * low - 0.5 * high), math.min(most, 1.5 * high - 0.5 * low)
  end
  for _, f in ipairs(figures) do f.ylow, f.yhigh, f.ylog = least, most, log end
  return least ~= first or most ~= last
end

-- What bands and half-widths are, in words: `overs` is a set of what the intervals of a group are over.
local function interval_note(view, overs, what)
  local repeated, parts = view.data.over or "seed", {}
  if overs[repeated] then
    parts[1] = ("Mean over %ss; %s 95 %% Student intervals over %ss"):format(repeated, what, repeated)
  end
  if overs.pair then
    parts[#parts + 1] = ("mean over two %ss; %s the range from one to the other"):format(repeated, what)
  end
  if overs.window then
    parts[#parts + 1] = ("of one %s: %s the probe's 95 %% intervals over windows of text"):format(repeated, what)
  end
  if overs.none then parts[#parts + 1] = ("of one %s, without an interval"):format(repeated) end
  return (table.concat(parts, "; "):gsub("^[om]", string.upper))
end

-- Calls f(view, column) for each column, and of it for each panel: what is to be compared stands side by side.
local function each_place(views, f)
  for _, column in ipairs(views[1].columns) do
    for _, view in ipairs(views) do f(view, column) end
  end
end

local function array_group(views, name)
  local known = quantity.of(name)
  if known.hidden then return nil end
  local group = { id = "array-" .. name, title = known.title or name, figures = {},
    caption = (known.look .. " " .. known.doc):gsub("^ ", "") }
  local overs = {}
  each_place(views, function(view, column)
    group.figures[#group.figures + 1] = array_figure(view, name, column, overs)
  end)
  if #group.figures == 0 then return nil end
  local cut = share_axis(group.figures)
  local bands = #views[1].series <= MOST_BANDS and "bands are" or "the data below have"
  group.caption = ("%s %s%s."):format(group.caption, interval_note(views[1], overs, bands),
    cut and "; they are cut where they leave the figure" or "")
  return group
end

-- ---- matrices -----------------------------------------------------------------------------------------------

-- Every series of every panel, as { view, series }.
local function pairs_of(views)
  local list = {}
  for _, view in ipairs(views) do
    for _, series in ipairs(view.series) do list[#list + 1] = { view, series } end
  end
  return list
end

-- The last column in which some cell has a matrix, in a list (columns may be false); nil where none has.
local function last_column_with(views, name)
  for k = #views[1].columns, 1, -1 do
    for _, pair in ipairs(pairs_of(views)) do
      if pair[1]:array(pair[2], views[1].columns[k], name, true) then return { views[1].columns[k] } end
    end
  end
end

local function halves_text(halves)
  if #halves == 0 then return "" end
  return (": median %s, largest %s"):format(report_table.number(stats.median(halves), 2),
    report_table.number(stats.quantile(halves, 1), 2))
end

-- One figure a series, at the last column that has the matrix (the deepest model), all on one scale of colours.
local function matrix_group(views, name)
  local known, column = quantity.of(name), last_column_with(views, name)
  if not column then return nil end
  column = column[1]
  local group = { id = "matrix-" .. name, title = known.title or name, figures = {},
    caption = (known.look .. " " .. known.doc):gsub("^ ", "") }
  local axes = known.axes or (probes.find(name) or { axes = { "row", "column" } }).axes
  local low, high
  local overs, halves = {}, {}
  for _, pair in ipairs(pairs_of(views)) do
    local view, series = pair[1], pair[2]
    local found = view:array(series, column, name, true)
    if found then
      local title = report_table.value(series)
      if type(series) == "number" then title = quantity.short(view.series_name) .. " " .. title end
      if view.panel ~= nil then title = view.data.panels .. " " .. report_table.value(view.panel) .. ", " .. title end
      overs[found.over or "none"] = true
      group.figures[#group.figures + 1] = { heat = found.mean, title = title, xlabel = axes[2], ylabel = axes[1],
        xticks = probes.first(axes[2]), yticks = probes.first(axes[1]), key = known.axis,
        alt = ("%s, %s"):format(known.axis, title) }
      for r, row in ipairs(found.mean) do
        for c, value in ipairs(row) do
          local half = (found.hi[r][c] - found.lo[r][c]) / 2
          if half == half then halves[#halves + 1] = half end
          if value == value then low, high = math.min(low or value, value), math.max(high or value, value) end
        end
      end
    end
  end
  if not low then return nil end
  if high == low then high = low + 1 end
  for _, figure in ipairs(group.figures) do figure.low, figure.high = low, high end
  local first = views[1]
  local place = first.column_name and ("At %s %s. "):format(first.column_name, report_table.value(column)) or ""
  group.caption = ("%s %s%s%s."):format(group.caption, place,
    interval_note(first, overs, "half-widths (all in the data below) of"), halves_text(halves))
  return group
end

-- ---- curves over training -----------------------------------------------------------------------------------

local function picked(kind)
  return function(v)
    if type(v) ~= "table" then return v end
    if kind.pick == "last" then return v[#v] end
    if kind.pick == "first" then return v[1] end
    if kind.pick == "mean" then return stats.mean(v) end
  end
end

local function curve_group(views, kind)
  local group = { id = "curve-" .. kind.field, title = kind.title, caption = kind.look .. " " .. kind.doc,
    figures = {} }
  each_place(views, function(view, column)
    local figure = { xlabel = "training tokens (millions)", ylabel = kind.axis, ylog = kind.log, series = {},
      title = place_text(view, column) }
    for k, series in ipairs(view.series) do
      local s = { label = report_table.value(series), colour = k, x = {}, y = {} }
      for i, point in ipairs(view:curve(series, column, "tokens", kind.field, picked(kind))) do
        s.x[i], s.y[i] = point.x / 1e6, point.y
      end
      if #s.x > 1 then figure.series[#figure.series + 1] = s end
    end
    figure.alt = ("%s against training tokens, %s"):format(kind.axis, figure.title or "all")
    if #figure.series > 0 then group.figures[#group.figures + 1] = figure end
  end)
  if #group.figures == 0 then return nil end
  share_axis(group.figures)
  return group
end

-- What lies along the blocks, and the training, after the groups of the metrics.
local function add_details(groups, views)
  local names = views[1]:array_names(false)
  table.sort(names, function(a, b)
    local first, second = quantity.of(a).place, quantity.of(b).place
    if first ~= second then return first < second end
    return a < b
  end)
  for _, name in ipairs(names) do groups[#groups + 1] = array_group(views, name) end
  for _, name in ipairs(views[1]:array_names(true)) do groups[#groups + 1] = matrix_group(views, name) end
  for _, kind in ipairs(quantity.curves()) do groups[#groups + 1] = curve_group(views, kind) end
  return groups
end

--- The groups of figures that a page's sections give, in reading order: the metrics, what lies along the blocks, the
--- training.
---@param sections table[] from report_data.sections
---@return table[] groups { { id, title, caption, figures = { figure of sonde.plot, .. } }, .. }
function report_figures.groups(sections)
  local first, groups = sections[1].views[1], {}
  if first:numeric_columns() and #sections == 1 and first.panel == nil then
    local figure = metric_figure(first)
    groups[1] = metric_group(first, { figure, close_up(figure) })
  elseif first:numeric_columns() then
    for k, section in ipairs(sections) do groups[k] = panel_group(section.views) end
  end
  return add_details(groups, sections[1].views)
end

return report_figures
