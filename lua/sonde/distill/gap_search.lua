--- gap_search.lua - searches along the teachers instead of a student of each: which policy, what it cost beside all
-- students, and whether it found their optimum.

local stats = require "sonde.base.stats"

local gap_search = {}

local ALONG = { "arm", "student", "teacher_tokens", "weight", "temperature" }      -- what has a search of its own

--- The option search of sonde.capacity_gap.
---@type sonde.schema
gap_search.schema = {
  { name = "policy", type = "string", preset = "grid", choices = { "grid", "random", "asha", "golden", "bayes" },
    doc = "as for sonde.sweep; asha: the values of tokens are its rungs; grid: every student" },
  { name = "eta", type = "number", min = 2, doc = "asha: one of so many goes to the next rung" },
  { name = "most", type = "number", min = 0.01, max = 1,
    doc = "share of the arms at most, or of their operations, with the teachers' forward passes and the calibration "
      .. "(asha)" },
  { name = "batch", type = "integer", min = 1, max = 1024, doc = "bayes: teachers that are chosen at a time" },
  { name = "seed", type = "integer", min = 0, doc = "random: of the order" },
}

--- Whether a policy chooses which students are trained.
---@param self table      options of sonde.capacity_gap
---@return boolean
function gap_search.chooses(self)
  return self.search.policy ~= "grid"
end

--- The option search of the students' sweep; nil where every student is trained.
---@param self table      options of sonde.capacity_gap
---@param cost fun(p: table): number       operations of a student
---@return table|nil
function gap_search.options(self, cost)
  if not gap_search.chooses(self) then return nil end
  local search, each = {}, {}
  for key, value in pairs(self.search) do search[key] = value end
  for k, name in ipairs(ALONG) do each[k] = name end
  if search.policy ~= "asha" then each[#each + 1] = "tokens" end
  search.metric, search.each = "student_loss", each
  if search.policy == "asha" then search.budget, search.cost = "tokens", cost end
  if search.policy == "golden" or search.policy == "bayes" then search.axis = "teacher" end
  return search
end

--- Whether the values of tokens are the rungs of a search, not budgets that are compared.
---@param self table
---@return boolean
function gap_search.has_rungs(self)
  return gap_search.chooses(self) and self.search.policy == "asha"
end

-- The trials that a search is to replace: of every teacher, at the largest budget.
local function grid_of(self, students, of)
  local list = {}
  for _, trial in ipairs(students.trials) do
    local same = gap_search.has_rungs(self) and trial.params.tokens == self.tokens[1]
      or trial.params.tokens == of.tokens
    for name, value in pairs(of) do same = same and trial.params[name] == value end
    if same then list[#list + 1] = trial end
  end
  return list
end

-- The teacher of the least mean loss, where all are done.
local function optimum_of(trials)
  local losses, order = {}, {}
  for _, trial in ipairs(trials) do
    local loss, teacher = trial.results.student_loss, trial.params.teacher
    if trial.status ~= "done" or type(loss) ~= "number" then return nil end
    if not losses[teacher] then order[#order + 1], losses[teacher] = teacher, {} end
    table.insert(losses[teacher], loss)
  end
  local best
  for _, teacher in ipairs(order) do
    if not best or stats.mean(losses[teacher]) < stats.mean(losses[best]) then best = teacher end
  end
  return best
end

---@class sonde.capacity_gap.search      of one student, arm and what it is trained with
---@field of table              these
---@field tokens integer        of the student
---@field teacher number|nil    the best by the search; nil: none has a loss
---@field value number|nil      the student's mean loss with it
---@field asked integer         arms that the search ran, those of smaller budgets among them
---@field arms integer          teachers
---@field share number          operations of the students that it ran, over those of a student of every teacher
---@field optimum number|nil    the best of all teachers; nil where not all students are done

--- What the searches found and cost. Searches of one teacher are left out.
---@param self table
---@param students sonde.sweep
---@param cost fun(p: table): number       operations of a student
---@return sonde.capacity_gap.search[]|nil
function gap_search.findings(self, students, cost)
  if not gap_search.chooses(self) then return nil end
  local list, results = {}, students:results()
  for _, one in ipairs(students:searches()) do
    local all, spent, whole, seeds = grid_of(self, results, one.of), 0, 0, #self.seed
    for _, p in ipairs(one.asked) do spent = spent + seeds * cost(p) end
    for _, trial in ipairs(all) do whole = whole + cost(trial.params) end
    local best = one.ranking[1]
    if best and gap_search.has_rungs(self) and best.params.tokens ~= self.tokens[1] then best = nil end
    if #all > seeds then
      list[#list + 1] = { of = one.of, teacher = best and best.params.teacher, value = best and best.value,
        tokens = one.of.tokens or self.tokens[1], asked = #one.asked, arms = math.floor(#all / seeds),
        share = spent / whole, optimum = optimum_of(all) }
    end
  end
  return list
end

return gap_search
