--- plain.lua - the same function as a plainer model: what only Sonde has a word for goes into the weights, exactly, so
-- that an architecture that other programs know can express what is left.
--
--   LayerNorm Scaling                    its factor into the norms' gains (and biases)
--   LayerScale, SkipInit, branch_scale   their factors into the weights at the end of each branch
--   a scaled embedding, scaled logits    the factor into embedding and head, where these are not tied
--   a factor of the attention's scores   into the queries' weights, or their norm's gain
--   gains around 1 (unit_offset)         gains
--   gains folded by model:fold           gains of 1
--   a branch that a block lacks          one whose weights are 0
--   blocks that share their weights      copies
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

-- The factor of a block's branches that its placement has as a number.
local function branch_scale(layer)
  return layer.placement.name == "pre_ln" and layer.placement.options.branch_scale or 1
end

-- Norms whose result is proportional to their gain and bias, and depends on nothing else of the block.
local proportional = { rmsnorm = true, layernorm = true }

local function factor_of(layer)
  local of = factors[layer.placement.name]
  return of and proportional[layer.norm.name] and of(layer) or nil
end

-- What the queries of a block are times where the scores have a factor of their own.
local function query_factor(model, layer)
  local options = layer.attention.options
  if layer.attention.name ~= "causal" or options.score_scale == 0 or options.clip ~= 0 then return 1 end
  local head_dim = options.head_dim > 0 and options.head_dim or model.config.head_dim
  return options.score_scale * math.sqrt(head_dim)
end

-- The options of a norm whose gain is a gain.
local function plain_norm(norm, say)
  if norm.folded then say "norms without gains have gains of 1" end
  if norm.unit_offset then say "gains are not less 1" end
  norm.folded, norm.unit_offset = norm.folded and false, norm.unit_offset and false
end

-- The options of an attention whose scores have the usual factor.
local function plain_attention(attention, say)
  if (attention.score_scale or 0) == 0 or attention.clip ~= 0 then return end
  say "the factor of the scores is in the queries' weights"
  attention.score_scale = 0
end

-- The options outside the blocks.
local function plain_ends(options, say)
  if options.tie or not options.vocab then return end
  if options.embed_scale ~= "none" then say "the embedding's factor is in its weights" end
  if options.logit_scale ~= 1 then say "the logits' factor is in the head" end
  options.embed_scale, options.logit_scale = "none", 1
end

-- The model's options in plainer words, and what went into the weights.
local function plainer(model)
  local options, said, layers = folder.options(model), {}, {}
  local function say(text) said[text] = true end
  for index, layer in ipairs(model.layers) do
    local own = options.layers[tostring(index - 1)] or {}
    layers[tostring(index - 1)] = own
    if own.norm then plain_norm(own.norm, say) end
    if own.attention then plain_attention(own.attention, say) end
    if factor_of(layer) then
      local name = layer.placement.name
      if name == "lns" then
        say "the factors of LayerNorm Scaling are in the norms' gains"
      elseif name == "layerscale" or name == "skipinit" or branch_scale(layer) ~= 1 then
        say "the factors of the branches are in the weights at their ends"
      elseif name ~= "pre_ln" then
        say("where the placement is " .. name .. ", it is pre_ln")
      end
      own.placement, own.layer, own.depth = { name = "pre_ln" }, nil, nil
    else
      own.placement = own.placement or options.placement
    end
    if own.without then say "branches that blocks lack are there, with weights of 0" end
    if own.share then say "blocks that shared their weights have copies" end
    own.without, own.share = nil, nil
  end
  plain_norm(options.norm, say)
  plain_norm(options.final_norm, say)
  plain_attention(options.attention, say)
  plain_ends(options, say)
  options.placement, options.layers = layers["0"].placement, layers
  return options, said
end

-- What embedding and head are times; nil: 1.
local function end_factor(model, graph, name)
  local config = model.config
  if config.tie then return nil end
  if name == names.head then return config.logit_scale ~= 1 and graph:constant(config.logit_scale, { 1 }) or nil end
  if config.embed_scale == "learned" then return model:params():node(graph, names.embed_scale) end
  local scale = config.embed_scale == "fixed" and math.sqrt(config.width) or config.embed_scale
  return type(scale) == "number" and graph:constant(scale, { 1 }) or nil
end

-- What the weights at the end of a branch are times, of the block with that index; nil: 1.
local function branch_factor(model, graph, index, slot, dims)
  local from, scale = model:params(), names.block(index) .. "placement." .. slot .. "_scale"
  if branch_scale(model.layers[index + 1]) ~= 1 then
    return graph:constant(branch_scale(model.layers[index + 1]), { 1 })
  end
  if not from:find(scale) then return nil end
  local node = from:node(graph, scale)
  return #dims >= 2 and node:reshape { node:dims()[1], 1 } or node
end

-- What a parameter of the plain model is times, as a node; nil: 1. `roles`: of all parameters, by name.
local function factor_node(model, graph, param, roles)
  local index, rest = names.in_block(param.name)
  if param.name == names.embedding or param.name == names.head then return end_factor(model, graph, param.name) end
  if not index then return nil end
  local layer, weight = model.layers[index + 1], string.gsub(param.name, "%.bias$", ".weight")
  local of_queries = layer.attention.options.qk_norm and "%.q_norm%." or "%.q_proj%."
  if string.find(rest, of_queries) then return graph:constant(query_factor(model, layer), { 1 }) end
  local factor = factor_of(layer)
  for _, slot in ipairs(factor and { "attn", "ffn" } or {}) do
    if rest == names.norms[slot] .. ".weight" or rest == names.norms[slot] .. ".bias" then
      return graph:constant(factor, { 1 })
    end
    if roles[weight] == slot .. "_out" then return branch_factor(model, graph, index, slot, param.dims) end
  end
end

-- The norm that a parameter belongs to: its options in the model; nil for other parameters.
local function norm_of(model, name)
  local index, rest = names.in_block(name)
  if not index then return string.find(name, names.final_norm, 1, true) and model.final.options or nil end
  for _, norm in pairs(names.norms) do
    if string.sub(rest, 1, #norm + 1) == norm .. "." then return model.layers[index + 1].norm.options end
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
    local norm = there[param.name] and param.role == "gain" and norm_of(model, param.name)
    if norm and norm.unit_offset then value = value + 1 end
    local factor = factor_node(model, graph, param, roles)
    local plan = core.plan({ value * (factor or 1) }, nil, { to:find(param.name) })
    plan:run()
    plan:close()
    graph:close()
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
