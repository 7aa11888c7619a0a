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

-- ---- logits -----------------------------------------------------------------------------------------------------

local BATCH, LENGTH, PROMPT = 2, 9, 4

-- Logits at every place from the prompt's last token on: of plans as generation makes them.
local function decoded_logits(model, ids)
  local cache = core.cache(BATCH, LENGTH)
  local prompt, step = require("sonde.eval.generate").plan(model, cache, BATCH, PROMPT, true, "f32"),
    require("sonde.eval.generate").plan(model, cache, BATCH, 1, false, "f32")
  local position, rows = core.tensor("i32", { 1 }), {}
  local function run(plan, first, last)
    local tokens = {}
    for b = 0, BATCH - 1 do
      for t = first, last do tokens[#tokens + 1] = ids[b * LENGTH + t] end
    end
    position:set(1, first - 1)
    if plan:reads "position" then plan:set("position", position) end
    plan:run { tokens = tokens }
    rows[#rows + 1] = plan:output(1):values()
  end
  run(prompt, 1, PROMPT)
  for t = PROMPT + 1, LENGTH do run(step, t, t) end
  return rows
end

-- The largest difference of logits to those of a forward pass over everything, over the root of their mean square.
local function error_of(options)
  local model, ids, off, size = small(options), {}, 0, 0
  for k = 1, BATCH * LENGTH do ids[k] = k * k * 7 % vocab end
  local plan = core.plan { model:trace({ batch = BATCH, context = LENGTH }):logits() }
  plan:run { tokens = ids }
  local whole, rows = plan:output(1):values(), decoded_logits(model, ids)
  for k, row in ipairs(rows) do
    for i, value in ipairs(row) do
      local b, v = math.floor((i - 1) / vocab), (i - 1) % vocab + 1
      local want = whole[(b * LENGTH + PROMPT + k - 2) * vocab + v]
      off, size = math.max(off, math.abs(value - want)), size + want * want
    end
  end
  return off / math.sqrt(size / (#rows * BATCH * vocab))
end

TestLogits = {}

local norms = {
  { norm = "rmsnorm" }, { norm = "layernorm" }, { norm = "dyt" }, { norm = "bhyt" }, { norm = "bhyt_star" },
  { norm = "rmsnorm", attention = { "causal", qk_norm = true } }, { norm = "derf" },
  { norm = { "bhyt", variance = "residual_aware", kappa_schedule = "decay", exact_blocks = "1" } },
}
local variants = {      -- one after the other, so that each meets every norm
  {}, { kv_heads = 2 }, { kv_heads = 1, window = 3 }, { window = 4 }, { tie = true }, { rope_theta = 0 },
  { dropout = 0.5 }, { rope_scaling = "linear", rope_factor = 3 },
  { rope_scaling = "llama3", rope_factor = 4, rope_original_context = 32 }, { positions = "alibi", kv_heads = 2 },
  { positions = "learned" }, { positions = "learned", position_offset = 2, embed_width = 8, final_norm = "none" },
  { positions = "alibi", window = 3, embed_width = 24 },
}
local placements = require("sonde.model.placement").names()      -- before tests register theirs
local own = {
  mix_ln = { "mix_ln", a = 0.5 }, pre_post = { "pre_post", first = 1 }, pre_sandwich = { "pre_sandwich", first = 1 },
  scale_post_pre = { "scale_post_pre", a = 0.5 }, pre_post_pre_post = { "pre_post_pre_post", every = 2 },
  post_pre_post_pre = { "post_pre_post_pre", every = 2 },
}

function TestLogits:test_every_norm_under_every_placement()
  local at, models = 0, 0
  for _, placement in ipairs(placements) do
    for _, norm in ipairs(norms) do
      at = at % #variants + 1
      -- With larger weights Post-LN amplifies rounding.
      local options = { placement = own[placement] or placement, attention = { "causal" }, init_std = 0.2 }
      for key, value in pairs(norm) do options[key] = value end
      for key, value in pairs(variants[at]) do
        if key == "window" or string.find(key,
            "^rope") then options.attention[key] = value else options[key] = value end
      end
      local off = error_of(options)
      lu.assertTrue(off < 1e-4, off .. " with " .. core.json_encode(options))
      models = models + 1
    end
  end
  lu.assertEquals(models, 8 * 23)
end

-- What BHyT adds to the mean square follows from lambda, kappa and c alone: it is computed once, not for every token.
function TestLogits:test_constants_of_bhyt_are_held()
  local model = small { norm = "bhyt" }
  local c = model:params():find "model.layers.1.post_attention_layernorm.attention_variance"
  local function logits(plan)
    plan:set("position", { 0 })
    return plan:run({ tokens = { 3 } }):output(1):values()
  end
  local function plan_of(of, prefill)
    return require("sonde.eval.generate").plan(of, core.cache(1, 4), 1, 1, prefill, "f32")
  end
  local held, plain = plan_of(model, false), plan_of(model, true)      -- a prompt's plan runs once and holds nothing
  local first = logits(held)
  lu.assertEquals(logits(plain), first)
  c:fill(1e4)
  lu.assertEquals(logits(held), first)
  lu.assertNotEquals(logits(plain), first)
  -- Nor is c itself computed there: three steps more than BHyT* has, one a block, and no product of weights.
  lu.assertEquals(held:info().steps, plan_of(small { norm = "bhyt_star" }, false):info().steps + 3)
end

-- ---- text -------------------------------------------------------------------------------------------------------

-- For attentions of the tests' own.
local heads = { options = { { name = "heads", type = "integer", preset = 2, doc = "number of heads" } } }

TestGenerate = {}

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

function TestGenerate:test_greedy_choices_are_those_of_the_forward_pass()
  check {}
  check { norm = "layernorm", placement = "post_ln" }
  check { kv_heads = 1, tie = true }
  check { attention = { "causal", window = 4 } }
  check { attention = { "causal", rope_theta = 0 } }
  check { attention = { "causal", rope_scaling = "llama3", rope_factor = 4, rope_original_context = 32 } }
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

-- What is drawn for a sequence does not depend on what else is in the batch, nor do sequences share what is drawn.
function TestGenerate:test_a_batch_does_not_change_what_is_drawn()
  local model, options = small(), { tokens = 12, temperature = 1.5, seed = 3, top_k = 20 }
  local one = sonde.generate(model, { { 1, 2 } }, options)
  local two = sonde.generate(model, { { 1, 2 }, { 1, 2 } }, options)
  local four = sonde.generate(model, { { 1, 2 }, { 1, 2 }, { 7, 8, 9 }, { 3, 4 } }, options)
  lu.assertEquals(two[1], one[1])
  lu.assertNotEquals(two[2], two[1])
  lu.assertEquals({ four[1], four[2] }, two)
  lu.assertEquals(#four[3], 12)
end

function TestGenerate:test_prompts_of_different_lengths()
  local model = small()
  local prompts, steps = { { 1, 2, 3 }, { 5 }, { 7, 8, 9 }, { 4 } }, {}
  local all = sonde.generate(model, prompts, { tokens = 6, temperature = 0, each = function(tokens, numbers)
    steps[#steps + 1] = #tokens .. ":" .. table.concat(numbers, ",")
  end })
  for k, prompt in ipairs(prompts) do
    lu.assertEquals(all[k], sonde.generate(model, { prompt }, { tokens = 6, temperature = 0 })[1])
  end
  lu.assertEquals(#steps, 12)
  lu.assertEquals({ steps[1], steps[12] }, { "2:1,3", "2:2,4" })
end

-- The loop's own tables are made once: a step leaves nothing to collect.
function TestGenerate:test_a_token_allocates_nothing()
  local model, grown, before = small(), {}, nil
  collectgarbage()
  collectgarbage "stop"
  sonde.generate(model, { { 1 }, { 2 } }, { tokens = 40, temperature = 1, top_k = 5, each = function()
    local now = collectgarbage "count"
    if before then grown[#grown + 1] = now - before end
    before = collectgarbage "count"
  end })
  collectgarbage "restart"
  local total = 0
  for k = 20, #grown do total = total + grown[k] end
  lu.assertTrue(total * 1024 < 20 * 64, "bytes in 20 steps: " .. total * 1024)      -- the results' own growth
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
    { { attention = "mean_attention" }, "block 0's attention 'mean_attention' gives another" },
    { { layers = { [1] = { attention = "mean_attention" } } }, "block 1's attention 'mean_attention' gives another" },
    { { norm = "mean_norm" }, "block 0's norm 'mean_norm' gives another" },
    { { layers = { [2] = { ffn = "mean_ffn" } } }, "block 2's feed-forward layer 'mean_ffn' gives another" },
    { { placement = "mean_stream" }, "block 0's placement 'mean_stream' gives another" },
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

-- The log-sum-exp and the entropy of attention are there token by token too.
function TestGenerate:test_attention_whose_entropy_is_used()
  sonde.attention("by_entropy", heads, function(site, _, x)
    local d = x:dims()
    local function map(name) return x:linear(site:param(name .. ".weight", { 16, d[3] }, "qk")) end
    local q, k = map "q":reshape { d[1], d[2], 2, 8 }, map "k":reshape { d[1], d[2], 2, 8 }
    local y = q:attention(k, k)
    local used = y:result(3) * 2 + y:result(2)
    site:publish("metric.entropy", y:result(3):mean():reshape {})
    return (y * used:permute { 1, 3, 2 }:reshape { d[1], d[2], 2, 1 }):reshape { d[1], d[2], 16 }
      :linear(site:param("o.weight", { d[3], 16 }, "qk"))
  end)
  check { attention = "by_entropy", heads = 2 }
end

function TestGenerate:test_refusals()
  local model = small()
  local function refused(text, ...) lu.assertErrorMsgContains(text, sonde.generate, model, ...) end
  refused("sonde.generate: argument 'prompts' must be a list, not nil")
  refused("takes a list of prompts, each a list of tokens, not none", {})
  refused("argument 'prompts[1]' must be a list, not 1", { 1, 2 })
  refused("prompt 2 is empty; a prompt needs at least one token", { { 1 }, {} })
  refused("argument 'prompts[1][1]' must be a whole number, not 'a'", { { "a" } })
  refused("argument 'prompts[1][1]' must be a whole number, not 1.5", { { 1.5 } })
  refused("token 29 of prompt 1 is outside the vocabulary of 29", { { vocab } })
  refused("token -2 of prompt 2 is outside the vocabulary of 29", { { 1 }, { 1, -2 } })
  refused("'temperature' of generate must be a finite number, not inf", { { 1 } }, { temperature = 1 / 0 })
  refused("'tokens' of generate must be a whole number, not 1e+300", { { 1 } }, { tokens = 1e300 })
  lu.assertErrorMsgContains("the token id -2 ", sonde.evaluate, model, { 1, -2, 3 })
  lu.assertErrorMsgContains("did you mean 'temperature'", sonde.generate, model, { { 1 } }, { temprature = 1 })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
