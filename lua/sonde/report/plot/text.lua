--- text.lua - texts and numbers as gnuplot reads them.

local html = require "sonde.report.html"

local text = { FONT = 13 }

--- A text in single quotes, inside which gnuplot interprets nothing. (The terminal runs without markup, "noenhanced".)
--- A single quote becomes a typographic one: gnuplot takes a doubled one at the beginning of a text for its end.
---@param value any
---@return string
function text.quote(value)
  return "'" .. html.clean(value):gsub("%c", " "):gsub("'", "’") .. "'"
end

---@param v number
---@return string
function text.number(v)
  return string.format("%.8g", v)
end

return text
