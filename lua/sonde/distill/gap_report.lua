--- gap_report.lua - what a search for the best teacher has found: curves of each condition, fits, the frontier of
-- compute, and the tables and pages that show them.

local capacity = require "sonde.distill.capacity"
local core = require "sonde.core"
local format = require "sonde.base.format"
local law = require "sonde.distill.law"
local report_table = require "sonde.report.table"
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

-- What arms are told apart by beside student, teacher and seed.
local function condition_of(list, p, uses)
  local weight, tokens = uses.weight and p.weight, uses.teacher_tokens and p.teacher_tokens
  return entry_of(list, function(c) return c.arm == p.arm and c.weight == weight and c.teacher_tokens == tokens end,
    { arm = p.arm, weight = weight, teacher_tokens = tokens, curves = {} })
end

local function loss_of(trial)
  local loss = trial.status == "done" and trial.results.student_loss
  return format.finite(loss or 0 / 0) and loss or nil
end

-- The conditions, with a point for each student and teacher; arms without a teacher have one point a student.
local function conditions_of(trials, uses_of)
  local list = {}
  for _, trial in ipairs(trials) do
    local p, loss = trial.params, loss_of(trial)
    if loss then
      local condition = condition_of(list, p, uses_of(p.arm))
      local curve = entry_of(condition.curves, function(c) return c.student == p.student end,
        { student = p.student, points = {} })
      local teacher = uses_of(p.arm).teacher and p.teacher or 0
      local point = entry_of(curve.points, function(c) return c.teacher == teacher end,
        { teacher = teacher, losses = {}, flops = trial.results.flops,
          flops_with_teacher = trial.results.flops_with_teacher })
      table.insert(point.losses, loss)
    end
  end
  for _, condition in ipairs(list) do
    table.sort(condition.curves, by "student")
    for _, curve in ipairs(condition.curves) do table.sort(curve.points, by "teacher") end
  end
  return list
end

