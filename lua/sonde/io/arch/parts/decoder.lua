--- decoder.lua - what is built like Llama, by a description of where it differs: the defaults of its configuration
-- class, its norms and where they are, and options of its modules, each as a key of config.json or fixed.

local core = require "sonde.core"
local activation = require "sonde.io.arch.parts.activation"
local by_keys = require "sonde.io.arch.parts.by_keys"
local experts = require "sonde.io.arch.parts.experts"
local keys = require "sonde.io.arch.parts.keys"
local layers = require "sonde.io.arch.parts.layers"
local names = require "sonde.model.names"
local rope = require "sonde.io.arch.parts.rope"

local decoder = {}

---@class sonde.decoder
---@field class string
---@field doc string
---@field sizes table<string, integer|false>   key -> value when absent; num_key_value_heads false: as many as heads,
---  head_dim false: width / heads
---@field eps number                           rms_norm_eps when absent
---@field no_eps? boolean                      whether no key says it: it is `eps`
---@field tie? boolean                         tie_word_embeddings when absent
---@field norm? table                          options of the norm; default: RMSNorm
---@field qk_eps? boolean                      whether queries and keys are normalised, with the norms' eps
---@field placement? string                    default: pre_ln
---@field attention? table                     fixed options
---@field attention_bias? boolean              whether there is such a key: of queries, keys, values and output
---@field mlp_bias? boolean                    whether there is such a key
---@field activation? string[]                 keys, of which the first that is set counts; default: hidden_act
---@field act? string                          name when they are absent; default: silu
---@field rope? sonde.rope_rules|fun(tree: table, refuse: function): sonde.rope_rules
---@field rope_keys? string[]                  keys that this function reads beside those of rope.lua
---@field numbers? sonde.decoder_number[]
---@field window? table                        a rule of layers.windows
---@field no_rope? boolean                     whether there is a key no_rope_layers
---@field experts? sonde.expert_rules          of a mixture of experts
---@field ignores? string[]                    other keys of the class without effect
---@field tensors? fun(model: sonde.model, params: table[]): table[]
---@field embed_scale? string                  fixed

---@class sonde.decoder_number
---@field key string
---@field option string[]       where it is in the model's options: { "attention", "softcap" } or { "logit_scale" }
---@field preset number|nil     when absent; nil: as null
---@field none? number          the option's value where the key is null; nil: null is as absent
---@field read? fun(value: number): number
---@field write? fun(value: number): number

local sizes = {
  vocab_size = "vocab", hidden_size = "width", num_hidden_layers = "depth", num_attention_heads = "heads",
  num_key_value_heads = "kv_heads", head_dim = "head_dim", intermediate_size = "ffn_hidden",
  max_position_embeddings = "context",
}

local function copy(t)
  local made = {}
  for key, value in pairs(t or {}) do made[key] = value end
  return made
end

-- ---- reading -------------------------------------------------------------------------------------------------------

local function read_sizes(spec, tree, refuse, nulls, options)
  for key, option in pairs(sizes) do
    local preset = spec.sizes[key] or nil
    if nulls[key] and (key == "num_key_value_heads" or key == "head_dim") then preset = nil end
    options[option] = keys.count(tree, key, preset, refuse)
    if option == "depth" and options.depth > keys.BLOCKS then
      refuse(string.format("'%s' must be at most %d, not %d", key, keys.BLOCKS, options.depth))
    end
  end
  if not options.head_dim and options.width % options.heads ~= 0 then
    refuse(string.format("'hidden_size' %d is no multiple of 'num_attention_heads' %d, and there is no 'head_dim'",
      options.width, options.heads))
  end
end

local function read_activation(spec, tree, refuse)
  for _, key in ipairs(spec.activation) do
    if tree[key] ~= nil then return activation.read(tree, key, spec.act, refuse) end
  end
  return activation.read({}, spec.activation[1], spec.act, refuse)
end

