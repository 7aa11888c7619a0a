--- sparsity.lua - which share of the weights, and of the activations inside the feed-forward layers, is close to zero.
--
-- Sparsity and the Curse of Depth does not publish its thresholds; these are our choice.

local core = require "sonde.core"
local names = require "sonde.model.names"
local registry = require "sonde.probe.registry"

local register = registry.register

local function all_columns(thresholds)
  local columns = {}
  for k, each in ipairs(thresholds) do columns[k] = each.name end
  return columns
end

-- Means over blocks of each column, without blocks that have none, under a name for the scalars.
local function totals(rows, columns, weights)
  local scalars = {}
  for k, column in ipairs(columns) do
    local sum, count = 0, 0
    for block, row in ipairs(rows) do
      if row[k] == row[k] then
        sum, count = sum + row[k] * weights[block], count + weights[block]
      end
    end
    if count > 0 then scalars["total_" .. column] = sum / count end
  end
  return scalars
end

-- ---- weights ----------------------------------------------------------------------------------------------------

-- Absolute ones, and ones in standard deviations of the matrix.
local of_weights = {
  { name = "1e-3", size = 1e-3 }, { name = "3e-3", size = 3e-3 }, { name = "1e-2", size = 1e-2 },
  { name = "sd_over_100", deviations = 0.01 }, { name = "sd_over_10", deviations = 0.1 },
}

local not_matrices = { gain = true, bias = true, buffer = true }

