--- gap_report.lua - what a search for the best teacher has found: curves of each condition, fits, the frontier of
-- compute. gap_tables.lua shows it.

local args = require "sonde.base.args"
local capacity = require "sonde.distill.capacity"
local core = require "sonde.core"
local format = require "sonde.base.format"
local law = require "sonde.distill.law"
local stats = require "sonde.base.stats"

local gap_report = {}

local ARMS = { "distilled", "pruned", "random", "scratch", "scratch_total" }

-- ---- trials in order -----------------------------------------------------------------------------------------------

-- The entry of a list that `same` holds for, or a new one.
local function entry_of(list, same, new)
  for _, entry in ipairs(list) do
    if same(entry) then return entry end
  end
  list[#list + 1] = new
  return new
end

local function by(key)
  return function(a, b) return a[key] < b[key] end
end

-- What conditions of an arm are told apart by, where it depends on it.
local VARIED = { { "teacher_tokens", "teacher tokens %d" }, { "tokens", "tokens %d" }, { "weight", "weight %.4g" },
  { "temperature", "temperature %.4g" } }

local function condition_of(list, p, uses)
  local new = { arm = p.arm, curves = {} }
  for _, each in ipairs(VARIED) do new[each[1]] = uses[each[1]] and p[each[1]] or nil end
  return entry_of(list, function(c)
    for _, each in ipairs(VARIED) do
      if c[each[1]] ~= new[each[1]] then return false end
    end
    return c.arm == p.arm
  end, new)
end

local function loss_of(trial)
  local loss = trial.status == "done" and trial.results.student_loss
  return format.finite(loss or 0 / 0) and loss or nil
end

-- A curve's points of which all or some seeds diverged; its points are those that have a loss.
local function part_diverged(curve)
  local diverged, points = {}, {}
  for _, point in ipairs(curve.points) do
    if point.diverged then diverged[#diverged + 1] = point end
    if #point.losses > 0 then points[#points + 1] = point end
  end
  curve.points, curve.diverged = points, #diverged > 0 and diverged or nil
end

-- The conditions, with a point for each student and teacher; arms without a teacher have one point a student.
local function conditions_of(trials, uses_of)
  local list = {}
  for _, trial in ipairs(trials) do
    local p, loss = trial.params, loss_of(trial)
    if loss or trial.status == "done" or trial.status == "diverged" then
      local condition = condition_of(list, p, uses_of(p.arm))
      local curve = entry_of(condition.curves, function(c) return c.student == p.student end,
        { student = p.student, points = {} })
      local teacher = uses_of(p.arm).teacher and p.teacher or 0
      local point = entry_of(curve.points, function(c) return c.teacher == teacher end,
        { teacher = teacher, losses = {} })
      if loss then
        point.flops, point.flops_with_teacher = trial.results.flops, trial.results.flops_with_teacher
        table.insert(point.losses, loss)
      else
        point.diverged = (point.diverged or 0) + 1
      end
    end
  end
  for _, condition in ipairs(list) do
    table.sort(condition.curves, by "student")
    for _, curve in ipairs(condition.curves) do
      table.sort(curve.points, by "teacher")
      part_diverged(curve)
    end
  end
  return list
end

-- What the distillation scaling law takes beside a condition's curves: every model that was trained without a teacher,
-- and the losses of the condition's teachers.
local function known_of(condition, all, teachers)
  local rows, losses, teacher_loss = {}, {}, {}
  for _, trial in ipairs(teachers) do
    local p, loss = trial.params, trial.results.loss
    rows[#rows + 1] = { parameters = p.teacher, tokens = p.teacher_tokens, loss = loss }
    if p.teacher_tokens == condition.teacher_tokens then
      losses[p.teacher] = losses[p.teacher] or {}
      table.insert(losses[p.teacher], loss)
    end
  end
  for teacher, list in pairs(losses) do teacher_loss[teacher] = stats.mean(list) end
  for _, other in ipairs(all) do
    for _, curve in ipairs((other.arm == "scratch" or other.arm == "scratch_total") and other.curves or {}) do
      for _, loss in ipairs(curve.diverged and {} or curve.points[1].losses) do
        rows[#rows + 1] = { parameters = curve.student, tokens = other.tokens + (other.teacher_tokens or 0),
          loss = loss }
      end
    end
  end
  return { supervised = law.supervised(rows), tokens = condition.tokens, teacher_loss = teacher_loss }
end

local function fitted(condition, known)
  local whole = {}      -- means of the seeds that did not diverge are no points of a curve
  condition.optima = {}
  for k, curve in ipairs(condition.curves) do
    condition.optima[k] = capacity.optimum(curve)
    if not curve.diverged then whole[#whole + 1] = curve end
  end
  condition.line = capacity.line(condition.optima)
  condition.held_out = capacity.held_out(whole, known)
  condition.supervised = known.supervised
  return condition
end

-- Names the conditions: by their arm, and what is not the first value; `first` where nothing is.
local function name_conditions(list, first)
  for _, condition in ipairs(list) do
    local parts = { condition.arm }
    for _, each in ipairs(VARIED) do
      local value = condition[each[1]]
      if value and value ~= first[each[1]] then parts[#parts + 1] = each[2]:format(value) end
    end
    condition.name, condition.first = table.concat(parts, ", "), #parts == 1
  end
end

-- The first values, for a note.
local function base_of(first)
  local parts = {}
  for k, each in ipairs(VARIED) do parts[k] = each[2]:format(first[each[1]]) end
  return table.concat(parts, ", ")
end

-- For each student the points that no cheaper one is better than, by the operations of student and teacher.
local function frontier_of(conditions)
  local by_student, frontier = {}, {}
  for _, condition in ipairs(conditions) do
    for _, curve in ipairs(condition.curves) do
      local list = entry_of(by_student, function(c) return c.student == curve.student end, { student = curve.student })
      for _, point in ipairs(curve.points) do
        local diverged = capacity.diverged(point)
        list[#list + 1] = { student = curve.student, teacher = point.teacher,
          arm = condition.name .. (diverged and " (" .. diverged .. ")" or ""), flops = point.flops_with_teacher,
          own = point.flops, loss = stats.mean(point.losses) }
      end
    end
  end
  table.sort(by_student, by "student")
  for _, list in ipairs(by_student) do
    table.sort(list, function(a, b)
      if a.flops ~= b.flops then return a.flops < b.flops end
      return a.loss < b.loss
    end)
    local best = math.huge
    for _, point in ipairs(list) do
      if point.loss < best then
        best, frontier[#frontier + 1] = point.loss, point
      end
    end
  end
  return frontier
end

--- What the trials say.
---@param trials table[]                          of the students' sweep
---@param uses_of fun(arm: string): table         what an arm depends on
---@param teachers table[]                        trials of the teachers' sweep
---@param first table<string, number>            the first values of teacher_tokens, tokens, weight, temperature
---@return sonde.capacity_gap
function gap_report.findings(trials, uses_of, teachers, first)
  local all = conditions_of(trials, uses_of)
  name_conditions(all, first)
  local found = { all = all, base = base_of(first), conditions = {}, frontier = frontier_of(all) }
  for _, arm in ipairs(ARMS) do
    for _, condition in ipairs(all) do
      if condition.arm == arm and uses_of(arm).teacher then
        table.insert(found.conditions, fitted(condition, known_of(condition, all, teachers)))
      end
    end
  end
  local first = found.conditions[1]
  function found.recommend(student)
    if not first then return { why = "cannot be told from these arms: no trial of an arm with a teacher is done" } end
    return capacity.recommend(student, first.optima, first.line)
  end
  return args.declare(found, "found.", {
    recommend = { { name = "student", type = "number", min = 1, required = true } },
  })
end

--- The findings as JSON holds them.
---@param found sonde.capacity_gap
---@return table
function gap_report.record(found)
  local conditions = core.list()
  for k, c in ipairs(found.conditions) do
    local optima = core.list()
    for i, one in ipairs(c.optima) do
      optima[i] = { student = one.student, teacher = one.teacher, lo = one.lo, hi = one.hi, fit = one.fit,
        unknown = one.unknown }
    end
    conditions[k] = { arm = c.arm, teacher_tokens = c.teacher_tokens, tokens = c.tokens, weight = c.weight,
      temperature = c.temperature, curves = c.curves, optima = optima, line = c.line, held_out = c.held_out,
      supervised = c.supervised }
  end
  return { conditions = conditions, frontier = core.list(found.frontier),
    searches = found.searches and core.list(found.searches) }
end

return gap_report
