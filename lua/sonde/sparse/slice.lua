--- slice.lua - a model with some of the heads, neurons and features of another one, with their weights.
--
-- A unit is a group of heads (a key and value head with the query heads that read it), a neuron of a feed-forward
-- layer, or a feature of the residual stream. Which axes of which parameters count them is found by comparing the
-- shapes with those of the same model in other sizes, so modules of plugins need no table here.

local core = require "sonde.core"
local cut = require "sonde.sparse.cut"
local folder = require "sonde.io"
local names = require "sonde.model.names"
local merged = require "sonde.base.merged"

local slice = {}

---@class sonde.units            how many units a block has
---@field groups integer         groups of heads KV; 0: without attention
---@field heads integer          query heads of a group
---@field head_dim integer
---@field neurons integer        inner width F of the feed-forward layer; 0: without one

---@class sonde.kept             the units that stay, counted from 0, in their order in the new model
---@field hidden? integer[]      features of the stream; nil: all
---@field blocks {groups: integer[], neurons: integer[]}[]

-- The matrix that a branch of a block ends with; nil where its module has none.
local function projection(model, index, role)
  for _, param in ipairs(model:params():weights()) do
    if param.block == index and param.role == role and #param.dims == 2 then return param end
  end
end

--- The weight at the end of a block's branch, which multiplies what units give; nil where there is none.
---@param model sonde.model
---@param index integer           the block, from 0
---@param branch "attn"|"ffn"
---@return string|nil
function slice.projection(model, index, branch)
  local param = projection(model, index, branch .. "_out")
  return param and param.name
end

-- What pruning by width cannot be done to, by block.
local function check(model)
  for index, layer in ipairs(model.layers) do
    local function refuse(why) error(core.where() .. "prune: block " .. (index - 1) .. " " .. why, 0) end
    local options = layer.attention.options
    if layer.share then refuse("shares the weights of block " .. layer.share .. ", so it has no width of its own") end
    if layer.without ~= "attn" then
      if options.heads == nil then refuse("has the attention '" .. layer.attention.name .. "', which has no heads") end
      if options.alibi then refuse "has ALiBi, whose slopes follow from the number of a head: heads cannot go" end
    end
    if layer.without ~= "ffn" and layer.ffn.options.hidden == nil then
      refuse("has the feed-forward layer '" .. layer.ffn.name .. "', which has no inner width")
    end
    for branch, module in pairs { attn = layer.attention, ffn = layer.ffn } do
      if layer.without ~= branch and not projection(model, index - 1, branch .. "_out") then
        refuse("has the module '" .. module.name .. "', which ends with no matrix")
      end
    end
  end
end

--- How many units each block has. Raises where a model cannot be pruned by width.
---@param model sonde.model
---@return sonde.units[]
function slice.units(model)
  check(model)
  local list = {}
  for index, layer in ipairs(model.layers) do
    local options, config = layer.attention.options, model.config
    local heads = options.heads > 0 and options.heads or math.max(1, math.floor(config.width / 64))
    local groups = options.kv_heads > 0 and options.kv_heads or heads
    local down = projection(model, index - 1, "ffn_out")
    list[index] = {
      groups = layer.without == "attn" and 0 or groups, heads = math.floor(heads / groups),
      head_dim = options.head_dim > 0 and options.head_dim or math.floor(config.width / heads),
      neurons = down and down.dims[2] or 0,
    }
  end
  return list
end

-- The options of a model of these sizes.
local function options_of(model, width, units)
  local options = folder.options(model)
  local common = { attention = options.attention, ffn = options.ffn }
  for index, size in ipairs(units) do
    local key, layer = tostring(index - 1), model.layers[index]
    local own = options.layers[key] or {}
    if size.groups > 0 then
      own.attention = merged(own.attention or common.attention,
        { heads = size.groups * size.heads, kv_heads = size.groups, head_dim = size.head_dim })
    end
    if size.neurons > 0 then own.ffn = merged(own.ffn or common.ffn, { hidden = size.neurons }) end
    own.without = size.groups == 0 and "attn" or size.neurons == 0 and "ffn" or layer.without
    options.layers[key] = own
  end
  -- The factor of the embedding stays what it was.
  if options.embed_scale == "fixed" and width ~= options.width then options.embed_scale = math.sqrt(options.width) end
  options.width = width
  return options
