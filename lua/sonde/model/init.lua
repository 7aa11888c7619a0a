--- sonde.model - a model: its parameters and its traces. How it lies on disk is in io.

-- What lives here: transformer.lua makes models of options, trace.lua and block.lua their graphs. module.lua and kind/
-- are the modules that blocks are built of, placement.lua where the norms are, init_policy.lua how parameters start,
-- names.lua what they are called, objective.lua and objectives/ what a model learns; fold.lua takes gains into weights.

local core = require "sonde.core"
local args = require "sonde.base.args"
local initpolicy = require "sonde.model.init_policy"
local names = require "sonde.model.names"
local sorted_keys = require "sonde.base.sorted_keys"

---@class sonde.model
---@field config table     every option with its value (transformer.schema)
---@field layers table[]   for each block, what it is built of: norm, attention, ffn, placement
---@field final table      the norm before the head
---@field objective table  what it is trained for: its name and options
local model = {}
model.__index = model

function model:__tostring()
  local c = self.config
  local reads = c.vocab and c.vocab .. " tokens of vocabulary" or c.features .. " features"
  return string.format("sonde.model: %d blocks of width %d, %s, %s, %s", c.depth, c.width, reads,
    self.layers[1].placement.name, self.layers[1].norm.name)
end

--- Called by transformer.new; use that.
---@private
function model.new(config, layers, final, objective)
  return setmetatable({
    config = config, layers = layers, final = final, objective = objective, handle = core.params(config.seed),
    policies = {},
  }, model)
end

--- First values by role for parameters of layer 1..L of a stack of that depth, or 0 outside the blocks.
---@private
---@param layer integer
---@param depth? integer   default: the model's
---@param options? table    of the block's placement
---@return table
function model:policy(layer, depth, options)
  local config = self.config
  depth, options = depth or config.depth, options or {}
  local key = layer .. "/" .. depth .. "/" .. core.json_encode(options)
  if not self.policies[key] then
    local policy = initpolicy.at(config.init,
      { layer = layer, depth = depth, width = config.width, std = config.init_std, options = options })
    if config.embed_std then policy.embed = { kind = "normal", a = config.embed_std, b = policy.embed.b } end
    self.policies[key] = policy
  end
  return self.policies[key]
end

--- A parameter outside the blocks as a leaf of a graph; made if it is not there yet.
---@private
function model:leaf(graph, name, dims, role)
  self.handle:need(name, dims, role, self:policy(0)[role], -1)
  return self.handle:node(graph, name)
end

-- A trace that is enough to make every parameter, and to declare how buffers are computed.
local function smallest(self)
  return require("sonde.model.trace").new(self, { batch = 1, context = math.min(2, self.config.context) }).graph
end

