--- capacity.lua - which teacher is best for a student of S parameters: what may be said from losses of students by
-- the size of their teacher (Zhang et al., Towards the Law of Capacity Gap in Distilling Language Models, 2023).
--
--   curve = { student = S, points = { { teacher = N, losses = { of each seed } }, .. },      sizes in parameters
--             diverged = { { teacher = N, diverged = seeds, losses = { of the others } }, .. } or nil }
--
-- For each student a quadratic in log N over the means of its points; its minimum is the best teacher where it lies
-- between the smallest and the largest. Over students the line N* = slope * S + intercept.

local bootstrap = require "sonde.probe.bootstrap"
local law = require "sonde.distill.law"
local simplex = require "sonde.base.simplex"
local stats = require "sonde.base.stats"

local capacity = { PAPER_SLOPE = 2.5 }

local LEAST = 3         -- points of a quadratic, students of a line whose R^2 says something
local LEAST_FREE = 2    -- degrees of freedom: with one the interval holds the optimum in 70 % of made curves

-- ---- least squares -------------------------------------------------------------------------------------------------

-- Gaussian elimination with pivots; nil where the rows do not determine x.
local function solve(a, b)
  local n = #b
  for k = 1, n do
    local pivot = k
    for r = k + 1, n do
      if math.abs(a[r][k]) > math.abs(a[pivot][k]) then pivot = r end
    end
    if math.abs(a[pivot][k]) < 1e-12 then return nil end
    a[k], a[pivot], b[k], b[pivot] = a[pivot], a[k], b[pivot], b[k]
    for r = k + 1, n do
      local factor = a[r][k] / a[k][k]
      for c = k, n do a[r][c] = a[r][c] - factor * a[k][c] end
      b[r] = b[r] - factor * b[k]
    end
  end
  local x = {}
  for k = n, 1, -1 do
    local sum = b[k]
    for c = k + 1, n do sum = sum - a[k][c] * x[c] end
    x[k] = sum / a[k][k]
  end
  return x
end

-- The coefficients of y over the columns of `rows`, by the normal equations: a few columns near 1 in size.
local function least_squares(rows, y)
  local a, b = {}, {}
  for i = 1, #rows[1] do
    a[i], b[i] = {}, 0
    for j = 1, #rows[1] do a[i][j] = 0 end
    for k, row in ipairs(rows) do
      b[i] = b[i] + row[i] * y[k]
      for j = 1, #row do a[i][j] = a[i][j] + row[i] * row[j] end
    end
  end
  return solve(a, b)
end

-- ---- one student ---------------------------------------------------------------------------------------------------

---@class sonde.capacity.quadratic      loss = c0 + c1 x + c2 x^2, x = log N - centre
---@field c0 number
---@field c1 number
---@field c2 number
---@field centre number
---@field teacher number        of least loss between the smallest and the largest
---@field interior boolean      whether it is neither of the two

--- A quadratic in log N; nil below three different sizes.
---@param sizes number[]
---@param losses number[]
---@return sonde.capacity.quadratic|nil
function capacity.quadratic(sizes, losses)
  if #sizes < LEAST then return nil end
  local centre, rows = 0, {}
  for _, n in ipairs(sizes) do centre = centre + math.log(n) / #sizes end
  for k, n in ipairs(sizes) do
    local x = math.log(n) - centre
    rows[k] = { 1, x, x * x }
  end
  local c = least_squares(rows, losses)
  if not c then return nil end
  local fit = { c0 = c[1], c1 = c[2], c2 = c[3], centre = centre }
  local low, high = math.min(table.unpack(sizes)), math.max(table.unpack(sizes))
  local least = c[3] > 0 and math.exp(centre - c[2] / (2 * c[3]))
  fit.interior = least and least > low and least < high or false
  if fit.interior then
    fit.teacher = least
  else
    fit.teacher = capacity.predict(fit, low) < capacity.predict(fit, high) and low or high
  end
  return fit
end

