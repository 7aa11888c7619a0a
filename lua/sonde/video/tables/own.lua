--- Sonde's own table: clip, start, end, class, time_of_event, time_of_alert; optional: source, split.
--
-- clip is a path relative to the folder of videos; times are seconds in that file. Empty start and end: all of it.
-- Empty time_of_event: nothing happens in the clip. source: what clips are split by (default: the file). split: train
-- or validation, for all rows or none.

local csv = require "sonde.video.tables.csv"

return {
  doc = "clip, start, end, class, time_of_event, time_of_alert [, source, split]",
  fits = function(_, columns) return columns and columns.clip and columns.class end,
  read = function(path)
    local rows, columns = csv.read(path)
    csv.need(path, columns, { "clip", "class" })
    local clips = {}
    for k, row in ipairs(rows) do
      if row.clip == "" then csv.refuse(path, row, "'clip' is empty") end
      clips[k] = {
        clip = row.clip, files = { row.clip }, class = row.class, line = row.line,
        start = csv.number(path, row, "start"), stop = csv.number(path, row, "end"),
        event = csv.number(path, row, "time_of_event"), alert = csv.number(path, row, "time_of_alert"),
        source = row.source ~= "" and row.source or nil, split = row.split ~= "" and row.split or nil,
      }
    end
    return clips
  end,
}
