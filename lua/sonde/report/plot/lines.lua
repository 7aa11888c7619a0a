--- lines.lua - a figure of lines as gnuplot commands.
--
--   figure = { title, alt, xlabel, ylabel, xlog, ylog, ylow, yhigh, ytop, ybottom, xticks = {..}, width, height,
--     series = {..} }          -- a tick is a number, or { at = number, text = .. }
--   series = { label, colour = 1..8, x = {..}, y = {..}, lo = {..}, hi = {..}, band, markers, scatter }
--
-- `lo` and `hi` are the ends of error bars, or with `band` of a band, which does not widen the axis; `ylow` and `yhigh`
-- widen it (to share it between figures), `ytop` and `ybottom` cut it. Values that are not finite, or not positive on a
-- log axis, are left out and break the line. Lines are labelled at their right end in their own colour; a `scatter` is
-- small marks without a line, with `markers` as large ones as a line has. Where texts under the axis would run into
-- each other they are slanted or upright, and the figure is higher by what that takes. A series beyond the eight
-- colours has the colour of an earlier one, another mark and a dashed line.

local format = require "sonde.base.format"
local plot_svg = require "sonde.report.plot.svg"
local text = require "sonde.report.plot.text"

local quote, number = text.quote, text.number

local WIDTH, HEIGHT, FONT = 520, 330, text.FONT
local LETTER, SLANT = 0.55 * FONT, 30           -- pixels of a letter, as they are on average; degrees
local MARKS = { 7, 5, 9, 13, 11, 15, 6, 4 }     -- gnuplot's point types: a shape for each colour
local SUPERSCRIPT = { ["-"] = "⁻", ["0"] = "⁰", ["1"] = "¹", ["2"] = "²", ["3"] = "³", ["4"] = "⁴",
  ["5"] = "⁵", ["6"] = "⁶", ["7"] = "⁷", ["8"] = "⁸", ["9"] = "⁹" }

local function drawable(v, log)
  return format.finite(v) and (not log or v > 0)
end

-- ---- axes ------------------------------------------------------------------------------------------

local function extent(figure, axis, log)
  local low, high
  local function take(v)
    if drawable(v, log) then
      low = low and math.min(low, v) or v
      high = high and math.max(high, v) or v
    end
  end
  for _, s in ipairs(figure.series) do
    for k = 1, #s.x do
      if drawable(s.y[k], figure.ylog) then
        take(s[axis][k])
        if axis == "y" and s.lo and not s.band then
          take(s.lo[k])
          take(s.hi[k])
        end
      end
    end
  end
  return low, high
end

-- The data's extent with a little air around it, so that no mark sits on the frame.
local function axis_range(figure, axis, log, share)
  local low, high = extent(figure, axis, log)
  if axis == "y" and figure.ylow then
    low, high = math.min(low or figure.ylow, figure.ylow), math.max(high or figure.yhigh, figure.yhigh)
  end
  if axis == "y" and figure.ytop then high = figure.ytop end
  if axis == "y" and figure.ybottom then low = figure.ybottom end
  if not low then
    if log then return 0.1, 10 end
    return 0, 1
  end
  if log then
    local pad = math.max((math.log(high) - math.log(low)) * share, 0.02)
    return low * math.exp(-pad), high * math.exp(pad)
  end
  local pad = (high - low) * share
  if pad == 0 then pad = math.abs(high) > 0 and math.abs(high) * 0.1 or 0.5 end
  return low - pad, high + pad
end

local function power_label(exponent)
  if exponent >= -2 and exponent <= 4 then return string.format("%.10g", 10 ^ exponent) end
  local digits = string.format("%d", exponent):gsub(".", SUPERSCRIPT)
  return "10" .. digits
end

-- "2·10⁵"; nil where the number itself is short.
local function multiple_label(m, exponent)
  if exponent >= -2 and exponent <= 4 then return nil end
  return ("%.10g·%s"):format(m, power_label(exponent))
end

local function tick(v, label)
  return quote(label or string.format("%.10g", v)) .. " " .. number(v)
end

