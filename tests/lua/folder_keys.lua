-- What the keys and the names of the tensors of a model folder mean, and what is refused by name.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"
local folders = dofile(os.getenv "abs_srcdir" .. "/tests/lua/foreign_folder.lua")
local scratch, fresh, foreign, losses = folders.scratch, folders.fresh, folders.foreign, folders.losses
local tokenizer = folders.tokenizer

local function small(options)
  local all = { vocab = tokenizer:vocab(), width = 16, depth = 2, heads = 2, context = 24, init_std = 0.3, seed = 2 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all)
end

TestKeys = {}

-- A change of each key that says something of a Llama, and weights that fit it where shapes follow.
local changed = {
  rope_theta = 12.5, rms_norm_eps = 0.25, max_position_embeddings = 48,
  rope_scaling = { rope_type = "linear", factor = 3 },
  num_attention_heads = 4, head_dim = 8,
}

-- Sonde's own folder, with a key changed as Python would change it, is what it is without Sonde's section.
function TestKeys:test_a_changed_key_counts_in_a_folder_of_sondes()
  local plain = fresh()
  small({ heads = 2, kv_heads = 2, head_dim = 8 }):save(plain, { tokenizer = tokenizer })
  local before = losses(sonde.load(plain))
  for key, value in pairs(changed) do
    local tree = core.json_load(plain .. "/config.json", true)
    tree[key] = value
    if key == "num_attention_heads" then tree.num_key_value_heads, tree.head_dim = 4, 4 end
    core.json_save(plain .. "/config.json", tree)
    local with = sonde.load(plain)
    local loss = losses(with)
    tree.sonde = nil
    core.json_save(plain .. "/config.json", tree)
    lu.assertEquals(loss, losses(sonde.load(plain)), key)
    if key ~= "max_position_embeddings" and key ~= "head_dim" then lu.assertNotEquals(loss, before, key) end
    lu.assertEquals(with.config.context, tree.max_position_embeddings)
    small({ heads = 2, kv_heads = 2, head_dim = 8 }):save(plain, { tokenizer = tokenizer })
  end
end

function TestKeys:test_what_the_keys_cannot_say_stays_with_the_section()
  local dir = fresh()
  small({ dropout = 0.25, init_std = 0.3, seed = 11 }):save(dir)
  local tree = core.json_load(dir .. "/config.json", true)
  tree.rope_theta = 77
  core.json_save(dir .. "/config.json", tree)
  local c = sonde.load(dir).config
  lu.assertEquals({ c.dropout, c.init_std, c.seed }, { 0.25, 0.3, 11 })
end

-- What a section of a model that is no Llama says, against keys that say otherwise.
function TestKeys:test_contradictions_are_refused()
  local function check(placement, change, message)
    local dir = fresh()
    small({ placement = placement }):save(dir)
    local tree = core.json_load(dir .. "/config.json", true)
    change(tree)
    core.json_save(dir .. "/config.json", tree)
    lu.assertErrorMsgContains(message, sonde.load, dir)
  end
  check("lns", function(t) t.vocab_size = 7 end,
    "'vocab_size' is 7, but the section 'sonde' describes " .. tokenizer:vocab())
  check("lns", function(t) t.rope_theta = 10 end, "'rope_theta' is 10, but the section 'sonde' describes 10000")
  check("lns", function(t) t.num_hidden_layers = 5 end, "'num_hidden_layers' is 5, but the section")
  check("lns", function(t) t.rope_scaling = { rope_type = "linear", factor = 2 } end,
    "'rope_scaling' is a list or an object, but")
  check("lns", function(t) t.sliding_window = 4 end, "'sliding_window' (4) changes what the model computes")
  check("pre_ln", function(t) t.sonde.model.placement = { name = "lns" } end,
    "model_type is 'llama', but in the section 'sonde' the placement is 'lns' in block 0")
  check("pre_ln", function(t) t.sonde.model.norm = { name = "layernorm" } end, "the norm is 'layernorm' in block 0")
end

