-- The report page: what its table says, that it is well-formed and self-contained, and that it is a function of its
-- data.
local source = os.getenv("abs_srcdir") or "."
package.path = source .. "/tests/report/?.lua;" .. package.path

local lu = require "luaunit"
local fixture = require "fixture"
local html = require "sonde.report.html"
local report = require "sonde.report"
local report_data = require "sonde.report.data"
local report_export = require "sonde.report.export"
local report_figures = require "sonde.report.figures"
local report_table = require "sonde.report.table"

local has_gnuplot = os.execute("gnuplot --version >/dev/null 2>&1") == true
local has_xmllint = os.execute("xmllint --version >/dev/null 2>&1") == true

local function count(text, piece)
  local n, at = 0, 1
  while true do
    local first, last = text:find(piece, at, true)
    if not first then return n end
    n, at = n + 1, last + 1
  end
end

local function well_formed(page)
  if not has_xmllint then lu.skip("xmllint is not installed") end
  local path = os.tmpname()
  local file = assert(io.open(path, "w"))
  file:write(page)
  file:close()
  local pipe = assert(io.popen("xmllint --noout " .. path .. " 2>&1"))
  local complaint = pipe:read("a")
  pipe:close()
  os.remove(path)
  lu.assertEquals(complaint, "")
end

TestCells = {}

function TestCells:test_cell_is_mean_and_sd_over_seeds()
  local cell = report_data.view(fixture.data()):cell("pre_ln", 2)
  lu.assertEquals(cell.n, 3)
  lu.assertAlmostEquals(cell.mean, 38.2, 1e-9)
  lu.assertAlmostEquals(cell.sd, 0.1, 1e-9)
end

function TestCells:test_failed_diverged_and_missing_trials_are_counted_not_averaged()
  local data = fixture.data()
  fixture.find(data, 2, "pre_ln", 1).status = "failed"
  local diverged = fixture.find(data, 2, "pre_ln", 2)
  diverged.status, diverged.results.perplexity = "diverged", 1e9
  fixture.find(data, 2, "lns", 1).status = "queued"
  fixture.find(data, 2, "lns", 2).results.perplexity = 0 / 0
  local view = report_data.view(data)
  local pre, lns = view:cell("pre_ln", 2), view:cell("lns", 2)
  lu.assertEquals({ pre.n, pre.failed, pre.diverged, pre.missing }, { 1, 1, 1, 0 })
  lu.assertEquals({ lns.n, lns.failed, lns.diverged, lns.not_finite, lns.missing }, { 1, 0, 0, 1, 1 })
end

function TestCells:test_a_diverged_cell_is_never_the_best()
  local data = fixture.data()
  fixture.find(data, 2, "lns", 2).status = "diverged"
  lu.assertEquals(report_data.view(data):ranking(2).best, "pre_ln")
end

function TestCells:test_a_parameter_left_out_is_refused()
  local data = fixture.data()
  data.by = { "placement" }
  lu.assertErrorMsgContains("'depth' varies", report_data.view, data)
  data.where = { depth = 4 }
  lu.assertAlmostEquals(report_data.view(data):cell("lns", false).mean, 26.2, 1e-9)
end

function TestCells:test_an_unknown_parameter_is_refused()
  local data = fixture.data()
  data.by = { "placment", "depth" }
  lu.assertErrorMsgContains("no parameter 'placment'; did you mean 'placement'?", function()
    data.where = { placement = "lns" }
    report_data.view(data)
  end)
end

function TestCells:test_differences_are_paired_over_seeds()
  local data = fixture.data()
  data.reference = "pre_ln"
  for seed, value in pairs { 27, 29, 31 } do fixture.find(data, 2, "lns", seed).results.perplexity = value end
  for seed, value in pairs { 37, 40, 40 } do fixture.find(data, 2, "pre_ln", seed).results.perplexity = value end
  local d = report_data.view(data):difference("lns", 2)
  lu.assertEquals({ d.n, d.mean, d.sd }, { 3, -10, 1 })
  fixture.find(data, 2, "pre_ln", 2).status = "failed"
  lu.assertEquals(report_data.view(data):difference("lns", 2).mean, -9.5)
  data.reference = "preln"
  lu.assertErrorMsgContains("the reference 'preln' is no value of placement", report_data.view, data)
