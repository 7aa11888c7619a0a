--- gap_figures.lua - the figures of a search for the best teacher: the curves of all arms, the fits, the line over
-- students, the frontier of compute. Each is a group of small panels, since an arm is a line of few points and there
-- are many of them.

local capacity = require "sonde.distill.capacity"
local format = require "sonde.base.format"
local stats = require "sonde.base.stats"

local gap_figures = {}

local LOSS, TEACHER = "student's loss (nats per token)", "teacher's parameters"
local LEVELS = { scratch = true, scratch_total = true }     -- arms without a teacher
local STEPS = 40                                            -- points of a line that a formula gives

-- Means of a curve's points, with bars of one standard deviation, and a dot for each seed.
local function measured(curve, label, colour)
  local line = { label = label, colour = colour, markers = true, x = {}, y = {}, lo = {}, hi = {} }
  local dots = { colour = colour, scatter = true, x = {}, y = {} }
  for k, point in ipairs(curve.points) do
    local d = stats.describe(point.losses)
    line.x[k], line.y[k] = point.teacher, d.mean
    if d.sd then line.lo[k], line.hi[k] = d.mean - d.sd, d.mean + d.sd end
    for _, loss in ipairs(point.losses) do dots.x[#dots.x + 1], dots.y[#dots.y + 1] = point.teacher, loss end
  end
  return line, dots
end

-- A function over sizes low..high, at even distances of their logarithms.
local function drawn(f, low, high, label, colour)
  local s = { label = label, colour = colour, x = {}, y = {} }
  for k = 0, STEPS do
    s.x[k + 1] = low * (high / low) ^ (k / STEPS)
    s.y[k + 1] = f(s.x[k + 1])
  end
  return s
end

-- The teachers of all curves, from the smallest, as ticks of an axis.
local function teacher_ticks(found)
  local ticks = {}
  for k, teacher in ipairs(capacity.teachers(found, function(curve) return curve.points end)) do
    ticks[k] = { at = teacher, text = format.size(teacher) }
  end
  return ticks
end

local function curve_of(condition, student)
  for _, curve in ipairs(condition.curves) do
    if curve.student == student then return curve end
  end
end

-- The students of all arms, from the smallest.
local function students_of(found)
  local known, list = {}, {}
  for _, condition in ipairs(found.all) do
    for _, curve in ipairs(condition.curves) do
      if not known[curve.student] then list[#list + 1] = curve.student end
      known[curve.student] = true
    end
  end
  table.sort(list)
  return list
end

local function panel(title, alt, ticks)
  return { title = title, alt = alt, xlabel = TEACHER, xticks = ticks, ylabel = LOSS, xlog = true, series = {} }
end

-- One vertical axis for all panels.
local function shared(figures)
  local low, high = math.huge, -math.huge
  for _, figure in ipairs(figures) do
    for _, s in ipairs(figure.series) do
      for k, y in ipairs(s.y) do
        low, high = math.min(low, s.lo and s.lo[k] or y), math.max(high, s.hi and s.hi[k] or y)
      end
    end
  end
  for _, figure in ipairs(figures) do figure.ylow, figure.yhigh = low, high end
  return figures
end

-- ---- curves --------------------------------------------------------------------------------------------------------

-- A student's curve by each arm, and its level without a teacher, all with the first values of what is varied.
local function arms_panel(found, student, ticks)
  local figure = panel("student of " .. format.size(student), ("Loss of the student of %d parameters by its teacher, a "
    .. "line for each arm"):format(student), ticks)
  local colour, low, high = 0, ticks[1].at, ticks[#ticks].at
  for _, condition in ipairs(found.all) do
    local curve = condition.first and curve_of(condition, student)
    if curve and #curve.points == 0 then curve = nil end      -- all seeds diverged
    if curve and LEVELS[condition.arm] then
      colour = colour + 1
      local level = stats.mean(curve.points[1].losses)
      table.insert(figure.series, drawn(function() return level end, low, high, condition.name, colour))
    elseif curve then
      colour = colour + 1
      for _, s in ipairs { measured(curve, condition.name, colour) } do table.insert(figure.series, s) end
    end
  end
  return figure
end

local function arms_group(found)
  local figures, ticks = {}, teacher_ticks(found)
  if #ticks == 0 then return nil end
  for k, student in ipairs(students_of(found)) do figures[k] = arms_panel(found, student, ticks) end
  return { title = "Students by their teacher", figures = figures,
    caption = "A panel for each student, a line for each arm: means over seeds, bars ± 1 sd, dots single trials; "
      .. "level lines are students without a teacher. A curve with a lowest point between its ends has a best teacher. "
      .. "The vertical axes differ. Of all: " .. found.base .. "." }
end

-- The conditions of one arm at a student, where there are several.
local function varied_panel(found, arm, student)
  local figure = panel(("%s, student of %s"):format(arm, format.size(student)), ("Loss of the student of %d parameters "
    .. "by its teacher, a line for each value of what is varied"):format(student), teacher_ticks(found))
  local colour = 0
  for _, condition in ipairs(found.conditions) do
    local curve = condition.arm == arm and curve_of(condition, student)
    if curve then
      colour = colour + 1
      local name = condition.first and "first values" or condition.name:sub(#arm + 3)
      for _, s in ipairs { measured(curve, name, colour) } do table.insert(figure.series, s) end
    end
  end
  return colour > 1 and figure or nil
end

local function varied_group(found)
  local figures, seen = {}, {}
  for _, condition in ipairs(found.conditions) do
    for _, student in ipairs(seen[condition.arm] and {} or students_of(found)) do
      figures[#figures + 1] = varied_panel(found, condition.arm, student)
    end
    seen[condition.arm] = true
  end
  if #figures == 0 then return nil end
  return { title = "What is varied", figures = shared(figures), caption = "A panel for each arm and student, a line "
    .. "for each condition: means over seeds, bars ± 1 sd. First values: " .. found.base .. "." }
end

-- ---- fits ----------------------------------------------------------------------------------------------------------

-- The measured points of an arm's students, the quadratics through them, and at their minima the intervals of these.
local function fit_panel(condition, ticks)
  local figure = panel(condition.name, "Quadratics in the logarithm of the teacher's parameters through the losses of "
    .. "the students of the arm " .. condition.name, ticks)
  for k, curve in ipairs(condition.curves) do
    local points, dots = measured(curve, nil, k)
    points.scatter = true
    local one = condition.optima[k]
    if one.fit then
      local line = drawn(function(n) return capacity.predict(one.fit, n) end, curve.points[1].teacher,
        curve.points[#curve.points].teacher, format.size(curve.student), k)
      for _, s in ipairs { line, points, dots } do table.insert(figure.series, s) end
    end
    if one.lo and one.fit.interior then
      local level = capacity.predict(one.fit, one.teacher)
      table.insert(figure.series, drawn(function() return level end, one.lo, one.hi, nil, k))
    end
  end
  return #figure.series > 0 and figure or nil
end

local function fits_group(found)
  local figures = {}
  for _, condition in ipairs(found.conditions) do
    if condition.first then figures[#figures + 1] = fit_panel(condition, teacher_ticks(found)) end
  end
  if #figures == 0 then return nil end
  return { title = "The quadratics", figures = shared(figures), caption = "A panel for each arm, a colour for each "
    .. "student: its measured means ± 1 sd, the quadratic in log N through them, and where that has a minimum "
    .. "between the teachers its 95 % interval, as a level line at it." }
end

-- Best teachers by student, the line through them and the paper's.
local function line_panel(condition)
  local figure = panel(condition.name, "The best teacher by the student's parameters, arm " .. condition.name)
  local best = { label = "best teachers", colour = 1, markers = true, scatter = true, x = {}, y = {}, lo = {}, hi = {} }
  for _, one in ipairs(condition.optima) do
    if one.fit and one.fit.interior and not one.diverged then
      local k = #best.x + 1
      best.x[k], best.y[k], best.lo[k], best.hi[k] = one.student, one.teacher, one.lo, one.hi
    end
  end
  local line, low, high = condition.line, best.x[1], best.x[#best.x]
  figure.xlabel, figure.ylabel, figure.ylog = "student's parameters", TEACHER, true
  figure.series = { best,
    drawn(function(s) return line.slope * s + line.intercept end, low, high, "their line", 2),
    drawn(function(s) return capacity.PAPER_SLOPE * s end, low, high, ("%.1f S"):format(capacity.PAPER_SLOPE), 3) }
  return figure
end

local function lines_group(found)
  local figures = {}
  for _, condition in ipairs(found.conditions) do
    if condition.line then figures[#figures + 1] = line_panel(condition) end
  end
  if #figures == 0 then return nil end
  return { title = "The line over students", figures = figures, caption = "The best teacher of each student that has "
    .. "one between its teachers, with its 95 % interval; the line through them, bent by the axes; and the paper's." }
end

-- ---- compute -------------------------------------------------------------------------------------------------------

-- All arms of a student by what they cost, a colour for each arm, and the line through those on the frontier.
local function frontier_panel(found, student)
  local figure, colours = panel("student of " .. format.size(student), ("Loss of the student of %d parameters by the "
    .. "operations of student and teacher, a mark for each arm"):format(student)), {}
  figure.xlabel = "operations, with the teacher's training"
  for _, condition in ipairs(found.all) do
    local curve, s = curve_of(condition, student), colours[condition.arm]
    if curve and not s then
      s = { label = condition.arm, colour = #figure.series + 1, markers = true, scatter = true, x = {}, y = {} }
      table.insert(figure.series, s)
      colours[condition.arm] = s
    end
    for _, point in ipairs(curve and curve.points or {}) do
      table.insert(s.x, point.flops_with_teacher)
      table.insert(s.y, stats.mean(point.losses))
    end
  end
  local line = { label = "frontier", colour = #figure.series + 1, x = {}, y = {} }
  for _, point in ipairs(found.frontier) do
    if point.student == student then
      line.x[#line.x + 1], line.y[#line.y + 1] = point.flops, point.loss
    end
  end
  table.insert(figure.series, line)
  return figure
end

local function frontier_group(found)
  local figures = {}
  for k, student in ipairs(students_of(found)) do figures[k] = frontier_panel(found, student) end
  return { title = "What it costs", figures = figures, caption = "Mean loss of each arm by its operations and those of "
    .. "its teacher's training; the line goes through the arms that no cheaper one is better than. The vertical axes "
    .. "differ." }
end

--- The groups of figures of the findings, as the option figures of a summary takes them.
---@param found sonde.capacity_gap
---@return {title: string, caption: string, figures: table[]}[]
function gap_figures.all(found)
  local groups = {}
  for _, of in ipairs { arms_group, varied_group, fits_group, lines_group, frontier_group } do
    groups[#groups + 1] = #found.all > 0 and of(found) or nil
  end
  return groups
end

return gap_figures
