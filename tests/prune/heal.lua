-- Training after a cut: the whole model, or low-rank adapters on the neighbours; and the parts of the trainer
-- that this needs, parameters that keep their values and adapters on matrices.

local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"
local train = require "sonde.train"
local cut = require "sonde.sparse.cut"
package.path = os.getenv "abs_srcdir" .. "/tests/prune/?.lua;" .. package.path
local made = require "made"

local quiet = { batch = 4, steps = 60, lr = 3e-3, progress = false, eval_every = 0, probe_every = 0 }

local function options(more)
  local all = {}
  for _, list in ipairs { quiet, more or {} } do
    for key, value in pairs(list) do all[key] = value end
  end
  return all
end

-- The names of the parameters that differ between two models of one shape, as a set.
local function changed(a, b)
  local names = {}
  for _, param in ipairs(a:params():list()) do
    local x, y = a:params():find(param.name):values(), b:params():find(param.name):values()
    for i = 1, #x do
      if x[i] ~= y[i] then names[param.name] = true end
    end
  end
  return names
end

TestTrainable = {}

local function trained(patterns, more)
  local model = made.model { depth = 2, init_std = 0.1 }
  local before = cut.copy(model)
  local all = options { steps = 5, trainable = patterns }
  for key, value in pairs(more or {}) do all[key] = value end
  sonde.train(model, made.corpus(800), all)
  return changed(before, model), model
end

function TestTrainable:test_what_does_not_fit_keeps_its_values()
  local names = trained { "model.layers.1.mlp.*" }
  lu.assertEquals(names, {
    ["model.layers.1.mlp.gate_proj.weight"] = true, ["model.layers.1.mlp.up_proj.weight"] = true,
    ["model.layers.1.mlp.down_proj.weight"] = true,
  })
end

function TestTrainable:test_a_list_that_begins_with_not_begins_with_all()
  local all, some = trained(nil), trained { "!model.layers.0.*", "model.layers.0.self_attn.o_proj.weight" }
  for name in pairs(all) do
    local kept = name:find("^model%.layers%.0%.") and not name:find("o_proj", 1, true)
    lu.assertEquals(some[name], not kept and true or nil, name)
  end
end

function TestTrainable:test_everything_listed_is_the_same_as_no_list()
  local _, plain = trained(nil)
  local _, listed = trained { "*" }
  lu.assertEquals(listed:params():sha256(), plain:params():sha256())
end

function TestTrainable:test_a_resumed_run_has_the_same_bits()
  local root = os.tmpname()
  os.remove(root)
  local _, whole = trained({ "*.mlp.*" }, { dir = root .. "/runs/a/0", steps = 6 })
  local again = { dir = root .. "/runs/a/1", steps = 6, checkpoint_every = 2, log_every = 3 }
  local calls = 0
  lu.assertErrorMsgContains("stopped at step", function()
    local trainer = core.trainer
    core.trainer = function(...)                       -- stops after the first event, as a signal would
      local made_trainer = trainer(...)
      return setmetatable({}, { __index = function(_, key)
        return function(_, ...)
          local event = made_trainer[key](made_trainer, ...)
          if key == "run" and calls == 0 then
            calls = 1
            event.interrupted, event.done = true, false
          end
          return event
        end
      end })
    end
    local ok, message = pcall(trained, { "*.mlp.*" }, again)
    core.trainer = trainer
    if not ok then error(message, 0) end
  end)
  local _, resumed = trained({ "*.mlp.*" }, again)
  lu.assertEquals(resumed:params():sha256(), whole:params():sha256())
  core.remove_tree(root)
end

function TestTrainable:test_mistakes()
  local model = made.model { depth = 2 }
  local function resolve(patterns) return train.resolve(model, { steps = 1, trainable = patterns }) end
  lu.assertErrorMsgContains("no parameter is called 'layers.*'", resolve, { "layers.*" })
  lu.assertErrorMsgContains("leaves no parameter to train", resolve, { "*", "!*" })
  local tied = made.model { depth = 2, tie = true }
  local shares = "'lm_head.weight' shares the value of 'model.embed_tokens.weight': name that one"
  lu.assertErrorMsgContains(shares, train.resolve, tied, { steps = 1, trainable = { "lm_head.*" } })
  lu.assertErrorMsgContains("no parameter is called 'model?norm.weight'", resolve, { "model?norm.weight" })
end

TestAdapters = {}

function TestAdapters:test_change_nothing_at_first_and_then_what_they_say()
  local ids, model = made.ids(13), made.model { depth = 2 }
  local plain = made.loss(model, ids)
  local name = "model.layers.1.self_attn.v_proj.weight"
  model:params():low_rank(name, 2, 0.5)
  model:init()
  lu.assertEquals(made.loss(model, ids), plain)
  local params = model:params()
  local a, b, w = params:find(name .. ".lora_a"), params:find(name .. ".lora_b"), params:find(name)
  for i = 1, b:count() do b:set(i, 0.1 * math.sin(i)) end
  local adapted = made.loss(model, ids)
  lu.assertTrue(math.abs(adapted - plain) > 1e-4)
  local by_hand = made.model { depth = 2 }
  local av, bv, columns = a:values(), b:values(), w:dims()[2]
  local target = by_hand:params():find(name)
  for row = 1, w:dims()[1] do
    for column = 1, columns do
      local i, sum = (row - 1) * columns + column, 0
      for k = 1, 2 do sum = sum + bv[(row - 1) * 2 + k] * av[(k - 1) * columns + column] end
      target:set(i, target:get(i) + 0.5 * sum)
    end
  end
  lu.assertAlmostEquals(made.loss(by_hand, ids), adapted, 1e-6)
