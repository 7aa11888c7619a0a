-- Folders of GPT-2, GPT-NeoX, OPT and StableLM against an independent forward (tests/reference/make_gpts.py): loss,
-- logits and gradients; what is saved is the folder again; generation, probes and pruning take them as they take a
-- Llama.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"
local arch = require "sonde.io.arch"
local sorted_keys = require "sonde.base.sorted_keys"

local source = os.getenv("abs_srcdir") .. "/tests/reference/gpts/"
local scratch = os.tmpname()
os.remove(scratch)
core.mkdirs(scratch)

local BATCH, LENGTH, VOCAB = 2, 10, 23
local folders = { "gpt2_tiny", "gpt_neox_tiny", "gpt_neox_plain", "opt_tiny", "opt_post_norm", "opt_bare",
  "stablelm_tiny", "stablelm_parallel" }
local expected = {}
for _, name in ipairs(folders) do expected[name] = core.json_load(source .. name .. "/expected.json", true) end

local made = 0
local function fresh()
  made = made + 1
  return scratch .. "/" .. made
end

-- A copy of a reference folder with other keys: core.null takes one out.
local function changed(name, changes, tensors)
  local dir = fresh()
  core.mkdirs(dir)
  local tree = core.json_load(source .. name .. "/config.json", true)
  for key, value in pairs(changes or {}) do
    tree[key] = value
    if value == core.null then tree[key] = nil end
  end
  core.json_save(dir .. "/config.json", tree)
  if not tensors then core.write_file(dir .. "/model.safetensors",
    core.read_file(source .. name .. "/model.safetensors")) end
  return dir, tree
end