-- Four to ten steps of 1, 2 or 5.
local function even_ticks(low, high)
  local step, ticks = 10 ^ math.floor(math.log(high - low) / math.log(10)), {}
  local whole = (high - low) / step
  step = step * (whole < 2 and 0.2 or whole < 5 and 0.5 or 1)
  for k = math.ceil(low / step), math.floor(high / step) do ticks[#ticks + 1] = tick(k * step) end
  return ticks
end

-- Decades on long log axes (at most about six of them), 1-2-5 steps on short ones, even steps on the shortest.
local function log_ticks(low, high)
  local first, last = math.floor(math.log(low) / math.log(10)), math.ceil(math.log(high) / math.log(10))
  local span = (math.log(high) - math.log(low)) / math.log(10)
  local steps = span > 2 and { 1 } or span > 0.8 and { 1, 2, 5 } or { 1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9 }
  local stride = math.max(1, math.ceil(span / 6))
  local ticks = {}
  for exponent = first, last do
    for _, m in ipairs(steps) do
      local v = m * 10 ^ exponent
      if v >= low and v <= high and exponent % stride == 0 then
        ticks[#ticks + 1] = tick(v, m == 1 and power_label(exponent) or multiple_label(m, exponent))
      end
    end
  end
  return #ticks >= 2 and ticks or even_ticks(low, high)
end

-- Pixels that turned texts of ticks reach below an axis of so many pixels, where level ones would run into each other,
-- and by how many degrees they are turned: upright where slanted lines of text would meet too; otherwise nil.
local function slanted(ticks, width)
  local longest = 0
  for _, v in ipairs(ticks or {}) do longest = math.max(longest, type(v) == "table" and #v.text or 0) end
  if longest == 0 or #ticks * (longest + 1) * LETTER <= width then return nil end
  local angle = width / #ticks * math.sin(math.rad(SLANT)) < FONT and 90 or SLANT
  return longest * LETTER * math.sin(math.rad(angle)), angle
end

local function ticks_command(axis, low, high, log, fixed, angle)
  local ticks
  if fixed then
    ticks = {}
    for k, v in ipairs(fixed) do ticks[k] = type(v) == "table" and tick(v.at, v.text) or tick(v) end
  elseif log then
    ticks = log_ticks(low, high)
  end
  if ticks then
    return ("set %stics nomirror %s(%s)"):format(axis, angle and ("rotate by %d right "):format(angle) or "",
      table.concat(ticks, ", "))
  end
  return ("set %stics nomirror autofreq; set format %s '%%.6g'"):format(axis, axis)
end

-- ---- labels at the ends of the lines ---------------------------------------------------------------

local function last_point(s, figure)
  for k = #s.x, 1, -1 do
    if drawable(s.y[k], figure.ylog) then return s.x[k], s.y[k] end
  end
end

local function fraction(v, low, high, log)
  if log then return (math.log(v) - math.log(low)) / (math.log(high) - math.log(low)) end
  return (v - low) / (high - low)
end

-- Moves labels apart by at least `gap` (in shares of the plot's height) while each stays near its line: groups
-- that collide are merged and centred on the mean of what they wanted.
local function spread(labels, gap)
  table.sort(labels, function(a, b)
    if a.want ~= b.want then return a.want < b.want end
    return a.text < b.text
  end)
  local groups = {}
  for _, label in ipairs(labels) do
    local group = { labels = { label }, sum = label.want }
    groups[#groups + 1] = group
    local function bounds(g)
      local half = gap * (#g.labels - 1) / 2
      local centre = math.max(half, math.min(1 - half, g.sum / #g.labels))
      return centre - half, centre + half
    end
    while #groups > 1 do
      local below, top = groups[#groups - 1], groups[#groups]
      local _, ceiling = bounds(below)
      if (bounds(top)) - ceiling >= gap then break end
      for _, l in ipairs(top.labels) do below.labels[#below.labels + 1] = l end
      below.sum = below.sum + top.sum
      groups[#groups] = nil
    end
    for _, g in ipairs(groups) do
      local floor = bounds(g)
      for k, l in ipairs(g.labels) do l.at = floor + gap * (k - 1) end
    end
  end
end

local function end_labels(figure, y_low, y_high, plot_height)
  local labels, longest = {}, 0
  for _, s in ipairs(figure.series) do
    local _, y = last_point(s, figure)
    if s.label and y and y <= y_high then
      labels[#labels + 1] = { text = s.label, colour = s.colour, want = fraction(y, y_low, y_high, figure.ylog) }
      longest = math.max(longest, #s.label)
    end
  end
  spread(labels, 1.15 * FONT / plot_height)
  return labels, longest
end

-- ---- one figure as gnuplot commands ------------------------------------------------------------------

-- An end that a log axis has no place for is at the axis.
local function data_block(out, name, s, figure, y_low)
  out[#out + 1] = "$" .. name .. " << END_OF_DATA"
  for k = 1, #s.x do
    if drawable(s.x[k], figure.xlog) and drawable(s.y[k], figure.ylog) then
      local lo, hi = s.lo and s.lo[k], s.hi and s.hi[k]
      lo = format.finite(lo) and (drawable(lo, figure.ylog) and lo or y_low) or s.y[k]
      hi = format.finite(hi) and (drawable(hi, figure.ylog) and hi or y_low) or s.y[k]
      out[#out + 1] = table.concat({ number(s.x[k]), number(s.y[k]), number(lo), number(hi) }, " ")
    else
      out[#out + 1] = ""
    end
  end
  out[#out + 1] = "END_OF_DATA"
end

-- A mark for each colour, and others where the colours come again.
local function mark_of(colour)
  local round = math.floor((colour - 1) / #MARKS)
  return MARKS[(colour - 1 + 3 * round) % #MARKS + 1]
end

-- Colours go through gnuplot as markers (plot_svg.marker) that the page's style sheet replaces.
local function plot_clauses(name, s)
  local colour = "lc rgb '" .. plot_svg.marker(s.colour) .. "'"
  local clauses = {}
  if s.lo and not s.band then
    -- Bars as vectors with flat heads: gnuplot's own error bars blank out the ground behind their middle.
    clauses[1] = ("$%s using 1:3:(0):($4-$3) with vectors heads size graph 0.008,90 nofilled lw 1.2 %s notitle")
      :format(name, colour)
  end
  if not s.scatter then
    clauses[#clauses + 1] = ("$%s using 1:2 with lines lw 2%s %s notitle"):format(name,
      s.colour > #MARKS and " dt 2" or "", colour)
  end
  if s.markers or s.scatter then
    clauses[#clauses + 1] = ("$%s using 1:2 with points pt %d ps %s %s notitle")
      :format(name, mark_of(s.colour), s.markers and "0.6" or "0.3", colour)
  end
  return clauses
end

-- Edges tell bands apart that lie over each other.
local function band_clauses(name, s)
  local colour = "rgb '" .. plot_svg.marker(s.colour) .. "'"
  return {
    ("$%s using 1:3:4 with filledcurves fs transparent solid 0.12 noborder fc %s notitle"):format(name, colour),
    ("$%s using 1:3 with lines lw 0.6 lc %s notitle"):format(name, colour),
    ("$%s using 1:4 with lines lw 0.6 lc %s notitle"):format(name, colour),
  }
end

--- The commands that draw a figure; `index` names it among those of one run.
---@param figure table see the head of this file
---@param index number
---@return string
return function(figure, index)
  local slant, angle = slanted(figure.xticks, (figure.width or WIDTH) - 8 * FONT)
  local width, height = figure.width or WIDTH, (figure.height or HEIGHT) + math.floor(slant or 0)
  local x_low, x_high = axis_range(figure, "x", figure.xlog, 0.03)
  local y_low, y_high = axis_range(figure, "y", figure.ylog, 0.06)
  local top, bottom = (figure.title and 2.4 or 0.8) * FONT, 4.8 * FONT + (slant or 0)
  local plot_height = height - top - bottom
  local labels, longest = end_labels(figure, y_low, y_high, plot_height)
  local out = { "reset", "unset key", "set border 3", "set grid ytics", "set samples 2" }
  local function put(...) out[#out + 1] = string.format(...) end
  put("set terminal svg size %d,%d dynamic noenhanced font 'sans-serif,%d' name 'figure%d'", width, height, FONT, index)
  if figure.title then put("set title %s", quote(figure.title)) end
  put("set xlabel %s", quote(figure.xlabel))
  put("set ylabel %s", quote(figure.ylabel))
  if figure.xlog then put("set logscale x") end
  if figure.ylog then put("set logscale y") end
  put("set xrange [%s:%s]", number(x_low), number(x_high))
  put("set yrange [%s:%s]", number(y_low), number(y_high))
  put("%s", ticks_command("x", x_low, x_high, figure.xlog, figure.xticks, angle))
  put("%s", ticks_command("y", y_low, y_high, figure.ylog))
  put("set rmargin %s", number(longest + 2))
  put("set tmargin at screen %s", number(1 - top / height))      -- the distance of labels is by the plot's height
  put("set bmargin at screen %s", number(bottom / height))
  for _, l in ipairs(labels) do
    put("set label %s at graph 1.02, graph %s left textcolor rgb '%s'", quote(l.text), number(l.at),
      plot_svg.marker(l.colour))
  end
  local clauses = {}
  for k, s in ipairs(figure.series) do
    data_block(out, "d" .. k, s, figure, y_low)
    for _, clause in ipairs(s.band and band_clauses("d" .. k, s) or {}) do clauses[#clauses + 1] = clause end
  end
  for k, s in ipairs(figure.series) do
    for _, clause in ipairs(plot_clauses("d" .. k, s)) do clauses[#clauses + 1] = clause end
  end
  put("plot %s", #clauses > 0 and table.concat(clauses, ", \\\n  ") or "NaN notitle")
  return table.concat(out, "\n")
end
