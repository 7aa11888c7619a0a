--- clips - makes drive clips with the traffic simulator.

local core = require "sonde.core"
local output = require "sonde.base.output"
local progress = require "sonde.base.progress"
local make = require "sonde.video.make"

local options = {}
for _, field in ipairs(make.schema) do
  if field.type ~= "function" then options[#options + 1] = field end
end
options[#options + 1] = output.json

local function run(given)
  local wanted, began = { progress = progress.share() }, core.seconds()
  for _, field in ipairs(make.schema) do wanted[field.name] = wanted[field.name] or given[field.name] end
  local result = make.make_clips(wanted)
  if given.json then return output.print_json { table = result.table, counts = result.counts, clips = result.clips } end
  local rows = { { "class", "clips" } }
  for _, class in ipairs(core.clip_classes()) do
    rows[#rows + 1] = { class, ("%d"):format(result.counts[class] or 0) }
  end
  output.print_table(rows)
  print(("\n%d clips in %s; labels: %s"):format(#result.clips, progress.clock(core.seconds() - began), result.table))
end

return {
  summary = "makes drive clips: near misses and background, by a traffic simulator",
  usage = "make",
  commands = {
    make = {
      summary = "makes clips with their labels, or those that a folder lacks",
      usage = "--out DIR [options]",
      details = "Classes: {bicycle, pedestrian, vehicle} x {high, low danger} and background, by the time to collision "
        .. "that is\nmeasured: under 0.5 s, between 2 and 3.5 s, over 4 s. Stopped and called again, it continues.",
      options = options,
      example = "sonde clips make --out clips/A --clips 280 --domain A --seed 1",
      run = run,
    },
  },
  example = "sonde clips make --out clips/A --clips 280 --domain A --seed 1",
}
