-- Clips as training data: mirrored clips, which frames have labels, pooling over frames, the adaptive loss.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"
local made = dofile(os.getenv "abs_srcdir" .. "/tests/video/made.lua")

local folder, lock
local FRAMES = 6

local function path(name) return folder .. "/" .. name end

-- A texture that moves by (u, v) pixels a frame of 64 x 48, 10 a second; `flip`: seen in a mirror.
local function y4m(name, u, v, frames, flip)
  made.y4m(path(name), frames, function(k, x, y) return (flip and 63 - x or x) - u * k, y - v * k end)
end

local function clips(rows) return made.clips(folder, rows) end

local function two(frames)
  y4m("a.y4m", 2, 0, 8)
  y4m("b.y4m", -1, 1, frames or 5)
  return clips "a.y4m,near,0.6,0.4,train\nb.y4m,quiet,,,train\n"
end

local function refused(text, f, ...)
  local ok, message = pcall(f, ...)
  lu.assertFalse(ok)
  lu.assertStrContains(message, text)
end

TestFeed = {}

function TestFeed:setUp()
  folder, lock = core.new_folder((os.getenv "TMPDIR" or "/tmp") .. "/sonde-feed")
end

function TestFeed:tearDown()
  core.remove_tree(folder)
  lock:close()
end

