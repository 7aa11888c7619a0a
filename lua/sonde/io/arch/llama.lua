--- llama - Llama and what is built like it: a norm before each branch, rotary positions, a gated feed-forward layer.
--
-- Its tensors are called as Sonde's parameters are. Models that were trained with the norms in other places, by code
-- that changed Llama's, have its config.json and no word of that; the norms that a Llama has not are named there as
-- after its own.

local core = require "sonde.core"
local names = require "sonde.model.names"
local arch = require "sonde.io.arch"
local keys = require "sonde.io.arch.parts.keys"
local rope = require "sonde.io.arch.parts.rope"

local llama = {
  class = "LlamaForCausalLM", doc = "Llama and what is built like it",
  head = "lm_head.weight", embedding = "model.embed_tokens.weight", prefix = "model.", tied_by = "tie_word_embeddings",
  passes_over = { "rotary_emb.inv_freq" },
}

-- Keys of a Llama's config.json with a value when absent (LlamaConfig's), and the option each stands for.
local sizes = {
  vocab_size = { "vocab", 32000 }, hidden_size = { "width", 4096 }, num_hidden_layers = { "depth", 32 },
  num_attention_heads = { "heads", 32 }, num_key_value_heads = { "kv_heads" }, head_dim = { "head_dim" },
  intermediate_size = { "ffn_hidden", 11008 }, max_position_embeddings = { "context", 2048 },
}

-- Its other keys that are read.
local others = { rms_norm_eps = true, tie_word_embeddings = true, hidden_act = true }

-- Whether the meaning of a key is known here.
local function is_said(name)
  return sizes[name] ~= nil or rope.keys[name] ~= nil or others[name] ~= nil
end

--- Whether a key of a config.json speaks of what this architecture computes.
---@param name string
---@return boolean
function llama.owns(name)
  return is_said(name) or keys.is_foreign(name)
end

--- Why a model is no Llama; nil if it is one.
---@param model sonde.model
---@return string|nil
function llama.why_not(model)
  local eps = model.final.options.eps
  if model.config.features then return "it reads features" end
  if model.objective.name ~= "language_model" then return "its objective is '" .. model.objective.name .. "'" end
  if model.config.embed_scale ~= "none" then return "the embedding is scaled" end
  if model.final.name ~= "rmsnorm" then return "its final norm is '" .. model.final.name .. "'" end
  for index, layer in ipairs(model.layers) do
    local at = " in block " .. (index - 1)
    if layer.share then return "the weights are those of block " .. layer.share .. at end
    if layer.without then
      return "there is no " .. (layer.without == "attn" and "attention" or "feed-forward layer") .. at
    end
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

--- The options of the model that the keys describe; everything that this cannot be is refused by name.
---@param tree table                    config.json, without nulls
---@param refuse fun(text: string)      raises
---@return table options, string|nil note
function llama.options(tree, refuse)
  keys.check_foreign(tree, sizes, refuse)
  local act = keys.get(tree, "hidden_act", "string", "silu", refuse)
  if act ~= "silu" and act ~= "swish" then refuse("hidden_act '" .. act .. "' is not supported; known: silu") end
  local options = {
    norm_eps = keys.get(tree, "rms_norm_eps", "number", 1e-6, refuse),
    tie = keys.get(tree, "tie_word_embeddings", "boolean", false, refuse),
    norm = "rmsnorm", placement = "pre_ln", ffn = "swiglu",
  }
  for name, entry in pairs(sizes) do options[entry[1]] = keys.count(tree, name, entry[2], refuse) end
  local turned, note = rope.read(tree, options.context, refuse)
  turned.name = "causal"
  options.attention = turned
  return options, note
end