--- The parameters that share another's value by the options (tie, and share of a block): name -> the other's name.
---@private
---@return table<string, string>
function model:shared()
  local of = {}
  if self.config.tie then of[names.head] = names.embedding end
  for index, layer in ipairs(self.layers) do
    local prefix = names.block(index - 1)
    for _, param in ipairs(layer.share and self.handle:weights() or {}) do
      if param.role ~= "buffer" and param.name:sub(1, #prefix) == prefix then
        of[param.name] = names.block(layer.share) .. param.name:sub(#prefix + 1)
      end
    end
  end
  return of
end

-- Makes every parameter. No trace after it adds one: an intervention that asks for a parameter of its own is wrong.
local function complete(self)
  if not self.completed then
    smallest(self):close()
    self.handle:seal()
    local of = self:shared()
    for _, param in ipairs(self.handle:weights()) do
      if of[param.name] then self.handle:share(param.name, of[param.name]) end
    end
    self.completed = true
  end
end

--- The model's computation for one batch shape, as a graph. Options: batch, context, dropout, and the interventions
--- skip, swap, replace, gate (model/trace.lua).
---@param options? table
---@return sonde.trace
function model:trace(options)
  complete(self)
  return require("sonde.model.trace").new(self, options)
end

-- The parameters of a block: name without the block's number -> shape, as text.
local function block_shapes(self, index)
  local shapes, prefix = {}, names.block(index)
  for _, param in ipairs(self:params():weights()) do
    if param.name:sub(1, #prefix) == prefix then shapes[param.name:sub(#prefix + 1)] = table.concat(param.dims, " ") end
  end
  return shapes
end

--- Why the parameters of two blocks cannot stand in each other's place; nil where names and shapes agree.
---@private
---@param a integer   from 0
---@param b integer
---@return string|nil
function model:mismatch(a, b)
  local shapes = { [a] = block_shapes(self, a), [b] = block_shapes(self, b) }
  for _, pair in ipairs { { a, b }, { b, a } } do
    local here, there = pair[1], pair[2]
    for _, name in ipairs(sorted_keys(shapes[here])) do
      local one, other = shapes[here][name], shapes[there][name]
      if not other then return ("block %d has '%s', block %d has not"):format(here, name, there) end
      if one ~= other then
        return ("'%s' is [%s] in block %d, [%s] in block %d"):format(name, one, here, other, there)
      end
    end
  end
end

-- Buffers (BHyT's variance of the attention) are computed from the parameters, all or those without a value.
local function refresh(self, all)
  for _, param in ipairs(self.handle:list()) do
    if param.role == "buffer" then
      local graph = smallest(self)
      self.handle:refresh(graph, all)
      return graph:close()
    end
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
  refresh(self, false)
  return self
end

--- Computes the buffers anew, for weights that were changed by hand. Training does it by itself. Returns the model.
---@return sonde.model
function model:refresh()
  self:init()
  refresh(self, true)
  return self
end

--- A copy for inference whose norms have no gains in front of the branches: they are in the weights behind them.
---@return sonde.model
function model:fold()
  return require("sonde.model.fold").gains(self)
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

--- Saves the model as a folder: config.json, model.safetensors, if there is a tokenizer tokenizer.json and
--- tokenizer_config.json, and what the folder that the model came from holds beside them.
---@param dir string
---@param options? {tokenizer: userdata, dtype: "f32"|"bf16"|"f16", shard_size: string, dense: boolean}
--- dtype: default: as the weights were read, else f32; shard_size: weights in files of at most so much ("5GB"); default
--- one file; dense: masked matrices with their zeros, as other programs read them (doc/folders.md)
function model:save(dir, options)
  self:init()
  require("sonde.io").save(self, dir, options)
end

--- Refuses weights that hold NaN or infinite values, by the name of the first parameter that does.
---@return sonde.model
function model:check_finite()
  local broken = self:init():params():not_finite()
  if broken then
    error(core.where() .. (self.folder and self.folder .. ": " or "") .. "the weights are not finite: '" .. broken
      .. "' holds NaN or infinite values", 0)
  end
  return self
end

--- Whether the model has a tokenizer: that of the folder that it came from.
---@return boolean
function model:has_tokenizer()
  return self.own_tokenizer ~= nil or self.origin ~= nil
    and require("sonde.io.origin").tokenizer_file(self.origin) ~= nil
end

--- The tokenizer of the folder that the model came from.
---@return userdata
function model:tokenizer()
  if not self.own_tokenizer then
    local from, origin = self.origin, require "sonde.io.origin"
    local path = from and from.dir .. "/tokenizer.json"
    if not (from and origin.tokenizer_file(from)) then
      error(core.where() .. (from and (origin.lacks(from) or path .. ": there is no such file")
        or "the model was not loaded from a folder") .. "; a tokenizer is needed to read text", 0)
    end
    self.own_tokenizer = origin.tokenizer(path, from)
  end
  return self.own_tokenizer
end

--- The tokens that end a text, by the folder that the model came from, else by its tokenizer (doc/folders.md).
---@return integer[]
function model:end_tokens()
  return require("sonde.io.origin").end_tokens(self)
end

args.class("model", model)

local self = { name = "self", type = "model", required = true }
local options = { name = "options", type = "table" }
local block = { name = "block", type = "integer", required = true, min = 0 }

args.declare(model, "model:", {
  __tostring = { self }, shared = { self }, params = { self }, init = { self }, refresh = { self }, fold = { self },
  count = { self },
  check_finite = { self }, tokenizer = { self }, end_tokens = { self }, has_tokenizer = { self },
  trace = { self, options }, mismatch = { self, block, block },
  policy = { self, { name = "layer", type = "integer", required = true }, { name = "depth", type = "integer" },
    { name = "options", type = "table" } },
  leaf = {
    self, { name = "graph", type = "graph", required = true }, { name = "name", type = "string", required = true },
    { name = "dims", type = "list", required = true }, { name = "role", type = "string", required = true },
  },
  save = { self, { name = "dir", type = "string", required = true }, options },
})

return model
