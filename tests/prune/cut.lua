-- A pruned model computes what the whole one does with its blocks skipped, whatever its placement counts
-- with; linear maps stand in for blocks; and both survive a folder.

local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"
local cut = require "sonde.sparse.cut"
local placement = require "sonde.model.placement"
package.path = os.getenv "abs_srcdir" .. "/tests/prune/?.lua;" .. package.path
local made = require "made"

local folder = os.tmpname()
os.remove(folder)

local function close(a, b, tolerance)
  lu.assertTrue(math.abs(a - b) <= (tolerance or 1e-6) * math.max(1, math.abs(b)), a .. " for " .. b)
end

TestPieces = {}

function TestPieces:test_runs_and_neighbours()
  lu.assertEquals(cut.runs { 4, 0, 1 }, { { 0, 1 }, { 4, 4 } })
  local pieces, neighbours = cut.pieces(6, { 1, 2, 5 })
  lu.assertEquals(pieces, { { source = 0 }, { source = 3 }, { source = 4 } })
  lu.assertEquals(neighbours, { 0, 1, 2 })
  local map = { first = 1, last = 2 }
  pieces, neighbours = cut.pieces(6, { 1, 2 }, { map })
  lu.assertEquals(pieces, {
    { source = 0 }, { map = map, first = 1, last = 2 }, { source = 3 }, { source = 4 }, { source = 5 },
  })
  lu.assertEquals(neighbours, { 0, 2 })
end

TestCut = {}

local removals = { { 0 }, { 2 }, { 5 }, { 1, 2, 4 }, { 0, 1, 2, 3, 4 } }

