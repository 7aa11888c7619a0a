-- Generation with the cache against the full forward pass, for every way a block can be wired.

local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"

local vocab = 29

local function small(options)
  local all = { vocab = vocab, width = 16, depth = 3, heads = 4, context = 32, init_std = 0.4, seed = 5 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

-- Logits after the last of `ids`, by a forward pass over all of them.
local function last_logits(model, ids)
  local plan = core.plan { model:trace({ batch = 1, context = #ids }):logits() }
  plan:run { tokens = ids }
  local values, last = plan:output(1):values(), {}
  for v = 1, vocab do last[v] = values[(#ids - 1) * vocab + v] end
  return last
end

local function likeliest(logits)
  local best = 1
  for v = 2, #logits do if logits[v] > logits[best] then best = v end end
  return best - 1
end

local function check(options)
  local model, ids = small(options), { 3, 1, 4, 1, 5 }
  local tokens = sonde.generate(model, { ids }, { tokens = 12, temperature = 0 })
  for _, token in ipairs(tokens[1]) do
    lu.assertEquals(token, likeliest(last_logits(model, ids)))
    ids[#ids + 1] = token
  end
end

-- For attentions of the tests' own.
local heads = { options = { { name = "heads", type = "integer", preset = 2, doc = "number of heads" } } }

TestGenerate = {}

function TestGenerate:test_every_placement()
  for _, placement in ipairs { "pre_ln", "post_ln", "deepnorm", "mix_ln", "lns", "sandwich" } do check { placement = placement } end
end

-- Pruning leaves such models: no attention, so no cache and nothing that reads a position.
function TestGenerate:test_blocks_of_linear_maps_alone()
  local model = small { placement = "linear", depth = 2 }
  local tokens = sonde.generate(model, { { 3, 1, 4 } }, { tokens = 3, temperature = 0 })
  local ids = { 3, 1, 4 }
  for k = 1, 3 do
    lu.assertEquals(tokens[1][k], likeliest(last_logits(model, ids)))
    ids[#ids + 1] = tokens[1][k]
  end
end

function TestGenerate:test_norms_and_heads()
  check { norm = "layernorm" }
  check { kv_heads = 2 }
  check { kv_heads = 1, tie = true }
  check { attention = { "causal", window = 4 } }
  check { attention = { "causal", rope_theta = 0 } }
end

function TestGenerate:test_a_batch_is_its_sequences()
  local model = small()
  local prompts = { { 1, 2, 3 }, { 7, 8, 9 } }
  local both = sonde.generate(model, prompts, { tokens = 8, temperature = 0 })
  for k, prompt in ipairs(prompts) do
    lu.assertEquals(both[k], sonde.generate(model, { prompt }, { tokens = 8, temperature = 0 })[1])
  end
end

function TestGenerate:test_a_seed_repeats_its_choices()
  local model, options = small(), { tokens = 20, temperature = 1.5, seed = 3 }
  local first = sonde.generate(model, { { 1, 2 } }, options)
  lu.assertEquals(sonde.generate(model, { { 1, 2 } }, options), first)
  options.seed = 4
  lu.assertNotEquals(sonde.generate(model, { { 1, 2 } }, options), first)
end

function TestGenerate:test_top_k_and_top_p_narrow_the_choice()
  local model = small()
  local greedy = sonde.generate(model, { { 1, 2 } }, { tokens = 10, temperature = 0 })
  lu.assertEquals(sonde.generate(model, { { 1, 2 } }, { tokens = 10, temperature = 2, top_k = 1 }), greedy)
  lu.assertEquals(sonde.generate(model, { { 1, 2 } }, { tokens = 10, temperature = 2, top_p = 1e-6 }), greedy)
end

function TestGenerate:test_each_sees_tokens_and_can_stop()
  local seen = 0
  local tokens = sonde.generate(small(), { { 1, 2 } }, { tokens = 10, temperature = 0, each = function()
    seen = seen + 1
    return seen == 4
  end })
  lu.assertEquals(#tokens[1], 4)
end

-- What mixes tokens in a way that the cache does not know of would be another function token by token.
function TestGenerate:test_what_mixes_tokens_otherwise_is_refused()
  local function mixed(_, _, x) return x + x:mean(2) end
  sonde.attention("mean_attention", heads, function(_, _, x) return x:mean(2) * 2 + x end)
  sonde.norm("mean_norm", mixed)
  sonde.ffn("mean_ffn", mixed)
  sonde.placement("mean_stream", function(block, x)
    return x + x:mean(2) + block:attention(block:norm_in "attn" (x))
  end)
  local cases = {
    { { attention = "mean_attention" }, "block 0's attention 'mean_attention' mixes" },
    { { layers = { [1] = { attention = "mean_attention" } } }, "block 1's attention 'mean_attention' mixes" },
    { { norm = "mean_norm" }, "block 0's norm 'mean_norm' mixes" },
    { { layers = { [2] = { ffn = "mean_ffn" } } }, "block 2's feed-forward layer 'mean_ffn' mixes" },
    { { placement = "mean_stream" }, "block 0's placement 'mean_stream' mixes" },
  }
  for _, case in ipairs(cases) do
    local model = small(case[1])
    for _, prompt in ipairs { { 1 }, { 1, 2, 3 } } do
      lu.assertErrorMsgContains(case[2], sonde.generate, model, { prompt }, { tokens = 2 })
    end
    lu.assertEquals(#sonde.generate(model, { { 1, 2, 3 } }, { tokens = 1 })[1], 1)      -- the prompt alone is whole
  end
end

-- Whatever is wired by the op "attention" is right.
function TestGenerate:test_attention_of_the_users_own()
  sonde.attention("plain", heads, function(site, options, x)
    local y = x:reshape { site.batch, site.context, options.heads, site.width / options.heads }
    return y:attention(y, y):reshape { site.batch, site.context, site.width }
  end)
  check { attention = "plain" }
  sonde.placement("twice", function(block, x)
    x = x + block:attention(block:norm_in "attn" (x))
    return x + block:attention(block:norm_in "attn" (x))
  end)
  check { placement = "twice" }
end

function TestGenerate:test_refusals()
  local model = small()
  lu.assertErrorMsgContains("equally long", sonde.generate, model, { { 1 }, { 1, 2 } })
  lu.assertErrorMsgContains("outside the vocabulary", sonde.generate, model, { { vocab } })
  lu.assertErrorMsgContains("at least one token", sonde.generate, model, { {} })
  lu.assertErrorMsgContains("did you mean 'temperature'", sonde.generate, model, { { 1 } }, { temprature = 1 })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
