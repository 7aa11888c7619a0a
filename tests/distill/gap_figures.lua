-- The figures of a search for the best teacher: a panel for each student, or for each arm; what they hold.

local lu = require "luaunit"
local format = require "sonde.base.format"
local gap_figures = require "sonde.distill.gap_figures"
local gap_report = require "sonde.distill.gap_report"

local FIRST = { teacher_tokens = 8, tokens = 4, weight = 0.5, temperature = 1 }
local TEACHERS, STUDENTS = { 1e5, 2e5, 4e5, 8e5 }, { 5e4, 1e5 }

local function uses_of(arm)
  if arm == "scratch" then return { tokens = true } end
  return { teacher = true, teacher_tokens = true, tokens = true, weight = arm == "distilled", temperature = false }
end

-- Losses 3 + 0.1 log^2(teacher / 2.5 S), over them for a smaller weight; two seeds 0.002 apart.
local function trials(arms)
  local list = {}
  for _, arm in ipairs(arms) do
    for _, student in ipairs(STUDENTS) do
      for _, teacher in ipairs(arm.name == "scratch" and { TEACHERS[1] } or TEACHERS) do
        for seed = 1, 2 do
          local loss = arm.name == "scratch" and 3.9 or 3 + 0.1 * math.log(teacher / (2.5 * student)) ^ 2
          list[#list + 1] = { status = "done", results = { student_loss = loss + arm.more + 0.002 * seed,
            flops = student, flops_with_teacher = student + teacher }, params = { arm = arm.name, student = student,
            teacher = teacher, teacher_tokens = 8, tokens = 4, weight = arm.weight, temperature = 1, seed = seed } }
        end
      end
    end
  end
  return list
end

local function groups(arms)
  local found, by_title = gap_report.findings(trials(arms), uses_of, {}, FIRST), {}
  for _, group in ipairs(gap_figures.all(found)) do
    lu.assertTrue(#group.caption > 0)
    by_title[group.title] = group.figures
  end
  return by_title, found
end

local DISTILLED, SCRATCH = { name = "distilled", weight = 0.5, more = 0 }, { name = "scratch", weight = 0.5, more = 0 }

TestFigures = {}

function TestFigures:test_a_panel_for_each_student_with_a_line_for_each_arm()
  local shown = groups { DISTILLED, { name = "pruned", weight = 0.5, more = 0.3 }, SCRATCH }
  local panels = shown["Students by their teacher"]
  lu.assertEquals({ #panels, panels[1].title, panels[2].title }, { 2, "student of 50 k", "student of 100 k" })
  local labels = {}
  for _, s in ipairs(panels[1].series) do labels[#labels + 1] = s.label end
  lu.assertEquals(labels, { "distilled", "pruned", "scratch" })
  lu.assertAlmostEquals(panels[1].series[1].y[1], 3.003 + 0.1 * math.log(1e5 / 1.25e5) ^ 2, 1e-12)
  lu.assertAlmostEquals(panels[1].series[1].hi[1] - panels[1].series[1].y[1], 0.002 / math.sqrt(2), 1e-12)
  local level = panels[1].series[5]
  lu.assertEquals({ level.x[1], level.x[#level.x] }, { 1e5, 8e5 })
  lu.assertAlmostEquals(level.y[7], 3.903, 1e-12)
  lu.assertEquals(panels[1].xticks[2], { at = 2e5, text = "200 k" })
  lu.assertNil(shown["What is varied"])
end

function TestFigures:test_what_is_varied_is_a_panel_for_each_arm_and_student_on_one_axis()
  local shown = groups { DISTILLED, { name = "distilled", weight = 1, more = 0.5 }, SCRATCH }
  local panels = shown["What is varied"]
  lu.assertEquals({ #panels, panels[2].title }, { 2, "distilled, student of 100 k" })
  lu.assertEquals({ panels[1].series[1].label, panels[1].series[3].label }, { "first values", "weight 1" })
  lu.assertEquals(panels[1].yhigh, panels[2].yhigh)
  lu.assertEquals(#shown["Students by their teacher"][1].series, 3)      -- the first values alone
  lu.assertEquals(#shown["The quadratics"], 1)
end

function TestFigures:test_quadratics_and_their_minima_with_intervals()
  local shown, found = groups { DISTILLED }
  local panels = shown["The quadratics"]
  local line, points, dots, minimum = table.unpack(panels[1].series, 1, 4)
  lu.assertEquals({ #points.x, #dots.x, line.label }, { 4, 8, "50 k" })
  lu.assertTrue(points.scatter)
  lu.assertAlmostEquals(line.y[1], points.y[1], 1e-9)      -- the made losses are quadratics
  local one = found.conditions[1].optima[1]
  lu.assertEquals({ minimum.x[1], minimum.y[1] < 3.0031 }, { one.lo, true })
  lu.assertAlmostEquals(minimum.x[#minimum.x], one.hi, 1e-6)
end

function TestFigures:test_the_line_over_students_and_the_papers()
  local panel = groups({ DISTILLED })["The line over students"][1]
  local best, line, paper = table.unpack(panel.series)
  lu.assertEquals(best.x, STUDENTS)
  for k, student in ipairs(STUDENTS) do lu.assertAlmostEquals(best.y[k], 2.5 * student, 1) end
  lu.assertAlmostEquals(line.y[20], paper.y[20], 1)
  lu.assertEquals(paper.label, "2.5 S")
  lu.assertNil(groups({ SCRATCH })["The line over students"])
end

function TestFigures:test_the_frontier_goes_through_what_nothing_cheaper_is_better_than()
  local panel = groups({ DISTILLED, SCRATCH })["What it costs"][1]
  lu.assertEquals({ panel.series[1].label, panel.series[2].label, panel.series[3].label },
    { "distilled", "scratch", "frontier" })
  local frontier = panel.series[3]
  for k = 2, #frontier.x do
    lu.assertTrue(frontier.x[k] > frontier.x[k - 1] and frontier.y[k] < frontier.y[k - 1])
  end
  lu.assertAlmostEquals(frontier.y[#frontier.y], math.min(table.unpack(panel.series[1].y)), 1e-12)
end

function TestFigures:test_what_diverged_is_left_out()
  local list = trials { DISTILLED, SCRATCH }
  for _, trial in ipairs(list) do
    local p = trial.params
    if p.arm == "scratch" or p.student == STUDENTS[1] and p.teacher == TEACHERS[2] and p.seed == 1 then
      trial.status, trial.results.student_loss = "diverged", nil
    end
  end
  local by_title = {}
  for _, group in ipairs(gap_figures.all(gap_report.findings(list, uses_of, {}, FIRST))) do
    by_title[group.title] = group.figures
  end
  local panel = by_title["Students by their teacher"][1]
  lu.assertEquals({ #panel.series, #panel.series[1].x, #panel.series[2].x }, { 2, 4, 7 })      -- no level; one dot less
  lu.assertNil(by_title["The line over students"])
end

function TestFigures:test_nothing_is_drawn_of_nothing()
  lu.assertEquals(gap_figures.all(gap_report.findings({}, uses_of, {}, FIRST)), {})
  lu.assertEquals({ format.size(28304), format.size(999600), format.size(7e9), format.size(999.6e6) },
    { "28.3 k", "1 M", "7 B", "1 B" })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
