--- experts.lua - mixtures of experts in the folders of decoders: their keys, which blocks have one, their tensors.
--
-- An expert is a tensor of its own in the files, and all experts of a block are one parameter [E, out, in] here. What
-- trains a router (the weights of its losses) is no part of what a model computes: router_aux_loss_coef is carried
-- along, and the module's own options count.

local core = require "sonde.core"
local graph = require "sonde.graph"
local keys = require "sonde.io.arch.parts.keys"
local names = require "sonde.model.names"

local experts = {}

local unpack = table.unpack or unpack    -- luacheck: ignore

---@class sonde.expert_rules
---@field count string[]           keys that say how many there are, of which the first is written
---@field presets integer[]        experts, and those that a token goes to, when absent
---@field width? string            key of their inner width; nil: intermediate_size
---@field width_preset? integer
---@field renormalize true|string  whether the weights of a token are made to sum to 1, or the key that says it
---@field sparse? boolean          whether decoder_sparse_step and mlp_only_layers say which blocks have them
---@field shared? string           key of the inner width of an expert that all tokens go to, with a gate
---@field shared_preset? integer
---@field router string            what tensors of a block are called: the router's
---@field of_each string           and what those of an expert begin with, with %d for its number
---@field called? table<string, string>   projection -> its name there

--- The keys that are read.
---@param rules sonde.expert_rules
---@return string[]
function experts.keys(rules)
  local list = { "num_experts_per_tok", rules.width, rules.shared }
  if rules.renormalize ~= true then list[#list + 1] = rules.renormalize end
  for _, key in ipairs(rules.count) do list[#list + 1] = key end
  for _, key in ipairs(rules.sparse and { "decoder_sparse_step", "mlp_only_layers" } or {}) do list[#list + 1] = key end
  return list
end

-- ---- reading -------------------------------------------------------------------------------------------------------

local function read_count(rules, tree, refuse)
  local first, second = rules.count[1], rules.count[2]
  if second and tree[first] ~= nil and tree[second] ~= nil and tree[first] ~= tree[second] then
    refuse(string.format("'%s' is %s and '%s', which means the same, is %s; make the two agree", first,
      keys.shown(tree[first]), second, keys.shown(tree[second])))
  end
  local key = second and tree[first] == nil and tree[second] ~= nil and second or first
  return keys.count(tree, key, rules.presets[1], refuse)
end

-- Which blocks have a dense layer, by number from 0.
local function read_dense(rules, tree, depth, refuse)
  local dense = {}
  if not rules.sparse then return dense end
  local step = keys.count(tree, "decoder_sparse_step", 1, refuse)
  for index = 0, depth - 1 do dense[index] = (index + 1) % step ~= 0 or nil end
  for _, index in ipairs(keys.get(tree, "mlp_only_layers", "table", {}, refuse)) do
    if type(index) ~= "number" or index < 0 or index >= depth or index ~= math.floor(index) then
      refuse("'mlp_only_layers' has " .. keys.shown(index) .. ", which is none of the " .. depth
        .. " layers, from 0")
    end
    dense[index] = true
  end
  return dense
end

--- The feed-forward layers of a model: the module of a mixture, and the blocks (from 0) that have `ffn` instead.
---@param rules sonde.expert_rules
---@param tree table
---@param options table           of the model, as far as they are read
---@param refuse fun(text: string)
---@return table moe, table<integer, boolean> dense
function experts.read(rules, tree, options, refuse)
  local count, top = read_count(rules, tree, refuse), keys.count(tree, "num_experts_per_tok", rules.presets[2], refuse)
  if top > count then
    refuse(string.format("'num_experts_per_tok' %d is more than there are experts ('%s' %d)", top, rules.count[1],
      count))
  end
  local moe = { name = "moe", experts = count, top_k = top, activation = options.ffn.activation,
    hidden = options.ffn_hidden, renormalize = rules.renormalize == true }
  if rules.width then moe.hidden = keys.count(tree, rules.width, rules.width_preset, refuse) end
  if rules.renormalize ~= true then moe.renormalize = keys.get(tree, rules.renormalize, "boolean", false, refuse) end
  if rules.shared then
    moe.shared, moe.shared_combine = keys.count(tree, rules.shared, rules.shared_preset, refuse), "gated"
  end
  return moe, read_dense(rules, tree, options.depth, refuse)
end

--- The option `layers` with dense layers where the folder has them.
---@param rules sonde.expert_rules
---@param options table                      of the model; `layers` is changed
---@param dense table<integer, boolean>
---@param ffn table                          of a dense block
---@param list sonde.block_keys[]
---@param refuse fun(text: string)
function experts.place_dense(rules, options, dense, ffn, list, refuse)
  for index = 0, options.depth - 1 do
    local own = list[index + 1].hidden
    if own and rules.width and not dense[index] then
      refuse("'per_layer_config." .. index .. "' has 'intermediate_size', but the block has experts")
    end
    if dense[index] then
      local layer = options.layers[tostring(index)] or {}
      layer.ffn = { name = ffn.name, activation = ffn.activation, hidden = own or options.ffn_hidden }
      options.layers[tostring(index)] = layer
    end
  end
end

-- ---- writing -------------------------------------------------------------------------------------------------------

--- The inner width of a block's experts.
---@param model sonde.model
---@param index integer         from 0
---@return integer|nil
function experts.hidden(model, index)
  local option = model.layers[index + 1].ffn.options.hidden
  if option ~= 0 then return option end
  local weight = model:params():find(names.block(index) .. names.ffn .. ".experts.up_proj.weight")
  return weight and weight:dims()[2]
end

--- The keys that say what the mixtures of a model are.
---@param rules sonde.expert_rules
---@param model sonde.model
---@return table
function experts.write(rules, model)
  local said, dense = {}, core.list()
  for k, layer in ipairs(model.layers) do
    local options = layer.ffn.options
    if layer.ffn.name ~= "moe" then
      dense[#dense + 1] = k - 1
    elseif not said[rules.count[1]] then
      said[rules.count[1]], said.num_experts_per_tok = options.experts, options.top_k
      if rules.width then said[rules.width] = experts.hidden(model, k - 1) end
      if rules.renormalize ~= true then said[rules.renormalize] = options.renormalize end
      if rules.shared then said[rules.shared] = options.shared end
    end
  end
  if rules.sparse then said.decoder_sparse_step, said.mlp_only_layers = 1, dense end
  return said
end

-- ---- tensors -------------------------------------------------------------------------------------------------------

-- The matrices of the experts, one tensor each, as one parameter of that shape, and back.
local function apart(dims)
  local function split(...)
    local parts = {}
    for e, node in ipairs { ... } do parts[e] = node:reshape { 1, dims[2], dims[3] } end
    return { graph.concat(parts, 1) }
  end
  local function join(nodes)
    local parts = {}
    for e = 1, dims[1] do parts[e] = nodes[1]:slice(1, e, e):reshape { dims[2], dims[3] } end
    return unpack(parts)
  end
  return split, join
end

--- Entries (arch/init.lua) as `others` gives them, with each expert as tensors of its own.
---@param rules sonde.expert_rules
---@param others fun(model: sonde.model, params: table[]): table[]
---@return fun(model: sonde.model, params: table[]): table[]
function experts.tensors(rules, others)
  return function(model, params)
    local dims, entries = {}, others(model, params)
    for _, param in ipairs(params) do dims[param.name] = param.dims end
    for _, entry in ipairs(entries) do
      local name = entry.params[1]
      local block, rest = names.in_block(name)
      local which = string.match(rest or "", "^" .. names.ffn .. "%.experts%.(.+)%.weight$")
      if rest == names.ffn .. ".gate.weight" then
        entry.tensor = names.block(block) .. rules.router .. ".weight"
      elseif which then
        entry.tensor, entry.tensors = nil, {}
        for e = 1, dims[name][1] do
          entry.tensors[e] = names.block(block) .. string.format(rules.of_each, e - 1)
            .. (rules.called and rules.called[which] or which) .. ".weight"
        end
        entry.split, entry.join = apart(dims[name])
      end
    end
    return entries
  end
end

return experts
