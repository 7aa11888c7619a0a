--- sonde.make_clips - drive clips made by a traffic simulator: near misses and background, as H.264 files with a table
--- of labels that sonde.clips reads.
--
-- The folder: clips.csv (the table), clips.json (settings, versions of the libraries, and for each clip its seed, the
-- SHA-256 of its frames, the measured times), clips/NNNNN.mp4; truth/NNNNN/ where that is wanted. While clips are made,
-- clips.jsonl has the settings and a line for each that is complete; the same call continues there. One call at a time
-- works in a folder: it has the lock of the file `lock`.

local core = require "sonde.core"
local args = require "sonde.base.args"
local sumo = require "sonde.video.sumo"

local make = {}

local WAIT_SECONDS = 0.2
local AHEAD = 8                 -- clips that wait for a thread or are under way, at least
local UNCUT_SECONDS = 2          -- the least: an event is 0.8 s before the end and not in the first half
local DOMAINS = { A = 0, B = 1 }
local MOST_RUNS = 100           -- of SUMO
local MOST_OF_RUN, MOST_OF_FILE = 6, 10000      -- situations of a class that are taken

--- The options of making clips.
---@type sonde.schema
make.schema = {
  { name = "out", type = "string", required = true, some = true, value = "DIR",
    doc = "folder of the clips; may have some already" },
  { name = "clips", type = "integer", min = 1, max = 99999, preset = 280, value = "N",
    doc = "how many; the seven classes come in turn" },
  { name = "quiet", type = "integer", min = 1, max = 1000, preset = 1, value = "N",
    doc = "clips of background after each six near misses of our simulator" },
  { name = "seed", type = "integer", min = 0, max = 4294967295, preset = 1, value = "N", doc = "of everything" },
  { name = "domain", type = "string", choices = { "A", "B" }, preset = "A",
    doc = "which of two kinds of camera, light, roads and traffic" },
  { name = "source", type = "string", choices = { "own", "sumo" }, preset = "own",
    doc = "who drives: our simulator, or SUMO, which must be installed" },
  { name = "fcd", type = "string", value = "FILE",
    doc = "trajectories that `sumo --fcd-output` wrote (.xml, .xml.gz), in place of a source" },
  { name = "traffic", type = "integer", min = 20, max = 3600, preset = 200, value = "S",
    doc = "seconds of traffic in each run of SUMO" },
  { name = "uncut", type = "boolean", preset = false,
    doc = "long clips with the event anywhere in them, for detection; otherwise it lies in the second half" },
  { name = "seconds", type = "number", min = 1, max = 60, value = "S",
    doc = "length; default: 3, uncut 12 (at least 2)" },
  { name = "rate", type = "number", min = 1, max = 60, preset = 15, value = "HZ", doc = "frames a second" },
  { name = "width", type = "integer", min = 16, max = 4096, preset = 480, doc = "of the picture, even" },
  { name = "height", type = "integer", min = 16, max = 4096, preset = 270, doc = "of the picture, even" },
  { name = "samples", type = "integer", min = 1, max = 4, preset = 2,
    doc = "a pixel is the mean of so many times so many samples" },
  { name = "truth", type = "boolean", preset = false,
    doc = "also write the flow (.flo) and what each pixel shows (.pgm)" },
  { name = "progress", type = "function",
    doc = "called with the share that is done and a word for it" },
}

-- What must be the same for all clips of a folder.
local SETTINGS = { "seed", "domain", "quiet", "uncut", "seconds", "rate", "width", "height", "samples", "truth",
  "source", "fcd", "traffic" }
local PRINTED = { "version", "libraries" }

local function settings_of(options)
  local settings = { version = core.version, libraries = core.clip_encoder() }
  for _, name in ipairs(SETTINGS) do settings[name] = options[name] end
  settings.fcd = options.fcd and core.file_sha256(options.fcd)
  settings.source = options.source ~= "own" and options.source or nil
  settings.traffic = options.source == "sumo" and options.traffic or nil
  return settings
end

local function check_settings(out, here, wanted)
  for _, list in ipairs { SETTINGS, PRINTED } do
    for _, name in ipairs(list) do
      if here[name] ~= wanted[name] then
        error(("%s%s has clips made with %s %s, not %s; choose another folder"):format(core.where(), out, name,
          tostring(here[name]), tostring(wanted[name])), 0)
      end
    end
  end
end

-- ---- what a folder has ---------------------------------------------------------------------------------------------

local function name_of(index) return ("%05d"):format(index) end

local function file_of(out, index) return out .. "/clips/" .. name_of(index) .. ".mp4" end

