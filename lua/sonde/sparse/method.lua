--- method.lua - sparsity methods by name, those of plugins and those of scripts alike: what they need to know of a
-- matrix, and what they make of it.

local core = require "sonde.core"
local module = require "sonde.model.module"

local method = {}

module.extend("sparsity", {
  { name = "needs", type = "list", preset = {}, doc = "what it reads of the inputs",
    of = { name = "need", type = "string", choices = { "norm", "gram" }, doc = "" } },
  { name = "scope", type = "string", preset = "matrix", choices = { "row", "matrix", "model" },
    doc = "among which weights its scores are compared, unless the user says otherwise" },
  { name = "gather", type = "function", doc = "of weight and gradient, as nodes: what is summed up over batches" },
}, "(matrix, options)")

---@class sonde.sparsity_method
---@field name string
---@field options table        every option with its value
---@field norm boolean         it reads the norms of the inputs
---@field gram boolean         it reads X^T X of the inputs
---@field gathers boolean      it sums up what gradients say
---@field prunes boolean       it chooses by itself and changes the weights that stay
---@field scope "row"|"matrix"|"model"
---@field script? table        what a script has registered

-- Refuses what a script's method gives unless it is a node of a number for each weight.
local function check(made, what, like)
  if core.is_node(made) and table.concat(made:dims(), " ") == table.concat(like:dims(), " ") then return end
  error(("%s%s gave %s; it gives a number for each weight, [%s]"):format(core.where(), what, core.is_node(made)
    and "a node [" .. table.concat(made:dims(), ", ") .. "]" or "a " .. type(made),
    table.concat(like:dims(), ", ")), 0)
end

-- Runs what f makes of nodes of some tensors: `what` gives a number for each weight of `like`, added to nodes.sum where
-- there is one.
local function compute(tensors, f, options, what, like)
  local graph, nodes = core.graph(), {}
  for key, tensor in pairs(tensors) do nodes[key] = graph:leaf(key, tensor) end
  local sum = nodes.sum
  nodes.sum = nil
  local made = f(nodes, options)
  check(made, what, like)
  local plan = core.plan { sum and sum + made or made * 1 }
  plan:run()
  local tensor = plan:output(1)
  plan:close()
  graph:close()
  return tensor
end

-- The tensors of a matrix that a script's method has said it reads.
local function shown(info, matrix)
  local tensors = { weight = matrix.weight, gathered = info.gather and matrix.gathered or nil }
  for _, need in ipairs(info.needs) do tensors[need] = matrix[need] end
  return tensors
end

--- Registers a method of a script: see sonde.sparsity.
---@param name string
---@param info table|function
---@param build? function
function method.register(name, info, build)
  module.register("sparsity", name, info, build, function(thing)
    return function(matrix, options)
      return compute(shown(thing, matrix), thing.build, options, "sparsity '" .. name .. "'", matrix.weight)
    end
  end)
end

--- A method by its name, or {name, option = value}.
---@param given string|table
---@param where? fun(): string
---@return sonde.sparsity_method
function method.resolve(given, where)
  local name, options = module.spec(given, "sparsity", where or core.where)
  local found, script = core.sparsity(name), module.find("sparsity", name)
  if not found then
    found = { scope = script.scope, gathers = script.gather ~= nil, prunes = false, norm = false, gram = false }
    for _, need in ipairs(script.needs) do found[need] = true end
  end
  found.name, found.options, found.script = name, core.module_values("sparsity", name, options), script
  return found
end

--- The names of all methods.
---@return string[]
function method.names()
  return core.modules "sparsity"
end

--- What each weight of a matrix is worth, [out, in]. matrix: weight, name, role, seed, and as the method needs them
--- norm, gram with tokens, gathered.
---@param of sonde.sparsity_method
---@param matrix table
---@return sonde.tensor
function method.score(of, matrix)
  return core.sparsity_score(of.name, of.options, matrix)
end

--- Adds to a sum what a method makes of a gradient.
---@param of sonde.sparsity_method
---@param matrix table
---@param gradient sonde.tensor
---@param sum sonde.tensor
function method.gather(of, matrix, gradient, sum)
  if not of.script then return core.sparsity_gather(of.name, of.options, matrix, gradient, 1, sum) end
  local tensors = { weight = matrix.weight, gradient = gradient, sum = sum }
  sum:copy(compute(tensors, of.script.gather, of.options, "sparsity '" .. of.name .. "', gather", matrix.weight))
end

return method