--- The loss that a quadratic gives for a teacher of n parameters.
---@param fit sonde.capacity.quadratic
---@param n number
---@return number
function capacity.predict(fit, n)
  local x = math.log(n) - fit.centre
  return fit.c0 + fit.c1 * x + fit.c2 * x * x
end

local function means_of(points)
  local sizes, means = {}, {}
  for k, point in ipairs(points) do sizes[k], means[k] = point.teacher, stats.mean(point.losses) end
  return sizes, means
end

-- Residuals of the seeds about the means of their points, as large as those about the true means would be, and the
-- degrees of freedom that they have.
local function residuals_of(points, means)
  local list, free = {}, 0
  for k, point in ipairs(points) do
    local n = #point.losses
    if n > 1 then
      free = free + n - 1
      for _, loss in ipairs(point.losses) do list[#list + 1] = (loss - means[k]) * math.sqrt(n / (n - 1)) end
    end
  end
  return list, free
end

-- Quadratics of means that other seeds might have given.
local function draws_of(points, sizes, means, residuals, random)
  local optima, shares = {}, 0
  for r = 1, bootstrap.RESAMPLES do
    local drawn = {}
    for k, point in ipairs(points) do
      local sum, n = 0, #point.losses
      for _ = 1, n do sum = sum + residuals[random(#residuals) + 1] end
      drawn[k] = means[k] + sum / n
    end
    local fit = capacity.quadratic(sizes, drawn)
    optima[r] = fit.teacher
    if fit.interior then shares = shares + 1 end
  end
  return optima, shares / #optima
end

--- The teachers' parameters of all curves, from the smallest.
---@param found {conditions: table[]}
---@param points_of fun(curve: table): table[]    the points of a curve that count
---@return number[]
function capacity.teachers(found, points_of)
  local known, list = {}, {}
  for _, condition in ipairs(found.conditions) do
    for _, curve in ipairs(condition.curves) do
      for _, point in ipairs(points_of(curve)) do
        if not known[point.teacher] then list[#list + 1] = point.teacher end
        known[point.teacher] = true
      end
    end
  end
  table.sort(list)
  return list
end

--- How many seeds of a point diverged, in words; nil where none did.
---@param point {diverged: integer|nil, losses: number[]}
---@return string|nil
function capacity.diverged(point)
  local n = point.diverged or 0
  if n == 0 then return nil end
  return ("%d of %d seeds diverged"):format(n, n + #point.losses)
end

-- Seeds that diverge are no chance event: the mean of the others is too low.
local function diverged_text(points)
  local parts = {}
  for k, point in ipairs(points) do
    parts[k] = ("%d (%d of %d)"):format(point.teacher, point.diverged, point.diverged + #point.losses)
  end
  return ("seeds diverged, by the teacher's parameters: %s"):format(table.concat(parts, ", "))
end

-- "smallest" or "largest" where the lowest mean is that of a teacher at an end. A quadratic through it that has its
-- lowest point between is not believed: one far point at the other end is enough for that.
local function lowest_end(sizes, means, low, high)
  local best = 1
  for k = 2, #means do
    if means[k] < means[best] then best = k end
  end
  return sizes[best] == low and "smallest" or sizes[best] == high and "largest" or nil
end

local function verdict_of(found, curve, sizes, means, free)
  if curve.diverged then return diverged_text(curve.diverged) end
  if #sizes < LEAST then return ("%d of the %d teachers that a curve takes"):format(#sizes, LEAST) end
  local low, high = math.min(table.unpack(sizes)), math.max(table.unpack(sizes))
  if not found.fit then
    return "the teachers' sizes are too much alike for a curve"
  elseif not found.fit.interior then
    return ("no optimum between these teachers: the curve is lowest at the %s"):format(
      found.fit.teacher == low and "smallest" or "largest")
  elseif lowest_end(sizes, means, low, high) then
    return ("the lowest loss is that of the %s teacher"):format(lowest_end(sizes, means, low, high))
  elseif not found.lo then
    return free == 0 and "one seed has no interval" or "one second seed in all has no interval"
  elseif found.lo <= low or found.hi >= high then
    return ("the interval reaches the %s teacher"):format(found.lo <= low and (found.hi >= high and "smallest and the "
      .. "largest" or "smallest") or "largest")
  end
end

---@class sonde.capacity.optimum
---@field student number
---@field fit sonde.capacity.quadratic|nil
---@field teacher number|nil     the best one's parameters
---@field lo number|nil          of the 95 % interval, by a bootstrap of residuals; nil below two further seeds
---@field hi number|nil
---@field interior number|nil    share of the draws whose optimum is neither the smallest nor the largest teacher
---@field diverged boolean       whether seeds of a point did
---@field unknown string|nil     why the best teacher cannot be told; nil where it can

--- The best teacher for a student. Seeds are taken to spread alike about the mean of each point. It cannot be told
--- where seeds diverged, as the mean of the others is not that of the point, nor where the lowest mean is at an end.
---@param curve {student: number, points: table[]}
---@return sonde.capacity.optimum
function capacity.optimum(curve)
  local sizes, means = means_of(curve.points)
  local found = { student = curve.student, fit = capacity.quadratic(sizes, means), diverged = curve.diverged ~= nil }
  local residuals, free = residuals_of(curve.points, means)
  if found.fit then
    found.teacher = found.fit.teacher
    if free >= LEAST_FREE then
      found.draws, found.interior = draws_of(curve.points, sizes, means, residuals, bootstrap.random(0))
      local interval = bootstrap.interval(found.draws, free + 1)
      found.lo, found.hi = interval[1], interval[2]
    end
  end
  found.unknown = verdict_of(found, curve, sizes, means, free)
  return found
end

-- ---- over students -------------------------------------------------------------------------------------------------

local function line_through(xs, ys)
  local rows, scale = {}, xs[1]
  for k, x in ipairs(xs) do rows[k] = { x / scale, 1 } end
  local c = least_squares(rows, ys)
  return c and c[1] / scale, c and c[2]
end

---@class sonde.capacity.line     N* = slope * S + intercept
---@field slope number
---@field intercept number        in parameters
---@field r2 number|nil           nil below three students: two lie on any line
---@field students integer
---@field lo number|nil           95 % interval of the slope; nil where a student has one seed
---@field hi number|nil

--- The line through the optima of the students that have one between their teachers and no seeds that diverged; nil
--- below two of them.
---@param optima sonde.capacity.optimum[]
---@return sonde.capacity.line|nil
function capacity.line(optima)
  local used, xs, ys = {}, {}, {}
  for _, one in ipairs(optima) do
    if one.fit and one.fit.interior and not one.diverged then
      used[#used + 1] = one
      xs[#xs + 1], ys[#ys + 1] = one.student, one.teacher
    end
  end
  if #used < 2 then return nil end
  local slope, intercept = line_through(xs, ys)
  if not slope then return nil end
  local line = { slope = slope, intercept = intercept, students = #used }
  if #used >= LEAST then
    local mean, left, all = stats.mean(ys), 0, 0
    for k, x in ipairs(xs) do
      left, all = left + (ys[k] - slope * x - intercept) ^ 2, all + (ys[k] - mean) ^ 2
    end
    line.r2 = all > 0 and 1 - left / all or nil
  end
  local slopes = {}
  for r = 1, bootstrap.RESAMPLES do
    for k, one in ipairs(used) do ys[k] = one.draws and one.draws[r] or 0 / 0 end
    slopes[r] = line_through(xs, ys)
  end
  local interval = bootstrap.interval(slopes, #used)
  if interval[1] == interval[1] then line.lo, line.hi = interval[1], interval[2] end
  return line
end

-- The optimum of the measured student that is nearest, if it is within 1 %; nil otherwise.
local function measured(student, optima)
  local nearest, distance = nil, 0.01 * student
  for _, one in ipairs(optima) do
    local d = math.abs(one.student - student)
    if d <= distance then nearest, distance = one, d end
  end
  return nearest
end

--- The teacher for a student of S parameters, or why it cannot be told from these arms. A student that was measured
--- (to 1 %, the nearest) has its own optimum; others are on the line, between the smallest and the largest that were
--- measured.
---@param student number
---@param optima sonde.capacity.optimum[]
---@param line sonde.capacity.line|nil
---@return {teacher: number|nil, lo: number|nil, hi: number|nil, why: string}
function capacity.recommend(student, optima, line)
  local own = measured(student, optima)
  if own and own.unknown then return { why = "cannot be told from these arms: " .. own.unknown } end
  if own then return { teacher = own.teacher, lo = own.lo, hi = own.hi, why = "the optimum of that student" } end
  local low, high, known = math.huge, 0, 0
  for _, one in ipairs(optima) do
    if not one.unknown then
      low, high, known = math.min(low, one.student), math.max(high, one.student), known + 1
    end
  end
  if not line or known < LEAST then
    return { why = ("cannot be told from these arms: %d of %d students have an optimum that is clear of the ends; a "
      .. "line takes %d"):format(known, #optima, LEAST) }
  elseif student < low or student > high then
    return { why = ("cannot be told from these arms: the students with an optimum have %.4g to %.4g parameters")
      :format(low, high) }
  end
  return { teacher = line.slope * student + line.intercept, why = "the line through the students' optima" }
end

-- ---- held-out arms -------------------------------------------------------------------------------------------------

-- The coefficients c0, c2 of a curve's quadratic whose lowest point is given: a level line where the curve would have
-- its highest there. Also the sum of its squared errors.
local function about(logs, means, optimum)
  local n, x1, x2, y1, xy = #logs, 0, 0, 0, 0
  for k, log in ipairs(logs) do
    local x, y = (log - math.log(optimum)) ^ 2, means[k]
    x1, x2, y1, xy = x1 + x, x2 + x * x, y1 + y, xy + x * y
  end
  local spread = x2 - x1 * x1 / n
  local c2 = spread > 0 and math.max(0, (xy - x1 * y1 / n) / spread) or 0
  local c0, left = (y1 - c2 * x1) / n, 0
  for k, log in ipairs(logs) do left = left + (c0 + c2 * (log - math.log(optimum)) ^ 2 - means[k]) ^ 2 end
  return c0, c2, left
end

-- Lines that the search for the best one begins at the best of: slopes, and intercepts over the mean student.
local SLOPES, INTERCEPTS = { -2, -0.5, 0, 0.5, 1, capacity.PAPER_SLOPE, 5, 10, 20 }, { -1, 0, 1, 3, 10, 30 }

-- The joint fit: all students' optima are on one line.
local function fit_joint(curves)
  local scale, logs, means, line, least = 0, {}, {}, nil, math.huge
  for k, curve in ipairs(curves) do
    scale = scale + curve.student / #curves
    logs[k], means[k] = means_of(curve.points)
    for p, teacher in ipairs(logs[k]) do logs[k][p] = math.log(teacher) end
  end
  local function optimum(x, student) return x[1] * student + x[2] * scale end
  local function misfit(x)
    local sum = 0
    for k, curve in ipairs(curves) do
      local best = optimum(x, curve.student)
      if best <= 0 then return math.huge end
      sum = sum + select(3, about(logs[k], means[k], best))
    end
    return sum
  end
  for _, slope in ipairs(SLOPES) do
    for _, intercept in ipairs(INTERCEPTS) do
      local left = misfit { slope, intercept }
      if left < least then line, least = { slope, intercept }, left end
    end
  end
  line = simplex.least(misfit, line, 0.2, 200)
  return function(curve, teacher)
    local best = optimum(line, curve.student)
    local sizes, y = means_of(curve.points)
    for p, size in ipairs(sizes) do sizes[p] = math.log(size) end
    local c0, c2 = about(sizes, y, best)
    return c0 + c2 * math.log(teacher / best) ^ 2
  end
end

-- Each student its own quadratic.
local function fit_quadratics()
  return function(curve, teacher)
    local fit = capacity.quadratic(means_of(curve.points))
    return fit and capacity.predict(fit, teacher)
  end
end

-- That the teacher does not matter: what a fit must be better than.
local function fit_mean()
  return function(curve) return stats.mean(select(2, means_of(curve.points))) end
end

-- The distillation scaling law, to all students: what the teacher's loss says, its size does not.
local function fit_law(curves, known)
  local rows = {}
  for _, curve in ipairs(curves) do
    for _, point in ipairs(curve.points) do
      local teacher_loss = known.teacher_loss[point.teacher]
      if teacher_loss then
        rows[#rows + 1] = { parameters = curve.student, tokens = known.tokens, teacher_loss = teacher_loss,
          loss = stats.mean(point.losses) }
      end
    end
  end
  local fit = known.supervised and law.student(rows, known.supervised)
  return fit and function(curve, teacher)
    local teacher_loss = known.teacher_loss[teacher]
    return teacher_loss and law.predict(fit, known.supervised, curve.student, known.tokens, teacher_loss)
  end
end

-- The curves without point `at` of curve `left`.
local function without(curves, left, at)
  local rest = {}
  for k, curve in ipairs(curves) do
    rest[k] = { student = curve.student, points = {} }
    for p, point in ipairs(curve.points) do
      if k ~= left or p ~= at then table.insert(rest[k].points, point) end
    end
  end
  return rest
end

-- Squared errors of a fit by arm, and how many there are; false: it says nothing of that arm.
local function held_out_errors(curves, fit_of, known)
  local errors, count = {}, 0
  for k, curve in ipairs(curves) do
    for p, point in ipairs(curve.points) do
      local rest = without(curves, k, p)
      local predict = #rest[k].points >= LEAST and fit_of(rest, known)
      local value = predict and predict(rest[k], point.teacher)
      errors[#errors + 1] = value and (value - stats.mean(point.losses)) ^ 2 or false
      if value then count = count + 1 end
    end
  end
  return errors, count
end

-- The arms that all fits say something of, but those that say nothing at all.
local function common_of(errors, counts, arms)
  local common = {}
  for a = 1, arms do
    local all = true
    for k, list in ipairs(errors) do all = all and (counts[k] == 0 or list[a] ~= false) end
    if all then common[#common + 1] = a end
  end
  return common
end

---@class sonde.capacity.known       what the law takes beside the curves
---@field supervised table|nil       law.supervised of models without a teacher
---@field tokens integer             that each student was trained on
---@field teacher_loss table<number, number>     by the teacher's parameters

--- The fits by how well they predict the mean loss of arms that they have not seen, each left out in turn; arms of
--- students that keep three others only, and only those that every fit predicts which predicts any, so that errors
--- compare. `error` is the root of the mean square, in nats.
---@param curves table[]
---@param known? sonde.capacity.known      without it the law is not among them
---@return {name: string, error: number|nil, arms: integer}[]
function capacity.held_out(curves, known)
  local list, fits = {}, { { "a quadratic for each student", fit_quadratics }, { "optima on one line", fit_joint },
    { "no dependence on the teacher", fit_mean } }
  if known then fits[4] = { "distillation scaling law", fit_law } end
  local errors, counts = {}, {}
  for k, fit in ipairs(fits) do errors[k], counts[k] = held_out_errors(curves, fit[2], known) end
  local common = common_of(errors, counts, #errors[1])
  for k, fit in ipairs(fits) do
    local used, sum = counts[k] > 0 and common or {}, 0
    for _, a in ipairs(used) do sum = sum + errors[k][a] end
    list[k] = { name = fit[1], error = #used > 0 and math.sqrt(sum / #used) or nil, arms = #used }
  end
  return list
end

return capacity