end

function TestCells:test_arrays_are_averaged_entry_by_entry()
  local data = fixture.data()
  fixture.find(data, 2, "pre_ln", 1).arrays.variance = { 5, 7 }
  fixture.find(data, 2, "pre_ln", 2).arrays.variance = { 1, 0 / 0 }
  fixture.find(data, 2, "pre_ln", 3).arrays = nil
  local found = report_data.view(data):array("pre_ln", 2, "variance", false)
  lu.assertEquals({ found.mean, found.n, found.over }, { { 3, 7 }, 2, "pair" })
  lu.assertEquals({ found.lo[1], found.hi[1] }, { 1, 5 })                -- two seeds: from one to the other
  lu.assertTrue(found.hi[2] ~= found.hi[2])                              -- 7 alone has none
  fixture.find(data, 2, "pre_ln", 2).status = "diverged"
  lu.assertEquals(report_data.view(data):array("pre_ln", 2, "variance", false).mean, { 5, 7 })
end

function TestCells:test_triangles_are_averaged_where_they_have_entries()
  local data = fixture.data()
  fixture.find(data, 2, "lns", 1).arrays.turn = { { 1, 2 }, { 3 } }
  fixture.find(data, 2, "lns", 2).arrays.turn = { { 3, 0 / 0 }, { 5 } }
  local view = report_data.view(data)
  local found = view:array("lns", 2, "turn", true)
  lu.assertEquals(found.mean, { { 2, 2 }, { 4 } })
  lu.assertEquals({ found.lo[2][1], found.hi[2][1] }, { 3, 5 })
  lu.assertEquals(view:array_names(true), { "turn" })
  lu.assertNil(view:array("pre_ln", 2, "turn", true))
end

function TestCells:test_one_seed_has_the_probes_own_intervals()
  local data = fixture.data()
  for seed = 2, 3 do fixture.find(data, 2, "lns", seed).arrays = nil end
  local trial = fixture.find(data, 2, "lns", 1)
  trial.arrays.variance, trial.intervals = { 1, 2 }, { variance = { { 0.5, 1.5 }, { 1.8, 2.1 } } }
  local found = report_data.view(data):array("lns", 2, "variance", false)
  lu.assertEquals({ found.lo, found.hi, found.over }, { { 0.5, 1.8 }, { 1.5, 2.1 }, "window" })
  trial.intervals = nil
  lu.assertNil(report_data.view(data):array("lns", 2, "variance", false).over)
end