function TestKeys:test_what_would_change_the_model_is_refused_by_name()
  for key, value in pairs {
    use_qkv_bias = true, sliding_window = 8, partial_rotary_factor = 0.5,
    final_logit_softcapping = 30,
    attn_logit_softcapping = 50, logits_scaling = 8, embedding_multiplier = 12, residual_multiplier = 0.2, clip_qkv = 8,
    attention_multiplier = 1, query_pre_attn_scalar = 16, quantization_config = { bits = 4 }, no_rope_layers = { 1, 0 },
    num_experts = 4, auto_map = { AutoModel = "x.Y" }, per_layer_config = { ["0"] = { spin = 1 } },
    hidden_act = "snake",
    layer_types = { "full_attention", "sliding_attention", "full_attention" }, pruned_heads = { ["1"] = { 0 } },
  } do
    lu.assertErrorMsgContains(key == "layer_types" and "sliding_attention" or key, sonde.load,
      foreign("f32", { [key] = value }))
  end
  -- And with the value that changes nothing they are kept.
  local neutral = {
    attention_bias = false, sliding_window = core.null, partial_rotary_factor = 1.0, logits_scaling = 1,
    pruned_heads = {},
    layer_types = core.list { "full_attention", "full_attention", "full_attention" }, is_encoder_decoder = false,
  }
  local to = fresh "saved"
  sonde.load(foreign("f32", neutral)):save(to)
  local tree = core.json_load(to .. "/config.json", true)
  for key, value in pairs(neutral) do
    lu.assertEquals(core.json_encode { tree[key] }, core.json_encode { value }, key)
  end
  sonde.prune(sonde.load(to), { strategy = "last", remove = 1 }):save(to .. "-pruned")
  lu.assertNil(core.json_load(to .. "-pruned/config.json").layer_types)      -- one entry a block, of other blocks
end

-- ---- rotary positions -----------------------------------------------------------------------------------------

local llama3 = { rope_type = "llama3", factor = 8, low_freq_factor = 1, high_freq_factor = 4,
  original_max_position_embeddings = 16 }

local function attention_of(changes)
  local found = sonde.load(foreign("f32", changes)).layers[1].attention.options
  return { found.rope_theta, found.rope_scaling, found.rope_scaling ~= "none" and found.rope_factor or nil }
end

function TestKeys:test_which_rotary_key_counts()
  lu.assertEquals(attention_of {}, { 500, "none" })
  lu.assertEquals(attention_of { rope_parameters = { rope_type = "default", rope_theta = 40 } }, { 40, "none" })
  lu.assertEquals(attention_of { rope_parameters = { rope_type = "default" } }, { 500, "none" })
  lu.assertEquals(attention_of { rope_scaling = llama3 }, { 500, "llama3", 8 })
  lu.assertEquals(attention_of { rope_scaling = { type = "linear", factor = 2 } }, { 500, "linear", 2 })
  lu.assertEquals(attention_of { rope_parameters = { rope_type = "linear", factor = 2, rope_theta = 9 } },
    { 9, "linear", 2 })
  lu.assertEquals(attention_of { rope_scaling = llama3, rope_parameters = { rope_type = "default", rope_theta = 40 } },
    { 500, "llama3", 8 })
  lu.assertEquals(attention_of { rope_scaling = {}, rope_parameters = { rope_theta = 40 } }, { 40, "none" })
  lu.assertEquals(attention_of { rope_scaling = { rope_type = "default", rope_theta = 41 }, rope_parameters = llama3 },
    { 41, "none" })
  local open = { rope_type = "llama3", factor = 8, low_freq_factor = 1, high_freq_factor = 4 }
  lu.assertEquals(sonde.load(foreign("f32", { rope_scaling = open })).layers[1].attention.options.rope_original_context,
    32)
end

