--- correlation.lua - Spearman's rank correlation over the trials of some arms, with a bootstrap interval.
--
-- Trials of one arm differ in their seed alone, so they are no independent sample of arms. With five arms or more the
-- draws are of arms and, within each, of its trials. With three or four the arms are kept and the trials within each
-- are drawn: the interval then says what other seeds would give, and nothing of other arms. Two arms, or two values of
-- few arms, have an order by chance; what may be said of them is a difference. The percentiles are widened for few
-- draws as those of the probes are (probe/bootstrap.lua).

local bootstrap = require "sonde.probe.bootstrap"

local correlation = {}

local ARMS, LEAST, RESAMPLES = 5, 3, 1000

--- Ranks from 1; equal values have the mean of their places.
---@param xs number[]
---@return number[]
function correlation.ranks(xs)
  local order, ranks = {}, {}
  for k = 1, #xs do order[k] = k end
  table.sort(order, function(a, b)
    if xs[a] ~= xs[b] then return xs[a] < xs[b] end
    return a < b
  end)
  local first = 1
  while first <= #order do
    local last = first
    while last < #order and xs[order[last + 1]] == xs[order[first]] do last = last + 1 end
    for k = first, last do ranks[order[k]] = (first + last) / 2 end
    first = last + 1
  end
  return ranks
end

--- Spearman's rank correlation, Pearson's of the ranks; nil where one side has no two different values.
---@param xs number[]
---@param ys number[]
---@return number|nil
function correlation.spearman(xs, ys)
  local a, b, n = correlation.ranks(xs), correlation.ranks(ys), #xs
  local mean, xy, xx, yy = (n + 1) / 2, 0, 0, 0
  for k = 1, n do
    local x, y = a[k] - mean, b[k] - mean
    xy, xx, yy = xy + x * y, xx + x * x, yy + y * y
  end
  if xx == 0 or yy == 0 then return nil end
  return xy / math.sqrt(xx * yy)
end

-- Rows of pairs as two lists.
local function sides(pairs_)
  local xs, ys = {}, {}
  for k, pair in ipairs(pairs_) do xs[k], ys[k] = pair[1], pair[2] end
  return xs, ys
end

-- Places of arms: all of them, or if they are many so many with replacement, at least two different ones.
local function draw_arms(arms, random)
  local places, several
  repeat
    places, several = {}, false
    for k = 1, #arms do
      places[k] = #arms >= ARMS and random(#arms) + 1 or k
      several = several or places[k] ~= places[1]
    end
  until several
  return places
end

-- One draw: of arms, and of the trials in each.
local function draw(arms, random)
  local drawn = {}
  for _, place in ipairs(draw_arms(arms, random)) do
    local arm = arms[place]
    for _ = 1, #arm do drawn[#drawn + 1] = arm[random(#arm) + 1] end
  end
  return drawn
end

-- How many different values one side of the pairs has.
local function levels(arms, side)
  local seen, count = {}, 0
  for _, arm in ipairs(arms) do
    for _, pair in ipairs(arm) do
      if not seen[pair[side]] then count = count + 1 end
      seen[pair[side]] = true
    end
  end
  return count
end

-- What is drawn, and how many of it there are: nil where a draw could only be the sample itself, or where two values
-- tell few arms apart, which by chance have an order as often as not.
local function unit(arms)
  if #arms >= ARMS then return "arms", #arms end
  local least = math.huge
  for _, arm in ipairs(arms) do least = math.min(least, #arm) end
  if math.min(#arms, levels(arms, 1), levels(arms, 2)) >= LEAST and least > 1 then return "seeds", least end
end

---@class sonde.correlation
---@field rho number|nil      nil where one side has no two different values
---@field lo number|nil       of the 95 % interval; nil without one
---@field hi number|nil
---@field trials integer
---@field arms integer        with at least one trial
---@field drawn "arms"|"seeds"|nil

--- Spearman's rank correlation over all trials, and its 95 % interval. Draws are of two different arms at least; one
--- whose values are all alike on one side shows no order, and counts as 0.
---@param arms number[][][]   for each arm, {x, y} of its trials
---@return sonde.correlation
function correlation.over(arms)
  local filled, all = {}, {}
  for _, arm in ipairs(arms) do
    if #arm > 0 then filled[#filled + 1] = arm end
    for _, pair in ipairs(arm) do all[#all + 1] = pair end
  end
  local found = { rho = correlation.spearman(sides(all)), trials = #all, arms = #filled }
  local drawn, n = unit(filled)
  if not found.rho or not drawn then return found end
  local random, values = bootstrap.random(0), {}
  for r = 1, RESAMPLES do values[r] = correlation.spearman(sides(draw(filled, random))) or 0 end
  local ci = bootstrap.interval(values, n)
  found.drawn, found.lo, found.hi = drawn, ci[1], ci[2]
  return found
end

return correlation
