--- Detection of Traffic Anomaly (DoTA): metadata_train.json and metadata_val.json (clip -> frames, 10 a second, of the
--- video and the anomaly, its class, the subset), or one of these files, or a folder of a JSON file for each clip;
--- images in frames/CLIP/images.

local core = require "sonde.core"
local sorted_keys = require "sonde.base.sorted_keys"

local RATE = 10
local SUBSETS = { train = "train", val = "validation", test = "validation" }

local classes = {}
for _, who in ipairs { "ego", "other" } do
  for _, what in ipairs { "lateral", "leave_to_left", "leave_to_right", "moving_ahead_or_waiting", "obstacle",
    "oncoming", "pedestrian", "start_stop_or_stationary", "turning", "unknown" } do
    classes[#classes + 1] = who .. ": " .. what
  end
end

local function refuse(path, clip, text) error(core.where() .. path .. ": clip '" .. clip .. "' " .. text, 0) end

local function whole(path, clip, entry, key, optional)
  local value = entry[key]
  if value == nil and optional then return nil end
  if type(value) ~= "number" or value ~= math.floor(value) or math.abs(value) > 1e9 then
    refuse(path, clip, "has no whole number '" .. key .. "'")
  end
  return value
end

local function to_clip(path, clip, entry, subset)
  if type(entry) ~= "table" then refuse(path, clip, "is no object") end
  local frames = whole(path, clip, entry, "num_frames", true)
  local first, last = whole(path, clip, entry, "anomaly_start"), whole(path, clip, entry, "anomaly_end")
  if last < first then refuse(path, clip, "has its 'anomaly_end' before its 'anomaly_start'") end
  local class = entry.anomaly_class or entry.accident_name
  if type(class) ~= "string" then refuse(path, clip, "has no 'anomaly_class'") end
  subset = entry.subset or subset
  if subset ~= nil and not SUBSETS[subset] then refuse(path, clip, "is of the subset '" .. tostring(subset) .. "'") end
  local names = { "frames/" .. clip .. "/images", clip .. "/images", clip, clip .. ".mp4" }
  return {
    clip = clip, files = names, class = class, source = string.match(clip, "^(.+)_%d+$"), split = SUBSETS[subset],
    event = first / RATE, from = first / RATE, to = math.max(last, first + 1) / RATE,
    stop = frames and frames / RATE, ego = entry.ego_involve, night = entry.night,
  }
end

-- The entries of a file: of many clips, or of one, whose name is the file's.
local function read_file(path, clips, subset)
  local all = core.json_load(path)
  if type(all) ~= "table" then error(core.where() .. path .. ": is no JSON object of clips", 0) end
  if all.anomaly_start ~= nil then
    local name = string.match(path, "([^/]+)%.json$") or path
    clips[#clips + 1] = to_clip(path, name, all, subset)
    return
  end
  for key in pairs(all) do
    if type(key) ~= "string" then error(core.where() .. path .. ": is a list; DoTA's metadata is clip -> labels", 0) end
  end
  for _, clip in ipairs(sorted_keys(all)) do clips[#clips + 1] = to_clip(path, clip, all[clip], subset) end
end

return {
  doc = "DoTA: metadata_train.json and metadata_val.json, or JSON files of clips",
  image_rate = RATE,
  classes = classes,
  fits = function(path) return string.find(path, "%.json$") or core.exists(path) == "folder" end,
  read = function(path)
    local clips = {}
    if core.exists(path) ~= "folder" then
      read_file(path, clips)
      return clips
    end
    for subset, file in pairs { train = "metadata_train.json", val = "metadata_val.json" } do
      if core.exists(path .. "/" .. file) then read_file(path .. "/" .. file, clips, subset) end
    end

    for _, file in ipairs(#clips == 0 and core.list_dir(path) or {}) do
      if string.find(file, "%.json$") then read_file(path .. "/" .. file, clips) end
    end
    if #clips == 0 then error(core.where() .. path .. ": has no metadata_train.json and no JSON file of a clip", 0) end
    table.sort(clips, function(a, b) return a.clip < b.clip end)
    return clips
  end,
}
