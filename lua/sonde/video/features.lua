--- features.lua - the features of clips: made once, each in a process of its own, kept in files, read as tensors.

local core = require "sonde.core"
local args = require "sonde.base.args"
local labels = require "sonde.video.labels"
local progress = require "sonde.base.progress"

local features = {}

local FIGURES, CELL = 16, 5                      -- columns of a row: src/video/analyse.h
local FIELDS = { "all", "background", "foreground" }
local WAIT_SECONDS = 0.5
local MOST_NAMED = 10

--- How clips are decoded and what is measured.
---@type sonde.schema
features.schema = {
  { name = "width", type = "integer", min = 16, max = 4096, preset = 320,
    doc = "of the picture that motion is measured in; the height follows" },
  { name = "rate", type = "number", min = 0, max = 1000, preset = 15, doc = "most frames a second; 0: all frames" },
  { name = "image_rate", type = "number", min = 0.01, max = 1000,
    doc = "frames a second of folders of images; default: the format's" },
  { name = "block", type = "integer", min = 8, max = 16, preset = 8, doc = "side of a block, 8 or 16 pixels" },
  { name = "radius", type = "integer", min = 1, max = 32, preset = 8,
    doc = "of the search, in pixels of half the size: 8 reaches 16 pixels" },
  { name = "motion", type = "string", choices = { "matched", "codec" }, preset = "matched",
    doc = "our own matching of blocks, or the vectors of the codec, where it has them" },
  { name = "camera", type = "string", choices = { "planar", "affine" }, preset = "planar",
    doc = "the model of the camera's motion: 8 or 6 parameters" },
  { name = "sigma_floor", type = "number", min = 0.01, max = 100, preset = 0.5,
    doc = "least scale of the fit's residuals, pixels" },
  { name = "outlier", type = "number", min = 0.1, max = 100, preset = 3,
    doc = "residual, in sigmas, from which a block is foreground" },
  { name = "grid", type = "list", of = { name = "cells", type = "integer", min = 1, max = 64, doc = "" },
    preset = { 10, 6 }, doc = "cells across and down" },
  { name = "thumbnail", type = "list", of = { name = "pixels", type = "integer", min = 0, max = 1024, doc = "" },
    preset = { 32, 18 }, doc = "width and height; 0, 0: none" },
  { name = "rgb", type = "boolean", preset = false, doc = "the thumbnail is in colour" },
  { name = "max_pixels", type = "integer", min = 1, max = 2147483647, preset = 33554432,
    doc = "of a frame as it is stored; larger ones are refused" },
  { name = "max_frames", type = "integer", min = 1, preset = 1048576, doc = "of a clip; longer ones are refused" },
  { name = "patience", type = "number", min = 1, max = 86400, preset = 60,
    doc = "seconds without a frame after which a clip is given up" },
  { name = "workers", type = "integer", min = 1, max = 1024, doc = "clips at a time; default: the threads" },
  { name = "cache", type = "string", doc = "folder of the files; default: $SONDE_CACHE, else ~/.cache/sonde, there "
    .. "video" },
  { name = "skip_failed", type = "boolean", preset = false,
    doc = "leave out clips that cannot be decoded, with a warning; default: an error when all others are made" },
  { name = "progress", type = "boolean", preset = true, doc = "show how far it is" },
}

--- What of a clip's features becomes a tensor.
---@type sonde.schema
features.array_schema = {
  { name = "frames", type = "integer", min = 1, max = 1048576, required = true, doc = "the last so many of each clip" },
  { name = "parts", type = "list", some = true, preset = { "background", "foreground" },
    of = { name = "part", type = "string", doc = "",
      choices = { "figures", "all", "background", "foreground", "thumbnail", "picture", "objects" } },
    doc = "figures of the picture, motion (all, background, foreground), thumbnail; of clips that are published "
      .. "features (.npz): picture, objects (their mean)" },
  { name = "mirror", type = "boolean", preset = false,
    doc = "each clip a second time with left and right exchanged, behind the others" },
}

