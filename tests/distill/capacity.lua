-- The law of the capacity gap: fits recover made data, and say where nothing can be told.

local lu = require "luaunit"
local bootstrap = require "sonde.probe.bootstrap"
local capacity = require "sonde.distill.capacity"
local gap_report = require "sonde.distill.gap_report"
local gap_tables = require "sonde.distill.gap_tables"
local law = require "sonde.distill.law"
local simplex = require "sonde.base.simplex"

local function close(a, b, tolerance, what)
  lu.assertTrue(math.abs(a - b) <= tolerance * math.max(1, math.abs(b)), (what or "") .. " " .. a .. " for " .. b)
end

-- Losses 3 + 0.1 (log N / N*)^2 with the optimum at slope * S + intercept, and noise of sd `noise`.
local function made(options)
  local random, curves = bootstrap.random(options.seed or 1), {}
  local function normal()
    local sum = 0
    for _ = 1, 12 do sum = sum + random(1000000) / 1000000 end
    return sum - 6
  end
  for k, student in ipairs(options.students or { 1e6, 2e6, 3e6, 4e6 }) do
    local best = options.slope * student + (options.intercept or 0)
    curves[k] = { student = student, points = {} }
    for p, teacher in ipairs(options.teachers or { 1e6, 2e6, 4e6, 8e6, 16e6, 32e6 }) do
      local losses = {}
      for s = 1, options.seeds or 3 do
        losses[s] = 3 + 0.1 * math.log(teacher / best) ^ 2 + (options.noise or 0) * normal()
      end
      curves[k].points[p] = { teacher = teacher, losses = losses }
    end
  end
  return curves
end

local function optima_of(curves)
  local optima = {}
  for k, curve in ipairs(curves) do optima[k] = capacity.optimum(curve) end
  return optima
end

TestFits = {}

function TestFits:test_simplex_finds_the_bottom_of_a_bent_valley()
  local x, y = simplex.least(function(v) return (1 - v[1]) ^ 2 + 100 * (v[2] - v[1] ^ 2) ^ 2 end, { -1.2, 1 }, 0.5, 400)
  close(x[1], 1, 1e-4)
  close(x[2], 1, 1e-4)
  lu.assertTrue(y < 1e-8)
  local there = simplex.least(function(v) return v[1] > 0 and (math.log(v[1]) - 2) ^ 2 or 0 / 0 end, { 0.1 }, -1, 200)
  close(there[1], math.exp(2), 1e-4)
end

function TestFits:test_made_curves_give_their_optima_and_line()
  local optima = optima_of(made { slope = 2.5, intercept = -3e5 })
  for _, one in ipairs(optima) do
    close(one.teacher, 2.5 * one.student - 3e5, 1e-6)
    close(one.fit.c2, 0.1, 1e-9)
    lu.assertNil(one.unknown)
  end
  local line = capacity.line(optima)
  close(line.slope, 2.5, 1e-6)
  close(line.intercept, -3e5, 1e-4)
  close(line.r2, 1, 1e-9)
end

function TestFits:test_noise_is_in_the_intervals()
  local held, lines, times = 0, 0, 10
  for seed = 1, times do
    local optima = optima_of(made { slope = 2.5, noise = 0.01, seed = seed, students = { 1.5e6, 2.5e6, 4e6 } })
    for _, one in ipairs(optima) do
      if one.lo < 2.5 * one.student and one.hi > 2.5 * one.student then held = held + 1 end
    end
    local line = capacity.line(optima)
    if math.abs(line.slope - 2.5) < 0.5 then lines = lines + 1 end
  end
  local share = held / (3 * times)
  lu.assertTrue(share > 0.8, share)      -- of 30 intervals, of which 28 are expected to hold it
  lu.assertTrue(lines >= 8, lines)
end

TestVerdicts = {}

function TestVerdicts:test_what_cannot_be_told_is_said()
  local function why(options)
    local optima = optima_of(made(options))
    return capacity.recommend(optima[1].student, optima, capacity.line(optima))
  end
  lu.assertStrContains(why { slope = 2.5, seeds = 1 }.why, "one seed has no interval")
  lu.assertStrContains(why { slope = 2.5, teachers = { 1e6, 4e6 } }.why, "2 of the 3 teachers")
  lu.assertStrContains(why { slope = 100, noise = 0.01 }.why, "lowest at the largest")
  lu.assertStrContains(why { slope = 0.1, noise = 0.01 }.why, "lowest at the smallest")
  lu.assertStrContains(why { slope = 2.5, noise = 1 }.why, "cannot be told")
  local good = why { slope = 2.5, noise = 0.01 }
  lu.assertTrue(good.lo < 2.5e6 and good.hi > 2.5e6 and good.lo > 1e6, good.why)
