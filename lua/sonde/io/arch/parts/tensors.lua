--- tensors.lua - which tensors of a file are which parameters, by tables of names: other names, several projections in
-- one tensor, matrices the other way round.

local graph = require "sonde.graph"
local names = require "sonde.model.names"

local tensors = {}

---@class sonde.tensor_names
---@field outside table<string, string>   parameter outside the blocks -> tensor, both without ".weight" or ".bias"
---@field block string                    what the tensors of a block begin with, with %d for its number
---@field inside table<string, string>    parameter of a block, without its beginning -> tensor, likewise
---@field joined? sonde.joined[]          parameters that are one tensor
---@field turned? boolean                 whether matrices of the blocks are stored [in, out]

---@class sonde.joined
---@field tensor string                   of a block, without its beginning
---@field params string[]                 which it is made of, one behind the other
---@field heads? integer                  one behind the other head by head

local function split_name(name)
  return string.match(name, "^(.*)%.([^.]+)$")
end

-- The rows of one tensor to those of its parameters, of these shapes, and back.
local function rows_apart(shapes, heads)
  local function split(x)
    local parts, first, dims = {}, 1, x:dims()
    for k, shape in ipairs(shapes) do
      local rows = heads and math.floor(shape[1] / heads) or shape[1]
      local all = heads and x:reshape { heads, math.floor(dims[1] / heads), dims[2] or 1 } or x
      parts[k] = all:slice(heads and 2 or 1, first, first + rows - 1):reshape(shape)
      first = first + rows
    end
    return parts
  end
  local function join(nodes)
    local parts, rows = {}, 0
    for k, node in ipairs(nodes) do
      local shape = shapes[k]
      parts[k] = heads and node:reshape { heads, math.floor(shape[1] / heads), shape[2] or 1 } or node
      rows = rows + shape[1]
    end
    local all = graph.concat(parts, heads and 2 or 1)
    return heads and all:reshape { rows, shapes[1][2] } or all
  end
  return split, join
end

-- The same of a matrix that is stored the other way round.
local function turned(split, join)
  return function(x) return split(x:transpose()) end, function(nodes) return join(nodes):transpose() end
end

local function whole(x) return { x } end
local function first_of(nodes) return nodes[1] end

-- The joined tensor that a parameter of a block is part of, and the number of the part.
local function joined_with(rules, stem)
  for _, joined in ipairs(rules.joined or {}) do
    for k, param in ipairs(joined.params) do
      if param == stem then return joined, k end
    end
  end
end

-- The entries of joined tensors, by block and ending, with the parts that the parameters are.
local function collect_joined(rules, params)
  local all, of = {}, {}
  for _, param in ipairs(params) do
    local block, rest = names.in_block(param.name)
    local stem, ending = split_name(rest or "")
    local joined, part = joined_with(rules, stem)
    if joined then
      local tensor = string.format(rules.block, block) .. joined.tensor .. "." .. ending
      all[tensor] = all[tensor] or { entry = { tensor = tensor, params = {} }, shapes = {}, joined = joined }
      all[tensor].entry.params[part], all[tensor].shapes[part] = param.name, param.dims
      of[param.name] = all[tensor]
    end
  end
  for _, each in pairs(all) do
    local entry = each.entry
    entry.split, entry.join = rows_apart(each.shapes, each.joined.heads)
    if rules.turned and #each.shapes[1] == 2 then entry.split, entry.join = turned(entry.split, entry.join) end
  end
  return of
end

-- The entry of a parameter that is a tensor of its own.
local function single(rules, param)
  local block, rest = names.in_block(param.name)
  local stem, ending = split_name(rest or param.name)
  local called = (block and rules.inside or rules.outside)[stem]
  local entry = { tensor = param.name, params = { param.name } }
  if called then entry.tensor = (block and string.format(rules.block, block) or "") .. called .. "." .. ending end
  if block and rules.turned and #param.dims == 2 then entry.split, entry.join = turned(whole, first_of) end
  return entry
end

--- Entries (arch/init.lua) for a model's parameters, in their order. Those that no table names are called as they are.
---@param rules sonde.tensor_names
---@param params table[]
---@return table[]
function tensors.entries(rules, params)
  local entries, joined, done = {}, collect_joined(rules, params), {}
  for _, param in ipairs(params) do
    local of = joined[param.name]
    if not of then
      entries[#entries + 1] = single(rules, param)
    elseif not done[of] then
      entries[#entries + 1], done[of] = of.entry, true
    end
  end
  return entries
end

return tensors
