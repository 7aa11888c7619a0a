--- gguf.lua - a model as one file for llama.cpp. Each architecture that GGUF has is an entry of a table here.
--
-- Values are those of the opened model, by the keys of config.json that its architecture describes it with, and by the
-- options of its layers: never those of the folder that it came from, which may lack keys or spell them otherwise.
--
-- Rows of a Llama's queries and keys are in another order there: its program turns pairs of neighbouring features of a
-- head, not each of the first half with one of the second. Vectors are always f32.

local core = require "sonde.core"
local arch = require "sonde.io.arch"
local sorted_keys = require "sonde.base.sorted_keys"
local vocabulary = require "sonde.io.arch.formats.vocabulary"

local gguf = {}

-- Tensors outside the blocks, and inside.
local outside = {
  ["model.embed_tokens.weight"] = "token_embd.weight", ["model.norm.weight"] = "output_norm.weight",
  ["lm_head.weight"] = "output.weight",
}
local inside = {
  ["input_layernorm.weight"] = "attn_norm.weight", ["post_attention_layernorm.weight"] = "ffn_norm.weight",
  ["self_attn.q_norm.weight"] = "attn_q_norm.weight", ["self_attn.k_norm.weight"] = "attn_k_norm.weight",
}
for name, called in pairs { q = "attn_q", k = "attn_k", v = "attn_v", o = "attn_output" } do
  for _, kind in ipairs { ".weight", ".bias" } do inside["self_attn." .. name .. "_proj" .. kind] = called .. kind end
end
for _, name in ipairs { "gate", "up", "down" } do
  for _, kind in ipairs { ".weight", ".bias" } do inside["mlp." .. name .. "_proj" .. kind] = "ffn_" .. name .. kind end
end

-- The rows of queries or keys with each head's features in neighbouring pairs.
local function paired(node, heads)
  local dims = node:dims()
  local half = math.floor(dims[1] / heads / 2)
  return node:reshape({ heads, 2, half, dims[2] or 1 }):permute({ 1, 3, 2, 4 }):reshape(dims)
end

local function value_of(tree, name)
  local value = tree[name]
  if value == core.null then return nil end
  return value
end

-- Norms behind the branches.
local behind = {
  ["post_attention_layernorm.weight"] = "post_attention_norm.weight",
  ["pre_feedforward_layernorm.weight"] = "ffn_norm.weight",
  ["post_feedforward_layernorm.weight"] = "post_ffw_norm.weight",
}

-- Of a Gemma the gain is stored less 1 in the folder.
local function around_one(tensor, node)
  return string.find(tensor, "norm%.weight$") and node + 1 or node
end

-- The window of each block: as many tokens as the context where it has none, or a longer one.
local function windows_of(model)
  local list, context = {}, model.config.context
  for k, layer in ipairs(model.layers) do
    local window = layer.attention.options.window
    list[k] = window > 0 and math.min(window, context) or context
  end
  return list
end

-- The window of Gemma 2's program, which every second block has, from the first.
local function window_of_gemma2(model, refuse)
  local list, context = windows_of(model), model.config.context
  for k, window in ipairs(list) do
    if window ~= (k % 2 == 1 and list[1] or context) then
      refuse "other blocks than every second have a window ('sliding_window', 'layer_types')"
    end
  end
  return list[1]
end

-- Its program scales the scores by the head's width, and in a model of 46 blocks (the largest) by the width by head.
local function put_gemma2(put, tree, refuse, model)
  local width = tree.num_hidden_layers == 46 and math.floor(tree.hidden_size / tree.num_attention_heads)
    or tree.head_dim
  if tree.query_pre_attn_scalar ~= width then
    refuse(string.format("'query_pre_attn_scalar' is %.14g, not %d, as its program has it", tree.query_pre_attn_scalar,
      width))
  end
  local function cap(key) return value_of(tree, key) or refuse("there is no soft-cap ('" .. key .. "')") end
  put("u32", "gemma2.attention.sliding_window", window_of_gemma2(model, refuse))
  put("f32", "gemma2.attn_logit_softcapping", cap "attn_logit_softcapping")
  put("f32", "gemma2.final_logit_softcapping", cap "final_logit_softcapping")
