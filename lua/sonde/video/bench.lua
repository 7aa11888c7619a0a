--- bench.lua - how fast videos are decoded and their motion measured (`sonde bench video`).

local core = require "sonde.core"

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

--- Every frame of a file: decoding and scaling alone, then with motion; frames a second and times real time.
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
    row_ms = rounded(1e3 * all.rest / all.frames, 3), real_time = rounded(all.length / all.seconds, 2) }
end

return bench
