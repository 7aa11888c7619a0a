--- config.lua - what a config.json says of a model, and what a model says in one.
--
-- Hugging Face's keys are what other programs read and change, so in a Llama's folder they count, and the section "sonde"
-- only adds what they have no word for (initialisation, dropout, seed). A key that changes what a model computes is
-- understood or refused by its name; all others are kept for the folders that are made of this one.

local core = require "sonde.core"
local rope = require "sonde.io.rope"

local config = {}

-- ---- what a model is -----------------------------------------------------------------------------------------

--- Why a model is no Llama; nil if it is one.
---@param model sonde.model
---@return string|nil
function config.not_llama(model)
  local eps = model.final.options.eps
  if model.config.embed_scale ~= "none" then return "the embedding is scaled" end
  if model.final.name ~= "rmsnorm" then return "its final norm is '" .. model.final.name .. "'" end
  for index, layer in ipairs(model.layers) do
    local at = " in block " .. (index - 1)
    if layer.share then return "the weights are those of block " .. layer.share .. at end
    if layer.placement.name ~= "pre_ln" then return "the placement is '" .. layer.placement.name .. "'" .. at end
    if layer.norm.name ~= "rmsnorm" then return "the norm is '" .. layer.norm.name .. "'" .. at end
    if layer.norm.options.folded then return "the norms' gains are folded" .. at end
    if layer.norm.options.eps ~= eps then return "the norms' eps differs" .. at end
    if layer.attention.name ~= "causal" then return "the attention is '" .. layer.attention.name .. "'" .. at end
    if layer.attention.options.window ~= 0 then return "the attention has a window" .. at end
    if layer.attention.options.qk_norm then return "queries and keys are normalised" .. at end
    if layer.attention.options.rope_theta == 0 then return "the attention has no positions" .. at end
    if layer.ffn.name ~= "swiglu" then return "the feed-forward layer is '" .. layer.ffn.name .. "'" .. at end
    for name, value in pairs(layer.attention.options) do
      if value ~= model.layers[1].attention.options[name] then return "the attention's " .. name .. " differs" .. at end
    end
    if layer.ffn.options.hidden ~= model.layers[1].ffn.options.hidden then return "the inner width differs" .. at end
  end
end

--- The options of the model as plain values, with every module's options in place.
---@param model sonde.model
---@return table
function config.plain(model)
  local options = {}
  for key, value in pairs(model.config) do options[key] = value end
  local function flat(module)
    local t = { name = module.name }
    for key, value in pairs(module.options) do t[key] = value end
    return t
  end
  local first = model.layers[1]
  options.norm, options.attention, options.ffn = flat(first.norm), flat(first.attention), flat(first.ffn)
  options.placement, options.final_norm, options.layers = flat(first.placement), flat(model.final), {}
  for index, layer in ipairs(model.layers) do
    local own = {}
    if layer.layer ~= index then own.layer = layer.layer end
    if layer.depth ~= model.config.depth then own.depth = layer.depth end
    own.share = layer.share
    for _, kind in ipairs { "norm", "attention", "ffn", "placement" } do
      local this = flat(layer[kind])
      if core.json_encode(this) ~= core.json_encode(flat(first[kind])) then own[kind] = this end
    end
    if next(own) then options.layers[tostring(index - 1)] = own end
  end
  -- Those that stand in the modules' own options now.
  options.rope_theta, options.norm_eps, options.ffn_hidden = nil, nil, nil
  return options
end

-- ---- the keys of a Llama -------------------------------------------------------------------------------------

-- Keys of a Llama's config.json with a value when absent (LlamaConfig's), and the option each stands for.
local sizes = {
  vocab_size = { "vocab", 32000 }, hidden_size = { "width", 4096 }, num_hidden_layers = { "depth", 32 },
  num_attention_heads = { "heads", 32 }, num_key_value_heads = { "kv_heads" }, head_dim = { "head_dim" },
  intermediate_size = { "ffn_hidden", 11008 }, max_position_embeddings = { "context", 2048 },
}

-- Other keys that change what some class of models computes, and the value with which they change nothing. A Llama has
-- none of them in transformers, other programs obey some, and copied ones are meant: so any other value is refused.
local none = {}
local foreign = {
  attention_bias = false, mlp_bias = false, use_qkv_bias = false, enable_bias = false, sliding_window = none,
  use_sliding_window = false, attention_chunk_size = none, no_rope_layers = none, partial_rotary_factor = 1, rotary_pct = 1,
  rotary_emb_base = none, rope_interleaved = false, attn_logit_softcapping = none, final_logit_softcapping = none,
  query_pre_attn_scalar = none, attention_multiplier = none, embedding_multiplier = 1, residual_multiplier = 1,
  logits_scaling = 1, logit_scale = 1, scale_emb = 1, scale_depth = none, dim_model_base = none, clip_qkv = none,
  qk_layernorm = false, use_qk_norm = false, qk_norm = false, use_parallel_residual = false, parallel_attn = false,
  alibi = false, hidden_activation = none, activation_function = none, layer_norm_eps = none, layer_norm_epsilon = none,
  num_local_experts = none, num_experts = none, n_routed_experts = none, num_experts_per_tok = none, q_lora_rank = none,
  kv_lora_rank = none, quantization_config = none, compression_config = none, auto_map = none, per_layer_config = none,
  block_configs = none, pruned_heads = none, is_encoder_decoder = false, add_cross_attention = false, text_config = none,
  vision_config = none,
}

