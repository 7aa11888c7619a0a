--- searched.lua - a sweep whose trials a policy chooses (search.lua). What the policy was told is read from the folders
-- of the trials: a sweep that was killed asks the same questions, is told the same, and goes on with the trial it was
-- at.

local core = require "sonde.core"
local collect = require "sonde.sweep.collect"
local format = require "sonde.base.format"
local grid = require "sonde.sweep.grid"
local policies = require "sonde.sweep.search"
local stats = require "sonde.base.stats"

local searched = {}
searched.__index = searched

local WAIT = "sleep 0.5"      -- for a trial of another process

-- The trials that differ in `over` alone, in the order of the grid.
local function arms_of(sweep)
  local arms, known, axes = {}, {}, {}
  for _, axis in ipairs(sweep.axes) do
    if axis.name ~= sweep.over then axes[#axes + 1] = axis end
  end
  for _, trial in ipairs(sweep.trials) do
    local id = grid.id(axes, trial.params)
    if not known[id] then
      known[id] = { id = id, params = {}, trials = {} }
      for _, axis in ipairs(axes) do known[id].params[axis.name] = trial.params[axis.name] end
      arms[#arms + 1] = known[id]
    end
    table.insert(known[id].trials, trial)
  end
  return arms
end

local function params_of(arms)
  local list = {}
  for k, arm in ipairs(arms) do list[k] = arm.params end
  return list
end

--- The search of a sweep, which has run nothing. Refuses a policy that its grid does not fit.
---@param sweep sonde.sweep
---@return table
function searched.open(sweep)
  local arms = arms_of(sweep)
  policies.new(sweep.search, params_of(arms))
  return setmetatable({ sweep = sweep, arms = arms }, searched)
end

-- The mean of the metric over the trials of an arm that are done; nil where none is.
local function value_of(self, arm)
  local metric, values, done = self.sweep.search.metric, {}, 0
  for _, trial in ipairs(arm.trials) do
    if trial.status == "done" then
      local value = (collect.record(trial.dir).results or {})[metric]
      done = done + 1
      if type(value) == "number" and format.finite(value) then values[#values + 1] = value end
    end
  end
  if done > 0 and #values == 0 then
    error(("sweep: no trial of %s has reported '%s', the metric of search"):format(arm.id, metric), 0)
  end
  return stats.mean(values)
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

local function ranking_of(self, search)
  local list = {}
  for k, arm in ipairs(search:ranking()) do
    list[k] = { params = grid.copy(self.arms[arm].params), value = value_of(self, self.arms[arm]),
      id = self.arms[arm].id }
  end
  return list
end

-- What was chosen, for people and other programs; the sweep itself reads the folders of its trials.
local function write(self, search)
  local told, ranking = core.list(), core.list()
  for k, pair in ipairs(search.told) do told[k] = { arm = self.arms[pair[1]].id, value = pair[2] or nil } end
  for k, arm in ipairs(ranking_of(self, search)) do ranking[k] = { arm = arm.id, value = arm.value } end
  core.write_file(self.sweep.folder .. "/search.json",
    core.json_encode { policy = search.options.policy, told = told, ranking = ranking } .. "\n")
end

--- Runs what the policy asks for.
---@param run_all fun(trials: table[])      runs those of the trials that are not over, and looks at all anew
function searched:run(run_all)
  local search = policies.new(self.sweep.search, params_of(self.arms))
  for k in function() return search:ask() end do
    local arm = self.arms[k]
    run_all(arm.trials)
    while not is_over(arm) do
      if not os.execute(WAIT) then error("interrupted", 0) end
      run_all(arm.trials)
    end
    search:tell(k, value_of(self, arm))
    write(self, search)
  end
end

--- The arms that have been run, the best first.
---@return table[]
function searched:ranking()
  local search = policies.new(self.sweep.search, params_of(self.arms))
  for k in function() return search:ask() end do
    if not is_over(self.arms[k]) then break end
    search:tell(k, value_of(self, self.arms[k]))
  end
  return ranking_of(self, search)
end

return searched