-- What the keys say of a model, as far as it has what they speak of.
local function said_of(model)
  local c, first = model.config, model.layers[1]
  local hidden = model:params():find("model.layers.0.mlp.gate_proj.weight")
  local said = {
    vocab_size = c.vocab, hidden_size = c.width, num_hidden_layers = c.depth, num_attention_heads = c.heads,
    num_key_value_heads = c.kv_heads, head_dim = c.head_dim, intermediate_size = hidden and hidden:dims()[1],
    rms_norm_eps = model.final.options.eps, max_position_embeddings = c.context, tie_word_embeddings = c.tie,
    hidden_act = first.ffn.name == "swiglu" and "silu" or nil,
  }
  if first.attention.name == "causal" then
    for key, value in pairs(rope.write(first.attention.options)) do said[key] = value end
  end
  return said
end

--- In what two models differ, by key: "hidden_size is 10, not 8".
---@param now sonde.model
---@param before sonde.model
---@return string[]
function llama.changes(now, before)
  local list, a, b = {}, said_of(now), said_of(before)
  for name, value in pairs(a) do
    if not rope.keys[name] and value ~= b[name] then
      list[#list + 1] = string.format("%s is %s, not %s", name, keys.shown(value), keys.shown(b[name]))
    end
  end
  table.sort(list)
  if not rope.same(now.layers[1].attention.options, before.layers[1].attention.options) then
    list[#list + 1] = string.format("the rotary positions are %s, not %s", rope.text(now.layers[1].attention.options),
      rope.text(before.layers[1].attention.options))
  end
  return list
end

--- The first of the keys that a folder of Sonde's own kind has and the model does not bear out is refused.
---@param tree table
---@param model sonde.model
---@param refuse fun(text: string)
function llama.check(tree, model, refuse)
  local truth = said_of(model)
  for name, value in pairs(tree) do
    local agrees = value == truth[name]
    if type(value) == "table" then agrees = core.json_encode(value) == core.json_encode(truth[name] or {}) end
    if is_said(name) and not agrees then
      refuse(string.format("'%s' is %s, but the section 'sonde' describes %s; make the two agree, or take the key out",
        name, keys.shown(value), truth[name] == nil and "no such thing" or keys.shown(truth[name])))
    end
  end
  keys.check_foreign(tree, sizes, refuse)
end

-- Of a block with a norm behind its attention, as LayerNorm Scaling's, Mix-LN's and Peri-LN's code call its norms.
local beside = { attn_out = "post_attention_layernorm", ffn = "pre_feedforward_layernorm",
  ffn_out = "post_feedforward_layernorm" }

--- Which tensor is which parameter.
---@param _ sonde.model
---@param params table[]
---@return table[]
function llama.tensors(_, params)
  local there, entries = {}, {}
  for _, param in ipairs(params) do there[param.name] = true end
  for k, param in ipairs(params) do
    local block, rest = names.in_block(param.name)
    local tensor = param.name
    for slot, called in pairs(block and there[names.block(block) .. names.norms.attn_out .. ".weight"] and beside
      or {}) do
      if rest == names.norms[slot] .. ".weight" then tensor = names.block(block) .. called .. ".weight" end
    end
    entries[k] = { tensor = tensor, params = { param.name } }
  end
  return entries
end

--- Writes the keys of a model into those that are carried along.
---@param model sonde.model
---@param tree table       what is carried along; changed
---@param before table     the keys of the folder that the model came from
function llama.write(model, tree, before)
  if type(tree.layer_types) == "table" and #tree.layer_types ~= model.config.depth then tree.layer_types = nil end
  for name, value in pairs(said_of(model)) do
    if not rope.keys[name] then tree[name] = value end
  end
  local turned = model.layers[1].attention.options
  if not rope.says(before, model.config.context, turned) then
    for name in pairs(rope.keys) do tree[name] = nil end
    for name, value in pairs(rope.write(turned)) do tree[name] = value end
  end
  for name, value in pairs { attention_bias = false, mlp_bias = false, attention_dropout = 0,
    initializer_range = model.config.init_std } do
    if tree[name] == nil then tree[name] = value end
  end
end

arch.register("llama", llama)

return llama
