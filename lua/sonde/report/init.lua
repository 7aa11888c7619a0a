--- sonde.report - the report of a sweep: one HTML file with its table, figures, configuration and provenance inside.
--
-- render is a function of its data alone: the same data gives the same bytes. It reads no clock and no network;
-- gnuplot is the one program it calls. The data's fields are described in report/data.lua.

-- What lives here: data.lua orders trials into cells, table.lua and figures.lua say what is shown of them,
-- comparison.lua (with correlation.lua) what of a paper's numbers beside them; page.lua, style.lua and html.lua make
-- the page, plot/ the drawings, export.lua and runs.lua CSV. quantity.lua and quantities/ are what is known of numbers
-- by name.

local args = require "sonde.base.args"
local comparison = require "sonde.report.comparison"
local html = require "sonde.report.html"
local page = require "sonde.report.page"
local report_data = require "sonde.report.data"
local report_export = require "sonde.report.export"
local report_figures = require "sonde.report.figures"
local report_table = require "sonde.report.table"
local quantity = require "sonde.report.quantity"
local format = require "sonde.base.format"

local report = {}
local el, esc = html.element, html.escape

local function section(id, title, ...)
  return el("section", { id = id }, el("h2", nil, esc(title)), ...) .. "\n"
end

-- ---- head ----------------------------------------------------------------------------------------------------