end

local function new_model(options)
  return require("sonde.model.transformer").new(options)
end

-- Sizes are multiplied by these to see which axes follow.
local FACTORS = { groups = 2, neurons = 3, hidden = 5 }

-- What each axis of each parameter counts: name -> list of "groups", "neurons", "hidden" or false.
local function axes_of(model, units)
  local others, axes, dims = {}, {}, {}
  for index, size in ipairs(units) do
    others[index] = { groups = size.groups * FACTORS.groups, heads = size.heads, head_dim = size.head_dim,
      neurons = size.neurons * FACTORS.neurons }
  end
  local other = new_model(options_of(model, model.config.width * FACTORS.hidden, others))
  for _, param in ipairs(other:params():weights()) do dims[param.name] = param.dims end
  for _, param in ipairs(model:params():weights()) do
    local counted = {}
    for axis, size in ipairs(param.dims) do
      local grown = dims[param.name][axis] / size
      for kind, factor in pairs(FACTORS) do
        if grown == factor then counted[axis] = kind end
      end
      if not counted[axis] and grown ~= 1 then
        error(core.where() .. string.format("prune: '%s' [%s] follows the widths of the model in a way that is not "
          .. "known, so it cannot be cut", param.name, table.concat(param.dims, ", ")), 0)
      end
      counted[axis] = counted[axis] or false
    end
    axes[param.name] = counted
  end
  return axes
end

-- Elements of an axis of so many, where `units` of `all` stay.
local function elements(units, all, size)
  local each, list = math.floor(size / all), {}
  for _, unit in ipairs(units) do
    for k = 0, each - 1 do list[#list + 1] = unit * each + k end
  end
  return list
end

-- The elements of one axis of a node, by their numbers from 0.
local function selected(graph, node, axis, list, name)
  local dims, order = node:dims(), { axis }
  for k = 1, #dims do
    if k ~= axis then order[#order + 1] = k end
  end
  local back, moved = {}, {}
  for k, from in ipairs(order) do back[from], moved[k] = k, dims[from] end
  local index = graph:leaf(name, core.tensor("i32", { #list }, list))
  moved[1] = #list
  local rows = node:permute(order):reshape { dims[axis], -1 }
  return rows:gather(index):reshape(moved):permute(back)
end

-- What stays along an axis; nil: all.
local function kept_along(kind, kept, units, index)
  if kind == "hidden" then return kept.hidden, units.hidden end
  if not kind then return nil end
  return kept.blocks[index + 1][kind], units[index + 1][kind]
end

local function copy_weights(model, smaller, kept, units)
  local axes, from, to = axes_of(model, units), model:params(), smaller:params()
  units.hidden = model.config.width
  for _, param in ipairs(to:list()) do
    if param.role ~= "buffer" then
      cut.compute(function(graph)
        local node, index = from:node(graph, param.name), names.in_block(param.name)
        for axis, size in ipairs(node:dims()) do
          local stay, all = kept_along(axes[param.name][axis], kept, units, index)
          if stay then node = selected(graph, node, axis, elements(stay, all, size), "axis " .. axis) end
        end
        return node
      end, to:find(param.name))
    end
  end
end

--- The model of the units that stay. Norms count the features that are left, as in one of that width. A block keeps
--- one of its branches at least.
---@param model sonde.model
---@param kept sonde.kept
---@return sonde.model
function slice.build(model, kept)
  model:init()
  local units, sizes = slice.units(model), {}
  for index, size in ipairs(units) do
    local block = kept.blocks[index]
    sizes[index] = { groups = #block.groups, heads = size.heads, head_dim = size.head_dim, neurons = #block.neurons }
  end
  local smaller = new_model(options_of(model, kept.hidden and #kept.hidden or model.config.width, sizes))
  copy_weights(model, smaller, kept, units)
  require("sonde.io.origin").inherit(model, smaller)
  return smaller:refresh()
end

return slice
