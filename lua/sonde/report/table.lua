--- table.lua - the main table (mean ± sd over seeds) as text and as HTML, and what it allows to conclude.

local grid = require "sonde.sweep.grid"
local html = require "sonde.report.html"
local format = require "sonde.base.format"
local quantity = require "sonde.report.quantity"

local report_table = {}

--- A number with `digits` significant digits, without an exponent where it is readable without one.
---@param v number
---@param digits number
---@return string
function report_table.number(v, digits)
  if v ~= v then return "NaN" end
  if v == math.huge or v == -math.huge then return v > 0 and "∞" or "−∞" end
  local size = math.abs(v)
  if size ~= 0 and (size >= 1e6 or size < 1e-4) then return string.format("%." .. (digits - 1) .. "e", v) end
  local before = size >= 1 and math.floor(math.log(size) / math.log(10) + 1e-9) + 1 or 0
  if size > 0 and size < 1 then before = math.ceil(math.log(size) / math.log(10) - 1e-9) end
  return string.format("%." .. math.max(0, digits - before) .. "f", v)
end

--- The decimals at which a spread has two significant digits; the mean is shown with as many.
local function decimals_of(sd)
  return math.max(0, 1 - math.floor(math.log(sd) / math.log(10) + 1e-9))
end

--- "41.32 ± 0.18", or "41.32" with one seed.
---@param cell table a cell of report_data
---@return string
function report_table.mean_sd(cell)
  if not cell.mean then return "–" end
  if cell.sd == 0 then return (cell.mean == 0 and "0" or report_table.number(cell.mean, 4)) .. " ± 0" end
  local decimals = cell.sd and decimals_of(cell.sd)
  if not decimals or decimals > 6 or math.abs(cell.mean) >= 1e6 then
    local text = report_table.number(cell.mean, 4)
    return cell.sd and text .. " ± " .. report_table.number(cell.sd, 2) or text
  end
  local form = "%." .. decimals .. "f"
  return string.format(form, cell.mean) .. " ± " .. string.format(form, cell.sd)
end

local LACKS = { { "diverged", "diverged" }, { "not_finite", "not finite" }, { "failed", "failed" },
  { "missing", "not done" }, { "unreported", "without this number" } }
local WIDE = 2      -- seeds that differ by more than this factor are shown with their range

