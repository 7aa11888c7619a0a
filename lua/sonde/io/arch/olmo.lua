--- olmo - OLMo: a Llama with LayerNorms that have neither gain nor bias, and with clipped queries, keys and values.

local decoder = require "sonde.io.arch.parts.decoder"

return decoder.register("olmo", {
  class = "OlmoForCausalLM", doc = "OLMo",
  sizes = {
    vocab_size = 50304, hidden_size = 4096, intermediate_size = 11008, num_hidden_layers = 32, num_attention_heads = 32,
    num_key_value_heads = false, max_position_embeddings = 2048,
  },
  eps = 1e-5, no_eps = true, norm = { name = "layernorm", gain = false, bias = false }, attention_bias = true,
  ignores = { "rms_norm_eps" },
  numbers = { { key = "clip_qkv", option = { "attention", "clip" }, none = 0 } },
})
