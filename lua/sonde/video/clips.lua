--- sonde.clips - a set of video clips from a table of labels: our own, or that of a public data set.
--
-- A clip is a part of a file (or of a folder of images) with a class, and the times of an event and of an alert, in
-- seconds of that file. Formats are files of tables/. All rows are checked before anything is decoded.

local core = require "sonde.core"
local args = require "sonde.base.args"
local listed = require("sonde.base").listed
local sorted_keys = require "sonde.base.sorted_keys"
local csv = require "sonde.video.tables.csv"
local labels = require "sonde.video.labels"

local clips = {}
local class = args.class("clips", { __name = "sonde.clips" })
class.__index = class
args.kind("clips", "clips (of sonde.clips)", function(v) return type(v) == "table" and getmetatable(v) == class end)

local MOST_NAMED = 20
local SPLITS = { "train", "validation" }

local function formats() return listed "sonde/video/tables" end

--- The options of a set of clips.
---@type sonde.schema
clips.schema = {
  { name = "format", type = "string",
    choices = function()
      local names = {}
      for _, name in ipairs(formats()) do
        if name ~= "csv" then names[#names + 1] = name end
      end
      return names
    end,
    doc = "own, dota, ccd, dada, nexar; default: what the table looks like" },
  { name = "root", type = "string", doc = "folder of the videos; default: the table's" },
  { name = "classes", type = "list", some = true, of = { name = "class", type = "string", doc = "" },
    doc = "the classes, in order; others in the table are refused. Default: the format's, or those in the table" },
  { name = "split", type = "string", choices = { "given", "source", "clip" },
    doc = "whose parts stay together: the table's own split, all clips of a source video, or a clip; default: given "
      .. "where the table has a split, else source" },
  { name = "validation", type = "number", min = 0, max = 0.99, preset = 0.2,
    doc = "share of the sources or clips that is kept for validation" },
  { name = "seed", type = "integer", min = 0, preset = 1, doc = "of that choice" },
  { name = "skip_missing", type = "boolean", preset = false,
    doc = "pass over clips whose file is missing, with a warning; default: they are an error" },
}

---@class sonde.clip
---@field clip string          its name in the table
---@field path string          of its file or folder
---@field file string          the same without links, which a file is known by
---@field start number         seconds of the file
---@field stop number          math.huge: its end
---@field class string
---@field event? number        seconds of the file: when it happens; nil: nothing does
---@field alert? number        when a warning is due
---@field from? number         first and last second of what is abnormal
---@field to? number
---@field source string        the video that it is from
---@field split string         "train" or "validation"

---@class sonde.clips
---@field clips sonde.clip[]
---@field classes string[]
---@field image_rate number    frames a second of folders of images
---@field format string
---@field spec string          the table's path
---@field hash string          SHA-256 of the labels, splits and classes, hex
---@field made_with? table     how its features were made, for the core

-- "a, b, c and 4 more"
local function named(list)
  local shown = {}
  for k = 1, math.min(#list, MOST_NAMED) do shown[k] = list[k] end
  local rest = #list - #shown
  return table.concat(shown, ", ") .. (rest > 0 and " and " .. string.format("%d", rest) .. " more" or "")
end

local function refuse(path, clip, text)
  local at = clip.line and ", line " .. string.format("%d", clip.line) or ""
  error(core.where() .. path .. at .. ": clip '" .. clip.clip .. "' " .. text, 0)
end

-- ---- reading -----------------------------------------------------------------------------------------------------

local function reader(path, format)
  if format then return require("sonde.video.tables." .. format), format end
  local names, columns = {}, nil
  if core.exists(path) == "file" and string.find(path, "%.csv$") then
    local _, list = csv.read(path)
    columns = {}
    for _, name in ipairs(list) do columns[name] = true end
  end
  for _, name in ipairs(formats()) do
    local each = name ~= "csv" and require("sonde.video.tables." .. name)
    if each and each.fits(path, columns) then return each, name end
    if each then names[#names + 1] = each.doc end
  end
  error(core.where() .. path .. ": is no table of clips that is known: " .. table.concat(names, "; "), 0)
end

local function check_times(path, clip)
  clip.start, clip.stop = clip.start or 0, clip.stop or math.huge
  if clip.start < 0 then refuse(path, clip, "starts before 0") end
  if clip.stop <= clip.start then refuse(path, clip, "ends before it starts") end
  for key, name in pairs { event = "time of event", alert = "time of alert", from = "abnormal start" } do
    local time = clip[key]
    local outside = time and (time < clip.start or time > clip.stop)
    if outside then refuse(path, clip, "has a " .. name .. " outside of it") end
  end
  if clip.alert and not clip.event then refuse(path, clip, "has a time of alert, but no event") end
  if clip.alert and clip.alert > clip.event then refuse(path, clip, "has its alert after the event") end
  if clip.to and clip.to > clip.stop + labels.SLACK then refuse(path, clip, "is abnormal after its end") end
  if clip.to and clip.to < clip.from then refuse(path, clip, "has its abnormal end before the start") end
  if clip.alert and not clip.from then clip.from, clip.to = clip.alert, clip.event end
end

local function check_classes(path, list, given)
  local known, found = {}, {}
  for _, name in ipairs(given or {}) do
    if known[name] then error(core.where() .. "clips: the class '" .. name .. "' is named twice", 0) end
    known[name] = true
  end
  for _, clip in ipairs(list) do
    if clip.class == "" then refuse(path, clip, "has no class") end
    if given and not known[clip.class] then
      refuse(path, clip, "is of the unknown class '" .. clip.class .. "'" .. args.hint(clip.class, given))
    end
    found[clip.class] = true
  end
  return given or sorted_keys(found)
end

-- Finds the file of each clip; all that are missing are named at once.
local function find_files(path, list, root, skip)
  local there, missing = {}, {}
  for _, clip in ipairs(list) do
    for _, file in ipairs(clip.files) do
      local at = string.sub(file, 1, 1) == "/" and file or root .. "/" .. file
      if not clip.path and core.exists(at) then clip.path = at end
    end
    if clip.path then there[#there + 1] = clip else missing[#missing + 1] = clip.files[1] end
    clip.file = clip.path and (core.real_path(clip.path) or clip.path)
    clip.files = nil
  end
  if #missing == 0 then return there end
  local text = string.format("%s: %d of %d clips have no file in '%s': ", path, #missing, #list, root) .. named(missing)
  if not skip then error(core.where() .. text, 0) end
  core.warn(text)
  return there
end

local function check_duplicates(path, list)
  local seen = {}
  for _, clip in ipairs(list) do
    local key = string.format("%s\n%.17g %.17g", clip.file, clip.start, clip.stop)
    if seen[key] then refuse(path, clip, "is there twice") end
    seen[key] = true
  end
end

-- ---- splits --------------------------------------------------------------------------------------------------------

-- The units in an order that the seed decides: the first share is validation.
local function draw(list, unit_of, share, seed)
  local order, at = {}, {}
  for _, clip in ipairs(list) do
    local unit = unit_of(clip)
    if not at[unit] then
      at[unit] = core.sha256(string.format("%d ", seed) .. unit)
      order[#order + 1] = unit
    end
  end
  table.sort(order, function(a, b) return at[a] < at[b] end)
  local validation = {}
  for k = 1, math.floor(#order * share + 0.5) do validation[order[k]] = true end
  for _, clip in ipairs(list) do clip.split = validation[unit_of(clip)] and "validation" or "train" end
end

local function check_given(path, list)
  local of_source, of_file = {}, {}
  for _, clip in ipairs(list) do
    if not clip.split then refuse(path, clip, "has no split, but others have") end
    if clip.split == "val" then clip.split = "validation" end
    if clip.split ~= "train" and clip.split ~= "validation" then
      refuse(path, clip, "is of the split '" .. clip.split .. "'; known: train, validation")
    end
    for _, each in ipairs { { of_source, "source", clip.source }, { of_file, "file", clip.file } } do
      local seen, what, name = each[1], each[2], each[3]
      if (seen[name] or clip.split) ~= clip.split then
        refuse(path, clip, "puts its " .. what .. " '" .. name .. "' into both splits")
      end
      seen[name] = clip.split
    end
  end
end

-- A split must not depend on where the folder lies: a file is called by its first clip in the table.
local function split(path, list, options)
  local given, name_of = false, {}
  for _, clip in ipairs(list) do
    name_of[clip.file] = name_of[clip.file] or clip.clip
    clip.source, given = clip.source or name_of[clip.file], given or clip.split ~= nil
  end
  local how = options.split or (given and "given" or "source")
  if how == "given" then
    if not given then error(core.where() .. path .. ": gives no split; choose source or clip", 0) end
    check_given(path, list)
  else
    draw(list, function(clip)
      return how == "source" and clip.source or string.format("%s %.17g", name_of[clip.file], clip.start)
    end, options.validation, options.seed)
  end
end

-- What a set says of its clips, as a hash: a sweep compares by it what its trials were run with.
local function hash_of(list, classes)
  local lines = { table.concat(classes, "\t") }
  for _, clip in ipairs(list) do
    local of = {}
    for k, key in ipairs { "clip", "class", "split", "start", "stop", "event", "alert", "from", "to" } do
      of[k] = tostring(clip[key])
    end
    lines[#lines + 1] = table.concat(of, "\t")
  end
  return core.sha256(table.concat(lines, "\n"))
end

--- A set of clips from a table of labels: our own CSV (clip, start, end, class, time_of_event, time_of_alert;
--- doc/video.md) or that of DoTA, CCD, DADA-2000 or Nexar. Refused, with the line: labels outside of a clip, unknown
--- classes, a clip that is there twice, a source in both splits; missing files are named all at once. What only the
--- frames can tell is refused with the features (sonde.video.labels).
---@param path string
---@param options? table        see clips.schema
---@return sonde.clips
function clips.open(path, options)
  options = args.check(clips.schema, options, "clips")
  if not core.exists(path) then error(core.where() .. "there is no table of clips '" .. path .. "'", 0) end
  local format, name = reader(path, options.format)
  local list = format.read(path)
  if #list == 0 then error(core.where() .. path .. ": names no clip", 0) end
  for _, clip in ipairs(list) do check_times(path, clip) end
  local classes = check_classes(path, list, options.classes or format.classes)
  local folder = core.exists(path) == "folder" and path or string.match(path, "^(.*)/[^/]*$") or "."
  list = find_files(path, list, options.root or folder, options.skip_missing)
  if #list == 0 then error(core.where() .. path .. ": no clip has a file", 0) end
  check_duplicates(path, list)
  split(path, list, options)
  return setmetatable({ clips = list, classes = classes, image_rate = format.image_rate or 10, format = name,
    spec = path, hash = hash_of(list, classes) }, class)
end

--- The clips of a split, or all.
---@param part? "train"|"validation"
---@return sonde.clip[]
function class:of(part)
  local list = {}
  for _, clip in ipairs(self.clips) do
    if not part or clip.split == part then list[#list + 1] = clip end
  end
  return list
end

--- Makes the features of all clips that have none yet, several clips at a time; see sonde.video.features.
---@param options? table
---@return sonde.clips
function class:features(options)
  require("sonde.video.features").of(self, options)
  return self
end

--- Features and classes as tensors; see sonde.video.features.
---@param part "train"|"validation"
---@param options table
---@return table
function class:arrays(part, options)
  return require("sonde.video.features").arrays(self, part, options)
end

--- The clips as data for training; see sonde.video.feed.
---@param options table
---@return sonde.feed feed, sonde.clip_reading about
function class:feed(options)
  return require("sonde.video.feed").of(self, options)
end

args.declare(class, "clips:", {
  feed = { { name = "self", type = "clips", required = true }, { name = "options", type = "table" } },
  of = { { name = "self", type = "clips", required = true }, { name = "part", type = "string", choices = SPLITS } },
  features = { { name = "self", type = "clips", required = true }, { name = "options", type = "table" } },
  arrays = { { name = "self", type = "clips", required = true },
    { name = "part", type = "string", choices = SPLITS, required = true },
    { name = "options", type = "table" } },
})

return args.declare(clips, "sonde.", {
  open = { as = "sonde.clips", { name = "path", type = "string", required = true },
    { name = "options", type = "table" } },
})
