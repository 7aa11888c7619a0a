--- phi3 - Phi-3 and Phi-4: a Llama with its projections in one tensor, and longrope for long contexts.

local decoder = require "sonde.io.arch.parts.decoder"
local keys = require "sonde.io.arch.parts.keys"
local layers = require "sonde.io.arch.parts.layers"
local tensors = require "sonde.io.arch.parts.tensors"

local rules = {
  outside = {}, block = "model.layers.%d.", inside = {},
  joined = {
    { tensor = "self_attn.qkv_proj", params = { "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj" } },
    { tensor = "mlp.gate_up_proj", params = { "mlp.gate_proj", "mlp.up_proj" } },
  },
}

return decoder.register("phi3", {
  class = "Phi3ForCausalLM", doc = "Phi-3 and Phi-4",
  sizes = {
    vocab_size = 32064, hidden_size = 3072, intermediate_size = 8192, num_hidden_layers = 32, num_attention_heads = 32,
    num_key_value_heads = false, max_position_embeddings = 4096,
  },
  eps = 1e-5, window = layers.windows.phi3, rope_keys = { "partial_rotary_factor", "original_max_position_embeddings" },
  rope = function(tree, refuse)
    return {
      partial = 1, kinds = { default = "default", longrope = "longrope", su = "longrope", yarn = "longrope" },
      original = keys.count(tree, "original_max_position_embeddings", 4096, refuse),
    }
  end,
  tensors = function(_, params) return tensors.entries(rules, params) end,
})