-- For a tensor of weights: its share of elements with |w| at most each threshold.
local function shares_of(tensor)
  local graph, dims, count = core.graph(), tensor:dims(), 1
  for _, dim in ipairs(dims) do count = count * dim end
  local w = graph:leaf("weights", tensor):reshape { math.floor(count / dims[#dims]), dims[#dims] }
  local size, deviation, nodes = w:abs(), w:reshape({ 1, count }):variance(-1):sqrt(), {}
  for k, threshold in ipairs(of_weights) do
    local over = threshold.size and size:greater(threshold.size)
      or (size - deviation * threshold.deviations):greater(0)
    nodes[k] = over:mean(-1):mean(1):affine(-1, 1)      -- row by row: sums of so many ones are exact
  end
  local plan, shares = core.plan(nodes), {}
  plan:run()
  for k = 1, #nodes do shares[k] = plan:output(k):get(1) end
  plan:close()
  graph:close()
  return shares, count
end

-- The matrices of each block, of a model as it computes (masks and low-rank updates included): lists of
-- { name, shares, count }.
local function matrices_of(model)
  local blocks = {}
  for block = 1, model.config.depth do blocks[block] = {} end
  local params = model:params()
  for _, param in ipairs(params:weights()) do
    local index, name = names.in_block(param.name)
    if index and #param.dims > 1 and not not_matrices[param.role] then
      local shares, count = shares_of(params:read(param.name))
      table.insert(blocks[index + 1], { name = string.gsub(name, "%.weight$", ""), shares = shares, count = count })
    end
  end
  return blocks
end

-- Computed once for both probes.
local function prepare(session)
  session.matrices = matrices_of(session.model)
end

local near_zero = "share of weights with |w| at most 1e-3, 3e-3, 1e-2 and at most 0.01 and 0.1 standard deviations of "
  .. "their matrix (our thresholds: the paper's are not public); matrices of the blocks, not embedding, head, gains "
  .. "and biases"

local weight_columns = all_columns(of_weights)

register("weight_sparsity", {
  definition = near_zero .. "; of each block. Scalars: of all blocks",
  source = "Sparsity and the Curse of Depth, 2026", axes = { "block", "threshold" }, columns = weight_columns,
  title = "Weight sparsity", axis = "share of weights near zero", log = false,
  look = "Weight decay and masks raise it.",
  prepare = prepare, jobs = function() return {} end,
  measure = function(session)
    local rows, counts = core.list(), {}
    for block, matrices in ipairs(session.matrices) do
      rows[block], counts[block] = core.list(), 0
      for k in ipairs(weight_columns) do rows[block][k] = 0 end
      for _, matrix in ipairs(matrices) do
        counts[block] = counts[block] + matrix.count
        for k, share in ipairs(matrix.shares) do rows[block][k] = rows[block][k] + share * matrix.count end
      end
      for k, sum in ipairs(rows[block]) do rows[block][k] = sum / counts[block] end
    end
    local entry = { values = rows, scalars = {} }
    for name, value in pairs(totals(rows, weight_columns, counts)) do entry.scalars[name] = { value = value } end
    return entry
  end,
})

register("weight_sparsity_matrices", {
  definition = near_zero .. "; of each matrix, columns are a matrix and a threshold",
  source = "Sparsity and the Curse of Depth, 2026", axes = { "block", "matrix" },
  title = "Weight sparsity of each matrix", axis = "share of weights near zero",
  prepare = prepare, jobs = function() return {} end,
  measure = function(session)
    local labels, place = core.list(), {}
    for _, matrices in ipairs(session.matrices) do
      for _, matrix in ipairs(matrices) do
        if not place[matrix.name] then
          place[matrix.name] = #labels
          for _, column in ipairs(weight_columns) do labels[#labels + 1] = matrix.name .. " " .. column end
        end
      end
    end
    local rows = core.list()
    for block, matrices in ipairs(session.matrices) do
      rows[block] = core.list()
      for k in ipairs(labels) do rows[block][k] = 0 / 0 end
      for _, matrix in ipairs(matrices) do
        for k, share in ipairs(matrix.shares) do rows[block][place[matrix.name] + k] = share end
      end
    end
    session.matrix_labels = labels
    return { values = rows }
  end,
  labels = function(session) return session.matrix_labels end,
})

-- ---- activations ------------------------------------------------------------------------------------------------

-- In root mean squares of a token's hidden vector.
local of_activations = { { name = "zero", rms = 0 }, { name = "rms_over_100", rms = 0.01 },
  { name = "rms_over_10", rms = 0.1 } }
local activation_columns = all_columns(of_activations)

-- The share for each threshold, [B, 1]; NaN where the layer publishes no hidden vectors of the windows' tokens.
local function shares_of_hidden(trace, part)
  local hidden = part and part:lookup "ffn.hidden"
  local dims = hidden and hidden:dims()
  if not dims or #dims ~= 3 or dims[1] ~= trace.batch or dims[2] ~= trace.context then return nil end
  local size, rms, nodes = hidden:abs(), hidden:square():mean(-1):sqrt(), {}
  for k, threshold in ipairs(of_activations) do
    local over = threshold.rms == 0 and size:greater(0) or (size - rms * threshold.rms):greater(0)
    nodes[k] = over:mean(-1):mean(2):affine(-1, 1)
  end
  return nodes
end

register("activation_sparsity", {
  definition = "share of the hidden values of the feed-forward layer (what its last matrix multiplies) that are 0, "
    .. "and of those of size at most 0.01 and 0.1 of the root mean square of their token's; mean over tokens. Scalars: "
    .. "means over blocks",
  source = "Mirzadeh et al., ReLU Strikes Back, 2024; thresholds are ours", axes = { "block", "threshold" },
  columns = activation_columns, title = "Activation sparsity", axis = "share of hidden values near zero", log = false,
  look = "ReLU and top-k give exact zeros; a gate of SiLU or GELU gives none.",
  jobs = function(session)
    return { { nodes = function(trace)
      local nodes = {}
      session.hidden, session.without_hidden = {}, {}
      for i = 1, session.depth do
        local own = shares_of_hidden(trace, trace.parts[i])
        session.hidden[i] = own ~= nil
        if not own then session.without_hidden[#session.without_hidden + 1] = i - 1 end
        for _, node in ipairs(own or {}) do nodes[#nodes + 1] = node end
      end
      if #nodes == 0 then
        error(core.where() .. "probe activation_sparsity: feed-forward layer '" .. session.model.layers[1].ffn.name
          .. "' publishes no 'ffn.hidden' [B, T, F]; swiglu and mlp do", 0)
      end
      return nodes
    end } }
  end,
  value = function(mean, session)
    local rows, at, ones = core.list(), 0, {}
    for block, known in ipairs(session.hidden) do
      rows[block], ones[block] = core.list(), 1
      for k in ipairs(activation_columns) do
        rows[block][k] = known and mean[1][at + k] or 0 / 0
      end
      at = at + (known and #activation_columns or 0)
    end
    return rows, totals(rows, activation_columns, ones)
  end,
  note = function(session)
    local without = session.without_hidden
    return #without > 0 and "no hidden values in block" .. (#without > 1 and "s " or " ")
      .. table.concat(without, ", ") .. ": the layer publishes none" or nil
  end,
})
