--- searched.lua - a sweep whose trials policies choose (search.lua): one for the whole grid, or one for each value of
-- search.each. What a policy is told is read from the folders of the trials: a sweep that was killed asks the same
-- questions, is told the same, and goes on with the trials it was at.

local core = require "sonde.core"
local collect = require "sonde.sweep.collect"
local format = require "sonde.base.format"
local grid = require "sonde.sweep.grid"
local policies = require "sonde.sweep.search"
local stats = require "sonde.base.stats"
local trials = require "sonde.sweep.trial"

local searched = {}
searched.__index = searched

local WAIT = 0.5      -- seconds, for a trial of another process

-- The members of a list (trials, arms) that share the values of these axes, in the order of the list: each group has
-- its id, the values under one name and its members under another.
local function grouped(list, axes, values, members)
  local groups, known = {}, {}
  for _, each in ipairs(list) do
    local id = #axes > 0 and grid.id(axes, each.params) or ""
    if not known[id] then
      known[id] = { id = id, [values] = {}, [members] = {} }
      for _, axis in ipairs(axes) do known[id][values][axis.name] = each.params[axis.name] end
      groups[#groups + 1] = known[id]
    end
    table.insert(known[id][members], each)
  end
  return groups
end

-- The trials that differ in `over` alone, in the order of the grid.
local function arms_of(sweep)
  local axes = {}
  for _, axis in ipairs(sweep.axes) do
    if axis.name ~= sweep.over then axes[#axes + 1] = axis end
  end
  return grouped(sweep.trials, axes, "params", "trials")
end

-- The arms that share the values of search.each: { of = those, arms = list }, in the order of the grid.
local function lines_of(sweep)
  local axes = {}
  for _, name in ipairs(sweep.search.each or {}) do
    if not sweep.grid[name] then
      error(core.where() .. "sweep: search.each has '" .. tostring(name) .. "', which is no parameter of the grid", 0)
    end
    axes[#axes + 1] = { name = name }
  end
  return grouped(arms_of(sweep), axes, "of", "arms")
end

-- A policy that was asked nothing, for the arms of a line; where there is one arm there is nothing to choose.
local function policy_of(sweep, line)
  local params = {}
  for k, arm in ipairs(line.arms) do params[k] = arm.params end
  local options = sweep.search
  if #params == 1 and #(options.each or {}) > 0 then options = { policy = "grid", metric = options.metric } end
  return policies.new(options, params)
end

--- The search of a sweep, which has run nothing. Refuses a policy that its grid does not fit.
---@param sweep sonde.sweep
---@return table
function searched.open(sweep)
  policies.check(sweep.search)
  local self = setmetatable({ sweep = sweep, lines = lines_of(sweep) }, searched)
  for _, line in ipairs(self.lines) do policy_of(sweep, line) end
  return self
end

local function is_in(list, name)
  for _, each in ipairs(list or {}) do
    if each == name then return true end
  end
  return false
end

-- The mean of the metric over the trials of an arm that are done; nil where none is, and where any diverged, whose
-- metric is not finite: the others are no sample of the arm.
local function value_of(self, arm)
  local metric, values, diverged, silent = self.sweep.search.metric, {}, false, false
  for _, trial in ipairs(arm.trials) do
    local record = trial.status == "done" and collect.record(trial.dir) or {}
    local value = (record.results or {})[metric]
    if type(value) == "number" and format.finite(value) then
      values[#values + 1] = value
    elseif trial.status == "diverged" or is_in(record.not_finite, metric) then
      diverged = true
    elseif trial.status == "done" then
      silent = true
    end
  end
  if silent and not diverged and #values == 0 then
    error(("sweep: no trial of %s has reported '%s', the metric of search"):format(arm.id, metric), 0)
  end
  return not diverged and stats.mean(values) or nil
end

local function is_over(arm)
  for _, trial in ipairs(arm.trials) do
    if trial.status == "queued" or trial.status == "running" or trial.status == "interrupted"
      or trial.status == "killed" then
      return false
    end
  end
  return true
end

local function ranking_of(self, line)
  local list = {}
  for k, arm in ipairs(line.search:ranking()) do
    list[k] = { params = grid.copy(line.arms[arm].params), value = value_of(self, line.arms[arm]),
      id = line.arms[arm].id }
  end
  return list
end

-- What was chosen, for people and other programs; the sweep itself reads the folders of its trials.
local function write(self)
  local searches = core.list()
  for k, line in ipairs(self.lines) do
    local told, ranking = core.list(), core.list()
    for i, pair in ipairs(line.search:told()) do
      told[i] = { arm = line.arms[pair[1]].id, value = pair[2] or nil }
    end
    for i, arm in ipairs(ranking_of(self, line)) do ranking[i] = { arm = arm.id, value = arm.value } end
    searches[k] = { of = line.of, told = told, ranking = ranking }
  end
  core.write_file(self.sweep.folder .. "/search.json",
    core.json_encode { policy = self.sweep.search.policy, searches = searches } .. "\n")
end

-- ---- which trial is next -------------------------------------------------------------------------------------------

local function next_of_arm(self, arm)
  for _, trial in ipairs(arm.trials) do
    if not trial.held and trial.status ~= "running" and not trials.is_over(self.sweep, trial) then return trial end
  end
end

-- Tells what is over, and returns a trial of an arm that was asked for; nil where all of them run or are over.
local function next_of_open(self, line)
  local at = 1
  while line.open[at] do
    local k = line.open[at]
    local trial = next_of_arm(self, line.arms[k])
    if trial then return trial end
    if is_over(line.arms[k]) then
      table.remove(line.open, at)
      line.search:tell(k, value_of(self, line.arms[k]))
      self.told = true
    else
      at = at + 1
    end
  end
end

local function next_of_line(self, line)
  while true do
    local trial = next_of_open(self, line)
    if trial then return trial end
    local k, waits = line.search:ask()
    line.ended = not k and not waits
    if not k then return nil end
    table.insert(line.open, k)
  end
end

local function next_trial(self)
  local found
  for _, line in ipairs(self.lines) do
    found = found or next_of_line(self, line)
  end
  if self.told then write(self) end
  self.told = false
  return found
end

--- Runs what the policies ask for.
---@param run_some fun(next_trial: fun(): sonde.trial|nil)   runs those trials, and looks at all anew
function searched:run(run_some)
  for _, line in ipairs(self.lines) do line.search, line.open, line.ended = policy_of(self.sweep, line), {}, false end
  while true do
    run_some(function() return next_trial(self) end)
    local waits = false
    for _, line in ipairs(self.lines) do waits = waits or #line.open > 0 end
    if not waits then return end
    core.wait({}, WAIT)
    for _, trial in ipairs(self.sweep.trials) do trial.held = false end
  end
end

-- ---- results -------------------------------------------------------------------------------------------------------

-- A line whose search has been told what is over, and no more.
local function replayed(self, line)
  local copy = { of = line.of, arms = line.arms, search = policy_of(self.sweep, line) }
  repeat
    local k, waits = copy.search:ask()
    if k and is_over(copy.arms[k]) then copy.search:tell(k, value_of(self, copy.arms[k])) end
    copy.ended = not k and not waits
  until not k
  return copy
end

-- How many trials the n arms of a line with the most trials have.
local function most_trials(line, n)
  local counts, sum = {}, 0
  for k, arm in ipairs(line.arms) do counts[k] = #arm.trials end
  table.sort(counts, function(a, b) return a > b end)
  for k = 1, math.min(n, #counts) do sum = sum + counts[k] end
  return sum
end

--- The trials of the arms that were asked for, and how many there will be at most: no fewer than these, and just these
--- when the searches have ended.
---@return sonde.trial[] trials, integer most
function searched:trials()
  local list, most = {}, 0
  for _, line in ipairs(self.lines) do
    local now, asked = line.search and line or replayed(self, line), #list
    for _, k in ipairs(now.search.asked) do
      for _, trial in ipairs(line.arms[k].trials) do list[#list + 1] = trial end
    end
    asked = #list - asked
    most = most + (now.ended and asked or math.max(asked, most_trials(line, now.search:most())))
  end
  return list, most
end

--- What each search has run so far: { of = values of search.each, asked = parameters of the arms that were asked for
--- and are over, ranking = those that have a value, the best first }.
---@return {of: table, asked: table[], ranking: {params: table, value: number}[]}[]
function searched:results()
  local list = {}
  for k, line in ipairs(self.lines) do
    local copy, asked = replayed(self, line), {}
    for i, pair in ipairs(copy.search:told()) do asked[i] = grid.copy(line.arms[pair[1]].params) end
    list[k] = { of = grid.copy(line.of), asked = asked, ranking = ranking_of(self, copy) }
  end
  return list
end

--- The arms that have been run, the best first.
---@param of? table     the values of search.each whose search is meant
---@return table[]
function searched:ranking(of)
  for _, line in ipairs(self.lines) do
    local same = true
    for name, value in pairs(line.of) do same = same and of ~= nil and grid.same(of[name], value) end
    if same then return ranking_of(self, replayed(self, line)) end
  end
  error(core.where() .. "sweep:ranking: no search is of these values; give those of " .. table.concat(
    self.sweep.search.each, ", "), 0)
end

return searched
