--- watch - the risk over the time of a video, by a model of clips.

local core = require "sonde.core"
local output = require "sonde.base.output"
local watch = require "sonde.video.watch"

local options = {
  { name = "model", type = "string", required = true, value = "DIR", doc = "the folder of a model of clips" },
  { name = "video", type = "string", required = true, value = "FILE",
    doc = "a video, a folder of images, or - for standard input" },
  output.json,
  { name = "html", type = "string", value = "OUT",
    doc = "write a page: the curve, and pictures with the motion of the camera and of others" },
}
for _, option in ipairs(watch.schema) do
  if option.type ~= "function" then options[#options + 1] = option end
end

-- Says where a moment begins as soon as it is known.
local function teller(threshold)
  local above = false
  return function(frame)
    if frame.risk >= threshold and not above then
      print(("%8.2f s  risk %.2f  %s"):format(frame.time, frame.risk, frame.class))
      io.stdout:flush()
    end
    above = frame.risk >= threshold
  end
end

local function run(given)
  if given.html and given.video == "-" then
    error("--html opens the video again for its pictures; give a file, not standard input", 0)
  end
  if given.html and given.html ~= "-" then core.check_file(given.html) end
  local sonde = require "sonde"
  local about, model = sonde.clip_reading(given.model), sonde.load(given.model):check_finite()
  local quiet = given.json or given.html == "-"
  local result = watch.watch(model, about, given.video, { threshold = given.threshold, hop = given.hop,
    follow = given.follow, quiet = given.quiet, seen = not quiet and teller(given.threshold) or nil })
  if given.html then
    output.write(given.html, require("sonde.video.watch_page").of(given.video, about, result, given.threshold))
  end
  if given.json then
    return output.print_json { video = given.video, threshold = given.threshold, frames = result.frames,
      moments = result.moments, damaged = result.damaged }
  end
  if not quiet then
    local highest = 0
    for _, frame in ipairs(result.frames) do highest = math.max(highest, frame.risk) end
    print(("%d frames, %d moments, highest risk %.2f"):format(#result.frames, #result.moments, highest))
  end
end

return {
  summary = "the risk over the time of a video, by a model of clips",
  usage = "--model DIR --video FILE [options]",
  details = "The model's folder says how clips are read (clips.json; doc/video.md). Moments that reach the threshold "
    .. "are printed\nas soon as they are known, --hop frames late at most; --json prints all frames at the end.\n"
    .. "Standard input, and with --follow a file that is still written, are read as they come: Matroska, MPEG-TS,\n"
    .. "fragmented MP4, Y4M.",
  options = options,
  example = "sonde watch --model runs/near_miss-demo/arm=both,seed=1/model --video drive.mp4 --html drive.html",
  run = run,
}
