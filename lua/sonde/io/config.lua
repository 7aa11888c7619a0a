--- config.lua - what a config.json says of a model, and what a model says in one.
--
-- The keys of an architecture (io/arch) are what other programs read and change, so in its folders they count, and the
-- section "sonde" only adds what they have no word for (initialisation, dropout, seed). A key that changes what a model
-- computes is understood or refused by its name; all others are kept for the folders that are made of this one.

local core = require "sonde.core"
local arch = require "sonde.io.arch"
local keys = require "sonde.io.arch.parts.keys"

local config = {}

--- The options of the model as plain values, with every module's options in place.
---@param model sonde.model
---@return table
function config.plain(model)
  local options = {}
  for key, value in pairs(model.config) do options[key] = value end
  local function flat(module)
    local t = { name = module.name }
    for key, value in pairs(module.options) do t[key] = value end
    return t
  end
  local first = model.layers[1]
  options.norm, options.attention, options.ffn = flat(first.norm), flat(first.attention), flat(first.ffn)
  options.placement, options.final_norm, options.layers = flat(first.placement), flat(model.final), {}
  for index, layer in ipairs(model.layers) do
    local own = {}
    if layer.layer ~= index then own.layer = layer.layer end
    if layer.depth ~= model.config.depth then own.depth = layer.depth end
    own.share, own.without = layer.share, layer.without
    for _, kind in ipairs { "norm", "attention", "ffn", "placement" } do
      local this = flat(layer[kind])
      if core.json_encode(this) ~= core.json_encode(flat(first[kind])) then own[kind] = this end
    end
    if next(own) then options.layers[tostring(index - 1)] = own end
  end
  -- Those that stand in the modules' own options now.
  options.rope_theta, options.norm_eps, options.ffn_hidden = nil, nil, nil
  return options
end

-- ---- reading -------------------------------------------------------------------------------------------------

-- What the keys of an architecture have no word for, and what a change of them leaves true.
local own_keys = { "init", "init_std", "embed_std", "dropout", "seed" }

--- In what the computation of two models differs beside the shapes of weights: "placement lns, not pre_ln".
---@param model sonde.model
---@param other sonde.model
---@return string[]
function config.differences(model, other)
  local list = {}
  local function compare(name, a, b)
    if type(a) == "table" and type(b) == "table" and a.name == b.name and name ~= "layers" then
      for key, value in pairs(a) do compare(name .. "." .. key, value, b[key]) end
    elseif core.json_encode { a } ~= core.json_encode { b } then
      local function text(value) return type(value) == "table" and (value.name or "others") or tostring(value) end
      list[#list + 1] = string.format("%s %s, not %s", name, text(a), text(b))
    end
  end
  local a, b = config.plain(model), config.plain(other)
  for _, key in ipairs { "norm", "final_norm", "placement", "attention", "ffn", "embed_scale", "embed_width",
    "positions", "position_offset", "logit_scale", "logit_softcap", "tie", "features", "objective", "layers" } do
    compare(key, a[key], b[key])
  end
  table.sort(list)
  return list
end

-- Options for a folder of an architecture that Sonde made: those of the section where the other keys agree with it.
local function merged(of, theirs, own, path, make, tree)
  local mine = make(own)
  mine.origin = { config = tree, files = {}, left = {} }      -- what is said of it depends on what was said before
  local reason = of.why_not(mine)
  if reason then
    error(core.where() .. path .. ": model_type is '" .. of.name .. "', but in the section 'sonde' " .. reason
      .. "; take the section out to open it as the other keys describe it", 0)
  end
  local list = of.changes(make(theirs), mine)
  if #list == 0 then return own end
  for _, key in ipairs(own_keys) do theirs[key] = own[key] end
  return theirs, "changed since Sonde wrote the section 'sonde', which does not count there: "
    .. table.concat(list, ", ")
end

--- The options of the model that a config.json describes.
---@param tree table                          config.json, nulls as core.null
---@param path string                         for messages
---@param make fun(options: table): sonde.model
---@return table options, string|nil note, sonde.architecture of
function config.options(tree, path, make)
  local function refuse(text) error(core.where() .. path .. ": " .. text, 0) end
  local nulls
  tree, nulls = keys.without_nulls(tree)
  local own = type(tree.sonde) == "table" and tree.sonde.model
  if type(own) ~= "table" then own = nil end
  if own and type(own.placement) == "table" and own.placement.name == "custom" then
    refuse("the placement was a function without a name; register it with sonde.placement to open such models")
  end
  local of = arch.of(tree, own ~= nil, refuse)
  if of.whole then
    of.check(tree, make(own), refuse)
    return own, nil, of
  end
  local theirs, note = of.options(tree, refuse, nulls)
  if not own then
    local unknown = table.concat(keys.unknown(tree, of.owns), ", ")
    if unknown == "" then return theirs, note, of end
    return theirs, (note and note .. "; " or "") .. "keys that are not known here have no effect, as in transformers: "
      .. unknown, of
  end
  local options, changed = merged(of, theirs, own, path, make, tree)
  return options, note or changed, of
end

--- The key quantization_config of a folder with sparse matrices: programs that do not know the method refuse the
--- folder, in place of taking random weights for those that they do not find.
config.sparse = { quant_method = keys.SPARSE, format = "bitmask" }

-- ---- writing -------------------------------------------------------------------------------------------------

--- The keys of a model's config.json: what its architecture says of it, the section "sonde", and of the folder that it
--- came from what does not speak of what it computes.
---@param model sonde.model
---@param before table      keys of the folder that it came from, nulls as core.null
---@return table keys, sonde.architecture of
function config.write(model, before)
  local of, tree = arch.to_write(model, before), {}
  for name, value in pairs(before) do
    if name ~= "sonde" and arch.keeps(of, before, name) then tree[name] = value end
  end
  tree.sonde = { version = core.version, model = config.plain(model) }
  arch.sign(of, tree)
  of.write(model, tree, before)
  return tree, of
end

return config
