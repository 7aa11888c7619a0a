--- report.lua - the report of a sweep: one HTML file with its table, figures, configuration and provenance inside.
--
-- render is a function of its data alone: the same data gives the same bytes. It reads no clock and no network;
-- gnuplot is the one program it calls. The data's fields are described in report_data.lua.

local html = require "sonde.report_html"
local plot = require "sonde.plot"
local report_data = require "sonde.report_data"
local report_export = require "sonde.report_export"
local report_figures = require "sonde.report_figures"
local report_table = require "sonde.report_table"
local style = require "sonde.report_style"

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

local function header(data)
  local parts = { el("h1", nil, esc(data.title or data.name)) }
  if data.question then parts[#parts + 1] = el("p", { class = "question" }, esc(data.question)) end
  parts[#parts + 1] = el("p", { class = "facts" }, ("%d trials: %s"):format(#data.trials, status_counts(data.trials)))
  for _, note in ipairs(data.notes or {}) do parts[#parts + 1] = el("p", { class = "note" }, "Note: " .. esc(note)) end
  return el("header", nil, parts) .. "\n"
end

-- ---- result and figures -----------------------------------------------------------------------------------------

local function differences(view)
  if view.data.reference == nil then return "" end
  return el("h3", nil, esc((view:difference_name():gsub("^d", "D")))) .. report_table.differences_html(view)
    .. el("p", { class = "note" }, esc(("Mean %s in %s at the same %s, paired over trials of one %s, "
    .. "with its 95 %% Student interval; bold where that leaves out 0. Not corrected for the number of comparisons."):format(
    view:difference_name(), view.metric, view.column_name or "settings", view.data.over or "seed")))
end

local function result_section(view)
  local items = {}
  for _, sentence in ipairs(report_table.conclusions(view)) do items[#items + 1] = el("li", nil, esc(sentence)) end
  local intro = ("Mean ± standard deviation of %s over %s, %s is better. A value is marked only where "
    .. "its 95 %% Student interval lies apart from every other of its column; ≈ marks those that cannot be told from "
    .. "the best. Intervals are a cell's own, not corrected for the number of comparisons."):format(view.metric, view:repeats(),
    view.data.higher and "higher" or "lower")
  return section("result", "Result", report_table.html(view), el("ul", { class = "say" }, items),
    el("p", { class = "note" }, esc(intro)), differences(view))
end

local function figures_section(view, program)
  local groups, all = report_figures.groups(view), {}
  for _, group in ipairs(groups) do
    for _, figure in ipairs(group.figures) do all[#all + 1] = figure end
  end
  local svgs, reason = plot.render(all, program)
  if not svgs then return section("figures", "Figures", el("p", { class = "note" }, esc(reason))), reason end
  local parts, next_svg = {}, 1
  for _, group in ipairs(groups) do
    local panels = {}
    for k = 1, #group.figures do panels[k] = el("div", nil, svgs[next_svg + k - 1]) end
    next_svg = next_svg + #group.figures
    parts[#parts + 1] = el("figure", { id = group.id }, el("h3", nil, esc(group.title)),
      el("div", { class = #panels == 1 and "panels wide" or "panels" }, panels),
      el("figcaption", nil, esc(group.caption)))
  end
  return section("figures", "Figures", parts)
end

-- ---- trials, provenance, data -------------------------------------------------------------------------------------

local function duration(seconds)
  if not seconds then return "" end
  if seconds < 100 then return ("%.1f s"):format(seconds) end
  if seconds < 6000 then return ("%d min %02d s"):format(math.floor(seconds / 60), math.floor(seconds % 60)) end
  return ("%d h %02d min"):format(math.floor(seconds / 3600), math.floor(seconds % 3600 / 60))
end

local function trial_links(trial)
  if not trial.link then return "" end
  local links = {}
  for _, file in ipairs { "config.yaml", "metrics.jsonl", "log.txt" } do
    links[#links + 1] = el("a", { href = html.path(trial.link .. "/" .. file) }, file)
  end
  return table.concat(links, " ")
end

local function trials_section(view)
  local head = { "trial", "status", view.metric, "time", "files", "reason" }
  for k, title in ipairs(head) do head[k] = el("th", { scope = "col" }, esc(title)) end
  local rows = {}
  for _, trial in ipairs(view.data.trials) do
    local value = trial.results and trial.results[view.metric]
    rows[#rows + 1] = el("tr", nil, el("td", nil, el("code", nil, esc(trial.id))), el("td", nil, esc(trial.status)),
      el("td", nil, type(value) == "number" and esc(report_table.number(value, 5)) or "–"),
      el("td", nil, duration(trial.seconds)), el("td", nil, trial_links(trial)),
      el("td", { class = "wrap" }, esc(trial.reason or ""))) .. "\n"
  end
  return section("trials", "Trials", el("details", #rows <= 12 and { open = "open" } or nil,
    el("summary", nil, ("%d trials, %s"):format(#rows, status_counts(view.data.trials))),
    el("div", { class = "scroll" }, el("table", nil, el("thead", nil, el("tr", nil, head)), el("tbody", nil, rows)))))
end

local function provenance_section(data)
  local rows = {}
  for _, entry in ipairs(data.provenance or {}) do
    rows[#rows + 1] = el("tr", nil, el("th", { scope = "row" }, esc(entry[1])), el("td", { class = "wrap" }, esc(entry[2])))
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
    parts[#parts + 1] = el("details", nil, el("summary", nil, esc(config[1])), el("pre", nil, el("code", nil, esc(config[2]))))
  end
  return section("provenance", "Command, configuration, provenance", parts)
end

local function download(file, kind, text)
  return el("a", { download = file, href = html.data_uri(kind, text) }, file)
end

local function data_section(data)
  local trials, arrays = report_export.trials_csv(data), report_export.arrays_csv(data)
  local parts = { el("p", nil, "Every number of the table and of the figures over blocks: ",
    download(data.name .. "-trials.csv", "text/csv", trials), arrays and ", " or "",
    arrays and download(data.name .. "-arrays.csv", "text/csv", arrays) or "", ".") }
  parts[2] = el("details", nil, el("summary", nil, "trials as CSV"), el("pre", nil, el("code", nil, esc(trials))))
  return section("data", "Data", parts)
end

--- Renders the report of a sweep.
---@param data table see report_data.lua
---@param options? table { gnuplot = program to draw with }
---@return string page, string|nil reason why there are no figures
function report.render(data, options)
  local view = report_data.view(data)
  local figures, reason = figures_section(view, options and options.gnuplot)
  local head = el("head", nil, el("meta", { charset = "utf-8" }),
    el("meta", { name = "viewport", content = "width=device-width, initial-scale=1" }),
    el("title", nil, esc(data.title or data.name)), el("style", nil, "\n" .. style))
  local body = el("body", nil, el("main", nil, header(data), result_section(view), figures, trials_section(view),
    provenance_section(data), data_section(data)))
  return "<!DOCTYPE html>\n" .. el("html", { lang = "en", xmlns = "http://www.w3.org/1999/xhtml" }, head, "\n", body)
    .. "\n", reason
end

--- The table of a sweep for a terminal.
---@param data table see report_data.lua
---@return string
function report.text(data)
  return report_table.text(report_data.view(data))
end

return report
