--- width.lua - which heads, neurons and features of a model stay, by their importance: so many of each, or a share of
-- the parameters by MiniMA's map (Zhang et al., 2023, their code).

local core = require "sonde.core"
local slice = require "sonde.sparse.slice"

local width = {}

-- To the nearest whole number, halves to the even one, as in Python.
local function nearest(x)
  local low = math.floor(x)
  local rest = x - low
  if rest == 0.5 then return low % 2 == 0 and low or low + 1 end
  return rest < 0.5 and low or low + 1
end

-- The numbers from 0 of the n largest values, the largest first; of equal ones the first.
local function largest(values, n)
  local order = {}
  for i = 1, #values do order[i] = i end
  table.sort(order, function(a, b)
    if values[a] ~= values[b] then return values[a] > values[b] end
    return a < b
  end)
  local list = {}
  for i = 1, n do list[i] = order[i] - 1 end
  return list
end

-- How many units of each block are among the `count` of lowest importance of all blocks.
local function lowest(by_block, count)
  local all, removed = {}, {}
  for index, values in ipairs(by_block) do
    removed[index] = 0
    for unit, value in ipairs(values) do all[#all + 1] = { value, index, unit } end
  end
  table.sort(all, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    if a[2] ~= b[2] then return a[2] < b[2] end
    return a[3] < b[3]
  end)
  for k = 1, math.min(count, #all) do removed[all[k][2]] = removed[all[k][2]] + 1 end
  return removed, #all
end

local function total(by_block)
  local n = 0
  for _, values in ipairs(by_block) do n = n + #values end
  return n
end

--- The share of the heads, neurons and features that goes where a share of the parameters is to go, both in percent:
--- 100 - round(100 sqrt(1 - p / 100)), as matrices shrink on two sides.
---@param percent number
---@return integer
function width.removed_percent(percent)
  return 100 - nearest(100 * math.sqrt(1 - percent / 100))
end

-- What is removed of some units whose features are counted in multiples; whole units.
local function in_multiples(removed, size, multiple)
  if size % multiple == 0 then return removed end
  local features = nearest(removed * size / multiple) * multiple
  return features % size == 0 and math.floor(features / size) or removed
end

-- Of a share of the parameters: how many units of each block and how many features stay.
local function by_ratio(scores, units, options)
  local percent, multiple = width.removed_percent(100 * options.ratio), options.multiple
  local groups, neurons = nearest(math.min(percent, 90) / 100 * total(scores.groups)), percent / 100
  neurons = nearest(neurons * total(scores.neurons))
  if percent > 90 then      -- a tenth of the heads stays, and neurons go in place of the others
    local per_block = units[1].groups * units[1].heads * units[1].head_dim
    neurons = neurons + nearest((percent - 90) / 100 * #units * per_block * 4 / 3)
  end
  local less_groups, less_neurons = lowest(scores.groups, groups), lowest(scores.neurons, neurons)
  local sizes = {}
  for index, unit in ipairs(units) do
    local size = unit.heads * unit.head_dim
    local g = unit.groups - in_multiples(less_groups[index], size, multiple)
    local n = unit.neurons - nearest(less_neurons[index] / multiple) * multiple
    sizes[index] = { groups = g * size < multiple and 0 or g, neurons = n < multiple and 0 or n }
  end
  local features = #scores.hidden
  return sizes, features - nearest(nearest(percent / 100 * features) / multiple) * multiple
end

-- The same of numbers that are given: in each block as many.
local function by_counts(scores, units, options)
  local sizes = {}
  for index, unit in ipairs(units) do
    local groups = unit.groups
    if options.heads and groups > 0 then
      if options.heads % unit.heads ~= 0 then
        error(core.where() .. string.format("prune: heads %d of block %d are no whole groups: %d query heads read each "
          .. "key and value head", options.heads, index - 1, unit.heads), 0)
      end
      groups = math.min(groups, math.floor(options.heads / unit.heads))
    end
    sizes[index] = { groups = groups, neurons = math.min(unit.neurons, options.ffn or unit.neurons) }
  end
  return sizes, math.min(options.hidden or #scores.hidden, #scores.hidden)
end

---@class sonde.widths         which units of a model stay
---@field kept sonde.kept      of the model's blocks; those in `empty` have none
---@field empty integer[]      blocks, from 0, that lose both branches

--- Chooses what stays. A branch of less than `multiple` features goes as a whole.
---@param model sonde.model
---@param scores sonde.importance
---@param options {ratio: number|nil, multiple: integer, heads: integer|nil, ffn: integer|nil, hidden: integer|nil}
---@return sonde.widths
function width.choose(model, scores, options)
  local units = slice.units(model)
  local sizes, features = (options.ratio and by_ratio or by_counts)(scores, units, options)
  if features < 1 then
    error(core.where() .. string.format("prune: at a ratio of %g none of %d features stays, in multiples of %d; give a "
      .. "smaller ratio or a smaller multiple", options.ratio, #scores.hidden, options.multiple), 0)
  end
  local kept, empty = { blocks = {} }, core.list()
  for index, size in ipairs(sizes) do
    kept.blocks[index] = {
      groups = largest(scores.groups[index], size.groups), neurons = largest(scores.neurons[index], size.neurons),
    }
    if size.groups == 0 and size.neurons == 0 then empty[#empty + 1] = index - 1 end
  end
  if features < #scores.hidden then kept.hidden = largest(scores.hidden, features) end
  return { kept = kept, empty = empty }
end

--- The model without what goes. `sources`: which blocks of the model that was chosen on the blocks of this one are.
---@param model sonde.model
---@param widths sonde.widths
---@param sources integer[]     from 0, in order
---@return sonde.model
function width.cut(model, widths, sources)
  local kept = { hidden = widths.kept.hidden, blocks = {} }
  for index, source in ipairs(sources) do kept.blocks[index] = widths.kept.blocks[source + 1] end
  return slice.build(model, kept)
end

--- The sizes of a model, for reports: width, and heads, kv_heads and ffn of each block, 0 where it lacks the branch.
---@param model sonde.model
---@return {hidden: integer, heads: integer[], kv_heads: integer[], ffn: integer[]}
function width.sizes(model)
  local said = { hidden = model.config.width, heads = core.list(), kv_heads = core.list(), ffn = core.list() }
  for index, unit in ipairs(slice.units(model)) do
    said.heads[index], said.kv_heads[index] = unit.groups * unit.heads, unit.groups
    said.ffn[index] = unit.neurons
  end
  return said
end

return width
