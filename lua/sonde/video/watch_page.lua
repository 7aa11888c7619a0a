--- watch_page.lua - a page of a watched video: the curve of the risk, and pictures with their motion, that of the
-- camera and what it leaves in two colours.

local core = require "sonde.core"
local html = require "sonde.report.html"
local page = require "sonde.report.page"

local watch_page = {}
local el, esc = html.element, html.escape

local PICTURES, SPREAD = 24, 8          -- at most; those spread over the video
local CAMERA, OTHERS = "#0072b2", "#e69f00"
local STRUCTURE, SIGMA = 0.5, 4         -- least weight of a block that is drawn; the figure of a row
local WIDTH, HEIGHT = 900, 180          -- of the curve

local function little(x, bytes)
  local list = {}
  for k = 1, bytes do
    list[k] = string.char(x % 256)
    x = math.floor(x / 256)
  end
  return table.concat(list)
end

-- Every other pixel of grey bytes, as a BMP file with a palette (rows from the bottom, of whole words).
local function bmp(luma, width, height)
  local w, h, palette, rows = math.floor(width / 2), math.floor(height / 2), {}, {}
  for grey = 0, 255 do palette[grey + 1] = string.rep(string.char(grey), 3) .. "\0" end
  for y = h - 1, 0, -1 do
    local row = {}
    for x = 0, w - 1 do row[x + 1] = string.char(string.byte(luma, 2 * y * width + 2 * x + 1)) end
    rows[#rows + 1] = table.concat(row) .. string.rep("\0", -w % 4)
  end
  local body, start = table.concat(rows), 14 + 40 + 1024
  return "BM" .. little(start + #body, 4) .. little(0, 4) .. little(start, 4) .. little(40, 4) .. little(w, 4)
    .. little(h, 4) .. little(1, 2) .. little(8, 2) .. little(0, 4) .. little(#body, 4) .. little(2835, 4)
    .. little(2835, 4) .. little(256, 4) .. little(0, 4) .. table.concat(palette) .. body
end

local function line(x, y, u, v, colour)
  return ('<path d="M%.1f %.1fl%.1f %.1f" stroke="%s"/>'):format(x, y, u, v, colour)
end

-- The blocks' motion since the frame before, twice as long as it is.
local function arrows(analysis, side)
  local v, sigma, list = analysis:vectors(), analysis:row()[SIGMA], {}
  for k = 1, #v.u do
    local x, y = ((k - 1) % v.columns + 0.5) * side, (math.floor((k - 1) / v.columns) + 0.5) * side
    if v.weight[k] >= STRUCTURE then
      local others = math.sqrt(v.rest_u[k] ^ 2 + v.rest_v[k] ^ 2) > 3 * sigma
      list[#list + 1] = line(x, y, 2 * (v.u[k] - v.rest_u[k]), 2 * (v.v[k] - v.rest_v[k]), CAMERA)
      if others then list[#list + 1] = line(x, y, 2 * v.rest_u[k], 2 * v.rest_v[k], OTHERS) end
    end
  end
  return table.concat(list)
end

local function picture(path, about, frames, k)
  local video = core.video(path, about.made_with)
  local info, analysis = video:info(), core.video_analysis(video)
  video:seek(frames[math.max(1, k - 1)].time)
  for _ = 1, k > 1 and 2 or 1 do
    if not video:next() then return "" end
    analysis:push(video)
  end
  local w, h = info.luma_width, info.luma_height
  local drawn = ('<svg viewBox="0 0 %d %d" width="100%%"><image width="%d" height="%d" href="%s"/>'
    .. '<g fill="none" stroke-width="1.2">%s</g></svg>'):format(w, h, w, h,
    html.data_uri("image/bmp", bmp(video:luma(), w, h)), arrows(analysis, about.made_with.block))
  local frame = frames[k]
  return el("figure", nil, drawn, el("figcaption", nil,
    esc(("%.2f s, risk %.2f, %s"):format(frame.time, frame.risk, frame.class))))
end

local function curve(result, threshold)
  local frames, points, marks = result.frames, {}, {}
  local first, last = frames[1].time, frames[#frames].time
  local scale = WIDTH / math.max(last - first, 1e-6)
  local function y_of(risk) return HEIGHT * (1 - risk) end
  for k, frame in ipairs(frames) do points[k] = ("%.1f,%.1f"):format((frame.time - first) * scale, y_of(frame.risk)) end
  for k, m in ipairs(result.moments) do
    marks[k] = ('<rect x="%.1f" y="0" width="%.1f" height="%d" fill="%s" opacity="0.3"/>'):format(
      (m.start - first) * scale, math.max(2, (m.stop - m.start) * scale), HEIGHT, OTHERS)
  end
  return ('<svg viewBox="0 -4 %d %d" width="100%%">%s<path d="M0 %.1fH%d" stroke="gray" stroke-dasharray="4"/>'
    .. '<polyline fill="none" stroke="%s" stroke-width="2" points="%s"/>'
    .. '<path d="M0 0V%dH%d" fill="none" stroke="gray"/>'
    .. '<g font-size="12" fill="gray"><text x="4" y="%d">%.1f s</text>'
    .. '<text x="%d" y="%d" text-anchor="end">%.1f s</text><text x="4" y="12">risk 1</text></g></svg>'):format(
    WIDTH, HEIGHT + 26, table.concat(marks), y_of(threshold), WIDTH, CAMERA, table.concat(points, " "), HEIGHT, WIDTH,
    HEIGHT + 16, first, WIDTH, HEIGHT + 16, last)
end

-- The frames that have pictures: the moments' peaks, the highest ones first, and some over the whole video.
local function chosen(result)
  local frames, peaks, wanted = result.frames, {}, {}
  for k, m in ipairs(result.moments) do peaks[k] = m end
  table.sort(peaks, function(a, b) return a.risk > b.risk end)
  local is_peak = {}
  for k = 1, math.min(#peaks, PICTURES - SPREAD) do is_peak[peaks[k].peak] = true end
  local count = math.min(SPREAD, #frames)
  for k = 1, count do wanted[math.floor((k - 0.5) * #frames / count) + 1] = true end
  local list = {}
  for k, frame in ipairs(frames) do
    if is_peak[frame.time] or wanted[k] then list[#list + 1] = k end
  end
  return list
end

--- The page of a watched file, which is opened again for its pictures.
---@param path string
---@param about sonde.clip_reading
---@param result table       of sonde.watch
---@param threshold number
---@return string
function watch_page.of(path, about, result, threshold)
  if #result.frames == 0 then error(core.where() .. path .. ": has no frame", 0) end
  local pictures = {}
  for n, k in ipairs(chosen(result)) do pictures[n] = picture(path, about, result.frames, k) end
  local key = ("Motion since the frame before, twice as long: the camera's (%s) and what it leaves (%s)."):format(
    '<span style="color:' .. CAMERA .. '">blue</span>', '<span style="color:' .. OTHERS .. '">orange</span>')
  return page.document("Risk in " .. path, {
    el("header", nil, el("h1", nil, esc("Risk in " .. path)), el("p", { class = "question" },
      esc(("%d moments reach a risk of %g; risk is the model's probability that an event follows, or that the last "
        .. "seconds are no background."):format(#result.moments, threshold)))),
    el("section", nil, curve(result, threshold)), el("section", nil, el("p", nil, key),
      el("div", { class = "panels" }, pictures)),
  })
end

return watch_page
