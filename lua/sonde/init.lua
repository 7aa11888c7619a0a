--- sonde - studies depth in language models.
--
-- What is here: corpora, models and where their norms stand, training, probes, sweeps and reports; below them graphs of
-- nodes that are traced, differentiated, planned and run. Parts are loaded when they are first used.

local core = require "sonde.core"
require "sonde.base.fingerprint"     -- before a script runs: what is global now is not the script's
local args = require "sonde.base.args"
require "sonde.graph.node"

---@class sonde
---@field version string
---@field settings table     what `sonde run --set key=value` was given
local sonde = { version = core.version, settings = require("sonde.base.settings").view() }

-- name -> {module, function in it}; no function: the module itself.
local parts = {
  transformer = { "sonde.model.transformer", "new" },
  placement = { "sonde.model.placement", "register" },
  init = { "sonde.model.init_policy", "register" },
  objective = { "sonde.model.objective", "register" },
  objectives = { "sonde.model.objective" },
  load = { "sonde.io", "load" },
  evaluate = { "sonde.eval", "evaluate" },
  generate = { "sonde.eval.generate", "tokens" },
  attention_maps = { "sonde.probe.attention_maps", "maps" },
  probe = { "sonde.probe", "probe" },
  probes = { "sonde.probe", "registry" },
  corpus = { "sonde.data", "open" },
  feed = { "sonde.data.feed", "arrays" },
  train = { "sonde.train", "train" },
  config = { "sonde.base.config", "load" },
  sweep = { "sonde.sweep", "new" },
  experiment = { "sonde.sweep.experiment", "open" },
  report = { "sonde.report" },
  quantity = { "sonde.report.quantity", "register" },
  prune = { "sonde.sparse", "prune" },
  heal = { "sonde.sparse", "heal" },
  prune_strategy = { "sonde.sparse.strategy", "register" },
}

-- A kind of modules that scripts can write is a file.
for _, kind in ipairs(require("sonde.base.listed")("sonde/model/kind")) do
  parts[kind] = { "sonde.model.kind." .. kind, kind }
end

-- Every name that the library has, loaded or not.
local function names_of_all()
  local names, seen = {}, {}
  for _, list in ipairs { parts, sonde } do
    for name in pairs(list) do
      if not seen[name] then names[#names + 1] = name end
      seen[name] = true
    end
  end
  table.sort(names)
  return names
end

setmetatable(sonde, {
  __names = names_of_all,
  __index = function(_, name)
    local part = parts[name]
    if not part then
      local names = names_of_all()
      local near = core.nearest(tostring(name), names)
      error(core.where() .. "sonde has no '" .. tostring(name) .. "'"
        .. (near and "; did you mean '" .. near .. "'?" or ""), 0)
    end
    local value = require(part[1])
    if part[2] then value = value[part[2]] end
    sonde[name] = value
    return value
  end,
})

--- A new, empty graph.
---@return sonde.graph
function sonde.graph()
  return core.graph()
end

--- A tensor, zero-filled or with values (a nested or flat table, or one number for all).
---@param dtype "f32"|"bf16"|"i32"
---@param dims integer[]
---@param values? table|number
---@return sonde.tensor
function sonde.tensor(dtype, dims, values)
  return core.tensor(dtype, dims, values)
end

--- A tokenizer from a tokenizer.json: byte-level BPE, of Sonde or of Hugging Face. What ends a text there is said by
--- the files beside it, as for a model folder.
---@param path string
---@return sonde.tokenizer
function sonde.tokenizer(path)
  return (require("sonde.io.origin").tokenizer(path))
end

--- The names of the modules and optimizers that can be used, of one kind.
---@param kind string     `sonde plugin new --help` names the kinds
---@return string[]
function sonde.modules(kind)
  return core.modules(kind)
end

--- Appends an op by name, for those that have no method of a node (an op of a plugin). sonde_build.h says what the
--- numbers and integers mean.
---@param name string
---@param inputs sonde.node[]
---@param numbers? number[]
---@param integers? integer[]
---@return sonde.node
function sonde.op(name, inputs, numbers, integers)
  return core.op(name, inputs, numbers, integers)
end

--- The inputs one after the other along an axis.
---@param nodes sonde.node[]
---@param axis? integer   from 1, or negative from the end; default: the last
---@return sonde.node
function sonde.concat(nodes, axis)
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
function sonde.grad(y, wrt, upstream)
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
function sonde.plan(outputs, options, tensors)
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
function sonde.value(node, inputs)
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

args.declare(sonde, "sonde.", {
  tensor = {
    { name = "dtype", type = "string", required = true },
    { name = "dims", type = "list", of = integers.of, required = true }, { name = "values", type = "table|number",
      infinite = true },
  },
  tokenizer = { { name = "path", type = "string", required = true } },
  modules = { { name = "kind", type = "string" } },
  op = { { name = "name", type = "string", required = true }, nodes,
    { name = "numbers", type = "list", of = { name = "entry", type = "number", infinite = true } }, integers },
  concat = { nodes, { name = "axis", type = "integer" } },
  grad = { node, nodes, { name = "upstream", type = "node" } },
  plan = { nodes, options, { name = "tensors", type = "table" } },
  value = { node, { name = "inputs", type = "table" } },
})

return sonde
