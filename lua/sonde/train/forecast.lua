--- forecast.lua - what a training step of a model will need: arithmetic and memory, from a plan that is never run.

local core = require "sonde.core"

local forecast = {}

local STATE_BYTES = 16          -- a parameter's weight, gradient and two moments in f32

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

-- The nodes of a training step: the summed loss and the gradient of every parameter, which goes to a buffer of its own.
local function training_step(model, trace)
  local leaves, outputs, tensors = {}, { trace.total or trace.loss:sum() }, {}
  for i, param in ipairs(model:params():list()) do
    leaves[i] = trace.graph:find(param.name)
    tensors[i + 1] = core.tensor("f32", param.dims)
  end
  for i, gradient in ipairs(outputs[1]:grad(leaves)) do outputs[i + 1] = gradient end
  return outputs, tensors
end

-- Bytes that a budget leaves for the arena, or nil without one.
local function left_of(budget, state, base)
  if not budget then return nil end
  if budget - state - base <= 0 then
    error(string.format("%s is too little: weights, gradients and moments take %s, the program %s; a model of less "
      .. "than "
      .. "%.1f M parameters fits", forecast.mib(budget), forecast.mib(state), forecast.mib(base),
      math.max(0, budget - base) / STATE_BYTES / 1e6), 0)
  end
  return math.floor(budget - state - base)
end

local function plan_step(model, step, left)
  local trace = model:trace { batch = step.batch, context = step.context, dropout = true }
  local outputs, tensors = training_step(model, trace)
  local plan = core.plan(outputs, { compute = step.dtype, recompute = step.recompute, memory_budget = left }, tensors)
  return plan, trace
end

-- Whether a plan was refused because it needs more than it may take: no other failure says anything about smaller ones.
local function is_too_large(message)
  return tostring(message):find("the budget is", 1, true) ~= nil
end

-- What would fit in the place of a step that does not: a smaller batch, by halving.
local function what_fits(model, step, left)
  local batch = math.floor(step.batch / 2)
  while batch >= 1 do
    local ok, plan = pcall(plan_step, model,
      { batch = batch, context = step.context, dtype = step.dtype, recompute = step.recompute }, left)
    if ok then
      plan:close()
      return string.format("; a batch of %d fits", batch)
    end
    if not is_too_large(plan) then error(plan, 0) end
    batch = math.floor(batch / 2)
  end
  return string.format("; not even one sequence of %d tokens fits", step.context)
end

--- Plans a training step. Raises, with what would fit, when it does not fit the budget.
---@param model sonde.model
---@param step {batch: integer, context: integer, dtype: string, recompute: string, memory: integer|nil}
---@return table info plan's info with parameters, non_embedding, batch, context, state_bytes, base_bytes, peak_bytes
---@return userdata plan, sonde.trace trace
function forecast.step(model, step)
  local base, count = resident(), model:count()
  local state = STATE_BYTES * count.total
  local left = left_of(step.memory, state, base)
  local ok, plan, trace = pcall(plan_step, model, step, left)
  if not ok then error(is_too_large(plan) and plan .. what_fits(model, step, left) or plan, 0) end
  local info = plan:info()
  info.parameters, info.non_embedding, info.batch, info.context = count.total, count.non_embedding, step.batch,
    step.context
  info.state_bytes, info.base_bytes, info.peak_bytes = state, base, info.arena_bytes + state + base
  return info, plan, trace
end

return forecast
