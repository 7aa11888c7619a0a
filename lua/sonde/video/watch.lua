--- sonde.watch - what a model of clips says of a video, frame by frame, and the moments that it would warn of.

local core = require "sonde.core"
local args = require "sonde.base.args"
local features = require "sonde.video.features"
local reading = require "sonde.video.reading"

local watch = {}
local QUIET = { quiet = true, background = true, normal = true }

--- The options of watching.
---@type sonde.schema
watch.schema = {
  { name = "threshold", type = "number", min = 0, max = 1, preset = 0.5, doc = "risk from which a moment is flagged" },
  { name = "hop", type = "integer", min = 1, max = 10000, preset = 5,
    doc = "frames that are read together: with fewer the delay is shorter, and there is more to compute" },
  { name = "follow", type = "number", min = 0, max = 86400, preset = 0, value = "S",
    doc = "the file grows: it has ended when it did not grow for so many seconds" },
  { name = "quiet", type = "string", value = "NAME",
    doc = "recognition: the class in which nothing happens; default: that of the model's folder, else quiet, "
      .. "background or normal" },
  { name = "seen", type = "function", doc = "called with each frame, {time, risk, class}, as it is known" },
}

-- Columns of a row that the model reads, {first, count}.
local function columns_of(about)
  local made, list, width = about.made_with, {}, 0
  local info = { grid_width = made.grid_width, grid_height = made.grid_height, thumb_width = made.thumb_width,
    thumb_height = made.thumb_height, thumb_bytes = made.thumb_rgb and 3 or 1 }
  for k, part in ipairs(about.parts) do
    list[k] = { features.columns(part, info) }
    width = width + (list[k][2] or 0)
  end
  return list, width
end

local function check(about)
  local readable = about.made_with and not about.baseline
  local _, width = 0, 0
  if readable then _, width = columns_of(about) end
  if width ~= about.features then
    error(core.where() .. "watch: the model reads features that are not made of a video's frames", 0)
  end
end

-- The last T rows that the model reads, of which those before the video's first frame are left out.
local function new_window(about, columns)
  local frames, width = about.frames, about.features
  local rows, mask = core.tensor("f32", { frames, width }), core.tensor("f32", { frames, 1 })
  local scaler, window, seen = reading.scaler(about), {}, 0
  function window.add(analysis)
    local at = (frames - 1) * width + 1
    if frames > 1 then core.copy_rows(rows, rows, 1, width, 2, frames - 1, 1, width) end
    for _, each in ipairs(columns) do
      analysis:copy(rows, at, each[1], each[2])
      at = at + each[2]
    end
    seen = math.min(seen + 1, frames)
    mask:set(frames - seen + 1, 1)
  end
  function window.scaled()      -- [1, T, F]
    scaler:run { x = rows, mask = mask }
    return scaler:output(1)
  end
  function window.close() scaler:close() end
  return window
end

local function refuse(text) error(core.where() .. "watch: " .. text, 0) end

-- The number of the class in which nothing happens.
local function quiet_of(about, given)
  if given then reading.check_quiet(given, about, refuse) end
  local name, found = given or about.quiet, nil
  for c, each in ipairs(about.names) do
    if each == name or not name and QUIET[each] then
      if found then refuse("more than one class may be quiet: name it (--quiet NAME)") end
      found = c
    end
  end
  return found or refuse("none of the model's classes is called quiet, background or normal: name the one in which "
    .. "nothing happens (--quiet NAME): " .. table.concat(about.names, ", "))
end

-- Risk, the probability that it is not quiet, and most probable class.
local function verdict(about, quiet, p)
  local best = 1
  for c in ipairs(about.names) do
    if p[c] > p[best] then best = c end
  end
  return 1 - p[quiet], about.names[best]
end

--- The stretches of frames whose risk reaches the threshold: {start, stop, peak (s), risk, class}.
---@param frames {time: number, risk: number, class: string}[]
---@param threshold number
---@return table[]
function watch.moments(frames, threshold)
  local list, now = core.list(), nil
  for _, frame in ipairs(frames) do
    if frame.risk >= threshold then
      if not now then
        now = { start = frame.time, risk = -1 }
        list[#list + 1] = now
      end
      now.stop = frame.time
      if frame.risk > now.risk then now.risk, now.peak, now.class = frame.risk, frame.time, frame.class end
    else
      now = nil
    end
  end
  return list
end

local function with(made, more)
  local all = {}
  for key, value in pairs(made) do all[key] = value end
  for key, value in pairs(more) do all[key] = value end
  return all
end

local CUT = 1      -- seconds of a file that may be missing at its end before it is said

-- Says what of a file was not seen: packets that do not decode, and what it announces and does not have.
local function say_damage(path, info, frames)
  local last = #frames > 0 and frames[#frames].time or 0
  if info.damaged > 0 then core.warn(("%s: %d packets or frames are damaged"):format(path, info.damaged)) end
  if info.duration - last > CUT + 1 / math.max(info.rate, 1) then
    core.warn(("%s: the last frame is at %.2f s, but the file says that it lasts %.2f s: it is damaged or cut off")
      :format(path, last, info.duration))
  end
end

--- Watches a video, or standard input (`-`). A frame is known at the latest `hop` frames after it was read; no more
--- frames than the model's context are kept.
---@param model sonde.model
---@param about sonde.clip_reading
---@param path string
---@param options? table        see watch.schema
---@return {frames: {time: number, risk: number, class: string}[], moments: table[], damaged: integer}
function watch.watch(model, about, path, options)
  options = args.check(watch.schema, options, "watch")
  check(about)
  local quiet, reader = quiet_of(about, options.quiet), about:reader(model, 1, about.frames)
  local video = core.video(path, with(about.made_with, { follow = options.follow }))
  local analysis, window = core.video_analysis(video), new_window(about, (columns_of(about)))
  local times, frames = {}, core.list()
  local function read()
    if #times == 0 then return end
    local p = reader.read(window.scaled())[1]
    for k, time in ipairs(times) do
      local risk, class = verdict(about, quiet, p[about.frames - #times + k])
      frames[#frames + 1] = { time = time, risk = risk, class = class }
      if options.seen then options.seen(frames[#frames]) end
    end
    times = {}
  end
  for time in function() return video:next() end do
    window.add(analysis:push(video))
    times[#times + 1] = time
    if #times == math.min(options.hop, about.frames) then read() end
  end
  read()
  reader.close()
  window.close()
  local info = video:info()
  say_damage(path, info, frames)
  return { frames = frames, moments = watch.moments(frames, options.threshold), damaged = info.damaged }
end

return args.declare(watch, "sonde.", {
  watch = { { name = "model", type = "model", required = true },
    { name = "about", type = "clip_reading", required = true },
    { name = "path", type = "string", required = true }, { name = "options", type = "table" } },
})
