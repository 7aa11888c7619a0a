--- DADA-2000: full_anno.csv with video, type, and frames (30 a second) of the abnormal start, the accident and the
--- abnormal end; folders of images TYPE/VIDEO/images.

local csv = require "sonde.video.tables.csv"

local RATE = 30
local START, HIT, STOP, TOTAL = "abnormal start frame", "accident frame", "abnormal end frame", "total frames"
local OCCURRED = "whether an accident occurred (1/0)"

return {
  doc = "DADA-2000: full_anno.csv",
  image_rate = RATE,
  fits = function(_, columns) return columns and columns[START] and columns[HIT] end,
  read = function(path)
    local rows, columns = csv.read(path)
    csv.need(path, columns, { "video", "type", START, HIT, STOP })
    local clips = {}
    for k, row in ipairs(rows) do
      local start, hit = csv.number(path, row, START), csv.number(path, row, HIT)
      local stop, total = csv.number(path, row, STOP), csv.number(path, row, TOTAL)
      local occurred = row[OCCURRED] == nil or row[OCCURRED] == "1"
      local video = csv.number(path, row, "video")
      if not video or not csv.number(path, row, "type") then csv.refuse(path, row, "'video' or 'type' is empty") end
      -- Frames that are not marked are -1.
      if hit and hit < 0 then hit = nil end
      if start and start < 0 then start = nil end
      local name = row.type .. "/" .. string.format("%03.0f", video)
      local event = occurred and (hit or start) or nil
      clips[k] = {
        clip = name, files = { name .. "/images", name, name .. ".mp4" }, line = row.line, class = row.type,
        event = event and event / RATE, alert = event and start and start / RATE or nil,
        from = start and start / RATE, to = start and stop and stop >= start and (stop + 1) / RATE or nil,
        stop = total and total / RATE,
      }
    end
    return clips
  end,
}
