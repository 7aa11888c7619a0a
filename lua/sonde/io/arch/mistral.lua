--- mistral - Mistral: a Llama whose attention has a sliding window.

local decoder = require "sonde.io.arch.parts.decoder"
local layers = require "sonde.io.arch.parts.layers"

return decoder.register("mistral", {
  class = "MistralForCausalLM", doc = "Mistral",
  sizes = {
    vocab_size = 32000, hidden_size = 4096, intermediate_size = 14336, num_hidden_layers = 32, num_attention_heads = 32,
    num_key_value_heads = 8, max_position_embeddings = 131072,
  },
  eps = 1e-6, window = layers.windows.mistral,
  ignores = { "layer_types" },      -- with a warning
})
