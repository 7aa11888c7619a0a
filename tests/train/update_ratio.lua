-- What a training measures of its blocks without changing it: how far an update moves the weights of each, for
-- optimizers of tiles and of whole matrices, and the entropy of its attention.

local lu = require "luaunit"
local sonde = require "sonde"

local function corpus()
  local ids = {}
  for i = 1, 600 do ids[i] = (i * i + 3 * i) % 23 end
  return { vocab = 23, handle = sonde.tensor("i32", { 600 }, ids), spec = "made", hash = "made" }
end

local function values_of(model)
  local all = {}
  for _, param in ipairs(model:params():list()) do
    local block = string.match(param.name, "^model%.layers%.(%d+)%.")
    if block then
      block = tonumber(block) + 1
      all[block] = all[block] or {}
      for _, x in ipairs(model:params():find(param.name):values()) do table.insert(all[block], x) end
    end
  end
  return all
end

local function trained(optimizer, probe_every)
  local model = sonde.transformer { vocab = 23, width = 16, depth = 3, heads = 2, context = 12, seed = 5 }:init()
  local before, ratios = values_of(model), nil
  local result = sonde.train(model, corpus(),
    { steps = 1, batch = 4, warmup = 0, optimizer = optimizer, progress = false,
    eval_every = 0, probe_every = probe_every,
    hooks = { { every = 1, call = function(state) ratios = state.block_update_ratio end } } })
  return result.state_sha256, ratios, before, values_of(model)
end

TestRatio = {}

function TestRatio:test_is_that_of_the_weights()
  for _, optimizer in ipairs { "adamw", "sgd", "muon", "lion" } do
    local sha, ratios, before, after = trained(optimizer, 1)
    lu.assertEquals(#ratios, 3)
    for block = 1, 3 do
      local moved, weighed = 0, 0
      for i, x in ipairs(before[block]) do
        moved, weighed = moved + (after[block][i] - x) ^ 2, weighed + x ^ 2
      end
      lu.assertTrue(ratios[block] > 0)
      lu.assertAlmostEquals(ratios[block] / math.sqrt(moved / weighed), 1, 1e-9, optimizer)
    end
    local plain, none = trained(optimizer, 0)
    lu.assertEquals(plain, sha, optimizer)
    lu.assertNil(none)
  end
end

TestEntropy = {}

local TOKENS = { 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9 }      -- one window of 12: every batch is of it

local function entropies(options, probe_every)
  local all = { vocab = 23, width = 16, depth = 2, heads = 4, context = 12, seed = 5 }
  for key, value in pairs(options) do all[key] = value end
  local text = sonde.tensor("i32", { #TOKENS }, TOKENS)
  local model, before, recorded = sonde.transformer(all):init(), nil, nil
  local result = sonde.train(model, { vocab = 23, handle = text, spec = "made", hash = "made" }, {
    steps = 21, batch = 2, accumulate = 2, warmup = 0, schedule = "constant", lr = 3e-2, progress = false,
    eval_every = 0, probe_every = probe_every,
    hooks = { { every = 1, call = function(state)
      if state.step == 20 then before = sonde.probe(state.model, text, { "attention_entropy" }, { tokens = 12 }) end
      if state.step == 21 then recorded = state.block_attention_entropy end
    end } },
  })
  return recorded, before.attention_entropy, result.state_sha256
end

function TestEntropy:test_is_the_probes_of_the_weights_before_the_update()
  for _, options in ipairs { {}, { groups = 2, positions = "alibi" }, { attention = { "causal", window = 4 } } } do
    local recorded, probed, sha = entropies(options, 1)
    lu.assertEquals(#recorded, 2)
    for block, value in ipairs(recorded) do
      local mean = 0
      for _, head in ipairs(probed[block]) do mean = mean + head / 4 end
      lu.assertAlmostEquals(value, mean, 1e-6)
    end
    local none, _, plain = entropies(options, 0)
    lu.assertNil(none)
    lu.assertEquals(plain, sha)
  end
end

function TestEntropy:test_is_not_recorded_where_an_attention_publishes_no_heads()
  local heads = { options = { { name = "heads", type = "integer", min = 1, doc = "as all attentions have" } } }
  sonde.attention("same_for_all", heads, function(_, _, x) return x:mean(-1):expand(x:dims()) end)
  local model = sonde.transformer { vocab = 23, width = 16, depth = 2, heads = 2, context = 12,
    layers = { [1] = { attention = "same_for_all" } } }
  local seen
  sonde.train(model, corpus(), { steps = 1, batch = 4, warmup = 0, progress = false, eval_every = 0, probe_every = 1,
    hooks = { { every = 1, call = function(state) seen = state end } } })
  lu.assertEquals(#seen.block_variance, 2)
  lu.assertNil(seen.block_attention_entropy)
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
