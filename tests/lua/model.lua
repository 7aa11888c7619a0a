-- Models: placements, shapes, options and their mistakes, interventions, folders of our own and of others.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"

local source = os.getenv("abs_srcdir")

local function small(options)
  local all = { vocab = 11, width = 8, depth = 4, heads = 2, context = 6, init_std = 0.4, seed = 3 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

local function numbers(n, from)
  local list = {}
  for i = 1, n do list[i] = (i * 7 + (from or 0)) % 11 end
  return list
end

local function losses(model, options)
  local trace = model:trace(options)
  local plan = sonde.plan { trace.loss }
  local n = trace.batch * trace.context
  plan:run { tokens = numbers(n), targets = numbers(n, 3) }
  return plan:output(1):values()
end

local function assert_fails(pattern, f, ...)
  local ok, message = pcall(f, ...)
  lu.assertFalse(ok)
  lu.assertStrMatches(message, ".*" .. pattern .. ".*")
  return message
end

-- ---- placements ---------------------------------------------------------------------------------------------

TestPlacement = {}

function TestPlacement:test_each_traces_to_its_shapes()
  for _, name in ipairs { "pre_ln", "post_ln", "deepnorm", "mix_ln", "lns", "sandwich" } do
    local trace = small({ placement = name }):trace { batch = 3, context = 5 }
    lu.assertEquals(trace.loss:dims(), { 15 }, name)
    lu.assertEquals(#trace.blocks, 4)
    lu.assertEquals(trace.blocks[4]:dims(), { 3, 5, 8 })
    for _, value in ipairs { "embedding", "blocks.0.out", "blocks.3.attn.out", "blocks.3.ffn.out", "final", "loss" } do
      lu.assertNotNil(trace.graph:find(value), name .. ": " .. value)
    end
    local values = losses(small { placement = name })
    for _, value in ipairs(values) do lu.assertTrue(value == value and value > 0 and value < 50) end
  end
end

-- The value of a block's stream from the taps of the same run, by the formula of the placement.
local function check_block(name, block, rule)
  local model = small { placement = name, depth = 8 }
  local trace = model:trace { batch = 1, context = 4 }
  local g = trace.graph
  local before = block == 0 and trace.embedding or trace.blocks[block]
  local attn, ffn = g:find("blocks." .. block .. ".attn.out"), g:find("blocks." .. block .. ".ffn.out")
  local expected = rule(before, attn, ffn, function(x)
    return x:rmsnorm(g:constant(1, { 8 }), 1e-6)
  end)
  local plan = sonde.plan { (trace.blocks[block + 1] - expected):abs():amax(), trace.blocks[block + 1]:abs():amax() }
  plan:run { tokens = { 1, 2, 3, 4 } }
  lu.assertTrue(plan:output(1):get(1) < 1e-5 * plan:output(2):get(1), name .. " " .. plan:output(1):get(1))
end

function TestPlacement:test_each_block_is_its_formula()
  local alpha = (2 * 8) ^ 0.25
  check_block("pre_ln", 5, function(x, a, f) return x + a + f end)
  check_block("lns", 5, function(x, a, f) return x + a + f end)
  check_block("post_ln", 5, function(x, a, f, norm) return norm(norm(x + a) + f) end)
  check_block("deepnorm", 5, function(x, a, f, norm) return norm(norm(x * alpha + a) * alpha + f) end)
  check_block("mix_ln", 1, function(x, a, f, norm) return norm(norm(x + a) + f) end)
  check_block("mix_ln", 2, function(x, a, f) return x + a + f end)
  check_block("sandwich", 5, function(x, a, f, norm) return x + norm(a) + norm(f) end)
end

-- What the branches of a block read, shown by an attention that gives back what it gets.
function TestPlacement:test_lns_scales_the_norms_by_the_layer()
  for _, block in ipairs { 0, 3 } do
    local model = sonde.transformer({ vocab = 11, width = 8, depth = 4, context = 6, placement = "lns",
      attention = "first_seen" }):init()
    local trace = model:trace { batch = 1, context = 4 }
    local x = block == 0 and trace.embedding or trace.blocks[block]
    local norm = x:rmsnorm(trace.graph:constant(1, { 8 }), 1e-6)
    local seen = trace.graph:find("blocks." .. block .. ".attn.out") * math.sqrt(block + 1)
    local plan = sonde.plan { (seen - norm):abs():amax() }
    plan:run { tokens = { 1, 2, 3, 4 } }
    lu.assertTrue(plan:output(1):get(1) < 1e-5)
  end
end

function TestPlacement:test_initialisations()
  local function spread(model, name)
    local values, sum = model:params():find(name):values(), 0
    for _, value in ipairs(values) do sum = sum + value * value end
    return math.sqrt(sum / #values)
  end
  local options = { width = 64, depth = 8, heads = 4, vocab = 500, init_std = 0.02 }
  local function near(model, name, expected)
    lu.assertAlmostEquals(spread(model, name) / expected, 1, 0.05, name)
  end
  local q, o, gate = "model.layers.2.self_attn.q_proj.weight", "model.layers.2.self_attn.o_proj.weight",
    "model.layers.2.mlp.gate_proj.weight"
  local normal = small(options)
  for _, name in ipairs { q, o, gate, "model.embed_tokens.weight", "lm_head.weight" } do near(normal, name, 0.02) end
  lu.assertEquals(normal:params():find("model.norm.weight"):get(1), 1)
  options.init = "scaled"
  local scaled = small(options)
  near(scaled, q, 0.02)
  near(scaled, o, 0.02 / 4)
  near(scaled, "model.layers.2.mlp.down_proj.weight", 0.02 / 4)
  options.init, options.placement = nil, "deepnorm"
  local deep = small(options)
  local beta = (8 * 8) ^ -0.25
  near(deep, q, math.sqrt(2 / (64 + 64)))
  near(deep, o, beta * math.sqrt(2 / (64 + 64)))
  near(deep, gate, beta * math.sqrt(2 / (64 + 176)))
  near(deep, "model.embed_tokens.weight", 0.02)
end

-- What functions of a script give back is looked at where it comes in.
function TestPlacement:test_what_functions_give()
  local function refused(text, f)
    local ok, message = pcall(f)
    lu.assertFalse(ok, text)
    lu.assertStrContains(message, text)
  end
  for i, case in ipairs {
    { nil, "gives nil; it must give a table by role" },
    { 5, "gives number; it must give a table by role" },
    { { std = "x" }, "gives values for a role 'std'" },
    { { qk = { "normal" } }, "must give the role 'qk' a kind and a number" },
    { { default = { "normal", 0 / 0 } }, "must give the role 'default' a kind and a number" },
  } do
    sonde.init("given" .. i, function() return case[1] end)
    refused("the initialisation 'given" .. i .. "' " .. case[2], function() small { init = "given" .. i } end)
  end
  local other = sonde.graph()
  sonde.placement("other_graph", function() return other:constant(1, { 1 }) end)
  refused("block 0 gave a node of another graph", function() small { placement = "other_graph" } end)
  local sweep = sonde.sweep { name = "gives", grid = { seed = { 1 } } }
  refused("must be a model", function() sweep:plan(function() end) end)
end

function TestPlacement:test_one_of_ones_own()
  sonde.placement("parallel_test", function(block, x)
    local y = block:norm_in "attn" (x)
    return x + block:attention(y) * block:param("scale", { 1 }, "gain", 0.5) + block:ffn(y)
  end)
  local model = small { placement = "parallel_test" }
  lu.assertEquals(model:params():find("model.layers.1.placement.scale"):get(1), 0.5)
  lu.assertEquals(#losses(model), 6)
end

-- ---- modules in Lua -----------------------------------------------------------------------------------------

TestModule = {}

sonde.ffn("first_seen", function(_, _, x) return x * 1 end)
sonde.attention("first_seen", function(_, _, x) return x * 1 end)

sonde.norm("dyt_test", {
  options = { { name = "alpha", type = "number", min = 0, preset = 0.5, doc = "first value of the slope" } },
  summary = "g tanh(a x)",
}, function(site, options, x)
  local a = site:param("alpha", { 1 }, "gain", options.alpha)
  return (x * a):tanh() * site:param("weight", { site.width }, "gain")
end)

function TestModule:test_a_norm_in_lua_is_a_norm()
  local model = small { norm = { "dyt_test", alpha = 0.25 } }
  lu.assertEquals(model:params():find("model.layers.0.input_layernorm.alpha"):get(1), 0.25)
  local trace = model:trace { batch = 1, context = 4 }
  local grads = trace:mean_loss():grad { trace.graph:find("model.norm.alpha") }
  local plan = sonde.plan { grads[1] }
  plan:run { tokens = { 1, 2, 3, 4 }, targets = { 2, 3, 4, 5 } }
  lu.assertTrue(math.abs(plan:output(1):get(1)) > 0)
end

function TestModule:test_it_equals_the_same_norm_of_a_plugin()
  sonde.norm("rms_test", function(site, _, x)
    return x * (x:square():mean(-1) + 1e-6):rsqrt() * site:param("weight", { site.width }, "gain")
  end)
  local ours, theirs = losses(small { norm = "rms_test" }), losses(small { norm = "rmsnorm" })
  for i = 1, #ours do lu.assertAlmostEquals(ours[i], theirs[i], 1e-5) end
end

function TestModule:test_mistakes()
  assert_fails("cannot be 'dyt_tset'; did you mean 'dyt_test'", small, { norm = "dyt_tset" })
  assert_fails("norm 'dyt_test'.*'alhpa'.*did you mean 'alpha'", small, { norm = { "dyt_test", alhpa = 1 } })
  assert_fails("norm 'dyt_test'.*alpha", small, { norm = { "dyt_test", alpha = -1 } })
  assert_fails("already", sonde.norm, "dyt_test", function() end)
  sonde.norm("forgets_test", function() end)
  assert_fails("model%.lua:%d+: .*forgets_test.*no result", small, { norm = "forgets_test" })
  sonde.norm("shape_test", function(_, _, x) return x:sum(-1) end)
  assert_fails("shape_test.*its result is f32 %[1, 2, 1%]", small, { norm = "shape_test" })
  sonde.norm("throws_test", function(_, _, x) return x:rmsnrom() end)
  assert_fails("model%.lua:%d+: a node has no method 'rmsnrom'; did you mean 'rmsnorm'", small,
    { norm = "throws_test" })
  assert_fails("has no option 'heads'", small, { attention = "first_seen" })
end

function TestModule:test_modules_of_a_block_see_each_other()
  sonde.norm("speaks_test", function(site, _, x)
    local there = site:lookup("norm.seen")
    if site.slot == "attn" then site:publish("norm.seen", x) end
    if site.slot == "ffn" then assert(there, "the first norm of the block published nothing") end
    return x * 1
  end)
  lu.assertEquals(#losses(small { norm = "speaks_test" }), 6)
end

-- ---- options ------------------------------------------------------------------------------------------------

TestOptions = {}

function TestOptions:test_mistakes_name_the_line_and_the_option()
  local message = assert_fails("unknown option 'widht' of transformer; did you mean 'width'", function()
    local model = sonde.transformer { vocab = 11, widht = 8, depth = 2 }
    return model
  end)
  lu.assertStrMatches(message, ".*model%.lua:%d+: .*")
  assert_fails("'depth' of transformer is missing", sonde.transformer, { vocab = 11, width = 8 })
  assert_fails("'depth' of transformer must be a whole number, not 'four'", small, { depth = "four" })
  assert_fails("'depth' of transformer must be a whole number, not 2.5", small, { depth = 2.5 })
  assert_fails("'dropout' of transformer must be between 0 and 0.99, not 1", small, { dropout = 1 })
  assert_fails("cannot be 'preln'; did you mean 'pre_ln'", small, { placement = "preln" })
  assert_fails("'a' of placement 'mix_ln' must be between 0 and 1", small, { placement = { "mix_ln", a = 3 } })
  assert_fails("no multiple of heads 3", small, { heads = 3 })
  assert_fails("no multiple of kv_heads 2", small, { heads = 3, kv_heads = 2, head_dim = 2 })
  assert_fails("there is no block 4; blocks are 0..3", small, { layers = { [4] = { norm = "layernorm" } } })
  assert_fails("unknown option 'layers%[1%]%.nrom' of transformer; did you mean 'norm'", small,
    { layers = { [1] = { nrom = "x" } } })
  assert_fails("must be a table", sonde.transformer, 12)
end

function TestOptions:test_layers_differ_where_asked()
  local model = small { layers = { [1] = { norm = "layernorm", ffn = "mlp" }, ["2"] = { placement = "post_ln" } } }
  lu.assertNotNil(model:params():find("model.layers.1.input_layernorm.bias"))
  lu.assertNil(model:params():find("model.layers.0.input_layernorm.bias"))
  lu.assertNotNil(model:params():find("model.layers.2.post_self_attn_layernorm.weight"))
  lu.assertEquals(#losses(model), 6)
end

function TestOptions:test_counts()
  local count = small({ vocab = 100, width = 8, depth = 2, heads = 2, ffn_hidden = 16 }):count()
  lu.assertEquals(count.embedding, 800)
  lu.assertEquals(count.head, 800)
  lu.assertEquals(count.non_embedding, 2 * (4 * 64 + 3 * 128 + 16) + 8)
  lu.assertEquals(small({ vocab = 100, tie = true }):count().head, 0)
end

function TestOptions:test_dropout_is_for_training_and_differs_each_step()
  local model = small { dropout = 0.5 }
  lu.assertEquals(losses(model), losses(model))
  local trace = model:trace { batch = 1, context = 6, dropout = true }
  local plan = sonde.plan { trace.loss }
  local function at(step)
    plan:set_step(step)
    plan:run { tokens = numbers(6), targets = numbers(6, 3) }
    return plan:output(1):values()
  end
  local first = at(1)
  lu.assertNotEquals(at(2), first)
  lu.assertEquals(at(1), first)
end

-- ---- interventions --------------------------------------------------------------------------------------------

TestInterventions = {}

function TestInterventions:test_skip_equals_a_block_that_passes_on()
  local model = small()
  local skipped = losses(model, { skip = { 1, 2 } })
  lu.assertEquals(skipped, losses(model,
    { replace = { [1] = function(x) return x end, [2] = function(x) return x * 1 end } }))
  lu.assertNotEquals(skipped, losses(model))
end

-- What a block does with its parameters (its placement, its heads, its factors) stays where it is.
function TestInterventions:test_swap_exchanges_parameters()
  local other_of = { ["0"] = "3", ["3"] = "0" }
  local heads = { [0] = { attention = { "causal", heads = 4, kv_heads = 4, head_dim = 2 } } }
  for _, options in ipairs { {}, { placement = { "mix_ln", a = 0 } }, { placement = "lns" }, { layers = heads } } do
    local model, other = small(options), small(options)
    local swapped = losses(model, { swap = { { 0, 3 } } })
    for _, param in ipairs(model:params():list()) do
      local name = param.name:gsub("layers%.(%d)", function(i) return "layers." .. (other_of[i] or i) end)
      other:params():find(name):fill(model:params():find(param.name):values())
    end
    lu.assertEquals(swapped, losses(other))
  end
end

function TestInterventions:test_swap_of_blocks_with_other_parameters()
  local model = small { placement = { "mix_ln", a = 0.5 } }
  assert_fails("swap: blocks 1 and 2 hold different parameters: block 1 has 'post_mlp_layernorm.weight', "
    .. "block 2 has not", losses, model, { swap = { { 1, 2 } } })
  losses(model, { swap = { { 0, 1 }, { 2, 3 } } })
  assert_fails("'mlp.down_proj.weight' is %[8 16%] in block 0, %[8 24%] in block 2", losses,
    small { ffn_hidden = 16, layers = { [2] = { ffn = { "swiglu", hidden = 24 } } } }, { swap = { { 0, 2 } } })
end

-- Not even the first trace of a model.
function TestInterventions:test_add_no_parameters()
  local model, plain = small(), small()
  local function more(x, block) return x * block:param("more", { 8 }, "gain", 1) end
  assert_fails("the model has no parameter 'model.layers.1.placement.more'", model.trace, model,
    { replace = { [1] = more } })
  lu.assertEquals(model:count(), plain:count())
  lu.assertEquals(#model:params():list(), #plain:params():list())
end

function TestInterventions:test_gates_scale_branches()
  local model = small()
  lu.assertEquals(losses(model, { gate = { [2] = { attn = 0, ffn = 0 } } }), losses(model, { skip = { 2 } }))
  local seen
  losses(model, { gate = { [2] = { attn = function(y, block) seen = block.layer return y end } } })
  lu.assertEquals(seen, 3)
end

function TestInterventions:test_mistakes()
  local model = small()
  assert_fails("skip: there is no block 4; blocks are 0..3", losses, model, { skip = { 4 } })
  assert_fails("swap: a pair is two blocks", losses, model, { swap = { { 1 } } })
  assert_fails("unknown option 'skp' of trace; did you mean 'skip'", losses, model, { skp = { 1 } })
  assert_fails("block 1 gave no node", losses, model, { replace = { [1] = function() end } })
end

-- ---- folders --------------------------------------------------------------------------------------------------

TestFolder = {}

local function scratch()
  local path = os.tmpname()
  os.remove(path)
  return path
end

function TestFolder:test_round_trip_of_every_placement()
  for _, name in ipairs { "pre_ln", "post_ln", "deepnorm", "mix_ln", "lns", "sandwich" } do
    local dir = scratch()
    local model = small { placement = name, layers = { [2] = { norm = { "layernorm", eps = 1e-3 } } }, kv_heads = 1 }
    model:save(dir)
    local again = sonde.load(dir)
    lu.assertEquals(again:params():sha256(), model:params():sha256(), name)
    lu.assertEquals(losses(again), losses(model))
    core.remove_tree(dir)
  end
end

function TestFolder:test_a_llama_is_saved_as_one()
  local dir = scratch()
  small({ kv_heads = 1, rope_theta = 500, norm_eps = 1e-5 }):save(dir, { dtype = "bf16" })
  local config = core.json_load(dir .. "/config.json")
  lu.assertEquals(config.architectures, { "LlamaForCausalLM" })
  lu.assertEquals(config.num_key_value_heads, 1)
  lu.assertEquals(config.rope_theta, 500)
  lu.assertEquals(config.rms_norm_eps, 1e-5)
  lu.assertEquals(config.intermediate_size, 24)
  lu.assertEquals(config.torch_dtype, "bfloat16")
  lu.assertEquals(core.weights_open(dir):find("lm_head.weight").dtype, "BF16")
  config.sonde = nil
  core.json_save(dir .. "/config.json", config)
  lu.assertEquals(#losses(sonde.load(dir)), 6)
  core.remove_tree(dir)
  small({ placement = "lns" }):save(dir .. "/")
  lu.assertFalse(core.exists(dir .. "/.part") or core.exists(dir .. ".part"))
  lu.assertErrorMsgContains("needs the name of a folder", function() small():save "" end)
  lu.assertEquals(core.json_load(dir .. "/config.json").architectures, { "SondeForCausalLM" })
  core.remove_tree(dir)
end

for _, name in ipairs { "llama_gqa", "llama_tied_bf16", "llama_sharded_f16" } do
  TestFolder["test_foreign_" .. name] = function()
    local dir = source .. "/tests/reference/" .. name
    local expected = core.json_load(dir .. "/expected.json")
    local model = sonde.load(dir)
    local trace = model:trace { batch = 2, context = 10 }
    local plan = sonde.plan { trace:logits(), trace.loss }
    plan:run { tokens = expected.tokens, targets = expected.targets }
    for output, key in ipairs { "logits", "loss" } do
      local values = plan:output(output):values()
      lu.assertEquals(#values, #expected[key])
      for i, value in ipairs(values) do
        lu.assertTrue(math.abs(value - expected[key][i]) <= 1e-5 * math.max(1, math.abs(expected[key][i])),
          key .. " " .. i .. ": " .. value .. " for " .. expected[key][i])
      end
    end
  end
end

-- A copy of a foreign folder with changes to its config.
local function changed(changes)
  local dir, from = scratch(), source .. "/tests/reference/llama_gqa"
  core.mkdirs(dir)
  local config = core.json_load(from .. "/config.json")
  for key, value in pairs(changes) do config[key] = value end
  core.json_save(dir .. "/config.json", config)
  core.write_file(dir .. "/model.safetensors", core.read_file(from .. "/model.safetensors"))
  return dir
end

function TestFolder:test_what_cannot_be_opened_is_refused_by_name()
  local cases = {
    { { rope_scaling = { rope_type = "proportional", factor = 8 } },
      "rope scaling 'proportional' is not supported; known: default, linear" },
    { { rope_scaling = { rope_type = "llama3", factor = 8, low_freq_factor = 1 } },
      "rope scaling 'llama3' of 'rope_scaling' has no 'high_freq_factor'" },
    { { attention_bias = true }, "the weights have no 'model.layers.0.self_attn.q_proj.bias'" },
    { { model_type = "phimoe" }, "model_type 'phimoe' is not supported" },
    { { hidden_act = "gelu_newer" }, "hidden_act 'gelu_newer' is not supported" },
    { { vocab_size = "many" }, "'vocab_size' must be a number" },
    { { num_hidden_layers = 3 }, "the weights have no 'model.layers.2.input_layernorm.weight'" },
    { { num_hidden_layers = 1 }, "which a model of this config has no place for" },
    { { hidden_size = 20 }, "model.embed_tokens.weight" },
    { { num_hidden_layers = -1 }, "'num_hidden_layers' must be a whole number from 1" },
    { { num_hidden_layers = 1e9 }, "'num_hidden_layers' must be at most 10000, not 1000000000" },
    { { num_hidden_layers = 10000 }, "a model of 10000 blocks, but the folder's weights are" },
    { { vocab_size = 2147483647 }, "a vocabulary of 2147483647 with width" },
    { { intermediate_size = 1e7, hidden_size = 512, head_dim = 8 }, "a feed-forward layer of 10000000 with width 512" },
    { { vocab_size = 1e15 }, "'vocab_size' must be a whole number from 1 to 2147483647" },
    { { hidden_size = 2.5 }, "'hidden_size' must be a whole number from 1" },
    { { num_attention_heads = 1e300 }, "heads" },
  }
  for _, case in ipairs(cases) do
    local dir = changed(case[1])
    local message = assert_fails(case[2]:gsub("[%-%.]", "%%%0"), sonde.load, dir)
    lu.assertStrContains(message, dir)
    core.remove_tree(dir)
  end
  assert_fails("no such folder", sonde.load, "/nowhere/at/all")
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
