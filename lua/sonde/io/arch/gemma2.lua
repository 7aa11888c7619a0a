--- gemma2 - Gemma 2: Gemma with norms on both sides of the branches, soft-caps on scores and logits, and a sliding
-- window in every other block.

local decoder = require "sonde.io.arch.parts.decoder"
local layers = require "sonde.io.arch.parts.layers"

return decoder.register("gemma2", {
  class = "Gemma2ForCausalLM", doc = "Gemma 2",
  sizes = {
    vocab_size = 256000, hidden_size = 2304, intermediate_size = 9216, num_hidden_layers = 26, num_attention_heads = 8,
    num_key_value_heads = 4, head_dim = 256, max_position_embeddings = 8192,
  },
  eps = 1e-6, tie = true, norm = { name = "rmsnorm", unit_offset = true }, placement = "peri_ln", embed_scale = "fixed",
  attention_bias = true, activation = { "hidden_activation" }, act = "gelu_pytorch_tanh", ignores = { "hidden_act" },
  window = layers.windows.gemma2,
  numbers = {
    { key = "query_pre_attn_scalar", option = { "attention", "score_scale" }, preset = 256,
      read = function(value) return value ^ -0.5 end, write = function(scale) return scale ^ -2 end },
    { key = "attn_logit_softcapping", option = { "attention", "softcap" }, preset = 50, none = 0 },
    { key = "final_logit_softcapping", option = { "logit_softcap" }, preset = 30, none = 0 },
  },
})
