--- search.lua - which arms of a sweep are run, and in which order: policies behind ask and tell.
--
-- An arm is a point of the grid without the parameter that trials repeat over. A policy is asked for an arm and is
-- told its value, the smaller the better. Several arms may be asked for before the first of them is told, in any order:
-- which arms are asked for does not depend on how many run at a time. So a policy gives an arm only if every value that
-- is still out would lead to it too; until then it waits.
--
--   local search = policies.new({ policy = "golden", axis = "width" }, arms)
--   local k = search:ask()            -- the number of an arm; nil: nothing more; nil, true: not before it is told more
--   search:tell(k, 3.14)              -- nil: it has no value, having diverged, say
--   policies.resume({..}, arms, search:save())

local core = require "sonde.core"
local args = require "sonde.base.args"
local bootstrap = require "sonde.probe.bootstrap"
local gaussian = require "sonde.sweep.gaussian"
local stats = require "sonde.base.stats"

local policies = {}
local search = {}
search.__index = search

--- The option search of a sweep.
---@type sonde.schema
policies.schema = {
  { name = "policy", type = "string", required = true, choices = { "grid", "random", "asha", "golden", "bayes" },
    doc = "grid: every arm; random: some of them; asha: successive halving; golden: golden-section search; bayes: a "
      .. "Gaussian process with expected improvement" },
  { name = "metric", type = "string", required = true, doc = "the reported number that is sought" },
  { name = "higher", type = "boolean", preset = false, doc = "larger is better" },
  { name = "axis", type = "string", doc = "golden, bayes: the one parameter that is searched, in its logarithm" },
  { name = "budget", type = "string",
    doc = "asha: the parameter, such as tokens, whose values are the rungs" },
  { name = "cost", type = "function",
    doc = "asha: of an arm's parameters, the operations of its trial, in any unit; default: the value of budget" },
  { name = "eta", type = "number", min = 2, preset = 3, doc = "asha: one of so many goes to the next rung" },
  { name = "most", type = "number", min = 0.01, max = 1, preset = 0.4,
    doc = "share of the arms at most (random, bayes), or of the operations of all arms at the largest budget (asha)" },
  { name = "batch", type = "integer", min = 1, max = 1024, preset = 1,
    doc = "bayes: arms that are chosen at a time, to be run at once" },
  { name = "seed", type = "integer", min = 0, preset = 0, doc = "random: of the order" },
  { name = "each", type = "list", preset = {}, of = { name = "name", type = "string", doc = "a parameter" },
    doc = "parameters each of whose values has a search of its own" },
}

local function refuse(text)
  error(core.where() .. "search: " .. text, 0)
end

-- ---- every arm, some arms ------------------------------------------------------------------------------------------

local kinds = {}

