--- plan.lua - what the trials of a sweep would need, one line a model, without running any.

local core = require "sonde.core"
local args = require "sonde.base.args"
local forecast = require "sonde.train.forecast"
local grid = require "sonde.sweep.grid"
local machine = require "sonde.base.machine"
local train = require "sonde.train"

local sweep_plan = {}

local GIB = 1024 ^ 3

-- One trial of each combination of the parameters but the seed: seeds cost the same.
local function models_of(sweep)
  local seen, points = {}, {}
  for _, trial in ipairs(sweep.trials) do
    local parts = {}
    for _, axis in ipairs(sweep.axes) do
      if axis.name ~= sweep.over then parts[#parts + 1] = axis.name .. "=" .. grid.text(trial.params[axis.name]) end
    end
    local name = table.concat(parts, ",")
    if seen[name] then
      seen[name].trials = seen[name].trials + 1
    else
      seen[name] = { name = name, params = trial.params, trials = 1 }
      points[#points + 1] = seen[name]
    end
  end
  return points
end

local function plan_one(point, f, peaks)
  local model, options = f(grid.copy(point.params))
  model = args.value({ name = "model", type = "model", required = true }, model,
    "what the function of sweep:plan gives")
  local o = train.resolve(model, options)
  local info, plan = forecast.step(model, o)
  plan:close()
  peaks[o.dtype] = peaks[o.dtype] or core.peak(o.dtype, 0.2)
  point.parameters, point.peak_bytes = info.parameters, info.peak_bytes
  point.tokens = o.tokens
  point.flops = 1.0 * train.flops_per_token(model, o.context) * o.tokens      -- more than a 64-bit integer holds
  point.hours = point.flops / peaks[o.dtype] / 3600
end

--- Plans every model of the sweep and prints what it needs.
---@param sweep table
---@param f fun(params: table): table, table   gives the model and the options of its training
---@return table[] points { name, trials, parameters, tokens, peak_bytes, flops, hours }
function sweep_plan.run(sweep, f)
  local points, free, peaks = models_of(sweep), machine.memory(), {}
  local hours, largest = 0, 0
  print(("%-40s %7s %10s %9s %9s %12s %16s"):format("model", "trials", "params", "tokens", "FLOP", "memory",
    "hours, at least"))
  for _, point in ipairs(points) do
    plan_one(point, f, peaks)
    hours, largest = hours + point.hours * point.trials, math.max(largest, point.peak_bytes)
    print(("%-40s %7d %8.1f M %9.3g %9.3g %8.2f GiB %16.3g"):format(point.name, point.trials, point.parameters / 1e6,
      point.tokens, point.flops, point.peak_bytes / GIB, point.hours * point.trials))
  end
  print(("all: %d trials; %.3g hours is what they take at least (%.3g days), were every operation at this machine's "
    .. "peak"):format(#sweep.trials, hours, hours / 24))
  print "tokens and FLOP are of one trial"
  if free then
    print(("memory: the largest model needs %.2f GiB, %.2f GiB are free here: %s"):format(largest / GIB, free / GIB,
      largest <= free and "fits" or "does not fit; a memory_budget in train recomputes blocks instead of keeping them"))
  end
  return points
end

return sweep_plan
