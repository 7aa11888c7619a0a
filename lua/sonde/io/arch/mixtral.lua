--- mixtral - Mixtral: a Mistral with a mixture of experts in every block.

local decoder = require "sonde.io.arch.parts.decoder"
local layers = require "sonde.io.arch.parts.layers"

return decoder.register("mixtral", {
  class = "MixtralForCausalLM", doc = "Mixtral",
  sizes = {
    vocab_size = 32000, hidden_size = 4096, intermediate_size = 14336, num_hidden_layers = 32, num_attention_heads = 32,
    num_key_value_heads = 8, head_dim = false, max_position_embeddings = 131072,
  },
  eps = 1e-5, rope = { theta = 1e6 }, window = layers.windows.phi3, ignores = { "router_jitter_noise" },
  experts = {
    count = { "num_local_experts", "num_experts" }, presets = { 8, 2 }, renormalize = true,
    router = "block_sparse_moe.gate", of_each = "block_sparse_moe.experts.%d.",
    called = { gate_proj = "w1", up_proj = "w3", down_proj = "w2" },
  },
})
