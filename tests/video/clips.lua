-- Tables of clips: our own and those of public data sets; what is refused; splits; features of clips as tensors.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"
local made = dofile(os.getenv "abs_srcdir" .. "/tests/video/made.lua")
local csv = require "sonde.video.tables.csv"

local folder, lock

local function path(name) return folder .. "/" .. name end

local function write(name, text)
  core.mkdirs((string.gsub(path(name), "/[^/]*$", "")))
  core.write_file(path(name), text)
  return path(name)
end

local function touch(...)
  for _, name in ipairs { ... } do write(name, "x") end
end

local function refused(text, f, ...)
  local ok, message = pcall(f, ...)
  lu.assertFalse(ok, text)
  lu.assertStrContains(message, text)
  lu.assertNil(string.find(message, "\n"))
end

local HEAD = "clip,start,end,class,time_of_event,time_of_alert\n"

TestClips = {}

function TestClips:setUp()
  folder, lock = core.new_folder((os.getenv "TMPDIR" or "/tmp") .. "/sonde-clips")
end

function TestClips:tearDown()
  core.remove_tree(folder)
  lock:close()
end

function TestClips:test_our_own_table()
  touch("a.mp4", "b c.mp4", "d,e.mp4")
  local table_path = write("labels.csv", "\239\187\191" .. HEAD .. "a.mp4,0,3,car high,2,1.5\r\n\r\n"
    .. '"b c.mp4",,,background,,\r\n"d,e.mp4",1.5,2.5,car high,2,\n')
  local set = sonde.clips(table_path, { validation = 0 })
  lu.assertEquals(set.classes, { "background", "car high" })
  lu.assertEquals(#set.clips, 3)
  local a, b, d = set.clips[1], set.clips[2], set.clips[3]
  lu.assertEquals({ a.start, a.stop, a.event, a.alert, a.from, a.to }, { 0, 3, 2, 1.5, 1.5, 2 })
  lu.assertEquals({ b.start, b.stop, b.event, b.split }, { 0, math.huge, nil, "train" })
  lu.assertEquals({ d.path, d.event, d.from, d.source }, { path "d,e.mp4", 2, nil, "d,e.mp4" })
  lu.assertEquals(sonde.clips(table_path, { classes = { "car high", "background", "none" } }).classes[3], "none")
end

function TestClips:test_bad_rows_are_refused_with_their_line()
  touch("a.mp4", "b.mp4")
  local function of(rows, text, options, head)
    refused(text, sonde.clips, write("bad.csv", (head or HEAD) .. rows), options)
  end
  of("a.mp4,0,3,x,2,1\nb.mp4,0,3,x,4,1\n", "line 3: clip 'b.mp4' has a time of event outside of it")
  of("a.mp4,0,3,x,2,2.5\n", "line 2: clip 'a.mp4' has its alert after the event")
  of("a.mp4,3,3,x,,\n", "ends before it starts")
  of("a.mp4,-1,3,x,,\n", "starts before 0")
  of("a.mp4,0,3,x,,1\n", "has a time of alert, but no event")
  of("a.mp4,0,3,,,\n", "has no class")
  of("a.mp4,0,3,bicicle,,\n", "did you mean 'bicycle'?", { classes = { "bicycle", "car" } })
  of("a.mp4,0,3,x,,\na.mp4,0,3,x,,\n", "line 3: clip 'a.mp4' is there twice")
  of("a.mp4,0,3,x,,\n./a.mp4,0,3,x,,\n", "line 3: clip './a.mp4' is there twice")
  of("a.mp4,0,1,x,train\n./a.mp4,1,2,x,val\n", "into both splits", nil, "clip,start,end,class,split\n")
  of("a.mp4,0,three,x,,\n", "line 2: 'end' is 'three', which is no number")
  of("a.mp4,0,nan,x,,\n", "no number")
  of("a.mp4,0,3,x\n", "line 2: 4 fields, but there are 6 columns")
  of('a.mp4,0,3,"x,,\n', "a quoted field has no end")
  of("a.mp4,0,3,x\0,,\n", "zero bytes")
  of(",0,3,x,,\n", "'clip' is empty")
  of("", "names no clip")
  of("a.mp4,0,3\n", "no table of clips", nil, "file,start,end\n")
  of("a.mp4,x\n", "two columns are called 'clip'", nil, "clip,clip\n")
  of("a.mp4,x,train\nb.mp4,x,\n", "has no split, but others have", nil, "clip,class,split\n")
  of("a.mp4,x,test\n", "split 'test'", nil, "clip,class,split\n")
  of("a.mp4,0,1,x,train\na.mp4,1,2,x,val\n", "puts its", nil, "clip,start,end,class,split\n")
  of("a.mp4,x,train,s\nb.mp4,x,validation,s\n", "source 's' into both splits", nil, "clip,class,split,source\n")
  refused("there is no table", sonde.clips, path "nothing.csv")
  refused("no table of clips that is known", sonde.clips, write("x.txt", "x"))
end

function TestClips:test_missing_files_are_named_at_once()
  touch("b.mp4")
  local at = write("labels.csv", "clip,class\na.mp4,x\nb.mp4,y\nc.mp4,x\n")
  refused("2 of 3 clips have no file in '" .. folder .. "': a.mp4, c.mp4", sonde.clips, at)
  lu.assertEquals(#sonde.clips(at, { skip_missing = true }).clips, 1)
  touch("videos/a.mp4", "videos/b.mp4", "videos/c.mp4")
  lu.assertEquals(#sonde.clips(at, { root = path "videos" }).clips, 3)
end

function TestClips:test_a_split_does_not_depend_on_where_the_folder_lies()
  local rows = {}
  for k = 1, 20 do rows[k] = k .. ".mp4,x" end
  local function split_in(sub)
    for k = 1, 20 do touch(sub .. "/" .. k .. ".mp4") end
    local at, names = write(sub .. "/labels.csv", "clip,class\n" .. table.concat(rows, "\n") .. "\n"), {}
    for _, clip in ipairs(sonde.clips(at, { validation = 0.5 }):of "validation") do names[#names + 1] = clip.clip end
    return table.concat(names, " ")
  end
  local here = split_in "here"
  for _, sub in ipairs { "there", "elsewhere" } do lu.assertEquals(split_in(sub), here) end
end

function TestClips:test_a_sweep_notices_another_table()
  local fingerprint = require "sonde.base.fingerprint"
  touch("a.mp4", "b.mp4", "c.mp4")
  local function of(rows)
    local set = sonde.clips(write("labels.csv", "clip,class,time_of_event\n" .. rows), { validation = 0 })
    return fingerprint.of(function() return set end)
  end
  local as_it_was = of "a.mp4,x,\nb.mp4,y,\n"
  lu.assertEquals(of "a.mp4,x,\nb.mp4,y,\n", as_it_was)
  for _, rows in ipairs { "a.mp4,y,\nb.mp4,x,\n", "a.mp4,x,1\nb.mp4,y,\n", "a.mp4,x,\nb.mp4,y,\nc.mp4,y,\n" } do
    lu.assertNotEquals(of(rows), as_it_was)
  end
end

function TestClips:test_splits_keep_sources_together()
  local rows = {}
  for k = 1, 60 do
    touch(k .. ".mp4")
    rows[k] = string.format("%d.mp4,x,s%d", k, k % 20)
  end
  local at = write("labels.csv", "clip,class,source\n" .. table.concat(rows, "\n") .. "\n")
  local set = sonde.clips(at, { validation = 0.25 })
  local of, clips = {}, { train = 0, validation = 0 }
  for _, clip in ipairs(set.clips) do
    lu.assertEquals(of[clip.source] or clip.split, clip.split)
    of[clip.source], clips[clip.split] = clip.split, clips[clip.split] + 1
  end
  lu.assertEquals(clips, { train = 45, validation = 15 })
  lu.assertEquals(#set:of "validation", 15)
  local function validation(options)
    local names = {}
    for _, clip in ipairs(sonde.clips(at, options):of "validation") do names[#names + 1] = clip.clip end
    return table.concat(names, " ")
  end
  lu.assertEquals(validation { validation = 0.25 }, validation { validation = 0.25 })
  lu.assertNotEquals(validation { validation = 0.25 }, validation { validation = 0.25, seed = 2 })
  lu.assertNotEquals(validation { validation = 0.25 }, validation { validation = 0.25, split = "clip" })
end

function TestClips:test_dota()
  local entry = '{"video_start": 1, "video_end": 50, "anomaly_start": 20, "anomaly_end": 35, "anomaly_class": "%s", '
    .. '"num_frames": 50, "subset": "%s"}'
  write("d/metadata_train.json", '{"abc_000001": ' .. entry:format("ego: lateral", "train") .. ', "abc_000060": '
    .. entry:format("other: turning", "train") .. "}")
  write("d/metadata_val.json", '{"xyz_000001": ' .. entry:format("ego: pedestrian", "val") .. "}")
  for _, name in ipairs { "abc_000001", "abc_000060", "xyz_000001" } do
    touch("d/frames/" .. name .. "/images/1.jpg")
  end
  local set = sonde.clips(path "d")
  lu.assertEquals({ set.format, set.image_rate, #set.clips, #set.classes }, { "dota", 10, 3, 20 })
  local c = set.clips[1]
  lu.assertEquals({ c.clip, c.class, c.event, c.from, c.to, c.stop, c.source, c.split },
    { "abc_000001", "ego: lateral", 2, 2, 3.5, 5, "abc", "train" })
  lu.assertEquals(#set:of "validation", 1)
  write("d/metadata_val.json", '{"abc_000900": ' .. entry:format("ego: pedestrian", "val") .. "}")
  touch "d/frames/abc_000900/images/1.jpg"
  refused("puts its source 'abc' into both splits", sonde.clips, path "d")
  write("d/metadata_val.json", '{"xyz_000001": ' .. entry:format("ego: flying", "val") .. "}")
  refused("unknown class 'ego: flying'", sonde.clips, path "d")
  write("d/metadata_val.json", '{"xyz_000001": ' .. (entry:format("ego: unknown", "val"):gsub("35", "19")) .. "}")
  refused("'xyz_000001' has its 'anomaly_end' before its 'anomaly_start'", sonde.clips, path "d")
  write("e/q_000001.json", '{"anomaly_start": 2, "anomaly_end": 5, "anomaly_class": "ego: unknown", "num_frames": 9, '
    .. '"night": true, "ego_involve": true, "labels": []}')
  touch "e/q_000001.mp4"
  c = sonde.clips(path "e").clips[1]
  lu.assertEquals({ c.clip, c.night, c.ego, c.event }, { "q_000001", true, true, 0.2 })
  write("f.json", '{"a": {"anomaly_start": 1.5, "anomaly_end": 2, "anomaly_class": "ego: unknown"}}')
  refused("no whole number 'anomaly_start'", sonde.clips, path "f.json")
  write("f.json", '[1, 2]')
  refused("is a list", sonde.clips, path "f.json")
end

function TestClips:test_ccd()
  local labels = string.rep("0, ", 31) .. string.rep("1, ", 18) .. "1"
  local line = "000007,[" .. labels .. "],285,Iv8AhD_DlzM,Night,Snowy,No\n"
  touch("Crash-1500/000007.mp4", "Normal/000003.mp4", "Normal/notes.txt")
  local at = write("Crash-1500.txt", line)
  local set = sonde.clips(at)
  lu.assertEquals({ set.format, set.classes, #set.clips }, { "ccd", { "normal", "crash" }, 2 })
  local c = set.clips[1]
  lu.assertEquals({ c.event, c.from, c.to, c.stop, c.source, c.night, c.weather, c.ego },
    { 3.1, 3.1, 5, 5, "Iv8AhD_DlzM", true, "Snowy", false })
  lu.assertEquals({ set.clips[2].class, set.clips[2].event }, { "normal", nil })
  write("Crash-1500.txt", (string.gsub(line, "1, 1, ", "1, ", 1)))
  refused("line 1: 49 labels; a clip has 50", sonde.clips, at)
  write("Crash-1500.txt", (string.gsub(line, "1, 1, ", "1, 2, ", 1)))
  refused("a label is '2'", sonde.clips, at)
  write("Crash-1500.txt", "000007,[0, 1\n")
  refused("line 1: is not: name", sonde.clips, at)
end

function TestClips:test_dada()
  touch("1/001/images/0001.png", "10/002/images/0001.png", "3/003/images/0001.png")
  local head = 'video,weather,type,whether an accident occurred (1/0),abnormal start frame,accident frame,'
    .. 'abnormal end frame,total frames,"[0,tai]",texts\n'
  local at = write("full_anno.csv", head .. '1,1,1,1,60,90,119,300,"0,60","a car, turning"\n2,1,10,0,-1,-1,-1,150,,x\n'
    .. "3,1,3,1,30,-1,60,100,,y\n")
  local set = sonde.clips(at)
  local a, b, c = set.clips[1], set.clips[2], set.clips[3]
  lu.assertEquals({ set.format, set.image_rate, a.clip, a.class }, { "dada", 30, "1/001", "1" })
  lu.assertEquals({ a.event, a.alert, a.from, a.to, a.stop }, { 3, 2, 2, 4, 10 })
  lu.assertEquals({ b.event, b.from, b.path }, { nil, nil, path "10/002/images" })
  lu.assertEquals({ c.event, c.alert }, { 1, 1 })
  write("full_anno.csv", head .. "1,1,1,1,60,400,119,300,,x\n")
  refused("time of event outside", sonde.clips, at)
end

function TestClips:test_nexar()
  touch("train/00822.mp4", "train/01924.mp4")
  local at = write("train.csv", "id,time_of_event,time_of_alert,target\n822,19.5,18.6,1\n1924,,,0\n")
  local set = sonde.clips(at)
  local a, b = set.clips[1], set.clips[2]
  lu.assertEquals({ set.format, a.class, a.event, a.alert, a.from, a.to },
    { "nexar", "collision", 19.5, 18.6, 18.6, 19.5 })
  lu.assertEquals({ b.class, b.event }, { "normal", nil })
  write("train.csv", "id,time_of_event,time_of_alert,target\n822,,,1\n")
  refused("target 1, but no time of event", sonde.clips, at)
  write("train.csv", "id,time_of_event,time_of_alert,target\n822,2,1,2\n")
  refused("'target' is '2'", sonde.clips, at)
end

-- Changed bytes of tables: read, or refused in one line.
function TestClips:test_damaged_tables()
  touch("a.mp4", "train/00822.mp4", "Crash-1500/000007.mp4", "1/001/images/0001.png", "x_1.mp4")
  local tables = {
    ["own.csv"] = HEAD .. 'a.mp4,0,3,"car, high",2,1.5\n',
    ["train.csv"] = "id,time_of_event,time_of_alert,target\n822,9,8,1\n",
    ["Crash-1500.txt"] = "000007,[" .. string.rep("0, ", 31) .. string.rep("1, ", 18) .. "1],285,Iv8,Night,Snowy,No\n",
    ["full_anno.csv"] = "video,type,abnormal start frame,accident frame,abnormal end frame\n1,1,60,90,119\n",
    ["dota.json"] = '{"x_1": {"anomaly_start": 2, "anomaly_end": 5, "anomaly_class": "ego: unknown", "num_frames": 9}}',
  }
  local state, read = 1, 0
  local function random(n)
    state = state * 16807 % 2147483647
    return state % n + 1
  end
  for name, text in pairs(tables) do
    lu.assertEquals(#sonde.clips(write(name, text)).clips, 1)
    for _ = 1, 150 do
      local bytes = { string.byte(text, 1, -1) }
      for _ = 1, random(3) do bytes[random(#bytes)] = random(256) - 1 end
      local n = random(4) == 1 and random(#bytes) or #bytes
      local ok, message = pcall(sonde.clips, write(name, string.char(table.unpack(bytes, 1, n))))
      read = read + (ok and 1 or 0)
      lu.assertTrue(ok or type(message) == "string" and not string.find(message, "\n"), message)
    end
  end
  lu.assertTrue(read > 20)
end

function TestClips:test_csv_records()
  local function fields(text)
    local list = {}
    for k, r in ipairs(csv.records(text, "x")) do list[k] = table.concat(r, "|") .. "@" .. r.line end
    return list
  end
  lu.assertEquals(fields 'a,b\n"x ""y""",\n"two\nlines",c\n\nd', { "a|b@1", 'x "y"|@2', "two\nlines|c@3", "d@6" })
  lu.assertEquals(fields "", {})
  lu.assertEquals(fields "a,\r\n", { "a|@1" })
end

-- ---- features ------------------------------------------------------------------------------------------------------

-- Grey frames of a pattern that moves by `u` pixels a frame (YUV4MPEG2).
local function y4m(name, u, frames)
  local to = write(name, "")
  made.y4m(to, frames, function(k, x, y) return x - u * k, y end)
  return to
end

local OPTIONS = { width = 64, grid = { 4, 3 }, thumbnail = { 4, 3 }, progress = false }

local function with(more)
  local all = { cache = path "cache" }
  for key, value in pairs(OPTIONS) do all[key] = value end
  for key, value in pairs(more or {}) do all[key] = value end
  return all
end

local function has_video()
  local ok, message = pcall(core.video, path "a.y4m")
  if not ok and string.find(message, "without FFmpeg", 1, true) then lu.skip "this build has no FFmpeg" end
  lu.assertTrue(ok, message)
end

function TestClips:test_features_become_tensors()
  y4m("a.y4m", 2, 8)
  y4m("b.y4m", -1, 5)
  has_video()
  local at = write("labels.csv", "clip,class\na.y4m,right\nb.y4m,left\n")
  local set = sonde.clips(at, { validation = 0 }):features(with { workers = 2 })
  local info = core.video_features(set.clips[1].features):info()
  lu.assertEquals({ info.rows, info.columns, info.codec }, { 8, 16 + 3 * 12 * 5 + 12, "rawvideo" })
  local data = set:arrays("train", { frames = 6, parts = { "background", "thumbnail" } })
  lu.assertEquals(data.features:dims(), { 2, 6, 12 * 5 + 12 })
  lu.assertEquals(data.classes:values(), { 1, 0 })
  lu.assertEquals(data.rows, { 6, 5 })
  -- Of the first clip its last row; of the second the row that it does not have.
  local last, first = 5 * 72, 6 * 72
  for c = 0, 11 do lu.assertAlmostEquals(data.features:get(last + 5 * c + 1), 2 / 64 / 0.1, 0.02) end
  for k = 1, 72 do lu.assertEquals(data.features:get(first + k), 0) end
  for c = 0, 11 do lu.assertAlmostEquals(data.features:get(2 * 6 * 72 - 72 + 5 * c + 1), -1 / 64 / 0.1, 0.02) end
  local all = set:arrays("train", { frames = 2, parts = { "figures", "all", "background", "foreground", "thumbnail" } })
  lu.assertEquals(all.features:dims()[3], info.columns)
  lu.assertEquals(core.video_features(set.clips[1].features):values(7, 2, 1, info.columns),
    { table.unpack(all.features:values(), 1, 2 * info.columns) })
end

function TestClips:test_a_feed_for_training()
  y4m("a.y4m", 2, 8)
  y4m("b.y4m", -1, 5)
  y4m("c.y4m", 1, 8)
  has_video()
  local at = write("labels.csv", "clip,class,time_of_event,time_of_alert,split\na.y4m,x,0.6,0.4,train\n"
    .. "b.y4m,y,,,train\nc.y4m,x,0.5,,validation\n")
  local set = sonde.clips(at):features(with())
  local parts, frames = { "figures", "background" }, 6
  local data, about = set:feed { frames = frames, parts = parts, task = "warning", growth = 2 }
  lu.assertEquals({ about.features, about.classes, #about.train, #about.validation }, { 16 + 60, 2, 2, 1 })
  local train = data.parts[1].name == "features" and data.parts[1].train
  local labels, weights, x = data.parts[2].train:values(), data.parts[3].train:values(), train:values()
  -- a: rows at 0.2 .. 0.7 s, the event in the fifth; b has five rows, the first of six is none.
  lu.assertEquals(labels, { 1, 1, 1, 1, -1, -1, -1, 0, 0, 0, 0, 0 })
  for k, s in ipairs { 0.4, 0.3, 0.2, 0.1 } do lu.assertAlmostEquals(weights[k], math.exp(-2 * s), 1e-6) end
  lu.assertEquals({ table.unpack(weights, 5) }, { 0, 0, 0, 1, 1, 1, 1, 1 })
  local varied = 0                            -- numbers that are not almost constant
  for c = 1, 76 do
    local sum, squares = 0, 0
    for r = 0, 11 do sum, squares = sum + x[r * 76 + c], squares + x[r * 76 + c] ^ 2 end
    lu.assertAlmostEquals(sum / 11, 0, 1e-4)
    lu.assertTrue(squares / 11 < 1.01)
    varied = varied + (math.abs(squares / 11 - 1) < 0.01 and 1 or 0)
    lu.assertEquals(x[6 * 76 + c], 0)
  end
  lu.assertTrue(varied > 30)
  -- The validation clip is scaled by the training clips: its first figure is the time.
  local raw, means = { 0.2, 0.3, 0.4, 0.5, 0.6, 0.7 }, (2.7 + 1.0) / 11
  local v = data.parts[1].valid:values()
  lu.assertAlmostEquals((v[5 * 76 + 1] - v[1]) * (x[5 * 76 + 1] - x[1]), (x[5 * 76 + 1] - x[1]) ^ 2, 1e-4)
  lu.assertAlmostEquals(v[1] / v[5 * 76 + 1], (raw[1] - means) / (raw[6] - means), 1e-3)
  lu.assertEquals(data.parts[2].valid:values(), { 1, 1, 1, -1, -1, -1 })
  -- Plain labels of frames, and of clips.
  local plain = set:feed { frames = frames, parts = parts, task = "warning", loss = "frame" }
  lu.assertEquals({ table.unpack(plain.parts[2].train:values(), 1, 8) }, { 0, 0, 1, 1, 0, 0, -1, 0 })
  local clips = set:feed { frames = frames, parts = parts }
  lu.assertEquals(clips.parts[2].train:values(), { -1, -1, -1, -1, -1, 0, -1, -1, -1, -1, -1, 1 })
  -- A model learns from them, and its loss is the weighted cross-entropy.
  local model = sonde.transformer { features = 76, objective = { "weighted_classifier", classes = 2 }, width = 8,
    depth = 1, heads = 1, context = frames, seed = 1 }
  local before = sonde.train(model, data, { steps = 1, batch = 2, lr = 0, progress = false, eval_every = 0 }).loss
  local after = sonde.train(model, data, { steps = 20, batch = 2, lr = 1e-2, progress = false, eval_every = 0 }).loss
  lu.assertTrue(after ~= before)
end

function TestClips:test_a_weighted_loss_is_its_weights_times_the_cross_entropy()
  local function losses(name, inputs)
    local model = sonde.transformer { features = 3, objective = { name, classes = 4 }, width = 8, depth = 1, heads = 1,
      context = 5, seed = 3 }:init()
    return sonde.value(model:trace({ batch = 1 }).loss, inputs):values()
  end
  local x, labels, weights = {}, { 0, -1, 3, 2, 1 }, { 0.5, 1, 0, 2, 1 }
  for k = 1, 15 do x[k] = math.sin(k) end
  local plain = losses("classifier", { features = x, labels = labels })
  local weighted = losses("weighted_classifier", { features = x, labels = labels, weights = weights })
  for k = 1, 5 do lu.assertAlmostEquals(weighted[k], weights[k] * plain[k], 1e-6) end
  lu.assertTrue(plain[1] > 0.5)
end

-- CCD's published features: an archive for each clip, the picture and 19 objects a frame (here 2).
function TestClips:test_features_of_others()
  local labels = string.rep("1, ", 49) .. "1"                -- the archive here has two frames
  local at = write("Crash-1500.txt", "000007,[" .. labels .. "],285,Iv8,Night,Snowy,No\n")
  local archive = core.read_file(os.getenv "abs_srcdir" .. "/tests/reference/arrays.npz")   -- data [2, 3, 4]: k / 8
  write("vgg16_features/positive/000007.npz", archive)
  write("vgg16_features/negative/000003.npz", archive)
  local set = sonde.clips(at, { validation = 0 }):features(with())
  lu.assertEquals({ #set.clips, set.clips[2].clip, set.clips[2].class }, { 2, "Normal/000003", "normal" })
  local data = set:arrays("train", { frames = 2, parts = { "objects", "picture" } })
  lu.assertEquals(data.features:dims(), { 2, 2, 8 })
  local values = data.features:values()
  lu.assertEquals({ table.unpack(values, 1, 8) }, { 0.75, 0.875, 1, 1.125, 0, 0.125, 0.25, 0.375 })
  lu.assertEquals(values[9], (16 + 20) / 16)
  lu.assertEquals(data.classes:values(), { 1, 0 })
  refused("has no 'foreground'", function() set:arrays("train", { frames = 2, parts = { "foreground" } }) end)
end

function TestClips:test_features_are_made_once()
  y4m("a.y4m", 2, 6)
  y4m("b.y4m", 1, 6)
  has_video()
  local at = write("labels.csv", "clip,start,end,class\na.y4m,,,x\nb.y4m,0.2,0.5,y\n")
  local function files() return core.list_dir(path "cache") end
  local set = sonde.clips(at):features(with())
  lu.assertEquals(#files(), 2)
  lu.assertEquals(core.video_features(set.clips[2].features):info().rows, 3)
  local kept = core.read_file(set.clips[1].features)
  core.write_file(set.clips[2].features, "damaged")
  set = sonde.clips(at):features(with())                -- the damaged one is made again
  lu.assertEquals(core.read_file(set.clips[1].features), kept)
  lu.assertEquals(core.video_features(set.clips[2].features):info().rows, 3)
  sonde.clips(at):features(with { workers = 1 })
  lu.assertEquals(#files(), 2)
  sonde.clips(at):features(with { camera = "affine" })
  lu.assertEquals(#files(), 4)
end

-- a.y4m: frames at 0 .. 0.5 s, so that it ends at 0.6 s.
function TestClips:test_labels_must_fit_the_frames()
  y4m("a.y4m", 2, 6)
  y4m("b.y4m", 1, 6)
  y4m("c.y4m", 3, 6)
  has_video()
  local function of(rows, head)
    return sonde.clips(write("labels.csv", (head or HEAD) .. rows), { validation = 0 })
  end
  local set = of("a.y4m,,,x,0.6,0.55\nb.y4m,0.2,1.6,y,,\n"):features(with())
  lu.assertEquals(#set.clips, 2)
  set = of "a.y4m,,,x,0.61,\nb.y4m,,,y,0.3,\nc.y4m,,,y,0.65,0.64\n"
  refused("labels of 2 of 3 clips do not fit their frames: 'a.y4m' has its event at 0.61 s, but ends at 0.6 s; 'c.y4m'",
    set.features, set, with())
  lu.assertEquals({ #set:features(with { skip_failed = true }).clips, set.clips[1].clip }, { 1, "b.y4m" })
  -- The same for the times of another format.
  y4m("train/00822.mp4", 2, 6)
  set = sonde.clips(write("train.csv", "id,time_of_event,time_of_alert,target\n822,0.7,0.2,1\n"), { validation = 0 })
  refused("'00822' has its event at 0.7 s, but ends at 0.6 s", set.features, set, with())
end

function TestClips:test_copies_are_found_by_their_content()
  y4m("a.y4m", 2, 6)
  y4m("b.y4m", 1, 6)
  has_video()
  write("copy.y4m", core.read_file(path "a.y4m"))
  local set = sonde.clips(write("labels.csv", "clip,class,split\na.y4m,x,train\nb.y4m,y,train\ncopy.y4m,x,train\n"))
  refused("labels of 1 of 3 clips do not fit their frames: 'copy.y4m' has the same frames as 'a.y4m'", set.features,
    set, with())
  set = sonde.clips(write("labels.csv", "clip,start,end,class,split\na.y4m,0,0.3,x,train\nb.y4m,,,y,train\n"
    .. "copy.y4m,0.3,0.6,x,validation\n"))
  refused("'copy.y4m' (validation) is of the same video as 'a.y4m' (train)", set.features, set, with())
end

function TestClips:test_a_bad_clip_does_not_stop_the_others()
  y4m("a.y4m", 2, 4)
  has_video()
  touch("b.mp4")
  local at = write("labels.csv", "clip,class\nb.mp4,x\na.y4m,y\n")
  refused("1 of 2 clips gave no features (the others are kept): '" .. path "b.mp4", function()
    sonde.clips(at):features(with())
  end)
  lu.assertEquals(#core.list_dir(path "cache"), 1)
  local set = sonde.clips(at):features(with { skip_failed = true })
  lu.assertEquals({ #set.clips, set.clips[1].class }, { 1, "y" })
  refused("make the features first", function() sonde.clips(at, { validation = 0 }):arrays("train", { frames = 2 }) end)
end

os.exit(lu.LuaUnit.run("-o", "tap"))
