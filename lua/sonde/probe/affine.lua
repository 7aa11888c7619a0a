--- affine.lua - affine maps y = x W + b in the place of blocks, fitted by least squares on the stream before
-- and after them: what a block does beyond such a map is what its nonlinearities are good for.

local core = require "sonde.core"
local args = require "sonde.base.args"
local session = require "sonde.probe.session"

local affine = { MEMORY = 2 ^ 30 }      -- bytes that the fits of one pass may take

---@class sonde.affine
---@field first integer          the blocks it stands for, from 0
---@field last integer
---@field weight sonde.tensor    W [D, D]: rows are inputs
---@field bias sonde.tensor      b [D]
---@field residual number        ||Y - X W - b|| / ||Y - mean of Y|| on the rows of the fit

-- Two fits of [1 X Y] for each range, of windows of even and of odd number, in one pass.
local function collect(run, ranges)
  local fits, context = {}, run.context
  for i = 1, #ranges do
    fits[i] = { core.least_squares(run.width, run.width), core.least_squares(run.width, run.width) }
  end
  run:compute { {
    nodes = function(trace)
      local nodes = {}
      for i, range in ipairs(ranges) do
        nodes[2 * i - 1] = range[1] == 0 and trace.embedding or trace.blocks[range[1]]
        nodes[2 * i] = trace.blocks[range[2] + 1]
      end
      return nodes
    end,
    each = function(tensors, start, first)
      for i = 1, #ranges do
        for row = first, run.batch do
          local fold = (start + row - 1) % 2 + 1
          fits[i][fold]:add(tensors[2 * i - 1], tensors[2 * i], (row - 1) * context + 1, context)
        end
      end
    end,
  } }
  return fits
end

--- Adds all tokens of the session's windows to least squares of the blocks first..last of each range. Windows of even
--- and of odd number go to fits of their own; `take` gets both. As many ranges share a pass as fit into affine.MEMORY.
---@param run sonde.session
---@param ranges integer[][]     {first, last}
---@param take fun(i: integer, even: userdata, odd: userdata)
function affine.collect(run, ranges, take)
  local bytes = 2 * 8 * (2 * run.width + 1) * (2 * run.width + 257)
  local portion = math.max(1, math.floor(affine.MEMORY / bytes))
  run:begin("least squares", math.ceil(#ranges / portion))
  for first = 1, #ranges, portion do
    local some = {}
    for i = first, math.min(#ranges, first + portion - 1) do some[#some + 1] = ranges[i] end
    for i, fits in ipairs(collect(run, some)) do
      take(first + i - 1, fits[1], fits[2])
      fits[1]:close()
      fits[2]:close()
    end
  end
end

--- The map of a finished least squares.
---@param fit userdata
---@param range integer[]
---@return sonde.affine
function affine.solve(fit, range)
  local weight, bias, residual = fit:solve()
  return { first = range[1], last = range[2], weight = weight, bias = bias, residual = residual }
end

-- Leaves of a graph have names of their own.
local made = 0

local function leaf(graph, tensor)
  made = made + 1
  return graph:leaf("affine." .. made, tensor)
end

--- The intervention that puts a map in the place of its blocks: options of model:trace. With a second map and
--- a mask
--- [B, 1, 1], windows where the mask is 0 take that one.
---@param map sonde.affine
---@param other? sonde.affine
---@param mask? sonde.tensor
---@return table
function affine.edit(map, other, mask)
  local skipped = {}
  for block = map.first + 1, map.last do skipped[#skipped + 1] = block end
  local function apply(x, graph, m)
    return x:matmul(leaf(graph, m.weight)) + leaf(graph, m.bias)
  end
  local function replacement(x)
    local graph = x:graph()
    local y = apply(x, graph, map)
    if not other then return y end
    local z = apply(x, graph, other)
    return z + (y - z) * leaf(graph, mask)
  end
  return { replace = { [map.first] = replacement }, skip = skipped }
end

--- Fits maps for ranges of blocks on a source's windows: of sonde.probe's options, tokens, context, batch and
--- progress count.
---@param model sonde.model
---@param source sonde.corpus|integer[]|sonde.tensor
---@param ranges integer[][]     {first, last}, from 0
---@param options? {tokens: integer, context: integer, batch: integer, progress: function}
---@return sonde.affine[]
function affine.fit(model, source, ranges, options)
  options = args.check(require("sonde.probe").schema, options, "affine.fit")
  local run = session.open(model, source, options)
  affine.check(run)
  local maps = {}
  affine.collect(run, ranges, function(i, even, odd) maps[i] = affine.solve(even:merge(odd), ranges[i]) end)
  return maps
end

--- Refuses text that has too few tokens for a map to be anything but exact.
---@param run sonde.session
---@param folds? integer    into how many the windows are divided
function affine.check(run, folds)
  folds = folds or 1
  local least = math.floor(run.rows / folds) * run.context
  if least > run.width + 1 then return end
  error(core.where() .. ("probe: a map of %d inputs is fitted on more than %d tokens%s, here on %d; give more tokens")
    :format(run.width, run.width + 1, folds > 1 and " in each half" or "", least), 0)
end

return affine