-- What the distillation scaling law takes beside a condition's curves: every model that was trained without a teacher,
-- and the losses of the condition's teachers.
local function known_of(condition, all, teachers, tokens)
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
      for _, loss in ipairs(curve.points[1].losses) do
        rows[#rows + 1] = { parameters = curve.student, tokens = tokens + (other.teacher_tokens or 0), loss = loss }
      end
    end
  end
  return { supervised = law.supervised(rows), tokens = tokens, teacher_loss = teacher_loss }
end

local function fitted(condition, known)
  condition.optima = {}
  for k, curve in ipairs(condition.curves) do condition.optima[k] = capacity.optimum(curve) end
  condition.line = capacity.line(condition.optima)
  condition.held_out = capacity.held_out(condition.curves, known)
  condition.supervised = known.supervised
  return condition
end

local function condition_text(condition)
  local parts = { condition.arm }
  if condition.weight then parts[#parts + 1] = ("weight %.4g"):format(condition.weight) end
  if condition.teacher_tokens then parts[#parts + 1] = ("teacher tokens %d"):format(condition.teacher_tokens) end
  return table.concat(parts, ", ")
end

-- For each student the points that no cheaper one is better than, by the operations of student and teacher.
local function frontier_of(conditions)
  local by_student, frontier = {}, {}
  for _, condition in ipairs(conditions) do
    for _, curve in ipairs(condition.curves) do
      local list = entry_of(by_student, function(c) return c.student == curve.student end, { student = curve.student })
      for _, point in ipairs(curve.points) do
        list[#list + 1] = { student = curve.student, teacher = point.teacher, arm = condition_text(condition),
          flops = point.flops_with_teacher, own = point.flops, loss = stats.mean(point.losses) }
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
---@param tokens integer                          of each student
---@return sonde.capacity_gap
function gap_report.findings(trials, uses_of, teachers, tokens)
  local all = conditions_of(trials, uses_of)
  local found = { all = all, conditions = {}, frontier = frontier_of(all) }
  for _, arm in ipairs(ARMS) do
    for _, condition in ipairs(all) do
      if condition.arm == arm and uses_of(arm).teacher then
        table.insert(found.conditions, fitted(condition, known_of(condition, all, teachers, tokens)))
      end
    end
  end
  local first = found.conditions[1]
  function found.recommend(student)
    if not first then return { why = "cannot be told from these arms: none has a teacher" } end
    return capacity.recommend(student, first.optima, first.line)
  end
  return found
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
    conditions[k] = { arm = c.arm, weight = c.weight or nil, teacher_tokens = c.teacher_tokens or nil,
      curves = c.curves, optima = optima, line = c.line, held_out = c.held_out,
      supervised = c.supervised }
  end
  return { conditions = conditions, frontier = core.list(found.frontier) }
end

-- ---- tables --------------------------------------------------------------------------------------------------------

local function size(n)
  if not n then return "–" end
  if n >= 1e9 then return ("%.3g B"):format(n / 1e9) end
  return n >= 1e6 and ("%.3g M"):format(n / 1e6) or ("%.3g k"):format(n / 1e3)
end

local function interval(one)
  if not one.lo then return size(one.teacher) end
  return ("%s [%s, %s]"):format(size(one.teacher), size(one.lo), size(one.hi))
end

local function losses_table(found)
  local rows = {}
  for _, condition in ipairs(found.all) do
    for _, curve in ipairs(condition.curves) do
      for _, point in ipairs(curve.points) do
        rows[#rows + 1] = { size(curve.student), condition_text(condition),
          point.teacher > 0 and size(point.teacher) or "–", report_table.mean_sd(stats.describe(point.losses)),
          ("%.3g"):format(point.flops), ("%.3g"):format(point.flops_with_teacher) }
      end
    end
  end
  return { title = "Losses of the students", head = { "student", "arm", "teacher", "loss", "operations",
    "with the teacher's training" }, rows = rows,
    note = "Mean ± standard deviation over seeds, nats per token of validation text. pruned and scratch are trained "
      .. "on as many tokens as distilled; scratch_total on those of the teacher too." }
end

local function optima_table(condition)
  local rows = {}
  for k, one in ipairs(condition.optima) do
    rows[k] = { size(one.student), interval(one), one.teacher and ("%.2f"):format(one.teacher / one.student) or "–",
      one.fit and ("%.3g"):format(one.fit.c2) or "–", one.unknown and "cannot be told: " .. one.unknown
        or "between the teachers" }
  end
  local line, note = condition.line, "No line: fewer than two students have an optimum between their teachers."
  if line then
    note = ("Line: teacher = %.3g S %+.3g parameters over %d students%s, slope%s; the paper has %.1f S."):format(
      line.slope, line.intercept, line.students, line.r2 and (", R² %.3f"):format(line.r2)
        or " (two lie on any line: R² says nothing)",
      line.lo and (" [%.3g, %.3g]"):format(line.lo, line.hi) or " without an interval", capacity.PAPER_SLOPE)
  end
  return { title = "The best teacher: " .. condition_text(condition), rows = rows,
    head = { "student", "best teacher, 95 % interval", "over the student", "curvature", "verdict" }, note = note }
end

local function held_out_table(condition)
  local rows = {}
  for k, each in ipairs(condition.held_out) do
    rows[k] = { each.name, each.error and ("%.4f"):format(each.error) or "–", ("%d"):format(each.arms) }
  end
  return { title = "Arms left out: " .. condition_text(condition), rows = rows,
    head = { "fit", "error (nats)", "arms" },
    note = "Root mean square error of the mean loss of each arm, left out in turn; arms of students that keep three "
      .. "others. The law has nine coefficients and takes ten arms." }
end

local function frontier_table(found)
  local rows = {}
  for k, point in ipairs(found.frontier) do
    rows[k] = { size(point.student), ("%.3g"):format(point.flops), ("%.4f"):format(point.loss), point.arm,
      point.teacher > 0 and size(point.teacher) or "–" }
  end
  return { title = "Frontier of compute", head = { "student", "operations", "loss", "arm", "teacher" }, rows = rows,
    note = "Arms that no cheaper arm of the student is better than; the teacher's training counts." }
end

local function recommendations(found)
  local lines, first = {}, found.conditions[1]
  for k, curve in ipairs(first and first.curves or {}) do
    local said = found.recommend(curve.student)
    lines[k] = { size(curve.student), said.teacher and interval(said) or "–", said.why }
  end
  return { title = "Which teacher?", head = { "student", "teacher", "why" }, rows = lines,
    note = first and "By the arm " .. condition_text(first) .. "." or "No arm has a teacher." }
end

--- The tables of the findings, as the option tables of a summary takes them.
---@param found sonde.capacity_gap
---@return {title: string, head: string[], rows: string[][], note: string}[]
function gap_report.tables(found)
  local tables = { recommendations(found) }
  for _, condition in ipairs(found.conditions) do
    tables[#tables + 1] = optima_table(condition)
    tables[#tables + 1] = held_out_table(condition)
  end
  tables[#tables + 1] = losses_table(found)
  tables[#tables + 1] = frontier_table(found)
  return tables
end

--- Prints the findings and writes the pages: report.html of the first condition, report-2.html of the second, ..
---@param found sonde.capacity_gap
---@param teachers sonde.sweep
---@param students sonde.sweep
function gap_report.show(found, teachers, students)
  for k, c in ipairs(found.conditions) do
    local where = { arm = c.arm, weight = c.weight or students.grid.weight[1], teacher_tokens = c.teacher_tokens }
    students:summary { by = { "student", "teacher" }, metric = { "student_loss", "loss_before" }, where = where,
      intervals = true, file = k == 1 and "report.html" or ("report-%d.html"):format(k),
      tables = k == 1 and gap_report.tables(found) or nil,
      beside = k == 1 and teachers:results { by = { "teacher_tokens", "teacher" }, metric = "loss" } or nil }
  end
end

return gap_report
