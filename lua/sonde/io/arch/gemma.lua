--- gemma - Gemma: gains around one, the embedding times the root of the width, GELU in the gate.
--
-- The activation: hidden_activation, where it is not null, else hidden_act (transformers from 4.48 on reads hidden_act
-- alone, those before hidden_activation alone).

local decoder = require "sonde.io.arch.parts.decoder"

return decoder.register("gemma", {
  class = "GemmaForCausalLM", doc = "Gemma",
  sizes = {
    vocab_size = 256000, hidden_size = 3072, intermediate_size = 24576, num_hidden_layers = 28,
    num_attention_heads = 16, num_key_value_heads = 16, head_dim = 256, max_position_embeddings = 8192,
  },
  eps = 1e-6, tie = true, norm = { name = "rmsnorm", unit_offset = true }, embed_scale = "fixed", attention_bias = true,
  activation = { "hidden_activation", "hidden_act" }, act = "gelu_pytorch_tanh",
})