-- What the core takes.
local function core_options(options, image_rate)
  if #options.grid ~= 2 or #options.thumbnail ~= 2 then
    error(core.where() .. "features: grid and thumbnail are two numbers, {across, down}", 0)
  end
  return {
    width = options.width, rate = options.rate, image_rate = options.image_rate or image_rate, block = options.block,
    radius = options.radius, codec = options.motion == "codec", affine = options.camera == "affine",
    floor = options.sigma_floor, outlier = options.outlier, grid_width = options.grid[1],
    grid_height = options.grid[2], thumb_width = options.thumbnail[1], thumb_height = options.thumbnail[2],
    thumb_rgb = options.rgb, max_pixels = options.max_pixels, max_rows = options.max_frames,
    patience = options.patience,
  }
end

local function cache_folder(given)
  if given then return given end
  local cache, home = os.getenv "SONDE_CACHE", os.getenv "HOME"
  if cache and cache ~= "" then return cache .. "/video" end
  if not home or home == "" then
    error(core.where() .. "features: neither SONDE_CACHE nor HOME is set; name a folder (cache)", 0)
  end
  return home .. "/.cache/sonde/video"
end

--- The file of a clip's features.
---@param folder string
---@param clip sonde.clip
---@param options table       for the core
---@return string
local function file_of(folder, clip, options)
  local name = string.match(clip.path, "([^/]+)/*$") or "clip"
  local key = core.sha256((core.real_path(clip.path) or clip.path) .. "\n"
    .. core.video_hash(options, clip.start, clip.stop))
  return folder .. "/" .. string.sub(name, 1, 60) .. "-" .. string.sub(key, 1, 20) .. ".feat"
end

-- Whether a clip is an archive of features that others made.
local function is_archive(clip) return string.find(clip.path, "%.npz$") ~= nil end

