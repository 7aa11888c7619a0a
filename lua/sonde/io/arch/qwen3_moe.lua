--- qwen3_moe - Qwen 3 with a mixture of experts in all blocks, or in some.

local decoder = require "sonde.io.arch.parts.decoder"
local layers = require "sonde.io.arch.parts.layers"

return decoder.register("qwen3_moe", {
  class = "Qwen3MoeForCausalLM", doc = "Qwen 3 with experts",
  sizes = {
    vocab_size = 151936, hidden_size = 2048, intermediate_size = 6144, num_hidden_layers = 24, num_attention_heads = 32,
    num_key_value_heads = 4, max_position_embeddings = 32768,
  },
  eps = 1e-6, attention = { qk_norm = true }, qk_eps = true, attention_bias = true,
  window = layers.windows.qwen_everywhere, ignores = { "max_window_layers" },
  experts = {
    count = { "num_experts", "num_local_experts" }, presets = { 128, 8 }, width = "moe_intermediate_size",
    width_preset = 768, renormalize = "norm_topk_prob", sparse = true, router = "mlp.gate",
    of_each = "mlp.experts.%d.",
  },
})