end

local function put_granite(put, tree)
  put("f32", "granite.attention.scale", tree.attention_multiplier)
  put("f32", "granite.embedding_scale", tree.embedding_multiplier)
  put("f32", "granite.residual_scale", tree.residual_multiplier)
  put("f32", "granite.logit_scale", tree.logits_scaling)
end

-- Its program turns no queries and keys in every fourth block.
local function put_smollm3(_, tree, refuse)
  for k = 1, tree.num_hidden_layers do
    if (tree.no_rope_layers[k] == 0) ~= (k % 4 == 0) then
      refuse "other blocks than every fourth have no positions ('no_rope_layers')"
    end
  end
end

local function put_olmo(put, tree)
  if value_of(tree, "clip_qkv") then put("f32", "olmo.attention.clamp_kqv", tree.clip_qkv) end
end

-- Of GPT-2: names of tensors; its matrices, which are stored [in, out]; what it must have.
local of_gpt2 = {
  outside = { ["transformer.wte"] = "token_embd", ["transformer.wpe"] = "position_embd",
    ["transformer.ln_f"] = "output_norm", lm_head = "output" },
  inside = { ln_1 = "attn_norm", ln_2 = "ffn_norm", ["attn.c_attn"] = "attn_qkv", ["attn.c_proj"] = "attn_output",
    ["mlp.c_fc"] = "ffn_up", ["mlp.c_proj"] = "ffn_down" },
}

local function called_in_gpt2(tensor)
  local stem, last = string.match(tensor, "^(.*)%.(%a+)$")
  local block, rest = string.match(stem, "^transformer%.h%.(%d+)%.(.*)$")
  local name = block and of_gpt2.inside[rest] or of_gpt2.outside[stem]
  return name and (block and "blk." .. block .. "." or "") .. name .. "." .. last
end

local function turned_in_gpt2(tensor, node)
  return string.find(tensor, "%.c_%a+%.weight$") and node:transpose() or node
end

local function sizes_of_gpt2(tree, refuse)
  if not tree.scale_attn_weights or tree.scale_attn_by_inverse_layer_idx then
    refuse "its scores are scaled in another way ('scale_attn_weights', 'scale_attn_by_inverse_layer_idx')"
  end
  return { context_length = tree.n_positions, embedding_length = tree.n_embd, block_count = tree.n_layer,
    feed_forward_length = tree.n_inner, ["attention.head_count"] = tree.n_head }
end

-- The sizes of a Llama and what is built like it.
local function sizes_of_llama(tree)
  return { context_length = tree.max_position_embeddings, embedding_length = tree.hidden_size,
    block_count = tree.num_hidden_layers, feed_forward_length = tree.intermediate_size,
    ["attention.head_count"] = tree.num_attention_heads, ["attention.head_count_kv"] = tree.num_key_value_heads,
    ["attention.key_length"] = tree.head_dim, ["attention.value_length"] = tree.head_dim }
end

-- A size of each block.
local function of_blocks(tree, key)
  local list = {}
  for k = 1, tree.num_hidden_layers do list[k] = tree[key] end
  for index, own in pairs(tree.per_layer_config) do
    if own[key] then list[tonumber(index) + 1] = own[key] end
  end
  return list
end

-- The sizes of a Llama whose blocks have different ones: lists, but for the width of a head.
local function sizes_of_blocks(tree, refuse)
  local sizes = sizes_of_llama(tree)
  for _, own in pairs(tree.per_layer_config) do
    if own.head_dim then refuse "its blocks have heads of different widths ('per_layer_config')" end
  end
  sizes.feed_forward_length = of_blocks(tree, "intermediate_size")
  sizes["attention.head_count"] = of_blocks(tree, "num_attention_heads")
  sizes["attention.head_count_kv"] = of_blocks(tree, "num_key_value_heads")
  return sizes
