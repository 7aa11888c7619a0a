-- Views of parameters: masks, low-rank factors, shared and frozen values; what they change, their gradients, and that
-- they are right in folders, copies, folded models and checkpoints.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"

local UP, DOWN = "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight"
local EMBED, HEAD = "model.embed_tokens.weight", "lm_head.weight"

local function model_of(options)
  local all = { vocab = 23, width = 16, depth = 3, heads = 2, context = 12, init_std = 0.2, seed = 5 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

local ids = {}
for i = 1, 1600 do ids[i] = (i * i + 3 * i + (i % 7 == 0 and i or 0)) % 23 end

local function inputs(n)
  local tokens, targets = {}, {}
  for i = 1, n do tokens[i], targets[i] = ids[i], ids[i + 1] end
  return { tokens = tokens, targets = targets }
end

local function loss(model)
  return sonde.value(model:trace({ batch = 2 }):mean_loss(), inputs(24))
end

-- The gradient of the mean loss by a parameter, as a list.
local function gradient(model, name)
  local trace = model:trace { batch = 2 }
  local plan = sonde.plan(sonde.grad(trace:mean_loss(), { trace.graph:find(name) }))
  plan:run(inputs(24))
  return plan:output(1):values()
end

-- Compares the largest slopes with finite differences.
local function is_difference(model, name)
  local tensor, slope, step, places = model:params():find(name), gradient(model, name), 3e-3, {}
  for i in ipairs(slope) do places[i] = i end
  table.sort(places, function(a, b) return math.abs(slope[a]) > math.abs(slope[b]) end)
  for k = 1, 3 do
    local i = places[k]
    local value, sum = tensor:get(i), 0
    for _, sign in ipairs { 1, -1 } do
      tensor:set(i, value + sign * step)
      sum = sum + sign * loss(model)
    end
    tensor:set(i, value)
    lu.assertAlmostEquals(sum / (2 * step), slope[i], 5e-4 + 2e-3 * math.abs(slope[i]))
    lu.assertTrue(math.abs(slope[i]) > 1e-3, name .. " " .. slope[i])
  end
end

local function train(model, options)
  local all = { batch = 4, steps = 6, lr = 3e-3, progress = false, probe_every = 0, eval_every = 0 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.train(model, { vocab = 23, handle = sonde.tensor("i32", { #ids }, ids), spec = "made", hash = "made" },
    all)
end

local function fill(tensor, f)
  for i = 1, tensor:count() do tensor:set(i, f(i)) end
end

-- A mask on one matrix, another with low-rank factors that are not zero.
local function viewed()
  local model = model_of()
  local params = model:params()
  fill(params:mask(UP), function(i) return i % 3 == 0 and 0 or 1 end)
  params:low_rank(DOWN, 2, 0.5)
  model:init()
  fill(params:find(DOWN .. ".lora_b"), function(i) return 0.1 * math.sin(i) end)
  return model
end

local function folder()
  local dir = os.tmpname()
  os.remove(dir)
  return dir
end

TestMask = {}

function TestMask:test_of_ones_is_nothing()
  local plain, masked = model_of(), model_of()
  local mask = masked:params():mask(UP)
  lu.assertEquals(loss(masked), loss(plain))
  lu.assertEquals(train(masked).train_loss, train(plain).train_loss)
  lu.assertEquals(masked:params():find(UP):values(), plain:params():find(UP):values())
  for i = 1, mask:count() do lu.assertEquals(mask:get(i), 1) end      -- it was not trained
end

function TestMask:test_zeros_take_weights_out()
  local masked, by_hand = model_of(), model_of()
  fill(masked:params():mask(UP), function(i) return i % 3 == 0 and 0 or 1 end)
  local weight = by_hand:params():find(UP)
  fill(weight, function(i) return i % 3 == 0 and 0 or weight:get(i) end)
  lu.assertEquals(loss(masked), loss(by_hand))
  lu.assertEquals(masked:params():read(UP):values(), weight:values())
  local slope, whole = gradient(masked, UP), gradient(by_hand, UP)
  for i = 1, #slope do lu.assertEquals(slope[i], i % 3 == 0 and 0 or whole[i]) end
  is_difference(masked, UP)
end

TestLowRank = {}

function TestLowRank:test_any_matrix_has_the_gradients_of_finite_differences()
  local model = model_of()
  local plain = loss(model)
  for _, name in ipairs { EMBED, HEAD, DOWN } do model:params():low_rank(name, 2, 3) end
  model:init()
  lu.assertEquals(loss(model), plain)                                 -- b is zero
  for _, name in ipairs { EMBED, HEAD, DOWN } do
    fill(model:params():find(name .. ".lora_b"), function(i) return 0.05 * math.cos(i) end)
  end
  lu.assertTrue(math.abs(loss(model) - plain) > 1e-4)
  is_difference(model, EMBED .. ".lora_b")
  is_difference(model, HEAD .. ".lora_a")
  is_difference(model, HEAD .. ".lora_b")
  is_difference(model, DOWN .. ".lora_a")
end

function TestLowRank:test_factors_written_at_once_are_kept()
  local function numbers(i) return 0.2 * math.sin(i) end
  local model, later = model_of(), model_of()
  model:params():low_rank(DOWN, 2, 1)
  later:params():low_rank(DOWN, 2, 1)
  later:init()
  for _, factor in ipairs { ".lora_a", ".lora_b" } do
    lu.assertEquals(model:params():find(DOWN .. factor):values(), later:params():find(DOWN .. factor):values())
    fill(model:params():find(DOWN .. factor), numbers)
    fill(later:params():find(DOWN .. factor), numbers)
  end
  local written = model:params():find(DOWN .. ".lora_b"):values()
  model:init()
  lu.assertEquals(model:params():find(DOWN .. ".lora_b"):values(), written)
  lu.assertEquals(loss(model), loss(later))
end

-- Values that were written are a parameter's first ones; one alone is refused, for the others would stay 0.
function TestLowRank:test_what_is_written_before_the_first_values_is_kept()
  local name, model = "model.norm.weight", sonde.transformer { vocab = 23, width = 16, depth = 2, heads = 2 }
  local gain = model:params():find(name)
  lu.assertErrorMsgContains("the parameter has no values yet", gain.set, gain, 1, 5)
  gain:fill(5)
  model:params():find("lm_head.weight"):copy(model_of():params():find(HEAD))
  model:init()
  for _, value in ipairs(gain:values()) do lu.assertEquals(value, 5) end
  lu.assertEquals(model:params():find(HEAD):values(), model_of():params():find(HEAD):values())
  lu.assertTrue(model:params():find(DOWN):get(1) ~= 0)
end

function TestLowRank:test_views_apply_in_their_order()
  local function made(first)
    local model = model_of()
    local params = model:params()
    if first == "mask" then params:mask(UP) end
    params:low_rank(UP, 1, 1)
    if first ~= "mask" then params:mask(UP) end
    params:find(UP .. ".mask"):fill(0)
    model:init()
    params:find(UP .. ".lora_a"):fill(1)
    params:find(UP .. ".lora_b"):fill(2)
    return params:read(UP):values()
  end
  for _, value in ipairs(made "mask") do lu.assertEquals(value, 2) end
  for _, value in ipairs(made "low_rank") do lu.assertEquals(value, 0) end
end

TestShare = {}

local function sharing(options)
  local all = { layers = { [2] = { share = 1 } } }
  for key, value in pairs(options or {}) do all[key] = value end
  return model_of(all)
end

function TestShare:test_is_one_tensor_with_the_sum_of_the_gradients()
  local shared, copies = sharing(), model_of()
  local source, target = "model.layers.1.mlp.up_proj.weight", "model.layers.2.mlp.up_proj.weight"
  for _, param in ipairs(copies:params():list()) do
    local from = param.name:gsub("^model%.layers%.2%.", "model.layers.1.")
    copies:params():find(param.name):copy(shared:params():find(from))
  end
  lu.assertEquals(loss(shared), loss(copies))
  local sum, a, b = gradient(shared, source), gradient(copies, source), gradient(copies, target)
  for i = 1, #sum do lu.assertAlmostEquals(sum[i], a[i] + b[i], 1e-6) end
  is_difference(shared, source)
  lu.assertEquals(#shared:params():list() + 9, #copies:params():list())
  lu.assertEquals(#shared:params():weights(), #copies:params():weights())
  lu.assertEquals(copies:count().total - shared:count().total,
    4 * 16 * 16 + 3 * 16 * shared:params():find(source):dims()[1] + 32)
  train(shared)
  lu.assertEquals(shared:params():find(target):values(), shared:params():find(source):values())
  lu.assertNotEquals(shared:params():find(source):values(), copies:params():find(source):values())
end

function TestShare:test_low_rank_factors_may_differ_over_a_shared_weight()
  local model, name = sharing(), "model.layers.2.mlp.up_proj.weight"
  model:params():low_rank(name, 1, 1)
  model:init()
  local plain = loss(model)
  model:params():find(name .. ".lora_b"):fill(0.1)
  lu.assertNotEquals(loss(model), plain)
  lu.assertEquals(model:params():read("model.layers.1.mlp.up_proj.weight"):values(), model:params():find(name):values())
  is_difference(model, name .. ".lora_b")
end

function TestShare:test_a_tied_head_is_the_embedding()
  local tied = model_of { tie = true }
  lu.assertEquals(tied:params():find(HEAD):values(), tied:params():find(EMBED):values())
  lu.assertNil(tied:trace({}).graph:find(HEAD))
  is_difference(tied, EMBED)
end

function TestShare:test_folders_hold_it_once()
  local model, dir = sharing(), folder()
  model:save(dir)
  lu.assertNil(core.weights_open(dir):find "model.layers.2.mlp.up_proj.weight")
  local again = sonde.load(dir)
  lu.assertEquals(again:params():sha256(), model:params():sha256())
  lu.assertEquals(loss(again), loss(model))
end

function TestShare:test_shares_by_hand_are_written_out()
  local model, dir = model_of(), folder()
  model:params():share("model.layers.2.mlp.up_proj.weight", UP)
  model:save(dir)
  lu.assertEquals(loss(sonde.load(dir)), loss(model))
end

function TestShare:test_pruning_keeps_what_is_left_to_share()
  local model = sharing { depth = 4 }
  local smaller = sonde.prune(model, { strategy = "last", remove = 1 })
  lu.assertEquals(smaller.layers[3].share, 1)
  local apart = require("sonde.sparse.cut").build(model, (require("sonde.sparse.cut").pieces(4, { 1 })))
  lu.assertNil(apart.layers[2].share)
end

TestFreeze = {}

function TestFreeze:test_keeps_values_and_is_taken_off()
  local model = model_of()
  local before, other = model:params():find(UP):values(), model:params():find(DOWN):values()
  model:params():freeze(UP)
  train(model)
  lu.assertEquals(model:params():find(UP):values(), before)
  lu.assertNotEquals(model:params():find(DOWN):values(), other)
  model:params():freeze(UP, false)
  train(model)
  lu.assertNotEquals(model:params():find(UP):values(), before)
end

function TestFreeze:test_trainable_freezes_for_one_training_only()
  local model = model_of()
  model:params():freeze(DOWN)
  train(model, { trainable = { UP } })
  for _, param in ipairs(model:params():list()) do
    lu.assertEquals(table.concat(param.views), param.name == DOWN and "freeze" or "")
  end
end

TestKept = {}

function TestKept:test_in_a_folder_as_what_is_computed()
  local model, dir = viewed(), folder()
  model:save(dir)
  for _, name in ipairs(core.weights_open(dir):names()) do
    lu.assertFalse(name:find "lora" or name:find "%.mask" or false)
  end
  local again = sonde.load(dir)
  lu.assertAlmostEquals(loss(again), loss(model), 1e-6)
  lu.assertEquals(again:params():find(UP .. ".mask"):values(), model:params():find(UP .. ".mask"):values())
end

function TestKept:test_in_copies_and_folded_models()
  local model = viewed()
  lu.assertAlmostEquals(loss(require("sonde.sparse.cut").copy(model)), loss(model), 1e-6)
  lu.assertAlmostEquals(loss(model:fold()), loss(model), 1e-5)
end

function TestKept:test_in_checkpoints()
  local model, dir = viewed(), folder()
  train(model, { dir = dir })
  local again = viewed()
  again:params():find(UP .. ".mask"):fill(1)
  local reached = train(again, { from = dir, steps = 1, lr = 0 })
  lu.assertEquals(again:params():sha256(), model:params():sha256())
  lu.assertNil(reached.diverged)
  lu.assertEquals(core.yaml_load(dir .. "/config.yaml").model.views, { [UP] = "mask", [DOWN] = "low_rank" })
  local ok, message = pcall(train, model_of(), { from = dir, steps = 1 })
  lu.assertFalse(ok)
  lu.assertStrContains(message, "from " .. dir .. ": its checkpoint does not fit this model")
  lu.assertStrContains(message, "which this model has no value of its own")
  lu.assertNil(message:find "remove")
  local masked = viewed()
  masked:params():mask(HEAD)
  train(masked, { from = dir, steps = 1, lr = 0 })      -- takes nothing out, so nothing is missing
  local saved = model:params():find(UP .. ".mask")
  for i = 1, saved:count() do lu.assertEquals(masked:params():find(UP .. ".mask"):get(i), saved:get(i)) end
  masked:params():find(HEAD .. ".mask"):fill(0)
  lu.assertErrorMsgContains("lacks '" .. HEAD .. ".mask', which this model has", train, masked,
    { from = dir, steps = 1 })
end

function TestKept:test_mistakes()
  local params = model_of { layers = { [2] = { share = 0 } } }:params()
  local shared = "model.layers.2.mlp.gate_proj.weight"
  params:mask(UP)
  lu.assertErrorMsgContains("has a mask already", params.mask, params, UP)
  for _, scale in ipairs { 0 / 0, 1 / 0, -1 / 0 } do
    lu.assertErrorMsgContains("must be a finite number", params.low_rank, params, DOWN, 2, scale)
  end
  lu.assertErrorMsgContains("is a buffer", params.mask, params, UP .. ".mask")
  lu.assertErrorMsgContains("there is no parameter 'x'", params.mask, params, "x")
  lu.assertErrorMsgContains("there is no parameter 'x'", params.read, params, "x")
  lu.assertErrorMsgContains("freeze that", params.freeze, params, shared)
  lu.assertErrorMsgContains("shares a value already", params.share, params, shared, DOWN)
  lu.assertErrorMsgContains("'" .. shared .. "' shares it itself", params.share, params,
    "model.layers.0.mlp.gate_proj.weight", UP)
  lu.assertErrorMsgContains("before that", params.share, params, UP, "model.layers.1.mlp.up_proj.weight")
  lu.assertErrorMsgContains("cannot share", params.share, params, DOWN, HEAD)
  lu.assertErrorMsgContains("its own value", params.share, params, DOWN, DOWN)
  lu.assertErrorMsgContains("there is no parameter 'x' for", params.share, params, DOWN, "x")
  lu.assertErrorMsgContains("block 1 can only share the weights of an earlier block, not of 1", sonde.transformer,
    { vocab = 8, width = 8, depth = 2, layers = { [1] = { share = 1 } } })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
