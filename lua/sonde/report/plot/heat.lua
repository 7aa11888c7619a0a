--- heat.lua - a table of numbers as coloured cells, in gnuplot commands.
--
--   figure = { heat = { {row 1}, {row 2}, .. }, title, alt, xlabel, ylabel, key, low, high, xticks, yticks,
--     names, down, width, height }
--
-- Row r stands at height r, or with `down` below row r - 1; its entry c at place c; rows may differ in length. Ticks
-- count from the number that `xticks` or `yticks` is, or are the `names` of rows and columns where there is room for
-- them. `key` names the colours, which run from `low` to `high`. The scale (viridis) grows in lightness, so that it
-- reads without hue and on either ground.

local text = require "sonde.report.plot.text"

local quote, number = text.quote, text.number

local WIDTH, HEIGHT, TICKS, NAMES = 520, 400, 8, 32
local PALETTE = "0 '#440154', 0.25 '#3b528b', 0.5 '#21918c', 0.75 '#5ec962', 1 '#fde725'"

-- At most about TICKS of n.
local function ticks(axis, n, from, names)
  local out = {}
  if names and n <= NAMES then
    for k = 1, n do out[k] = quote(names[k]) .. " " .. k end
    return ("set %stics nomirror scale 0 %s(%s)"):format(axis, axis == "x" and "rotate by 90 right " or "",
      table.concat(out, ", "))
  end
  for k = 1, n, math.max(1, math.ceil(n / TICKS)) do out[#out + 1] = ("'%d' %d"):format(from + k - 1, k) end
  return ("set %stics nomirror scale 0 (%s)"):format(axis, table.concat(out, ", "))
end

--- The commands that draw a figure; `index` names it among those of one run.
---@param figure table see the head of this file
---@param index number
---@return string
return function(figure, index)
  local columns, data = 1, {}
  for _, row in ipairs(figure.heat) do columns = math.max(columns, #row) end
  for r, row in ipairs(figure.heat) do
    for c = 1, columns do
      local value = row[c]
      local known = value and value == value
      data[#data + 1] = ("%d %d %s"):format(c, r, known and number(value) or "NaN")
    end
  end
  local out = { "reset", "unset key", "set border 0" }
  local function put(...) out[#out + 1] = string.format(...) end
  put("set terminal svg size %d,%d dynamic noenhanced font 'sans-serif,%d' name 'figure%d'", figure.width or WIDTH,
    figure.height or HEIGHT, text.FONT, index)
  put("set palette defined (%s)", PALETTE)
  if figure.title then put("set title %s", quote(figure.title)) end
  put("set xlabel %s", quote(figure.xlabel))
  put("set ylabel %s", quote(figure.ylabel))
  put("set cblabel %s", quote(figure.key))
  put("set xrange [0.5:%g]", columns + 0.5)
  put(figure.down and "set yrange [%g:0.5]" or "set yrange [0.5:%g]", #figure.heat + 0.5)
  put("set cbrange [%s:%s]", number(figure.low), number(figure.high))
  put("%s", ticks("x", columns, figure.xticks, figure.names))
  put("%s", ticks("y", #figure.heat, figure.yticks, figure.names))
  put("$cells << END_OF_DATA\n%s\nEND_OF_DATA", table.concat(data, "\n"))
  put("plot $cells using 1:2:3 with image pixels")
  return table.concat(out, "\n")
end