function TestKeys:test_other_rotary_schemes_are_refused_by_name()
  for _, case in ipairs {
    { { rope_type = "proportional", factor = 4 }, "'proportional' is not supported; known: default, linear, dynamic, "
      .. "llama3, yarn, longrope" },
    { { type = "longrope" }, "'rope_parameters.short_factor' must be a list of numbers" },
    { { type = "longrope", short_factor = { 1, 1 }, long_factor = { 1, "2" } },
      "'rope_parameters.long_factor' must be a number, not 2" },
    { { type = "longrope", short_factor = { 1, 1 }, long_factor = { 1, 2, 3 } }, "needs 2 rope_long_factors over 0" },
    { { rope_type = "yarn", factor = 4, beta_fast = 1, beta_slow = 2 }, "rope_beta_fast 1 must be at least" },
    { { full_attention = { rope_theta = 1 } }, "differs by kind of layer ('full_attention')" },
    { { rope_type = "linear" }, "'linear' of 'rope_parameters' has no 'factor'" },
    { { rope_type = "linear", factor = "8" }, "'rope_parameters.factor' must be a number, not 8" },
    { { rope_type = "linear", factor = 0.5 }, "rope_factor" },
    { { rope_type = "default", partial_rotary_factor = 0.5 },
      "'rope_parameters.partial_rotary_factor' is not supported" },
    { { rope_type = "default", spin = 2 }, "'rope_parameters' has the key 'spin', which is not known" },
    { { rope_type = "llama3", factor = 8, low_freq_factor = 4, high_freq_factor = 4 },
      "must be over rope_low_freq_factor" },
  } do
    lu.assertErrorMsgContains(case[2], sonde.load, foreign("f32", { rope_parameters = case[1] }))
  end
  lu.assertErrorMsgContains("'rope_theta' must be over 0, not 0", sonde.load, foreign("f32", { rope_theta = 0 }))
  lu.assertErrorMsgContains("'rope_parameters.rope_theta' must be over 0, not -1", sonde.load,
    foreign("f32", { rope_parameters = { rope_theta = -1 } }))
end

-- Both spellings give the same model, which saved and opened again is the same: folded, pruned, by the keys alone.
function TestKeys:test_scaled_positions_survive()
  local model = sonde.load(foreign("f32", { rope_scaling = llama3 }))
  local loss, to = losses(model), fresh "saved"
  lu.assertNotEquals(loss, losses(sonde.load(foreign "f32")))
  lu.assertEquals(losses(sonde.load(foreign("f32", { rope_parameters = llama3 }))), loss)
  model:save(to)
  lu.assertEquals(losses(sonde.load(to)), loss)
  lu.assertEquals(core.json_load(to .. "/config.json").rope_scaling, llama3)
  model:fold():save(to .. "-folded")
  lu.assertAlmostEquals(losses(sonde.load(to .. "-folded")), loss, 1e-4)
  -- A model made here says it in words that others know.
  small({ attention = { "causal", rope_scaling = "llama3", rope_factor = 4, rope_original_context = 32 } }):save(to
    .. "-own")
  local tree = core.json_load(to .. "-own/config.json")
  lu.assertEquals({ tree.rope_scaling.rope_type, tree.rope_scaling.factor,
    tree.rope_scaling.original_max_position_embeddings },
    { "llama3", 4, 32 })
  lu.assertEquals(tree.rope_theta, 10000)
  local own = losses(sonde.load(to .. "-own"))
  tree.sonde = nil
  core.json_save(to .. "-own/config.json", tree)
  lu.assertEquals(losses(sonde.load(to .. "-own")), own)
end

-- ---- weights under other names --------------------------------------------------------------------------------

TestNames = {}

