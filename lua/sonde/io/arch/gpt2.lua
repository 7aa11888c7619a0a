--- gpt2 - GPT-2: learned positions, LayerNorms in front of the branches, a plain feed-forward layer, biases everywhere.
--
-- Its matrices are stored [in, out], queries, keys and values side by side in one of them.

local activation = require "sonde.io.arch.parts.activation"
local by_keys = require "sonde.io.arch.parts.by_keys"
local keys = require "sonde.io.arch.parts.keys"
local tensors = require "sonde.io.arch.parts.tensors"

-- Keys with their values when absent (GPT2Config's), and the option each stands for.
local sizes = {
  vocab_size = { "vocab", 50257 }, n_positions = { "context", 1024 }, n_embd = { "width", 768 },
  n_layer = { "depth", 12 }, n_head = { "heads", 12 },
}

-- Other names that keys answer to.
local aliases = {
  max_position_embeddings = "n_positions", hidden_size = "n_embd", num_hidden_layers = "n_layer",
  num_attention_heads = "n_head",
}

local reads = {
  n_inner = true, activation_function = true, layer_norm_epsilon = true, tie_word_embeddings = true,
  scale_attn_weights = true, scale_attn_by_inverse_layer_idx = true,
}
for name in pairs(sizes) do reads[name] = true end
for name in pairs(aliases) do reads[name] = true end

-- The keys by their first names; where both names stand, they must agree.
local function by_first_names(tree, refuse)
  local named = {}
  for name, value in pairs(tree) do named[name] = value end
  for other, name in pairs(aliases) do
    if tree[other] ~= nil and tree[name] ~= nil and tree[other] ~= tree[name] then
      refuse(string.format("'%s' is %s and '%s', which means the same, is %s; make the two agree", name,
        keys.shown(tree[name]), other, keys.shown(tree[other])))
    end
    if named[name] == nil then named[name] = tree[other] end
  end
  return named
end

-- The factor of the scores in block n (from 0); 0: 1/sqrt(h).
local function score_scale(head_dim, divided, by_layer, n)
  if not by_layer or n == 0 then return divided and 0 or 1 end
  return (divided and 1 / math.sqrt(head_dim) or 1) / (n + 1)
end

local function options(tree, refuse)
  keys.check_foreign(tree, reads, refuse)
  tree = by_first_names(tree, refuse)
  local read = { tie = keys.get(tree, "tie_word_embeddings", "boolean", true, refuse), norm = { name = "layernorm" },
    placement = "pre_ln", positions = "learned", layers = {} }
  for name, entry in pairs(sizes) do read[entry[1]] = keys.count(tree, name, entry[2], refuse) end
  if read.depth > keys.BLOCKS then
    refuse(string.format("'n_layer' must be at most %d, not %d", keys.BLOCKS, read.depth))
  end
  read.norm.eps = keys.get(tree, "layer_norm_epsilon", "number", 1e-5, refuse)
  read.ffn = { name = "mlp", bias = true, hidden = keys.count(tree, "n_inner", 4 * read.width, refuse),
    activation = activation.read(tree, "activation_function", "gelu_new", refuse) }
  local divided = keys.get(tree, "scale_attn_weights", "boolean", true, refuse)
  local by_layer = keys.get(tree, "scale_attn_by_inverse_layer_idx", "boolean", false, refuse)
  local function attention(n)
    return { name = "causal", bias = "all", score_scale = score_scale(read.width / read.heads, divided, by_layer, n) }
  end
  read.attention = attention(0)
  for n = 1, by_layer and read.depth - 1 or 0 do read.layers[tostring(n)] = { attention = attention(n) } end
  return read
end

-- Whether the factors of the scores are those of the two keys.
local function has_scales(model, divided, by_layer)
  for index, layer in ipairs(model.layers) do
    local wanted = score_scale(model.config.head_dim, divided, by_layer, index - 1)
    if layer.attention.options.score_scale ~= wanted then return false end
  end
  return true
end

local function keys_of(model)
  local c, ffn = model.config, model.layers[1].ffn
  local said = {
    vocab_size = c.vocab, n_positions = c.context, n_embd = c.width, n_layer = c.depth, n_head = c.heads,
    n_inner = by_keys.hidden(model), layer_norm_epsilon = model.final.options.eps, tie_word_embeddings = c.tie,
    activation_function = activation.write(ffn.options.activation), scale_attn_weights = true,
    scale_attn_by_inverse_layer_idx = false,
  }
  for _, flags in ipairs { { true, false }, { false, false }, { true, true }, { false, true } } do
    if has_scales(model, flags[1], flags[2]) then
      said.scale_attn_weights, said.scale_attn_by_inverse_layer_idx = flags[1], flags[2]
      break
    end
  end
  return said
end

local rules = {
  outside = {
    ["model.embed_tokens"] = "transformer.wte", ["model.embed_positions"] = "transformer.wpe",
    ["model.norm"] = "transformer.ln_f",
  },
  block = "transformer.h.%d.",
  inside = {
    input_layernorm = "ln_1", post_attention_layernorm = "ln_2", ["self_attn.o_proj"] = "attn.c_proj",
    ["mlp.up_proj"] = "mlp.c_fc", ["mlp.down_proj"] = "mlp.c_proj",
  },
  joined = {
    { tensor = "attn.c_attn", params = { "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj" } },
  },
  turned = true,
}

by_keys.register("gpt2", {
  class = "GPT2LMHeadModel", doc = "GPT-2", reads = reads, keys_of = keys_of, options = options,
  head = "lm_head.weight", embedding = "transformer.wte.weight", prefix = "transformer.",
  tied_by = "tie_word_embeddings", passes_over = { ".attn.bias", ".attn.masked_bias" },
  tensors = function(_, params) return tensors.entries(rules, params) end,
})