-- The objects of a file, one a line. A line may have been cut short by a crash.
local function lines_of(path)
  local values = {}
  for line in string.gmatch(core.read_file(path), "(.-)\n") do
    local ok, value = pcall(core.json_decode, line)
    if ok and type(value) == "table" then values[#values + 1] = value end
  end
  return values
end

local ENTRY = { clip = "string", class = "string", what = "string", light = "string" }
local MEASURED = { "ttc", "pet", "time_of_event", "time_of_alert" }

-- Whether a value of a file is what we write of a clip.
local function is_entry(value)
  if type(value) ~= "table" or type(value.index) ~= "number" or value.index % 1 ~= 0 then return false end
  for name, kind in pairs(ENTRY) do
    if type(value[name]) ~= kind then return false end
  end
  for _, name in ipairs(MEASURED) do
    if value[name] ~= nil and type(value[name]) ~= "number" then return false end
  end
  return value.index >= 1 and value.clip == "clips/" .. name_of(value.index) .. ".mp4"
end

-- The settings and the entries of clips.json.
local function read_manifest(path)
  local before = core.json_load(path)
  local ok = type(before) == "table" and type(before.settings) == "table" and type(before.clips) == "table"
  for _, clip in ipairs(ok and before.clips or {}) do ok = ok and is_entry(clip) end
  if ok then return before.settings, before.clips end
  error(("%s%s: is not what `sonde clips make` writes; remove it, or choose another folder"):format(core.where(), path),
    0)
end

-- The same of clips.jsonl; what is no entry is as if it were absent. Without settings nobody knows how its clips were
-- made: they are made again.
local function read_journal(path)
  local values, clips = lines_of(path), {}
  for _, value in ipairs(values) do
    if is_entry(value) then clips[#clips + 1] = value end
  end
  local settings = values[1] and values[1].settings
  if type(settings) == "table" then return settings, clips end
  return {}, {}
end

-- The clips that are complete, by index. A file of other settings is refused where it has clips, and removed where it
-- has none.
local function find_made(out, settings)
  local made = {}
  local function take_all(path, read)
    if not core.exists(path) then return end
    local before, clips = read(path)
    local there = {}
    for _, clip in ipairs(clips) do
      if core.exists(file_of(out, clip.index)) then there[#there + 1] = clip end
    end
    if #there == 0 then return assert(os.remove(path)) end
    check_settings(out, before, settings)
    for _, clip in ipairs(there) do made[clip.index] = clip end
  end
  take_all(out .. "/clips.json", read_manifest)
  take_all(out .. "/clips.jsonl", read_journal)
  return made
end

-- ---- making --------------------------------------------------------------------------------------------------------

-- Classes come in turn, with `quiet` of background in a row, so that any number of clips has its share of each.
local function spec_of(options, index)
  local seconds, background = options.seconds, #core.clip_classes() - 1
  return {
    seed = options.seed * 1000003 + index,
    class = math.min((index - 1) % (background + options.quiet), background), domain = DOMAINS[options.domain],
    seconds = seconds, rate = options.rate, width = options.width, height = options.height, samples = options.samples,
    event_from = options.uncut and math.min(2.5, seconds / 2) or 0.45 * seconds,
    event_to = options.uncut and seconds - 0.8 or 0.92 * seconds,
    path = file_of(options.out, index),
  }
end

-- The situations of trajectories in the order of the clips, {trajectories, class (from 0), number}: one of each class
-- in turn, as long as there are any, then those of the next run. So more clips do not change those before them.
local function situations(options)
  local list, spec, runs = {}, spec_of(options, 0), options.fcd and 1 or MOST_RUNS
  for run = 1, runs do
    if options.progress then options.progress(0, ("traffic %d"):format(run)) end
    local path = options.fcd or sumo.trajectories(options.out .. "/sumo", options.seed, run, options.traffic)
    local all = core.clip_trajectories(path, { seed = options.seed, seconds = spec.seconds,
      most = options.fcd and MOST_OF_FILE or MOST_OF_RUN, event_from = spec.event_from, event_to = spec.event_to })
    local counts = all:counts()
    for n = 1, math.max(table.unpack(counts)) do
      for c, count in ipairs(counts) do
        if n <= count then list[#list + 1] = { all, c - 1, n } end
      end
    end
    if #list >= options.clips then return list end
  end
  error(core.where() .. string.format("make_clips: the trajectories have %d situations, not %d; give fewer clips or "
    .. "more traffic", #list, options.clips), 0)
end

local function missing_of(options, made)
  local missing = {}
  for index = 1, options.clips do
    if not made[index] then missing[#missing + 1] = index end
  end
  return missing
end

-- Makes the clips of these indices; `take` gets each with its index, in the order in which they become complete.
local function make_all(options, indices, take)
  local found = (options.source == "sumo" or options.fcd) and situations(options)
  local maker, added, done = core.clip_maker(), 0, 0
  local seeds = {}
  while done < #indices do
    while added < #indices and added - done < AHEAD do
      added = added + 1
      local index = indices[added]
      local spec = spec_of(options, index)
      if options.truth then
        spec.truth = options.out .. "/truth/" .. name_of(index)
        core.mkdirs(spec.truth)
      end
      seeds[added] = spec.seed
      if found then
        spec.class = found[index][2]
        maker:add(spec, found[index][1], found[index][3])
      else
        maker:add(spec)
      end
    end
    local clip = maker:next(WAIT_SECONDS)
    if clip then
      local job = clip.job + 1
      if clip.error then error(("%sclip %s: %s"):format(core.where(), name_of(indices[job]), clip.error), 0) end
      done, clip.job, clip.seed = done + 1, nil, seeds[job]
      clip.index, clip.clip = indices[job], "clips/" .. name_of(indices[job]) .. ".mp4"
      take(clip)
      if options.progress then
        options.progress(done / #indices, ("clip %d/%d"):format(done, #indices))
      end
    end
  end
  maker:close()
end

-- Adds what is missing to `made`, and a line for each to the journal.
local function complete(options, settings, made)
  local missing, path = missing_of(options, made), options.out .. "/clips.jsonl"
  if #missing == 0 then return end
  if not core.exists(path) then core.write_file(path, core.json_encode { settings = settings } .. "\n") end
  local journal = assert(io.open(path, "a"))
  journal:write "\n"                -- behind a line that a crash cut short
  make_all(options, missing, function(clip)
    made[clip.index] = clip
    journal:write(core.json_encode(clip), "\n")
    journal:flush()
  end)
  journal:close()
end

-- ---- the table -----------------------------------------------------------------------------------------------------

local function number(x) return x and ("%.3f"):format(x) or "" end

local function table_of(options, clips)
  local lines = { "clip,start,end,class,time_of_event,time_of_alert,what,ttc,pet,light,rain" }
  for k, clip in ipairs(clips) do
    lines[k + 1] = table.concat({ clip.clip, "0", number(options.seconds), clip.class, number(clip.time_of_event),
      number(clip.time_of_alert), clip.what, number(clip.ttc), number(clip.pet), clip.light, clip.rain and "1" or "0",
    }, ",")
  end
  return table.concat(lines, "\n") .. "\n"
end

-- x264 writes its version into the stream.
local function x264_of(options, clips)
  return string.match(core.read_file(options.out .. "/" .. clips[1].clip), "x264 %- core ([%w ]*%w)")
end

local function check(options)
  options = args.check(make.schema, options, "make_clips")
  options.seconds = options.seconds or (options.uncut and 12 or 3)
  local wrong
  if options.source == "sumo" and options.fcd then wrong = "give a source or fcd, not both" end
  if options.width % 2 ~= 0 or options.height % 2 ~= 0 then wrong = "width and height must be even" end
  if options.uncut and options.seconds < UNCUT_SECONDS then
    wrong = ("uncut clips have at least %d seconds, not %g; give more, or leave uncut out"):format(UNCUT_SECONDS,
      options.seconds)
  end
  if wrong then error(core.where() .. "make_clips: " .. wrong, 0) end
  return options
end

-- Makes what is missing and writes the table and clips.json, with the lock of the folder.
local function fill(options, settings)
  local made, most = find_made(options.out, settings), 0
  for index in pairs(made) do most = math.max(most, index) end
  if most > options.clips then
    error(core.where() .. string.format("make_clips: %s has %d clips already, more than %d; give as many, or another "
      .. "folder", options.out, most, options.clips), 0)
  end
  complete(options, settings, made)
  local clips, counts = core.list(), {}
  for index = 1, options.clips do
    clips[index] = made[index]
    counts[made[index].class] = (counts[made[index].class] or 0) + 1
  end
  core.write_file(options.out .. "/clips.csv", table_of(options, clips))
  core.write_file(options.out .. "/clips.json", core.json_encode({ settings = settings,
    x264 = x264_of(options, clips), clips = clips }, 2) .. "\n")
  os.remove(options.out .. "/clips.jsonl")
  return { table = options.out .. "/clips.csv", clips = clips, counts = counts }
end

--- Makes clips, or those that are missing in the folder. The same options and libraries give the same bytes, with any
--- number of threads.
---@param options table     see make.schema
---@return { table: string, clips: table[], counts: table }   path of clips.csv, its clips, how many of each class
function make.make_clips(options)
  options = check(options)
  local settings = settings_of(options)
  core.mkdirs(options.out .. "/clips")
  local lock = core.lock(options.out .. "/lock")
  local ok, result = pcall(fill, options, settings)
  lock:close()
  if not ok then error(result, 0) end
  return result
end

return args.declare(make, "sonde.", { make_clips = { { name = "options", type = "table", required = true } } })