-- The folder with its tensors renamed or dropped by a function of the name, and keys changed.
local function renamed(changes, rename, extra)
  local dir = foreign("f32", changes)
  local model, names, tensors = sonde.load(foreign "f32"), {}, {}
  for _, param in ipairs(model:params():list()) do
    local name = rename(param.name)
    if name then names[#names + 1], tensors[#tensors + 1] = name, model:params():find(param.name) end
  end
  for name, like in pairs(extra or {}) do
    names[#names + 1], tensors[#tensors + 1] = name, model:params():find(like)
  end
  core.weights_save(dir .. "/model.safetensors", names, tensors)
  return dir
end

function TestNames:test_tied_weights_stand_under_either_name()
  local tied = { tie_word_embeddings = true }
  local embedding, head = "model.embed_tokens.weight", "lm_head.weight"
  local function without(name) return function(given) return given ~= name and given or nil end end
  local under_one = losses(sonde.load(renamed(tied, without(head))))
  lu.assertEquals(losses(sonde.load(renamed(tied, without(head), { [head] = embedding }))), under_one)
  local other = renamed(tied, function(name)
    if name == head then return nil end
    return name == embedding and head or name
  end)
  lu.assertEquals(losses(sonde.load(other)), under_one)
  lu.assertEquals(losses(sonde.load(renamed(tied, function(name)
    return name ~= embedding and name ~= head and (name:gsub("^model%.", "")) or nil
  end, { [head] = embedding }))), under_one)
  lu.assertErrorMsgContains("'lm_head.weight' and 'embed_tokens.weight' differ", sonde.load,
    renamed(tied, function(name) return (name:gsub("^model%.", "")) end))
  sonde.load(other):save(other .. "-saved")
  lu.assertEquals(losses(sonde.load(other .. "-saved")), under_one)
  lu.assertErrorMsgContains("'lm_head.weight' and 'model.embed_tokens.weight' differ, but are one by the config",
    sonde.load,
    renamed(tied, function(name) return name end))
  lu.assertErrorMsgContains("the weights have no 'lm_head.weight'; are embedding and head tied", sonde.load,
    renamed({}, without(head)))
end

function TestNames:test_a_bare_model_and_tensors_without_effect()
  local whole = losses(sonde.load(foreign "f32"))
  lu.assertEquals(losses(sonde.load(renamed({}, function(name) return (name:gsub("^model%.", "")) end))), whole)
  lu.assertEquals(losses(sonde.load(renamed({}, function(name) return name end,
    { ["model.layers.0.self_attn.rotary_emb.inv_freq"] = "model.norm.weight" }))), whole)
  lu.assertErrorMsgContains("the weights have 'model.layers.0.extra.weight', which", sonde.load,
    renamed({}, function(name) return name end, { ["model.layers.0.extra.weight"] = "model.norm.weight" }))
end

-- More shards than the reader has room for at first, each tensor in its own.
function TestNames:test_a_shard_for_each_tensor()
  local dir, map = foreign("bf16", {}, true), {}
  local model = sonde.load(dir)
  local whole, list = losses(model), model:params():list()
  os.remove(dir .. "/model.safetensors")
  for i, param in ipairs(list) do
    map[param.name] = string.format("model-%05d-of-%05d.safetensors", i, #list)
    core.weights_save(dir .. "/" .. map[param.name], { param.name }, { model:params():find(param.name) }, { "bf16" })
  end
  lu.assertTrue(#list > 20)
  core.json_save(dir .. "/model.safetensors.index.json", { metadata = { total_size = 1 }, weight_map = map })
  lu.assertEquals(losses(sonde.load(dir)), whole)
  sonde.load(dir):save(dir)
  for _, file in pairs(map) do lu.assertFalse(core.exists(dir .. "/" .. file)) end
  lu.assertEquals(losses(sonde.load(dir)), whole)
end

-- ---- what is no model folder ----------------------------------------------------------------------------------

TestHints = {}

function TestHints:test_what_was_probably_meant_is_named()
  local run = scratch .. "/runs/small/0"
  core.mkdirs(run)
  core.json_save(run .. "/run.json", {})
  lu.assertErrorMsgContains("/0: contains no config.json, so it is no model folder; it is a run that has saved none "
    .. "yet", sonde.load, run)
  small():save(run .. "/model")
  for _, slash in ipairs { "", "/" } do
    lu.assertErrorMsgContains("/0: contains no config.json, so it is no model folder; there is one in " .. run
      .. "/model",
      sonde.load, run .. slash)
  end
  lu.assertErrorMsgContains("there is one in " .. run .. "/model", sonde.load, scratch .. "/runs/small")
  lu.assertErrorMsgContains("is a file; a model is a folder; that of this file is " .. run .. "/model", sonde.load,
    run .. "/model/model.safetensors")
  lu.assertErrorMsgContains("there is no such folder; did you mean '" .. run .. "/model'?", sonde.load,
    run .. "/modell")
  lu.assertErrorMsgContains("an empty name", sonde.load, "")
  lu.assertErrorMsgContains("argument 'dir' must be a string, not nil", sonde.load)
end

local status = lu.LuaUnit.run("-o", "tap")
core.remove_tree(scratch)
os.exit(status, true)