end

-- What a model_type is there: its name; its sizes and what its tensors are called, if not as a Llama's; whether queries
-- and keys are in pairs; names of tensors that differ; what else becomes of a tensor's values; further keys; its
-- activation, if not SiLU; whether its head must be tied; whether its windows and its biases are read.
local kinds = {
  llama = { name = "llama", pairs = true, biases = true }, mistral = { name = "llama", pairs = true },
  qwen2 = { name = "qwen2", biases = true }, qwen3 = { name = "qwen3" },
  granite = { name = "granite", pairs = true, put = put_granite, biases = true },
  smollm3 = { name = "smollm3", pairs = true, put = put_smollm3 },
  olmo = { name = "olmo", pairs = true, put = put_olmo }, olmo2 = { name = "olmo2", inside = behind },
  gemma = { name = "gemma", act = "gelu_tanh", change = around_one, tied = true },
  gpt2 = { name = "gpt2", act = "gelu_tanh", sizes = sizes_of_gpt2, called = called_in_gpt2, change = turned_in_gpt2 },
  gemma2 = { name = "gemma2", act = "gelu_tanh", change = around_one, tied = true, inside = behind, put = put_gemma2,
    window = true },
}

-- A Llama whose blocks have different widths has another name there, and no biases.
local llama_of_blocks = { name = "deci", pairs = true, sizes = sizes_of_blocks, rope = true }

-- What a model is there; nil where its architecture has no name.
local function kind_of(of, tree)
  return of.name == "llama" and tree.per_layer_config and llama_of_blocks or kinds[of.name]
end

-- What the file has no word for: refused by the name of the key.
local function check(model, kind, tree, refuse)
  if tree.per_layer_config and kind ~= llama_of_blocks then refuse "its blocks differ ('per_layer_config')" end
  for _, window in ipairs(kind.window and {} or windows_of(model)) do
    if window < model.config.context then
      refuse("its attention has a window ('sliding_window' " .. window .. "), which llama.cpp does not read there")
    end
  end
  local act = model.layers[1].ffn.options.activation
  if act ~= (kind.act or "silu") then refuse("its activation is '" .. act .. "', which is none there") end
  if kind.tied and not model.config.tie then refuse "its head is not tied ('tie_word_embeddings')" end
end

