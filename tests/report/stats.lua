-- Statistics against numbers worked out by hand or read from tables of Student's t.
local lu = require "luaunit"
local stats = require "sonde.base.stats"

TestStats = {}

function TestStats:test_mean_and_sd()
  lu.assertAlmostEquals(stats.mean { 2, 4, 4, 4, 5, 5, 7, 9 }, 5, 1e-12)
  lu.assertAlmostEquals(stats.sd { 2, 4, 4, 4, 5, 5, 7, 9 }, math.sqrt(32 / 7), 1e-12)
  lu.assertNil(stats.mean {})
  lu.assertNil(stats.sd { 3 })
  lu.assertEquals(stats.sd { 85 / 126, 85 / 126, 85 / 126 }, 0)
end

function TestStats:test_what_is_beyond_whole_numbers_and_squares()
  local most = math.maxinteger
  lu.assertEquals(stats.mean { most, most }, 2.0 ^ 63)
  lu.assertEquals(stats.describe { most, most }.mean, 2.0 ^ 63)
  lu.assertEquals(stats.sd { most, most }, 0)
  lu.assertAlmostEquals(stats.sd { math.mininteger, most } / 2 ^ 64, math.sqrt(0.5), 1e-12)
  lu.assertEquals(stats.median { math.mininteger, most }, 0)
  lu.assertAlmostEquals(stats.mean { 1.5e308, 1.5e308 } / 1.5e308, 1, 1e-12)
  for _, scale in ipairs { 1e160, 1e-200 } do
    lu.assertAlmostEquals(stats.sd { 2 * scale, 4 * scale, 9 * scale } / scale, math.sqrt(13), 1e-12)
  end
end

function TestStats:test_quantile_between_neighbours()
  lu.assertEquals(stats.median { 9, 1, 5 }, 5)
  lu.assertEquals(stats.median { 4, 1, 2, 3 }, 2.5)
  lu.assertAlmostEquals(stats.quantile({ 10, 20, 30, 40 }, 0.25), 17.5, 1e-12)
  lu.assertEquals(stats.quantile({ 7 }, 0.9), 7)
end

function TestStats:test_student_quantiles_of_the_tables()
  local table_975 = { [1] = 12.7062, [2] = 4.30265, [3] = 3.18245, [5] = 2.57058, [10] = 2.22814, [30] = 2.04227,
    [120] = 1.97993 }
  for df, t in pairs(table_975) do lu.assertAlmostEquals(stats.t_quantile(0.975, df), t, 5e-5, "df " .. df) end
  lu.assertAlmostEquals(stats.t_quantile(0.95, 4), 2.13185, 5e-5)
end

function TestStats:test_normal_tails_of_the_tables()
  for x, tail in pairs { [0] = 0.5, [1] = 0.15865525, [1.959964] = 0.025, [3] = 0.00134990 } do
    lu.assertAlmostEquals(stats.normal_tail(x), tail, 1e-7, "x " .. x)
  end
end

function TestStats:test_one_degree_of_freedom_is_cauchy()
  for _, t in ipairs { 0.1, 1, 5, 50 } do
    lu.assertAlmostEquals(stats.t_cdf(t, 1), 0.5 + math.atan(t) / math.pi, 1e-12)
  end
end

function TestStats:test_interval_of_three_seeds()
  local d = stats.describe { 10, 11, 12 }
  -- 4.30265 * 1 / sqrt(3) = 2.48414
  lu.assertEquals({ d.n, d.mean, d.sd }, { 3, 11, 1 })
  lu.assertAlmostEquals(d.lo, 11 - 2.48414, 1e-4)
  lu.assertAlmostEquals(d.hi, 11 + 2.48414, 1e-4)
end

function TestStats:test_one_seed_has_no_interval()
  local d = stats.describe { 10 }
  lu.assertEquals(d.mean, 10)
  lu.assertNil(d.lo)
end

local function described(lists)
  local out = {}
  for key, list in pairs(lists) do out[key] = stats.describe(list) end
  return out
end

function TestStats:test_apart_intervals_are_ranked()
  local best, tied = stats.leaders(described { a = { 10, 10.1, 10.2 }, b = { 20, 20.1, 20.2 } }, false)
  lu.assertEquals(best, "a")
  lu.assertEquals(tied, {})
  best = stats.leaders(described { a = { 10, 10.1, 10.2 }, b = { 20, 20.1, 20.2 } }, true)
  lu.assertEquals(best, "b")
end

function TestStats:test_overlapping_intervals_are_not_ranked()
  local best, tied = stats.leaders(described { a = { 10, 11, 12 }, b = { 10.5, 11.5, 12.5 }, c = { 90, 91, 92 } },
    false)
  lu.assertEquals(best, "a")
  lu.assertEquals(tied, { b = true })
end

-- What has no interval is neither apart from others nor tied with them.
function TestStats:test_single_seeds_are_never_ranked()
  local _, tied, unknown = stats.leaders(described { a = { 10 }, b = { 99 } }, false)
  lu.assertEquals({ tied, unknown }, { {}, { a = true, b = true } })
  _, tied, unknown = stats.leaders(described { a = { 10, 11, 12 }, b = { 10.5, 11.5, 12.5 }, c = { 9.5 } }, true)
  lu.assertEquals({ tied, unknown }, { { a = true }, { c = true } })
end

os.exit(lu.LuaUnit.run("-o", "tap"))