-- What a cell must say beside its number: seeds that gave none, and seeds that hardly belong together.
local function remarks(cell, seeds)
  local notes = {}
  for _, lack in ipairs(LACKS) do
    if cell[lack[1]] > 0 then notes[#notes + 1] = ("%d %s"):format(cell[lack[1]], lack[2]) end
  end
  local low, high = math.huge, -math.huge
  for _, value in ipairs(cell.values) do low, high = math.min(low, value), math.max(high, value) end
  if low > 0 and high > WIDE * low then
    notes[#notes + 1] = report_table.number(low, 3) .. " to " .. report_table.number(high, 3)
  end
  if cell.n > 0 and cell.n ~= seeds then notes[#notes + 1] = ("n = %d"):format(cell.n) end
  return table.concat(notes, ", ")
end

local value_text = grid.text
report_table.value = value_text

local function column_title(view, column)
  if not view.column_name then return quantity.short(view.metric) end
  return view.column_name .. " " .. value_text(column)
end

-- "best", "tied" or nil: how a cell is marked. What has one value and no interval is neither.
local function mark(ranking, series)
  if ranking.best == nil or ranking.count < 2 then return nil end      -- nothing to compare
  if ranking.tied[series] then return "tied" end
  if series ~= ranking.best or ranking.unknown[series] then return nil end
  if next(ranking.tied) ~= nil then return "tied" end
  return next(ranking.unknown) == nil and "best" or nil
end

-- What the marks of some views' cells mean, of those that they have, as a list; `signs` are those of the medium.
local function legend(views, signs)
  local seen, parts = {}, {}
  for _, view in ipairs(views) do
    for _, column in ipairs(view.columns) do
      local ranking = view:ranking(column)
      for _, series in ipairs(view.series) do seen[mark(ranking, series) or "none"] = true end
      if ranking.count > 1 and next(ranking.unknown) ~= nil then seen.unknown = true end
    end
  end
  if seen.best then
    parts[#parts + 1] = signs.best .. "best, its 95 % interval lies apart from all others of its column"
  end
  if seen.tied then parts[#parts + 1] = signs.tied .. "95 % intervals overlap: not told apart from the best" end
  if seen.unknown then
    parts[#parts + 1] = ("a cell of one %s has no spread, and is not ranked"):format(views[1]:repeated())
  end
  return parts
end

--- What the numbers and marks of a metric's tables are, in a paragraph.
---@param views table[]
---@return string
function report_table.intro(views)
  local marks = legend(views, { best = "Bold: ", tied = "≈: " })
  local what, spread = views[1]:metric_name(), false
  for _, view in ipairs(views) do spread = spread or view:has_spread() end
  table.insert(marks, 1, spread and "Mean ± standard deviation of " .. what or (what:gsub("^%l", string.upper)))
  if quantity.is_ranked(views[1].metric) then
    marks[1] = ("%s; %s is better"):format(marks[1], views[1].data.higher and "higher" or "lower")
  end
  if spread then marks[#marks + 1] = "Intervals are a cell's own, not corrected for the number of comparisons" end
  for k, sentence in ipairs(marks) do marks[k] = sentence:gsub("^a cell", "A cell") .. "." end
  return table.concat(marks, " ")
end

--- What may be said about the order in each column: one sentence a column.
---@param view table
---@return string[]
function report_table.conclusions(view)
  local sentences = {}
  if not quantity.is_ranked(view.metric) then return sentences end
  for _, column in ipairs(view.columns) do
    local ranking = view:ranking(column)
    local tied, unknown = {}, {}
    for _, series in ipairs(view.series) do
      if mark(ranking, series) == "tied" then tied[#tied + 1] = value_text(series) end
      if ranking.unknown[series] then unknown[#unknown + 1] = value_text(series) end
    end
    local text
    if ranking.best == nil then
      text = "no trial has a result."
    elseif ranking.count == 1 then
      text = "nothing to compare."
    elseif #tied + #unknown > 0 then
      local whys = {}
      if #tied > 0 then whys[1] = ("of %s: their 95 %% intervals overlap"):format(table.concat(tied, ", ")) end
      if #unknown > 0 then
        whys[#whys + 1] = ("of %s: a single value shows no spread"):format(table.concat(unknown, ", "))
      end
      text = "no ranking " .. table.concat(whys, ", nor ") .. "."
    else
      text = ("%s is %s; its 95 %% interval lies apart from all others."):format(value_text(ranking.best),
        view.data.higher and "highest" or "lowest")
    end
    if not ranking.complete and ranking.best ~= nil then text = text .. " Some cells lack values." end
    sentences[#sentences + 1] = column_title(view, column) .. ": " .. text
  end
  return sentences
end

-- ---- text ------------------------------------------------------------------------------------------------

local function aligned(rows)
  for _, row in ipairs(rows) do
    for k, cell in ipairs(row) do row[k] = cell:gsub("%c", "?") end
  end
  local lines, widths, total = format.columns(rows, 1), {}, 0
  for _, row in ipairs(rows) do
    for k, cell in ipairs(row) do widths[k] = math.max(widths[k] or 0, format.width(cell)) end
  end
  for _, width in ipairs(widths) do total = total + width end
  table.insert(lines, 2, string.rep("-", total + 2 * (#widths - 1)))
  return lines
end

-- "−0.42 [−0.71, −0.13]": decimals by the width of the interval.
local function difference_text(d)
  if not d.mean then return "–" end
  if not d.lo then return report_table.signed(d.mean, 3) end
  if (d.hi - d.lo) <= 1e-9 * math.abs(d.mean) then      -- rounding alone
    local text = report_table.signed(d.mean, 4)
    return ("%s [%s, %s]"):format(text, text, text)
  end
  local decimals = decimals_of((d.hi - d.lo) / 2)
  local form = "%+." .. math.min(decimals, 6) .. "f"
  local text = ("%s [%s, %s]"):format(form:format(d.mean), form:format(d.lo), form:format(d.hi))
  return (text:gsub("%-", "−"))
end

--- A number with its sign.
function report_table.signed(v, digits)
  if v == 0 then return "0" end
  return (v < 0 and "−" or "+") .. report_table.number(math.abs(v), digits)
end

-- The differences from the reference series, for a terminal.
local function differences_text(view)
  if not view:compares() then return {} end
  local header = { view:difference_name() }
  for _, column in ipairs(view.columns) do header[#header + 1] = column_title(view, column) end
  local rows = { header }
  for _, series in ipairs(view.series) do
    if view:compares(series) then
      local row = { value_text(series) }
      for _, column in ipairs(view.columns) do row[#row + 1] = difference_text(view:difference(series, column)) end
      rows[#rows + 1] = row
    end
  end
  return aligned(rows)
end

--- The table for a terminal: * marks a best value that stands apart, ~ those that cannot be told from the best; a line
--- below says so where there are such.
---@param view table
---@return string
function report_table.text(view)
  local _, seeds = view:seeds()
  local header = { view.series_name }
  for _, column in ipairs(view.columns) do header[#header + 1] = column_title(view, column) .. "  " end
  local rows, rankings = { header }, {}
  for _, column in ipairs(view.columns) do rankings[#rankings + 1] = view:ranking(column) end
  for _, series in ipairs(view.series) do
    local row = { value_text(series) }
    for k, column in ipairs(view.columns) do
      local cell = view:cell(series, column)
      local note, how = remarks(cell, seeds), mark(rankings[k], series)
      local text = report_table.mean_sd(cell) .. (note ~= "" and " (" .. note .. ")" or "")
      row[#row + 1] = text .. (how == "best" and " *" or how == "tied" and " ~" or "  ")
    end
    rows[#rows + 1] = row
  end
  local panel = view.panel ~= nil and (", %s %s"):format(view.data.panels, value_text(view.panel)) or ""
  local title = ("%s: %s%s, %s"):format(view.data.name, view:metric_name(), panel, view:spread())
  local lines = aligned(rows)
  table.insert(lines, 1, title)
  for _, sentence in ipairs(legend({ view }, { best = "* ", tied = "~ " })) do lines[#lines + 1] = sentence end
  local differences = differences_text(view)
  if #differences > 0 then lines[#lines + 1] = "" end
  for _, line in ipairs(differences) do lines[#lines + 1] = line end
  return table.concat(lines, "\n") .. "\n"
end

-- ---- HTML ------------------------------------------------------------------------------------------------

local function row_head(r, series)
  local swatch = html.element("i", { class = ("swatch b-%d"):format((r - 1) % 8 + 1) }, "")
  return html.element("th", { scope = "row" }, swatch, html.escape(value_text(series)))
end

local function cell_html(cell, seeds, how)
  local parts = {}
  local text = html.escape(report_table.mean_sd(cell))
  parts[1] = how == "best" and html.element("strong", nil, text) or text
  if how == "tied" then parts[2] = html.element("span", { title = "not told apart from the best" }, " ≈") end
  local note = remarks(cell, seeds)
  if note ~= "" then parts[#parts + 1] = html.element("small", nil, " " .. html.escape(note)) end
  return html.element("td", how and { class = how } or nil, parts)
end

--- The table of differences from the reference series; a difference whose interval leaves out 0 is marked.
---@param view table
---@return string
function report_table.differences_html(view)
  local head, body = { html.element("th", { scope = "col" }, html.escape(view.series_name)) }, {}
  for _, column in ipairs(view.columns) do
    head[#head + 1] = html.element("th", { scope = "col" }, html.escape(column_title(view, column)))
  end
  for r, series in ipairs(view.series) do
    if view:compares(series) then
      local row = { row_head(r, series) }
      for _, column in ipairs(view.columns) do
        local d = view:difference(series, column)
        local sure = d.lo and (d.lo > 0 or d.hi < 0)
        local text = html.escape(difference_text(d))
        row[#row + 1] = html.element("td", nil, sure and html.element("strong", nil, text) or text)
      end
      body[#body + 1] = html.element("tr", nil, row) .. "\n"
    end
  end
  return html.element("div", { class = "scroll" }, html.element("table", { class = "main" },
    html.element("thead", nil, html.element("tr", nil, head)), html.element("tbody", nil, body)))
end

--- The table for the page.
---@param view table
---@return string
function report_table.html(view)
  local _, seeds = view:seeds()
  local head, body, rankings = { html.element("th", { scope = "col" }, html.escape(view.series_name)) }, {}, {}
  for _, column in ipairs(view.columns) do
    head[#head + 1] = html.element("th", { scope = "col" }, html.escape(column_title(view, column)))
    rankings[#rankings + 1] = view:ranking(column)
  end
  for r, series in ipairs(view.series) do
    local row = { row_head(r, series) }
    for k, column in ipairs(view.columns) do
      row[#row + 1] = cell_html(view:cell(series, column), seeds, mark(rankings[k], series))
    end
    body[#body + 1] = html.element("tr", nil, row) .. "\n"
  end
  return html.element("div", { class = "scroll" }, html.element("table", { class = "main" },
    html.element("thead", nil, html.element("tr", nil, head)), html.element("tbody", nil, body)))
end

return report_table
