--- gradual.lua - a model that becomes sparse while it is trained: after every so many updates a method scores the
-- weights and the lowest go, up to a sparsity that rises as a cubic (Zhu and Gupta, 2017, eq. 1):
--
--   s(t) = s (1 - (1 - (t - begin) / (end - begin))^3)      for the updates t from begin to end
--
-- What is out stays out: it has no gradient. The masks and what a method gathers are in the checkpoints, and they
-- change before the checkpoint of their update is written, so that a run that was stopped goes on with the same bits.

local core = require "sonde.core"
local args = require "sonde.base.args"
local matrices = require "sonde.sparse.matrices"
local method = require "sonde.sparse.method"
local pattern = require "sonde.sparse.pattern"

local gradual = {}

--- The option `sparsity` of a training.
---@type sonde.schema
gradual.schema = {
  { name = "method", type = "string|table", preset = "magnitude", choices = method.names,
    doc = "NAME or {NAME, option = value}" },
  { name = "sparsity", type = "number|string", required = true, doc = "at the end: a share of the weights, or N:M" },
  { name = "begin", type = "number", min = 0, preset = 0,
    doc = "the update it begins after; below 1: a fraction of all" },
  { name = "end", type = "number", min = 0, preset = 0.75,
    doc = "the update after which it is reached, rounded down to a multiple of every; below 1: a fraction of all" },
  { name = "every", type = "integer", min = 1, max = 1000000000,
    doc = "updates between changes of the masks; default: 100 changes in all, at least every update" },
  { name = "scope", type = "string", choices = { "row", "matrix", "model" },
    doc = "among which weights scores are compared; default: the method's" },
  matrices.schema[1], matrices.schema[2],
  { name = "seed", type = "integer", min = 0, preset = 0, doc = "of what a method draws" },
}

local function updates(value, steps)
  return math.floor((value < 1 and value * steps or value) + 0.5)
end

--- Checks the option and fills everything in, as plain values.
---@param given table
---@param model sonde.model
---@param steps integer        of the training
---@param where? sonde.where   of the training's options
---@return table
function gradual.check(given, model, steps, where)
  local function at(path)
    local full = { "sparsity" }
    for k, key in ipairs(path or {}) do full[k + 1] = key end
    return where and where(full) or core.where()
  end
  local o = args.check(gradual.schema, given, "sparsity of train", at)
  local function refuse(key, text) error(at { key } .. "option 'sparsity." .. key .. "' of train: " .. text, 0) end
  local of = method.resolve(o.method, function() return at { "method" } end)
  if of.norm or of.gram then
    refuse("method", "'" .. of.name .. "' reads the inputs of matrices on a calibration text; use sonde sparsify, and "
      .. "train the result")
  end
  if of.gathers and of.script then
    refuse("method", "'" .. of.name .. "' gathers gradients in Lua, which does not run in a training's step; "
      .. "write it in C, or use sonde sparsify")
  end
  o.method = { name = of.name }
  for key, value in pairs(of.options) do o.method[key] = value end
  local whole = pattern.read(o.sparsity, function() return at { "sparsity" } end)
  if o.scope and whole.group then refuse("scope", "has no effect with N:M, which is chosen among M neighbours") end
  o.sparsity, o.scope = pattern.text(whole), o.scope or of.scope
  pattern.check(whole, matrices.choose(model, o, function() return at {} end), function() return at { "sparsity" } end)
  o.begin = updates(o.begin, steps)
  local last = updates(o["end"], steps)
  o.every = o.every or math.max(1, math.floor((last - o.begin) / 100))
  o["end"] = math.floor(last / o.every) * o.every
  if o["end"] <= o.begin then
    refuse("end", string.format("it ends after update %d, and begins after %d; between them there must be an update "
      .. "that every (%d) divides", o["end"], o.begin, o.every))
  end
  if o["end"] >= steps then
    refuse("end", string.format("after update %d there is none of the %d left for the weights to recover; make it "
      .. "smaller", o["end"], steps))
  end
  return o
end

--- Puts on the model what the schedule needs: masks, and room for what the method gathers.
---@param model sonde.model
---@param o table|nil      checked
function gradual.views(model, o)
  if not o then return end
  local params, list = model:params(), matrices.choose(model, o)
  matrices.mask(params, list)
  if not method.resolve(o.method).gathers then return end
  for _, param in ipairs(list) do
    if not params:find(param.name .. ".gathered") then params:gather(param.name) end
  end
end

--- The fields of the trainer: which method gathers gradients.
---@param o table|nil
---@param fields table
function gradual.prepare(o, fields)
  local of = o and method.resolve(o.method)
  if of and of.gathers then fields.gather = { method = of.name, options = of.options } end
end

--- The sparsity that the masks have after an update.
---@param o table
---@param update integer
---@return sonde.sparsity_pattern
function gradual.at(o, update)
  local done = math.min(1, math.max(0, (update - o.begin) / (o["end"] - o.begin)))
  return pattern.part(pattern.read(o.sparsity), 1 - (1 - done) ^ 3)
end

-- Takes weights out, as many as the schedule says.
local function change(model, o, of, update)
  local params, scored = model:params(), {}
  for _, param in ipairs(matrices.choose(model, o)) do
    local matrix = { name = param.name, role = param.role, weight = params:read(param.name), seed = o.seed,
      gathered = params:find(param.name .. ".gathered") }
    scored[#scored + 1] = { name = param.name, score = method.score(of, matrix), weight = params:find(param.name),
      mask = matrices.mask_of(params, param.name) }
  end
  pattern.apply(scored, gradual.at(o, update), o.scope)
end

--- What a training that ends after an update says of its sparsity: the share of the chosen matrices' weights that is
--- out, and in a sentence that it is less than was asked for, where the schedule had not ended.
---@param model sonde.model
---@param o table
---@param update integer
---@return number share, string|nil
function gradual.reached(model, o, update)
  local weights, zeros, params = 0, 0, model:params()
  for _, each in ipairs(matrices.facts(params, matrices.choose(model, o))) do
    weights, zeros = weights + each.weights, zeros + each.zeros
  end
  local share, whole = zeros / weights, pattern.read(o.sparsity)
  if update >= o["end"] then return share end
  return share, ("%.1f %% of the weights are out, not %.1f %%: the schedule of the sparsity ends at update %d, the "
    .. "training ended at %d"):format(100 * share, 100 * whole.sparsity, o["end"], update)
end

--- What changes the masks between updates: a hook of the training.
---@param o table
---@return table
function gradual.hook(o)
  local of = method.resolve(o.method)
  return { name = "sparsity", every = o.every, call = function(state)
    if state.step > o.begin and state.step <= o["end"] then change(state.model, o, of, state.step) end
  end }
end

return gradual
