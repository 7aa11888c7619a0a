--- svg.lua - makes gnuplot's SVG fit into a page: colours from its style sheet, ids that are unique in it, and
-- none of what only a file of its own needs.

local html = require "sonde.report.html"

local plot_svg = {}

local COLOURS = 8      -- of the style sheet, in turn

--- The colour that stands for number `n` (from 1) of the palette until embed replaces it by a class.
---@param n number
---@return string
function plot_svg.marker(n)
  return string.format("#0101%02x", (n - 1) % COLOURS + 1)
end

local FIXED = { black = "ink", white = "paper", gray = "rule" }

-- gnuplot writes a colour as "rgb(  1,   1,   3)", "#010103" or a word; returns the name that the style sheet
-- knows ("3", "ink", "paper", "rule"), or nil.
local function palette_name(value)
  local r, g, b = value:match("^rgb%(%s*(%d+),%s*(%d+),%s*(%d+)%)$")
  if not r then
    r, g, b = value:match("^#(%x%x)(%x%x)(%x%x)$")
    if r then r, g, b = tonumber(r, 16), tonumber(g, 16), tonumber(b, 16) end
  end
  if r and tonumber(r) == 1 and tonumber(g) == 1 then return string.format("%d", tonumber(b)) end
  return FIXED[value]
end

-- Each coloured attribute becomes a class: s- for strokes, f- for fills, k- for the current colour (marks).
local function classes(tag)
  local names = {}
  for _, kind in ipairs { { "stroke", "s" }, { "fill", "f" }, { "color", "k" } } do
    tag = tag:gsub("%s" .. kind[1] .. "%s*=%s*(['\"])(.-)%1", function(quote, value)
      local name = palette_name(value)
      if not name then return nil end
      names[#names + 1] = kind[2] .. "-" .. name
      return ""
    end)
  end
  tag = tag:gsub("%sclass=\"gridline\"", function()
    names[#names + 1] = "gridline"
    return ""
  end)
  if #names == 0 then return tag end
  return (tag:gsub("^(<%w+)", "%1 class=\"" .. table.concat(names, " ") .. "\"", 1))
end

--- Turns one document of gnuplot's svg terminal into an element for a page.
---@param document string from "<svg" to "</svg>"
---@param index number of the figure in the page; keeps ids apart
---@param figure table its `alt` (or title) describes it to those who cannot see it
---@return string
function plot_svg.embed(document, index, figure)
  local prefix = string.format("fig%d-", index)
  local body = document:match("^<svg.->(.*)</svg>$")
  local view = document:match("viewBox=\"(.-)\"")
  body = body:gsub("<title>.-</title>", ""):gsub("<desc>.-</desc>", "")
  body = body:gsub("<filter.-</filter>", "")
  body = body:gsub("<rect x=\"0\" y=\"0\" width=\"%d+\" height=\"%d+\" fill=\"none\"/>", "", 1)
  body = body:gsub("xlink:href", "href")
  body = body:gsub("(href=')#", "%1#" .. prefix):gsub("(%sid=['\"])", "%1" .. prefix)
  body = body:gsub("%sfont%-family=\"[^\"]*\"", ""):gsub("<tspan%s*>(.-)</tspan>", "%1")
  body = body:gsub("<text>%s+", "<text>")
  body = body:gsub("<%w+%s[^<>]*>", classes)
  body = body:gsub("<g[^<>]*>%s*</g>", ""):gsub("%s*\n%s*", "\n")
  local width, height = view:match("(%S+) (%S+)$")
  return string.format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"%s\" width=\"%s\" height=\"%s\" "
    .. "role=\"img\" aria-label=\"%s\">%s</svg>", view, width, height, html.escape(figure.alt or figure.title or ""),
      body)
end

return plot_svg