local function without_effect(name, value)
  if value == nil or value == core.null then return true end
  if type(value) == "table" and next(value) == nil then return true end
  return foreign[name] ~= none and value == foreign[name]
end

-- What the layers are, where a list says it of each.
local function check_layer_types(list, refuse)
  if list == nil then return end
  for _, kind in ipairs(type(list) == "table" and list or { list }) do
    if kind ~= "full_attention" then refuse("the layer type '" .. tostring(kind) .. "' is not supported") end
  end
end

local function shown(value)
  return type(value) == "table" and "a list or an object" or tostring(value)
end

-- A key of the type it must have.
local function key_of(tree, name, kind, preset, refuse)
  local value = tree[name]
  if value == nil then value = preset end
  if value == nil then refuse("there is no '" .. name .. "'") end
  if type(value) ~= kind then refuse("'" .. name .. "' must be a " .. kind .. ", not " .. shown(value)) end
  return value
end

local function count_of(tree, name, preset, refuse)
  if tree[name] == nil and preset == nil then return nil end
  local value = key_of(tree, name, "number", preset, refuse)
  if value ~= math.floor(value) or value < 1 or value > 2147483647 then
    refuse("'" .. name .. "' must be a whole number from 1 to 2147483647, not " .. string.format("%.14g", value))
  end
  return math.floor(value)
end

-- Refuses keys that change the arithmetic of models that Sonde's Llama is not.
local function check_foreign(tree, refuse)
  for name in pairs(foreign) do
    if not without_effect(name, tree[name]) then
      if name == "attention_bias" or name == "mlp_bias" then
        refuse("'" .. name .. "' is not supported: layers have no biases")
      end
      refuse(string.format("'%s' (%s) changes what the model computes and is not supported", name, shown(tree[name])))
    end
  end
  check_layer_types(tree.layer_types, refuse)
end

--- The options of a Llama by Hugging Face's keys alone; everything that this cannot be is refused by name.
---@param tree table                    config.json, without nulls
---@param refuse fun(text: string)      raises
---@return table options, string|nil note
function config.from_llama(tree, refuse)
  check_foreign(tree, refuse)
  local act = key_of(tree, "hidden_act", "string", "silu", refuse)
  if act ~= "silu" and act ~= "swish" then refuse("hidden_act '" .. act .. "' is not supported; known: silu") end
  local options = {
    norm_eps = key_of(tree, "rms_norm_eps", "number", 1e-6, refuse),
    tie = key_of(tree, "tie_word_embeddings", "boolean", false, refuse),
    norm = "rmsnorm", placement = "pre_ln", ffn = "swiglu",
  }
  for name, entry in pairs(sizes) do options[entry[1]] = count_of(tree, name, entry[2], refuse) end
  local turned, note = rope.read(tree, options.context, refuse)
  turned.name = "causal"
  options.attention = turned
  return options, note
end

-- What Hugging Face's keys say of a model, as far as it has what they speak of.
local function said(model)
  local c, first = model.config, model.layers[1]
  local hidden = model:params():find("model.layers.0.mlp.gate_proj.weight")
  local keys = {
    vocab_size = c.vocab, hidden_size = c.width, num_hidden_layers = c.depth, num_attention_heads = c.heads,
    num_key_value_heads = c.kv_heads, head_dim = c.head_dim, intermediate_size = hidden and hidden:dims()[1],
    rms_norm_eps = model.final.options.eps, max_position_embeddings = c.context, tie_word_embeddings = c.tie,
    hidden_act = first.ffn.name == "swiglu" and "silu" or nil,
  }
  if first.attention.name == "causal" then
    for key, value in pairs(rope.write(first.attention.options)) do keys[key] = value end
  end
  return keys
end

-- The first of Hugging Face's keys that a folder of Sonde's own kind has and the model does not bear out.
local function contradiction(tree, model, refuse)
  local truth = said(model)
  for name, value in pairs(tree) do
    local is_said = sizes[name] or rope.keys[name] or name == "rms_norm_eps" or name == "tie_word_embeddings"
      or name == "hidden_act"
    local agrees = value == truth[name]
    if type(value) == "table" then agrees = core.json_encode(value) == core.json_encode(truth[name] or {}) end
    if is_said and not agrees then
      refuse(string.format("'%s' is %s, but the section 'sonde' describes %s; make the two agree, or take the key out",
        name, shown(value), truth[name] == nil and "no such thing" or shown(truth[name])))
    end
  end
  check_foreign(tree, refuse)
end

-- ---- reading -------------------------------------------------------------------------------------------------

