--- smollm3 - SmolLM3: a Llama in which every fourth block has no positions.

local decoder = require "sonde.io.arch.parts.decoder"
local layers = require "sonde.io.arch.parts.layers"

return decoder.register("smollm3", {
  class = "SmolLM3ForCausalLM", doc = "SmolLM3",
  sizes = {
    vocab_size = 128256, hidden_size = 2048, intermediate_size = 11008, num_hidden_layers = 36,
    num_attention_heads = 16, num_key_value_heads = 4, max_position_embeddings = 32768,
  },
  eps = 1e-6, tie = true, rope = { theta = 2e6 }, attention_bias = true, mlp_bias = true, no_rope = true,
  window = layers.windows.smollm3,
})
