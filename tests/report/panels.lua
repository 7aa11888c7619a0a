-- Pages whose tables and figures stand side by side by a further parameter, of several metrics, with another sweep
-- below.
local source = os.getenv("abs_srcdir") or "."
package.path = source .. "/tests/report/?.lua;" .. package.path

local lu = require "luaunit"
local core = require "sonde.core"
local fixture = require "fixture"
local report = require "sonde.report"
local report_data = require "sonde.report.data"
local report_table = require "sonde.report.table"
local sonde = require "sonde"

local has_gnuplot = os.execute("gnuplot --version >/dev/null 2>&1") == true

local function count(text, piece)
  local n = 0
  for _ in text:gmatch((piece:gsub("%p", "%%%0"))) do n = n + 1 end
  return n
end

-- rise = base of the strategy + share, under lns twice that; a spread over seeds; "none" at share 0 alone.
local function data()
  local d = { name = "pruned", metric = { "rise", "loss_pruned" }, by = { "strategy", "share" }, panels = "placement",
    reference = "pre_ln", intervals = true, trials = {}, command = "sonde run x.lua",
    grid = { { name = "placement", values = { "pre_ln", "lns" } }, { name = "share", values = { 0, 0.25, 0.5 } },
      { name = "strategy", values = { "none", "last", "angular", "influence" } },
      { name = "seed", values = { 1, 2, 3 } } } }
  local base = { none = 0, last = 4, angular = 2, influence = 2.001 }
  for _, placement in ipairs(d.grid[1].values) do
    for _, share in ipairs(d.grid[2].values) do
      for _, strategy in ipairs(d.grid[3].values) do
        for seed = 1, 3 do
          if (share == 0) == (strategy == "none") then
            local rise = (placement == "lns" and 2 or 1) * (base[strategy] + share) + 0.01 * seed
            d.trials[#d.trials + 1] = { id = #d.trials .. "", status = "done", seconds = 1, arrays = {}, history = {},
              params = { placement = placement, share = share, strategy = strategy, seed = seed },
              results = { rise = rise, loss_pruned = 3 + rise } }
          end
        end
      end
    end
  end
  return d
end

TestPanels = {}