-- The f32 tensors of a folder, by name.
local function tensors_of(dir)
  local file, all = core.weights_open(dir), {}
  for _, name in ipairs(file:names()) do
    local found = file:find(name)
    if found.dtype == "F32" then
      all[name] = core.tensor("f32", #found.dims > 0 and found.dims or { 1 })
      if #found.dims > 0 then file:read(name, all[name]) end
    end
  end
  file:close()
  return all
end

local function write_tensors(dir, all, dtypes)
  local names, list, types = sorted_keys(all), {}, dtypes and {}
  for k, name in ipairs(names) do
    list[k] = all[name]
    if dtypes then types[k] = dtypes end
  end
  core.weights_save(dir .. "/model.safetensors", names, list, types)
end

-- A copy whose tensors a function may change, take out or name otherwise.
local function with_tensors(name, change, keys)
  local dir, all = changed(name, keys, true), tensors_of(source .. name)
  change(all)
  write_tensors(dir, all)
  return dir
end

local function loss_and_logits(model, of)
  local trace = model:trace { batch = BATCH, context = LENGTH }
  local plan = core.plan { trace.loss, trace:logits():slice(2, LENGTH) }
  plan:run { tokens = of.tokens, targets = of.targets }
  local loss, logits = plan:output(1):values(), plan:output(2):values()
  plan:close()
  return loss, logits
end

local function assert_near(got, want, bound, what)
  lu.assertEquals(#got, #want, what)
  for k, value in ipairs(want) do
    lu.assertTrue(math.abs(got[k] - value) <= bound * math.max(1, math.abs(value)),
      what .. " " .. k .. ": " .. got[k] .. " for " .. value)
  end
end

local function check(model, of, variant, what)
  local loss, logits = loss_and_logits(model, of)
  assert_near(loss, variant.loss, 1e-5, what .. ", loss")
  assert_near(logits, variant.logits, 1e-5, what .. ", logits")
end

TestForward = {}

for _, name in ipairs(folders) do
  TestForward["test_" .. name] = function()
    local of = expected[name]
    for _, variant in ipairs(of.variants) do
      check(sonde.load((changed(name, variant.keys))), of, variant, name .. " " .. core.json_encode(variant.keys))
    end
  end
end

-- Each of the variants is another function, or says the same in another way; nothing else would notice a key that is
-- passed over.
function TestForward:test_variants_differ()
  local same = { gpt2_tiny = 8, gpt_neox_tiny = 7, opt_tiny = 4, stablelm_tiny = 3 }
  for name, wanted in pairs(same) do
    local variants, count = expected[name].variants, 0
    for k = 2, #variants do
      local apart = 0
      for i, value in ipairs(variants[k].loss) do
        apart = math.max(apart, math.abs(value - variants[1].loss[i]))
      end
      if apart < 1e-6 then count = count + 1 else lu.assertTrue(apart > 2e-5, name .. " " .. k .. ": " .. apart) end
    end
    lu.assertEquals(count, wanted, name)
  end
end

-- The gradient by each tensor of the file, which that by the parameters is put together to.
TestGradient = {}

for _, name in ipairs(folders) do
  TestGradient["test_" .. name] = function()
    local of, model = expected[name], sonde.load(source .. name)
    local trace, params = model:trace { batch = BATCH, context = LENGTH }, model:params()
    local entries = arch.tensors(arch.registry:find(core.json_load(source .. name .. "/config.json").model_type), model,
      require("sonde.io.weights").saved(model))
    local wrt, at, nodes, names = {}, {}, {}, {}
    for _, entry in ipairs(entries) do
      for _, param in ipairs(entry.params) do
        wrt[#wrt + 1], at[param] = params:node(trace.graph, param), #wrt + 1
      end
    end
    local gradients = trace.loss:sum():grad(wrt)
    for _, entry in ipairs(entries) do
      local parts = {}
      for k, param in ipairs(entry.params) do parts[k] = gradients[at[param]] end
      local whole = entry.join and { entry.join(parts) } or parts
      for k, tensor in ipairs(entry.tensors or { entry.tensor }) do
        nodes[#nodes + 1], names[#names + 1] = whole[k] * 1, tensor
      end
    end
    local plan, checked = core.plan(nodes), 0
    plan:run { tokens = of.tokens, targets = of.targets }
    for k, tensor in ipairs(names) do
      local product, square, want = 0, 0, of.gradients[tensor]
      for i, value in ipairs(plan:output(k):values()) do
        product, square = product + value * math.sin(i - 1), square + value * value
      end
      lu.assertNotNil(want, tensor)
      local bound = 2e-5 * math.max(1, want[1])
      lu.assertTrue(math.abs(math.sqrt(square) - want[1]) < bound, name .. " " .. tensor .. ": norm " .. square ^ 0.5)
      lu.assertTrue(math.abs(product - want[2]) < bound, name .. " " .. tensor .. ": " .. product .. " for " .. want[2])
      checked = checked + 1
    end
    plan:close()
    for _ in pairs(of.gradients) do checked = checked - 1 end
    lu.assertEquals(checked, 0, name)
  end
end

TestRoundTrip = {}

local function is_buffer(tensor)
  return tensor:find "%.attn%.bias$" or tensor:find "masked_bias$" or tensor:find "%.attention%.bias$"
    or tensor:find "inv_freq$"
end

-- The same keys with the same values, the same tensors with the same numbers.
local function check_same_folder(now, before, what)
  local a, b = core.json_load(now .. "/config.json", true), core.json_load(before .. "/config.json", true)
  for key, value in pairs(b) do
    lu.assertEquals(core.json_encode { a[key] }, core.json_encode { value }, what .. key)
  end
  for key in pairs(a) do lu.assertTrue(b[key] ~= nil or key == "sonde" or key:find "_token_id$" ~= nil, what .. key) end
  local file, old, count = core.weights_open(now), core.weights_open(before), 0
  for _, tensor in ipairs(old:names()) do
    if not is_buffer(tensor) then
      local one, other = file:find(tensor), old:find(tensor)
      lu.assertNotNil(one, what .. tensor)
      lu.assertEquals({ one.dims, one.dtype }, { other.dims, other.dtype }, what .. tensor)
      local x, y = core.tensor("f32", one.dims), core.tensor("f32", one.dims)
      file:read(tensor, x)
      old:read(tensor, y)
      lu.assertEquals(x:values(), y:values(), what .. tensor)
      count = count + 1
    end
  end
  lu.assertEquals(#file:names(), count, what)
  file:close()
  old:close()
end

function TestRoundTrip:test_what_is_saved_is_the_folder_again()
  for _, name in ipairs(folders) do
    for k, variant in ipairs(expected[name].variants) do
      local dir, to, of = changed(name, variant.keys), fresh(), expected[name]
      local model, what = sonde.load(dir), name .. " " .. k .. ": "
      model:save(to)
      check_same_folder(to, dir, what)
      local again = sonde.load(to)
      lu.assertEquals(again:params():sha256(), model:params():sha256(), what)
      lu.assertEquals({ loss_and_logits(again, of) }, { loss_and_logits(model, of) }, what)
      again:save(to .. "-again")
      lu.assertEquals(core.read_file(to .. "-again/model.safetensors"), core.read_file(to .. "/model.safetensors"))
      lu.assertEquals(core.read_file(to .. "-again/config.json"), core.read_file(to .. "/config.json"))
    end
  end
end

function TestRoundTrip:test_bf16_stays()
  for _, name in ipairs(folders) do
    local dir = changed(name, { torch_dtype = "bfloat16" }, true)
    local all = tensors_of(source .. name)
    for tensor in pairs(all) do
      if is_buffer(tensor) then all[tensor] = nil end
    end
    write_tensors(dir, all, "bf16")
    local to = fresh()
    sonde.load(dir):save(to)
    check_same_folder(to, dir, name .. ": ")
  end
end

-- A model that was made here is saved as the architecture whose keys say it.
function TestRoundTrip:test_models_from_nowhere()
  local base = { vocab = VOCAB, width = 16, depth = 2, heads = 2, context = 12, norm = "layernorm", seed = 3,
    init_std = 0.3 }
  local function saved(options)
    local all, dir = {}, fresh()
    for key, value in pairs(base) do all[key] = value end
    for key, value in pairs(options) do all[key] = value end
    local model = sonde.transformer(all):init()
    model:save(dir)
    local tree = core.json_load(dir .. "/config.json", true)
    lu.assertEquals(sonde.load(dir):params():sha256(), model:params():sha256())
    -- and so without the section "sonde", but for what no key says
    tree.sonde = nil
    core.json_save(dir .. "/config.json", tree)
    if tree.model_type ~= "sonde" then
      lu.assertEquals(sonde.load(dir):params():sha256(), model:params():sha256())
    end
    return tree.model_type, tree
  end
  local biased = { "causal", bias = "all" }
  local mlp = { "mlp", bias = true, activation = "gelu_tanh" }
  local name, tree = saved { positions = "learned", attention = biased, ffn = mlp }
  lu.assertEquals({ name, tree.n_inner, tree.tie_word_embeddings, tree.activation_function },
    { "gpt2", 64, false, "gelu_new" })
  lu.assertEquals(saved { positions = "learned", position_offset = 2, attention = biased, ffn = mlp, tie = true },
    "opt")
  lu.assertEquals(saved { placement = { "parallel", shared = false }, attention = { "causal", bias = "all",
    rope_partial = 0.25 }, ffn = mlp }, "gpt_neox")
  lu.assertEquals(saved { placement = "parallel", attention = { "causal", bias = "qkv" } }, "stablelm")
  for _, options in ipairs {
    { positions = "alibi", attention = biased, ffn = mlp }, { positions = "learned", attention = biased },
    { positions = "learned", attention = biased, ffn = mlp, final_norm = "none" },
    { positions = "learned", attention = biased, ffn = mlp, position_offset = 1 },
    { positions = "learned", attention = { "causal", bias = "all", window = 4 }, ffn = mlp },
    { positions = "learned", attention = biased, ffn = mlp, placement = "norm_after" },
    { positions = "learned", attention = biased, ffn = mlp, final_norm = { "layernorm", eps = 0.1 } },
    { positions = "learned", attention = biased, ffn = mlp, embed_scale = "fixed" },
    { positions = "learned", attention = biased, ffn = mlp, layers = { ["1"] = { ffn = { "mlp", bias = true } } } },
    { positions = "learned", attention = biased, ffn = mlp, layers = { ["1"] = { without = "ffn" } } },
    { positions = "learned", attention = biased, ffn = mlp, layers = { ["1"] = { share = 0 } } },
    { placement = { "parallel", shared = false }, attention = { "causal", bias = "qkv" }, ffn = mlp },
  } do
    lu.assertEquals(saved(options), "sonde", core.json_encode(options))
  end
end

TestPruning = {}

function TestPruning:test_a_block_less_is_the_same_architecture()
  for _, name in ipairs(folders) do
    local dir = fresh()
    local model = sonde.load(source .. name)
    local smaller = sonde.prune(model, { strategy = "last", remove = 1 })
    smaller:save(dir)
    local tree, before = core.json_load(dir .. "/config.json"), core.json_load(source .. name .. "/config.json")
    lu.assertEquals(tree.model_type, before.model_type)
    lu.assertEquals((tree.n_layer or tree.num_hidden_layers) + 1, before.n_layer or before.num_hidden_layers)
    local of = expected[name]
    lu.assertEquals({ loss_and_logits(sonde.load(dir), of) }, { loss_and_logits(smaller, of) })
  end
end

-- Behind a block that is gone, GPT-2's factor of the scores by the block's number is another one: no key says that.
function TestPruning:test_factors_by_block_stay_with_their_blocks()
  local dir = changed("gpt2_tiny", { scale_attn_by_inverse_layer_idx = true })
  local model, of = sonde.load(dir), expected.gpt2_tiny
  for block, architecture in pairs { [2] = "gpt2", [0] = "sonde" } do
    local to = fresh()
    local smaller = sonde.prune(model, { blocks = { block } })
    smaller:save(to)
    lu.assertEquals(core.json_load(to .. "/config.json").model_type, architecture)
    lu.assertNil(architecture == "sonde" and core.json_load(to .. "/config.json").n_embd or nil)
    lu.assertEquals({ loss_and_logits(sonde.load(to), of) }, { loss_and_logits(smaller, of) })
  end
end

TestGeneration = {}

function TestGeneration:test_the_cache_gives_what_the_forward_pass_gives()
  for _, name in ipairs(folders) do
    local model, ids = sonde.load(source .. name), { 3, 1, 4, 1, 5 }
    local tokens = sonde.generate(model, { ids }, { tokens = 12, temperature = 0 })[1]
    for _, token in ipairs(tokens) do
      local trace = model:trace { batch = 1, context = #ids }
      local plan = core.plan { trace:logits():slice(2, #ids):argmax() }
      plan:run { tokens = ids }
      lu.assertEquals(token, plan:output(1):values()[1], name)
      plan:close()
      ids[#ids + 1] = token
    end
  end
end

function TestGeneration:test_learned_positions_end()
  local model = sonde.load(source .. "gpt2_tiny")
  lu.assertEquals(#sonde.generate(model, { { 1, 2, 3, 4 } }, { tokens = 21 })[1], 21)
  lu.assertErrorMsgContains("prompt 1 has 4 tokens, which with 22 new ones are more than the 24 positions",
    sonde.generate, model, { { 1, 2, 3, 4 } }, { tokens = 22 })
  lu.assertErrorMsgContains("the model has learned 24 positions", function() model:trace { context = 25 } end)
end

TestProbes = {}

local function stream(n)
  local ids, state = {}, 7
  for i = 1, n do
    state = (state * 16807) % 2147483647
    ids[i] = state % VOCAB
  end
  return ids
end

local function finite(value, what)
  if type(value) == "table" then
    for _, each in pairs(value) do finite(each, what) end
  elseif type(value) == "number" then
    lu.assertTrue(value == value and math.abs(value) < math.huge, what)
  end
end

function TestProbes:test_all_of_them()
  local all = {}
  for _, name in ipairs(require("sonde.probe.registry").names()) do
    if name ~= "tanh_saturation" and not string.find(name, "^expert_") and name ~= "router_entropy" then
      all[#all + 1] = name      -- those left out are of norms with a tanh, and of mixtures of experts
    end
  end
  for _, name in ipairs(folders) do
    local values = sonde.probe(sonde.load(source .. name), stream(16 * 4 + 1), all, { context = 16 })
    local count = 0
    for probe, value in pairs(values) do
      finite(value, name .. " " .. probe)
      count = count + 1
    end
    lu.assertTrue(count >= #all, name)
  end
end

-- A block whose branches end in zeros adds nothing; where the norms are behind the sums it is no identity.
function TestProbes:test_a_silent_block()
  for _, name in ipairs(folders) do
    local model = sonde.load(source .. name)
    for _, param in ipairs { "self_attn.o_proj.weight", "self_attn.o_proj.bias", "mlp.down_proj.weight",
      "mlp.down_proj.bias" } do
      local tensor = model:params():find("model.layers.1." .. param)
      if tensor then tensor:fill(0) end
    end
    local values = sonde.probe(model, stream(16 * 4 + 1), { "layer_removal", "angular_distance", "jacobian",
      "attn_variance", "ffn_variance" }, { context = 16 })
    local silent = name ~= "opt_post_norm"
    lu.assertEquals(values.layer_removal[2] == 0, silent, name)
    lu.assertEquals(values.angular_distance[2] == 0, silent, name)
    lu.assertEquals(values.jacobian_deviation[2] < 1e-6, silent, name)
    lu.assertEquals({ values.attn_variance[2], values.ffn_variance[2] }, { 0, 0 }, name)
    lu.assertTrue(values.layer_removal[1] ~= 0 and values.angular_distance[1] > 0, name)
  end
end

TestDefaults = {}

local function options_of(name, tree)
  return arch.registry:find(name).options(tree or {}, function(text) error(text, 0) end)
end

-- Without a single key each is what its class is.
function TestDefaults:test_absent_keys()
  local function sizes(o)
    return { o.vocab, o.width, o.ffn_hidden or o.ffn.hidden, o.depth, o.heads, o.kv_heads or o.heads, o.context, o.tie,
      type(o.norm) == "table" and o.norm.eps, o.ffn.activation }
  end
  local gpt2, neox, opt, stablelm = options_of "gpt2", options_of "gpt_neox", options_of "opt", options_of "stablelm"
  lu.assertEquals(sizes(gpt2), { 50257, 768, 3072, 12, 12, 12, 1024, true, 1e-5, "gelu_tanh" })
  lu.assertEquals(sizes(neox), { 50432, 6144, 24576, 44, 64, 64, 2048, false, 1e-5, "gelu" })
  lu.assertEquals(sizes(opt), { 50272, 768, 3072, 12, 12, 12, 2048, true, 1e-5, "relu" })
  lu.assertEquals(sizes(stablelm), { 50304, 2560, 6912, 32, 32, 32, 4096, false, 1e-5, "silu" })
  lu.assertEquals({ neox.attention.rope_partial, neox.attention.rope_theta, neox.attention.bias },
    { 0.25, 10000, "all" })
  lu.assertEquals({ stablelm.attention.rope_partial, stablelm.attention.rope_theta, stablelm.attention.bias },
    { 0.25, 10000, "none" })
  lu.assertEquals({ gpt2.positions, gpt2.attention.score_scale, next(gpt2.layers) }, { "learned", 0 })
  lu.assertEquals({ opt.positions, opt.position_offset, opt.embed_width, opt.placement },
    { "learned", 2, 768, "pre_ln" })
  lu.assertEquals(options_of("gpt2", { n_embd = 10, n_head = 2 }).ffn.hidden, 40)
end

function TestDefaults:test_rotary_dictionaries_of_gpt_neox()
  local function of(tree)
    local attention = options_of("gpt_neox", tree).attention
    return { attention.rope_theta, attention.rope_partial, attention.rope_scaling or "none" }
  end
  lu.assertEquals(of { rope_theta = 5 }, { 10000, 0.25, "none" })
  lu.assertEquals(of { rope_parameters = { rope_theta = 7, partial_rotary_factor = 0.5, rope_type = "default" } },
    { 7, 0.5, "none" })
  lu.assertEquals(of { rotary_emb_base = 9, rope_scaling = { type = "linear", factor = 2 } }, { 9, 0.25, "linear" })
  -- A note names a key that is there.
  local function note_of(tree) return select(2, options_of("gpt_neox", tree)) end
  lu.assertNil(note_of { rope_parameters = { rope_theta = 50 } })
  lu.assertEquals(note_of { rotary_emb_base = 9, rope_parameters = { rope_theta = 50 } },
    "rotary_emb_base 9 does not count: rope_parameters has 50")
  lu.assertErrorMsgContains("'rotary_emb_base' must be over 0, not 0", note_of, { rotary_emb_base = 0 })
  lu.assertErrorMsgContains("'rotary_pct' must be a number, not all", note_of, { rotary_pct = "all" })
end

TestTensors = {}

-- A file of the bare model has no prefix; transformers puts it in front.
function TestTensors:test_without_the_prefix()
  for name, prefix in pairs { gpt2_tiny = "transformer.", gpt_neox_tiny = "gpt_neox.", opt_tiny = "model.",
    stablelm_tiny = "model." } do
    local dir = with_tensors(name, function(all)
      for _, tensor in ipairs(sorted_keys(all)) do
        if tensor:sub(1, #prefix) == prefix then
          all[tensor:sub(#prefix + 1)], all[tensor] = all[tensor], nil
        end
      end
    end)
    check(sonde.load(dir), expected[name], expected[name].variants[1], name .. " without a prefix")
  end
end

function TestTensors:test_heads()
  local head = { gpt2_tiny = { "lm_head.weight", "transformer.wte.weight" },
    opt_tiny = { "lm_head.weight", "model.decoder.embed_tokens.weight" },
    gpt_neox_plain = { "embed_out.weight", "gpt_neox.embed_in.weight" } }
  for name, pair in pairs(head) do
    local both = with_tensors(name, function(all) all[pair[1]] = all[pair[2]] end)
    check(sonde.load(both), expected[name], expected[name].variants[1], name .. " with its head too")
    local only = with_tensors(name, function(all) all[pair[1]], all[pair[2]] = all[pair[2]], nil end)
    check(sonde.load(only), expected[name], expected[name].variants[1], name .. " with its head alone")
    local other = with_tensors(name, function(all)
      all[pair[1]] = core.tensor("f32", all[pair[2]]:dims(), all[pair[2]]:values())
      all[pair[1]]:set(1, 3.5)
    end)
    lu.assertErrorMsgContains("'" .. pair[1] .. "' and '" .. pair[2] .. "' differ", sonde.load, other)
  end
  for name, tensor in pairs { gpt_neox_tiny = "embed_out.weight", stablelm_tiny = "lm_head.weight" } do
    local dir = with_tensors(name, function(all) all[tensor] = nil end)
    lu.assertErrorMsgContains("the weights have no '" .. tensor .. "'; are embedding and head tied", sonde.load, dir)
  end
end

function TestTensors:test_missing_and_unknown_ones()
  local missing = { gpt2_tiny = "transformer.h.1.attn.c_attn.bias", gpt_neox_tiny =
    "gpt_neox.layers.0.attention.query_key_value.weight", opt_tiny = "model.decoder.embed_positions.weight",
    opt_post_norm = "model.decoder.project_out.weight", stablelm_parallel =
    "model.layers.1.self_attn.q_layernorm.norms.1.weight" }
  for name, tensor in pairs(missing) do
    lu.assertErrorMsgContains("the weights have no '" .. tensor .. "'", sonde.load,
      with_tensors(name, function(all) all[tensor] = nil end))
  end
  for name, tensor in pairs { gpt2_tiny = "transformer.h.0.attn.c_other.weight", gpt_neox_plain =
    "gpt_neox.layers.0.attention.dense.bias", opt_bare = "model.decoder.final_layer_norm.weight", stablelm_parallel =
    "model.layers.0.post_attention_layernorm.weight" } do
    lu.assertErrorMsgContains("the weights have '" .. tensor .. "'", sonde.load,
      with_tensors(name, function(all) all[tensor] = core.tensor("f32", { 2 }, 1) end))
  end
end

TestRefusals = {}

function TestRefusals:test_keys()
  local cases = {
    { "gpt2_tiny", { add_cross_attention = true }, "'add_cross_attention' (true) changes what the model computes" },
    { "gpt2_tiny", { hidden_size = 16 }, "'n_embd' is 12 and 'hidden_size', which means the same, is 16" },
    { "gpt2_tiny", { activation_function = "gelu_newer" },
      "activation_function 'gelu_newer' is not supported; known: " },
    { "gpt2_tiny", { sliding_window = 8 }, "'sliding_window' (8)" },
    { "gpt_neox_tiny", { alibi = true }, "'alibi' (true)" },
    { "gpt_neox_tiny", { scale_attn_weights = false }, "'scale_attn_weights' (false)" },
    { "gpt_neox_tiny", { hidden_act = 3 }, "'hidden_act' must be a string, not 3" },
    { "opt_tiny", { do_layer_norm_before = "yes" }, "'do_layer_norm_before' must be a boolean, not yes" },
    { "opt_tiny", { rotary_pct = 0.5 }, "'rotary_pct' (0.5)" },
    { "stablelm_tiny", { do_layer_norm_before = false }, "'do_layer_norm_before' (false)" },
  }
  for _, case in ipairs(cases) do
    lu.assertErrorMsgContains(case[3], sonde.load, (changed(case[1], case[2])))
  end
end

-- A folder of Sonde's whose keys were edited since is what the keys say.
function TestRefusals:test_edited_since()
  local dir = fresh()
  sonde.load(source .. "gpt_neox_tiny"):save(dir)
  local tree = core.json_load(dir .. "/config.json", true)
  tree.use_parallel_residual = false
  core.json_save(dir .. "/config.json", tree)
  local of = expected.gpt_neox_tiny
  check(sonde.load(dir), of, of.variants[2], "edited")
end

local result = lu.LuaUnit.run("-o", "tap")
core.remove_tree(scratch)
os.exit(result, true)
