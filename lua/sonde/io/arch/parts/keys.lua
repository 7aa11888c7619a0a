--- keys.lua - keys of a config.json, checked as they are read; and those that change what some class of models
--- computes.

local core = require "sonde.core"
local remote = require "sonde.io.arch.parts.remote"

local keys = { BLOCKS = 10000 }      -- as many as a model can have: lists by block are made before it is

local list_mark = getmetatable(core.list())

--- A value as a message shows it.
---@param value any
---@return string
function keys.shown(value)
  return type(value) == "table" and "a list or an object" or tostring(value)
end

--- A config.json without its nulls, also in what is inside, and the keys of its own that are null.
---@param tree table            nulls as core.null
---@return table plain, table<string, boolean> nulls
function keys.without_nulls(tree)
  local plain, nulls = getmetatable(tree) == list_mark and core.list() or {}, {}
  for key, value in pairs(tree) do
    if value == core.null then
      nulls[key] = true
    elseif type(value) == "table" then
      plain[key] = (keys.without_nulls(value))
    else
      plain[key] = value
    end
  end
  return plain, nulls
end

--- A key of the type that it must have.
---@param tree table
---@param name string
---@param kind string                   type of the value
---@param preset any                    value where the key is absent; nil: it must be there
---@param refuse fun(text: string)      raises
---@return any
function keys.get(tree, name, kind, preset, refuse)
  local value = tree[name]
  if value == nil then value = preset end
  if value == nil then refuse("there is no '" .. name .. "'") end
  if type(value) ~= kind then refuse("'" .. name .. "' must be a " .. kind .. ", not " .. keys.shown(value)) end
  return value
end

--- A key that holds a whole number from 1.
---@param tree table
---@param name string
---@param preset integer|nil            value where the key is absent; nil: none
---@param refuse fun(text: string)
---@return integer|nil
function keys.count(tree, name, preset, refuse)
  if tree[name] == nil and preset == nil then return nil end
  local value = keys.get(tree, name, "number", preset, refuse)
  if value ~= math.floor(value) or value < 1 or value > 2147483647 then
    refuse("'" .. name .. "' must be a whole number from 1 to 2147483647, not " .. string.format("%.14g", value))
  end
  return math.floor(value)
end

-- Keys that change what some class of models computes, and the value with which they change nothing. A class that lacks
-- them passes over them in transformers, other programs obey some, and copied ones are meant: any other value is
-- refused.
local none = {}
local foreign = {
  attention_bias = false, mlp_bias = false, use_qkv_bias = false, qkv_bias = true, enable_bias = false,
  sliding_window = none,
  use_sliding_window = false, attention_chunk_size = none, no_rope_layers = none,
  no_rope_layer_interval = none, partial_rotary_factor = 1,
  rotary_pct = 1,
  rotary_emb_base = none, rope_interleaved = false, attn_logit_softcapping = none, final_logit_softcapping = none,
  query_pre_attn_scalar = none, attention_multiplier = none, embedding_multiplier = 1, residual_multiplier = 1,
  logits_scaling = 1, logit_scale = 1, scale_emb = 1, scale_depth = none, dim_model_base = none, clip_qkv = none,
  qk_layernorm = false, use_qk_norm = false, qk_norm = false, use_parallel_residual = false, parallel_attn = false,
  alibi = false, hidden_activation = none, activation_function = none, layer_norm_eps = none, layer_norm_epsilon = none,
  num_local_experts = none, num_experts = none, n_routed_experts = none, num_experts_per_tok = none, q_lora_rank = none,
  kv_lora_rank = none, quantization_config = none, compression_config = none, auto_map = none, per_layer_config = none,
  block_configs = none, pruned_heads = none, is_encoder_decoder = false, add_cross_attention = false,
  text_config = none,
  vision_config = none, use_bidirectional_attention = false,
  scale_attn_weights = true, scale_attn_by_inverse_layer_idx = false,
  do_layer_norm_before = true, layer_norm_elementwise_affine = true, _remove_final_layer_norm = false,
  word_embed_proj_dim = none,
}

--- quant_method of the key quantization_config, where matrices are stored as a bitmask and values (doc/folders.md).
keys.SPARSE = "sonde_sparse"

local function without_effect(name, value)
  if value == nil or value == core.null then return true end
  if name == "quantization_config" and type(value) == "table" and value.quant_method == keys.SPARSE then
    return value.format == "bitmask"
  end
  if name == "auto_map" and remote.is_ours(value) then return true end
  if type(value) == "table" and next(value) == nil then return true end
  return foreign[name] ~= none and value == foreign[name]
end

--- Whether a key changes what some class of models computes.
---@param name string
---@return boolean
function keys.is_foreign(name)
  return foreign[name] ~= nil or name == "layer_types"
end

-- Keys that are known to change nothing of what a model computes: how it was trained or is run, what programs print of
-- it, and how texts are generated. Patterns of names.
local harmless = {
  "^model_type$", "^architectures$", "^transformers_version$", "^torch_dtype$", "^dtype$", "^sonde$", "^_",
  "_token_ids?$", "^initializer_range$", "^initializer_factor$", "^init_", "dropout", "pdrop", "^layerdrop$",
  "^use_cache$", "^pretraining_tp$", "^output_", "^return_dict", "^router_.*_coef$", "^summary_", "^keys_to_ignore",
  "^tokenizer_class$", "^reorder_and_upcast_attn$", "^id2label$", "^label2id$", "^num_labels$", "^problem_type$",
  "^task_specific_params$", "^finetuning_task$", "^torchscript$", "^use_bfloat16$", "^gradient_checkpointing$",
  "^name_or_path$", "^prefix$", "^serialize_explicit_per_layer_config$", "^allow_global_per_layer_attribute_access$",
  "^temperature$", "^top_[kp]$", "^typical_p$", "^do_sample$", "^num_beams$", "^num_return_sequences$", "penalty$",
  "^max_length$", "^min_length$", "^max_new_tokens$", "^early_stopping$", "^bad_words_ids$", "^no_repeat_ngram_size$",
}

--- The keys of a config.json that nobody here knows. transformers passes over such keys.
---@param tree table
---@param owns fun(name: string): boolean    those that the architecture knows
---@return string[]
function keys.unknown(tree, owns)
  local list = {}
  for name in pairs(tree) do
    local known = owns(name) or keys.is_foreign(name)
    for _, pattern in ipairs(harmless) do known = known or string.find(name, pattern) ~= nil end
    if not known then list[#list + 1] = name end
  end
  table.sort(list)
  return list
end

-- What the layers are, where a list says it of each.
local function check_layer_types(list, refuse)
  if list == nil then return end
  for _, kind in ipairs(type(list) == "table" and list or { list }) do
    if kind ~= "full_attention" then refuse("the layer type '" .. tostring(kind) .. "' is not supported") end
  end
end

--- Refuses keys that change the arithmetic of models, but for those that an architecture knows.
---@param tree table
---@param known table<string, any>      keys that the architecture reads
---@param refuse fun(text: string)
function keys.check_foreign(tree, known, refuse)
  for name in pairs(foreign) do
    local stock = name == "auto_map" and remote.is_stock(tree)
    if known[name] == nil and not without_effect(name, tree[name]) and not stock then
      refuse(string.format("'%s' (%s) changes what the model computes and is not supported", name,
        keys.shown(tree[name])))
    end
  end
  if known.layer_types == nil then check_layer_types(tree.layer_types, refuse) end
end

return keys
