--- show.lua - the result of sonde.probe for people: a table on the terminal, one static HTML page with
-- figures.
--
-- Blocks are put into an order only where their intervals lie apart.

local html = require "sonde.report.html"
local plot = require "sonde.report.plot"
local page = require "sonde.report.page"
local registry = require "sonde.probe.registry"
local export = require "sonde.report.export"
local quantity = require "sonde.report.quantity"
local report_figures = require "sonde.report.figures"
local sorted_keys = require "sonde.base.sorted_keys"
local stats = require "sonde.base.stats"
local format = require "sonde.base.format"

local show = {}
local el, esc = html.element, html.escape

local WIDEST = 10                 -- columns of a matrix that a terminal shows
local LEAST = 10                  -- windows below which intervals are too short to order blocks by

local function number(x)
  if x ~= x then return "-" end
  if x == 0 then return "0" end
  local size = math.abs(x)
  if size >= 1e5 or size < 1e-4 then return string.format("%.2e", x) end
  return string.format("%." .. math.max(0, 3 - math.floor(math.log(size, 10))) .. "f", x)
end

local function with_interval(value, ci)
  if not ci or not format.finite(value) then return number(value) end
  return string.format("%s [%s, %s]", number(value), number(ci[1]), number(ci[2]))
end

local function is_matrix(entry)
  return type(entry.values[1]) == "table"
end

-- ---- what may be said of the order ----------------------------------------------------------------------------------

