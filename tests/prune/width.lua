-- Pruning by width: importances and pruned models against PyTorch (tests/reference/make_width.py), what slicing must
-- not change, models whose blocks have different widths, and what is refused.

local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"
local slice = require "sonde.sparse.slice"
local width = require "sonde.sparse.width"
package.path = os.getenv "abs_srcdir" .. "/tests/prune/?.lua;" .. package.path
local made = require "made"

local references = os.getenv "abs_srcdir" .. "/tests/reference/"
local expected = core.json_load(references .. "width.json")
local given = core.json_load(references .. "llama_probes/expected.json")

local folder = os.tmpname()
os.remove(folder)

local function close(a, b, tolerance, what)
  lu.assertTrue(math.abs(a - b) <= (tolerance or 1e-6) * math.max(1, math.abs(b)), (what or "") .. " " .. a .. " for "
    .. b)
end

-- All units of a model, in their order.
local function all_units(model)
  local kept = { blocks = {} }
  local function range(n)
    local list = {}
    for i = 1, n do list[i] = i - 1 end
    return list
  end
  for index, unit in ipairs(slice.units(model)) do
    kept.blocks[index] = { groups = range(unit.groups), neurons = range(unit.neurons) }
  end
  return kept, range
end

TestReference = {}

local function measured(method, ratio, tokens)
  local model = sonde.load(references .. "llama_probes")
  return sonde.prune(model, { method = method, ratio = ratio, text = given.tokens, tokens = tokens or 16384,
    context = expected.context, batch = expected.batch })
end

function TestReference:test_importances()
  for method, want in pairs(expected.methods) do
    local _, facts = measured(method, 0.2)
    for _, kind in ipairs { "groups", "neurons" } do
      for block, list in ipairs(want.importance[kind]) do
        for unit, value in ipairs(list) do
          close(facts.importance[kind][block][unit], value, 2e-5, method .. " " .. kind)
        end
      end
    end
    for unit, value in ipairs(want.importance.hidden) do
      close(facts.importance.hidden[unit], value, 2e-5, method .. " hidden")
    end
  end
end

