--- importance.lua - how much a model needs each group of heads, each neuron and each feature of the stream: methods by
-- name, and the calibration that they share. Those of Sonde are the files of importance/.
--
-- A method gets what a trace has of each block (sonde.measured_block) and gives nodes: a value for each unit, of one
-- batch. Their absolute values are averaged over the batches and normalised: those of a block's heads, those of its
-- neurons, and those of the features each have an L2 norm of 1 then (MiniMA; Zhang et al., 2023, their code).

local core = require "sonde.core"
local args = require "sonde.base.args"
local registry = require "sonde.base.registry"
local slice = require "sonde.sparse.slice"
local windows = require "sonde.data.windows"

local methods = registry.new {
  kind = "importance", folder = "sonde/sparse/importance",
  schema = {
    { name = "nodes", type = "function", required = true,
      doc = "of a trace and its blocks: { groups = nodes, neurons = nodes, hidden = node }" },
    { name = "doc", type = "string", preset = "", doc = "one line on what it measures" },
  },
}
local importance = { registry = methods }

---@class sonde.measured_block    what a trace has of a block
---@field attn? sonde.node        what its heads give, the input of its last matrix [B, T, KV G Dh]
---@field groups integer          groups of heads KV; 0: without attention
---@field ffn? sonde.node         what its neurons give, likewise [B, T, F]
---@field neurons integer         F; 0: without feed-forward layer
---@field part sonde.block        the block, with its norms and what its modules published

--- Registers a method under a name that the option `method` of sonde.prune can have.
---@param name string
---@param nodes fun(trace: sonde.trace, blocks: sonde.measured_block[]): table   groups and neurons: one node [units]
--- for each block that has some, by its number from 1; hidden: one node [D]
---@param options? {doc: string}
function importance.register(name, nodes, options)
  methods:add(name, { nodes = nodes, doc = (options or {}).doc })
end

--- The names of all methods.
---@return string[]
function importance.names()
  return methods:names()
end

-- What the product with a weight was made of, looking back from y: x of x W'.
local function input_of(y, weight)
  local list, seen, at = { y }, {}, 1
  while list[at] do
    local inputs = list[at]:inputs()
    if inputs[2] == weight then return inputs[1] end
    for _, node in ipairs(inputs) do
      local id = core.node_id(node)
      if not seen[id] then list[#list + 1], seen[id] = node, true end
    end
    at = at + 1
  end
  error(core.where() .. "prune: a branch does not end with a product by its last weight, so what its units give is "
    .. "not known; a mask or low-rank factors on that weight are a reason: save the model, with --dense if it is "
    .. "sparse, and prune that", 0)
end

-- What a trace has of each block.
local function measured_blocks(model, trace, units)
  local blocks = {}
  for index, size in ipairs(units) do
    local part = trace.parts[index]
    local block = { groups = size.groups, neurons = size.neurons, part = part }
    for branch, there in pairs { attn = size.groups, ffn = size.neurons } do
      if there > 0 then
        local weight = model:params():node(trace.graph, slice.projection(model, index - 1, branch))
        block[branch] = input_of(part:lookup(branch .. ".branch"), weight)
      end
    end
    blocks[index] = block
  end
  return blocks
end

-- Adds the absolute values of a batch to the sums so far.
local function add(sums, tensor)
  for k, value in ipairs(tensor:values()) do sums[k] = (sums[k] or 0) + math.abs(value) end
end

local function normalised(list)
  local square = 0
  for _, value in ipairs(list) do square = square + value * value end
  local norm = math.sqrt(square) + 1e-17
  for k, value in ipairs(list) do list[k] = value / norm end
  return list
end

-- The nodes in one list, with where each goes: {"groups", block}, {"neurons", block}, {"hidden"}.
local function listed(made, units)
  local nodes, places = {}, {}
  for index in ipairs(units) do
    for _, kind in ipairs { "groups", "neurons" } do
      local node = made[kind][index]
      if node then nodes[#nodes + 1], places[#places + 1] = node, { kind, index } end
    end
  end
  nodes[#nodes + 1], places[#places + 1] = made.hidden, { "hidden", 1 }
  return nodes, places
end

---@class sonde.importance
---@field groups number[][]      of each block, from 1; empty without attention
---@field neurons number[][]     likewise
---@field hidden number[]        [D]

--- Measures units on whole windows of a text, from the first, in batches; an incomplete batch is left out.
---@param model sonde.model
---@param source sonde.corpus|integer[]|sonde.tensor
---@param method string
---@param options {tokens: integer, context: integer, batch: integer, progress: function|nil}
---@return sonde.importance
function importance.measure(model, source, method, options)
  local found, units, context = methods:find(method), slice.units(model), options.context
  local stream = windows.open(source, model, context)
  local rows = math.floor(math.min(options.tokens, stream:tokens() - 1) / context)
  local batch = math.min(options.batch, rows)
  rows = rows - rows % batch
  local trace = model:init():trace { batch = batch, context = context }
  local made = found.nodes(trace, measured_blocks(model, trace, units))
  if type(made) ~= "table" or not (made.groups and made.neurons and made.hidden) then
    error(string.format("prune_importance '%s' must return nodes as {groups = {..}, neurons = {..}, hidden = ..}",
      method), 0)
  end
  local nodes, places = listed(made, units)
  local plan = core.plan(nodes, { memory_budget = require("sonde.base.machine").memory() or 0 })
  local sums = { groups = {}, neurons = {}, hidden = { {} } }
  for index in ipairs(units) do sums.groups[index], sums.neurons[index] = {}, {} end
  windows.each(plan, stream, batch, context, rows, plan:reads "targets", function()
    for k, place in ipairs(places) do add(sums[place[1]][place[2]], plan:output(k)) end
  end, options.progress)
  plan:close()
  trace.graph:close()
  for _, kind in ipairs { "groups", "neurons", "hidden" } do
    for _, list in ipairs(sums[kind]) do normalised(list) end
  end
  return { groups = sums.groups, neurons = sums.neurons, hidden = sums.hidden[1] }
end

return args.declare(importance, "sonde.prune_importance.", {
  register = {
    as = "sonde.prune_importance",
    { name = "name", type = "string", required = true }, { name = "nodes", type = "function", required = true },
    { name = "options", type = "table" },
  },
})