function TestPanels:test_a_view_for_each_metric_and_panel()
  local sections = report_data.sections(data())
  lu.assertEquals({ #sections, #sections[1].views, sections[2].metric }, { 2, 2, "loss_pruned" })
  local pre, lns = sections[1].views[1], sections[1].views[2]
  lu.assertEquals({ pre.panel, lns.panel }, { "pre_ln", "lns" })
  lu.assertAlmostEquals(pre:cell("last", 0.25).mean, 4.27, 1e-9)
  lu.assertAlmostEquals(lns:cell("last", 0.25).mean, 8.52, 1e-9)
end

function TestPanels:test_differences_are_from_the_reference_panel_paired_over_seeds()
  local views = report_data.sections(data())[1].views
  lu.assertFalse(views[1]:compares())
  local d = views[2]:difference("angular", 0.5)
  lu.assertAlmostEquals(d.mean, 2.5, 1e-9)
  lu.assertAlmostEquals(d.sd, 0, 1e-9)
  lu.assertEquals(views[2]:difference_name(), "difference from pre_ln")
  local wrong = data()
  wrong.reference = "prelm"
  lu.assertErrorMsgContains("the reference 'prelm' is no value of placement", report_data.sections, wrong)
end

function TestPanels:test_overlapping_strategies_are_not_ranked_and_points_without_trials_are_not_missed()
  local view = report_data.sections(data())[1].views[1]
  local sentences = report_table.conclusions(view)
  lu.assertEquals(sentences[1], "share 0: nothing to compare.")
  lu.assertEquals(sentences[2], "share 0.25: no ranking of angular, influence: their 95 % intervals overlap.")
  lu.assertEquals(view:cell("none", 0.5).missing, 0)
  lu.assertNil(report_table.text(view):match "\nnone[^\n]*%*")          -- a cell alone in its column is not the best
end

function TestPanels:test_the_page()
  local d = data()
  d.beside = fixture.data()
  d.beside.title = "The other sweep"
  local page = report.render(d)
  local seen = {}
  for id in page:gmatch("%sid=[\"'](.-)[\"']") do
    lu.assertNil(seen[id], "id " .. id)
    seen[id] = true
  end
  for _, id in ipairs { "result-rise", "result-loss_pruned", "beside-result", "trials", "beside-trials" } do
    lu.assertTrue(seen[id], id)
  end
  lu.assertStrContains(page, "placement lns")
  lu.assertStrContains(page, "Difference from pre_ln")
  lu.assertStrContains(page, "The other sweep")
  lu.assertStrContains(page, "+2.50")
  if has_gnuplot then
    lu.assertEquals(count(page, "<svg "), 4 + 9)                 -- two metrics, two panels; and the fixture's
    lu.assertStrContains(page, "95 % Student intervals")
  end
  local text = report.text(d)
  lu.assertStrContains(text, "pruned: rise, placement lns, mean ± sd over 3 seeds")
  lu.assertStrContains(text, "fixture: perplexity, mean ± sd over 3 seeds")
end

function TestPanels:test_intervals_or_sd()
  local figures = require "sonde.report.figures"
  local d = data()
  local function bar()
    local s = figures.groups(report_data.sections(d))[1].figures[1].series[3]    -- after none and its dots: last
    return s.hi[2] - s.y[2]
  end
  lu.assertAlmostEquals(bar(), 4.302653 * 0.01 / math.sqrt(3), 1e-6)
  d.intervals = false
  lu.assertAlmostEquals(bar(), 0.01, 1e-9)
end

function TestPanels:test_a_runaway_series_gets_the_others_a_closer_look()
  local figures = require "sonde.report.figures"
  local d = data()
  for _, trial in ipairs(d.trials) do
    if trial.params.strategy == "last" then trial.results.rise = 40 + trial.params.seed end
  end
  local groups = figures.groups(report_data.sections(d))
  lu.assertEquals({ #groups[1].figures, #groups[2].figures }, { 4, 2 })
  local detail = groups[1].figures[4]
  lu.assertEquals(detail.title, "placement lns, close-up")
  lu.assertTrue(detail.ytop > 5 and detail.ytop < 6 and detail.ybottom > -0.1, detail.ytop .. " " .. detail.ybottom)
  lu.assertNil(groups[1].figures[2].ytop)
end

TestOwn = {}

-- Figures and tables that a script made are shown first, in this order; long tables are folded.
function TestOwn:test_figures_and_tables_of_the_script()
  local d = data()
  local rows = {}
  for k = 1, 25 do rows[k] = { "row " .. k, k % 2 == 0 and "−1.5" or "–", "some words" } end
  local series = { { label = "a", colour = 1, x = { 1, 2 }, y = { 3, 4 } } }
  d.figures = { { title = "Own curves", caption = "What they are.",
    figures = { { xlabel = "x", ylabel = "y", alt = "own", series = series } } } }
  d.tables = { { title = "Long", head = { "what", "number", "why" }, rows = rows },
    { title = "Short", head = { "what", "number" }, rows = { { "one", "1" } } } }
  local page = report.render(d)
  lu.assertEquals(count(page, '<td class="words">some words</td>'), 25)
  lu.assertEquals(count(page, "<td>−1.5</td>"), 12)
  lu.assertStrContains(page, "<details><summary>25 rows</summary>")
  lu.assertTrue(page:find(">Long</h2>", 1, true) < page:find(">Short</h2>", 1, true))
  lu.assertNil(page:match "Short</h2><details")
  if has_gnuplot then
    lu.assertTrue(page:find(">Own curves</h2>", 1, true) < page:find(">Long</h2>", 1, true))
    lu.assertStrContains(page, 'id="own-1"')
    lu.assertEquals(count(page, "<svg "), 4 + 1)
  end
  local without = report.render(d, { gnuplot = "no-such-program" })
  lu.assertNil(without:find("Own curves", 1, true))
  lu.assertStrContains(without, "no-such-program")
end

TestOnly = {}

function TestOnly:test_points_that_are_no_trials()
  local root = os.tmpname()
  os.remove(root)
  local sweep = sonde.sweep { name = "s", root = root, grid = { a = { 0, 1 }, b = { "x", "y" }, seed = { 1 } },
    only = function(p) return (p.a == 0) == (p.b == "x") end }
  local ran = {}
  sweep:run(function(trial, p)
    ran[#ran + 1] = p.a .. p.b
    trial:report { value = p.a }
  end)
  lu.assertEquals(ran, { "0x", "1y" })
  local results = sweep:results()
  lu.assertEquals({ #results.trials, results.trials[2].results.value }, { 2, 1 })
  core.remove_tree(root)
  lu.assertErrorMsgContains("'only' leaves no trial", sonde.sweep,
    { name = "s", root = root, grid = { a = { 0 } }, only = function() return false end })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
