--- search.lua - which arms of a sweep are run, and in which order: policies behind ask and tell.
--
-- An arm is a point of the grid without the parameter that trials repeat over. A policy is asked for an arm and is
-- told its value, the smaller the better; what it asks next follows from its options and what it was told, in that
-- order, so that the list of what it was told is all its state.
--
--   local search = policies.new({ policy = "golden", axis = "width" }, arms)
--   local k = search:ask()            -- the number of an arm; nil: nothing more
--   search:tell(k, 3.14)              -- nil: it has no value, having diverged, say
--   policies.resume({..}, arms, search:save())

local core = require "sonde.core"
local args = require "sonde.base.args"
local bootstrap = require "sonde.probe.bootstrap"
local gaussian = require "sonde.sweep.gaussian"

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
    doc = "asha: the parameter that is what a trial costs: its values are the rungs" },
  { name = "eta", type = "number", min = 2, preset = 3, doc = "asha: one of so many goes to the next rung" },
  { name = "most", type = "number", min = 0.01, max = 1, preset = 0.4,
    doc = "share of the arms at most (random, bayes), or of the compute of all arms at the largest budget (asha)" },
  { name = "seed", type = "integer", min = 0, preset = 0, doc = "random: of the order" },
}

local function refuse(text)
  error(core.where() .. "search: " .. text, 0)
end

-- ---- every arm, some arms ------------------------------------------------------------------------------------------

local kinds = {}

kinds.grid = { start = function() end }

function kinds.grid.ask(self)
  return #self.told < #self.arms and #self.told + 1 or nil
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

function kinds.random.ask(self)
  return #self.told < self.limit and self.order[#self.told + 1] or nil
end

-- ---- successive halving --------------------------------------------------------------------------------------------

-- Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020. Arms begin on the first rung, all of them,
-- before any is promoted: asked by one process this is successive halving in step.
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
    local cost = name and arm[name]
    if type(cost) ~= "number" or cost <= 0 then
      refuse "asha needs budget, the name of a parameter with numbers above 0, such as tokens"
    end
    if not known[cost] then
      known[cost] = { cost = cost, arms = {}, order = {} }
      rungs[#rungs + 1] = known[cost]
    end
    local config = configuration(arm, name)
    known[cost].arms[config] = k
    known[cost].order[#known[cost].order + 1] = config
  end
  table.sort(rungs, function(a, b) return a.cost < b.cost end)
  for _, rung in ipairs(rungs) do count = math.max(count, #rung.order) end
  return rungs, count
end

function kinds.asha.start(self)
  local rungs, count = rungs_of(self)
  local cost = 0
  for r, rung in ipairs(rungs) do
    rung.limit = r == 1 and count or math.max(1, math.floor(count / self.options.eta ^ (r - 1)))
    rung.asked, rung.values, rung.promoted = 0, {}, {}
    cost = cost + rung.limit * rung.cost
  end
  self.rungs, self.share = rungs, cost / (count * rungs[#rungs].cost)
  if #rungs < 2 then refuse("asha: '" .. self.options.budget .. "' has one value; give two or more") end
  if self.share > self.options.most then
    refuse(("asha would take %.0f %% of the grid's compute, most is %.0f %%: give smaller first values of '%s', or a "
      .. "larger eta"):format(100 * self.share, 100 * self.options.most, self.options.budget))
  end
end

-- The best configuration of a rung that may go to the next: among the best of one of eta that are known, not yet there.
local function promotable(self, r)
  local rung, next_rung, known = self.rungs[r], self.rungs[r + 1], {}
  if not next_rung or next_rung.asked >= next_rung.limit then return nil end
  for config, value in pairs(rung.values) do known[#known + 1] = { config = config, value = value } end
  table.sort(known, function(a, b)
    if a.value ~= b.value then return a.value < b.value end
    return a.config < b.config
  end)
  local told = #known
  local best = told == rung.limit and next_rung.limit or math.floor(told / self.options.eta)
  for k = 1, math.min(best, told) do
    local config = known[k].config
    if not rung.promoted[config] and known[k].value < math.huge and next_rung.arms[config] then return config end
  end
end

function kinds.asha.ask(self)
  local first = self.rungs[1]
  if first.asked < first.limit then
    first.asked = first.asked + 1
    return first.arms[first.order[first.asked]]
  end
  for r = #self.rungs - 1, 1, -1 do
    local config = promotable(self, r)
    if config then
      self.rungs[r].promoted[config] = true
      self.rungs[r + 1].asked = self.rungs[r + 1].asked + 1
      return self.rungs[r + 1].arms[config]
    end
  end
end

function kinds.asha.tell(self, k, value)
  local arm = self.arms[k]
  for _, rung in ipairs(self.rungs) do
    if rung.cost == arm[self.options.budget] then rung.values[configuration(arm, self.options.budget)] = value end
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
local function place_at(self, share)
  local a, b = self.line[self.low].x, self.line[self.high].x
  local best, distance
  for k = self.low + 1, self.high - 1 do
    local d = math.abs(self.line[k].x - (a + share * (b - a)))
    if not best or d < distance then best, distance = k, d end
  end
  return best
end

function kinds.golden.ask(self)
  local golden = (math.sqrt(5) - 1) / 2
  while self.high - self.low > 2 do
    local left, right = place_at(self, 1 - golden), place_at(self, golden)
    if left == right then
      if left + 1 < self.high then right = left + 1 else left = left - 1 end
    end
    for _, at in ipairs { left, right } do
      if not self.values[self.line[at].arm] then return self.line[at].arm end
    end
    if self.values[self.line[left].arm] <= self.values[self.line[right].arm] then
      self.high = right
    else
      self.low = left
    end
  end
  for at = self.low, self.high do
    if not self.values[self.line[at].arm] then return self.line[at].arm end
  end
end

-- Expected improvement (Jones et al., 1998) under a Gaussian process over the logarithm.
kinds.bayes = {}

function kinds.bayes.start(self)
  self.line = along_axis(self)
  self.limit = math.min(#self.line, math.max(3, math.ceil(self.options.most * #self.line)))
end

local function known_points(self)
  local x, y = {}, {}
  for _, point in ipairs(self.line) do
    local value = self.values[point.arm]
    if value and value < math.huge then x[#x + 1], y[#y + 1] = point.x, value end
  end
  return x, y
end

function kinds.bayes.ask(self)
  local count = #self.line
  if #self.told >= self.limit then return nil end
  for _, at in ipairs { 1, count, math.ceil(count / 2) } do      -- without these three nothing is known
    if not self.values[self.line[at].arm] then return self.line[at].arm end
  end
  local x, y = known_points(self)
  if #x < 2 then return nil end
  local process = gaussian.fit(x, y)
  local least, best, arm = math.huge, -1, nil
  for _, at in ipairs(x) do least = math.min(least, (process:at(at))) end
  for _, point in ipairs(self.line) do
    if not self.values[point.arm] then
      local gain = process:improvement(point.x, least)
      if gain > best then best, arm = gain, point.arm end
    end
  end
  return arm
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
---@field told table[]      { arm, value } in the order in which they were told

--- A search that has been told nothing.
---@param options table       see policies.schema
---@param arms table[]        parameters of each arm
---@return sonde.search
function policies.new(options, arms)
  local self = setmetatable({ arms = arms, told = {}, values = {} }, search)
  self.options = args.check(policies.schema, options, "search of sweep")
  self.kind = kinds[self.options.policy]
  self.kind.start(self)
  return self
end

--- The arm to run next; nil where there is none.
---@return integer|nil
function search:ask()
  self.asked = self.asked or self.kind.ask(self)
  return self.asked
end

--- What came of the arm that was asked for. An arm without a value is worse than any with one.
---@param k integer
---@param value number|nil
function search:tell(k, value)
  if k ~= self.asked then refuse("told of arm " .. tostring(k) .. ", asked for " .. tostring(self.asked)) end
  local number = value and value == value and value or math.huge
  if self.options.higher and number < math.huge then number = -number end
  self.asked, self.values[k] = nil, number
  self.told[#self.told + 1] = { k, value and value == value and value or false }
  if self.kind.tell then self.kind.tell(self, k, number) end
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

--- All that is needed to go on elsewhere, as JSON can hold it.
---@return table
function search:save()
  local told = core.list()
  for k, pair in ipairs(self.told) do told[k] = core.list { pair[1], pair[2] } end
  return { policy = self.options.policy, told = told }
end

--- A search as it was when it was saved.
---@param options table
---@param arms table[]
---@param state table        from search:save
---@return sonde.search
function policies.resume(options, arms, state)
  local self = policies.new(options, arms)
  if state.policy ~= self.options.policy then
    refuse(("the state is one of %s, not of %s"):format(tostring(state.policy), self.options.policy))
  end
  for _, pair in ipairs(state.told) do
    if self:ask() ~= pair[1] then refuse "the state is one of other arms or options" end
    self:tell(pair[1], pair[2] or nil)
  end
  return self
end

return policies