-- Which clips have no current file.
local function missing_of(list, options)
  local todo = {}
  for _, clip in ipairs(list) do
    local made = is_archive(clip)
      or core.video_current(clip.features, clip.path, options, clip.start, clip.stop)
    if not made then todo[#todo + 1] = clip end
  end
  return todo
end

-- Runs the sweep; the texts of the failures by the place of the clip.
local function run(todo, options, workers, show)
  local sweep, failed, done = core.video_sweep(options, workers), {}, 0
  local share = show and progress.share() or function() end
  for _, clip in ipairs(todo) do sweep:add(clip.path, clip.features, clip.start, clip.stop) end
  while sweep:left() > 0 do
    local job, text = sweep:next(WAIT_SECONDS)
    if job then
      done = done + 1
      if text then failed[job] = text end
    end
    share(done / #todo, string.format("features of %d clips", #todo))
  end
  sweep:close()
  return failed
end

local function report(todo, failed, skip)
  local texts, bad = {}, {}
  for k, clip in ipairs(todo) do
    if failed[k] then
      texts[#texts + 1] = failed[k]
      bad[clip] = true
    end
  end
  if #texts == 0 then return bad end
  if skip then
    for _, text in ipairs(texts) do core.warn(text) end
    return bad
  end
  local rest = #texts - MOST_NAMED
  error(core.where() .. string.format("%d of %d clips gave no features (the others are kept): ", #texts, #todo)
    .. table.concat(texts, "; ", 1, math.min(#texts, MOST_NAMED))
    .. (rest > 0 and string.format("; and %d more", rest) or ""), 0)
end

-- ---- rows --------------------------------------------------------------------------------------------------------

--- The columns of a part in the rows of src/video/analyse.h: the first (from 1), and how many; nil: there are none.
---@param part string
---@param info table     grid_width, grid_height, thumb_width, thumb_height, thumb_bytes
---@return integer|nil first, integer|nil count
function features.columns(part, info)
  local field = info.grid_width * info.grid_height * CELL
  if part == "figures" then return 1, FIGURES end
  if part == "thumbnail" then
    return FIGURES + #FIELDS * field + 1, info.thumb_width * info.thumb_height * info.thumb_bytes
  end
  for k, name in ipairs(FIELDS) do
    if name == part then return FIGURES + (k - 1) * field + 1, field end
  end
end

-- A file of rows: how many, what is known of it, the columns of a part (first, from 1, and how many), and
-- copying them.
local function open_rows(clip)
  if is_archive(clip) then
    local rows = core.npz_objects(clip.path)
    local frames, width = rows:dims()[1], rows:dims()[2] / 2
    return {
      rows = frames,
      columns = function(part)
        if part == "picture" then return 1, width end
        if part == "objects" then return width + 1, width end
      end,
      times = function(first, count, rate)
        local list = {}
        for k = 1, count do list[k] = (first + k - 2) / rate end
        return list
      end,
      copy = function(...) core.copy_rows(rows, ...) end, close = function() rows:close() end,
    }
  end
  local file = core.video_features(clip.features)
  local info = file:info()
  return {
    rows = info.rows, info = info, columns = function(part) return features.columns(part, info) end,
    times = function(first, count) return file:values(first, count, 1, 1) end,
    copy = function(...) file:copy(...) end, close = function() file:close() end,
  }
end

--- Makes what is missing; afterwards each clip has the path of its file in `features`. What was made is kept when the
--- program is stopped, and not made again.
---@param set sonde.clips
---@param options? table        see features.schema
function features.of(set, options)
  options = args.check(features.schema, options, "features")
  local given, folder = core_options(options, set.image_rate), cache_folder(options.cache)
  core.mkdirs(folder)
  set.made_with = given
  for _, clip in ipairs(set.clips) do
    clip.features = is_archive(clip) and clip.path or file_of(folder, clip, given)
  end
  local todo = missing_of(set.clips, given)
  local failed = #todo > 0 and run(todo, given, options.workers or core.threads(), options.progress) or {}
  local bad = report(todo, failed, options.skip_failed)
  local list = {}
  for _, clip in ipairs(set.clips) do
    if not bad[clip] then list[#list + 1] = clip end
  end
  if #list == 0 then error(core.where() .. "features: no clip could be decoded", 0) end
  set.clips = labels.check(list, set.image_rate, options, open_rows)
end

-- ---- tensors -----------------------------------------------------------------------------------------------------

local function width_of(clip, file, parts)
  local sum = 0
  for _, part in ipairs(parts) do
    local _, count = file.columns(part)
    if not count then error(core.where() .. "arrays: clip '" .. clip.clip .. "' has no '" .. part .. "'", 0) end
    sum = sum + count
  end
  return sum
end

-- Copies the last rows of a clip into the n-th row of the tensor; the first ones stay 0 where it has fewer.
local function copy(file, tensor, n, options, width)
  local frames, at = options.frames, 0
  local rows = math.min(file.rows, frames)
  for _, part in ipairs(options.parts) do
    local first, count = file.columns(part)
    local to = ((n - 1) * frames + frames - rows) * width + at + 1
    file.copy(tensor, to, width, file.rows - rows + 1, rows, first, count)
    at = at + count
  end
  return rows
end

-- Appends a list to itself.
local function twice(list)
  for k = 1, #list do list[#list + 1] = list[k] end
  return list
end

--- Features [N, frames, F] f32 and classes [N] i32 (from 0, as in set.classes) of the clips of a split: the last
--- `frames` frames of each. Of a shorter clip the rows before its first frame are 0: rows[n] is how many it has,
--- times[n] when they are (s). With `mirror`, N is twice the clips.
---@param set sonde.clips
---@param part "train"|"validation"
---@param options table       see features.array_schema
---@return {features: sonde.tensor, classes: sonde.tensor, rows: integer[], times: number[][], clips: sonde.clip[]}
function features.arrays(set, part, options)
  options = args.check(features.array_schema, options, "arrays")
  local list, number = set:of(part), {}
  if #list == 0 then error(core.where() .. "arrays: there is no clip for " .. part, 0) end
  for k, name in ipairs(set.classes) do number[name] = k - 1 end
  local tensor, width, info, rows, times, classes = nil, nil, nil, {}, {}, {}
  for n, clip in ipairs(list) do
    if not clip.features then error(core.where() .. "arrays: make the features first (clips:features)", 0) end
    local file = open_rows(clip)
    local its = width_of(clip, file, options.parts)
    width = width or its
    if its ~= width then
      error(core.where() .. string.format("arrays: clip '%s' has %d numbers a frame, others have %d", clip.clip, its,
        width), 0)
    end
    tensor, info = tensor or core.tensor("f32", { #list, options.frames, width }), info or file.info
    rows[n], classes[n] = copy(file, tensor, n, options, width), number[clip.class]
    times[n] = file.times(file.rows - rows[n] + 1, rows[n], set.image_rate)
    file.close()
  end
  if options.mirror then
    tensor = require("sonde.video.mirror").doubled(tensor, options.parts, info)
    for _, each in ipairs { list, rows, times, classes } do twice(each) end
  end
  return { features = tensor, classes = core.tensor("i32", { #list }, classes), rows = rows, times = times,
    clips = list }
end

return features