function TestCells:test_curves_are_averaged_step_by_step_and_thinned()
  local data = fixture.data()
  for seed = 1, 3 do
    local history = {}
    for step = 1, 300 do history[step] = { tokens = step, loss = step + seed } end
    fixture.find(data, 2, "pre_ln", seed).history = history
  end
  local points = report_data.view(data):curve("pre_ln", 2, "tokens", "loss")
  lu.assertEquals(#points, 100)
  lu.assertEquals(points[1], { x = 2, y = 4 })
end

TestTable = {}

function TestTable:test_decimals_follow_the_spread()
  lu.assertEquals(report_table.mean_sd { n = 3, mean = 41.3219, sd = 0.1834 }, "41.32 ± 0.18")
  lu.assertEquals(report_table.mean_sd { n = 3, mean = 1411.8, sd = 27.1 }, "1412 ± 27")
  lu.assertEquals(report_table.mean_sd { n = 1, mean = 41.3219 }, "41.32")
  lu.assertEquals(report_table.mean_sd { n = 0 }, "–")
  lu.assertEquals(report_table.mean_sd { n = 2, mean = 5, sd = 0 }, "5.000 ± 0")
  lu.assertEquals(report_table.mean_sd { n = 2, mean = 0, sd = 0 }, "0 ± 0")
end

function TestTable:test_numbers_keep_significant_digits()
  lu.assertEquals(report_table.number(0.012345, 3), "0.0123")
  lu.assertEquals(report_table.number(1234.5, 3), "1234")
  lu.assertEquals(report_table.number(2.5e9, 3), "2.50e+09")
  lu.assertEquals(report_table.number(0, 3), "0.000")
end

function TestTable:test_text_marks_the_best_that_stands_apart()
  local text = report.text(fixture.data())
  lu.assertStrContains(text, "lns        28.20 ± 0.10 *  26.20 ± 0.10 *\n")
  lu.assertStrContains(text, "pre_ln     38.20 ± 0.10    36.20 ± 0.10\n")
end

function TestTable:test_overlapping_cells_are_not_ranked()
  local data = fixture.data()
  for seed = 1, 3 do fixture.find(data, 2, "lns", seed).results.perplexity = 38.15 + 0.1 * seed end
  local sentences = report_table.conclusions(report_data.view(data))
  lu.assertEquals(sentences[1], "depth 2: no ranking of pre_ln, lns: their 95 % intervals overlap.")
  lu.assertStrContains(sentences[2], "depth 4: lns is lowest")
  lu.assertEquals(count(report.text(data), " ~"), 2)
  lu.assertStrContains(report.text(data), "\n~ 95 % intervals overlap: not told apart from the best\n")
end

function TestTable:test_seeds_that_differ_widely_show_their_range()
  local data = fixture.data()
  for seed, value in pairs { 56, 371, 372 } do fixture.find(data, 4, "lns", seed).results.perplexity = value end
  lu.assertStrContains(report.text(data), "(56.0 to 372)")
  lu.assertEquals(count(report.text(data), " to "), 1)
end

function TestTable:test_one_seed_is_never_ranked()
  local data = fixture.data()
  for _, trial in ipairs(data.trials) do
    if trial.params.seed > 1 then trial.status = "queued" end
  end
  local sentence = report_table.conclusions(report_data.view(data))[1]
  lu.assertStrContains(sentence, "no ranking of pre_ln, lns: a single value shows no spread.")
end

TestPage = {}

function TestPage:test_page_is_well_formed()
  well_formed((report.render(fixture.data())))
end

function TestPage:test_page_fetches_nothing()
  local page = report.render(fixture.data())
  for _, attribute in ipairs { "src", "href", "xlink:href", "action", "data", "poster" } do
    for value in page:gmatch("%s" .. attribute .. "=[\"'](.-)[\"']") do
      lu.assertNil(value:match("^%a+:") and not value:match("^data:") and value or nil)
      lu.assertNil(value:match("^//"))
    end
  end
  lu.assertNil(page:find("<script", 1, true))
  lu.assertNil(page:find("@import", 1, true))
  lu.assertNil(page:find("url(", 1, true))
end

function TestPage:test_same_data_gives_the_same_bytes()
  local first = report.render(fixture.data())
  lu.assertIsTrue(first == report.render(fixture.data()))
end

function TestPage:test_special_characters_are_escaped()
  local data = fixture.data()
  local nasty = "<script>alert('x')</script> & \"q\" \1 \255"
  data.title, data.question, data.command, data.notes = nasty, nasty, nasty, { nasty }
  data.provenance, data.configs = { { nasty, nasty } }, { { nasty, nasty } }
  local trial = data.trials[1]
  trial.status, trial.reason, trial.id, trial.link = "failed", nasty, nasty, nasty
  for _, each in ipairs(data.trials) do
    if each.params.placement == "lns" then each.params.placement = nasty end
    each.arrays[nasty] = { 1, 2 }
  end
  data.grid[2].values[2] = nasty
  local page = report.render(data)
  lu.assertNil(page:find("<script", 1, true))
  well_formed(page)
end

function TestPage:test_figures_are_inside()
  if not has_gnuplot then lu.skip("gnuplot is not installed") end
  local page, reason = report.render(fixture.data())
  lu.assertNil(reason)
  -- perplexity, two panels each of variance, gradient norm, loss and variance over training
  lu.assertEquals(count(page, "<svg "), 9)
  lu.assertStrContains(page, "Residual variance along the depth")
  lu.assertNil(page:find("rgb(", 1, true))
end

function TestPage:test_ids_are_unique()
  local data, seen = fixture.data(), {}
  for _, trial in ipairs(data.trials) do trial.arrays.turn = { { 1, 2, 3 }, { 4, 5 }, { 6 } } end
  local page = report.render(data)
  well_formed(page)
  for id in page:gmatch("%sid=[\"'](.-)[\"']") do
    lu.assertNil(seen[id], "id " .. id)
    seen[id] = true
  end
  for target in page:gmatch("href=[\"']#(.-)[\"']") do lu.assertNotNil(seen[target], "target " .. target) end
end

function TestPage:test_without_gnuplot_the_table_stays_and_the_page_says_so()
  local page, reason = report.render(fixture.data(), { gnuplot = "no-such-gnuplot" })
  lu.assertStrContains(reason, "install gnuplot-nox")
  lu.assertStrContains(page, html.escape(reason))
  lu.assertStrContains(page, "28.20 ± 0.10")
  lu.assertNil(page:find("<svg", 1, true))
  well_formed(page)
end

function TestPage:test_failed_trials_stand_with_their_reason()
  local data = fixture.data()
  data.trials[1].status, data.trials[1].reason, data.trials[1].results = "failed", "needs 31 GiB, 24 are here", {}
  local page = report.render(data)
  lu.assertStrContains(page, "needs 31 GiB, 24 are here")
  lu.assertStrContains(page, "12 trials: 11 done, 1 failed")
end

function TestPage:test_a_sweep_without_any_result_still_gives_a_page()
  local data = fixture.data()
  for _, trial in ipairs(data.trials) do
    trial.status, trial.results, trial.arrays, trial.history = "queued", {}, nil, nil
  end
  well_formed((report.render(data)))
end

function TestPage:test_differences_stand_with_their_intervals()
  local data = fixture.data()
  lu.assertNil((report.render(data)):find("Difference from", 1, true))
  data.reference = "pre_ln"
  for seed, value in pairs { 27, 29, 31 } do fixture.find(data, 2, "lns", seed).results.perplexity = value end
  for seed, value in pairs { 37, 40, 40 } do fixture.find(data, 2, "pre_ln", seed).results.perplexity = value end
  lu.assertStrContains(report.render(data), "<strong>−10.0 [−12.5, −7.5]</strong>")
end

TestBlocks = {}

local function group_of(data, id)
  for _, group in ipairs(report_figures.groups(report_data.sections(data))) do
    if group.id == id then return group end
  end
end

function TestBlocks:test_what_a_script_says_of_its_lists()
  local data, quantity = fixture.data(), require "sonde.report.quantity"
  for _, trial in ipairs(data.trials) do
    trial.arrays.draws_of_mine, trial.arrays.own_matrix = { 1, 2, 3 }, { { 1, 2 }, { 3, 4 } }
  end
  lu.assertNotNil(group_of(data, "array-draws_of_mine"))
  quantity.register("draws_of_mine", { axis = "draws", figure = false })
  quantity.register("own_matrix", { axis = "clips", axes = { "class", "taken for" } })
  lu.assertNil(group_of(data, "array-draws_of_mine"))
  local heat = group_of(data, "matrix-own_matrix").figures[1]
  lu.assertEquals({ heat.ylabel, heat.xlabel, heat.key }, { "class", "taken for", "clips" })
end

-- Blocks count from 0, as in JSON and in commands; how many blocks from 1.
function TestBlocks:test_count_from_0()
  local data = fixture.data()
  for _, trial in ipairs(data.trials) do
    trial.arrays.angular_distances, trial.arrays.own = { { 0.1, 0.2 }, { 0.3 } }, { { 1 }, { 2 } }
  end
  local list = group_of(data, "array-variance").figures[2]
  lu.assertEquals(list.series[1].x, { 0, 1, 2, 3 })
  lu.assertEquals(list.xticks, { 0, 1, 2, 3 })
  local heat = group_of(data, "matrix-angular_distances").figures[1]
  lu.assertEquals({ heat.xlabel, heat.xticks, heat.ylabel, heat.yticks }, { "first block", 0, "blocks n", 1 })
  local commands = require("sonde.report.plot.heat")(heat, 1)
  lu.assertStrContains(commands, "set xtics nomirror scale 0 ('0' 1, '1' 2)")
  lu.assertStrContains(commands, "set ytics nomirror scale 0 ('1' 1, '2' 2)")
  local own = group_of(data, "matrix-own").figures[1]
  lu.assertEquals({ own.xlabel, own.xticks, own.yticks }, { "column", 0, 0 })
end

-- Seeds 1, 2, 3 of a mean of 10: 10 ± 4.303 * 0.1 / sqrt(3).
function TestBlocks:test_figures_have_bands_over_seeds_and_the_caption_says_so()
  local data = fixture.data()
  for _, trial in ipairs(data.trials) do
    trial.arrays.layer_removal = { 9.8 + 0.1 * trial.params.seed, 1 }
    trial.arrays.turn = { { 9.8 + 0.1 * trial.params.seed } }
  end
  local group = group_of(data, "array-layer_removal")
  local s = group.figures[1].series[1]
  lu.assertAlmostEquals(s.hi[1] - s.y[1], 0.24841, 1e-4)
  lu.assertAlmostEquals(s.y[1] - s.lo[1], 0.24841, 1e-4)
  lu.assertStrContains(group.caption, "Mean over seeds; bands are 95 % Student intervals over seeds.")
  lu.assertStrContains(require("sonde.report.plot.lines")(group.figures[1], 1), "with filledcurves")
  local heat = group_of(data, "matrix-turn")
  lu.assertStrContains(heat.caption, "95 % Student intervals over seeds: median 0.25, largest 0.25.")
  local csv = report_export.means_csv(report_data.sections(data)[1].views)
  lu.assertStrContains(csv, "placement,depth,array,row,column,trials,mean,low,high,over\n")
  lu.assertStrContains(csv, "\npre_ln,2,turn,0,0,3,10,9.7515")
end

function TestBlocks:test_bands_of_one_seed_are_the_probes_or_none()
  local data = fixture.data()
  for _, trial in ipairs(data.trials) do
    trial.arrays.layer_removal, trial.intervals = { 1, 2 }, { layer_removal = { { 0, 3 }, { 1, 4 } } }
    if trial.params.seed > 1 then trial.status = "queued" end
  end
  local group = group_of(data, "array-layer_removal")
  lu.assertEquals({ group.figures[1].series[1].lo, group.figures[1].series[1].hi }, { { 0, 1 }, { 3, 4 } })
  lu.assertStrContains(group.caption, "Of one seed: bands are the probe's 95 % intervals over windows of text")
  lu.assertStrContains(group_of(data, "array-variance").caption, "Of one seed, without an interval.")
end

-- Two seeds far apart have an interval that would press the lines together.
function TestBlocks:test_bands_do_not_hide_the_lines()
  local data = fixture.data()
  for _, trial in ipairs(data.trials) do trial.arrays.layer_removal = { trial.params.seed ^ 4, 100 } end
  local group = group_of(data, "array-layer_removal")
  lu.assertAlmostEquals(group.figures[1].yhigh, 100 + (100 - 98 / 3) / 2, 1e-6)
  lu.assertStrContains(group.caption, "they are cut where they leave the figure")
end

-- Bands of many lines would hide these: the intervals are in the data alone.
function TestBlocks:test_many_lines_have_no_bands()
  for _, many in ipairs { 8, 9 } do
    local data = fixture.data()
    data.grid[2].values = {}
    for k = 1, many do data.grid[2].values[k] = k end
    for k, trial in ipairs(data.trials) do trial.params.placement = trial.params.placement == "pre_ln" and 1 or 2
      trial.arrays = { layer_removal = { k } } end
    for k = 3, many do
      for seed = 1, 3 do
        table.insert(data.trials, { id = k .. "," .. seed, params = { depth = 2, placement = k, seed = seed },
          status = "done", results = { perplexity = 1 }, arrays = { layer_removal = { k + seed } }, history = {} })
      end
    end
    local group = group_of(data, "array-layer_removal")
    lu.assertEquals(#group.figures[1].series, many)
    lu.assertEquals(group.figures[1].series[3].lo ~= nil, many == 8)
    lu.assertStrContains(group.caption, many == 8 and "bands are 95 %" or "the data below have 95 % Student intervals")
    local commands = require("sonde.report.plot.lines")(group.figures[1], 1)
    lu.assertEquals(commands:find("filledcurves", 1, true) ~= nil, many == 8)
  end
end

function TestBlocks:test_panels_stand_in_the_order_of_the_grid()
  local data = fixture.data()
  for _, id in ipairs { "array-variance", "curve-loss" } do
    local figures = group_of(data, id).figures
    lu.assertEquals({ figures[1].title, figures[2].title }, { "depth 2", "depth 4" })
  end
end

TestAxes = {}

function TestAxes:test_every_log_axis_has_numbers()
  local commands = require "sonde.report.plot.lines"
  for _, low in ipairs { 1e-7, 0.0731, 0.98, 1.04, 2.03, 3.1, 9.2, 4096 } do
    for decades = 0, 60 do
      local high = low * 10 ^ (0.0005 * 1.2 ^ decades - 0.0005)
      local drawn = commands({ xlabel = "", ylabel = "", ylog = true, series = { { colour = 1, x = { 0, 1 },
        y = { low, high } } } }, 1)
      local labels, seen = drawn:match "set ytics nomirror %((.-)%)", {}
      for label in (labels or ""):gmatch "'([^']+)' " do seen[#seen + 1] = label end
      lu.assertTrue(#seen >= 2 and #seen <= 14, ("%g to %g: %s"):format(low, high, table.concat(seen, " ")))
    end
  end
end

TestExport = {}

function TestExport:test_csv_quotes_what_needs_it()
  local data = fixture.data()
  data.trials[1].reason = "a \"b\", c\nd"
  local csv = report_export.trials_csv(data)
  lu.assertStrContains(csv, "trial,depth,placement,seed,status,seconds,perplexity,reason\n")
  lu.assertStrContains(csv,
    "\"depth=2,placement=pre_ln,seed=1\",2,pre_ln,1,done,61.5,38.100000000000001,\"a \"\"b\"\", c\nd\"")
end

function TestExport:test_matrices_become_rows_and_columns()
  local data = { trials = { { id = "t", arrays = { m = { { 1, 2 }, { 3, 4 } }, v = { 5 } } } } }
  lu.assertEquals(report_export.arrays_csv(data),
    "trial,array,row,column,value\nt,m,0,0,1\nt,m,0,1,2\nt,m,1,0,3\nt,m,1,1,4\nt,v,0,0,5\n")
  data.trials[1].arrays = { angular_distances = { { 7 } } }      -- by how many blocks, and the first of them
  lu.assertStrContains(report_export.arrays_csv(data), "\nt,angular_distances,1,0,7\n")
  lu.assertNil(report_export.arrays_csv { trials = { { id = "t" } } })
end

function TestExport:test_addresses_are_encoded()
  lu.assertEquals(html.path("depth=2,a b#c/x?y%"), "depth=2,a%20b%23c/x%3Fy%25")
  lu.assertEquals(html.data_uri("text/csv", "a,b\n\"\""), "data:text/csv;charset=utf-8,a,b%0A%22%22")
end

-- A style sheet that is not one leaves a page without colours and sizes, and nothing else tells.
function TestExport:test_the_style_sheet_is_one()
  local css = require "sonde.report.style"
  css = type(css) == "function" and css() or css
  css = string.gsub(css, "@media[^{]*(%b{})", function(inner) return inner:sub(2, -2) end)
  local rules, defined = 0, {}
  local rest = string.gsub(css, "([^{}]*)(%b{})", function(selector, block)
    rules = rules + 1
    lu.assertStrMatches(selector, "%s*[%a%.:*#][^;]*")
    for declaration in string.gmatch(block:sub(2, -2), "[^;]+") do
      local name = string.match(declaration, "^%s*([%a-][%w-]*):%S")
      lu.assertNotNil(name, selector .. ": " .. declaration)
      defined[name] = true
    end
    return ""
  end)
  lu.assertStrMatches(rest, "%s*")
  lu.assertTrue(rules > 40, rules)
  for name in string.gmatch(css, "var%((%-%-[%w]+)%)") do lu.assertTrue(defined[name], name) end
end

os.exit(lu.LuaUnit.run("-o", "tap"))