end

function TestVerdicts:test_other_students_are_on_the_line_where_it_is_known()
  local optima = optima_of(made { slope = 2.5, noise = 0.002 })
  local line = capacity.line(optima)
  close(capacity.recommend(2.5e6, optima, line).teacher, 6.25e6, 0.05)
  lu.assertStrContains(capacity.recommend(9e6, optima, line).why, "students with an optimum have 1e+06 to 4e+06")
  local two = optima_of(made { slope = 2.5, noise = 0.002, students = { 1e6, 4e6 } })
  lu.assertNil(capacity.line(two).r2)
  lu.assertStrContains(capacity.recommend(2.5e6, two, capacity.line(two)).why, "2 of 2 students")
end

function TestVerdicts:test_of_students_much_alike_the_nearest_is_meant()
  local optima = optima_of(made { slope = 2.5, noise = 0.002, students = { 1e6, 1.009e6 } })
  for _, k in ipairs { 1, 2 } do
    lu.assertEquals(capacity.recommend(optima[k].student, optima).teacher, optima[k].teacher)
  end
  lu.assertEquals(capacity.recommend(1.007e6, optima).teacher, optima[2].teacher)
  lu.assertNotEquals(optima[1].teacher, optima[2].teacher)
end

function TestVerdicts:test_one_second_seed_in_all_has_no_interval()
  local curve = made { slope = 2.5, noise = 0.002 }[1]
  for k, point in ipairs(curve.points) do point.losses = { point.losses[1], k == 2 and point.losses[2] or nil } end
  local one = capacity.optimum(curve)
  lu.assertNil(one.lo)
  lu.assertEquals(one.unknown, "one second seed in all has no interval")
end

-- One far point at an end bends a quadratic whose lowest point is then where nothing was measured to be low.
function TestVerdicts:test_a_lowest_loss_at_an_end_is_no_optimum_between()
  local points = {}
  for k, loss in ipairs { 3.2406, 3.262, 3.2542, 3.268, 3.4417 } do
    points[k] = { teacher = 264816 * 2 ^ (k - 1), losses = { loss - 0.005, loss + 0.005 } }
  end
  local one = capacity.optimum { student = 264816, points = points }
  lu.assertTrue(one.fit.interior and one.lo > 264816)
  lu.assertEquals(one.unknown, "the lowest loss is that of the smallest teacher")
end

function TestVerdicts:test_teachers_much_alike_have_no_curve()
  local curve = made { slope = 2.5, teachers = { 1e6, 1e6 + 20, 1e6 + 40, 1e6 + 60 } }[1]
  lu.assertEquals(capacity.optimum(curve).unknown, "the teachers' sizes are too much alike for a curve")
end

-- Trials as the students' sweep gives them: of one student and five teachers, three seeds.
local function trials_of(diverged)
  local trials = {}
  for k, teacher in ipairs { 1e5, 2e5, 4e5, 8e5, 16e5 } do
    for seed = 1, 3 do
      local loss = 3 + 0.1 * math.log(teacher / 4e5) ^ 2 + 0.003 * ((seed * 7 + k) % 5)
      local lost = diverged(teacher, seed)
      trials[#trials + 1] = { status = lost and "diverged" or "done", params = { arm = "random", student = 5e4,
        teacher = teacher, teacher_tokens = 1, tokens = 1, weight = 1, temperature = 1, seed = seed },
        results = { student_loss = not lost and loss or nil, flops = 1, flops_with_teacher = 2 } }
    end
  end
  return trials
end

local function found_of(diverged)
  local first = { teacher_tokens = 1, tokens = 1, weight = 1, temperature = 1 }
  return gap_report.findings(trials_of(diverged), function()
    return { teacher = true, teacher_tokens = true, tokens = true, weight = true, temperature = true }
  end, {}, first)
end

