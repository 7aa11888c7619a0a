--- opt - OPT: learned positions behind two rows that are for padding, LayerNorms in front of the branches or (350m)
-- behind them, an embedding that may have a width of its own, a plain feed-forward layer.

local activation = require "sonde.io.arch.parts.activation"
local by_keys = require "sonde.io.arch.parts.by_keys"
local keys = require "sonde.io.arch.parts.keys"
local names = require "sonde.model.names"
local tensors = require "sonde.io.arch.parts.tensors"

local OFFSET, EPS = 2, 1e-5      -- no keys: the same in all of them

-- Keys with their values when absent (OPTConfig's), and the option each stands for.
local sizes = {
  vocab_size = { "vocab", 50272 }, hidden_size = { "width", 768 }, num_hidden_layers = { "depth", 12 },
  num_attention_heads = { "heads", 12 }, ffn_dim = { "ffn_hidden", 3072 },
  max_position_embeddings = { "context", 2048 },
}

-- The other keys, and their values when absent.
local others = {
  activation_function = "relu", do_layer_norm_before = true, enable_bias = true, layer_norm_elementwise_affine = true,
  _remove_final_layer_norm = false, tie_word_embeddings = true,
}

local reads = { word_embed_proj_dim = true }
for name in pairs(sizes) do reads[name] = true end
for name in pairs(others) do reads[name] = true end

local function options(tree, refuse)
  keys.check_foreign(tree, reads, refuse)
  local function flag(name) return keys.get(tree, name, "boolean", others[name], refuse) end
  local bias, before, affine = flag "enable_bias", flag "do_layer_norm_before", flag "layer_norm_elementwise_affine"
  local final = before and not flag "_remove_final_layer_norm"
  local norm = { name = "layernorm", eps = EPS, gain = affine, bias = affine }
  local read = {
    tie = flag "tie_word_embeddings", norm = norm, final_norm = not final and "none" or nil,
    placement = before and "pre_ln" or "post_ln", positions = "learned", position_offset = OFFSET,
    attention = { name = "causal", bias = bias and "all" or "none" },
    ffn = { name = "mlp", bias = bias,
      activation = activation.read(tree, "activation_function", others.activation_function, refuse) },
  }
  for name, entry in pairs(sizes) do read[entry[1]] = keys.count(tree, name, entry[2], refuse) end
  read.embed_width = keys.count(tree, "word_embed_proj_dim", read.width, refuse)
  return read
end

local function keys_of(model)
  local c, first = model.config, model.layers[1]
  local before = first.placement.name == "pre_ln"
  return {
    vocab_size = c.vocab, hidden_size = c.width, num_hidden_layers = c.depth, num_attention_heads = c.heads,
    ffn_dim = by_keys.hidden(model), max_position_embeddings = c.context,
    word_embed_proj_dim = c.embed_width or c.width, tie_word_embeddings = c.tie,
    activation_function = activation.write(first.ffn.options.activation),
    enable_bias = first.attention.options.bias ~= "none", do_layer_norm_before = before,
    layer_norm_elementwise_affine = first.norm.options.gain == true,
    _remove_final_layer_norm = before and model.final.name == "none",
  }
end

local inside = {
  ["self_attn.q_proj"] = "self_attn.q_proj", ["self_attn.k_proj"] = "self_attn.k_proj",
  ["self_attn.v_proj"] = "self_attn.v_proj", ["self_attn.o_proj"] = "self_attn.out_proj", ["mlp.up_proj"] = "fc1",
  ["mlp.down_proj"] = "fc2",
}
for slot, called in pairs { attn = "self_attn_layer_norm", ffn = "final_layer_norm" } do
  inside[names.norms[slot]], inside[names.norms[slot .. "_out"]] = called, called
end

local rules = {
  outside = {
    ["model.embed_tokens"] = "model.decoder.embed_tokens", ["model.embed_positions"] = "model.decoder.embed_positions",
    ["model.project_in"] = "model.decoder.project_in", ["model.project_out"] = "model.decoder.project_out",
    ["model.norm"] = "model.decoder.final_layer_norm",
  },
  block = "model.decoder.layers.%d.", inside = inside,
}

by_keys.register("opt", {
  class = "OPTForCausalLM", doc = "OPT", reads = reads, keys_of = keys_of, options = options, head = "lm_head.weight",
  embedding = "model.decoder.embed_tokens.weight", prefix = "model.", tied_by = "tie_word_embeddings",
  tensors = function(_, params) return tensors.entries(rules, params) end,
})