function TestCut:test_equals_skipping_under_every_placement()
  local ids = made.ids(13)
  for _, name in ipairs(placement.names()) do
    local spec = name == "pre_post" and { name, first = 3 } or name == "pre_sandwich" and { name, first = 3 }
      or name == "mix_ln" and { name, a = 0.5 } or name
    local model = made.model { placement = spec, init = "normal" }
    for _, blocks in ipairs(removals) do
      local smaller = made.without(model, blocks)
      lu.assertEquals(#smaller.layers, 6 - #blocks)
      local got, expected = made.loss(smaller, ids), made.loss(model, ids, { skip = blocks })
      lu.assertTrue(math.abs(got - expected) <= 1e-6 * expected,
        name .. " without " .. table.concat(blocks, " ") .. ": "
        .. got .. " for " .. expected)
    end
  end
end

function TestCut:test_the_index_alone_would_be_wrong_under_lns()      -- the test above could not fail otherwise
  local ids = made.ids(13)
  local smaller = made.without(made.model { placement = "lns" }, { 0, 1 })
  local right = made.loss(smaller, ids)
  for index, layer in ipairs(smaller.layers) do layer.layer, layer.depth = index, #smaller.layers end
  lu.assertTrue(math.abs(made.loss(smaller, ids) - right) > 1e-3)
end

function TestCut:test_pruned_twice_counts_from_the_first_stack()
  local ids, model = made.ids(13), made.model { placement = "lns" }
  -- the second of the new ones is the fourth of the old
  local twice = made.without(made.without(model, { 1 }), { 2 })
  close(made.loss(twice, ids), made.loss(model, ids, { skip = { 1, 3 } }))
  local places = {}
  for i, layer in ipairs(twice.layers) do places[i] = layer.layer end
  lu.assertEquals(places, { 1, 3, 5, 6 })
end

function TestCut:test_options_of_single_blocks_go_with_them()
  local ids = made.ids(13)
  local model = made.model { layers = { [0] = { norm = "layernorm" }, [3] = { ffn = "mlp", placement = "post_ln" } } }
  for _, blocks in ipairs(removals) do
    close(made.loss(made.without(model, blocks), ids), made.loss(model, ids, { skip = blocks }))
  end
end

function TestCut:test_norms_that_talk_to_each_other()
  local ids, model = made.ids(13), made.model { norm = "bhyt", placement = "lns", init_std = 0.1 }
  close(made.loss(made.without(model, { 1, 4 }), ids), made.loss(model, ids, { skip = { 1, 4 } }))
end

--- Blocks that are named by number stay named, as they go on counting in the stack that they were trained in.
function TestCut:test_named_blocks_of_bhyt_stay_named()
  local ids = made.ids(13)
  for _, options in ipairs { { exact_first = 6 }, { exact_first = 3 }, { exact_blocks = "0,4,5" } } do
    options[1] = "bhyt"
    local model = made.model { norm = options, init_std = 0.1 }
    close(made.loss(made.without(model, { 1, 4 }), ids), made.loss(model, ids, { skip = { 1, 4 } }))
  end
end

function TestCut:test_the_whole_model_stays_as_it_is()
  local model = made.model()
  local before = model:params():sha256()
  local smaller = made.without(model, { 2 })
  smaller:params():find("model.norm.weight"):fill(3)
  lu.assertEquals(model:params():sha256(), before)
end

TestLinear = {}

function TestLinear:test_a_linear_block_is_met_exactly()
  local ids = made.ids(600)
  local model = made.model { depth = 4, layers = { [1] = { placement = "linear" }, [2] = { placement = "linear" } } }
  local before = sonde.evaluate(model, ids).loss
  local smaller, facts = made.without(model, { 1, 2 }, { replace = "linear", text = ids })
  lu.assertEquals(#smaller.layers, 3)
  lu.assertEquals(facts.kept, { 0, 3 })
  lu.assertTrue(facts.maps[1].residual < 1e-5)
  close(facts.loss.pruned, before, 1e-5)
  close(sonde.evaluate(smaller, ids).loss, before, 1e-5)
end

function TestLinear:test_is_the_fitted_map_of_the_probe()
  local ids = made.ids(600)
  local model = made.model { placement = "lns" }
  local affine = require "sonde.probe.affine"
  local maps = affine.fit(model, ids, { { 0, 0 }, { 2, 4 } }, { context = 12, tokens = 16384 })
  local smaller, facts = made.without(model, { 0, 2, 3, 4 }, { replace = "linear", text = ids })
  lu.assertEquals(#smaller.layers, 4)
  local function edited(x, map)
    local graph = x:graph()
    return x:matmul(graph:leaf("w" .. map.first, map.weight)) + graph:leaf("b" .. map.first, map.bias)
  end
  local window = {}
  for i = 1, 13 do window[i] = ids[i + 40] end
  local expected = made.loss(model, window, {
    skip = { 3, 4 },
    replace = { [0] = function(x) return edited(x, maps[1]) end, [2] = function(x) return edited(x, maps[2]) end },
  })
  close(made.loss(smaller, window), expected, 1e-5)
  lu.assertEquals(facts.maps[2].first, 2)
  lu.assertEquals(facts.maps[2].last, 4)
end

function TestLinear:test_probes_measure_a_model_with_maps()
  local ids = made.ids(600)
  local smaller = made.without(made.model(), { 1, 2 }, { replace = "linear", text = ids })
  local values = sonde.probe(smaller, ids, { "variance", "attn_variance", "layer_removal", "usefulness" })
  lu.assertEquals({ #values.attn_variance, #values.variance }, { 5, 5 })
  lu.assertEquals(values.attn_variance[2], 0)
  lu.assertTrue(values.attn_variance[3] > 0)
  lu.assertAlmostEquals(values.usefulness[2], 1, 1e-5)
end

TestFolder = {}

local function saved(model, name)
  model:save(folder .. "/" .. name)
  return sonde.load(folder .. "/" .. name), core.json_load(folder .. "/" .. name .. "/config.json")
end

function TestFolder:setUp() core.mkdirs(folder) end
function TestFolder:tearDown() core.remove_tree(folder) end

function TestFolder:test_dropped_blocks_of_a_llama_leave_a_llama()
  local ids, model = made.ids(13), made.model()
  local loaded, config = saved(made.without(model, { 1, 4 }), "llama")
  lu.assertEquals({ config.architectures[1], config.num_hidden_layers }, { "LlamaForCausalLM", 4 })
  close(made.loss(loaded, ids), made.loss(model, ids, { skip = { 1, 4 } }))
  config.sonde = nil                                                  -- as another program would leave it
  core.json_save(folder .. "/llama/config.json", config)
  close(made.loss(sonde.load(folder .. "/llama"), ids), made.loss(model, ids, { skip = { 1, 4 } }))
end

function TestFolder:test_a_foreign_llama()
  local model = sonde.load(os.getenv "abs_srcdir" .. "/tests/reference/llama_gqa")
  local loaded, config = saved(made.without(model, { 0 }), "foreign")
  local ids = made.ids(13)
  lu.assertEquals({ config.model_type, config.num_hidden_layers }, { "llama", model.config.depth - 1 })
  config.sonde = nil
  core.json_save(folder .. "/foreign/config.json", config)
  close(made.loss(sonde.load(folder .. "/foreign"), ids), made.loss(model, ids, { skip = { 0 } }))
  lu.assertNil(loaded:params():find(("model.layers.%d.input_layernorm.weight"):format(model.config.depth - 1)))
end

function TestFolder:test_layers_and_maps_load_back()
  local ids, text = made.ids(13), made.ids(600)
  for _, name in ipairs { "lns", "mix_ln", "deepnorm", "pre_ln" } do
    local model = made.model { placement = name }
    for _, blocks in ipairs { { 0, 1 }, { 2, 3 }, { 5 } } do
      for _, replace in ipairs { "drop", "linear" } do
        local smaller = made.without(model, blocks, { replace = replace, text = text })
        local loaded, config = saved(smaller, name .. "-" .. blocks[1] .. "-" .. replace)
        lu.assertEquals(made.loss(loaded, ids), made.loss(smaller, ids))
        local is_llama = name == "pre_ln" and replace == "drop"
        lu.assertEquals(config.architectures[1], is_llama and "LlamaForCausalLM" or "SondeForCausalLM")
      end
    end
  end
end

TestRefusals = {}

local function refuses(text, options, model)
  lu.assertErrorMsgContains(text, sonde.prune, model or made.model(), options)
end

function TestRefusals:test_one_clear_line_each()
  refuses("of 6 blocks 6 cannot be removed", { strategy = "last", remove = 6 })
  refuses("did you mean 'angular'?", { strategy = "angulr", remove = 1 })
  refuses("strategy 'removal' measures the model on text", { strategy = "removal", remove = 1 })
  refuses("replace 'linear' measures the model on text", { strategy = "last", remove = 1, replace = "linear" })
  refuses("give the option heal_text", { strategy = "last", remove = 1, heal = { tokens = 100 } })
  refuses("placement without a name", { strategy = "last", remove = 1 },
    made.model { placement = function(_, x) return x end })
  refuses("more tokens", { strategy = "last", remove = 1, replace = "linear", text = made.ids(13) })
  made.these = { 1, 1 }
  refuses("gave block 1 twice", { strategy = "these", remove = 2 })
  made.these = { 6 }
  refuses("gave block 6, which the model does not have", { strategy = "these", remove = 1 })
  made.these = { 1 }
  refuses("must give a list of 2 blocks, not of 1", { strategy = "these", remove = 2 })
  lu.assertErrorMsgContains("exists already", sonde.prune_strategy, "last", print)
  lu.assertErrorMsgContains("cannot count as layer 5 of 4", made.model, { layers = { [1] = { layer = 5, depth = 4 } } })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
