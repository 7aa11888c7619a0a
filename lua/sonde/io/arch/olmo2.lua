--- olmo2 - OLMo 2: norms behind the branches, and of all queries and of all keys at once.

local decoder = require "sonde.io.arch.parts.decoder"

return decoder.register("olmo2", {
  class = "Olmo2ForCausalLM", doc = "OLMo 2",
  sizes = {
    vocab_size = 50304, hidden_size = 4096, intermediate_size = 11008, num_hidden_layers = 32, num_attention_heads = 32,
    num_key_value_heads = false, max_position_embeddings = 2048,
  },
  eps = 1e-5, placement = "norm_after", attention = { qk_norm = true, qk_norm_over = "all" }, qk_eps = true,
  attention_bias = true,
})
