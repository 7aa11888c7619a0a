--- feed.lua - clips as data for training: features scaled by those of the training clips, labels of recognition or of
-- warning. Features are those of the files, or what a baseline makes of them.

local core = require "sonde.core"
local args = require "sonde.base.args"
local features = require "sonde.video.features"
local reading = require "sonde.video.reading"

local feed = {}

local LEAST_VARIANCE = 1e-8

--- Options of clips as a feed.
---@type sonde.schema
feed.schema = {
  { name = "task", type = "string", choices = { "recognition", "warning" }, preset = "recognition",
    doc = "the class of the clip; or of each frame whether an event follows" },
  { name = "labelled", type = "integer", min = 1, max = 1048576, preset = 1,
    doc = "recognition: at how many frames, the last ones, the class is learned; a clip's class is that of the mean of "
      .. "their log-probabilities" },
  { name = "loss", type = "string", choices = { "exponential", "adalea", "frame" }, preset = "exponential",
    doc = "warning: frames before the event are positive and count exp(-growth s), s seconds before it (Chan et al., "
      .. "2016), or beyond what the model reached (Suzuki et al., 2018; objective adalea); or positive are the "
      .. "abnormal frames, and all count alike" },
  { name = "growth", type = "number", min = 0, max = 1000, preset = 1, doc = "of the exponential loss" },
  { name = "baseline", type = "string", choices = { "mean", "looming" },
    doc = "what a logistic regression gets in place of the parts: their mean over the frames so far; or 1 / time to "
      .. "collision by the divergence alone, now and the largest so far" },
  { name = "quiet", type = "string",
    doc = "recognition: the class in which nothing happens, for sonde.watch; default: quiet, background or normal" },
}
for _, option in ipairs(features.array_schema) do table.insert(feed.schema, option) end

local function recognition(data, frames, labelled)
  local labels, weights = {}, {}
  for n, class in ipairs(data.classes:values()) do
    local first = frames - math.min(labelled, data.rows[n]) + 1
    for k = 1, frames do
      local i = (n - 1) * frames + k
      labels[i], weights[i] = k >= first and class or -1, k >= first and 1 or 0
    end
  end
  return labels, weights
end

-- Label and seconds before the event of the k-th row. The frames before the event are positive, those from it on do
-- not count. Frames of quiet clips are negative.
local function anticipation(clip, rows, times)
  local at = reading.event_row(clip, rows, times)
  if not at then return function() return 0, 0 end end
  return function(k)
    if k >= at then return -1, 0 end
    return 1, math.max(clip.event - times[k], 0)
  end
end

local function abnormality(clip, _, times)
  return function(k)
    local abnormal = clip.from and times[k] >= clip.from and times[k] < (clip.to or math.huge)
    return abnormal and 1 or 0, 0
  end
end

-- Labels, and of each row the seconds before its event, or how much it counts.
local function warning(data, frames, options)
  local of = options.loss == "frame" and abnormality or anticipation
  local labels, numbers = {}, {}
  for n, clip in ipairs(data.clips) do
    local rows = data.rows[n]
    local label = of(clip, rows, data.times[n])
    for k = 1, frames do
      local at, i, class, seconds = k - (frames - rows), (n - 1) * frames + k, -1, 0
      if at >= 1 then class, seconds = label(at) end
      labels[i], numbers[i] = class, seconds
      if options.loss ~= "adalea" then numbers[i] = class < 0 and 0 or math.exp(-options.growth * seconds) end
    end
  end
  return labels, numbers
end

