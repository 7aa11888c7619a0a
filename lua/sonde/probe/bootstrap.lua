--- bootstrap.lua - means over windows, and percentile intervals from windows drawn anew with replacement.
--
-- Windows are the unit: tokens of one window depend on each other. All figures of a measurement see the same
-- draws. Draws of n windows vary less than means of n windows of the text do, by sqrt((n - 1) / n), and the normal
-- tails of their percentiles are too short for few: so percentiles further out are taken, those that make the
-- interval of a mean as long as Student's (Hesterberg, What Teachers Should Know About the Bootstrap, 2015).

local core = require "sonde.core"
local sorted_keys = require "sonde.base.sorted_keys"
local stats = require "sonde.base.stats"

local bootstrap = { LEVEL = 0.95, RESAMPLES = 1000 }

local LARGEST = 4e6               -- numbers of resampled means that are looked at together

--- Random whole numbers 0 .. n - 1 from a seed, the same on every machine (Park and Miller's generator).
---@param seed integer
---@return fun(n: integer): integer
function bootstrap.random(seed)
  local state = (seed * 7919 + 12345) % 2147483646 + 1
  return function(n)
    state = state * 16807 % 2147483647
    return math.floor((state - 1) / 2147483646 * n)
  end
end

--- Weights of the windows: the first row takes each once, the others are draws. Row r says how often it takes each
--- slot (of session:slots). They are not divided by the windows, so that f32 sums what is counted without an error.
---@param slots (integer|false)[]
---@param rows integer         windows
---@param resamples integer
---@param seed integer
---@return number[][]
function bootstrap.weights(slots, rows, resamples, seed)
  local random, list = bootstrap.random(seed), {}
  for r = 0, resamples do
    local counts = {}
    for w = 1, rows do counts[w] = r == 0 and 1 or 0 end
    for _ = 1, r > 0 and rows or 0 do
      local w = random(rows) + 1
      counts[w] = counts[w] + 1
    end
    local row = {}
    for i, w in ipairs(slots) do row[i] = w and counts[w] or 0 end
    list[r + 1] = row
  end
  return list
end

--- Weighted sums [R, K] of samples, tensors [B, K] of all batches; or what `divide` makes of that node.
---@param weights sonde.tensor    [R, slots]
---@param samples sonde.tensor[]
---@param divide? fun(all: sonde.node): sonde.node[]
---@param centred? boolean        of what the samples have over the first of them
---@return sonde.tensor[]
function bootstrap.sums(weights, samples, divide, centred)
  local graph = core.graph()
  local leaves = {}
  for i, tensor in ipairs(samples) do leaves[i] = graph:leaf("samples." .. i, tensor) end
  local values = require("sonde").concat(leaves, 1)
  if centred then values = values - leaves[1]:slice(1, 1, 1) end
  local all = graph:leaf("weights", weights):matmul(values)
  local plan, result = core.plan(divide and divide(all) or { all }), {}
  plan:run()
  for i = 1, plan:outputs() do result[i] = plan:output(i) end
  plan:close()
  graph:close()
  return result
end

-- Calls f(means over the windows of all jobs) for rows first..last of the weights, where the means of a job are a flat
-- list. Windows are much alike: f32 sums what they have over the first one, which loses less than summing all of it.
local function each_mean(jobs, weights, windows, first, last, f)
  local n, flat = #weights[1], {}
  for r = first, last do
    for i = 1, n do flat[#flat + 1] = weights[r][i] end
  end
  local tensor = core.tensor("f32", { last - first + 1, n }, flat)
  local values, size = {}, {}
  for j, job in ipairs(jobs) do
    local result = bootstrap.sums(tensor, job.samples, nil, true)[1]
    values[j], size[j] = result:values(), result:dims()[2]
  end
  for r = 0, last - first do
    local mean = {}
    for j, job in ipairs(jobs) do
      local list, at, origin = {}, r * size[j], job.samples[1]
      for k = 1, size[j] do list[k] = origin:get(k) + values[j][at + k] / windows end
      mean[j] = list
    end
    f(mean)
  end
end

-- ---- shapes of results -------------------------------------------------------------------------------------------

local function walk(value, f)
  if type(value) == "table" then
    for _, item in ipairs(value) do walk(item, f) end
  else
    f(value)
  end
end

local function numbers_of(values, names, scalars)
  local list = {}
  walk(values, function(x) list[#list + 1] = x end)
  for _, name in ipairs(names) do list[#list + 1] = scalars[name] end
  return list
end

local function like(value, next_item)
  if type(value) ~= "table" then return next_item() end
  local list = core.list()
  for i, item in ipairs(value) do list[i] = like(item, next_item) end
  return list
end

local tails = {}      -- by n, the share of the draws that lies below an interval

local function tail_of(n)
  if not tails[n] then
    local t = stats.t_quantile(0.5 + bootstrap.LEVEL / 2, n - 1)
    tails[n] = stats.normal_tail(math.sqrt(n / (n - 1)) * t)
  end
  return tails[n]
end

--- The 95 % interval {lo, hi} of a figure from its values in draws of n things: percentiles, widened for few of them.
--- Draws that hold no number have no order.
---@param draws number[]
---@param n integer     at least 2
---@return number[]
function bootstrap.interval(draws, n)
  local list, tail = core.list(), tail_of(n)
  for _, x in ipairs(draws) do
    if x ~= x then
      list[1], list[2] = x, x
      return list
    end
  end
  list[1], list[2] = stats.quantile(draws, tail), stats.quantile(draws, 1 - tail)
  return list
end

--- Values with their intervals from a value for each resample: at(0) is the figure itself, at(r) that of draw
--- r.
---@param resamples integer
---@param windows integer
---@param at fun(r: integer): table, table|nil    values (a list, or rows) and scalars
---@return table      {values, ci, scalars}
function bootstrap.entry(resamples, windows, at)
  local values, scalars = at(0)
  local names = sorted_keys(scalars or {})
  local draws = {}
  for i = 1, #numbers_of(values, names, scalars) do draws[i] = {} end
  for r = 1, windows > 1 and resamples or 0 do
    local v, s = at(r)
    for i, x in ipairs(numbers_of(v, names, s)) do draws[i][r] = x end
  end
  local k, i = 0, 0
  local plain = numbers_of(values, {}, {})
  local entry = { values = like(values, function() k = k + 1; return plain[k] end) }
  local function next_interval()
    i = i + 1
    return bootstrap.interval(draws[i], windows)
  end
  if windows > 1 then entry.ci = like(values, next_interval) end
  if #names > 0 then
    entry.scalars = {}
    for _, name in ipairs(names) do
      entry.scalars[name] = { value = scalars[name], ci = windows > 1 and next_interval() or nil }
    end
  end
  return entry
end

--- The figures of a probe and their intervals.
---@param session sonde.session
---@param jobs table[]       computed ones
---@param value fun(mean: number[][], session: sonde.session, draw: integer): table, table|nil    draw 0: none
---@param resamples? integer
---@return table
function bootstrap.figures(session, jobs, value, resamples)
  resamples = session.rows > 1 and (resamples or bootstrap.RESAMPLES) or 0
  local weights = bootstrap.weights(session:slots(), session.rows, resamples, session.options.seed)
  local width = 0
  for _, job in ipairs(jobs) do width = width + job.samples[1]:dims()[2] end
  local portion = math.max(1, math.floor(LARGEST / width))
  local results = {}
  for first = 1, resamples + 1, portion do
    local last = math.min(resamples + 1, first + portion - 1)
    each_mean(jobs, weights, session.rows, first, last, function(mean)
      local values, scalars = value(mean, session, #results)
      results[#results + 1] = { values, scalars }
    end)
  end
  return bootstrap.entry(resamples, session.rows, function(r) return results[r + 1][1], results[r + 1][2] end)
end

return bootstrap