function TestFeed:test_a_mirrored_clip_is_that_of_the_mirrored_video()
  y4m("a.y4m", 2, 1, 8)
  y4m("b.y4m", 2, 1, 8, true)
  local set = clips "a.y4m,x,,,train\nb.y4m,x,,,validation\n"
  local tolerance = { thumbnail = 0.01, all = 0.05, background = 0.05, figures = 0.05 }
  for part, close in pairs(tolerance) do
    local own = set:arrays("train", { frames = 4, parts = { part } })
    local both = set:arrays("train", { frames = 4, parts = { part }, mirror = true })
    local seen = set:arrays("validation", { frames = 4, parts = { part } })
    lu.assertEquals({ both.features:dims()[1], #both.clips, #both.rows, #both.times, both.classes:dims()[1] },
      { 2, 2, 2, 2, 2 })
    local x, y, z = own.features:values(), both.features:values(), seen.features:values()
    local changed = 0
    for k, value in ipairs(x) do
      lu.assertEquals(y[k], value)
      lu.assertAlmostEquals(y[#x + k], z[k], close * (1 + math.abs(z[k])), part .. " " .. k)
      if math.abs(value - z[k]) > 0.02 then changed = changed + 1 end
    end
    lu.assertTrue(changed > 3, part)
  end
end

function TestFeed:test_what_has_no_left_and_right_is_not_mirrored()
  local archive = core.read_file(os.getenv "abs_srcdir" .. "/tests/reference/arrays.npz")
  core.mkdirs(path "vgg16_features/positive")
  core.write_file(path "vgg16_features/positive/000007.npz", archive)
  core.write_file(path "Crash-1500.txt", "000007,[0, 1" .. string.rep(", 0", 48) .. "],285,Iv8,Night,Snowy,No\n")
  local set = sonde.clips(path "Crash-1500.txt", { validation = 0, skip_missing = true })
  set:features { cache = path "cache", progress = false }
  refused("'picture' has no left and right", set.arrays, set, "train", { frames = 2, parts = { "picture" },
    mirror = true })
end

-- The inputs of a feed by their names.
local function inputs_of(data)
  local list = {}
  for _, input in ipairs(data.parts) do list[input.name] = input.train:values() end
  return list
end

function TestFeed:test_labels()
  local set = two()                              -- a: rows at 0.2 .. 0.7 s, the event in the fifth; b has five rows
  local function of(options)
    options.frames, options.parts = FRAMES, { "figures" }
    local data, about = set:feed(options)
    return inputs_of(data), about
  end
  local every, about = of { labelled = FRAMES }
  lu.assertEquals(every.labels, { 0, 0, 0, 0, 0, 0, -1, 1, 1, 1, 1, 1 })
  lu.assertEquals(every.weights, { 1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1, 1 })
  lu.assertEquals(about.labelled, FRAMES)
  local two_frames = of { labelled = 2 }
  lu.assertEquals(two_frames.labels, { -1, -1, -1, -1, 0, 0, -1, -1, -1, -1, 1, 1 })
  local last, single = of {}
  lu.assertEquals(last.labels, { -1, -1, -1, -1, -1, 0, -1, -1, -1, -1, -1, 1 })
  lu.assertEquals({ single.labelled, #single.train }, { 1, 2 })
  local both, doubled = of { labelled = FRAMES, mirror = true }
  lu.assertEquals({ table.unpack(both.labels, 13) }, every.labels)
  lu.assertEquals(#doubled.train, 2)
  local adaptive = of { task = "warning", loss = "adalea" }
  lu.assertNil(adaptive.weights)
  lu.assertEquals(adaptive.labels, { 1, 1, 1, 1, -1, -1, -1, 0, 0, 0, 0, 0 })
  for k, s in ipairs { 0.4, 0.3, 0.2, 0.1, 0, 0, 0, 0, 0, 0, 0, 0 } do
    lu.assertAlmostEquals(adaptive.seconds[k], s, 1e-6)
  end
  refused("loss 'adalea' is of warnings", of, { loss = "adalea" })
  refused("7 frames are labelled", of, { labelled = 7 })
end

function TestFeed:test_the_class_is_that_of_the_mean_of_the_last_frames()
  local set = two(8)
  local function accuracy(labelled)
    local _, about = set:feed { frames = FRAMES, parts = { "figures", "all" }, labelled = labelled }
    local model = sonde.transformer { features = about.features, width = 8, depth = 1, heads = 2, context = FRAMES,
      objective = { "weighted_classifier", classes = 2 }, seed = 5, init_std = 0.5 }:init()
    about.data.validation = about.data.train
    local hits, scores = 0, about:scores(model)
    for _, each in ipairs(scores) do
      local product = { 1, 1 }
      for k = FRAMES - labelled + 1, FRAMES do
        for c = 1, 2 do product[c] = product[c] * each.p[k][c] end
      end
      local guess = product[2] > product[1] and "quiet" or "near"
      hits = hits + (guess == each.clip.class and 1 or 0)
    end
    lu.assertAlmostEquals(about:measure(model, { resamples = 0 }).accuracy.value, hits / #scores, 1e-9)
  end
  for _, labelled in ipairs { 1, 2, 4, 6 } do accuracy(labelled) end
end

function TestFeed:test_the_adaptive_loss_follows_how_early_the_model_warns()
  local set = two(8)
  local data, about = set:feed { frames = FRAMES, parts = { "figures", "all" }, task = "warning", loss = "adalea" }
  local function model()
    return sonde.transformer { features = about.features, width = 8, depth = 1, heads = 2, context = FRAMES,
      objective = { "adalea", classes = 2, growth = 2 }, seed = 5 }:init()
  end
  local adaptive, hook = model(), about:adalea(2)
  lu.assertEquals(hook.every, 1)
  local function reached(of) return of:params():find("adalea.reached"):get(1) end
  lu.assertEquals(reached(adaptive), 0)
  local options = { steps = 12, batch = 2, lr = 3e-2, progress = false, eval_every = 0 }
  local plain = model()
  local exponential = sonde.train(plain, data, options).train_loss
  lu.assertEquals(reached(plain), 0)
  options.hooks = { hook }
  local loss = sonde.train(adaptive, data, options).train_loss
  lu.assertAlmostEquals(reached(adaptive), 0.4, 1e-5)    -- some threshold warns at the first frame
  lu.assertTrue(loss ~= exponential)
  adaptive:save(path "model")
  lu.assertAlmostEquals(reached(sonde.load(path "model")), 0.4, 1e-5)    -- it is of the model
end

os.exit(lu.LuaUnit.run("-o", "tap"))
