--- transformer.lua - a decoder-only language model from options: which modules, where the norms stand, how it starts.

local core = require "sonde.core"
local args = require "sonde.base.args"
local initpolicy = require "sonde.model.init_policy"
local model = require "sonde.model"
local module = require "sonde.model.module"
local objective = require "sonde.model.objective"
local placement = require "sonde.model.placement"

local transformer = {}

local NO_NORM = "none"      -- the final norm of a model that has none

local function modules_of(kind)
  return function() return core.modules(kind) end
end

local module_type = "string|table"
local of_block = { name = "size", type = "integer", min = 1, doc = "of a block" }

local layer_schema = {
  { name = "norm", type = module_type, choices = modules_of "norm", doc = "norm of this block" },
  { name = "placement", type = "string|table|function", choices = placement.names, doc = "where its norms stand" },
  { name = "attention", type = module_type, choices = modules_of "attention", doc = "attention of this block" },
  { name = "ffn", type = module_type, choices = modules_of "ffn", doc = "feed-forward layer of this block" },
  { name = "layer", type = "integer", min = 1,
    doc = "the place l of L that its placement counts with; default: its own" },
  { name = "depth", type = "integer", min = 1,
    doc = "the L that its placement counts with; default: the model's depth" },
  { name = "heads", type = "integer", min = 1, doc = "its query heads; the width of a head stays the model's" },
  { name = "kv_heads", type = "integer", min = 1, doc = "its key and value heads" },
  { name = "head_dim", type = "integer", min = 1, doc = "width of its heads" },
  { name = "ffn_hidden", type = "integer", min = 1, doc = "inner width of its feed-forward layer" },
  { name = "share", type = "integer", min = 0, doc = "an earlier block whose weights it has" },
  { name = "without", type = "string", choices = { "attn", "ffn" },
    doc = "a branch that it does not have: it adds nothing" },
}