-- What Hugging Face's keys have no word for, and what a change of them leaves true.
local own_keys = { "init", "init_std", "dropout", "seed" }

-- In what two models differ, as Hugging Face's keys: "rope_theta is 10, not 10000".
local function changes(now, before)
  local list, a, b = {}, said(now), said(before)
  for name, value in pairs(a) do
    if not rope.keys[name] and value ~= b[name] then
      list[#list + 1] = string.format("%s is %s, not %s", name, shown(value), shown(b[name]))
    end
  end
  table.sort(list)
  if not rope.same(now.layers[1].attention.options, before.layers[1].attention.options) then
    list[#list + 1] = string.format("the rotary positions are %s, not %s", rope.text(now.layers[1].attention.options),
      rope.text(before.layers[1].attention.options))
  end
  return list
end

--- In what the computation of two models differs beside the shapes of weights: "placement lns, not pre_ln".
---@param model sonde.model
---@param other sonde.model
---@return string[]
function config.differences(model, other)
  local list = {}
  local function compare(name, a, b)
    if type(a) == "table" and type(b) == "table" and a.name == b.name and name ~= "layers" then
      for key, value in pairs(a) do compare(name .. "." .. key, value, b[key]) end
    elseif core.json_encode { a } ~= core.json_encode { b } then
      local function text(value) return type(value) == "table" and (value.name or "others") or tostring(value) end
      list[#list + 1] = string.format("%s %s, not %s", name, text(a), text(b))
    end
  end
  local a, b = config.plain(model), config.plain(other)
  for _, key in ipairs { "norm", "final_norm", "placement", "attention", "ffn", "embed_scale", "tie", "layers" } do
    compare(key, a[key], b[key])
  end
  table.sort(list)
  return list
end

-- Options for a Llama's folder that Sonde made: those of the section where Hugging Face's keys agree with it.
local function merged(theirs, own, path, make)
  local mine = make(own)
  local reason = config.not_llama(mine)
  if reason then
    error(core.where() .. path .. ": model_type is 'llama', but in the section 'sonde' " .. reason
      .. "; take the section out to open it as the Llama that the other keys describe", 0)
  end
  local list = changes(make(theirs), mine)
  if #list == 0 then return own end
  for _, key in ipairs(own_keys) do theirs[key] = own[key] end
  return theirs, "changed since Sonde wrote the section 'sonde', which does not count there: " .. table.concat(list, ", ")
end

--- The options of the model that a config.json describes.
---@param tree table                          config.json, without nulls
---@param path string                         for messages
---@param make fun(options: table): sonde.model
---@return table options, string|nil note
function config.options(tree, path, make)
  local function refuse(text) error(core.where() .. path .. ": " .. text, 0) end
  local own = type(tree.sonde) == "table" and tree.sonde.model
  if type(own) ~= "table" then own = nil end
  if own and type(own.placement) == "table" and own.placement.name == "custom" then
    refuse("the placement was a function without a name; register it with sonde.placement to open such models")
  end
  local kind = key_of(tree, "model_type", "string", own and "sonde", refuse)
  if kind == "sonde" and own then
    contradiction(tree, make(own), refuse)
    return own
  end
  if kind ~= "llama" then refuse("model_type '" .. kind .. "' is not supported; known: llama") end
  local theirs, note = config.from_llama(tree, refuse)
  if not own then return theirs, note end
  local options, changed = merged(theirs, own, path, make)
  return options, note or changed
end

-- ---- writing -------------------------------------------------------------------------------------------------

--- The keys of a model's config.json that follow from the model: those of a Llama, or few for what is none.
---@param model sonde.model
---@param before table      keys of the folder that it came from, nulls as core.null: what is not said anew stays
---@return table
function config.write(model, before)
  local reason, keys = config.not_llama(model), {}
  for name, value in pairs(before) do
    local ours = sizes[name] or foreign[name] ~= nil or rope.keys[name] or name == "rms_norm_eps" or name == "hidden_act"
      or name == "tie_word_embeddings" or name == "layer_types"
    if name ~= "sonde" and not (reason and ours) then keys[name] = value end
  end
  keys.sonde = { version = core.version, model = config.plain(model) }
  keys.architectures, keys.model_type = { reason and "SondeForCausalLM" or "LlamaForCausalLM" }, reason and "sonde" or "llama"
  keys.vocab_size = model.config.vocab
  if type(keys.layer_types) == "table" and #keys.layer_types ~= model.config.depth then keys.layer_types = nil end
  if reason then return keys end
  for name, value in pairs(said(model)) do
    if not rope.keys[name] then keys[name] = value end
  end
  local turned = model.layers[1].attention.options
  if not rope.says(before, model.config.context, turned) then
    for name in pairs(rope.keys) do keys[name] = nil end
    for name, value in pairs(rope.write(turned)) do keys[name] = value end
  end
  for name, value in pairs { attention_bias = false, mlp_bias = false, attention_dropout = 0,
    initializer_range = model.config.init_std } do
    if keys[name] == nil then keys[name] = value end
  end
  return keys
end

return config
