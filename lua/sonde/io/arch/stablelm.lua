--- stablelm - StableLM: like Llama, with LayerNorms, rotary positions for a part of each head, and as it may be both
-- branches side by side behind one norm, and queries and keys normalised by head.

local activation = require "sonde.io.arch.parts.activation"
local by_keys = require "sonde.io.arch.parts.by_keys"
local graph = require "sonde.graph"
local keys = require "sonde.io.arch.parts.keys"
local names = require "sonde.model.names"
local rope = require "sonde.io.arch.parts.rope"

-- Keys with their values when absent (StableLmConfig's), and the option each stands for.
local sizes = {
  vocab_size = { "vocab", 50304 }, hidden_size = { "width", 2560 }, num_hidden_layers = { "depth", 32 },
  num_attention_heads = { "heads", 32 }, num_key_value_heads = { "kv_heads", 32 },
  intermediate_size = { "ffn_hidden", 6912 }, max_position_embeddings = { "context", 4096 },
}

local reads = {
  hidden_act = true, layer_norm_eps = true, tie_word_embeddings = true, use_qkv_bias = true, qk_layernorm = true,
  use_parallel_residual = true, partial_rotary_factor = true, rope_theta = true, rope_scaling = true,
  rope_parameters = true,
}
for name in pairs(sizes) do reads[name] = true end

local rules = { partial = 0.25 }      -- of a head's rotary positions

local function options(tree, refuse)
  keys.check_foreign(tree, reads, refuse)
  local function flag(name) return keys.get(tree, name, "boolean", false, refuse) end
  local eps = keys.get(tree, "layer_norm_eps", "number", 1e-5, refuse)
  local read = {
    tie = flag "tie_word_embeddings", norm = { name = "layernorm", eps = eps }, placement = "pre_ln",
    ffn = { name = "swiglu", activation = activation.read(tree, "hidden_act", "silu", refuse) },
  }
  if flag "use_parallel_residual" then read.placement = { name = "parallel", shared = true } end
  for name, entry in pairs(sizes) do read[entry[1]] = keys.count(tree, name, entry[2], refuse) end
  -- The class has a partial_rotary_factor of its own, which counts before that of a dictionary.
  local attention, note = rope.read({
    rope_theta = tree.rope_theta, rope_scaling = tree.rope_scaling, rope_parameters = tree.rope_parameters,
  }, read.context, refuse, rules)
  attention.rope_partial = keys.get(tree, "partial_rotary_factor", "number", rules.partial, refuse)
  attention.name, attention.bias = "causal", flag "use_qkv_bias" and "qkv" or "none"
  if flag "qk_layernorm" then
    attention.qk_norm, attention.qk_norm_over, attention.qk_norm_kind, attention.qk_eps = true, "each", "layer", eps
  end
  read.attention = attention
  return read, note
end

local function keys_of(model)
  local c, first = model.config, model.layers[1]
  local attention = first.attention.options
  local said = rope.write(attention, c.context, rules)
  said.vocab_size, said.hidden_size, said.num_hidden_layers = c.vocab, c.width, c.depth
  said.num_attention_heads, said.num_key_value_heads = c.heads, c.kv_heads
  said.intermediate_size, said.max_position_embeddings = by_keys.hidden(model), c.context
  said.tie_word_embeddings, said.layer_norm_eps = c.tie, model.final.options.eps
  said.hidden_act = activation.write(first.ffn.options.activation)
  said.use_qkv_bias, said.qk_layernorm = attention.bias ~= "none", attention.qk_norm
  said.use_parallel_residual = first.placement.name == "parallel"
  return said
end

-- The gains of queries or keys, [H, h], are a tensor for each head.
local function by_head(beginning, which, param)
  local entry, heads = { tensors = {}, params = { param.name } }, param.dims[1]
  for head = 1, heads do
    entry.tensors[head] = string.format("%sself_attn.%s_layernorm.norms.%d.weight", beginning, which, head - 1)
  end
  function entry.split(...)
    local rows = { ... }
    for k, row in ipairs(rows) do rows[k] = row:reshape { 1, param.dims[2] } end
    return { graph.concat(rows, 1) }
  end
  function entry.join(nodes)
    local rows = {}
    for head = 1, heads do rows[head] = nodes[1]:slice(1, head, head):reshape { param.dims[2] } end
    return (table.unpack or unpack)(rows)      -- luacheck: ignore
  end
  return entry
end

local function tensors(_, params)
  local entries = {}
  for k, param in ipairs(params) do
    local block, rest = names.in_block(param.name)
    local which = block and string.match(rest, "^self_attn%.([qk])_norm%.weight$")
    entries[k] = which and by_head(names.block(block), which, param) or { tensor = param.name, params = { param.name } }
  end
  return entries
end

by_keys.register("stablelm", {
  class = "StableLmForCausalLM", doc = "StableLM", reads = reads, keys_of = keys_of, options = options,
  head = "lm_head.weight", embedding = "model.embed_tokens.weight", prefix = "model.", tied_by = "tie_word_embeddings",
  passes_over = { "rotary_emb.inv_freq" }, tensors = tensors,
})
