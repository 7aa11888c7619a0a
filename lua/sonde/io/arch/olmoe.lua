--- olmoe - OLMoE: a mixture of experts in every block, and norms of all queries and of all keys at once.

local decoder = require "sonde.io.arch.parts.decoder"

return decoder.register("olmoe", {
  class = "OlmoeForCausalLM", doc = "OLMoE",
  sizes = {
    vocab_size = 50304, hidden_size = 2048, intermediate_size = 2048, num_hidden_layers = 16, num_attention_heads = 16,
    num_key_value_heads = false, max_position_embeddings = 4096,
  },
  eps = 1e-5, attention = { qk_norm = true, qk_norm_over = "all" }, qk_eps = true, attention_bias = true,
  numbers = { { key = "clip_qkv", option = { "attention", "clip" }, none = 0 } },
  experts = {
    count = { "num_experts", "num_local_experts" }, presets = { 64, 8 }, renormalize = "norm_topk_prob",
    router = "mlp.gate", of_each = "mlp.experts.%d.",
  },
})
