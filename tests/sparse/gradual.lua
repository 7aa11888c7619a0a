-- Sparsity that rises during training: the schedule, masks that only lose weights, what a method gathers, and its
-- options.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"
local gradual = require "sonde.sparse.gradual"

local UP = "model.layers.0.mlp.up_proj.weight"

local ids = {}
for i = 1, 1600 do ids[i] = (i * i + 3 * i + (i % 7 == 0 and i or 0)) % 23 end

local function model_of()
  return sonde.transformer { vocab = 23, width = 16, depth = 2, heads = 2, context = 12, init_std = 0.2, seed = 5 }
end

local function train(model, options, text)
  local all = { batch = 4, steps = 12, lr = 3e-3, progress = false, probe_every = 0, eval_every = 0 }
  for key, value in pairs(options or {}) do all[key] = value end
  text = text or ids
  return sonde.train(model, { vocab = 23, handle = sonde.tensor("i32", { #text }, text), spec = "made", hash = "made" },
    all)
end

local function out(model, name)
  return core.mask_zeros(model:params():find(name .. ".mask"))
end

-- How many weights of UP are out after each update.
local function course(sparsity, options)
  local counts, model = {}, model_of()
  local all = { sparsity = sparsity, hooks = { { every = 1, call = function(state)
    counts[state.step] = out(state.model, UP)
  end } } }
  for key, value in pairs(options or {}) do all[key] = value end
  train(model, all)
  return counts, model
end

TestSchedule = {}

function TestSchedule:test_is_the_cubic()
  local o = gradual.check({ sparsity = 0.8, begin = 2, ["end"] = 10, every = 2 }, model_of(), 12)
  for update, share in pairs { [0] = 0, [2] = 0, [4] = 1 - 0.75 ^ 3, [6] = 1 - 0.5 ^ 3, [8] = 1 - 0.25 ^ 3, [10] = 1,
    [12] = 1 } do
    lu.assertAlmostEquals(gradual.at(o, update).sparsity, 0.8 * share, 1e-12)
  end
  local groups = gradual.check({ sparsity = "2:8", begin = 0, ["end"] = 9 }, model_of(), 12)
  local kept = {}
  for update = 0, 9 do kept[update + 1] = gradual.at(groups, update).keep end
  lu.assertEquals(kept, { 8, 6, 5, 4, 3, 3, 2, 2, 2, 2 })
end

function TestSchedule:test_masks_follow_it_and_only_lose_weights()
  local size = 16 * 48
  local counts, model = course { sparsity = 0.75, begin = 1, ["end"] = 9, every = 4 }      -- which ends after 8
  lu.assertEquals(#model:params():find(UP):values(), size)
  lu.assertEquals(counts, { 0, 0, 0, math.floor(0.75 * size * (1 - (4 / 7) ^ 3)),
    math.floor(0.75 * size * (1 - (4 / 7) ^ 3)), math.floor(0.75 * size * (1 - (4 / 7) ^ 3)),
    math.floor(0.75 * size * (1 - (4 / 7) ^ 3)), 576, 576, 576, 576, 576 })
  local before
  course({ sparsity = 0.9, ["end"] = 10, every = 1 }, { hooks = { { every = 1, call = function(state)
    local mask = state.model:params():find(UP .. ".mask"):values()
    for k, value in ipairs(before or {}) do lu.assertTrue(value >= mask[k]) end
    before = mask
  end } } })
  local _, zeros = 0, 0
  for _, value in ipairs(before) do zeros = zeros + (value == 0 and 1 or 0) end
  lu.assertEquals(zeros, math.floor(0.9 * size))
end

function TestSchedule:test_the_last_masks_are_exact_for_every_method()
  for _, name in ipairs { "magnitude", "random", "movement", "gate" } do
    for _, scope in ipairs { "row", "matrix", "model" } do
      local _, model = course { method = name, sparsity = 0.5, scope = scope, ["end"] = 8, every = 4 }
      local zeros, weights = 0, 0
      for _, param in ipairs(model:params():list()) do
        local mask = model:params():find(param.name .. ".mask")
        if mask then zeros, weights = zeros + core.mask_zeros(mask), weights + mask:count() end
      end
      lu.assertAlmostEquals(zeros / weights, 0.5, 0.001, name .. " " .. scope)
    end
  end
  local _, model = course { sparsity = "1:4", ["end"] = 8, every = 2 }
  local values = model:params():read(UP):values()
  for first = 1, #values, 4 do
    local n = 0
    for k = first, first + 3 do n = n + (values[k] ~= 0 and 1 or 0) end
    lu.assertTrue(n <= 1)
  end
end

function TestSchedule:test_the_saved_model_is_sparse()
  local model, dir = model_of(), os.tmpname()
  os.remove(dir)
  train(model, { sparsity = { sparsity = 0.5, ["end"] = 8, every = 2 }, save = dir })
  local again = sonde.load(dir)
  lu.assertEquals(again:params():find(UP .. ".mask"):values(), model:params():find(UP .. ".mask"):values())
  lu.assertEquals(out(again, UP), 384)
end

TestGather = {}

-- With one token everywhere and a rate of 0 each update has the same gradient.
function TestGather:test_movement_is_the_sum_over_updates()
  local same = {}
  for i = 1, 400 do same[i] = 7 end
  local model = model_of()
  train(model, { lr = 0, steps = 6, clip = 0, accumulate = 2,
    sparsity = { method = "movement", sparsity = 0.2, ["end"] = 5, every = 5 } }, same)
  local fresh = model_of():init()
  local trace = fresh:trace { batch = 4 }
  local plan = sonde.plan(sonde.grad(trace:mean_loss(), { trace.graph:find(UP) }))
  local tokens = {}
  for i = 1, 48 do tokens[i] = 7 end
  plan:run { tokens = tokens, targets = tokens }
  local gradient, weight = plan:output(1):values(), fresh:params():find(UP):values()
  local gathered = model:params():find(UP .. ".gathered"):values()
  local mask, moved = model:params():find(UP .. ".mask"):values(), 0
  for k = 1, #weight do
    -- the sixth update has the masks of the fifth, and other gradients
    if mask[k] == 0 then
      lu.assertAlmostEquals(gathered[k], -5 * weight[k] * gradient[k], 1e-6 + 1e-4 * math.abs(gathered[k]))
    end
    moved = moved + math.abs(gathered[k])
  end
  lu.assertTrue(moved > 1e-3)
end

-- What was gathered is in the checkpoint of a run: another training begins with that, and has no use for it.
function TestGather:test_a_training_begins_with_a_run_that_gathered()
  local dir = os.tmpname()
  os.remove(dir)
  local sparse, further = model_of(), model_of()
  train(sparse, { dir = dir, sparsity = { method = "movement", sparsity = 0.5, ["end"] = 6, every = 3 } })
  local result = train(further, { from = dir, steps = 3 })
  lu.assertNil(result.sparsity)
  lu.assertEquals(further:params():find(UP .. ".mask"):values(), sparse:params():find(UP .. ".mask"):values())
  -- The run itself goes on without a schedule.
  local on = model_of()
  lu.assertEquals(train(on, { dir = dir, steps = 15, accept_changes = true }).steps, 15)
  lu.assertEquals(on:params():find(UP .. ".mask"):values(), sparse:params():find(UP .. ".mask"):values())
  core.remove_tree(dir)
end

TestReached = {}

function TestReached:test_the_share_that_is_out_is_a_result()
  local whole = { sparsity = 0.5, ["end"] = 8, every = 2 }
  lu.assertAlmostEquals(train(model_of(), { sparsity = whole }).sparsity, 0.5, 0.01)
  local model = model_of()
  local result = train(model, { sparsity = whole, hooks = { { every = 1, call = function(state)
    if state.step == 3 then return "enough" end
  end } } })
  lu.assertEquals(result.steps, 3)
  lu.assertTrue(result.sparsity > 0 and result.sparsity < 0.4, tostring(result.sparsity))
  local share, said = gradual.reached(model, { method = "magnitude", sparsity = "0.5", begin = 0, ["end"] = 8,
    every = 2 }, 3)
  lu.assertEquals(share, result.sparsity)
  lu.assertStrContains(said, "% of the weights are out, not 50.0 %: the schedule of the sparsity ends at update 8, the "
    .. "training ended at 3")
end

-- A checkpoint without masks, or without sums of gradients, is of all weights, and of none gathered yet.
function TestGather:test_goes_on_from_a_checkpoint_without_it()
  local half = { sparsity = 0.5, ["end"] = 6, every = 3 }
  local later = { method = "movement", sparsity = 0.75, ["end"] = 14, every = 2 }
  for _, first in ipairs { half, false } do
    local dir, model = os.tmpname(), model_of()
    os.remove(dir)
    train(model_of(), { dir = dir, sparsity = first or nil })
    train(model, { dir = dir, steps = 16, accept_changes = true, sparsity = later })
    lu.assertEquals(out(model, UP), 576)
  end
end

TestOptions = {}

function TestOptions:test_mistakes()
  local function refuses(text, sparsity)
    lu.assertErrorMsgContains(text, train, model_of(), { sparsity = sparsity })
  end
  refuses("'wanda' reads the inputs of matrices on a calibration text; use sonde sparsify", { method = "wanda",
    sparsity = 0.5 })
  refuses("after update 12 there is none of the 12 left", { sparsity = 0.5, ["end"] = 12 })
  refuses("it ends after update 0, and begins after 0", { sparsity = 0.5, ["end"] = 3, every = 4 })
  refuses("'2' is neither a share", { sparsity = 2 })
  refuses("sparsity", { method = "magnitude" })
  refuses("no whole groups of 7", { sparsity = "3:7" })
  refuses("did you mean 'every'", { sparsity = 0.5, evry = 2 })
  refuses("'sparsity.scope' of train: has no effect with N:M", { sparsity = "2:4", scope = "row" })
  sonde.sparsity("lua_gathers", { summary = "gathers in Lua", gather = function(m) return m.gradient end },
    function(m) return m.gathered end)
  refuses("gathers gradients in Lua", { method = "lua_gathers", sparsity = 0.5 })
end

function TestOptions:test_a_method_of_a_script_scores_in_training()
  sonde.sparsity("squares", { summary = "w squared" }, function(m) return m.weight:square() end)
  local one, other = model_of(), model_of()
  local schedule = { sparsity = 0.5, ["end"] = 8, every = 2 }
  train(other, { sparsity = schedule })
  schedule.method = "squares"
  train(one, { sparsity = schedule })
  lu.assertEquals(one:params():sha256(), other:params():sha256())
end

function TestOptions:test_training_without_it_has_no_masks()
  local model = model_of()
  train(model)
  for _, param in ipairs(model:params():list()) do lu.assertEquals(#param.views, 0) end
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
