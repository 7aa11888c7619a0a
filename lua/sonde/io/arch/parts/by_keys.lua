--- by_keys.lua - architectures that are all said by keys of config.json: what is done with a model of one follows from
-- two functions, the keys that describe a model and the options that keys describe.
--
-- A model is of such an architecture if the keys that describe it describe that model. So no list of what a model must
-- not have can miss an option that comes later.

local core = require "sonde.core"
local arch = require "sonde.io.arch"
local keys = require "sonde.io.arch.parts.keys"
local names = require "sonde.model.names"
local rope = require "sonde.io.arch.parts.rope"
local sorted_keys = require "sonde.base.sorted_keys"

local by_keys = {}

--- The inner width of a model's feed-forward layers, or nil where they have none.
---@param model sonde.model
---@return integer|nil
function by_keys.hidden(model)
  local option = model.layers[1].ffn.options.hidden
  if option ~= 0 then return option end
  local weight = model:params():find(names.block(0) .. names.ffn .. ".up_proj.weight")
  return weight and weight:dims()[1]
end

-- The options of a mixture of experts without those of its training.
local function effective_experts(module)
  local options = {}
  for name, value in pairs(module.options) do options[name] = value end
  options.balance, options.z_loss, options.balance_scaling = nil, nil, nil
  if options.shared == 0 then options.shared_combine = nil end
  return options
end

-- A module's options without those that have no effect beside the others.
local function effective(module, config)
  if module.name == "moe" then return effective_experts(module) end
  if module.name ~= "causal" then return module.options end
  local options = rope.effective(module.options)
  if not options.qk_norm then
    for name in pairs(module.options) do
      if name ~= "qk_norm" and string.find(name, "^qk_") then options[name] = nil end
    end
  end
  if options.score_scale == 0 then options.score_scale = (options.head_dim or config.head_dim) ^ -0.5 end
  return options
end

-- Whether two values are the same: numbers to the twelve digits that a conversion leaves.
local function same(one, other)
  if type(one) ~= "number" or type(other) ~= "number" then return one == other end
  return string.format("%.12g", one) == string.format("%.12g", other)
end

-- In what the same module of two models differs, or nil. An inner width by default is the width that the other has.
local function module_difference(what, a, b, config)
  if a.name ~= b.name then return string.format("the %s is '%s'", what, a.name) end
  local one, other = effective(a, config), effective(b, config)
  for _, name in ipairs(sorted_keys(one)) do
    if not same(one[name], other[name]) and not (name == "hidden" and one[name] == 0) then
      return string.format("the %s's %s is %s", what, name, tostring(one[name]))
    end
  end
end

local kinds = { { "norm", "norm" }, { "placement", "placement" }, { "attention", "attention" },
  { "ffn", "feed-forward layer" } }

local names_of = { attn = "attention", ffn = "ffn" }
local branches = { attn = "attention", ffn = "feed-forward layer" }

local function block_difference(a, b, config)
  if a.share then return "the weights are those of block " .. a.share end
  if a.without ~= b.without then
    return a.without and "there is no " .. branches[a.without] or "there is a " .. branches[b.without]
  end
  for _, kind in ipairs(kinds) do
    local found = kind[1] ~= names_of[a.without] and module_difference(kind[2], a[kind[1]], b[kind[1]], config)
    if found then return found end
  end
end

-- Options of a model that change what it computes, with what a message says of another value.
local scalars = {
  { "features", "it reads features" }, { "embed_scale", "the embedding is scaled" },
  { "embed_width", "the embedding has a width of its own" }, { "positions", "the positions are of another kind" },
  { "position_offset", "the positions have an offset" }, { "logit_scale", "the logits are scaled" },
  { "logit_softcap", "the logits have a soft-cap" }, { "tie", "head and embedding are tied, or not" },
}

-- The first thing in which a model differs from another one of its depth.
local function difference(a, b)
  for _, scalar in ipairs(scalars) do
    if not same(a.config[scalar[1]], b.config[scalar[1]]) then return scalar[2] end
  end
  if core.json_encode(a.objective) ~= core.json_encode(b.objective) then
    return "its objective is '" .. a.objective.name .. "'"
  end
  local found = module_difference("final norm", a.final, b.final, a.config)
  if found then return found end
  for index, layer in ipairs(a.layers) do
    found = block_difference(layer, b.layers[index], a.config)
    if found then return found .. " in block " .. (index - 1) end
  end
end

-- The model, without weights, that keys describe; nil and why they are refused, or why there is no such model.
local function described(spec, tree)
  local given, nulls = keys.without_nulls(tree)
  local ok, options = pcall(spec.options, given, function(text) error({ refused = text }, 0) end, nulls)
  if not ok and type(options) ~= "table" then error(options, 0) end
  if not ok then return nil, options.refused end
  local made, model = pcall(require("sonde.model.transformer").new, options, function() return "" end)
  if not made then return nil, model end
  model.origin = { config = tree, files = {}, left = {} }      -- what is said of it may depend on what was said
  return model
end

-- The names of keys that two models say otherwise: "n_head is 4, not 2".
local function changed(now, before)
  local list, all = {}, {}
  for _, tree in ipairs { now, before } do
    for name in pairs(tree) do all[name] = true end
  end
  for _, name in ipairs(sorted_keys(all)) do
    if core.json_encode { now[name] } ~= core.json_encode { before[name] } then
      list[#list + 1] = string.format("%s is %s, not %s", name, keys.shown(now[name]), keys.shown(before[name]))
    end
  end
  return list
end

--- Registers an architecture by two functions, beside the fields of arch/init.lua that do not follow from them:
---   keys_of(model)          the keys that describe a model, as far as it has what they speak of
---   options(tree, refuse)   the options that keys describe; keys that it does not read and that change what a model
---                           computes must be refused
--- and `reads`, the set of all keys that `options` reads. A model that was read from a folder of the architecture and
--- that its keys still describe keeps them as they were spelt.
---@param name string
---@param spec table
---@return sonde.architecture
function by_keys.register(name, spec)
  local info = {
    why_not = function(model)
      local there, refused = described(spec, spec.keys_of(model))
      if not there then return refused end
      return difference(model, there)
    end,
    write = function(model, tree, before)
      local now, there = spec.keys_of(model), before.model_type == name and described(spec, before)
      if there and #changed(now, spec.keys_of(there)) == 0 then return end
      for key in pairs(spec.reads) do tree[key] = nil end
      for key, value in pairs(now) do tree[key] = value end
      local types = not spec.reads.layer_types and tree.layer_types
      if type(types) == "table" and #types ~= model.config.depth then tree.layer_types = nil end
    end,
    owns = function(key) return spec.reads[key] ~= nil or keys.is_foreign(key) end,
    changes = function(now, before) return changed(spec.keys_of(now), spec.keys_of(before)) end,
  }
  for key, value in pairs(spec) do
    if key ~= "keys_of" and key ~= "reads" then info[key] = value end
  end
  return arch.register(name, info)
end

return by_keys
