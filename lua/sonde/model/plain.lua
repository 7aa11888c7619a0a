--- plain.lua - the same function as a plainer model: what only Sonde has a word for goes into the weights, exactly, so
-- that an architecture that other programs know can express what is left.
--
--   LayerNorm Scaling                 its factor into the norms' gains (and biases)
--   LayerScale, SkipInit              their factors into the weights at the end of each branch
--   a scaled embedding, not tied      the factor into the embedding
--   gains folded by model:fold        gains of 1
--   a branch that a block lacks       one whose weights are 0
--   blocks that share their weights   copies
--   placements that are Pre-LN in this place, and those that only name an initialisation     pre_ln
--
-- The result is compared with the model before it is handed out.

local core = require "sonde.core"
local folder = require "sonde.io"
local fold = require "sonde.model.fold"
local init_policy = require "sonde.model.init_policy"
local names = require "sonde.model.names"
local sorted_keys = require "sonde.base.sorted_keys"

local plain = {}

local BOUND = 1e-4      -- how far rounding may carry the two apart, relative

-- The factor of the norms in front of a block's branches, by its placement; nil: the block is not of that form.
local function always() return 1 end
local function unless_first(layer)
  return not init_policy.is_first(layer.layer, layer.depth, layer.placement.options.a) and 1 or nil
end
local function at_first(layer)
  return layer.layer <= layer.placement.options.first and 1 or nil
end
local function is_fourth(layer) return layer.layer % layer.placement.options.every == 0 end
local factors = {
  pre_ln = always, pre_ln_scaled = always, pre_ln_mitchell = always, pre_ln_megatron = always, layerscale = always,
  skipinit = always, lns = function(layer) return 1 / math.sqrt(layer.layer) end, mix_ln = unless_first,
  scale_post_pre = unless_first, pre_post = at_first, pre_sandwich = at_first,
  pre_post_pre_post = function(layer) return not is_fourth(layer) and 1 or nil end,
  post_pre_post_pre = function(layer) return is_fourth(layer) and 1 or nil end,
}

-- Norms whose result is proportional to their gain and bias, and depends on nothing else of the block.
local proportional = { rmsnorm = true, layernorm = true }

local function factor_of(layer)
  local of = factors[layer.placement.name]
  return of and proportional[layer.norm.name] and of(layer) or nil
end

-- The model's options in plainer words, and what went into the weights.
local function plainer(model)
  local options, said, layers = folder.options(model), {}, {}
  local function say(text) said[text] = true end
  local function unfold(norm)
    if not norm.folded then return norm end
    say "norms without gains have gains of 1"
    norm.folded = false
    return norm
  end
  for index, layer in ipairs(model.layers) do
    local own = options.layers[tostring(index - 1)] or {}
    layers[tostring(index - 1)] = own
    if own.norm then unfold(own.norm) end
    if factor_of(layer) then
      if layer.placement.name == "lns" then say "the factors of LayerNorm Scaling are in the norms' gains" end
      if layer.placement.name == "layerscale" or layer.placement.name == "skipinit" then
        say "the factors of the branches are in the weights at their ends"
      end
      if layer.placement.name ~= "pre_ln" then say "the placement is pre_ln" end
      own.placement, own.layer, own.depth = { name = "pre_ln" }, nil, nil
    else
      own.placement = own.placement or options.placement
    end
    if own.without then say "branches that blocks lack are there, with weights of 0" end
    if own.share then say "blocks that shared their weights have copies" end
    own.without, own.share = nil, nil
  end
  unfold(options.norm)
  if options.embed_scale ~= "none" and not options.tie and options.vocab then
    say "the embedding's factor is in its weights"
    options.embed_scale = "none"
  end
  options.placement, options.layers = layers["0"].placement, layers
  return options, said
end

-- What a parameter of the plain model is made of by another one of the old model: its factor, a node, or nil.
local function factor_node(model, graph, param, roles)
  local from, block, rest = model:params(), names.in_block(param.name)
  if param.name == names.embedding then
    if model.config.tie then return nil end
    if model.config.embed_scale == "fixed" then return graph:constant(math.sqrt(model.config.width), { 1 }) end
    return model.config.embed_scale == "learned" and from:node(graph, names.embed_scale) or nil
  end
  local layer = block and model.layers[block + 1]
  if not layer or not factor_of(layer) then return nil end
  for _, slot in ipairs { "attn", "ffn" } do
    if rest == names.norms[slot] .. ".weight" or rest == names.norms[slot] .. ".bias" then
      return graph:constant(factor_of(layer), { 1 })
    end
    local scale = names.block(block) .. "placement." .. slot .. "_scale"
    local weight = string.gsub(param.name, "%.bias$", ".weight")
    if roles[weight] == slot .. "_out" and from:find(scale) then
      local node = from:node(graph, scale)
      return #param.dims == 2 and node:reshape { node:dims()[1], 1 } or node
    end
  end
end

local function copy_weights(model, into)
  local from, to, there, roles = model:params(), into:params(), {}, {}
  for _, param in ipairs(from:weights()) do there[param.name] = true end
  for _, param in ipairs(to:weights()) do roles[param.name] = param.role end
  for _, param in ipairs(to:list()) do
    local graph = core.graph()
    local value = there[param.name] and from:node(graph, param.name)
      or graph:constant(param.role == "gain" and 1 or 0, param.dims)
    local factor = factor_node(model, graph, param, roles)
    local plan = core.plan({ value * (factor or 1) }, nil, { to:find(param.name) })
    plan:run()
    plan:close()
    graph:close()
    to:loaded(param.name)
  end
end

--- The model in plainer words, and what of it went into the weights; the model itself and {} where nothing did.
---@param model sonde.model
---@return sonde.model plainer, string[] said
function plain.of(model)
  model:init()
  local options, set = plainer(model)
  local said = sorted_keys(set)
  if #said == 0 then return model, said end
  local other = require("sonde.model.transformer").new(options)
  copy_weights(model, other)
  other:init()
  local off = fold.distance(model, other)
  if off ~= off or off >= BOUND then
    error(core.where() .. string.format("the plainer model gives something else (%.2g of its size away); export it "
      .. "with fold = false", off), 0)
  end
  require("sonde.io.origin").inherit(model, other)
  return other, said
end

return plain
