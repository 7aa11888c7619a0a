--- plan.lua - what the trials of a sweep would need, one line a model, without running any.
--
-- Hours are FLOP over a rate, which the plan names: the one that is stated, or the peak of this machine's threads. That
-- peak is of one thread in its best millisecond, times the threads, so that it hardly follows what else runs.

local core = require "sonde.core"
local args = require "sonde.base.args"
local current = require "sonde.base.current"
local forecast = require "sonde.train.forecast"
local grid = require "sonde.sweep.grid"
local machine = require "sonde.base.machine"
local sorted_keys = require "sonde.base.sorted_keys"
local train = require "sonde.train"

local sweep_plan = {}

local GIB, PEAK_SECONDS = 1024 ^ 3, 0.2

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

-- The rates of a plan by dtype, in FLOP/s: the stated one, or this machine's as they are asked for.
local function rates_of(stated)
  return setmetatable({}, { __index = function(rates, dtype)
    rates[dtype] = stated or core.threads() * core.peak(dtype, PEAK_SECONDS, true)
    return rates[dtype]
  end })
end

local function plan_one(point, f, rates)
  local model, options = f(grid.copy(point.params))
  model = args.value({ name = "model", type = "model", required = true }, model,
    "what the function of sweep:plan gives")
  local o = train.resolve(model, options)
  local info, plan = forecast.step(model, o)
  plan:close()
  point.parameters, point.peak_bytes = info.parameters, info.peak_bytes
  point.tokens = o.tokens
  point.flops = info.model_flops / (o.batch * o.context) * o.tokens
  point.hours = point.flops / rates[o.dtype] / 3600
end

-- What the hours are, in a line.
local function said_of_hours(hours, rates, stated)
  if stated then
    return ("%.3g hours (%.3g days) at %.3g FLOP/s, the rate that is stated"):format(hours, hours / 24, stated)
  end
  local parts = {}
  for _, dtype in ipairs(sorted_keys(rates)) do
    parts[#parts + 1] = ("%.3g FLOP/s in %s"):format(rates[dtype], dtype)
  end
  return ("%.3g hours is what they take at least (%.3g days), at the measured peak of this machine's %d thread%s, %s; "
    .. "--set flops_per_s=RATE states another"):format(hours, hours / 24, core.threads(),
    core.threads() == 1 and "" or "s", table.concat(parts, " and "))
end

--- Plans every model of the sweep and prints what it needs.
---@param sweep table
---@param f fun(params: table): table, table   gives the model and the options of its training
---@return table[] points { name, trials, parameters, tokens, peak_bytes, flops, hours }
function sweep_plan.run(sweep, f)
  local points, free, rates = models_of(sweep), machine.memory(), rates_of(sweep.flops_per_s)
  local hours, largest = 0, 0
  print(("%-40s %7s %10s %9s %9s %12s %16s"):format("model", "trials", "params", "tokens", "FLOP", "memory",
    sweep.flops_per_s and "hours" or "hours, at least"))
  for _, point in ipairs(points) do
    plan_one(point, f, rates)
    hours, largest = hours + point.hours * point.trials, math.max(largest, point.peak_bytes)
    print(("%-40s %7d %8.1f M %9.3g %9.3g %8.2f GiB %16.3g"):format(point.name, point.trials, point.parameters / 1e6,
      point.tokens, point.flops, point.peak_bytes / GIB, point.hours * point.trials))
  end
  print(("all: %d trials; %s"):format(#sweep.trials, said_of_hours(hours, rates, sweep.flops_per_s)))
  print "tokens and FLOP are of one trial"
  if free then
    local jobs = current.jobs or sweep.jobs or 1
    local all = largest * (jobs > 0 and jobs or core.threads())
    print(("memory: the largest model needs %.2f GiB%s, %.2f GiB are free here: %s"):format(largest / GIB,
      all > largest and (", %.2f in %d processes"):format(all / GIB, all / largest) or "", free / GIB,
      all <= free and "fits" or "does not fit; a memory_budget in train recomputes blocks instead of keeping them"))
  end
  return points
end

return sweep_plan
