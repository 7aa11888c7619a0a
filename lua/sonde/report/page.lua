--- page.lua - the frame of every page: one HTML file without scripts or network, and groups of figures in it.

local html = require "sonde.report.html"
local plot = require "sonde.report.plot"
local style = require "sonde.report.style"

local page = {}
local el, esc = html.element, html.escape

--- A whole page.
---@param title string
---@param content string|string[]     markup
---@return string
function page.document(title, content)
  local head = el("head", nil, el("meta", { charset = "utf-8" }),
    el("meta", { name = "viewport", content = "width=device-width, initial-scale=1" }),
    el("title", nil, esc(title)), el("style", nil, "\n" .. style))
  local body = el("body", nil, el("main", nil, content))
  return "<!DOCTYPE html>\n" .. el("html", { lang = "en", xmlns = "http://www.w3.org/1999/xhtml" }, head, "\n", body)
    .. "\n"
end

--- Draws all groups of figures of some lists in one run of gnuplot; each group gets its drawings as `svgs`.
---@param lists table[]
---@param program string|nil     the gnuplot to run
---@return string|nil reason     why there are none
function page.draw(lists, program)
  local all, at = {}, 1
  for _, groups in ipairs(lists) do
    for _, group in ipairs(groups) do
      for _, figure in ipairs(group.figures) do all[#all + 1] = figure end
    end
  end
  local svgs, reason = plot.render(all, program)
  if not svgs then return reason end
  for _, groups in ipairs(lists) do
    for _, group in ipairs(groups) do
      group.svgs = {}
      for k = 1, #group.figures do group.svgs[k], at = svgs[at], at + 1 end
    end
  end
end

--- Drawings side by side.
---@param svgs string[]
---@return string
function page.panels(svgs)
  local panels = {}
  for k, svg in ipairs(svgs) do panels[k] = el("div", nil, svg) end
  return el("div", { class = #panels == 1 and "panels wide" or "panels" }, panels)
end

--- A drawn group: its title, its figures, its caption.
---@param group table
---@param prefix string     of its id
---@param rank? integer     of its heading; default 3
---@return string
function page.figure(group, prefix, rank)
  return el("figure", { id = prefix .. group.id }, el("h" .. (rank or 3), nil, esc(group.title)),
    page.panels(group.svgs), el("figcaption", nil, esc(group.caption)))
end

--- A page of groups of figures.
---@param title string
---@param intro string[]     markup below the heading
---@param groups table[]
---@param program? string    the gnuplot to run
---@return string page, string|nil reason     why there are no figures
function page.figures(title, intro, groups, program)
  local reason, shown = page.draw({ groups }, program), {}
  if reason then shown[1] = el("p", { class = "note" }, esc(reason)) end
  for k, group in ipairs(reason and {} or groups) do shown[k] = page.figure(group, "") .. "\n" end
  return page.document(title, { el("header", nil, el("h1", nil, esc(title)), intro), el("section", nil, shown) }),
    reason
end

return page