local function list(blocks)
  table.sort(blocks)
  return (#blocks == 1 and "block " or "blocks ") .. table.concat(blocks, ", ")
end

local function extreme(described, higher, word, n)
  local best, tied = stats.leaders(described, higher)
  local others = sorted_keys(tied)
  if #others == n - 1 then return nil end
  if #others == 0 then return word .. ": block " .. best end
  others[#others + 1] = best
  return word .. " among " .. list(others) .. ", whose intervals overlap"
end

--- One sentence on which blocks stand out; nil for a matrix, where too few windows tell, or a figure is not finite.
---@param entry table
---@param windows integer
---@return string|nil
function show.order(entry, windows)
  if is_matrix(entry) or windows < LEAST or #entry.values < 2 then return nil end
  local described = {}
  for k, value in ipairs(entry.values) do
    local lo, hi = entry.ci[k][1], entry.ci[k][2]
    if not format.finite(value) or not format.finite(hi - lo) then return nil end
    described[k - 1] = { mean = value, lo = lo, hi = hi }
  end
  local parts = {}
  for _, each in ipairs { { false, "smallest" }, { true, "largest" } } do
    parts[#parts + 1] = extreme(described, each[1], each[2], #entry.values)
  end
  if #parts == 0 then return "no block stands out: the extreme ones' intervals overlap all others" end
  return table.concat(parts, "; ")
end

-- ---- terminal ---------------------------------------------------------------------------------------------------

local function aligned(rows)
  return table.concat(format.indented(rows, 0), "\n")
end

-- What the k-th entry along an axis is called.
local function label(axis, k)
  return string.format("%d", registry.first(axis) + k - 1)
end

-- What the c-th column is called: a name, or a number.
local function column_name(entry, c)
  local names = entry.columns or entry.labels
  return names and names[c] or label(entry.axes[2], c)
end

local function matrix_text(entry)
  local widest = 0
  for _, row in ipairs(entry.values) do widest = math.max(widest, #row) end
  if widest > WIDEST then
    return string.format("  a matrix of %d rows, up to %d columns: see --json, --csv or --html", #entry.values, widest)
  end
  local rows = { { entry.axes[1] } }
  for c = 1, widest do rows[1][c + 1] = column_name(entry, c) end
  for r, row in ipairs(entry.values) do
    rows[r + 1] = { label(entry.axes[1], r) }
    for c = 1, widest do rows[r + 1][c + 1] = row[c] and number(row[c]) or "" end
  end
  return aligned(rows) .. (entry.ci and "\n  intervals of the entries: see --json, --csv or --html" or "")
end

local function list_text(entry)
  local rows = {}
  for k, value in ipairs(entry.values) do
    rows[k] = { entry.axes[1] .. " " .. label(entry.axes[1], k), with_interval(value, entry.ci and entry.ci[k]) }
  end
  return aligned(rows)
end

-- Scalars, and what the values lack.
local function lines_of(entry)
  local lines = {}
  for k, key in ipairs(sorted_keys(entry.scalars or {})) do
    lines[k] = string.format("%s %s", key, with_interval(entry.scalars[key].value, entry.scalars[key].ci))
  end
  lines[#lines + 1] = entry.note
  return lines
end

local function facts(details)
  return string.format("%d window%s of %d tokens; %d forward pass%s over them, %d if each probe ran alone",
    details.windows,
    details.windows == 1 and "" or "s", details.context, details.passes, details.passes == 1 and "" or "es",
    details.passes_alone)
end

-- What intervals there are, and whether they may order the blocks.
local function warranty(windows)
  if windows == 1 then return "One window: no intervals, and no order of blocks" end
  if windows < LEAST then
    return string.format("95 %% intervals over windows, too short with fewer than %d of them: no order of blocks",
      LEAST)
  end
  return "95 % intervals over windows; blocks are put into an order only where these lie apart"
end

--- The result as text.
---@param details table     second result of sonde.probe
---@return string
function show.text(details)
  local parts = { facts(details), warranty(details.windows) }
  for _, name in ipairs(sorted_keys(details.probes)) do
    local entry = details.probes[name]
    parts[#parts + 1] = ""
    parts[#parts + 1] = name .. (entry.unit ~= "" and " (" .. entry.unit .. ")" or "") .. ": " .. entry.definition
    parts[#parts + 1] = is_matrix(entry) and matrix_text(entry) or list_text(entry)
    for _, line in ipairs(lines_of(entry)) do parts[#parts + 1] = "  " .. line end
    local order = show.order(entry, details.windows)
    if order then parts[#parts + 1] = "  " .. order end
  end
  return table.concat(parts, "\n")
end

-- ---- CSV
-- --------------------------------------------------------------------------------------------------------------

--- The result as CSV: a line for each entry of each probe, and one for each scalar, with their intervals.
---@param details table     second result of sonde.probe
---@return string
function show.csv(details)
  local rows = {}
  for _, name in ipairs(sorted_keys(details.probes)) do
    local entry = details.probes[name]
    export.list_rows(rows, {}, name, entry.values, entry.ci)
    for _, key in ipairs(sorted_keys(entry.scalars or {})) do
      local scalar = entry.scalars[key]
      rows[#rows + 1] = { name .. "." .. key, nil, nil, scalar.value, scalar.ci and scalar.ci[1], scalar.ci
        and scalar.ci[2] }
    end
  end
  return export.csv({ "probe", "row", "column", "value", "low", "high" }, rows)
end

-- ---- page ---------------------------------------------------------------------------------------------------------

local function line_figure(title, name, entry, log)
  local series = { label = "", colour = 1, x = {}, y = entry.values, markers = true }
  for k = 1, #entry.values do series.x[k] = k - 1 end
  if entry.ci then
    series.lo, series.hi = {}, {}
    for k, ci in ipairs(entry.ci) do series.lo[k], series.hi[k] = ci[1], ci[2] end
  end
  return { title = title, alt = name .. " of each block", xlabel = entry.axes[1], series = { series },
    xticks = report_figures.block_ticks(#entry.values), ylog = quantity.wants_log(log, { series }),
    ylabel = entry.unit ~= "" and entry.unit or "value" }
end

local function heat_figure(_, name, entry)
  local low, high = math.huge, -math.huge
  for _, row in ipairs(entry.values) do
    for _, x in ipairs(row) do
      if format.finite(x) then low, high = math.min(low, x), math.max(high, x) end
    end
  end
  if low > high then low, high = 0, 0 end
  if low == high then low, high = low - 0.5, low + 0.5 end
  return {
    heat = entry.values, alt = name .. " as a matrix", ylabel = entry.axes[1],
    xlabel = entry.axes[2] .. (entry.labels and " (" .. table.concat(entry.labels, ", ") .. ")" or ""),
    key = entry.unit ~= "" and entry.unit or "value", low = low, high = high,
    xticks = registry.first(entry.axes[2]), yticks = registry.first(entry.axes[1]),
  }
end

-- The columns of a matrix that are different figures, one after the other as lists.
local function column_entries(entry)
  local entries = {}
  for c, column in ipairs(entry.columns) do
    local one = { values = {}, ci = entry.ci and {}, unit = entry.unit, axes = { entry.axes[1] } }
    for r, row in ipairs(entry.values) do
      one.values[r] = row[c]
      if entry.ci then one.ci[r] = entry.ci[r][c] end
    end
    entries[c] = { column, one }
  end
  return entries
end

local function figures_of(name, entry)
  if entry.columns then
    local figures = {}
    for k, each in ipairs(column_entries(entry)) do
      figures[k] = line_figure(each[1], name .. ", " .. each[1] .. ",", each[2], "auto")
    end
    return figures
  end
  return { (is_matrix(entry) and heat_figure or line_figure)(nil, name, entry, quantity.of(name).log) }
end

local function rows_of(entry)
  local rows = {}
  for r, value in ipairs(entry.values) do
    local cells = { el("th", { scope = "row" }, esc(entry.axes[1] .. " " .. label(entry.axes[1], r))) }
    for c, x in ipairs(is_matrix(entry) and value or { value }) do
      local ci = entry.ci and entry.ci[r]
      if ci and is_matrix(entry) then ci = ci[c] end
      cells[#cells + 1] = el("td", nil, esc(with_interval(x, ci)))
    end
    rows[r] = el("tr", nil, cells)
  end
  return rows
end

local function head_of(entry)
  if not is_matrix(entry) then return "" end
  local widest, cells = 0, { el("th", { scope = "col" }, esc(entry.axes[1])) }
  for _, row in ipairs(entry.values) do widest = math.max(widest, #row) end
  for c = 1, widest do
    local name = (entry.columns and "" or entry.axes[2] .. " ") .. column_name(entry, c)
    cells[c + 1] = el("th", { scope = "col" }, esc(name))
  end
  return el("thead", nil, el("tr", nil, cells))
end

local function section(name, entry, windows, svgs)
  local caption = entry.definition .. (entry.source ~= "" and " (" .. entry.source .. ")." or ".")
  local order = show.order(entry, windows)
  local said = lines_of(entry)
  said[#said + 1] = order
  local items = {}
  for k, line in ipairs(said) do items[k] = el("li", nil, esc(line)) end
  return el("section", { id = name }, el("h2", nil, esc(name)),
    el("figure", nil, page.panels(svgs),
      el("figcaption", nil, esc(caption))),
    #items > 0 and el("ul", { class = "say" }, items) or "",
    el("details", nil, el("summary", nil, entry.ci and "values with their 95 % intervals" or "values"),
      el("div", { class = "scroll" }, el("table", nil, head_of(entry), el("tbody", nil, rows_of(entry)))))) .. "\n"
end

--- The result as one HTML page with its figures inside.
---@param details table     second result of sonde.probe
---@param gnuplot? string   program to draw with
---@return string page, string|nil reason why there are no figures
function show.page(details, gnuplot)
  local names, all, counts = sorted_keys(details.probes), {}, {}
  for k, name in ipairs(names) do
    local figures = figures_of(name, details.probes[name])
    counts[k] = #figures
    for _, figure in ipairs(figures) do all[#all + 1] = figure end
  end
  local svgs, reason = plot.render(all, gnuplot)
  local sections, at = {}, 0
  for k, name in ipairs(names) do
    local own = {}
    for i = 1, svgs and counts[k] or 0 do own[i] = svgs[at + i] end
    at = at + counts[k]
    sections[k] = section(name, details.probes[name], details.windows, own)
  end
  local title = "Probes of " .. (details.model or "a model")
  return page.document(title, { el("header", nil, el("h1", nil, esc(title)),
    el("p", { class = "facts" }, esc(facts(details))),
    el("p", { class = "note" }, "Blocks count from 0. " .. warranty(details.windows) .. "."),
    reason and el("p", { class = "note" }, esc(reason)) or ""), table.concat(sections) }), reason
end

return show
