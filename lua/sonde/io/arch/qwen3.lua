--- qwen3 - Qwen 3: a Llama whose queries and keys are normalised head by head.

local decoder = require "sonde.io.arch.parts.decoder"
local layers = require "sonde.io.arch.parts.layers"

return decoder.register("qwen3", {
  class = "Qwen3ForCausalLM", doc = "Qwen 3",
  sizes = {
    vocab_size = 151936, hidden_size = 4096, intermediate_size = 22016, num_hidden_layers = 32,
    num_attention_heads = 32, num_key_value_heads = 32, head_dim = 128, max_position_embeddings = 32768,
  },
  eps = 1e-6, attention = { qk_norm = true }, qk_eps = true, attention_bias = true, window = layers.windows.qwen,
})
