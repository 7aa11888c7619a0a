--- gpt_neox - GPT-NeoX and Pythia: both branches side by side behind a LayerNorm each, rotary positions for a part of
-- each head, a plain feed-forward layer, biases.
--
-- Queries, keys and values are one tensor, whose rows go head by head.

local activation = require "sonde.io.arch.parts.activation"
local by_keys = require "sonde.io.arch.parts.by_keys"
local keys = require "sonde.io.arch.parts.keys"
local rope = require "sonde.io.arch.parts.rope"
local tensors = require "sonde.io.arch.parts.tensors"

-- Keys with their values when absent (GPTNeoXConfig's), and the option each stands for.
local sizes = {
  vocab_size = { "vocab", 50432 }, hidden_size = { "width", 6144 }, num_hidden_layers = { "depth", 44 },
  num_attention_heads = { "heads", 64 }, intermediate_size = { "ffn_hidden", 24576 },
  max_position_embeddings = { "context", 2048 },
}

local reads = {
  hidden_act = true, layer_norm_eps = true, tie_word_embeddings = true, attention_bias = true,
  use_parallel_residual = true, rotary_pct = true, rotary_emb_base = true, rope_scaling = true, rope_parameters = true,
}
for name in pairs(sizes) do reads[name] = true end

-- Of the rotary positions: the share of a head, and what the keys outside the dictionaries are called.
local rules = { partial = 0.25, names = { rope_theta = "rotary_emb_base", partial_rotary_factor = "rotary_pct" } }

local function options(tree, refuse)
  keys.check_foreign(tree, reads, refuse)
  local read = {
    tie = keys.get(tree, "tie_word_embeddings", "boolean", false, refuse),
    norm = { name = "layernorm", eps = keys.get(tree, "layer_norm_eps", "number", 1e-5, refuse) },
    placement = "pre_ln",
    ffn = { name = "mlp", bias = true, activation = activation.read(tree, "hidden_act", "gelu", refuse) },
  }
  if keys.get(tree, "use_parallel_residual", "boolean", true, refuse) then
    read.placement = { name = "parallel", shared = false }
  end
  for name, entry in pairs(sizes) do read[entry[1]] = keys.count(tree, name, entry[2], refuse) end
  local bias = keys.get(tree, "attention_bias", "boolean", true, refuse)
  -- A rope_theta beside the dictionaries is not read.
  local attention, note = rope.read({
    rope_theta = tree.rotary_emb_base, partial_rotary_factor = tree.rotary_pct,
    rope_scaling = tree.rope_scaling, rope_parameters = tree.rope_parameters,
  }, read.context, refuse, rules)
  attention.name, attention.bias = "causal", bias and "all" or "none"
  read.attention = attention
  return read, note
end

local function keys_of(model)
  local c, first = model.config, model.layers[1]
  local turned = rope.write(first.attention.options, c.context, rules)
  return {
    vocab_size = c.vocab, hidden_size = c.width, num_hidden_layers = c.depth, num_attention_heads = c.heads,
    intermediate_size = by_keys.hidden(model), max_position_embeddings = c.context, tie_word_embeddings = c.tie,
    layer_norm_eps = model.final.options.eps, hidden_act = activation.write(first.ffn.options.activation),
    attention_bias = first.attention.options.bias ~= "none", use_parallel_residual = first.placement.name == "parallel",
    rotary_emb_base = turned.rope_theta, rotary_pct = turned.partial_rotary_factor,
    rope_scaling = turned.rope_scaling,
  }
end

local function rules_of(model)
  return {
    outside = {
      ["model.embed_tokens"] = "gpt_neox.embed_in", ["model.norm"] = "gpt_neox.final_layer_norm",
      lm_head = "embed_out",
    },
    block = "gpt_neox.layers.%d.",
    inside = {
      input_layernorm = "input_layernorm", post_attention_layernorm = "post_attention_layernorm",
      ["self_attn.o_proj"] = "attention.dense", ["mlp.up_proj"] = "mlp.dense_h_to_4h",
      ["mlp.down_proj"] = "mlp.dense_4h_to_h",
    },
    joined = {
      { tensor = "attention.query_key_value", heads = model.config.heads,
        params = { "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj" } },
    },
  }
end

by_keys.register("gpt_neox", {
  class = "GPTNeoXForCausalLM", doc = "GPT-NeoX, Pythia", reads = reads, keys_of = keys_of, options = options,
  head = "embed_out.weight", embedding = "gpt_neox.embed_in.weight", prefix = "gpt_neox.",
  tied_by = "tie_word_embeddings",
  passes_over = { ".attention.bias", ".attention.masked_bias", "rotary_emb.inv_freq" },
  tensors = function(model, params) return tensors.entries(rules_of(model), params) end,
})
