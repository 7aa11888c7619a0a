--- sonde.graph - graphs of nodes: traced, differentiated, planned and run.

-- What lives here: this file makes graphs, tensors and plans; node.lua has the operators and methods of nodes.

local core = require "sonde.core"
local args = require "sonde.base.args"
require "sonde.graph.node"

local graph = {}

--- A new, empty graph.
---@return sonde.graph
function graph.graph()
  return core.graph()
end

--- A tensor, zero-filled or with values (a nested or flat table, or one number for all).
---@param dtype "f32"|"bf16"|"i32"
---@param dims integer[]
---@param values? table|number
---@return sonde.tensor
function graph.tensor(dtype, dims, values)
  return core.tensor(dtype, dims, values)
end

--- Appends an op by name, for those that have no method of a node (an op of a plugin). sonde_build.h says what the
--- numbers and integers mean.
---@param name string
---@param inputs sonde.node[]
---@param numbers? number[]
---@param integers? integer[]
---@return sonde.node
function graph.op(name, inputs, numbers, integers)
  return core.op(name, inputs, numbers, integers)
end

--- The inputs one after the other along an axis.
---@param nodes sonde.node[]
---@param axis? integer   from 1, or negative from the end; default: the last
---@return sonde.node
function graph.concat(nodes, axis)
  if not nodes[1] then error(core.where() .. "sonde.concat: there is nothing to put together", 0) end
  local rank = #core.node_dims(nodes[1])
  axis = axis or rank
  if axis < 0 then axis = rank + 1 + axis end
  -- One op takes eight inputs: longer lists are joined in groups, and the groups again.
  while #nodes > 1 do
    local groups = {}
    for first = 1, #nodes, 8 do
      local group = {}
      for i = first, math.min(first + 7, #nodes) do group[#group + 1] = nodes[i] end
      groups[#groups + 1] = #group > 1 and core.op("concat", group, nil, { axis - 1 }) or group[1]
    end
    nodes = groups
  end
  return nodes[1]
end

--- The gradients of sum(y) by each node of the list.
---@param y sonde.node
---@param wrt sonde.node[]
---@param upstream? sonde.node   sum(y * upstream) instead
---@return sonde.node[]
function graph.grad(y, wrt, upstream)
  return core.grad(y, wrt, upstream)
end

---@class sonde.plan_options
---@field memory_budget? integer     bytes for activations; 0: no bound
---@field recompute? "never"|"budget"|"always"
---@field compute? "f32"|"bf16"
---@field fuse? boolean
---@field hold? boolean              leaves keep their values between runs: what follows from them alone is computed
---once

--- Plans the computation of some nodes: memory and order are fixed here, plan:run{...} then computes.
---@param outputs sonde.node[]
---@param options? sonde.plan_options
---@param tensors? sonde.tensor[]    where outputs are written, by place in the list
---@return sonde.plan
function graph.plan(outputs, options, tensors)
  options = args.check({
    { name = "memory_budget", type = "integer", min = 0, doc = "bytes for activations" },
    { name = "recompute", type = "string", choices = { "never", "budget", "always" }, doc = "recompute blocks" },
    { name = "compute", type = "string", choices = { "f32", "bf16" }, doc = "dtype of products" },
    { name = "fuse", type = "boolean", doc = "fuse elementwise ops" },
    { name = "hold", type = "boolean", doc = "compute what follows from leaves alone once" },
  }, options, "plan")
  return core.plan(outputs, options, tensors)
end

--- Computes one node's value now: a number for one element, else a tensor.
---@param node sonde.node
---@param inputs? table<string, sonde.tensor|table>
---@return number|sonde.tensor
function graph.value(node, inputs)
  local plan = core.plan({ node })
  plan:run(inputs)
  local tensor = plan:output(1)
  plan:close()
  if tensor:count() == 1 then return tensor:get(1) end
  return tensor
end

-- ---- what they take ----------------------------------------------------------------------------------------

local node, options = { name = "node", type = "node", required = true }, { name = "options", type = "table" }
local nodes = { name = "nodes", type = "list", of = { name = "entry", type = "node" }, required = true }
local integers = { name = "integers", type = "list", of = { name = "entry", type = "integer" } }

return args.declare(graph, "sonde.", {
  tensor = {
    { name = "dtype", type = "string", required = true },
    { name = "dims", type = "list", of = integers.of, required = true },
    { name = "values", type = "table|number", infinite = true },
  },
  op = { { name = "name", type = "string", required = true }, nodes,
    { name = "numbers", type = "list", of = { name = "entry", type = "number", infinite = true } }, integers },
  concat = { nodes, { name = "axis", type = "integer" } },
  grad = { node, nodes, { name = "upstream", type = "node" } },
  plan = { nodes, options, { name = "tensors", type = "table" } },
  value = { node, { name = "inputs", type = "table" } },
})
