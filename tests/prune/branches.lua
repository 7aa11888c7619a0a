-- Blocks that lose their attention or their feed-forward layer: the model is the whole one with that branch at 0; it is
-- saved, loaded, trained, healed, generates and is measured like any other. Blocks that are named.

local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"
local placement = require "sonde.model.placement"
package.path = os.getenv "abs_srcdir" .. "/tests/prune/?.lua;" .. package.path
local made = require "made"

local folder = os.tmpname()
os.remove(folder)

local function gates(blocks, what)
  local gate = {}
  for _, block in ipairs(blocks) do gate[block] = { [what] = 0 } end
  return { gate = gate }
end

local function names_with(model, pattern)
  local n = 0
  for _, param in ipairs(model:params():list()) do n = n + (string.find(param.name, pattern) and 1 or 0) end
  return n
end

local function refused(pattern, f, ...)
  local ok, message = pcall(f, ...)
  lu.assertFalse(ok)
  lu.assertStrContains(message, pattern)
end

TestBranches = {}

function TestBranches:test_equals_a_gate_at_0_under_every_placement()
  local ids = made.ids(13)
  for _, name in ipairs(placement.names()) do
    if name ~= "linear" then
      local spec = (name == "pre_post" or name == "pre_sandwich") and { name, first = 3 } or name
      local model = made.model { placement = spec, init = "normal" }
      for _, what in ipairs { "attn", "ffn" } do
        local smaller, facts = sonde.prune(model, { what = what, blocks = { 4, 1 } })
        local got, expected = made.loss(smaller, ids), made.loss(model, ids, gates({ 1, 4 }, what))
        lu.assertTrue(math.abs(got - expected) <= 1e-6 * expected,
          name .. " " .. what .. ": " .. got .. " for " .. expected)
        lu.assertTrue(math.abs(got - made.loss(model, ids)) > 1e-4, name .. ": nothing changed")
        lu.assertEquals({ facts.removed, facts.what, facts.strategy }, { { 1, 4 }, what, nil })
        lu.assertEquals(#facts.kept, 6)
      end
    end
  end
end

function TestBranches:test_the_weights_are_gone()
  local model = made.model()
  local quiet = sonde.prune(model, { what = "attn", blocks = { 2 } })
  lu.assertEquals(names_with(quiet, "layers%.2%.self_attn"), 0)
  lu.assertEquals(names_with(quiet, "layers%.3%.self_attn"), 4)
  lu.assertEquals(names_with(quiet, "layers%.2%.mlp"), 3)
  lu.assertEquals(quiet:count().total, model:count().total - 4 * 16 * 16)
  lu.assertEquals(names_with(sonde.prune(model, { what = "ffn", blocks = { 0, 5 } }), "layers%.[05]%.mlp"), 0)
end

function TestBranches:test_survives_a_folder()
  local ids, model = made.ids(13), made.model { placement = "lns" }
  local smaller = sonde.prune(sonde.prune(model, { blocks = { 1 } }), { what = "attn", blocks = { 1, 3 } })
  smaller:save(folder)
  lu.assertEquals(core.json_load(folder .. "/config.json").architectures, { "SondeForCausalLM" })
  local again = sonde.load(folder)
  lu.assertEquals(made.loss(again, ids), made.loss(smaller, ids))
  lu.assertAlmostEquals(made.loss(again, ids), made.loss(model, ids,
    { skip = { 1 }, gate = { [2] = { attn = 0 }, [4] = { attn = 0 } } }), 1e-6)
  lu.assertEquals(again.layers[2].layer, 3)
  -- Pruned again, what was lost stays lost.
  local third = sonde.prune(again, { blocks = { 0 } })
  lu.assertEquals({ third.layers[1].without, third.layers[2].without, third.layers[3].without },
    { "attn", nil, "attn" })
  core.remove_tree(folder)
end

function TestBranches:test_trains_and_generates_as_others()
  for _, what in ipairs { "attn", "ffn" } do
    local model = made.model()
    local smaller, facts = sonde.prune(model, { what = what, blocks = { 2, 3 }, text = made.ids(120), context = 12,
      heal = { steps = 5, batch = 2, progress = false, eval_every = 0 }, heal_text = made.corpus(200) })
    lu.assertTrue(facts.loss.healed < facts.loss.pruned)
    lu.assertEquals(facts.healing.steps, 5)
    local adapted, lora = sonde.prune(model, { what = what, blocks = { 2 }, text = made.ids(120), context = 12,
      heal = { steps = 5, batch = 2, lora = 2, progress = false, eval_every = 0 }, heal_text = made.corpus(200) })
    lu.assertEquals(lora.neighbours, { 1, 2, 3 })
    lu.assertNotEquals(adapted:params():find("model.layers.1.mlp.up_proj.weight"):values(),
      model:params():find("model.layers.1.mlp.up_proj.weight"):values())
    -- Token by token what the whole text gives.
    local tokens = sonde.generate(smaller, { { 1, 2, 3 } }, { tokens = 6, temperature = 0 })[1]
    local trace = smaller:trace { context = 8 }
    local plan = sonde.plan { trace:logits() }
    local text = { 1, 2, 3 }
    for i = 1, 5 do text[3 + i] = tokens[#tokens - 6 + i] end
    plan:run { tokens = text }
    local best, at = -1 / 0, nil
    for token = 0, 22 do
      local value = plan:output(1):get(7 * 23 + token + 1)
      if value > best then best, at = value, token end
    end
    lu.assertEquals(at, tokens[#tokens])
  end
end

function TestBranches:test_is_measured()
  local model = sonde.prune(made.model(), { what = "attn", blocks = { 2 } })
  local values = sonde.probe(model, made.ids(12 * 10 + 1),
    { "attn_variance", "attn_removal", "layer_removal", "permutation",
    "attention_entropy", "variance" }, { context = 12 })
  lu.assertEquals(values.attn_variance[3], 0)
  lu.assertEquals(values.attn_removal[3], 0)
  lu.assertNotEquals(values.attn_removal[2], 0)
  lu.assertNaN(values.permutation[3][1])
  lu.assertNaN(values.attention_entropy[3][1])
end

-- BHyT measures where there is no attention to estimate by: in the pruned model and in what the strategy measures.
function TestBranches:test_the_probes_rise_is_the_pruned_models_under_bhyt()
  local text = made.ids(12 * 4 + 1)
  for _, variance in ipairs { "plain", "beta", "eta", "residual_aware" } do
    local model = made.model { depth = 3, norm = { "bhyt", variance = variance, kappa = 2 } }
    for _, param in ipairs(model:params():list()) do
      if param.role == "gain" then
        local gain = model:params():find(param.name)
        for i = 1, gain:count() do gain:set(i, gain:get(i) + 0.3 * math.sin(i + #param.name)) end
      end
    end
    local rises = sonde.probe(model, text, { "attn_removal", "ffn_removal" }, { context = 12 })
    local whole = sonde.evaluate(model, text, { context = 12 }).loss
    for _, what in ipairs { "attn", "ffn" } do
      for block = 0, 2 do
        local pruned = sonde.prune(model, { what = what, blocks = { block } })
        lu.assertAlmostEquals(rises[what .. "_removal"][block + 1],
          sonde.evaluate(pruned, text, { context = 12 }).loss - whole, 1e-5, variance .. " " .. what .. " " .. block)
      end
    end
  end
end

TestChoice = {}

function TestChoice:test_removal_takes_the_branches_that_cost_least()
  local model, text = made.model(), made.ids(12 * 8 + 1)
  for _, what in ipairs { "attn", "ffn" } do
    local facts = select(2, sonde.prune(model,
      { what = what, strategy = "removal", remove = 2, text = text, context = 12 }))
    local order = { 0, 1, 2, 3, 4, 5 }
    table.sort(order, function(i, j) return facts.scores[i + 1] < facts.scores[j + 1] end)
    local two = { order[1], order[2] }
    table.sort(two)
    lu.assertEquals(facts.removed, two)
    -- One window of the text at a time is what the strategy measures.
    local mean = 0
    for window = 0, 7 do
      local ids = {}
      for i = 1, 13 do ids[i] = text[window * 12 + i] end
      mean = mean + (made.loss(model, ids, gates({ 2 }, what)) - made.loss(model, ids)) / 8
    end
    lu.assertAlmostEquals(facts.scores[3], mean, 1e-5)
  end
  -- What a block has lost already cannot be chosen, though removing it would cost nothing.
  local quiet = sonde.prune(model, { what = "attn", blocks = { 2 } })
  local facts = select(2, sonde.prune(quiet, { what = "attn", strategy = "last", remove = 4 }))
  lu.assertEquals(facts.removed, { 1, 3, 4, 5 })
  lu.assertEquals(#select(2, sonde.prune(model, { what = "ffn", strategy = "random", remove = 6 })).removed, 6)
end

function TestChoice:test_named_blocks_go()
  local ids, model = made.ids(13), made.model()
  local smaller, facts = sonde.prune(model, { blocks = { 3, 0 } })
  lu.assertEquals({ facts.removed, facts.kept, facts.what }, { { 0, 3 }, { 1, 2, 4, 5 }, "block" })
  lu.assertAlmostEquals(made.loss(smaller, ids), made.loss(model, ids, { skip = { 0, 3 } }), 1e-6)
end

function TestChoice:test_mistakes()
  local model = made.model()
  local function prune(options) return sonde.prune(model, options) end
  refused("give strategy and remove, or blocks", prune, {})
  refused("give strategy and remove, or blocks", prune, { strategy = "last" })
  refused("takes no strategy and no remove", prune, { blocks = { 1 }, strategy = "last" })
  refused("there is no block 6; blocks are 0..5", prune, { blocks = { 6 } })
  refused("block 1 is named twice", prune, { blocks = { 1, 1 } })
  refused("at least one must stay", prune, { blocks = { 0, 1, 2, 3, 4, 5 } })
  refused("of 6 attention layers 7 cannot be removed", prune, { what = "attn", strategy = "last", remove = 7 })
  refused("chooses whole blocks, not branches of them (ffn)", prune,
    { what = "ffn", strategy = "influence", remove = 1, text = made.ids(200) })
  refused("replace 'linear' takes no what", prune,
    { what = "ffn", blocks = { 1 }, replace = "linear", text = made.ids(200) })
  refused("cannot be 'attention'", prune, { what = "attention", blocks = { 1 } })
  local quiet = sonde.prune(model, { what = "attn", blocks = { 2 } })
  refused("block 2 has no attention layer", sonde.prune, quiet, { what = "attn", blocks = { 2 } })
  refused("remove the block", sonde.prune, quiet, { what = "ffn", blocks = { 2 } })
  refused("cannot share the weights of block 0, which has no attention", made.model,
    { layers = { [0] = { without = "attn" }, [1] = { share = 0 } } })
end

function TestBranches:test_a_branch_that_another_block_shares_stays()
  local model = made.model { layers = { [2] = { share = 1 } } }
  local function never() error("it was measured", 0) end
  refused("name blocks that no other shares, in place of a strategy", sonde.prune, model,
    { what = "ffn", strategy = "removal", remove = 2, text = made.ids(200), progress = never })
  refused("block 2 shares the weights of block 1, whose attention layer cannot go alone; name both", sonde.prune, model,
    { what = "attn", blocks = { 1 } })
  lu.assertEquals(names_with(sonde.prune(model, { what = "attn", blocks = { 1, 2 } }), "layers%.[12]%.self_attn"), 0)
  local smaller = sonde.prune(model, { what = "attn", blocks = { 2 } })
  lu.assertEquals(names_with(smaller, "layers%.1%.self_attn"), 4)
  lu.assertEquals(sonde.prune(model, { strategy = "last", remove = 1 }).config.depth, 5)
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
