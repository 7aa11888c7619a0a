--- cut.lua - a smaller model out of the blocks of another one: kept blocks with their weights, and
-- linear maps in the place of runs of blocks.
--
-- A kept block goes on counting as layer l of L of the stack that it was trained in (options layer and depth
-- of its entry in `layers`), so that what a placement makes of l and L (LayerNorm Scaling's 1/sqrt(l),
-- DeepNorm's alpha, where Mix-LN changes) stays what it was.

local core = require "sonde.core"
local folder = require "sonde.io"
local names = require "sonde.model.names"

local cut = {}

---@class sonde.piece          a block of the new model
---@field source? integer      the block of the old model that it is, from 0
---@field without? string      a branch of it that it loses: "attn", "ffn"
---@field map? sonde.affine    or the linear map that it is: weight [D, D] (rows are inputs), bias [D]
---@field first? integer       the blocks of the old model that the map stands for
---@field last? integer

--- Runs of neighbours among some blocks: {0, 1, 4} gives {{0, 1}, {4, 4}}.
---@param blocks integer[]
---@return integer[][]
function cut.runs(blocks)
  local sorted, runs = {}, {}
  for i, block in ipairs(blocks) do sorted[i] = block end
  table.sort(sorted)
  for _, block in ipairs(sorted) do
    local last = runs[#runs]
    if last and last[2] == block - 1 then last[2] = block else runs[#runs + 1] = { block, block } end
  end
  return runs
end

--- The pieces of a model of that depth without some blocks; `maps` are those that stand for runs of them.
---@param depth integer
---@param removed integer[]
---@param maps? sonde.affine[]
---@return sonde.piece[] pieces, integer[] neighbours   kept blocks next to a cut, by their number in the new model
function cut.pieces(depth, removed, maps)
  local gone, starts, pieces, neighbours = {}, {}, {}, core.list()
  for _, block in ipairs(removed) do gone[block] = true end
  for _, map in ipairs(maps or {}) do starts[map.first] = map end
  for block = 0, depth - 1 do
    if not gone[block] then
      pieces[#pieces + 1] = { source = block }
      if gone[block - 1] or gone[block + 1] then neighbours[#neighbours + 1] = #pieces - 1 end
    elseif starts[block] then
      pieces[#pieces + 1] = { map = starts[block], first = block, last = starts[block].last }
    end
  end
  return pieces, neighbours
end

--- The pieces of a model of that depth whose blocks all stay, some of them without a branch.
---@param depth integer
---@param removed integer[]      the blocks that lose it
---@param branch "attn"|"ffn"
---@return sonde.piece[] pieces, integer[] neighbours   the blocks that lose it, and those beside them
function cut.branches(depth, removed, branch)
  local gone, pieces, neighbours = {}, {}, core.list()
  for _, block in ipairs(removed) do gone[block] = true end
  for block = 0, depth - 1 do
    pieces[block + 1] = { source = block, without = gone[block] and branch or nil }
    if gone[block - 1] or gone[block] or gone[block + 1] then neighbours[#neighbours + 1] = block end
  end
  return pieces, neighbours
end

local function options_of(model, pieces)
  local options, layers, place = folder.options(model), {}, {}
  for index, layer in ipairs(model.layers) do
    if layer.placement.name == "custom" then
      error(core.where() .. "block " .. (index - 1) .. " has a placement without a name; register it with "
        .. "sonde.placement before such a model is pruned", 0)
    end
  end
  for index, piece in ipairs(pieces) do
    if piece.source then place[piece.source] = index - 1 end
  end
  for index, piece in ipairs(pieces) do
    local source, own = piece.source or piece.first, {}
    for key, value in pairs(options.layers[tostring(source)] or {}) do own[key] = value end
    own.layer, own.depth = model.layers[source + 1].layer, model.layers[source + 1].depth
    own.share = own.share and place[own.share]      -- with a block that is gone nothing is shared
    own.without = piece.without or own.without
    if piece.map then own.placement = { name = "linear" } end
    layers[tostring(index - 1)] = own
  end
  options.depth, options.layers = #pieces, layers
  return options
end

--- Computes nodes of a graph of its own into tensors.
---@param make fun(graph: sonde.graph): sonde.node
---@param into sonde.tensor
function cut.compute(make, into)
  local graph = core.graph()
  local plan = core.plan({ make(graph) * 1 }, nil, { into })
  plan:run()
  plan:close()
  graph:close()
end

-- x W + b as the placement "linear" has it, x + x A' + b: A = (W - I)'.
local function write_map(params, prefix, map)
  local width = map.bias:count()
  cut.compute(function(graph)
    local identity = core.tensor("f32", { width, width })
    for i = 1, width do identity:set((i - 1) * width + i, 1) end
    return (graph:leaf("weight", map.weight) - graph:leaf("identity", identity)):transpose(1, 2)
  end, params:find(prefix .. "placement.weight"))
  params:find(prefix .. "placement.bias"):copy(map.bias)
end

-- The parameter of the old model that one of the new model is; nil for those of linear maps.
local function source_of(pieces)
  return function(name)
    local block, rest = names.in_block(name)
    local piece = block and pieces[block + 1]
    if not piece then return name end
    return piece.source and names.block(piece.source) .. rest or nil
  end
end

--- Puts the masks of the old model's weights on those of the new one: what is out stays out in training.
---@param model sonde.model
---@param smaller sonde.model
---@param pieces sonde.piece[]
function cut.masks(model, smaller, pieces)
  local from, to, source_name = model:params(), smaller:params(), source_of(pieces)
  for _, param in ipairs(to:list()) do
    local source = source_name(param.name)
    local mask = source and from:find(source .. ".mask")
    if mask then to:mask(param.name):copy(mask) end
  end
end

--- The model of these pieces, with the weights of the old one, without its masks (cut.masks).
---@param model sonde.model
---@param pieces sonde.piece[]
---@return sonde.model
function cut.unmasked(model, pieces)
  model:init()
  local smaller = require("sonde.model.transformer").new(options_of(model, pieces))
  local from, to, source_name = model:params(), smaller:params(), source_of(pieces)
  for _, param in ipairs(to:list()) do
    local name = source_name(param.name)
    if name then
      to:find(param.name):copy(from:read(name))
    end
  end
  for index, piece in ipairs(pieces) do
    if piece.map then write_map(to, names.block(index - 1), piece.map) end
  end
  require("sonde.io.origin").inherit(model, smaller, source_name)
  return smaller:init()
end

--- The model of these pieces, with the weights of the old one and the masks on them.
---@param model sonde.model
---@param pieces sonde.piece[]
---@return sonde.model
function cut.build(model, pieces)
  local smaller = cut.unmasked(model, pieces)
  cut.masks(model, smaller, pieces)
  return smaller
end

--- A model with the same blocks, weights and masks, apart from the first.
---@param model sonde.model
---@return sonde.model
function cut.copy(model)
  return cut.build(model, (cut.pieces(model.config.depth, {})))
end

return cut
