--- gap_tables.lua - the tables and pages of a search for the best teacher; gap_figures.lua has the figures.

local capacity = require "sonde.distill.capacity"
local format = require "sonde.base.format"
local gap_figures = require "sonde.distill.gap_figures"
local report_table = require "sonde.report.table"
local stats = require "sonde.base.stats"

local gap_tables = {}

-- What students are trained with beside their arm; its pages are of the first condition but for it.
local VARIED = { "teacher_tokens", "tokens", "weight", "temperature" }

local function size(n)
  return n and format.size(n) or "–"
end

local function interval(one)
  if not one.lo then return size(one.teacher) end
  return ("%s [%s, %s]"):format(size(one.teacher), size(one.lo), size(one.hi))
end

-- The points of a curve, and after them those that no seed has a loss of.
local function points_of(curve)
  local list = { table.unpack(curve.points) }
  for _, point in ipairs(curve.diverged or {}) do
    if #point.losses == 0 then list[#list + 1] = point end
  end
  return list
end

-- A curve as a row: its losses, the lowest mean of which is marked. One without some of its seeds is never that. Arms
-- without a teacher have one loss.
local function curve_row(condition, curve, teachers)
  local cells, least = {}, nil
  for _, point in ipairs(points_of(curve)) do
    local mean, diverged = stats.mean(point.losses), capacity.diverged(point)
    if not diverged and (not least or mean < stats.mean(least.losses)) then least = point end
    cells[point.teacher] = report_table.mean_sd(stats.describe(point.losses)) .. (diverged and " (" .. diverged .. ")"
      or "")
  end
  if least and least.teacher > 0 then cells[least.teacher] = cells[least.teacher] .. " *" end
  local row = { size(curve.student), condition.name, cells[0] or "–" }
  for _, teacher in ipairs(teachers) do row[#row + 1] = cells[teacher] or "–" end
  return row
end

local function curves_table(found)
  local teachers, rows, head = capacity.teachers(found, points_of), {}, { "student", "arm", "no teacher" }
  for _, teacher in ipairs(teachers) do head[#head + 1] = size(teacher) end
  for _, condition in ipairs(found.all) do
    for _, curve in ipairs(condition.curves) do rows[#rows + 1] = curve_row(condition, curve, teachers) end
  end
  return { title = "Curves by teacher", head = head, rows = rows,
    note = "Loss of the student by the teacher's parameters, nats per token of validation text: mean ± standard "
      .. "deviation over seeds; * the lowest of the row whose seeds all have a loss. pruned and scratch are trained on "
      .. "as many tokens as distilled; scratch_total on those of the teacher too. Where an arm's name says nothing "
      .. "else: " .. found.base .. "." }
end

local function operations(flops)
  return flops and ("%.2e"):format(flops) or "–"
end

local function costs_table(found)
  local rows = {}
  for _, condition in ipairs(found.all) do
    for _, curve in ipairs(condition.curves) do
      for _, point in ipairs(points_of(curve)) do
        local mean = stats.mean(point.losses)
        rows[#rows + 1] = { size(curve.student), condition.name, point.teacher > 0 and size(point.teacher) or "–",
          mean and ("%.3f"):format(mean) or "–", operations(point.flops), operations(point.flops_with_teacher) }
      end
    end
  end
  return { title = "Operations", head = { "student", "arm", "teacher", "loss", "operations",
    "with the teacher's training" }, rows = rows,
    note = "Floating-point operations of the student: its training, its teacher's forward passes, the calibration of "
      .. "its cut; and with the training of its teacher." }
end

local function line_text(condition)
  local line = condition.line
  return ("%s: teacher = %.3g S %+.3g parameters over %d students%s, slope%s"):format(condition.name, line.slope,
    line.intercept, line.students, line.r2 and (", R² %.3f"):format(line.r2)
      or " (two lie on any line: R² says nothing)",
    line.lo and (" [%.3g, %.3g]"):format(line.lo, line.hi) or " without an interval")
end

local function optima_table(found)
  local rows, lines = {}, {}
  for _, condition in ipairs(found.conditions) do
    for _, one in ipairs(condition.optima) do
      rows[#rows + 1] = { size(one.student), condition.name, interval(one),
        one.teacher and ("%.2f"):format(one.teacher / one.student) or "–",
        one.fit and ("%.3g"):format(one.fit.c2) or "–",
        one.unknown and "cannot be told: " .. one.unknown or "between the teachers" }
    end
    if condition.line then lines[#lines + 1] = line_text(condition) end
  end
  if #lines == 0 then lines[1] = "No arm has a line: fewer than two students have an optimum between their teachers" end
  return { title = "The best teacher", rows = rows,
    head = { "student", "arm", "best teacher, 95 % interval", "over the student", "curvature", "verdict" },
    note = ("%s; the paper has %.1f S."):format(table.concat(lines, "; "), capacity.PAPER_SLOPE) }
end

local function held_out_table(found)
  local rows, head = {}, { "arm" }
  for k, condition in ipairs(found.conditions) do
    rows[k] = { condition.name }
    for _, each in ipairs(condition.held_out) do
      table.insert(rows[k], each.error and ("%.4f (%d)"):format(each.error, each.arms) or "–")
      if k == 1 then head[#head + 1] = each.name end
    end
  end
  return { title = "Arms left out", rows = rows, head = head,
    note = "Root mean square error, in nats, of the mean loss of each point of a curve, left out in turn, and of how "
      .. "many points: those that all fits predict, of students that keep three others and none of whose seeds "
      .. "diverged. The law has nine coefficients and takes ten." }
end

local function frontier_table(found)
  local rows = {}
  for k, point in ipairs(found.frontier) do
    rows[k] = { size(point.student), ("%.2e"):format(point.flops), ("%.4f"):format(point.loss), point.arm,
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
    note = first and "By the arm " .. first.name .. "." or "No arm has a teacher." }
end

-- The name of what a search was for.
local function name_of(found, one)
  for _, condition in ipairs(found.all) do
    local same = condition.arm == one.of.arm and condition.tokens == one.tokens
    for _, key in ipairs { "teacher_tokens", "weight", "temperature" } do
      same = same and (not condition[key] or condition[key] == one.of[key])
    end
    if same then return condition.name end
  end
  return one.of.arm
end

local function searches_table(found)
  local rows, hits, known, share = {}, 0, 0, 0
  for k, one in ipairs(found.searches) do
    local verdict = "not known: not every teacher has a student"
    if one.optimum then
      local hit = one.optimum == one.teacher
      verdict, known, hits = hit and "found" or "not found: " .. size(one.optimum), known + 1, hits + (hit and 1 or 0)
    end
    share = share + one.share / #found.searches
    rows[k] = { size(one.of.student), name_of(found, one), size(one.teacher),
      one.value and ("%.4f"):format(one.value) or "–", ("%d, of %d teachers"):format(one.asked, one.arms),
      ("%.0f %%"):format(100 * one.share), verdict }
  end
  return { title = "The searches along the teachers", rows = rows,
    head = { "student", "arm", "teacher", "loss", "arms run", "operations", "the best of all teachers" },
    note = ("Operations of the students that the search ran, over those of a student of every teacher; %.0f %% in the "
      .. "mean. It found the best of all teachers in %d of %d cases in which that is known."):format(100 * share, hits,
      known) }
end

--- The tables of the findings, as the option tables of a summary takes them.
---@param found sonde.capacity_gap
---@return {title: string, head: string[], rows: string[][], note: string}[]
function gap_tables.all(found)
  local tables = { recommendations(found) }
  if found.searches then tables[2] = searches_table(found) end
  for _, of in ipairs { curves_table, optima_table, held_out_table, frontier_table, costs_table } do
    tables[#tables + 1] = of(found)
  end
  return tables
end

-- What fixes a condition's trials; those of a parameter that it does not depend on have the first value.
local function where_of(condition, students)
  local where = { arm = condition.arm }
  for _, key in ipairs(VARIED) do where[key] = condition[key] or students.grid[key][1] end
  return where
end

-- What the curves of a page share.
local function shared_table(where, axis)
  local rows = {}
  for _, name in ipairs { "arm", table.unpack(VARIED) } do
    if where[name] then rows[#rows + 1] = { name, tostring(where[name]) } end
  end
  return { title = "Curves by " .. axis, head = { "all have", "" }, rows = rows, note = "The curves of the arm's "
    .. "students by their teacher, at each value of " .. axis .. "." }
end

-- A page of the curves at each value of one axis, the others as in the condition.
local function show_varied(condition, students, axis)
  local where = where_of(condition, students)
  where[axis] = nil
  students:summary { by = { axis, "teacher" }, panels = "student", metric = "student_loss", where = where,
    intervals = true, file = "report-" .. axis .. ".html", tables = { shared_table(where, axis) } }
end

--- Prints the findings and writes the pages: report.html of the first condition, report-ARM.html of the other arms,
--- report-AXIS.html of each axis with several values.
---@param found sonde.capacity_gap
---@param teachers sonde.sweep
---@param students sonde.sweep
function gap_tables.show(found, teachers, students)
  for k, c in ipairs(found.conditions) do
    if c.first then
      students:summary { by = { "student", "teacher" }, metric = { "student_loss", "loss_before" },
        where = where_of(c, students), intervals = true,
        file = k == 1 and "report.html" or "report-" .. c.arm .. ".html",
        tables = k == 1 and gap_tables.all(found) or nil, figures = k == 1 and gap_figures.all(found) or nil,
        beside = k == 1 and teachers:results { by = { "teacher_tokens", "teacher" }, metric = "loss" } or nil }
    end
  end
  for _, axis in ipairs(VARIED) do
    local first = found.conditions[1]
    if first and first[axis] and #students.grid[axis] > 1 then show_varied(first, students, axis) end
  end
end

return gap_tables
