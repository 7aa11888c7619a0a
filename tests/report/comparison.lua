-- Rank correlations against scipy (tests/reference/make_correlation.py), their intervals against what is known of them;
-- what is said of a paper's claims; arms of experiments.

local lu = require "luaunit"
local core = require "sonde.core"
local arms = require "sonde.sweep.arms"
local bootstrap = require "sonde.probe.bootstrap"
local comparison = require "sonde.report.comparison"
local correlation = require "sonde.report.correlation"
local lines = require "sonde.report.plot.lines"
local report = require "sonde.report"

local expected = core.json_load(os.getenv "abs_srcdir" .. "/tests/reference/correlation.json")

TestCorrelation = {}

function TestCorrelation:test_as_scipy()
  lu.assertTrue(#expected.cases > 10)
  for _, case in ipairs(expected.cases) do
    lu.assertEquals(correlation.ranks(case.x), case.ranks)
    lu.assertAlmostEquals(correlation.spearman(case.x, case.y), case.rho, 1e-12)
  end
end

function TestCorrelation:test_without_spread()
  lu.assertNil(correlation.spearman({ 1, 1, 1 }, { 1, 2, 3 }))
  lu.assertNil(correlation.over({ { { 1, 2 }, { 1, 3 } }, { { 1, 4 } } }).rho)
  lu.assertNil(correlation.over({}).rho)
end

local function noise(random) return (random(1000001) + random(1000001) + random(1000001)) / 1e6 - 1.5 end

-- Trials of an arm around (x, y) of it.
local function made(points, trials, spread, seed)
  local random, list = bootstrap.random(seed or 3), {}
  for k, point in ipairs(points) do
    list[k] = {}
    for t = 1, trials do list[k][t] = { point[1] + spread * noise(random), point[2] + spread * noise(random) } end
  end
  return list
end

function TestCorrelation:test_arms_in_order_leave_no_doubt()
  local found = correlation.over(made({ { 1, 5 }, { 2, 4 }, { 3, 3 }, { 4, 2 }, { 5, 1 } }, 2, 0))
  lu.assertAlmostEquals(found.rho, -1, 1e-12)
  lu.assertAlmostEquals(found.hi, -1, 1e-12)
  lu.assertEquals({ found.drawn, found.trials, found.arms }, { "arms", 10, 5 })
end

function TestCorrelation:test_few_arms_are_kept_and_few_trials_have_no_interval()
  local found = correlation.over(made({ { 1, 1 }, { 2, 2 }, { 3, 3 } }, 3, 0.1))
  lu.assertEquals(found.drawn, "seeds")
  lu.assertTrue(found.lo > 0.5)
  for _, few in ipairs { made({ { 1, 1 }, { 2, 2 }, { 3, 3 }, { 4, 4 } }, 1, 0), made({ { 1, 1 } }, 5, 0.1),
    made({ { 1, 1 }, { 2, 2 } }, 5, 0.1),
    { { { 0, 1 }, { 0, 2 } }, { { 1, 3 }, { 1, 4 } }, { { 0, 5 }, { 0, 6 } } } } do
    found = correlation.over(few)
    lu.assertNil(found.drawn)
    lu.assertNil(found.lo)
  end
end

-- Seeds of the same arms are no further arms: what a few arms show by chance stays in doubt with many seeds.
function TestCorrelation:test_seeds_do_not_count_as_arms()
  local points = { { 1, 1 }, { 2, 3 }, { 3, 2 }, { 4, 5 }, { 5, 0 }, { 6, 4 } }
  for _, trials in ipairs { 1, 10 } do
    local found = correlation.over(made(points, trials, 0.01))
    lu.assertTrue(found.lo < 0 and found.hi > 0, trials .. ": " .. found.lo .. " " .. found.hi)
  end
end

-- Of unrelated lists the interval leaves 0 out about as rarely as it says.
function TestCorrelation:test_chance()
  local random, wrong, rounds = bootstrap.random(11), 0, 60
  for _ = 1, rounds do
    local list = {}
    for k = 1, 8 do list[k] = { { noise(random), noise(random) } } end
    local found = correlation.over(list)
    if found.lo > 0 or found.hi < 0 then wrong = wrong + 1 end
  end
  lu.assertTrue(wrong <= 0.15 * rounds, wrong .. " of " .. rounds)
end

-- ---- claims ------------------------------------------------------------------------------------------------------

-- Five rates and three seeds: variance falls with the rate, usefulness is all one but for the seed's noise.
local function data()
  local d = { name = "decay", metric = "perplexity", by = { "rate" }, reference = 0, trials = {}, command = "x",
    grid = { { name = "rate", values = { 0, 0.1, 1, 3, 5 } }, { name = "seed", values = { 1, 2, 3 } } },
    comparison = {
      arms = { { value = 0 }, { value = 0.1 }, { value = 1 }, { value = 3, note = "rejected" }, { value = 5 } },
      paper = { { value = 0, last_variance = 320, usefulness_score = 0.75 },
        { value = 0.1, last_variance = 116.5, usefulness_score = 0.81 },
        { value = 8, last_variance = 10, usefulness_score = 0.9 } },
      metrics = { "perplexity", "last_variance", "usefulness_score", "causal_score" },
      claims = { { x = "rate", y = "last_variance", sign = -1 }, { x = "rate", y = "last_variance", sign = 1 },
        { x = "last_variance", y = "usefulness_score", sign = -1 },
        { arm = 3, over = 0, y = "last_variance", sign = -1, paper = -320 },
        { arm = 3, over = 0, y = "perplexity", sign = 1 }, { arm = 7, over = 0, y = "perplexity", sign = 1 } },
    } }
  local useful = { 3, 1, 2, 1, 3, 2, 2, 1, 3, 1, 3, 2, 3, 2, 1 }
  for k, rate in ipairs(d.grid[1].values) do
    for seed = 1, 3 do
      d.trials[#d.trials + 1] = { id = rate .. "," .. seed, status = "done", seconds = 1, arrays = {}, history = {},
        params = { rate = rate, seed = seed },
        results = { perplexity = 20 + seed * (k % 2), last_variance = 100 / (1 + rate) + seed,
          usefulness_score = useful[3 * k - 3 + seed] / 4 } }
    end
  end
  return d
end

TestComparison = {}

function TestComparison:test_what_may_be_said_of_claims()
  local claims = comparison.claims(data())
  lu.assertEquals(claims[1].verdict, "the paper's direction holds")
  lu.assertTrue(claims[1].hi < -0.3 and math.abs(claims[1].paper + 1) < 1e-12, claims[1].hi .. " " .. claims[1].paper)
  lu.assertEquals(claims[2].verdict, "the paper's direction does not hold: the opposite does")
  lu.assertEquals(claims[3].verdict, "cannot be told: the interval contains 0")
  lu.assertAlmostEquals(claims[3].paper, -1, 1e-12)
  lu.assertEquals(claims[4].verdict, "the paper's direction holds")
  lu.assertAlmostEquals(claims[4].value, -75, 1e-9)
  lu.assertEquals(claims[5].verdict, "cannot be told: the interval contains 0")
  lu.assertEquals(claims[6].verdict, "cannot be told: the sweep lacks one of the arms")
end

function TestComparison:test_one_seed()
  local d = data()
  d.grid[2].values = { 1 }
  for k = #d.trials, 1, -1 do
    if d.trials[k].params.seed > 1 then table.remove(d.trials, k) end
  end
  local claims = comparison.claims(d)
  lu.assertEquals(claims[1].verdict, "the paper's direction holds")      -- five arms
  lu.assertEquals(claims[4].verdict, "cannot be told: one seed has no interval")
  lu.assertEquals(claims[4].over, "1 seed, paired")
end

-- A name that no trial reports, misspelt or of a probe that was not among those of the study, is no result.
function TestComparison:test_metrics_that_no_trial_has()
  local d = data()
  d.comparison.claims = { { x = "rate", y = "perplexty", sign = 1 }, { x = "rte", y = "perplexity", sign = 1 },
    { arm = 3, over = 0, y = "expert_balance", sign = 1 } }
  local claims = comparison.claims(d)
  lu.assertEquals(claims[1].verdict, "cannot be told: no trial reported 'perplexty'; did you mean 'perplexity'?")
  lu.assertEquals(claims[2].verdict, "cannot be told: no trial reported 'rte'; did you mean 'rate'?")
  lu.assertEquals(claims[3].verdict, "cannot be told: no trial reported 'expert_balance'")
end

-- No block of a small model may be useful: that is no difference of 0 with an interval.
function TestComparison:test_trials_that_are_all_alike()
  local d = data()
  d.comparison.claims = { { arm = 3, over = 0, y = "usefulness_score", sign = 1 },
    { x = "rate", y = "usefulness_score", sign = 1 } }
  for _, trial in ipairs(d.trials) do trial.results.usefulness_score = 0 end
  for k, why in ipairs { "all trials are alike", "all trials are alike in one of the two" } do
    lu.assertEquals(comparison.claims(d)[k].verdict, "cannot be told: " .. why)
  end
  local text = report.text(d)
  lu.assertStrContains(text, "0 ± 0")
  lu.assertStrContains(text, "here 0 [0, 0] (3 seeds, paired)")
  lu.assertNil(text:find("0.0000", 1, true))
end

-- What no paper has is measured, and no direction of a paper's.
function TestComparison:test_without_a_paper()
  local d = data()
  d.comparison.paper = {}
  d.comparison.claims = { { x = "rate", y = "last_variance", sign = -1, ours = true } }
  local text, page = report.text(d), report.render(d)
  lu.assertStrContains(text, "decay: the arms of this sweep")
  lu.assertStrContains(text, "5 arms; draws of arms): the direction holds")
  lu.assertStrContains(page, "The arms of this sweep")
  lu.assertNil(text:find("paper", 1, true))
  lu.assertNil(page:gsub("<section id=\"data\".*", ""):match "[^\n]*the paper[^\n]*")
end

function TestComparison:test_text()
  local text = report.text(data())
  lu.assertStrContains(text, "decay: this sweep and the paper")
  lu.assertStrContains(text, "3 (rejected)")
  lu.assertStrContains(text, "116.5")
  lu.assertNil(text:find("causal", 1, true))                             -- nobody reported it
  lu.assertTrue(text:find("\n8 +– +– +10 +– +0.9\n") ~= nil)             -- the paper's alone
  lu.assertStrContains(text, "variance of the last block is lower where rate is higher")
end

function TestComparison:test_page()
  local page = report.render(data())
  lu.assertStrContains(page, "id=\"comparison\"")
  lu.assertStrContains(page, "cannot be told: the interval contains 0")
  local several = data()
  several.metric = { "perplexity", "last_variance" }
  lu.assertStrContains(report.render(several), "Mean ± standard deviation over 3 seeds of this sweep")
  if os.execute "gnuplot --version >/dev/null 2>&1" then lu.assertStrContains(page, "id=\"pairs\"") end
end

function TestComparison:test_figures()
  local d = data()
  for _, trial in ipairs(d.trials) do trial.results.usefulness_score = 0.5 end
  local groups = comparison.groups(d)
  lu.assertEquals({ #groups, #groups[1].figures }, { 1, 2 })             -- usefulness is alike everywhere
  lu.assertIsFalse(groups[1].figures[1].series[1].scatter)
  for k, name in ipairs { "none", "little", "much", "very_much", "most_of_all" } do
    local value = d.grid[1].values[k]
    d.grid[1].values[k], d.comparison.arms[k].value = name, name
    for _, trial in ipairs(d.trials) do
      if trial.params.rate == value then trial.params.rate = name end
    end
  end
  lu.assertIsTrue(comparison.groups(d)[1].figures[1].series[1].scatter)  -- names have no order for a line
end

local function commands(texts, colour)
  local figure = { series = { { x = {}, y = {}, colour = colour, markers = true } }, xticks = {} }
  for k, text in ipairs(texts) do
    figure.xticks[k], figure.series[1].x[k], figure.series[1].y[k] = { at = k, text = text }, k, k
  end
  return lines(figure, 1)
end

function TestComparison:test_texts_under_an_axis_do_not_meet()
  local few = { "0", "0.01", "0.1", "1", "3" }
  lu.assertNil(commands(few, 1):find("rotate", 1, true))
  lu.assertStrContains(commands(few, 1), "svg size 520,330 ")
  local long = {}
  for k = 1, 9 do long[k] = "longer_context" .. k end
  lu.assertStrContains(commands(long, 1), "set xtics nomirror rotate by 30 right (")
  lu.assertStrContains(commands(long, 1), "svg size 520,383 ")
  for k = 10, 26 do long[k] = "longer_context" .. k end
  lu.assertStrContains(commands(long, 1), "set xtics nomirror rotate by 90 right (")
end

-- A ninth series has the first one's colour: another mark and a dashed line tell them apart.
function TestComparison:test_more_series_than_colours()
  local first, ninth = commands({ "a", "b" }, 1), commands({ "a", "b" }, 9)
  lu.assertNil(first:find("dt 2", 1, true))
  lu.assertStrContains(ninth, "dt 2")
  lu.assertNotEquals(ninth:match "points pt (%d+)", first:match "points pt (%d+)")
end

function TestComparison:test_csv()
  local tables = report.tables(data())
  local text = tables[#tables].text
  lu.assertEquals(tables[#tables].name, "claims")
  lu.assertStrContains(text, "\nlast_variance,rate,,,-1,-1,")
  lu.assertStrContains(text, "\nlast_variance,,3,0,-1,-320,-75,-75,-75,the paper's direction holds\n")
end

-- ---- arms ----------------------------------------------------------------------------------------------------------

TestArms = {}

function TestArms:test_cumulative()
  local list = arms.cumulative {
    { value = "a", model = { depth = 4 } }, { value = "b", train = { weight_decay = 1 }, rejected = true },
    { value = "c", context = 32 }, { value = "d", model = { kv_heads = 1 }, train = { weight_decay = 2 } },
  }
  lu.assertEquals(list[2].note, "rejected")
  lu.assertEquals(list[2].train.weight_decay, 1)
  lu.assertNil(list[3].train.weight_decay)
  lu.assertEquals({ list[4].model, list[4].train, list[4].context }, { { depth = 4, kv_heads = 1 },
    { weight_decay = 2 }, 32 })
end

-- What would only be seen after the training is refused before it.
function TestArms:test_mistakes()
  for text, more in pairs {
    ["row 1 of the paper has no `value`"] = { paper = { { perplexity = 3 } } },
    ["perplexity in row 1 of the paper must be a number"] = { paper = { { value = 1, perplexity = "x" } } },
    ["has the sign 0"] = { claims = { { x = "a", y = "b", sign = 0 } } },
    ["a claim is of y and either x, or arm and over"] = { claims = { { x = "a", arm = 1, over = 1, y = "b",
      sign = 1 } } },
    ["the reference is no arm: 7"] = { reference = 7 }, ["the axis cannot be 'seed'"] = { axis = "seed" },
  } do
    local options = { title = "t", question = "q", axis = "a", arms = { { value = 1 } } }
    for key, value in pairs(more) do options[key] = value end
    lu.assertErrorMsgContains(text, arms.compare, {}, options)
  end
end

function TestArms:test_as_many_tokens_at_each_context()
  local train = { batch = 8, tokens = 1000, lr = 1 }
  lu.assertEquals(arms.at_context(train, 64, 256), { batch = 2, tokens = 1000, lr = 1 })
  lu.assertEquals(arms.at_context(train, 64, 16).batch, 32)
  lu.assertEquals(train.batch, 8)
  for _, context in ipairs { 1024, 100 } do
    lu.assertErrorMsgContains("no whole number of sequences", arms.at_context, train, 64, context)
  end
end

-- Experts that a token does not take cost nothing: a dense layer, and experts as wide as it in what is taken of them.
function TestArms:test_operations_of_equal_active_parameters()
  local flops = require("sonde.train.forecast").flops_per_token
  local size = { vocab = 20, width = 16, heads = 2, depth = 3, context = 8 }
  local function of(ffn)
    size.ffn = ffn
    return flops(require("sonde").transformer(size), 8)
  end
  local dense, router = of { "swiglu", hidden = 24 }, 6 * 3 * 4 * 16
  local few, many = of { "moe", experts = 4, top_k = 2, hidden = 12 }, of { "moe", experts = 4, top_k = 4, hidden = 12 }
  lu.assertAlmostEquals(few / (dense + router), 1, 0.1)        -- the router's choice, and what puts tokens in order
  lu.assertTrue(many - few > 6 * 3 * 3 * 2 * 12 * 16)
end

os.exit(lu.LuaUnit.run("-o", "tap"))
