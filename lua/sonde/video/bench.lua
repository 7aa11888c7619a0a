--- bench.lua - how fast videos are decoded and their motion measured (`sonde bench video`).

local core = require "sonde.core"
local columns = require("sonde.video.features").columns

local bench = {}

local function rounded(value, digits)
  return tonumber(string.format("%." .. digits .. "f", value))
end

-- Reads the file again and again until the time is over: frames, seconds of video, seconds that it took, and of those
-- what blocks, fit and rows took.
local function read(options, given, with_motion)
  local start, frames, length = core.seconds(), 0, 0
  local match, fit, rest, info = 0, 0, 0
  repeat
    local video = core.video(options.video, given)
    local analysis, last = with_motion and core.video_analysis(video), 0
    info = video:info()
    for time in function() return video:next() end do
      if analysis then analysis:push(video) end
      frames, last = frames + 1, time
    end
    if analysis then
      local a, b, c = analysis:seconds()
      match, fit, rest = match + a, fit + b, rest + c
      analysis:close()
    end
    length = length + last + 1 / (info.rate > 0 and info.rate or 25)
    video:close()
  until core.seconds() - start >= options.seconds
  return { frames = frames, length = length, seconds = core.seconds() - start, match = match, fit = fit, rest = rest,
    info = info }
end

-- A model with a reading of clips made like that, as `sonde watch` takes them; its weights are random.
local FRAMES, PARTS, CLASSES = 45, { "background", "foreground" }, 2
local function watcher(given)
  local features = 0
  for _, part in ipairs(PARTS) do features = features + select(2, columns(part, given)) end
  local model = require("sonde").transformer { features = features, width = 32, depth = 2, heads = 2,
    context = FRAMES, objective = { "weighted_classifier", classes = CLASSES } }
  local shape = { 1, features }
  return model, require("sonde.video.reading").new { task = "warning", labelled = 1, parts = PARTS, frames = FRAMES,
    names = { "quiet", "event" }, made_with = given, features = features, classes = CLASSES, train = {},
    validation = {}, mean = core.tensor("f32", shape), factor = core.tensor("f32", shape) }
end

-- Processor time that watching takes over decoding and motion, which the same file takes in turn; the least of each.
local function model_percent(options, given)
  given = { width = given.width, block = given.block, codec = given.codec, threads = given.threads, grid_width = 10,
    grid_height = 6, thumb_width = 0, thumb_height = 0 }
  local once = { video = options.video, seconds = 0 }
  local model, about = watcher(given)
  local start, motion, watched = core.seconds(), math.huge, math.huge
  repeat
    local before = os.clock()
    read(once, given, true)
    local between = os.clock()
    require("sonde").watch(model, about, options.video)
    motion, watched = math.min(motion, between - before), math.min(watched, os.clock() - between)
  until core.seconds() - start >= options.seconds
  return rounded(100 * (watched - motion) / motion, 1)
end

--- Every frame of a file: decoding and scaling alone, then with motion; frames a second and times real time. Then what
--- a model of two blocks adds that reads 15 frames a second of it.
function bench.video(options)
  local given = { width = options.width, block = options.block, rate = 0, codec = options.motion == "codec",
    threads = core.threads() }
  local decoded, all = read(options, given, false), read(options, given, true)
  local info = all.info
  return { what = "video", threads = core.threads(), width = info.width, height = info.height, codec = info.codec,
    rate = rounded(info.rate, 3), luma = string.format("%d x %d", info.luma_width, info.luma_height),
    block = options.block, motion = options.motion, frames = all.frames,
    decode_fps = rounded(decoded.frames / decoded.seconds, 1), fps = rounded(all.frames / all.seconds, 1),
    match_ms = rounded(1e3 * all.match / all.frames, 3), fit_ms = rounded(1e3 * all.fit / all.frames, 3),
    row_ms = rounded(1e3 * all.rest / all.frames, 3), real_time = rounded(all.length / all.seconds, 2),
    model_percent = model_percent(options, given) }
end

return bench