end

function TestAdapters:test_gradients_are_finite_differences()
  local ids, model = made.ids(13), made.model { depth = 2, init_std = 0.1 }
  local name, params = "model.layers.0.mlp.up_proj.weight", model:params()
  params:low_rank(name, 2, 3)
  model:init()
  local b = params:find(name .. ".lora_b")
  for i = 1, b:count() do b:set(i, 0.05 * math.cos(i)) end
  local trace, tokens, targets = model:trace { batch = 1, context = 12 }, {}, {}
  for i = 1, 12 do tokens[i], targets[i] = ids[i], ids[i + 1] end
  local leaves = { trace.graph:find(name .. ".lora_a"), trace.graph:find(name .. ".lora_b") }
  local plan = sonde.plan(sonde.grad(trace:mean_loss(), leaves))
  plan:run { tokens = tokens, targets = targets }
  for k, suffix in ipairs { ".lora_a", ".lora_b" } do
    local tensor, gradient, step = params:find(name .. suffix), plan:output(k):values(), 1e-2
    for _, i in ipairs { 1, 7, 20 } do
      local value, sum = tensor:get(i), 0
      for _, sign in ipairs { 1, -1 } do
        tensor:set(i, value + sign * step)
        sum = sum + sign * made.loss(model, ids)
      end
      tensor:set(i, value)
      lu.assertAlmostEquals(sum / (2 * step), gradient[i], 2e-4)
      lu.assertTrue(math.abs(gradient[i]) > 1e-4)
    end
  end
end

function TestAdapters:test_mistakes()
  local params = made.model():params()
  lu.assertErrorMsgContains("there is no parameter 'x'", params.low_rank, params, "x", 1, 1)
  lu.assertErrorMsgContains("rank 17 do not fit", params.low_rank, params, "model.layers.0.self_attn.q_proj.weight", 17,
    1)
  lu.assertErrorMsgContains("do not fit", params.low_rank, params, "model.norm.weight", 1, 1)
  params:low_rank("model.layers.0.self_attn.q_proj.weight", 1, 1)
  lu.assertErrorMsgContains("has low-rank factors already", params.low_rank, params,
    "model.layers.0.self_attn.q_proj.weight", 1, 1)
end

TestHeal = {}

local function healed(heal, more)
  local model = made.model { init_std = 0.1, placement = "lns" }
  made.train(model)
  local all = { text = made.ids(600), heal = options(heal), heal_text = made.corpus(1600) }
  for key, value in pairs(more or {}) do all[key] = value end
  local smaller, facts = made.without(model, { 2, 3 }, all)
  return smaller, facts, model
end

function TestHeal:test_lowers_the_loss()
  local smaller, facts = healed { steps = 100 }
  lu.assertTrue(facts.loss.pruned > facts.loss.before + 0.1)
  lu.assertTrue(facts.loss.healed < facts.loss.pruned - 0.1, facts.loss.healed .. " after " .. facts.loss.pruned)
  lu.assertEquals(facts.loss.healed, sonde.evaluate(smaller, made.ids(600), { context = 12, tokens = 16384 }).loss)
  lu.assertEquals(facts.healing.steps, 100)
end

-- The model before the cut may teach the one after it.
function TestHeal:test_taught_by_the_whole_model()
  local model = made.model { init_std = 0.1, placement = "lns" }
  local heal = options { steps = 3 }
  heal.teacher = model
  local _, facts = made.without(model, { 2, 3 }, { text = made.ids(600), heal = heal, heal_text = made.corpus(1600) })
  lu.assertTrue(facts.healing.metrics.divergence > 0)
end

function TestHeal:test_lora_changes_the_neighbours_alone_and_by_its_rank()
  local smaller, facts, model = healed { steps = 100, lora = 1, lr = 1e-2 }
  lu.assertTrue(facts.loss.healed < facts.loss.pruned - 0.02, facts.loss.healed .. " after " .. facts.loss.pruned)
  local before = made.without(model, { 2, 3 })
  local names, count = changed(before, smaller), 0
  for name in pairs(names) do
    lu.assertTrue(name:find("^model%.layers%.[12]%.[%a_]+%.%a+_proj%.weight$") ~= nil, name)
    count = count + 1
  end
  lu.assertEquals(count, 14)                             -- seven matrices in each of the blocks next to the cut
  lu.assertEquals(facts.neighbours, { 1, 2 })
  local name = "model.layers.1.mlp.up_proj.weight"
  local x, y = before:params():find(name), smaller:params():find(name)
  local columns, largest = x:dims()[2], 0
  local function d(row, column)
    local i = row * columns + column + 1
    return y:get(i) - x:get(i)
  end
  for row = 1, 5 do
    for column = 1, 5 do
      lu.assertAlmostEquals(d(0, 0) * d(row, column), d(0, column) * d(row, 0), 1e-7)
      largest = math.max(largest, math.abs(d(row, column)))
    end
  end
  lu.assertTrue(largest > 1e-3)
end

function TestHeal:test_a_map_is_trained_with_the_rest()
  local smaller, facts = healed({ steps = 60 }, { replace = "linear" })
  lu.assertEquals(#smaller.layers, 5)
  lu.assertTrue(facts.loss.healed < facts.loss.pruned)
end

function TestHeal:test_mistakes()
  lu.assertErrorMsgContains("unknown option 'loraa' of train", healed, { loraa = 2 })
  lu.assertErrorMsgContains("option 'alpha' of heal belongs to lora", healed, { alpha = 2 })
  lu.assertErrorMsgContains("low-rank factors of rank 40 do not fit", healed, { lora = 40 })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