local function status_counts(trials)
  local counts, order = {}, { "done", "diverged", "failed", "interrupted", "killed", "running", "queued" }
  for _, trial in ipairs(trials) do counts[trial.status] = (counts[trial.status] or 0) + 1 end
  local parts = {}
  for _, status in ipairs(order) do
    if counts[status] then parts[#parts + 1] = ("%d %s"):format(counts[status], status) end
  end
  return table.concat(parts, ", ")
end

-- The second sweep of a page has a heading of the second rank.
local function header(data, rank)
  local parts = { el("h" .. rank, nil, esc(data.title or data.name)) }
  if data.question then parts[#parts + 1] = el("p", { class = "question" }, esc(data.question)) end
  parts[#parts + 1] = el("p", { class = "facts" }, ("%d trials: %s"):format(#data.trials, status_counts(data.trials)))
  for _, note in ipairs(report_data.notes(data)) do
    parts[#parts + 1] = el("p", { class = "note" }, "Note: " .. esc(note))
  end
  return el("header", nil, parts) .. "\n"
end

-- ---- result and figures -----------------------------------------------------------------------------------------

local function differences(view)
  if not view:compares() then return "" end
  return el("h3", nil, esc((view:difference_name():gsub("^d", "D")))) .. report_table.differences_html(view)
    .. el("p", { class = "note" }, esc(("%s in %s at the same %s, paired over trials of one %s%s."):format(
    view:has_spread() and "Mean " .. view:difference_name() or view:difference_name():gsub("^d", "D"),
    quantity.short(view.metric),
    view.column_name or "settings", view:repeated(), view:has_spread()
      and ", with its 95 % Student interval; bold where "
    .. "that leaves out 0. Not corrected for the number of comparisons" or "; one of them has no interval")))
end

-- The table of one view, what may be said of it, and its differences; a panel has a heading.
local function result_of(view)
  local items = {}
  for _, sentence in ipairs(#view.series > 1 and report_table.conclusions(view) or {}) do
    items[#items + 1] = el("li", nil, esc(sentence))
  end
  local heading = view.panel ~= nil
    and el("h3", nil, esc(("%s %s"):format(view.data.panels, report_table.value(view.panel)))) or ""
  local note = view.panel == nil and el("p", { class = "note" }, esc(report_table.intro { view })) or ""
  return table.concat { heading, report_table.html(view), #items > 0 and el("ul", { class = "say" }, items) or "", note,
    differences(view) }
end

local function result_sections(sections, prefix)
  local parts = {}
  for k, section_ in ipairs(sections) do
    local known = #sections > 1 and ": " .. report_figures.title(section_.metric) or ""
    local inside, views = {}, section_.views
    for v, view in ipairs(views) do inside[v] = result_of(view) end
    if views[1].panel ~= nil then inside[#inside + 1] = el("p", { class = "note" }, esc(report_table.intro(views))) end
    local id = prefix .. "result" .. (#sections > 1 and "-" .. section_.metric or "")
    parts[k] = section(id, "Result" .. known, inside)
  end
  return table.concat(parts)
end

local function figures_section(groups, reason, prefix)
  if #groups == 0 and not reason then return "" end
  if reason then return section(prefix .. "figures", "Figures", el("p", { class = "note" }, esc(reason))) end
  local parts = {}
  for k, group in ipairs(groups) do parts[k] = page.figure(group, prefix) end
  return section(prefix .. "figures", "Figures", parts)
end

-- ---- trials, provenance, data -------------------------------------------------------------------------------------

local function trial_links(trial)
  if not trial.link then return "" end
  local links = {}
  for _, file in ipairs { "config.yaml", "metrics.jsonl", "log.txt" } do
    links[#links + 1] = el("a", { href = html.path(trial.link .. "/" .. file) }, file)
  end
  return table.concat(links, " ")
end

local function trials_section(data, sections, prefix)
  local head = { "trial", "status" }
  for _, each in ipairs(sections) do head[#head + 1] = each.metric end
  for _, title in ipairs { "time", "files", "reason" } do head[#head + 1] = title end
  for k, title in ipairs(head) do head[k] = el("th", { scope = "col" }, esc(title)) end
  local rows = {}
  for _, trial in ipairs(data.trials) do
    local values = {}
    for k, each in ipairs(sections) do
      local value = trial.results and trial.results[each.metric]
      values[k] = el("td", nil, type(value) == "number" and esc(report_table.number(value, 5)) or "–")
    end
    rows[#rows + 1] = el("tr", nil, el("td", nil, el("code", nil, esc(trial.id))), el("td", nil, esc(trial.status)),
      values, el("td", nil, format.duration(trial.seconds)), el("td", nil, trial_links(trial)),
      el("td", { class = "wrap" }, esc(trial.reason or ""))) .. "\n"
  end
  return section(prefix .. "trials", "Trials", el("details", #rows <= 12 and { open = "open" } or nil,
    el("summary", nil, ("%d trials, %s"):format(#rows, status_counts(data.trials))),
    el("div", { class = "scroll" }, el("table", nil, el("thead", nil, el("tr", nil, head)), el("tbody", nil, rows)))))
end

local function provenance_section(data, prefix)
  local rows = {}
  for _, entry in ipairs(data.provenance or {}) do
    rows[#rows + 1] = el("tr", nil, el("th", { scope = "row" }, esc(entry[1])), el("td", { class = "wrap" },
      esc(entry[2])))
  end
  local parts = {}
  if data.command then
    parts[1] = el("p", nil, "Run again, or go on where it stopped, with")
    parts[2] = el("pre", nil, el("code", nil, esc(data.command)))
  end
  if #rows > 0 then
    parts[#parts + 1] = el("div", { class = "scroll" }, el("table", nil, el("tbody", nil, rows)))
  end
  for _, config in ipairs(data.configs or {}) do
    parts[#parts + 1] = el("details", nil, el("summary", nil, esc(config[1])),
      el("pre", nil, el("code", nil, esc(config[2]))))
  end
  return section(prefix .. "provenance", "Command, configuration, provenance", parts)
end

local function tables_of(data, sections)
  local tables = report_export.tables(data, sections)
  if data.comparison then tables[#tables + 1] = comparison.csv(data) end
  return tables
end

local function data_section(data, sections, prefix)
  local links, tables = {}, tables_of(data, sections)
  for k, each in ipairs(tables) do
    local file = data.name .. "-" .. each.name .. ".csv"
    links[k] = el("li", nil, el("a", { download = file, href = html.data_uri("text/csv", each.text) }, esc(file)), ": ",
      esc(each.doc))
  end
  return section(prefix .. "data", "Data", el("p", nil,
    "Every number of the tables and of the figures over blocks, which "
    .. "count from 0 as there:"), el("ul", nil, links),
    el("details", nil, el("summary", nil, "trials as CSV"), el("pre", nil, el("code", nil, esc(tables[1].text)))))
end

-- Figures that the sweep's script made; where they cannot be drawn, the section Figures says why.
local function own_figures(part)
  local parts = {}
  for k, group in ipairs(part.reason and {} or part.own) do
    parts[k] = el("section", nil, page.figure(group, part.prefix, 2)) .. "\n"
  end
  return table.concat(parts)
end

local OPEN = 24      -- rows of a table that is not folded

-- Tables that the sweep's script made.
local function own_tables(data)
  local parts = {}
  for k, each in ipairs(data.tables or {}) do
    local shown = html.table("main own", each.head, each.rows)
    if #each.rows > OPEN then
      shown = el("details", nil, el("summary", nil, ("%d rows"):format(#each.rows)), shown)
    end
    parts[k] = el("section", nil, el("h2", nil, esc(each.title)), shown,
      el("p", { class = "note" }, esc(each.note or ""))) .. "\n"
  end
  return table.concat(parts)
end

local function own_tables_text(data)
  local texts = {}
  for k, each in ipairs(data.tables or {}) do
    local rows = { each.head }
    for _, row in ipairs(each.rows) do rows[#rows + 1] = row end
    texts[k] = ("%s: %s\n%s\n%s\n"):format(data.name, each.title, table.concat(format.columns(rows), "\n"),
      each.note or "")
  end
  return table.concat(texts, "\n")
end

-- What a page shows of one sweep, below its header.
local function content(part)
  return table.concat {
    own_figures(part), own_tables(part.data), part.data.comparison and comparison.html(part.data, part.prefix) or "",
    result_sections(part.sections, part.prefix), figures_section(part.groups, part.reason, part.prefix),
    trials_section(part.data, part.sections, part.prefix), provenance_section(part.data, part.prefix),
    data_section(part.data, part.sections, part.prefix),
  }
end

local function part_of(data, prefix)
  local sections, groups = report_data.sections(data), {}
  for _, list in ipairs { data.comparison and comparison.groups(data) or {}, report_figures.groups(sections) } do
    for _, group in ipairs(list) do groups[#groups + 1] = group end
  end
  local own = {}
  for k, group in ipairs(data.figures or {}) do
    own[k] = { id = "own-" .. k, title = group.title, caption = group.caption or "", figures = group.figures }
  end
  return { data = data, prefix = prefix, sections = sections, groups = groups, own = own }
end

--- Renders the report of a sweep.
---@param data table see report/data.lua
---@param options? table { gnuplot = program to draw with }
---@return string page, string|nil reason why there are no figures
function report.render(data, options)
  local parts = { part_of(data, "") }
  parts[2] = data.beside and part_of(data.beside, "beside-")
  local lists, shown = {}, {}
  for _, part in ipairs(parts) do
    lists[#lists + 1], lists[#lists + 2] = part.own, part.groups
  end
  local reason = page.draw(lists, options and options.gnuplot)
  for k, part in ipairs(parts) do
    part.reason = reason
    shown[k] = header(part.data, k) .. content(part)
  end
  return page.document(data.title or data.name, shown), reason
end

--- The tables of a sweep as CSV.
---@param data table see report/data.lua
---@return table[] { { name, doc, text }, .. }
function report.tables(data)
  return tables_of(data, report_data.sections(data))
end

--- The tables of a sweep for a terminal.
---@param data table see report/data.lua
---@return string
function report.text(data)
  local texts = {}
  for _, part in ipairs { data, data.beside } do
    for _, each in ipairs(report_data.sections(part)) do
      for _, view in ipairs(each.views) do texts[#texts + 1] = report_table.text(view) end
    end
    if part.comparison then texts[#texts + 1] = comparison.text(part) end
    if part.tables then texts[#texts + 1] = own_tables_text(part) end
  end
  local copies = report_data.copies(data)
  if copies then texts[#texts + 1] = "note: " .. copies .. "\n" end
  return table.concat(texts, "\n")
end

local data = { name = "data", type = "results", required = true }

return args.declare(report, "sonde.report.", {
  render = { data, { name = "options", type = "table" } }, text = { data },
  tables = { data },
})