-- 1 for rows that a clip has, else 0, as a column.
local function mask_of(data, frames)
  local mask = {}
  for n = 1, #data.rows do
    for k = 1, frames do mask[(n - 1) * frames + k] = k > frames - data.rows[n] and 1 or 0 end
  end
  return core.tensor("f32", { #mask, 1 }, mask)
end

-- Mean and 1/standard deviation of each number over the rows that there are.
local function scale_of(data, mask, frames)
  local graph = core.graph()
  local rows, dims = mask:dims()[1], data.features:dims()
  local x, m = graph:leaf("x", data.features):reshape { rows, dims[3] }, graph:leaf("mask", mask)
  local n = 0
  for _, own in ipairs(data.rows) do n = n + math.min(own, frames) end
  local mean = (x * m):sum { 1 } / n
  local centred = (x - mean) * m
  local results = reading.compute { mean, ((centred * centred):sum { 1 } / n + LEAST_VARIANCE):rsqrt() }
  graph:close()
  return { mean = results[1], factor = results[2] }
end

local function arrays_of(set, part, options, scale)
  local frames = options.frames
  local numbers = options.baseline and require("sonde.video.baselines")[options.baseline] or features.arrays
  local data = numbers(set, part, { frames = frames, parts = options.parts,
    mirror = options.mirror and part == "train" })
  local mask = mask_of(data, frames)
  scale = scale or scale_of(data, mask, frames)
  local labels, weights
  if options.task == "warning" then
    labels, weights = warning(data, frames, options)
  else
    labels, weights = recognition(data, frames, options.labelled)
  end
  data.features = reading.scaled(data.features, scale, mask)
  local dims = { #data.rows, frames }
  local arrays = { features = data.features, labels = core.tensor("i32", dims, labels) }
  arrays[options.loss == "adalea" and "seconds" or "weights"] = core.tensor("f32", dims, weights)
  return arrays, scale, data
end

-- Of clips whose frames all come from the event on, no frame is labelled.
local function note_unlabelled(data, frames)
  local seen, count, all = {}, 0, 0
  for n, clip in ipairs(data.clips) do
    if not seen[clip] then
      all = all + 1
      if reading.event_row(clip, data.rows[n], data.times[n]) == 1 then count = count + 1 end
    end
    seen[clip] = true
  end
  reading.note_left_out("feed: training", count, all, frames)
end

-- What of the options has no effect in the task is refused by name.
local function check(options)
  if options.task == "recognition" and options.loss ~= "exponential" then
    error(core.where() .. "feed: loss '" .. options.loss .. "' is of warnings", 0)
  end
  if options.labelled > options.frames then
    error(core.where() .. string.format("feed: %d frames are labelled, a clip has %d", options.labelled,
      options.frames), 0)
  end
  return options
end

--- Clips as a feed for sonde.train, of the inputs features, labels and weights: for a transformer of features with the
--- objective weighted_classifier; with the loss adalea, seconds in place of weights, for that objective. Features have
--- mean 0 and variance 1 over the training clips; rows that a clip does not have are 0 and do not count. The second
--- result says how they were read, and measures models by the clips.
---@param set sonde.clips
---@param options table     see feed.schema
---@return sonde.feed feed, sonde.clip_reading about
function feed.of(set, options)
  options = check(args.check(feed.schema, options, "feed"))
  local names = options.task == "warning" and core.list { "quiet", "event" } or core.list { table.unpack(set.classes) }
  if options.quiet then
    reading.check_quiet(options.quiet, { task = options.task, names = names },
      function(text) error(core.where() .. "feed: option 'quiet': " .. text, 0) end)
  end
  local train, scale, data = arrays_of(set, "train", options)
  if options.task == "warning" and options.loss ~= "frame" then note_unlabelled(data, options.frames) end
  local validation, kept
  if #set:of "validation" > 0 then
    local _
    validation, _, kept = arrays_of(set, "validation", options, scale)
  end
  return require("sonde.data.feed").arrays { train = train, validation = validation }, reading.new {
    task = options.task, labelled = options.labelled, parts = options.parts, frames = options.frames, names = names,
    baseline = options.baseline, made_with = set.made_with, mean = scale.mean, factor = scale.factor,
    features = data.features:dims()[3], classes = #names, quiet = options.quiet,
    data = { train = data, validation = kept },
    train = set:of "train", validation = kept and kept.clips or {},
  }
end

return feed
