--- granite - Granite: a Llama with a factor at the embedding, the scores, the branches and the logits.

local decoder = require "sonde.io.arch.parts.decoder"

local function inverse(value) return 1 / value end
local function same(value) return value end

return decoder.register("granite", {
  class = "GraniteForCausalLM", doc = "Granite",
  sizes = {
    vocab_size = 32000, hidden_size = 4096, intermediate_size = 11008, num_hidden_layers = 32, num_attention_heads = 32,
    num_key_value_heads = false, max_position_embeddings = 2048,
  },
  eps = 1e-6, attention_bias = true, mlp_bias = true,
  numbers = {
    { key = "embedding_multiplier", option = { "embed_scale" }, preset = 1 },
    { key = "attention_multiplier", option = { "attention", "score_scale" }, preset = 1, read = same },
    { key = "residual_multiplier", option = { "placement", "branch_scale" }, preset = 1 },
    { key = "logits_scaling", option = { "logit_scale" }, preset = 1, read = inverse, write = inverse },
  },
})