--- The options of a model. A module is a name, or {name, option = value} (in YAML: {name: ..., option: ...}).
---@type sonde.schema
transformer.schema = {
  { name = "vocab", type = "integer", min = 1, max = 2147483647,
    doc = "tokens V of the vocabulary (needed, but for a model of features)" },
  { name = "features", type = "integer", min = 1, max = 1048576,
    doc = "numbers F of each position, in place of tokens: the input \"features\" f32 [B, T, F], through a matrix [D, "
      .. "F]" },
  { name = "objective", type = "string|table", choices = objective.names,
    doc = "what it is trained for, NAME or {NAME, option = value}; default: language_model" },
  { name = "width", type = "integer", min = 1, max = 1048576, required = true, doc = "width D of the residual stream" },
  { name = "depth", type = "integer", min = 1, max = 10000, required = true, doc = "blocks L" },
  { name = "heads", type = "integer|list", min = 1, of = of_block,
    doc = "query heads H, or a list with those of each block; default: one for each 64 of the width" },
  { name = "kv_heads", type = "integer|list", min = 1, of = of_block,
    doc = "key and value heads, or a list with those of each block; default: as many as heads" },
  { name = "groups", type = "integer", min = 1,
    doc = "query heads G that share a key and value head, in place of kv_heads = heads / G (GQA; all heads: MQA)" },
  { name = "head_dim", type = "integer", min = 1,
    doc = "width of a head; default: width / heads, of the block with the most heads" },
  { name = "ffn_hidden", type = "integer|list", min = 1, of = of_block,
    doc = "inner width of the feed-forward layer, or a list with that of each block; default: by its kind" },
  { name = "norm", type = module_type, preset = "rmsnorm", choices = modules_of "norm", doc = "norm" },
  { name = "final_norm", type = module_type, choices = function()
    local choices = core.modules "norm"
    choices[#choices + 1] = NO_NORM
    return choices
  end, doc = "norm before the head, or none; default: norm" },
  { name = "placement", type = "string|table|function", preset = "pre_ln", choices = placement.names,
    doc = "where the norms stand" },
  { name = "attention", type = module_type, preset = "causal", choices = modules_of "attention",
    doc = "attention layer" },
  { name = "ffn", type = module_type, preset = "swiglu", choices = modules_of "ffn", doc = "feed-forward layer" },
  { name = "tie", type = "boolean", preset = false, doc = "head and embedding share their weights" },
  { name = "context", type = "integer", min = 1, max = 1048576, preset = 256, doc = "tokens T of a sequence" },
  { name = "positions", type = "string", choices = { "rope", "alibi", "learned" }, preset = "rope",
    doc = "how tokens know of their positions: rope: queries and keys are turned; alibi: attention falls with the "
      .. "distance; learned: a vector of each of the `context` positions is added to the embedding" },
  { name = "position_offset", type = "integer", min = 0, max = 1048576, preset = 0,
    doc = "rows of the learned positions in front of that of position 0 (OPT: 2)" },
  { name = "rope_theta", type = "number", min = 0, doc = "base of the rotary angles; default: the attention's" },
  { name = "embed_width", type = "integer", min = 1, max = 1048576,
    doc = "width of embedding and head, where it is another: a matrix takes it to the width, another one back" },
  { name = "embed_scale", type = "string|number", choices = { "none", "fixed", "learned" },
    doc = "embedding times a number, or times sqrt(D), fixed or as the start of a learned scalar; default: what the "
      .. "norm suggests" },
  { name = "logit_scale", type = "number", min = 1e-6, max = 1e6, preset = 1,
    doc = "factor of a language model's logits" },
  { name = "logit_softcap", type = "number", min = 0, max = 1e6, preset = 0,
    doc = "a language model's logits are c tanh(logit / c); 0: as they are" },
  { name = "norm_eps", type = "number", min = 0, doc = "added to the variance; default: the norm's" },
  { name = "init", type = "string", choices = initpolicy.names, doc = "initialisation; default: the placement's" },
  { name = "init_std", type = "number", min = 0, preset = 0.02, doc = "standard deviation of the initialisation" },
  { name = "embed_std", type = "number", min = 0, doc = "that of the embedding; default: the initialisation's" },
  { name = "dropout", type = "number", min = 0, max = 0.99, preset = 0,
    doc = "probability, at the embedding and at each branch" },
  { name = "seed", type = "integer", preset = 0, doc = "of everything random in the model" },
  { name = "layers", type = "table", preset = {}, doc = "block (from 0) -> options that differ there",
    each = { name = "layer", type = "table", fields = layer_schema, doc = "one block's options" } },
}

--- What the branches of a block are called.
transformer.branches = { attn = "attention", ffn = "feed-forward layer" }

--- Options of the model that modules take under a name of their own: kind -> module's option -> model's option.
transformer.shared_names = {
  norm = { eps = "norm_eps" },
  attention = { heads = "heads", kv_heads = "kv_heads", head_dim = "head_dim", rope_theta = "rope_theta",
    alibi = "positions" },
  ffn = { hidden = "ffn_hidden" },
}

local function resolve_module(kind, given, config, asked, where)
  local shared, set = {}, {}
  for option, name in pairs(transformer.shared_names[kind]) do
    shared[option] = config[name]
    if asked[name] ~= nil then set[option] = name end
  end
  return module.resolve(kind, given, shared, set, function() return where(kind) end)
end

local function resolve_final(config, asked, where)
  local given = config.final_norm or config.norm
  local name, options = module.spec(given, "norm", function() return where "final_norm" end)
  if name ~= NO_NORM then return resolve_module("norm", given, config, asked, where) end
  args.check({}, options, "final_norm 'none'", function() return where "final_norm" end)
  return { name = name, options = {} }
end

local function resolve_placement(given, where)
  if type(given) == "function" then return { name = "custom", build = given, options = {}, init = "normal" } end
  local function place() return where("placement") end
  local name, options = module.spec(given, "placement", place)
  local found = placement.find(name, place)
  return {
    name = name, build = found.build, init = found.init, check = found.check,
    options = args.check(found.options, options, "placement '" .. name .. "'", place),
  }
end

-- Options that belong to the norm's method, where neither the user nor a preset has set them.
local function take_suggestions(config, norm, where)
  for key, value in string.gmatch(core.module("norm", norm.name).suggests or "", "([%w_]+)=(%S+)") do
    local names = {}
    for i, option in ipairs(transformer.schema) do
      names[i], names[option.name] = option.name, true
    end
    if not names[key] then
      error(args.place(where) .. "norm '" .. norm.name .. "' suggests an option '" .. key .. "' that models do not have"
        .. args.hint(key, names), 0)
    end
    if config[key] == nil then config[key] = tonumber(value) or value end
  end
end

-- The model's options as attentions take them (shared_names), and which of them the user has set: with learned
-- positions nothing is rotated.
local function attention_options(config, asked)
  local values, set = {}, {}
  for _, name in pairs(transformer.shared_names.attention) do values[name], set[name] = config[name], asked[name] end
  set.kv_heads = asked.kv_heads or asked.groups
  values.positions = config.positions == "alibi" or nil
  set.positions = values.positions
  if config.positions == "learned" then values.rope_theta = 0 end
  return values, set
end

-- Options of positions and embedding that have no effect are refused.
local function check_embedding(config, where)
  local function refuse(key, why)
    error(where(key) .. "option '" .. key .. "' of transformer has no effect: " .. why, 0)
  end
  if config.positions ~= "rope" and config.rope_theta ~= nil then
    refuse("rope_theta", "the positions are " .. config.positions)
  end
  if config.position_offset > 0 and config.positions ~= "learned" then
    refuse("position_offset", "the positions are not learned")
  end
  if config.embed_width and config.features then
    refuse("embed_width", "a model of features has no embedding of tokens")
  end
  if config.embed_width == config.width then config.embed_width = nil end
end

-- Key and value heads by the number of query heads that share one.
local function take_groups(config, where)
  local groups, heads = config.groups, config.heads or math.max(1, math.floor(config.width / 64))
  if not groups then return end
  if config.kv_heads then error(where "groups" .. "a transformer has either groups or kv_heads, not both", 0) end
  local function shared(n)
    if n % groups ~= 0 then
      error(where "groups" .. string.format("heads %d of transformer is no multiple of groups %d", n, groups), 0)
    end
    return math.floor(n / groups)
  end
  config.groups = nil
  if type(heads) ~= "table" then
    config.kv_heads = shared(heads)
    return
  end
  config.kv_heads = {}
  for index, n in ipairs(heads) do config.kv_heads[index] = shared(n) end
end

-- heads, kv_heads and head_dim follow from each other and the width.
local function resolve_heads(config, where)
  config.heads = config.heads or math.max(1, math.floor(config.width / 64))
  config.kv_heads = config.kv_heads or config.heads
  if not config.head_dim then
    if config.width % config.heads ~= 0 then
      error(where("heads")
        .. string.format("width %d of transformer is no multiple of heads %d; choose other heads, or set head_dim",
        config.width, config.heads), 0)
    end
    config.head_dim = math.floor(config.width / config.heads)
  end
  if config.heads % config.kv_heads ~= 0 then
    error(where("kv_heads")
      .. string.format("heads %d of transformer is no multiple of kv_heads %d", config.heads, config.kv_heads), 0)
  end
end

-- Sizes that are lists, one entry for each block, are taken out of the options, where the one of the block with the
-- most heads takes their place.
local function take_lists(config, where)
  local lists, most = {}, 1
  for _, name in ipairs { "heads", "kv_heads", "ffn_hidden" } do
    local list = config[name]
    if type(list) == "table" then
      if #list ~= config.depth then
        error(where(name) .. string.format("option '%s' of transformer lists %d sizes for %d blocks", name, #list,
          config.depth), 0)
      end
      lists[name] = list
    end
  end
  for index, heads in ipairs(lists.heads or {}) do
    if heads > lists.heads[most] then most = index end
  end
  for name, list in pairs(lists) do config[name] = list[most] end
  return lists
end

-- The sizes of a block that are its own: from `layers` or from the lists.
local function own_sizes(own, lists, index, where)
  local sizes = {}
  for _, name in ipairs { "heads", "kv_heads", "head_dim", "ffn_hidden" } do
    local listed = lists[name] and lists[name][index + 1]
    if listed and own[name] then
      error(where "layers" .. string.format("layers of transformer: '%s' of block %d is in the list '%s' too", name,
        index, name), 0)
    end
    sizes[name] = own[name] or listed
  end
  return sizes
end

-- A module of a block with sizes of its own. `given` is what the block says of it, `common` what the model says; what
-- the model's module says of these sizes does not count.
local function sized(kind, given, common, sizes, index, where)
  local of = given or common
  if type(of) ~= "table" then return of end
  local copy = {}
  for key, value in pairs(of) do copy[key] = value end
  for option, name in pairs(transformer.shared_names[kind]) do
    if sizes[name] and copy[option] ~= nil then
      if given then
        error(where "layers" .. string.format("layers of transformer: block %d has '%s', and its %s '%s' too", index,
          name, kind, option), 0)
      end
      copy[option] = nil
    end
  end
  return copy
end

-- The attention and the feed-forward layer of a block, by its own sizes where it has some.
local function resolve_branches(config, asked, own, sizes, index, where)
  local function over(under, of) return setmetatable(of, { __index = under }) end
  local values, set = attention_options(config, asked)
  values = over(values, { heads = sizes.heads, kv_heads = sizes.kv_heads, head_dim = sizes.head_dim })
  set = over(set, { heads = sizes.heads, kv_heads = sizes.kv_heads, head_dim = sizes.head_dim })
  if sizes.heads and not set.kv_heads then values.kv_heads = sizes.heads end
  local attention = resolve_module("attention",
    sized("attention", own.attention, config.attention, sizes, index, where), values, set, where)
  local heads, groups = attention.options.heads, attention.options.kv_heads
  if heads and groups and groups > 0 and heads % groups ~= 0 then
    error(where "layers" .. string.format("layers of transformer: block %d: heads %d is no multiple of kv_heads %d",
      index, heads, groups), 0)
  end
  local ffn = sized("ffn", own.ffn, config.ffn, sizes, index, where)
  return attention, resolve_module("ffn", ffn, over(config, { ffn_hidden = sizes.ffn_hidden }),
    over(asked, { ffn_hidden = sizes.ffn_hidden }), where)
end

local function resolve_layers(config, asked, lists, where)
  local overrides, layers = {}, {}
  for key, layer in pairs(config.layers) do
    local index = tonumber(key)
    if not index or index ~= math.floor(index) or index < 0 or index >= config.depth then
      error(where("layers") .. "layers of transformer: there is no block " .. tostring(key) .. "; blocks are 0.."
        .. (config.depth - 1), 0)
    end
    overrides[index] = layer
  end
  for index = 0, config.depth - 1 do
    local own = overrides[index] or {}
    local sizes = own_sizes(own, lists, index, where)
    local attention, ffn = resolve_branches(config, asked, own, sizes, index, where)
    layers[index + 1] = {
      norm = resolve_module("norm", own.norm or config.norm, config, asked, where), attention = attention, ffn = ffn,
      placement = resolve_placement(own.placement or config.placement, where),
      layer = own.layer or index + 1, depth = own.depth or config.depth, share = own.share, without = own.without,
    }
    local layer = layers[index + 1]
    if layer.layer > layer.depth then
      error(where("layers") .. string.format("layers of transformer: block %d cannot count as layer %d of %d", index,
        layer.layer, layer.depth), 0)
    end
    local shared = layer.share and layer.share < index and layers[layer.share + 1]
    if shared and shared.without and shared.without ~= layer.without then
      error(where("layers") .. string.format("layers of transformer: block %d cannot share the weights of block %d, "
        .. "which has no %s",
        index, layer.share, transformer.branches[shared.without]), 0)
    end
    if layer.share and layer.share >= index then
      error(where("layers") .. string.format("layers of transformer: block %d can only share the weights of an earlier "
        .. "block, not of %d",
        index, layer.share), 0)
    end
  end
  return layers
end

-- What the model reads and what it learns go together.
local function resolve_objective(config, where)
  if config.objective then config.objective = objective.resolve(config.objective,
    function() return where "objective" end) end
  local found = config.objective or objective.resolve("language_model", where)
  if not config.vocab and not config.features then
    error(where "vocab" .. "option 'vocab' of transformer is missing: tokens V of the vocabulary (or features, for a "
      .. "model that reads "
      .. "numbers)", 0)
  end
  if config.vocab and config.features then
    error(where "features" .. "a transformer reads either tokens (vocab) or features, not both", 0)
  end
  if config.features and config.tie then
    error(where "tie" .. "option 'tie' of transformer has no effect: a model of features has no embedding of tokens "
      .. "that a head could share; leave it out", 0)
  end
  if not config.vocab and found.name == "language_model" then
    error(where "objective" .. "a transformer of features has no next token to predict; give another objective, such "
      .. "as classifier", 0)
  end
  return found
end

--- A model. Its parameters get their first values when it is trained or run, or by model:init().
---@param options table     see transformer.schema
---@param where? sonde.where   the place of an option, for messages; default: the user's line
---@return sonde.model
function transformer.new(options, where)
  local asked = type(options) == "table" and options or {}
  local config = args.check(transformer.schema, options, "transformer", where)
  local function place(key) return where and where({ key }) or core.where() end
  local learns = resolve_objective(config, place)
  take_groups(config, place)
  local lists = take_lists(config, place)
  resolve_heads(config, place)
  check_embedding(config, place)
  local layers = resolve_layers(config, asked, lists, place)
  local final = resolve_final(config, asked, place)
  take_suggestions(config, resolve_module("norm", config.norm, config, asked, place), place)
  config.embed_scale = config.embed_scale or "none"
  local main = resolve_placement(config.placement, place)
  config.init = config.init or main.init
  local warning = main.check and main.check(config)
  if warning then core.warn(place() .. warning) end
  return model.new(config, layers, final, learns)
end

return args.declare(transformer, "sonde.transformer.", {
  new = { as = "sonde.transformer", { name = "options", type = "any" }, { name = "where", type = "function" } },
})