kinds.grid = { start = function() end, most = function(self) return #self.arms end }

function kinds.grid.ask(self)
  return #self.asked < #self.arms and #self.asked + 1 or nil
end

kinds.random = {}

function kinds.random.start(self)
  local random, order = bootstrap.random(self.options.seed), {}
  for k = 1, #self.arms do
    local at = random(k) + 1
    order[k] = order[at]
    order[at] = k
  end
  self.order, self.limit = order, math.max(1, math.floor(self.options.most * #self.arms))
end

function kinds.random.most(self) return self.limit end

function kinds.random.ask(self)
  return #self.asked < self.limit and self.order[#self.asked + 1] or nil
end

-- ---- successive halving --------------------------------------------------------------------------------------------

-- Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020. Arms begin on the first rung, all of them.
-- One goes to the next rung as soon as it is sure to be among the best so many of its own, whatever the values that
-- are still out: which are promoted does not depend on the order of the values, as it does in the paper.
kinds.asha = {}

-- The configuration of an arm, its parameters but the budget.
local function configuration(arm, budget)
  local parts = {}
  for name, value in pairs(arm) do
    if name ~= budget then parts[#parts + 1] = name .. "=" .. require("sonde.sweep.grid").text(value) end
  end
  table.sort(parts)
  return table.concat(parts, ",")
end

local function rungs_of(self)
  local name, rungs, known, count = self.options.budget, {}, {}, 0
  for k, arm in ipairs(self.arms) do
    local budget = name and arm[name]
    if type(budget) ~= "number" or budget <= 0 then
      refuse "asha needs budget, the name of a parameter with numbers above 0, such as tokens"
    end
    if not known[budget] then
      known[budget] = { budget = budget, arms = {}, order = {} }
      rungs[#rungs + 1] = known[budget]
    end
    local config = configuration(arm, name)
    known[budget].arms[config] = k
    known[budget].order[#known[budget].order + 1] = config
  end
  table.sort(rungs, function(a, b) return a.budget < b.budget end)
  for _, rung in ipairs(rungs) do count = math.max(count, #rung.order) end
  return rungs, count
end

-- What the n dearest arms of a rung cost; all of them without n.
local function cost_of(self, rung, n)
  local costs, sum = {}, 0
  for k, config in ipairs(rung.order) do
    local arm = self.arms[rung.arms[config]]
    costs[k] = self.options.cost and self.options.cost(arm) or rung.budget
    if type(costs[k]) ~= "number" or not (costs[k] > 0 and costs[k] < math.huge) then
      refuse("asha: cost must give a number above 0, not " .. tostring(costs[k]))
    end
  end
  table.sort(costs, function(a, b) return a > b end)
  for k = 1, math.min(n or #costs, #costs) do sum = sum + costs[k] end
  return sum
end

-- Which arms are promoted is not known before: the dearest ones may be.
local function check_cost(self)
  local rungs, most, least = self.rungs, 0, 0
  local whole = cost_of(self, rungs[#rungs])
  for r, rung in ipairs(rungs) do
    most = most + cost_of(self, rung, r > 1 and rung.limit or nil) / whole
    least = least + cost_of(self, rung, r > 1 and 1 or nil) / whole
  end
  if most > self.options.most * (1 + 1e-9) then
    refuse(("asha may take %.1f %% of the grid's compute, most is %.1f %%; with one arm on each rung behind the first "
      .. "it is %.1f %%, the least for these rungs: give smaller first values of '%s', a larger eta, or a larger most")
      :format(100 * most, 100 * self.options.most, 100 * least, self.options.budget))
  end
end

function kinds.asha.start(self)
  local rungs, count = rungs_of(self)
  if #rungs < 2 then refuse("asha: '" .. self.options.budget .. "' has one value; give two or more") end
  for r, rung in ipairs(rungs) do
    rung.limit = r == 1 and count or math.max(1, math.floor(count / self.options.eta ^ (r - 1)))
    rung.size = r == 1 and #rung.order or rung.limit      -- configurations that come to it; at most, until it is known
    rung.asked, rung.values, rung.promoted = 0, {}, {}
  end
  self.rungs = rungs
  check_cost(self)
end

function kinds.asha.most(self)
  local sum = 0
  for _, rung in ipairs(self.rungs) do sum = sum + math.min(rung.limit, #rung.order) end
  return sum
end

-- The configurations of a rung that go to the next for certain, the best first, and whether that is all of them.
local function promotions(self, r)
  local rung, next_rung, known, list = self.rungs[r], self.rungs[r + 1], {}, {}
  for config, value in pairs(rung.values) do known[#known + 1] = { config = config, value = value } end
  table.sort(known, function(a, b)
    if a.value ~= b.value then return a.value < b.value end
    return a.config < b.config
  end)
  local out = rung.size - #known      -- values that may still be better than any
  for k = 1, math.min(next_rung.limit - out, #known) do
    local config = known[k].config
    if known[k].value < math.huge and next_rung.arms[config] then list[#list + 1] = config end
  end
  return list, out == 0
end

function kinds.asha.ask(self)
  local first = self.rungs[1]
  if first.asked < first.size then
    first.asked = first.asked + 1
    return first.arms[first.order[first.asked]]
  end
  local found
  for r = 1, #self.rungs - 1 do
    local list, complete = promotions(self, r)
    if complete then self.rungs[r + 1].size = #list end
    for _, config in ipairs(list) do
      if not self.rungs[r].promoted[config] then
        found = { r, config }
        break
      end
    end
  end
  if not found then return nil end
  self.rungs[found[1]].promoted[found[2]] = true
  return self.rungs[found[1] + 1].arms[found[2]]
end

function kinds.asha.tell(self, k, value)
  local arm = self.arms[k]
  for _, rung in ipairs(self.rungs) do
    if rung.budget == arm[self.options.budget] then rung.values[configuration(arm, self.options.budget)] = value end
  end
end

-- Those that came furthest first, by value among them.
function kinds.asha.before(self, a, b)
  local name = self.options.budget
  local x, y = self.arms[a][name], self.arms[b][name]
  if x ~= y then return x > y end
end

-- ---- one size ------------------------------------------------------------------------------------------------------

-- The arms by the logarithm of the axis: { { x =, arm = }, .. }, rising.
local function along_axis(self)
  local name, list = self.options.axis, {}
  for k, arm in ipairs(self.arms) do
    local value = name and arm[name]
    if type(value) ~= "number" or value <= 0 then
      refuse(self.options.policy .. " needs axis, the name of a parameter with numbers above 0, such as a size")
    end
    list[k] = { x = math.log(value), arm = k }
  end
  table.sort(list, function(a, b) return a.x < b.x end)
  for k = 2, #list do
    if list[k].x == list[k - 1].x then
      refuse(("%s searches one parameter; give all but '%s' a single value"):format(self.options.policy, name))
    end
  end
  return list
end

-- Golden-section search (Kiefer, 1953) among the values that there are: right where the curve falls and then rises.
kinds.golden = {}

function kinds.golden.start(self)
  self.line = along_axis(self)
  self.low, self.high = 1, #self.line
end

-- The place between low and high that is nearest to a share of the way, in the logarithm.
local function place_at(self, low, high, share)
  local a, b = self.line[low].x, self.line[high].x
  local best, distance
  for k = low + 1, high - 1 do
    local d = math.abs(self.line[k].x - (a + share * (b - a)))
    if not best or d < distance then best, distance = k, d end
  end
  return best
end

-- The two places that divide an interval.
local function divided(self, low, high)
  local golden = (math.sqrt(5) - 1) / 2
  local left, right = place_at(self, low, high, 1 - golden), place_at(self, low, high, golden)
  if left ~= right then return left, right end
  if left + 1 < high then return left, left + 1 end
  return left - 1, left
end

function kinds.golden.ask(self)
  while self.high - self.low > 2 do
    local left, right = divided(self, self.low, self.high)
    for _, at in ipairs { left, right } do
      if not self.known[self.line[at].arm] then return self.line[at].arm end
    end
    if not (self.values[self.line[left].arm] and self.values[self.line[right].arm]) then return nil end
    if self.values[self.line[left].arm] <= self.values[self.line[right].arm] then
      self.high = right
    else
      self.low = left
    end
  end
  for at = self.low, self.high do
    if not self.known[self.line[at].arm] then return self.line[at].arm end
  end
end

-- The longest of the ways that the search can take: how many arms of [low, high] it asks for beside those it knows.
local function longest(self, low, high, known, cache)
  local key, inside, asked = low .. "/" .. high, {}, 0
  for at = low, high do
    if known[at] then
      inside[at] = true
      key = key .. "," .. at
    end
  end
  if cache[key] then return cache[key] end
  if high - low <= 2 then
    for at = low, high do asked = asked + (inside[at] and 0 or 1) end
  else
    local left, right = divided(self, low, high)
    asked = (inside[left] and 0 or 1) + (inside[right] and 0 or 1)
    inside[left], inside[right] = true, true
    asked = asked + math.max(longest(self, low, right, inside, cache), longest(self, left, high, inside, cache))
  end
  cache[key] = asked
  return asked
end

function kinds.golden.most(self) return longest(self, 1, #self.line, {}, {}) end

-- Expected improvement (Jones et al., 1998) under a Gaussian process over the logarithm.
kinds.bayes = {}

function kinds.bayes.start(self)
  self.line = along_axis(self)
  self.limit, self.batch = math.min(#self.line, math.max(3, math.ceil(self.options.most * #self.line))), {}
end

function kinds.bayes.most(self) return self.limit end

-- The values that are known, of a magnitude whose squares a double has.
local function known_points(self)
  local x, y, largest = {}, {}, 0
  for _, point in ipairs(self.line) do
    local value = self.values[point.arm]
    if value and value < math.huge then
      x[#x + 1], y[#y + 1], largest = point.x, value, math.max(largest, math.abs(value))
    end
  end
  local scale = largest > 0 and stats.scale(largest) or 1
  for k, value in ipairs(y) do y[k] = value / scale end
  return x, y
end

-- The arm of largest expected improvement among those that have no value and are not chosen yet.
local function most_improving(self, x, y, chosen)
  local process, least, best, found = gaussian.fit(x, y), math.huge, -1, nil
  for _, at in ipairs(x) do least = math.min(least, (process:at(at))) end
  for _, point in ipairs(self.line) do
    if not self.values[point.arm] and not chosen[point.arm] then
      local gain = process:improvement(point.x, least)
      if gain > best then best, found = gain, point end
    end
  end
  return found, found and process:at(found.x)
end

-- The next arms. Each is taken to have the value that the process expects of it while the others are chosen (the
-- kriging believer of Ginsbourger et al., 2010).
local function next_batch(self)
  local x, y = known_points(self)
  local batch, chosen = {}, {}
  for k = 1, #x >= 2 and math.min(self.options.batch, self.limit - #self.asked) or 0 do
    local point, expected = most_improving(self, x, y, chosen)
    if not point then break end
    batch[k], chosen[point.arm] = point.arm, true
    x[#x + 1], y[#y + 1] = point.x, expected
  end
  return batch
end

function kinds.bayes.ask(self)
  local count = #self.line
  if #self.asked >= self.limit then return nil end
  for _, at in ipairs { 1, count, math.ceil(count / 2) } do      -- without these three nothing is known
    if not self.known[self.line[at].arm] then return self.line[at].arm end
  end
  if #self.batch == 0 then
    if self.pending > 0 then return nil end
    self.batch = next_batch(self)
  end
  return table.remove(self.batch, 1)
end

-- By what the process makes of a noisy value.
function kinds.bayes.smoothed(self)
  local x, y = known_points(self)
  if #x < 3 then return self.values end
  local process, values = gaussian.fit(x, y), {}
  for _, point in ipairs(self.line) do
    local value = self.values[point.arm]
    values[point.arm] = value and value < math.huge and process:at(point.x) or value
  end
  return values
end

-- ---- ask and tell --------------------------------------------------------------------------------------------------

---@class sonde.search
---@field asked integer[]             arms in the order in which they were asked for
---@field known table<integer, boolean>   those arms
---@field values table<integer, number>   of those that were told
---@field pending integer             how many are not told yet

--- Refuses what is no options of a search.
---@param options table
function policies.check(options)
  local o = args.check(policies.schema, options, "search of sweep")
  for _, name in ipairs(o.each) do
    if name == o.axis or name == o.budget then
      refuse(("each has '%s', which is what is searched: each search would have one arm; leave it out of each"):format(
        name))
    end
  end
end

--- A search that has been asked nothing.
---@param options table       see policies.schema
---@param arms table[]        parameters of each arm
---@return sonde.search
function policies.new(options, arms)
  local self = setmetatable({ arms = arms, asked = {}, known = {}, values = {}, given = {}, pending = 0 }, search)
  self.options = args.check(policies.schema, options, "search of sweep")
  self.kind = kinds[self.options.policy]
  self.kind.start(self)
  return self
end

--- The arm to run next; nil where there is none. Then whether there may be one when more is told.
---@return integer|nil arm, boolean waits
function search:ask()
  if self.again and #self.again > 0 then return table.remove(self.again, 1), false end
  local k = self.kind.ask(self)
  if k then
    self.asked[#self.asked + 1], self.known[k], self.pending = k, true, self.pending + 1
  end
  return k, not k and self.pending > 0
end

--- How many arms it asks for at most, from the first on.
---@return integer
function search:most()
  return self.kind.most(self)
end

--- What came of an arm that was asked for. An arm without a value is worse than any with one.
---@param k integer
---@param value number|nil
function search:tell(k, value)
  if value ~= nil and type(value) ~= "number" then
    refuse("the value of arm " .. tostring(k) .. " must be a number or nil, not a " .. type(value))
  end
  if not self.known[k] then refuse("told of arm " .. tostring(k) .. ", which was not asked for") end
  if self.values[k] then refuse("told of arm " .. tostring(k) .. " twice") end
  local number = value and value == value and value or math.huge
  if self.options.higher and number < math.huge then number = -number end
  self.values[k], self.given[k], self.pending = number, value and value == value and value or false, self.pending - 1
  if self.kind.tell then self.kind.tell(self, k, number) end
end

--- The arms that were told, by their number: {arm, value}; false: it has none. The order in which they were asked for
--- depends on what ran at a time.
---@return {[1]: integer, [2]: number|false}[]
function search:told()
  local list = {}
  for k = 1, #self.arms do
    if self.values[k] then list[#list + 1] = { k, self.given[k] } end
  end
  return list
end

--- The arms that have a value, the best first.
---@return integer[]
function search:ranking()
  local order, values = {}, self.kind.smoothed and self.kind.smoothed(self) or self.values
  for k, value in pairs(values) do
    if value < math.huge then order[#order + 1] = k end
  end
  table.sort(order, function(a, b)
    local first = self.kind.before and self.kind.before(self, a, b)
    if first ~= nil then return first end
    if values[a] ~= values[b] then return values[a] < values[b] end
    return a < b
  end)
  return order
end

--- All that is needed to go on elsewhere, as JSON can hold it. Arms that are not told yet are asked for again there.
---@return table
function search:save()
  local told = core.list()
  for k, pair in ipairs(self:told()) do told[k] = core.list { pair[1], pair[2] } end
  return { policy = self.options.policy, told = told }
end

-- The arms of a state and their values, by number, and how many there are. Refuses what search:save does not give.
local function told_of(state, arms)
  local told, count = {}, 0
  local sound = type(state) == "table" and type(state.told) == "table"
  for _, pair in ipairs(sound and state.told or {}) do
    local k, value = (type(pair) == "table" and pair or {})[1], type(pair) == "table" and pair[2]
    sound = sound and arms[k or 0] ~= nil and not told[k] and (value == false or type(value) == "number")
    if not sound then break end
    told[k], count = { value }, count + 1
  end
  if not sound then
    refuse "the state is none: it has a policy and the list told of {arm, value}, as search:save gives it"
  end
  return told, count
end

--- A search as it was when it was saved.
---@param options table
---@param arms table[]
---@param state table        from search:save
---@return sonde.search
function policies.resume(options, arms, state)
  local self, again = policies.new(options, arms), {}
  local told, left = told_of(state, arms)
  if state.policy ~= self.options.policy then
    refuse(("the state is one of %s, not of %s"):format(tostring(state.policy), self.options.policy))
  end
  while left > 0 do
    local k = self:ask()
    if not k then refuse "the state is one of other arms or options" end
    if told[k] then
      self:tell(k, told[k][1] or nil)
      left = left - 1
    else
      again[#again + 1] = k
    end
  end
  self.again = again
  return self
end

return policies
