--- llama - Llama and what is built like it: a norm before each branch, rotary positions, a gated feed-forward layer.
--
-- Its tensors are called as Sonde's parameters are. Models that were trained with the norms in other places, by code
-- that changed Llama's, have its config.json and no word of that; the norms that a Llama has not are named there as
-- after its own (parts/decoder.lua).

local decoder = require "sonde.io.arch.parts.decoder"

return decoder.register("llama", {
  class = "LlamaForCausalLM", doc = "Llama and what is built like it",
  sizes = {
    vocab_size = 32000, hidden_size = 4096, intermediate_size = 11008, num_hidden_layers = 32, num_attention_heads = 32,
    num_key_value_heads = false, head_dim = false, max_position_embeddings = 2048,
  },
  eps = 1e-6, attention_bias = true, mlp_bias = true,
})