-- The rotary positions: keys, or for "llama3" a divisor of each frequency, which is a tensor.
local function put_rope(put, name, tree, refuse)
  local theta, head_dim, scaling = tree.rope_theta, tree.head_dim, tree.rope_scaling
  put("f32", name .. ".rope.freq_base", theta)
  put("u32", name .. ".rope.dimension_count", head_dim)
  if not scaling then return nil end
  if scaling.type == "linear" then
    put("string", name .. ".rope.scaling.type", "linear")
    put("f32", name .. ".rope.scaling.factor", scaling.factor)
    return nil
  end
  if scaling.type ~= "llama3" then refuse("its rotary positions are scaled by '" .. scaling.type .. "'") end
  local original, divisors = scaling.original_max_position_embeddings, {}
  for i = 0, head_dim / 2 - 1 do
    local wave = 2 * math.pi * theta ^ (2 * i / head_dim)
    local share = (original / wave - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    share = math.max(0, math.min(1, share))
    divisors[i + 1] = 1 / ((1 - share) / scaling.factor + share)
  end
  return divisors
end

local file_types = { f32 = 0, f16 = 1, bf16 = 32 }

-- The keys that describe the model; gives the divisors of the frequencies, where there are some.
local function put_model(put, model, kind, tree, dtype, title, refuse)
  local name, sizes = kind.name, (kind.sizes or sizes_of_llama)(tree, refuse)
  put("string", "general.architecture", name)
  put("string", "general.name", title)
  put("u32", "general.file_type", file_types[dtype])
  put("u32", name .. ".vocab_size", tree.vocab_size)
  for _, size in ipairs(sorted_keys(sizes)) do
    put(type(sizes[size]) == "table" and "i32s" or "u32", name .. "." .. size, sizes[size])
  end
  local epsilon = model.final.name == "rmsnorm" and "layer_norm_rms_epsilon" or "layer_norm_epsilon"
  put("f32", name .. ".attention." .. epsilon, model.final.options.eps)
  if kind.put then kind.put(put, tree, refuse, model) end
  return (kind.rope or not kind.sizes) and put_rope(put, name, tree, refuse) or nil
end

-- What a tensor of the folder is called there.
local function called(tensor, kind, refuse)
  if kind.called then return kind.called(tensor) or refuse("it has the tensor '" .. tensor .. "'") end
  local block, rest = string.match(tensor, "^model%.layers%.(%d+)%.(.*)$")
  local name = block and (kind.inside and kind.inside[rest] or inside[rest]) or outside[tensor]
  local biased = string.find(tensor, "_proj%.bias$") and not kind.biases
  if not name or biased then refuse("it has the tensor '" .. tensor .. "'") end
  return block and "blk." .. block .. "." .. name or name
end

-- What becomes of a tensor's values, as a function of nodes; nil: nothing.
local function change_of(tensor, kind, tree)
  local which = kind.pairs and string.match(tensor, "self_attn%.([qk])_proj")
  local key = which == "k" and "num_key_value_heads" or "num_attention_heads"
  local heads = tree[key]
  if which and tree.per_layer_config then
    heads = of_blocks(tree, key)[tonumber(string.match(tensor, "layers%.(%d+)%.")) + 1]
  end
  if which then return function(node) return paired(node, heads) end end
  return kind.change and function(node) return kind.change(tensor, node) end or nil
end

-- Names, tensors and dtypes of the file.
local function tensors_of(model, of, kind, tree, dtype, refuse)
  local weights, names, tensors, dtypes = require "sonde.io.weights", {}, {}, {}
  for k, entry in ipairs(arch.tensors(of, model, weights.saved(model))) do
    names[k] = called(entry.tensor, kind, refuse)
    tensors[k] = weights.joined(entry, model:params(), change_of(entry.tensor, kind, tree))
    dtypes[k] = (#tensors[k]:dims() == 1 or names[k] == "position_embd.weight") and "f32" or dtype
  end
  return names, tensors, dtypes
end

--- Writes a model as a GGUF file.
---@param model sonde.model
---@param path string
---@param of sonde.architecture               that the model is one of
---@param files? table<string, string>       of its tokenizer; nil: the file has no vocabulary
---@param ids table                          keys of config.json that name tokens, such as eos_token_id
---@param dtype "f32"|"f16"|"bf16"           of matrices
---@param title string                       the model's name
function gguf.write(model, path, of, files, ids, dtype, title)
  local function refuse(text) error(core.where() .. path .. ": this model is not written as GGUF: " .. text, 0) end
  local tree = {}
  of.write(model, tree, {})      -- all keys, since there are none before it that it could leave as they are
  local kind = kind_of(of, tree)
  if not kind then
    refuse("its architecture is '" .. of.name .. "'; known: " .. table.concat(sorted_keys(kinds), ", "))
  end
  check(model, kind, tree, refuse)
  local file = core.gguf()
  local function put(type_, key, value) file[type_](file, key, value) end
  local divisors = put_model(put, model, kind, tree, dtype, title, refuse)
  if files then
    vocabulary.put(put, files, tree.vocab_size, ids, refuse)
  else
    put("string", "tokenizer.ggml.model", "no_vocab")
  end
  local names, tensors, dtypes = tensors_of(model, of, kind, tree, dtype, refuse)
  if divisors then
    names[#names + 1], dtypes[#dtypes + 1] = "rope_freqs.weight", "f32"
    tensors[#tensors + 1] = core.tensor("f32", { #divisors }, divisors)
  end
  file:save(path, names, tensors, dtypes)
  file:close()
end

return gguf