-- Where a block loses both branches it goes; else its entry says what is left.
local function check_left(facts, case)
  local skipped, place = {}, 0
  for _, name in ipairs(case.skip) do skipped[name] = true end
  for block = 0, 3 do
    local attn, ffn = not skipped["attn " .. block], not skipped["ffn " .. block]
    if attn or ffn then
      place = place + 1
      lu.assertEquals(facts.kept[place], block)
      lu.assertEquals(facts.widths.kv_heads[place], attn and case.left.groups[block + 1] or 0)
      lu.assertEquals(facts.widths.ffn[place], ffn and case.left.neurons[block + 1] or 0)
    end
  end
  lu.assertEquals(#facts.kept, place)
  lu.assertEquals(facts.widths.hidden, case.left.hidden)
end

function TestReference:test_a_sliced_model_is_its_masked_parent()
  for method, want in pairs(expected.methods) do
    for _, case in ipairs(want.ratios) do
      local smaller, facts = measured(method, case.ratio)
      check_left(facts, case)
      close(facts.loss.before, expected.loss, 1e-5)
      close(facts.loss.pruned, case.loss, 1e-5, method .. " " .. case.ratio)
      lu.assertTrue(smaller:count().total < sonde.load(references .. "llama_probes"):count().total)
    end
  end
end

TestMap = {}

function TestMap:test_percent_of_units_by_percent_of_parameters()      -- printed by the authors' code
  for p, want in pairs { [0] = 0, [10] = 5, [20] = 11, [30] = 16, [40] = 23, [50] = 29, [60] = 37, [70] = 45, [80] = 55,
    [85] = 61, [90] = 68, [95] = 78, [99] = 90 } do
    lu.assertEquals(width.removed_percent(p), want, p)
  end
end

TestSlice = {}

local shapes = {
  { heads = 4, kv_heads = 2 }, { norm = "layernorm", ffn = { "mlp", bias = true }, heads = 2, tie = true },
  { heads = 4, kv_heads = 2, attention = { "causal", qk_norm = true, qk_norm_over = "each", bias = "all" } },
  { placement = "post_ln", positions = "learned" }, { placement = "layerscale", norm = "dyt" },
  { placement = "lns", norm = "bhyt", heads = 4 }, { embed_scale = "fixed", embed_width = 12 },
}

function TestSlice:test_in_any_order_a_model_is_the_same()
  local ids = made.ids(13)
  for k, options in ipairs(shapes) do
    local model = made.model(options)
    local kept, range = all_units(model)
    for _, block in ipairs(kept.blocks) do
      for _, kind in ipairs { "groups", "neurons" } do table.sort(block[kind], function(a, b) return a > b end) end
    end
    kept.hidden = range(16)
    table.sort(kept.hidden, function(a, b) return a > b end)
    close(made.loss(slice.build(model, kept), ids), made.loss(model, ids), 1e-5, "model " .. k)
  end
end

-- Sets some rows or columns of a matrix to 0.
local function clear(model, name, first, last, columns)
  local tensor = model:params():find(name)
  local dims = tensor:dims()
  for i = 1, dims[1] do
    for j = 1, dims[2] do
      local at = columns and j or i
      if at >= first and at <= last then tensor:set((i - 1) * dims[2] + j, 0) end
    end
  end
end

function TestSlice:test_units_that_give_nothing_are_cut_without_effect()
  local ids, model = made.ids(600), made.model { heads = 4, kv_heads = 2 }
  clear(model, "model.layers.2.self_attn.o_proj.weight", 1, 8, true)      -- the first group of heads
  clear(model, "model.layers.4.mlp.down_proj.weight", 1, 24, true)
  local before = made.loss(model, made.ids(13))
  for _, method in ipairs { "gate" } do
    local _, facts = sonde.prune(model, { method = method, heads = 4, text = ids, context = 12 })
    lu.assertEquals(facts.importance.groups[3][1], 0)
    for unit = 1, 24 do lu.assertEquals(facts.importance.neurons[5][unit], 0) end
  end
  local kept, range = all_units(model)
  kept.blocks[3].groups = { 1 }
  local neurons = range(slice.units(model)[5].neurons)
  kept.blocks[5].neurons = { table.unpack(neurons, 25) }
  local smaller = slice.build(model, kept)
  lu.assertEquals(slice.units(smaller)[3].groups, 1)
  close(made.loss(smaller, made.ids(13)), before, 1e-6)
end

function TestSlice:test_a_gate_is_a_factor_of_the_last_matrix()      -- by finite differences
  local ids, model = made.ids(25), made.model { heads = 4, kv_heads = 2, depth = 2 }
  local _, facts = sonde.prune(model, { method = "gate", heads = 2, text = ids, context = 24, batch = 1 })
  local function loss_with(name, first, last, factor)
    local tensor = model:params():find(name)
    local dims, kept = tensor:dims(), tensor:values()
    for i = 1, dims[1] do
      for j = first, last do
        local at = (i - 1) * dims[2] + j
        tensor:set(at, kept[at] * factor)
      end
    end
    local loss = made.loss(model, ids)
    tensor:fill(kept)
    return loss
  end
  local function slope(name, first, last)
    local step = 0.02
    return math.abs(loss_with(name, first, last, 1 + step) - loss_with(name, first, last, 1 - step)) / (2 * step)
  end
  local o = "model.layers.1.self_attn.o_proj.weight"
  local a, b = slope(o, 1, 8), slope(o, 9, 16)
  local norm = math.sqrt(a * a + b * b)
  close(facts.importance.groups[2][1], a / norm, 2e-3)
  close(facts.importance.groups[2][2], b / norm, 2e-3)
end

function TestSlice:test_uniform_widths_and_both_ends()      -- MiniMA's conversion
  local model, ids = made.model { heads = 4, kv_heads = 2 }, made.ids(600)
  local smaller, facts = sonde.prune(model, { method = "gate", heads = 2, ffn = 24, hidden = 8, text = ids,
    context = 12, strategy = "ends", remove = 3 })
  lu.assertEquals(facts.removed, { 0, 4, 5 })
  lu.assertEquals(facts.widths, { hidden = 8, heads = { 2, 2, 2 }, kv_heads = { 1, 1, 1 }, ffn = { 24, 24, 24 } })
  lu.assertEquals(smaller.config.depth, 3)
  lu.assertEquals(smaller:params():find("model.layers.0.mlp.down_proj.weight"):dims(), { 8, 24 })
end

TestWidths = {}

local options = { vocab = 23, width = 16, depth = 3, context = 12, heads = { 4, 2, 1 }, kv_heads = { 2, 2, 1 },
  ffn_hidden = { 24, 16, 40 }, init_std = 0.3, seed = 5 }

function TestWidths:test_lists_say_the_width_of_each_block()
  local model = sonde.transformer(options):init()
  local dims = function(name) return model:params():find(name):dims() end
  lu.assertEquals(dims "model.layers.0.self_attn.q_proj.weight", { 16, 16 })
  lu.assertEquals(dims "model.layers.1.self_attn.q_proj.weight", { 8, 16 })
  lu.assertEquals(dims "model.layers.1.self_attn.k_proj.weight", { 8, 16 })
  lu.assertEquals(dims "model.layers.2.self_attn.o_proj.weight", { 16, 4 })
  lu.assertEquals(dims "model.layers.2.mlp.up_proj.weight", { 40, 16 })
  local other = sonde.transformer { vocab = 23, width = 16, depth = 3, context = 12, heads = 4, kv_heads = 2,
    ffn_hidden = 24, init_std = 0.3, seed = 5, layers = { [1] = { heads = 2, ffn_hidden = 16 },
      [2] = { heads = 1, kv_heads = 1, ffn_hidden = 40 } } }
  lu.assertEquals(other:init():params():sha256(), model:params():sha256())
end

function TestWidths:test_such_a_model_is_saved_trained_measured_and_generates()
  local model, ids = sonde.transformer(options):init(), made.ids(600)
  sonde.train(model, made.corpus(1600), { batch = 4, steps = 5, lr = 3e-3, progress = false, eval_every = 0 })
  model:save(folder)
  local config = core.json_load(folder .. "/config.json")
  lu.assertEquals(config.model_type, "llama")
  lu.assertEquals(config.per_layer_config["1"], { num_attention_heads = 2, intermediate_size = 16 })
  lu.assertEquals(config.per_layer_config["2"], { num_attention_heads = 1, num_key_value_heads = 1,
    intermediate_size = 40 })
  local there = sonde.load(folder)
  lu.assertEquals(there:params():sha256(), model:params():sha256())
  close(sonde.evaluate(there, ids).loss, sonde.evaluate(model, ids).loss)
  local values = sonde.probe(there, ids, { "variance", "layer_removal", "attention_entropy" }, { context = 12 })
  lu.assertEquals(#values.variance, 3)
  -- Token by token with the cache, the most likely one each time, as without it.
  local found, list = sonde.generate(there, { { 1, 2, 3 } }, { tokens = 6, temperature = 0 })[1], { 1, 2, 3 }
  for _ = 1, 6 do
    local trace = there:trace { context = #list }
    local logits = sonde.value(trace:logits(), { tokens = list })
    local best, last = 1, (#list - 1) * 23
    for k = 2, 23 do
      if logits:get(last + k) > logits:get(last + best) then best = k end
    end
    list[#list + 1] = best - 1
  end
  lu.assertEquals(found, { table.unpack(list, 4) })
end

function TestWidths:test_hostile_widths_are_refused_in_one_line()
  local function refused(changes, pattern)
    local all = {}
    for key, value in pairs(options) do all[key] = value end
    for key, value in pairs(changes) do all[key] = value end
    local ok, message = pcall(sonde.transformer, all)
    lu.assertFalse(ok)
    lu.assertStrContains(message, pattern, false, message)
    lu.assertNotStrContains(message, "\n")
  end
  refused({ heads = { 4, 2 } }, "option 'heads' of transformer lists 2 sizes for 3 blocks")
  refused({ heads = { 4, 0, 1 } }, "option 'heads[2]' of transformer must be at least 1, not 0")
  refused({ ffn_hidden = { 24, 16.5, 8 } }, "option 'ffn_hidden[2]' of transformer must be a whole number")
  refused({ heads = { 4, 3, 1 } }, "block 1: heads 3 is no multiple of kv_heads 2")
  refused({ heads = { 3, 3, 1 }, kv_heads = { 1, 1, 1 } }, "width 16 of transformer is no multiple of heads 3")
  refused({ layers = { [1] = { heads = 2 } } }, "'heads' of block 1 is in the list 'heads' too")
  refused({ layers = { [1] = { attention = { "causal", heads = 2 } } } }, "block 1 has 'heads', and its attention")
end

function TestWidths:test_hostile_folders_are_refused_with_their_name()
  local keys = core.json_load(references .. "llama_probes/config.json", true)
  core.mkdirs(folder)
  core.write_file(folder .. "/model.safetensors", core.read_file(references .. "llama_probes/model.safetensors"))
  local shape = "'model.layers.1.self_attn.q_proj.weight' is f32 [16, 16], the model has f32 [8, 16]"
  for text, own in pairs {
    ["per_layer_config.1: 'num_attention_heads' must be a whole number from 1"] = { num_attention_heads = 0 },
    ["block 1: heads 3 is no multiple of kv_heads 2"] = { num_attention_heads = 3 },
    [shape] = { num_attention_heads = 2 },
    ["'per_layer_config.9' is no layer"] = false,
  } do
    keys.per_layer_config = own and { ["1"] = own } or { ["9"] = { intermediate_size = 8 } }
    core.json_save(folder .. "/config.json", keys)
    local ok, message = pcall(sonde.load, folder)
    lu.assertFalse(ok, text)
    lu.assertStrContains(message, text, false, message)
    lu.assertStrContains(message, folder, false, message)
  end
end

TestRefused = {}

function TestRefused:test_in_one_line()
  local ids = made.ids(600)
  local function refused(options_, pattern, model)
    local all = { text = ids, context = 12 }
    for key, value in pairs(options_) do all[key] = value end
    local ok, message = pcall(sonde.prune, model or made.model { heads = 4, kv_heads = 2 }, all)
    lu.assertFalse(ok, pattern)
    lu.assertStrContains(message, pattern, false, message)
    lu.assertNotStrContains(message, "\n")
  end
  refused({ ratio = 0.5 }, "option 'ratio' needs method")
  refused({ method = "gate" }, "give ratio, or some of heads, ffn and hidden")
  refused({ method = "gate", ratio = 0.5, hidden = 8 }, "it takes no heads, ffn and hidden")
  refused({ method = "gate", ratio = 1 }, "option 'ratio' of prune must be between 0 and 0.999")
  refused({ method = "gate", hidden = 17 }, "hidden 17 cannot stay of the 16 that there are")
  refused({ method = "gate", heads = 3 }, "heads 3 of block 0 are no whole groups")
  refused({ method = "gate", ratio = 0.99 }, "none of 16 features stays")
  refused({ method = "gate", ratio = 0.9, multiple = 1 }, "no block keeps a head or a neuron", made.model {
    heads = 1, width = 4, ffn_hidden = 1, depth = 1 })
  refused({ method = "gate", heads = 2, what = "attn", strategy = "last", remove = 1 }, "what must be block")
  refused({ method = "gate", heads = 2, replace = "linear", strategy = "last", remove = 1 }, "takes no replace")
  refused({ method = "gate", heads = 2 }, "ALiBi", made.model { positions = "alibi" })
  refused({ method = "gate", heads = 1 }, "shares the weights of block 0",
    made.model { layers = { [1] = { share = 0 } } })
  refused({ method = "gates", heads = 1 }, "did you mean 'gate'?")
end

function TestRefused:test_a_method_of_a_script()
  sonde.prune_importance("number", function(trace, blocks)
    local graph, found = trace.graph, { groups = {}, neurons = {} }
    local function counted(n)
      local list = {}
      for i = 1, n do list[i] = i end
      return graph:leaf("counted " .. n .. #graph:names(), sonde.tensor("f32", { n }, list)) * 1
    end
    for index, block in ipairs(blocks) do
      found.groups[index], found.neurons[index] = counted(block.groups), counted(block.neurons)
    end
    found.hidden = counted(trace.model.config.width)
    return found
  end)
  local _, facts = sonde.prune(made.model { heads = 4, kv_heads = 2 }, { method = "number", hidden = 8,
    text = made.ids(600), context = 12 })
  close(facts.importance.groups[1][2] / facts.importance.groups[1][1], 2)
end

function TestWidths:tearDown() os.execute("rm -rf '" .. folder .. "'") end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
