--- qwen2 - Qwen 2 and 2.5: a Llama with biases of queries, keys and values, and in some of its blocks sliding windows.

local decoder = require "sonde.io.arch.parts.decoder"
local layers = require "sonde.io.arch.parts.layers"

return decoder.register("qwen2", {
  class = "Qwen2ForCausalLM", doc = "Qwen 2 and 2.5",
  sizes = {
    vocab_size = 151936, hidden_size = 4096, intermediate_size = 22016, num_hidden_layers = 32,
    num_attention_heads = 32, num_key_value_heads = 32, max_position_embeddings = 32768,
  },
  eps = 1e-6, attention = { bias = "qkv" }, window = layers.windows.qwen,
})
