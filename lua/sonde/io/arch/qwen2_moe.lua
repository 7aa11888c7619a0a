--- qwen2_moe - Qwen 1.5 and 2 with a mixture of experts and an expert that all tokens go to, with a gate.

local decoder = require "sonde.io.arch.parts.decoder"
local layers = require "sonde.io.arch.parts.layers"

return decoder.register("qwen2_moe", {
  class = "Qwen2MoeForCausalLM", doc = "Qwen 2 with experts",
  sizes = {
    vocab_size = 151936, hidden_size = 2048, intermediate_size = 5632, num_hidden_layers = 24, num_attention_heads = 16,
    num_key_value_heads = 16, max_position_embeddings = 32768,
  },
  eps = 1e-6, attention = { bias = "qkv" }, window = layers.windows.qwen,
  experts = {
    count = { "num_experts" }, presets = { 60, 4 }, width = "moe_intermediate_size", width_preset = 1408,
    renormalize = "norm_topk_prob", sparse = true, shared = "shared_expert_intermediate_size", shared_preset = 5632,
    router = "mlp.gate", of_each = "mlp.experts.%d.",
  },
})
