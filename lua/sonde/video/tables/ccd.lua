--- Car Crash Dataset: Crash-1500.txt, a line a clip: name, 50 labels (10 frames a second), first frame and YouTube id
--- of the source, timing, weather, whether the ego car is involved. Videos: Crash-1500/NAME.mp4; those of Normal/
--- beside them, where that folder is, are clips without an accident. Where there are no videos, the published features
--- are taken: vgg16_features/positive/NAME.npz and negative/NAME.npz.

local core = require "sonde.core"
local csv = require "sonde.video.tables.csv"

local RATE, FRAMES = 10, 50
local LINE = "^%s*([%w_-]+)%s*,%s*%[([^%]]*)%]%s*,%s*([^,]*),%s*([^,]*),%s*([^,]*),%s*([^,]*),%s*([^,]*)%s*$"

-- The labels of a line: the first and the last frame of the accident (from 0).
local function accident(path, row, text)
  local n, first, last = 0, nil, nil
  for label in string.gmatch(text, "[^,%s]+") do
    if label ~= "0" and label ~= "1" then csv.refuse(path, row, "a label is '" .. label .. "', not 0 or 1") end
    if label == "1" then
      first, last = first or n, n
    end
    n = n + 1
  end
  if n ~= FRAMES then csv.refuse(path, row, n .. " labels; a clip has " .. FRAMES) end
  if not first then csv.refuse(path, row, "no label is 1: a clip of this list has an accident") end
  return first, last
end

local function normals(path, clips)
  local root, seen = string.gsub(path, "[^/]*$", ""), {}
  for _, each in ipairs { { "Normal", "mp4" }, { "vgg16_features/negative", "npz" } } do
    local folder = each[1]
    for _, file in ipairs(core.exists(root .. folder) == "folder" and core.list_dir(root .. folder) or {}) do
      local name = string.match(file, "^([%w_-]+)%." .. each[2] .. "$")
      if name and not seen[name] then
        seen[name] = true
        clips[#clips + 1] = { clip = "Normal/" .. name, files = { folder .. "/" .. file }, class = "normal",
          stop = FRAMES / RATE }
      end
    end
  end
end

return {
  doc = "CCD: Crash-1500.txt",
  image_rate = RATE,
  classes = { "normal", "crash" },
  fits = function(path) return string.find(path, "Crash%-1500%.txt$") end,
  read = function(path)
    local clips, at = {}, 0
    for line in string.gmatch(core.read_file(path, 64 * 1024 * 1024) .. "\n", "(.-)\r?\n") do
      at = at + 1
      local row = { line = at }
      local name, labels, _, youtube, timing, weather, ego = string.match(line, LINE)
      if name then
        local first, last = accident(path, row, labels)
        clips[#clips + 1] = {
          clip = "Crash-1500/" .. name, line = at,
          files = { "Crash-1500/" .. name .. ".mp4", name .. ".mp4", "vgg16_features/positive/" .. name .. ".npz" },
          class = "crash", stop = FRAMES / RATE, event = first / RATE, from = first / RATE, to = (last + 1) / RATE,
          source = youtube ~= "" and youtube or nil, night = timing == "Night", weather = weather, ego = ego == "Yes",
        }
      elseif string.find(line, "%S") and not string.find(line, "vidname", 1, true) then
        csv.refuse(path, row, "is not: name, [labels], first frame, YouTube id, timing, weather, ego involved")
      end
    end
    normals(path, clips)
    return clips
  end,
}
