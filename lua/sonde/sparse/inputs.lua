--- inputs.lua - what the matrices of a block multiply, on calibration text: X^T X or the norms of its columns, block by
-- block, the inputs of a block coming from the blocks before it as they are by then (already sparse), as SparseGPT and
-- Wanda do.
--
-- The stream in front of a block is held for all windows, so that each block is computed twice for its own matrices
-- (before and after they become sparse) and never for another's.

local core = require "sonde.core"
local documents = require "sonde.data.documents"
local names = require "sonde.model.names"
local windows = require "sonde.data.windows"

---@class sonde.calibration
---@field model sonde.model
---@field context integer
---@field batch integer
---@field rows integer       windows
---@field tokens integer
---@field places integer[]   which windows of the text they are
local inputs = {}
inputs.__index = inputs

--- The calibration text: windows spread evenly over a source.
---@param model sonde.model
---@param source sonde.corpus|integer[]|sonde.tensor
---@param options {context: integer, windows: integer, batch: integer|nil}
---@return sonde.calibration
function inputs.open(model, source, options)
  local stream = windows.open(source, model, options.context)
  local all = math.floor((stream:tokens() - 1) / options.context)
  if all < 1 then
    error(core.where() .. string.format("sparsify: %d tokens hold no whole window of %d and a target; give a longer "
      .. "text, or a smaller context", stream:tokens(), options.context), 0)
  end
  local rows = math.min(options.windows, all)
  local batch = math.min(options.batch or windows.batch(options.context, rows), rows)
  while rows % batch ~= 0 do batch = batch - 1 end          -- every batch is full
  return setmetatable({
    model = model, stream = stream, context = options.context, rows = rows, batch = batch,
    tokens = rows * options.context, places = windows.spread(rows, all), documents = documents.of_trace({}, source,
      model, "sparsify"),
  }, inputs)
end

-- The options of a trace of these windows, with others.
function inputs:traced(more)
  local options = { batch = self.batch, context = self.context }
  for _, list in ipairs { self.documents, more or {} } do
    for key, value in pairs(list) do options[key] = value end
  end
  return options
end

--- Calls f(number of the batch, from 1, its tokens, its targets) for each batch.
---@param f fun(k: integer, tokens: sonde.tensor, targets: sonde.tensor)
function inputs:each(f)
  local tokens = core.tensor("i32", { self.batch, self.context })
  local targets = core.tensor("i32", { self.batch * self.context })
  for first = 1, self.rows, self.batch do
    local places = {}
    for i = 1, self.batch do places[i] = self.places[first + i - 1] end
    self.stream:fill(places, tokens, targets)
    f((first - 1) / self.batch + 1, tokens, targets)
  end
end

-- The products of matrices with an x that lie between two nodes: name -> x [.., in].
local function products(graph, params, from, to)
  local leaves, found, seen, stack, oldest = {}, {}, {}, { to }, from and core.node_id(from) or -1
  for _, param in ipairs(params) do
    local leaf = graph:find(param.name)
    if leaf then leaves[core.node_id(leaf)] = param.name end
  end
  local function read(node)      -- the parameter that a weight is, through its views
    while not leaves[core.node_id(node)] and (node:op() == "mul" or node:op() == "add") do node = node:inputs()[1] end
    return leaves[core.node_id(node)]
  end
  while #stack > 0 do
    local node = table.remove(stack)
    local id, of = core.node_id(node), node:inputs()
    if id > oldest and not seen[id] then
      seen[id] = true
      local name = node:op() == "matmul" and read(of[2])
      if name then found[name] = found[name] or of[1] end
      for _, input in ipairs(of) do stack[#stack + 1] = input end
    end
  end
  return found
end

-- The trace of one block, whose stream is an input but for the first block's.
local function trace_of(self, block)
  if block == 0 then return self.model:trace(self:traced()), nil end
  local skipped, entry = {}, nil
  for index = 0, block - 2 do skipped[#skipped + 1] = index end
  local function begin(x)
    entry = x:graph():input("stream", "f32", x:dims())
    return entry
  end
  local trace = self.model:trace(self:traced { skip = skipped, replace = { [block - 1] = begin } })
  return trace, entry
end

-- The sums over a batch's tokens: X^T X, or the squares of each column.
local function sums_of(x, gram)
  local dims, rows = x:dims(), 1
  for i = 1, #dims - 1 do rows = rows * dims[i] end
  x = x:reshape { rows, dims[#dims] }
  if gram then return x:matmul(x, { transpose_a = true }) end
  return x:square():sum({ 1 }):reshape { dims[#dims] }
end

--- Goes over the blocks first to last: `prune(block, known)` gets what is known of the matrices of the block, name ->
--- {norm=}, with `gram` {gram=} too, and makes them sparse.
---@param wanted table<integer, table[]>    block -> its matrices, entries of params:list()
---@param gram boolean                      X^T X; else the norms
---@param prune fun(block: integer, known: table<string, table>)
---@param progress fun(share: number, label: string)
function inputs:blocks(wanted, gram, prune, progress)
  local streams, last = {}, 0
  for block in pairs(wanted) do last = math.max(last, block) end
  for block = 0, last do
    local label = "block " .. block
    local trace, entry = trace_of(self, block)
    local function run(plan, take)
      self:each(function(k, tokens)
        if plan:reads "tokens" then plan:set("tokens", tokens) end
        if plan:reads "stream" then plan:set("stream", streams[k]) end
        plan:run()
        take(k)
      end)
      plan:close()
    end
    if wanted[block] then prune(block, self:known(trace, entry, wanted[block], gram, run)) end
    progress((block + 0.5) / (last + 1), label)
    if block < last then
      local plan = core.plan { trace.blocks[block + 1] * 1 }
      run(plan, function(k)
        streams[k] = streams[k] or core.tensor("f32", { self.batch, self.context, self.model.config.width })
        streams[k]:copy(plan:output(1))
      end)
    end
    trace.graph:close()
    progress((block + 1) / (last + 1), label)
  end
end

local function diagonal(matrix)
  local size = matrix:dims()[1]
  local values = core.tensor("f32", { size })
  for i = 1, size do values:set(i, matrix:get((i - 1) * size + i)) end
  return values
end

-- What is known of a block's matrices, over all batches.
function inputs:known(trace, entry, list, gram, run)
  local block = names.in_block(list[1].name)
  local found, nodes, sums, known = products(trace.graph, list, entry, trace.blocks[block + 1]), {}, {}, {}
  for k, param in ipairs(list) do
    local x = found[param.name]
    if not x then
      error(core.where() .. "sparsify: the inputs of " .. param.name .. " are not known: no product of its block reads "
        .. "it; leave it out (option matrices), or take a method that reads no inputs", 0)
    end
    local sum = sums_of(x, gram)
    sums[k] = core.tensor("f32", sum:dims())
    nodes[k] = trace.graph:leaf("sum " .. k, sums[k]) + sum
  end
  local plan = core.plan(nodes)
  run(plan, function()
    for k, sum in ipairs(sums) do sum:copy(plan:output(k)) end
  end)
  for k, param in ipairs(list) do
    known[param.name] = { norm = self.root(gram and diagonal(sums[k]) or sums[k]), gram = gram and sums[k] or nil }
  end
  return known
end

-- The roots of numbers.
function inputs.root(tensor)
  local graph = core.graph()
  local plan = core.plan { graph:leaf("squares", tensor):sqrt() * 1 }
  plan:run()
  local root = plan:output(1)
  plan:close()
  graph:close()
  return root
end

return inputs
