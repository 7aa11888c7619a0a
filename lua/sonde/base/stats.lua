--- stats.lua - statistics over seeds: means, spreads, Student intervals and what may be ranked.
--
-- Everything takes plain lists of numbers. Values that are not finite are the caller's business: a diverged
-- trial is counted, never averaged (report/table.lua).

local stats = {}

local LEVEL = 0.95

--- Arithmetic mean, or nil for an empty list.
---@param xs number[]
---@return number|nil
function stats.mean(xs)
  if #xs == 0 then return nil end
  local sum = 0.0      -- whole numbers would wrap around where their sum is beyond 64 bits
  for _, x in ipairs(xs) do sum = sum + x end
  if math.abs(sum) < math.huge then return sum / #xs end
  sum = 0.0
  for _, x in ipairs(xs) do sum = sum + x / #xs end
  return sum
end

--- What numbers whose largest magnitude is this are divided by where squares of them are taken: 1, unless these would
--- be beyond a double or vanish.
---@param largest number above 0
---@return number
function stats.scale(largest)
  return (largest > 1e150 or largest < 1e-150) and largest < math.huge and largest or 1
end

--- Sample standard deviation (divisor n - 1), or nil below two values.
---@param xs number[]
---@return number|nil
function stats.sd(xs)
  if #xs < 2 then return nil end
  local around, sum, largest = {}, 0, 0      -- the first one: values that are all alike deviate by 0 exactly
  for k, x in ipairs(xs) do around[k] = 1.0 * x - xs[1] end
  local m = stats.mean(around)
  for _, x in ipairs(around) do largest = math.max(largest, math.abs(x - m)) end
  local scale = largest > 0 and stats.scale(largest) or 1
  for _, x in ipairs(around) do sum = sum + ((x - m) / scale) ^ 2 end
  return scale * math.sqrt(sum / (#xs - 1))
end

--- The value below which a share `q` of the list lies, interpolated between neighbours (type 7).
---@param xs number[]
---@param q number between 0 and 1
---@return number|nil
function stats.quantile(xs, q)
  if #xs == 0 then return nil end
  local sorted = {}
  for k, x in ipairs(xs) do sorted[k] = x end
  table.sort(sorted)
  local pos = 1 + (#sorted - 1) * q
  local low = math.floor(pos)
  local high = math.min(low + 1, #sorted)
  return sorted[low] + (pos - low) * (1.0 * sorted[high] - sorted[low])
end

---@param xs number[]
---@return number|nil
function stats.median(xs)
  return stats.quantile(xs, 0.5)
end

-- Stirling's series for log Gamma; arguments below 10 are shifted up, which keeps the error under 1e-13.
local function log_gamma(x)
  local shift = 0
  while x < 10 do
    shift = shift - math.log(x)
    x = x + 1
  end
  local inv2 = 1 / (x * x)
  local tail = (1 / 12 - inv2 * (1 / 360 - inv2 * (1 / 1260 - inv2 / 1680))) / x
  return shift + (x - 0.5) * math.log(x) - x + 0.5 * math.log(2 * math.pi) + tail
end

-- Continued fraction of the incomplete beta function by Lentz's method (DLMF 8.17.22).
local function beta_fraction(x, a, b)
  local tiny = 1e-300
  local c, d = 1, 1 - (a + b) * x / (a + 1)
  if math.abs(d) < tiny then d = tiny end
  d = 1 / d
  local h = d
  for m = 1, 300 do
    local even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
    local odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
    local delta
    for _, term in ipairs { even, odd } do
      d = 1 + term * d
      c = 1 + term / c
      if math.abs(d) < tiny then d = tiny end
      if math.abs(c) < tiny then c = tiny end
      d = 1 / d
      delta = d * c
      h = h * delta
    end
    if math.abs(delta - 1) < 1e-15 then break end
  end
  return h
end

-- Regularised incomplete beta function I_x(a, b).
local function incomplete_beta(x, a, b)
  if x <= 0 then return 0 end
  if x >= 1 then return 1 end
  local front = math.exp(log_gamma(a + b) - log_gamma(a) - log_gamma(b) + a * math.log(x) + b * math.log(1 - x))
  if x < (a + 1) / (a + b + 2) then return front * beta_fraction(x, a, b) / a end
  return 1 - front * beta_fraction(1 - x, b, a) / b
end

--- Cumulative distribution of Student's t with `df` degrees of freedom, at t >= 0.
---@param t number
---@param df number
---@return number
function stats.t_cdf(t, df)
  return 1 - 0.5 * incomplete_beta(df / (df + t * t), df / 2, 0.5)
end

--- The t that a share `p` (>= 0.5) of Student's distribution lies below.
---@param p number
---@param df number
---@return number
function stats.t_quantile(p, df)
  local low, high = 0, 1
  while stats.t_cdf(high, df) < p do high = high * 2 end
  for _ = 1, 100 do
    local mid = (low + high) / 2
    if stats.t_cdf(mid, df) < p then low = mid else high = mid end
  end
  return (low + high) / 2
end

--- The share of the normal distribution above x >= 0, within 1e-7 (Abramowitz and Stegun 26.2.17).
---@param x number
---@return number
function stats.normal_tail(x)
  local t = 1 / (1 + 0.2316419 * x)
  local sum = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
  return sum * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)
end

local half_widths = {}      -- by n, in standard errors

--- Describes a list: n, mean, sd, and the 95 % Student interval [lo, hi] of the mean (nil below two values).
---@param xs number[]
---@return table
function stats.describe(xs)
  local d = { n = #xs, mean = stats.mean(xs), sd = stats.sd(xs) }
  if d.sd then
    half_widths[d.n] = half_widths[d.n] or stats.t_quantile(0.5 + LEVEL / 2, d.n - 1)
    local half = half_widths[d.n] * d.sd / math.sqrt(d.n)
    d.lo, d.hi = d.mean - half, d.mean + half
  end
  return d
end

--- What may be said about the order of some descriptions: the key of the best mean, a set of the keys whose intervals
--- overlap the best one's, and a set of those that have no interval (one seed): these can be put into no order, and
--- where there is one, no other is the best for certain.
---@param described table<string, table> key -> stats.describe result
---@param higher boolean whether larger is better
---@return string|nil best, table<string, boolean> tied, table<string, boolean> unknown
function stats.leaders(described, higher)
  local keys = {}
  for key, d in pairs(described) do
    if d.mean then keys[#keys + 1] = key end
  end
  table.sort(keys)
  local best
  for _, key in ipairs(keys) do
    local mean = described[key].mean
    if not best or (higher and mean > described[best].mean) or (not higher and mean < described[best].mean) then
      best = key
    end
  end
  local tied, unknown = {}, {}
  for _, key in ipairs(keys) do
    local a, b = described[key], described[best]
    if not a.lo then
      unknown[key] = true
    elseif key ~= best and b.lo and a.lo <= b.hi and a.hi >= b.lo then
      tied[key] = true
    end
  end
  return best, tied, unknown
end

return stats
