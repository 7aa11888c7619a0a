--- model.lua - a model: its parameters, its traces, its folder on disk.

local core = require "sonde.core"
local initpolicy = require "sonde.initpolicy"

---@class sonde.model
---@field config table     every option with its value (transformer.schema)
---@field layers table[]   for each block, what it is built of: norm, attention, ffn, placement
---@field final table      the norm before the head
local model = {}
model.__index = model

--- Called by transformer.new; use that.
function model.new(config, layers, final)
  return setmetatable({
    config = config, layers = layers, final = final, handle = core.params(config.seed), policies = {},
  }, model)
end

--- First values by role for parameters of layer 1..L, or 0 outside the blocks.
---@param layer integer
---@return table
function model:policy(layer)
  local config = self.config
  if not self.policies[layer] then
    self.policies[layer] = initpolicy.at(config.init,
      { layer = layer, depth = config.depth, width = config.width, std = config.init_std })
  end
  return self.policies[layer]
end

--- A parameter outside the blocks as a leaf of a graph; made if it is not there yet.
function model:leaf(graph, name, dims, role)
  return graph:leaf(name, self.handle:need(name, dims, role, self:policy(0)[role], -1))
end

--- The model's computation for one batch shape, as a graph. Options: batch, context, dropout, and the interventions
--- skip, swap, replace, gate (trace.lua).
---@param options? table
---@return sonde.trace
function model:trace(options)
  return require("sonde.trace").new(self, options)
end

--- The parameters as they are now, maybe none yet: for traces.
function model:params_handle()
  return self.handle
end

-- Parameters are made by tracing: the smallest trace makes them all.
local function complete(self)
  if not self.completed then
    self:trace({ batch = 1, context = math.min(2, self.config.context) }).graph:close()
    self.completed = true
  end
end

--- The named parameters: params:find(name) gives a tensor, params:list() names, dims and roles.
---@return sonde.params
function model:params()
  complete(self)
  return self.handle
end

--- Gives every parameter that has no values yet its first ones. Returns the model.
---@return sonde.model
function model:init()
  complete(self)
  self.handle:init()
  return self
end

--- How many numbers the parameters hold.
---@return {total: integer, embedding: integer, head: integer, non_embedding: integer}
function model:count()
  complete(self)
  local count = { total = self.handle:elements(), embedding = 0, head = 0 }
  for _, param in ipairs(self.handle:list()) do
    if param.role == "embed" or param.role == "head" then
      local key = param.role == "embed" and "embedding" or "head"
      count[key] = count[key] + param.dims[1] * param.dims[2]
    end
  end
  count.non_embedding = count.total - count.embedding - count.head
  return count
end

return model
