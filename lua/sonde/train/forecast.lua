--- forecast.lua - what a training step of a model will need: arithmetic and memory, from a plan that is never run.

local core = require "sonde.core"
local distill = require "sonde.distill"
local documents = require "sonde.data.documents"

local forecast = {}

-- What the process holds now: before the model has any memory, the program, its libraries and the runtime.
local function resident()
  core.threads()
  local pages = string.match(core.read_file("/proc/self/statm"), "^%d+ (%d+)")
  return tonumber(pages) * 4096
end

--- "12.3 MiB"
---@param bytes number
---@return string
function forecast.mib(bytes)
  return string.format("%.1f MiB", bytes / 1024 ^ 2)
end

-- Bytes of weights, gradients, the optimizer's states and the sums over micro-batches, as the trainer makes them, and
-- the names of the parameters that are trained.
local function training_state(model, step)
  local options = {}
  for key, value in pairs(step.optimizer) do
    if key ~= "name" then options[key] = value end
  end
  local bytes, trained
  require("sonde.train").with_frozen(model:params(), step.trainable, function()
    bytes, trained = core.training_state(model:params(),
      { optimizer = step.optimizer.name, optimizer_options = options, accumulate = step.accumulate })
  end)
  return bytes, trained
end

-- The nodes of a training step: the loss, the gradient of every parameter that is trained, which goes to a buffer of
-- its own, and what is reported; and those that the updates which measure blocks have beside these.
local function training_step(trace, trained, step, options)
  local train = require "sonde.train"
  local learns = train.learned(trace, trace, step, options)
  local loss = learns.loss:sum()
  local leaves, outputs, tensors = {}, { loss }, {}
  for i, name in ipairs(trained) do
    leaves[i] = trace.graph:find(name)
    tensors[i + 1] = core.tensor("f32", leaves[i]:dims())
  end
  for i, gradient in ipairs((learns.total or loss):grad(leaves)) do outputs[i + 1] = gradient end
  for _, metric in ipairs(learns.metrics) do outputs[#outputs + 1] = metric.node:sum() end
  local probes, entropies = train.measured(trace, step)
  return outputs, tensors, core.training_measures(probes or {}, entropies)
end

-- The options of the trace. Which token ends a document changes no plan.
local function traced(model, step)
  local options = documents.of_trace({ document_mask = step.document_mask == true and 0 or step.document_mask,
    document_positions = step.document_positions }, nil, model, "train")
  options.batch, options.context, options.dropout = step.batch, step.context, true
  options.objective, options.loss_weights = step.objective, step.loss_weights
  return options
end

-- Bytes that a budget leaves for the arena, or nil without one. `base` is what the program takes of the budget.
local function left_of(budget, state, base, parameters)
  if not budget then return nil end
  if budget - state - base <= 0 then
    error(string.format("%s is too little: weights, gradients and the optimizer's states take %s%s; a model of less "
      .. "than %.1f M parameters fits", forecast.mib(budget), forecast.mib(state),
      base > 0 and ", the program " .. forecast.mib(base) or "",
      math.max(0, budget - base) / state * parameters / 1e6), 0)
  end
  return math.floor(budget - state - base)
end

-- The plan of an update, and as its trainer has them the arena and the blocks that are recomputed: the updates that
-- measure blocks have a plan of their own, which needs more and must fit too.
local function plan_step(model, step, trained, left)
  local options = traced(model, step)
  local trace = model:trace(options)
  local outputs, tensors, measures = training_step(trace, trained, step, options)
  local how = { compute = step.dtype, recompute = step.recompute, memory_budget = left }
  local plan = core.plan(outputs, how, tensors)
  local info = plan:info()
  if #measures > 0 then
    for _, node in ipairs(measures) do outputs[#outputs + 1] = node end
    local measuring = core.plan(outputs, how, tensors)
    local its = measuring:info()
    measuring:close()
    info.arena_bytes = math.max(info.arena_bytes, its.arena_bytes)
    info.recomputed_blocks = math.max(info.recomputed_blocks, its.recomputed_blocks)
  end
  return plan, trace, info
end

-- Whether a plan was refused because it needs more than it may take: no other failure says anything about smaller ones.
local function is_too_large(message)
  return tostring(message):find("the budget is", 1, true) ~= nil
end

-- What would fit in the place of a step that does not: a smaller batch, by halving.
local function what_fits(model, step, trained, left)
  local batch = math.floor(step.batch / 2)
  while batch >= 1 do
    local smaller = setmetatable({ batch = batch }, { __index = step })
    local ok, plan = pcall(plan_step, model, smaller, trained, left)
    if ok then
      plan:close()
      return string.format("; a batch of %d fits", batch)
    end
    if not is_too_large(plan) then error(plan, 0) end
    batch = math.floor(batch / 2)
  end
  return string.format("; not even one sequence of %d tokens fits", step.context)
end

--- Plans a training step. Raises, with what would fit, when it does not fit the budget: that of the training, which
--- holds its state and activations, or one for the whole process.
---@param model sonde.model
---@param step table         options of a training, see train.resolve_step
---@param memory? integer     bytes for the process, instead of the step's memory_budget
---@return table info plan's info with parameters, non_embedding, batch, context, state_bytes, base_bytes, peak_bytes
---@return userdata plan, sonde.trace trace
function forecast.step(model, step, memory)
  local base, count = resident(), model:count()
  local state, trained = training_state(model, step)
  local budget = memory or step.memory_budget > 0 and step.memory_budget or nil
  local left = left_of(budget, state, memory and base or 0, count.total)
  local ok, plan, trace, info = pcall(plan_step, model, step, trained, left)
  if not ok then error(is_too_large(plan) and plan .. what_fits(model, step, trained, left) or plan, 0) end
  info.parameters, info.non_embedding, info.batch, info.context = count.total, count.non_embedding, step.batch,
    step.context
  info.state_bytes, info.base_bytes, info.peak_bytes = state, base, info.arena_bytes + state + base
  return info, plan, trace
end

--- Operations a token, by the graph that a training or an evaluation of the model runs: attention by the pairs of a
--- query and a key that it sees, experts by those that a token goes to.
---@param model sonde.model
---@param context integer
---@return number training    forward and backward pass
---@return number forward
function forecast.flops_per_token(model, context)
  local train = require "sonde.train"
  local step = train.resolve(model, { batch = 1, context = context, steps = 1, probe_every = 0 })
  local _, trained = training_state(model, step)
  local function count(of)
    local plan, _, info = plan_step(model, step, of)
    local flops = info.model_flops / context
    plan:close()
    return flops
  end
  return count(trained), count {}
end

return forecast
