--- gaussian.lua - a Gaussian process over one number, for searches: a squared-exponential kernel with noise, whose
-- length and noise have the largest marginal likelihood of a few (Rasmussen and Williams, 2006, algorithm 2.1).

local stats = require "sonde.base.stats"

local gaussian = {}
local process = {}
process.__index = process

local LENGTHS = { 0.1, 0.2, 0.35, 0.6, 1, 2 }       -- over the range of x
local NOISES = { 1e-6, 1e-3, 1e-2, 0.05, 0.2 }      -- variance over that of y

-- The lower factor of a matrix; nil where it is not positive definite.
local function cholesky(a)
  local l = {}
  for i = 1, #a do
    l[i] = {}
    for j = 1, i do
      local sum = a[i][j]
      for k = 1, j - 1 do sum = sum - l[i][k] * l[j][k] end
      if i == j and sum <= 0 then return nil end
      l[i][j] = i == j and math.sqrt(sum) or sum / l[j][j]
    end
  end
  return l
end

local function forward(l, b)
  local x = {}
  for i = 1, #b do
    x[i] = b[i]
    for k = 1, i - 1 do x[i] = x[i] - l[i][k] * x[k] end
    x[i] = x[i] / l[i][i]
  end
  return x
end

local function backward(l, b)
  local x = {}
  for i = #b, 1, -1 do
    x[i] = b[i]
    for k = i + 1, #b do x[i] = x[i] - l[k][i] * x[k] end
    x[i] = x[i] / l[i][i]
  end
  return x
end

local function kernel(a, b, length)
  return math.exp(-(a - b) ^ 2 / (2 * length ^ 2))
end

-- The process of one length and noise, with its log marginal likelihood but for a constant.
local function with(x, y, length, noise)
  local matrix = {}
  for i = 1, #x do
    matrix[i] = {}
    for j = 1, #x do matrix[i][j] = kernel(x[i], x[j], length) + (i == j and noise or 0) end
  end
  local factor = cholesky(matrix)
  if not factor then return nil end
  local half = forward(factor, y)
  local likelihood = 0
  for i = 1, #x do likelihood = likelihood - half[i] ^ 2 / 2 - math.log(factor[i][i]) end
  return { x = x, factor = factor, weights = backward(factor, half), length = length, likelihood = likelihood }
end

--- A process through two points or more, of which no two x are alike.
---@param x number[]
---@param y number[]
---@return table
function gaussian.fit(x, y)
  local mean, sd = stats.mean(y), stats.sd(y)
  if sd == 0 then sd = 1 end
  local range, scaled, best = math.max(table.unpack(x)) - math.min(table.unpack(x)), {}, nil
  for k, value in ipairs(y) do scaled[k] = (value - mean) / sd end
  for _, length in ipairs(LENGTHS) do
    for _, noise in ipairs(NOISES) do
      local one = with(x, scaled, length * range, noise)
      if one and (not best or one.likelihood > best.likelihood) then best = one end
    end
  end
  best.mean, best.sd = mean, sd
  return setmetatable(best, process)
end

--- Mean and standard deviation of the curve, without the noise of a value, at x.
---@param x number
---@return number mean, number sd
function process:at(x)
  local row, sum, left = {}, 0, 1
  for k, at in ipairs(self.x) do
    row[k] = kernel(x, at, self.length)
    sum = sum + row[k] * self.weights[k]
  end
  for _, v in ipairs(forward(self.factor, row)) do left = left - v * v end
  return self.mean + self.sd * sum, self.sd * math.sqrt(math.max(left, 0))
end

--- How far the curve at x is expected to be below `least`, or 0 where it is above.
---@param x number
---@param least number
---@return number
function process:improvement(x, least)
  local mean, sd = self:at(x)
  if sd <= 0 then return math.max(least - mean, 0) end
  local z = (least - mean) / sd
  local above = stats.normal_tail(math.abs(z))
  return (least - mean) * (z > 0 and 1 - above or above) + sd * math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
end

return gaussian
