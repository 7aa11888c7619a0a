-- Measures of warning and recognition: the case worked by hand (doc/video.md), random clips against a plain Python
-- program, intervals, refusals.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"

local metrics = sonde.clip_metrics

local function tenths(list)
  local scores = {}
  for k, s in ipairs(list) do scores[k] = s / 10 end
  return scores
end

local function by_hand()
  return {
    { scores = tenths { 1, 1, 2, 3, 5, 6, 8, 9, 9, 9 }, rate = 10, event = 8, from = 6, to = 9 },
    { scores = tenths { 2, 2, 2, 2, 4, 4, 5, 7, 7, 8 }, rate = 10, event = 9, from = 7, to = 10 },
    { scores = tenths { 1, 1, 1, 1, 1, 2, 3, 3, 3, 3 }, rate = 10, event = 7, from = 6, to = 8 },
    { scores = tenths { 1, 2, 1, 3, 2, 1, 1, 2, 1, 1 }, rate = 10 },
    { scores = tenths { 1, 1, 6, 2, 1, 1, 1, 1, 1, 1 }, rate = 10 },
    { scores = tenths { 2, 2, 2, 2, 2, 4, 2, 2, 2, 2 }, rate = 10 },
  }
end

TestMetrics = {}

function TestMetrics:test_the_case_by_hand()
  local leads = { 0.1, 0.2, 0.3, 0.5 }
  local recalls = { [0] = { 2 / 3, 2 / 3, 0, 0 }, { 2 / 3, 2 / 3, 2 / 3, 0 }, { 2 / 3, 2 / 3, 2 / 3, 1 / 3 } }
  for alarms, wanted in pairs(recalls) do      -- three seconds of negatives: an alarm is 1200 an hour
    local r = metrics.warning(by_hand(), { leads = leads, alarms_per_hour = 1200 * alarms, resamples = 0 })
    for k, lead in ipairs(leads) do lu.assertAlmostEquals(r["recall_" .. lead .. "s"].value, wanted[k], 1e-12) end
    lu.assertAlmostEquals(r.ap.value, 5 / 6, 1e-12)
    lu.assertAlmostEquals(r.mean_tta.value, (0.2 + 0.45 + 0.8) / 3, 1e-12)
    lu.assertAlmostEquals(r.tta_r80.value, 0.45, 1e-12)
    lu.assertAlmostEquals(r.recall_r80.value, 2 / 3, 1e-12)
    lu.assertAlmostEquals(r.frame_auc.value, 391 / 416, 1e-12)
    lu.assertNil(r.ap.ci)
  end
end

function TestMetrics:test_the_usual_script_on_it()
  local r = metrics.warning(by_hand(), { compat = "ustring", resamples = 0 }).ustring
  lu.assertAlmostEquals(r.ap, 0.916667, 1e-6)        -- exact: 0.833333
  lu.assertAlmostEquals(r.tta_r80, 0.527778, 1e-6)   -- 0.45
end

function TestMetrics:test_random_clips_against_plain_definitions()
  local cases = core.json_load(os.getenv "abs_srcdir" .. "/tests/reference/video_metrics.json").cases
  lu.assertEquals(#cases, 5)
  for _, case in ipairs(cases) do
    local r = metrics.warning(case.clips, { leads = case.leads, alarms_per_hour = case.alarms_per_hour, resamples = 0,
      compat = "ustring" })
    local compared = 0
    for name, value in pairs(case.expected) do
      lu.assertAlmostEquals(r[name].value, value, 1e-9, name)
      compared = compared + 1
    end
    lu.assertEquals(compared, 9)
    for name, value in pairs(case.ustring) do lu.assertAlmostEquals(r.ustring[name], value, 1e-9, name) end
  end
end

-- Draws of whole clips: copies of all clips leave the values as they are, and narrow the intervals.
function TestMetrics:test_intervals()
  local few, many = by_hand(), {}
  for _ = 1, 20 do
    for _, c in ipairs(by_hand()) do many[#many + 1] = c end
  end
  local options = { resamples = 300, alarms_per_hour = 1200, leads = { 0.1 } }
  local a, b = metrics.warning(few, options), metrics.warning(many, options)
  for _, name in ipairs { "ap", "frame_auc", "recall_0.1s" } do
    lu.assertAlmostEquals(a[name].value, b[name].value, 1e-9)
    local wide, narrow = a[name].ci[2] - a[name].ci[1], b[name].ci[2] - b[name].ci[1]
    lu.assertTrue(narrow > 0 and narrow < wide, name)
    lu.assertTrue(b[name].ci[1] <= b[name].value and b[name].value <= b[name].ci[2])
  end
  lu.assertEquals(metrics.warning(few, options), a)                    -- the same draws
  lu.assertNil(a.ap.draws)
  options.draws = true
  lu.assertTrue(#metrics.warning(few, options).frame_auc.draws > 250)
end

function TestMetrics:test_what_cannot_be_measured_is_absent()
  local all = by_hand()
  local r = metrics.warning({ all[1], all[2] }, { resamples = 0 })
  lu.assertNil(r.ap)
  lu.assertNil(r["recall_1s"])
  lu.assertNotNil(r.mean_tta)
  r = metrics.warning({ all[4], all[5] }, { resamples = 0, compat = "ustring" })
  lu.assertNil(r.ap)
  lu.assertNil(r.mean_tta)
  lu.assertNil(r.frame_auc)
  lu.assertNil(r.ustring)
end

function TestMetrics:test_recognition()
  local r = metrics.recognition({ 0, 0, 1, 1, 2, 2 }, { 0, 1, 1, 1, 0, 2 }, 4, { resamples = 200 })
  lu.assertAlmostEquals(r.accuracy.value, 4 / 6, 1e-12)
  lu.assertTrue(r.accuracy.ci[1] < 4 / 6 and r.accuracy.ci[2] > 4 / 6)
  lu.assertEquals(r.confusion, { { 1, 1, 0, 0 }, { 0, 2, 0, 0 }, { 1, 0, 1, 0 }, { 0, 0, 0, 0 } })
  lu.assertEquals(r.recall, { 0.5, 1, 0.5, 0 })
  lu.assertEquals(r.clips, 6)
end

function TestMetrics:test_refusals()
  local function refused(text, f, ...)
    local ok, message = pcall(f, ...)
    lu.assertFalse(ok)
    lu.assertStrContains(message, text)
  end
  refused("there is no clip", metrics.warning, {})
  refused("'scores'", metrics.warning, { { rate = 10 } })
  refused("behind the last score", metrics.warning, { { scores = { 1 }, rate = 10, event = 2 } })
  refused("only one of from and to", metrics.warning, { { scores = { 1 }, rate = 10, from = 1 } })
  refused("finite", metrics.warning, { { scores = { 0 / 0 }, rate = 10 } })
  refused("ustring", metrics.warning, by_hand(), { compat = "dsta" })
  refused("2 classes and 1", metrics.recognition, { 0, 1 }, { 0 }, 2)
  refused("4096", metrics.recognition, { 0 }, { 0 }, 5000)
  refused("class 2 of clip 2", metrics.recognition, { 0, 2 }, { 0, 0 }, 2)
end

os.exit(lu.LuaUnit.run("-o", "tap"))
