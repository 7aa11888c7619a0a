-- Models of clips: what they say of each frame, their measures, folders, and the baselines beside them.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"
local made = dofile(os.getenv "abs_srcdir" .. "/tests/video/made.lua")
local baselines = require "sonde.video.baselines"

local folder, lock
local FRAMES, PARTS = 6, { "figures", "foreground" }

local function path(name) return folder .. "/" .. name end

-- A texture that grows by `zoom` a frame about the middle of 64 x 48 pixels, 10 frames a second.
local function y4m(name, zoom, frames)
  made.y4m(path(name), frames, function(k, x, y)
    local scale = (1 + zoom) ^ k
    return (x - 32) / scale, (y - 24) / scale
  end)
end

local function clips(grid)
  for k, name in ipairs { "a", "b", "c", "d" } do
    y4m(name .. ".y4m", k % 2 == 1 and 0.0295 + 0.0005 * k or 0.002 * k, k == 2 and 5 or 8)
  end
  return made.clips(folder, "a.y4m,near,0.6,0.4,train\nb.y4m,quiet,,,train\nc.y4m,near,0.6,0.4,validation\n"
    .. "d.y4m,quiet,,,validation\n", grid)
end

local function model_of(about, options)
  local all = { features = about.features, objective = { "weighted_classifier", classes = about.classes }, width = 8,
    depth = 2, heads = 2, context = about.frames, seed = 3, init_std = 0.3 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

TestReading = {}

function TestReading:setUp()
  folder, lock = core.new_folder((os.getenv "TMPDIR" or "/tmp") .. "/sonde-reading")
end

function TestReading:tearDown()
  core.remove_tree(folder)
  lock:close()
end

function TestReading:test_probabilities_are_those_of_the_loss()
  local data, about = clips():feed { frames = FRAMES, parts = PARTS, task = "warning", loss = "frame" }
  local model = model_of(about)
  local scores = about:scores(model, "train")
  lu.assertEquals({ #scores, #scores[1].p, #scores[2].p, #scores[2].times }, { 2, 6, 5, 5 })
  local inputs = {}
  for _, input in ipairs(data.parts) do inputs[input.name] = input.train:values() end
  local loss = sonde.value(model:trace({ batch = 2 }).loss, inputs):values()
  local labels = inputs.labels
  for n, each in ipairs(scores) do
    local off = FRAMES - #each.p
    for k, p in ipairs(each.p) do
      local i = (n - 1) * FRAMES + off + k
      lu.assertAlmostEquals(p[1] + p[2], 1, 1e-12)
      lu.assertAlmostEquals(-math.log(p[labels[i] + 1]), loss[i], 1e-5)
    end
  end
  lu.assertTrue(math.abs(scores[1].p[1][2] - scores[1].p[6][2]) > 1e-3)
end

function TestReading:test_measures_are_those_of_the_scores()
  local set = clips()
  local _, about = set:feed { frames = FRAMES, parts = PARTS, task = "warning" }
  local model = model_of(about)
  local scores, given = about:scores(model), {}
  for n, each in ipairs(scores) do
    local times = each.times
    given[n] = { scores = {}, rate = (#times - 1) / (times[#times] - times[1]) }
    lu.assertAlmostEquals(given[n].rate, 10, 1e-4)
    for k, p in ipairs(each.p) do given[n].scores[k] = p[2] end
  end
  given[1].event, given[1].from, given[1].to = 4, 2, 4      -- rows at 0.2 .. 0.7 s: 0.6 s is the fifth, 0.4 s the third
  local options = { resamples = 0 }
  lu.assertEquals(about:measure(model, options), sonde.clip_metrics.warning(given, options))
  local _, classes = set:feed { frames = FRAMES, parts = PARTS }
  local recogniser = model_of(classes)
  local guessed = {}
  for n, each in ipairs(classes:scores(recogniser)) do
    local p = each.p[#each.p]
    guessed[n] = p[2] > p[1] and 1 or 0
  end
  lu.assertEquals(classes:measure(recogniser, options), sonde.clip_metrics.recognition({ 0, 1 }, guessed, 2, options))
end

function TestReading:test_a_folder_keeps_how_clips_are_read()
  local _, about = clips():feed { frames = FRAMES, parts = PARTS, task = "warning" }
  for _, norm in ipairs { "rmsnorm", "layernorm" } do
    local model, dir = model_of(about, { norm = norm, placement = "lns" }), path("model-" .. norm)
    model:save(dir)
    about:save(dir)
    local opened, again = sonde.clip_reading(dir), sonde.load(dir)
    lu.assertEquals({ opened.task, opened.frames, opened.names, opened.parts },
      { "warning", FRAMES, { "quiet", "event" }, PARTS })
    lu.assertEquals(opened.mean:values(), about.mean:values())
    lu.assertEquals(opened.made_with, about.made_with)
    lu.assertEquals(about:scores(again), about:scores(model))
  end
  local function refused(text, f, ...)
    local ok, message = pcall(f, ...)
    lu.assertFalse(ok)
    lu.assertStrContains(message, text)
  end
  refused("there is no such file", sonde.clip_reading, path "cache")
  core.write_file(path "model-rmsnorm/clips.json", '{"features":3,"mean":[1]}')
  local file, dir = path "model-rmsnorm/clips.json", path "model-rmsnorm"
  refused("does not say how a model reads clips", sonde.clip_reading, dir)
  local good = core.json_decode(core.read_file(path "model-layernorm/clips.json"))
  for _, odd in ipairs { { "made_with", 5 }, { "made_with", {} }, { "made_with", "x" }, { "names", { 1, 2 } },
    { "names", { "a" } }, { "task", "nix" }, { "labelled", -1 }, { "labelled", 7 }, { "parts", { "nix" } },
    { "frames", 1.5 }, { "mean", { 1 } }, { "factor", { "x" } }, { "quiet", "event" }, { "classes", 3 } } do
    local kept = {}
    for key, value in pairs(good) do kept[key] = value end
    kept[odd[1]] = odd[2]
    core.write_file(file, core.json_encode(kept))
    local ok, message = pcall(sonde.clip_reading, dir)
    lu.assertFalse(ok, odd[1])
    lu.assertStrContains(message, file .. ": does not say how a model reads clips: ")
    lu.assertNil(string.find(message, "\n"), message)
    lu.assertNil(string.find(message, "attempt to", 1, true), message)
  end
  for _, text in ipairs { "5", "[]", "null", "{", "[1]" } do
    core.write_file(file, text)
    refused(file .. ": does not say how a model reads clips: ", sonde.clip_reading, dir)
  end
  refused("no clips for validation", function() sonde.clip_reading(path "model-layernorm"):scores(model_of(about)) end)
end

function TestReading:test_other_classes_are_refused()
  local set = clips()
  local _, about = set:feed { frames = FRAMES, parts = PARTS, task = "warning" }
  for _, classes in ipairs { 3, 7 } do
    local model = model_of(about, { objective = { "weighted_classifier", classes = classes } })
    for _, f in ipairs { about.measure, about.scores } do
      local ok, message = pcall(f, about, model)
      lu.assertFalse(ok)
      lu.assertStrContains(message, "the model has " .. classes .. " classes, the reading of clips 2 (quiet, event)")
    end
    local ok, message = pcall(sonde.watch, model, about, path "a.y4m")
    lu.assertFalse(ok)
    lu.assertStrContains(message, "the model has " .. classes .. " classes")
  end
end

function TestReading:test_clips_whose_event_is_before_their_frames()
  local set, warn, notes = clips(), core.warn, {}
  core.warn = function(text) notes[#notes + 1] = text end
  local ok, message = pcall(function()
    local _, about = set:feed { frames = 2, parts = PARTS, task = "warning", mirror = true }     -- rows at 0.6, 0.7 s
    lu.assertEquals(about:measure(model_of(about), { resamples = 0 }).clips, 1)
    set:feed { frames = 2, parts = PARTS, task = "warning", loss = "frame" }
    set:feed { frames = 3, parts = PARTS, task = "warning" }
  end)
  core.warn = warn
  lu.assertTrue(ok, message)
  lu.assertEquals(#notes, 2)
  lu.assertStrContains(notes[1], "feed: training: 1 of 2 clips are left out")
  lu.assertStrContains(notes[2], "measure: 1 of 2 clips are left out")
  core.write_file(path "events.csv", "clip,class,time_of_event,split\na.y4m,near,0.6,train\n")
  set = sonde.clips(path "events.csv"):features { cache = path "cache", width = 64, grid = { 4, 3 },
    thumbnail = { 4, 3 }, progress = false }
  ok, message = pcall(set.feed, set, { frames = 2, parts = PARTS, task = "warning" })
  lu.assertFalse(ok)
  lu.assertStrContains(message, "1 of 1 clips are left out")
end

function TestReading:test_the_quiet_class_is_named()
  clips()
  core.write_file(path "classes.csv", "clip,class,split\na.y4m,calm,train\nb.y4m,near,train\n")
  local set = sonde.clips(path "classes.csv"):features { cache = path "cache", width = 64, grid = { 4, 3 },
    thumbnail = { 4, 3 }, progress = false }
  local _, about = set:feed { frames = FRAMES, parts = PARTS, quiet = "calm" }
  local _, unnamed = set:feed { frames = FRAMES, parts = PARTS }
  local model, dir = model_of(about), path "model"
  model:save(dir)
  about:save(dir)
  local function risks(by, options)
    local list = {}
    for k, frame in ipairs(sonde.watch(model, by, path "a.y4m", options).frames) do list[k] = frame.risk end
    return list
  end
  local kept = risks(sonde.clip_reading(dir))
  lu.assertEquals(risks(unnamed, { quiet = "calm" }), kept)
  for k, risk in ipairs(risks(about, { quiet = "near" })) do lu.assertAlmostEquals(risk, 1 - kept[k], 1e-12) end
  local function refused(text, f, ...)
    local ok, message = pcall(f, ...)
    lu.assertFalse(ok)
    lu.assertStrContains(message, text)
  end
  refused("--quiet NAME", sonde.watch, model, unnamed, path "a.y4m")
  refused("did you mean 'calm'", sonde.watch, model, unnamed, path "a.y4m", { quiet = "clam" })
  refused("there is no class 'nix'", set.feed, set, { frames = FRAMES, quiet = "nix" })
  refused("a warning has one", set.feed, set, { frames = FRAMES, quiet = "calm", task = "warning" })
end

function TestReading:test_fine_tuning_moves_what_it_names()
  local data, about = clips():feed { frames = FRAMES, parts = PARTS }
  local options = { steps = 3, batch = 2, lr = 1e-2, progress = false, eval_every = 0 }
  local function changed(tune)
    local model, list = model_of(about), {}
    local before = {}
    for _, param in ipairs(model:params():list()) do before[param.name] = model:params():find(param.name):sha256() end
    tune(model)
    for name, sum in pairs(before) do
      if model:params():find(name):sha256() ~= sum then list[#list + 1] = name end
    end
    return list
  end
  options.trainable = { "*classifier.weight" }
  local head = changed(function(model) sonde.train(model, data, options) end)
  lu.assertEquals(#head, 1)
  lu.assertStrContains(head[1], "classifier.weight")
  options.trainable = nil
  options.lora = 2
  local adapted = changed(function(model) sonde.heal(model, data, options, { 0, 1 }) end)
  lu.assertEquals(#adapted, 14)          -- seven matrices of each of two blocks
end

-- ---- baselines -----------------------------------------------------------------------------------------------------

function TestReading:test_means_so_far()
  local set = clips()
  local options = { frames = FRAMES, parts = { "figures" } }
  local raw, means = set:arrays("train", options), baselines.mean(set, "train", options)
  local x, y, F = raw.features:values(), means.features:values(), 16
  for n, rows in ipairs(raw.rows) do
    for c = 1, F do
      local sum = 0
      for k = FRAMES - rows + 1, FRAMES do
        local i = ((n - 1) * FRAMES + k - 1) * F + c
        sum = sum + x[i]
        lu.assertAlmostEquals(y[i], sum / (k - (FRAMES - rows)), 1e-4 * (1 + math.abs(y[i])))
      end
    end
  end
end

-- A texture that grows by 3 % a frame at 10 frames a second: 1 / time to collision is 0.3 a second.
function TestReading:test_time_to_collision_by_divergence()
  local set = clips { 1, 1 }
  local y = baselines.looming(set, "train", { frames = 3 }).features:values()      -- coarse enough by then
  lu.assertAlmostEquals(y[5], 0.3, 0.04)
  lu.assertAlmostEquals(y[6], math.max(y[1], y[3], y[5]), 1e-6)
  lu.assertTrue(y[11] < 0.05)                       -- 0.4 % a frame, under half a pixel
end

function TestReading:test_a_logistic_regression_is_linear()
  local data, about = clips():feed { frames = FRAMES, baseline = "looming" }
  lu.assertEquals(about.features, 2)
  local model = baselines.logistic(about, 1):init()
  sonde.train(model, data, { steps = 30, batch = 2, lr = 3e-2, progress = false, eval_every = 0 })
  local reader = about:reader(model, 1, FRAMES)
  local function logit(a, b)
    local x = {}
    for k = 1, FRAMES do x[2 * k - 1], x[2 * k] = a, b end
    local p = reader.read(core.tensor("f32", { 1, FRAMES, 2 }, x))[1][FRAMES]
    return math.log(p[2] / p[1])
  end
  local zero = logit(0, 0)
  lu.assertAlmostEquals(logit(2, -1) - zero, 2 * (logit(1, 0) - zero) - (logit(0, 1) - zero), 1e-4)
  reader.close()
  lu.assertEquals(about:measure(model, { resamples = 0 }).accuracy.value, 1)
end

os.exit(lu.LuaUnit.run("-o", "tap"))