local function read_numbers(spec, tree, refuse, nulls, options)
  for _, each in ipairs(spec.numbers) do
    local value = keys.get(tree, each.key, "number", nulls[each.key] and each.none or each.preset or each.none, refuse)
    if each.read and value ~= each.none then
      if not (value > 0) then refuse(string.format("'%s' must be over 0, not %s", each.key, keys.shown(value))) end
      value = each.read(value)
    end
    local into = options
    for k = 1, #each.option - 1 do into = into[each.option[k]] end
    into[each.option[#each.option]] = value
  end
  if options.embed_scale == 1 then options.embed_scale = "none" end
end

local function rope_rules(spec, tree, refuse)
  if type(spec.rope) == "function" then return spec.rope(tree, refuse) end
  return spec.rope
end

-- The rules by block, in the order that they are read in.
local function rules_of(spec)
  local rules = {}
  if spec.no_rope then rules[1] = layers.no_rope end
  rules[#rules + 1] = spec.window
  return rules
end

local function read(spec, tree, refuse, nulls)
  keys.check_foreign(tree, spec.reads, refuse)
  local function flag(key, preset) return keys.get(tree, key, "boolean", preset or false, refuse) end
  local eps = spec.no_eps and spec.eps or keys.get(tree, "rms_norm_eps", "number", spec.eps, refuse)
  local options = {
    tie = flag("tie_word_embeddings", spec.tie), norm = copy(spec.norm), placement = { name = spec.placement },
    ffn = { name = "swiglu", activation = read_activation(spec, tree, refuse) }, embed_scale = spec.embed_scale,
  }
  if spec.mlp_bias then options.ffn.bias = flag "mlp_bias" end
  options.norm.eps = eps
  read_sizes(spec, tree, refuse, nulls, options)
  local attention, note = rope.read(tree, options.context, refuse, rope_rules(spec, tree, refuse))
  for key, value in pairs(spec.attention) do attention[key] = value end
  attention.name = "causal"
  if spec.attention_bias and flag "attention_bias" then attention.bias = "all" end
  if spec.qk_eps then attention.qk_eps = eps end
  options.attention = attention
  read_numbers(spec, tree, refuse, nulls, options)
  local list = layers.new(options.depth)
  for _, rule in ipairs(rules_of(spec)) do rule.read(tree, list, refuse, nulls) end
  layers.read_own(tree, list, spec.window ~= nil, refuse)
  if not spec.experts then
    options.layers = layers.options(list, attention, options.ffn)
    return options, note
  end
  local dense_ffn, dense = options.ffn, nil
  options.ffn, dense = experts.read(spec.experts, tree, options, refuse)
  options.layers = layers.options(list, attention, options.ffn)
  experts.place_dense(spec.experts, options, dense, dense_ffn, list, refuse)
  return options, note
end

-- ---- writing -------------------------------------------------------------------------------------------------------

-- The inner width of each block, as intermediate_size says it.
local function hidden_of(spec)
  return function(model, index)
    local ffn = model.layers[index + 1].ffn
    if ffn.name == "moe" then
      return not (spec.experts and spec.experts.width) and experts.hidden(model, index) or nil
    end
    if ffn.options.hidden ~= 0 then return ffn.options.hidden end
    local weight = model:params():find(names.block(index) .. names.ffn .. ".up_proj.weight")
    return weight and weight:dims()[1]
  end
end

-- The first value that a block has under a name.
local function of_any(list, name)
  for _, block in ipairs(list) do
    if block[name] ~= nil then return block[name] end
  end
end

-- 144.00000000000003 is 144^-0.5^-2.
local function rounded(value)
  local whole = math.floor(value + 0.5)
  return math.abs(value - whole) < 1e-9 * math.abs(value) and whole or value
end

local function write_numbers(spec, model, said)
  local first = model.layers[1]
  for _, each in ipairs(spec.numbers) do
    local where, name = each.option[1], each.option[#each.option]
    local value = model.config[name]
    if #each.option > 1 then value = first[where].options[name] end
    if name == "embed_scale" and value == "none" then value = 1 end
    if each.none ~= nil and value == each.none then
      said[each.key] = core.null
    elseif type(value) == "number" then
      if name == "score_scale" and value == 0 then value = (model.config.head_dim) ^ -0.5 end
      said[each.key] = rounded(each.write and each.write(value) or value)
    end
  end
end

local function write_attention(spec, model, said)
  local options = model.layers[1].attention.options
  for _, layer in ipairs(model.layers) do      -- the first that has positions says which
    if layer.attention.name == "causal" and layer.attention.options.rope_theta ~= 0 then
      options = layer.attention.options
      break
    end
  end
  local rules = rope_rules(spec, {})
  for key, value in pairs(rope.write(options, model.config.context, rules)) do said[key] = value end
  if rules and rules.original and options.rope_scaling == "longrope" then
    said.original_max_position_embeddings = options.rope_original_context
  end
  if spec.attention_bias then said.attention_bias = options.bias == "all" end
end

--- The keys that describe a model, as far as it has what they speak of.
---@param spec sonde.decoder
---@param model sonde.model
---@return table
function decoder.keys_of(spec, model)
  local c, first, list = model.config, model.layers[1], layers.of(model, hidden_of(spec))
  local said = {
    vocab_size = c.vocab, hidden_size = c.width, num_hidden_layers = c.depth, tie_word_embeddings = c.tie,
    num_attention_heads = of_any(list, "heads") or c.heads,
    num_key_value_heads = of_any(list, "kv_heads") or c.kv_heads, head_dim = of_any(list, "head_dim") or c.head_dim,
    intermediate_size = of_any(list, "hidden"), max_position_embeddings = c.context,
  }
  if not spec.no_eps then said.rms_norm_eps = model.final.options.eps end
  if first.ffn.name == "swiglu" or first.ffn.name == "moe" then
    for _, key in ipairs(spec.activation) do said[key] = activation.write(first.ffn.options.activation) end
    if spec.mlp_bias then said.mlp_bias = first.ffn.options.bias end
  end
  for key, value in pairs(spec.experts and experts.write(spec.experts, model) or {}) do said[key] = value end
  if first.attention.name == "causal" then
    write_attention(spec, model, said)
    write_numbers(spec, model, said)
    for _, rule in ipairs(rules_of(spec)) do
      for key, value in pairs(rule.write(list) or {}) do said[key] = value end
    end
    said.per_layer_config = layers.write_own(list, said)
  end
  return said
end

-- ---- tensors -------------------------------------------------------------------------------------------------------

-- Of a block with a norm behind its attention: as OLMo 2, Gemma 2, and the code of LayerNorm Scaling, Mix-LN and
-- Peri-LN call its norms.
local beside = { attn_out = "post_attention_layernorm", ffn = "pre_feedforward_layernorm",
  ffn_out = "post_feedforward_layernorm" }

--- What a parameter of a block is called among the norms of the others: its name in the files.
---@param there table<string, boolean>     names of all parameters
---@param name string
---@return string
function decoder.tensor_of(there, name)
  local block, rest = names.in_block(name)
  if not block or not there[names.block(block) .. names.norms.attn_out .. ".weight"] then return name end
  for slot, called in pairs(beside) do
    if rest == names.norms[slot] .. ".weight" then return names.block(block) .. called .. ".weight" end
  end
  return name
end

--- Which tensor is which parameter.
---@param _ sonde.model
---@param params table[]
---@return table[]
function decoder.tensors(_, params)
  local there, entries = {}, {}
  for _, param in ipairs(params) do there[param.name] = true end
  for k, param in ipairs(params) do
    entries[k] = { tensor = decoder.tensor_of(there, param.name), params = { param.name } }
  end
  return entries
end

-- ---- registering ---------------------------------------------------------------------------------------------------

-- All keys that are read.
local function reads_of(spec)
  local reads = { tie_word_embeddings = true, per_layer_config = true, attention_bias = spec.attention_bias,
    mlp_bias = spec.mlp_bias, rms_norm_eps = not spec.no_eps or nil }
  for key in pairs(sizes) do reads[key] = true end
  for key in pairs(rope.keys) do reads[key] = true end
  for _, key in ipairs(spec.activation) do reads[key] = true end
  local of_experts = spec.experts and experts.keys(spec.experts) or {}
  for _, list in ipairs { spec.ignores or {}, spec.rope_keys or {}, of_experts } do
    for _, key in ipairs(list) do reads[key] = true end
  end
  for _, each in ipairs(spec.numbers) do reads[each.key] = true end
  for _, rule in ipairs(rules_of(spec)) do
    for key in pairs(rule.keys) do reads[key] = true end
  end
  return reads
end

-- The first of the keys that a folder of Sonde's own kind has and the model does not bear out is refused.
local function check(spec, tree, model, refuse)
  local truth = decoder.keys_of(spec, model)
  for name, value in pairs(tree) do
    local agrees = core.json_encode { value } == core.json_encode { truth[name] }
    if spec.reads[name] and not agrees then
      refuse(string.format("'%s' is %s, but the section 'sonde' describes %s; make the two agree, or take the key out",
        name, keys.shown(value), truth[name] == nil and "no such thing" or keys.shown(truth[name])))
    end
  end
  keys.check_foreign(tree, spec.reads, refuse)
end

--- Registers an architecture that is built like Llama.
---@param name string
---@param spec sonde.decoder
---@return table     its entry of the registry
function decoder.register(name, spec)
  spec.norm = spec.norm or { name = "rmsnorm" }
  spec.placement, spec.attention = spec.placement or "pre_ln", spec.attention or {}
  spec.activation, spec.act, spec.numbers = spec.activation or { "hidden_act" }, spec.act or "silu", spec.numbers or {}
  spec.tensors = spec.tensors or decoder.tensors
  if spec.experts then spec.tensors = experts.tensors(spec.experts, spec.tensors) end
  spec.reads = reads_of(spec)
  return by_keys.register(name, {
    class = spec.class, doc = spec.doc, reads = spec.reads, tensors = spec.tensors,
    head = names.head, embedding = names.embedding, prefix = "model.", tied_by = "tie_word_embeddings",
    passes_over = { "rotary_emb.inv_freq" },
    keys_of = function(model) return decoder.keys_of(spec, model) end,
    check = function(tree, model, refuse) check(spec, tree, model, refuse) end,
    options = function(tree, refuse, nulls) return read(spec, tree, refuse, nulls or {}) end,
  })
end

return decoder