local function cells_of(found)
  local cells = {}
  for _, each in ipairs(gap_tables.all(found)) do
    for _, row in ipairs(each.rows) do cells[#cells + 1] = table.concat(row, " | ") end
  end
  return table.concat(cells, "\n")
end

function TestVerdicts:test_seeds_that_diverged_are_said_and_nothing_is_told_from_the_others()
  local found = found_of(function(teacher, seed) return teacher == 4e5 and seed > 1 end)
  local said = found.recommend(5e4)
  lu.assertNil(said.teacher)
  lu.assertStrContains(said.why, "seeds diverged, by the teacher's parameters: 400000 (2 of 3)")
  local cells = cells_of(found)
  lu.assertStrMatches(cells, ".*50 k | random | – | 3[%d.]+ ± [%d.]+ | 3[%d.]+ ± [%d.]+ %*? ?"
    .. "| 3%.%d+ %(2 of 3 seeds diverged%) |.*")
  lu.assertStrContains(cells, "cannot be told: seeds diverged")
  lu.assertEquals(gap_report.record(found).conditions[1].curves[1].diverged[1].diverged, 2)
  local whole = found_of(function() return false end)
  lu.assertNil(whole.conditions[1].optima[1].unknown)
  lu.assertNil(whole.conditions[1].curves[1].diverged)
end

function TestVerdicts:test_where_all_diverged_the_arm_is_shown()
  local found = found_of(function() return true end)
  lu.assertStrContains(found.recommend(5e4).why, "100000 (3 of 3), 200000 (3 of 3)")
  lu.assertStrContains(cells_of(found), "50 k | random | – | – (3 of 3 seeds diverged)")
end

function TestVerdicts:test_fits_are_compared_on_the_arms_that_all_predict()
  local curves = made { slope = 2.5, noise = 0.005, students = { 1e6, 2e6, 4e6 }, teachers = { 1e6, 2e6, 4e6, 8e6,
    16e6 } }
  local known = { tokens = 1e9, teacher_loss = {}, supervised = { E = 1.5, A = 2000, B = 15000, a = 0.38, b = 0.45,
    g = 0.5 } }
  -- Of the last teacher no loss is known.
  for k, teacher in ipairs { 1e6, 2e6, 4e6, 8e6 } do known.teacher_loss[teacher] = 3.4 - 0.2 * k end
  for _, fit in ipairs(capacity.held_out(curves, known)) do lu.assertEquals(fit.arms, 12, fit.name) end
end

function TestVerdicts:test_held_out_arms_rank_the_fits()
  local list = capacity.held_out(made { slope = 2.5, noise = 0.005 })
  lu.assertEquals(list[2].name, "optima on one line")
  lu.assertEquals(list[1].arms, 24)
  lu.assertTrue(list[1].error < list[3].error / 3 and list[2].error < list[3].error / 3)
  lu.assertTrue(list[2].error < list[1].error)      -- fewer parameters, and true
  lu.assertNil(capacity.held_out(made { slope = 2.5, teachers = { 1e6, 2e6, 4e6 } })[1].error)
end

-- Every fit predicts the same arms, whatever the curves: optima on a line that falls, and curves bent the other way.
function TestVerdicts:test_fits_are_compared_on_the_same_arms()
  local falling = capacity.held_out(made { slope = -2, intercept = 1.2e7 })
  lu.assertEquals({ falling[2].arms, falling[3].arms }, { 24, 24 })
  lu.assertTrue(falling[2].error < 1e-4, falling[2].error)
  local curves = made { slope = 2.5 }
  for _, curve in ipairs(curves) do
    for _, point in ipairs(curve.points) do
      for s, loss in ipairs(point.losses) do point.losses[s] = 6 - loss end
    end
  end
  local bent = capacity.held_out(curves)
  lu.assertEquals({ bent[1].arms, bent[2].arms, bent[3].arms }, { 24, 24, 24 })
  lu.assertTrue(bent[2].error < 2 * bent[3].error, bent[2].error .. " " .. bent[3].error)
end

function TestVerdicts:test_the_law_predicts_held_out_arms_that_follow_it()
  local supervised = { E = 1.5, A = 2000, B = 15000, a = 0.38, b = 0.45, g = 0.5 }
  local student = { A = 1800, B = 20000, a = 0.3, b = 0.6, g = 0.8, c0 = 2.2, c1 = 400, d1 = 1.25, f1 = 0.1 }
  local known = { supervised = supervised, tokens = 1e9, teacher_loss = {} }
  local curves = {}
  for k, n in ipairs { 1e7, 4e7, 1.6e8 } do
    curves[k] = { student = n, points = {} }
    for p, loss in ipairs { 3.2, 2.7, 2.3, 2.0 } do
      local teacher = 1e8 * 4 ^ p
      known.teacher_loss[teacher] = loss
      curves[k].points[p] = { teacher = teacher, losses = { law.predict(student, supervised, n, 1e9, loss)
        + 0.002 * (-1) ^ (k + p) } }
    end
  end
  local list = capacity.held_out(curves, known)
  lu.assertEquals(list[4].name, "distillation scaling law")
  lu.assertEquals(list[4].arms, 12)
  lu.assertTrue(list[4].error < 0.25 * list[3].error, list[4].error .. " " .. list[3].error)
  known.supervised = nil
  lu.assertNil(capacity.held_out(curves, known)[4].error)
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
