--- Nexar's collision challenge: train.csv with id, time_of_event, time_of_alert, target; videos train/ID.mp4.

local csv = require "sonde.video.tables.csv"

return {
  doc = "Nexar: id, time_of_event, time_of_alert, target",
  classes = { "normal", "collision" },
  fits = function(_, columns) return columns and columns.id and columns.target end,
  read = function(path)
    local rows, columns = csv.read(path)
    csv.need(path, columns, { "id", "time_of_event", "time_of_alert", "target" })
    local clips = {}
    for k, row in ipairs(rows) do
      local target = csv.number(path, row, "target")
      if target ~= 0 and target ~= 1 then csv.refuse(path, row, "'target' is '" .. row.target .. "', not 0 or 1") end
      if not string.find(row.id, "^%d+$") then csv.refuse(path, row, "'id' is '" .. row.id .. "', no number") end
      local name = string.rep("0", 5 - #row.id) .. row.id
      clips[k] = {
        clip = name, files = { "train/" .. name .. ".mp4", name .. ".mp4" }, line = row.line,
        class = target == 1 and "collision" or "normal",
        event = csv.number(path, row, "time_of_event"), alert = csv.number(path, row, "time_of_alert"),
      }
      if target == 0 and clips[k].event then csv.refuse(path, row, "target 0, but a time of event") end
      if target == 1 and not clips[k].event then csv.refuse(path, row, "target 1, but no time of event") end
    end
    return clips
  end,
}
