-- Sweeps as nobody plans them: trials that fail anywhere, numbers that are none, metrics that are misspelt, odd names.
-- Each gives a page that a parser takes, or one line that says what is wrong.
local source = os.getenv("abs_srcdir") or "."
package.path = source .. "/tests/report/?.lua;" .. package.path

local lu = require "luaunit"
local core = require "sonde.core"
local fixture = require "fixture"
local report = require "sonde.report"
local report_data = require "sonde.report.data"
local report_export = require "sonde.report.export"
local report_figures = require "sonde.report.figures"
local sonde = require "sonde"

local has_xmllint = os.execute("xmllint --version >/dev/null 2>&1") == true
local has_gnuplot = os.execute("gnuplot --version >/dev/null 2>&1") == true
local base = os.tmpname()
os.remove(base)
local rooms = 0

local function room()
  rooms = rooms + 1
  core.mkdirs(base .. "/" .. rooms)
  return base .. "/" .. rooms
end

-- Runs f with what it prints, on either stream of this process, kept away from the test's own output.
local function silently(f, ...)
  local print_, write, lines = print, io.stderr, {}
  _G.print = function(text) lines[#lines + 1] = tostring(text) end
  io.stderr = { write = function(_, ...) lines[#lines + 1] = table.concat { ... } end, flush = function() end }
  local results = table.pack(pcall(f, ...))
  _G.print, io.stderr = print_, write
  return table.concat(lines, "\n"), table.unpack(results, 1, results.n)
end

local function sweep_of(root, grid, f, more)
  local options = { name = "s", root = root, grid = grid }
  for key, value in pairs(more or {}) do options[key] = value end
  local sweep = sonde.sweep(options)
  local shown = silently(sweep.run, sweep, f)
  return sweep, shown
end

local function summary(sweep, options)
  local shown, ok, path = silently(sweep.summary, sweep, options)
  return ok, path, shown
end

-- The fields of CSV text, as RFC 4180 has them.
local function csv_rows(text)
  local rows, row, at = {}, {}, 1
  while at <= #text do
    local value
    if text:sub(at, at) == '"' then
      local stop = at
      repeat stop = text:find('"', stop + 1, true) + 1 until text:sub(stop, stop) ~= '"'
      value, at = text:sub(at + 1, stop - 2):gsub('""', '"'), stop
    else
      local stop = text:find("[,\n]", at)
      value, at = text:sub(at, stop - 1), stop
      lu.assertNil(value:find '["\r]')
    end
    row[#row + 1] = value
    local after = text:sub(at, at)
    at = at + 1
    if after == "\n" then rows[#rows + 1], row = row, {} else lu.assertEquals(after, ",") end
  end
  lu.assertEquals(#row, 0)
  return rows
end

-- Every line as wide as the heading, no heading twice.
local function check_table(name, text)
  local rows, seen = csv_rows(text), {}
  for _, title in ipairs(rows[1]) do
    lu.assertNil(seen[title], name .. " has two columns " .. title)
    seen[title] = true
  end
  for r, row in ipairs(rows) do lu.assertEquals(#row, #rows[1], name .. " line " .. r) end
  return rows
end

-- ---- single faults ----------------------------------------------------------------------------------------------

TestMetrics = {}

function TestMetrics:test_a_metric_that_nobody_reported_is_named_with_the_nearest()
  local sweep = sweep_of(room(), { depth = { 1, 2 } }, function(trial)
    trial:report { perplexity = 3, kind = "plain", map = { 1, 2 } }
  end)
  for metric, text in pairs {
    perplxity = "summary of 's': no trial reported 'perplxity'; did you mean 'perplexity'?",
    accuracy = "summary of 's': no trial reported 'accuracy'; known: perplexity",
    kind = "summary of 's': 'kind' is reported as a string; a metric is a number",
    map = "summary of 's': 'map' is reported as a list; a metric is a number",
  } do
    local ok, message = summary(sweep, { by = { "depth" }, metric = metric })
    lu.assertEquals({ ok, message }, { false, text })
  end
  lu.assertFalse(core.exists(sweep.folder .. "/report.html"))
end

-- Where nothing is done, the name may be right: the page says what failed.
function TestMetrics:test_a_sweep_whose_trials_all_failed_has_a_page()
  local sweep = sweep_of(room(), { depth = { 1, 2 } }, function(trial, p)
    core.write_file(trial.dir .. "/metrics.jsonl", '{"step":1,"tokens":8,"train/loss":2,"block/variance":[1,2]}\n')
    trial:report { score = 1, variance = { 1, 2 } }
    error("a mistake after the training of depth " .. p.depth, 0)
  end)
  local ok, path, shown = summary(sweep, { by = { "depth" }, metric = "score" })
  lu.assertTrue(ok, path)
  lu.assertStrContains(shown, "no value yet")
  lu.assertStrContains(core.read_file(path), "a mistake after the training of depth 2")
end

function TestMetrics:test_trials_that_lack_the_number_are_counted_as_that()
  local sweep = sweep_of(room(), { depth = { 1 }, seed = { 1, 2, 3 } }, function(trial, p)
    trial:report(p.seed == 3 and { other = 1 } or { score = p.seed })
  end)
  local _, _, shown = summary(sweep, { by = { "depth" }, metric = "score" })
  lu.assertStrContains(shown, "1.50 ± 0.71 (1 without this number)")
  lu.assertNil(shown:find("diverged", 1, true))
end

function TestMetrics:test_a_number_that_is_not_finite_leaves_the_others()
  local sweep = sweep_of(room(), { seed = { 1, 2 } }, function(trial, p)
    trial.run:report { spread = 7 }                -- what a training would have put there
    trial:report { score = 10 + p.seed, spread = p.seed == 1 and 0 / 0 or 5, map = { 1, 2 } }
  end)
  lu.assertEquals({ sweep.trials[1].status, sweep.trials[1].reason }, { "done", "spread is not finite" })
  local view = report_data.sections(sweep:results { by = { "seed" }, metric = { "score", "spread" } })
  lu.assertEquals(view[1].views[1]:cell(1, false).values, { 11 })
  local cell = view[2].views[1]:cell(1, false)
  lu.assertEquals({ cell.values, cell.not_finite, cell.diverged }, { {}, 1, 0 })
  lu.assertEquals(core.json_load(sweep.trials[1].dir .. "/run.json").results.spread, nil)
  lu.assertNotNil(view[1].views[1]:array(1, false, "map", false))
end

-- Numbers from before the training went wrong stand; what the training itself recorded does not.
function TestMetrics:test_of_a_training_that_diverged_counts_what_was_reported_before()
  local sweep = sweep_of(room(), { seed = { 1 } }, function(trial)
    trial:report { before = 3, loss = 2 }
    trial.run:describe { diverged = "loss 99 at step 3" }
    trial.run:report { loss = 99 }
  end)
  lu.assertEquals(sweep.trials[1].status, "diverged")
  local sections = report_data.sections(sweep:results { by = { "seed" }, metric = { "before", "loss" } })
  lu.assertEquals(sections[1].views[1]:cell(1, false).values, { 3 })
  local cell = sections[2].views[1]:cell(1, false)
  lu.assertEquals({ cell.values, cell.diverged }, { {}, 1 })
end

TestOneSeed = {}

function TestOneSeed:test_nothing_is_told_apart_or_not()
  local data = fixture.data()
  for k = #data.trials, 1, -1 do
    if data.trials[k].params.seed > 1 then table.remove(data.trials, k) end
  end
  local text = report.text(data)
  lu.assertStrContains(text, "fixture: perplexity, of 1 seed\n")
  lu.assertStrContains(text, "\na cell of one seed has no spread, and is not ranked")
  for _, sign in ipairs { "~", "*", "±", "interval" } do lu.assertNil(text:find(sign, 1, true), sign) end
  local page = report.render(data, { gnuplot = "no-gnuplot" })
  lu.assertNil(page:find("not told apart", 1, true))
  lu.assertStrContains(page, "no ranking of pre_ln, lns: a single value shows no spread.")
end

-- Seeds that the function does not use give the same weights: no spread may be made of them.
function TestOneSeed:test_copies_are_no_repetitions()
  local data = fixture.data()
  for _, trial in ipairs(data.trials) do
    trial.results.state_sha256 = trial.params.placement == "lns" and "same" .. trial.params.depth or trial.id
  end
  local text = report.text(data)
  lu.assertStrContains(text, "4 of 12 trials ended in the same weights as another that only seed tells apart")
  lu.assertStrContains(text, "does the function use p.seed?")
  lu.assertNil(text:find("lns[^\n]*±"))
  lu.assertStrContains(report.render(data, { gnuplot = "no-gnuplot" }), "does the function use p.seed?")
  lu.assertNil(report.text(fixture.data()):find("same weights", 1, true))
end

TestText = {}

-- Only where training had validation text may a page speak of it.
function TestText:test_a_training_loss_is_never_called_validation()
  for _, case in ipairs { { true, "validation perplexity" }, { false, "training perplexity" },
      { nil, "perplexity" } } do
    local data = fixture.data()
    for _, trial in ipairs(data.trials) do trial.validated = case[1] end
    local figure = report_figures.groups(report_data.sections(data))[1]
    lu.assertEquals(figure.figures[1].ylabel, case[2])
    lu.assertEquals(report.text(data):find("of the training text", 1, true) ~= nil, case[1] == false)
    local page = report.render(data, { gnuplot = "no-gnuplot" })
    lu.assertEquals(page:find("validation text", 1, true) ~= nil, case[1] == false)
  end
  local data = fixture.data()
  for k, trial in ipairs(data.trials) do trial.validated = k > 1 end
  lu.assertEquals(report_figures.groups(report_data.sections(data))[1].figures[1].ylabel, "perplexity")
  lu.assertStrContains(table.concat(report_data.notes(data)), "1 of 12 trials had no validation text")
end

-- A name that begins with a quote once ended gnuplot's text, and with it all figures.
function TestText:test_names_of_any_kind_are_drawn()
  if not has_gnuplot then lu.skip("gnuplot is not installed") end
  for _, name in ipairs { "'; rm -rf x", "''", "a'b", "`date`", "\\\\", "$(x)", "@x", '"', "größer", "\n'" } do
    local data = fixture.data()
    data.grid[2].values[1], data.title = name, name
    for _, trial in ipairs(data.trials) do
      if trial.params.placement == "pre_ln" then trial.params.placement = name end
      trial.arrays.map = { { 1, 2 }, { 3, 4 } }
    end
    local _, reason = report.render(data)
    lu.assertNil(reason)
  end
end

TestPanelFigures = {}

function TestPanelFigures:test_panels_and_several_metrics_keep_the_figures_along_the_blocks()
  local data = fixture.data()
  data.by, data.panels, data.metric = { "depth" }, "placement", { "perplexity", "other" }
  for _, trial in ipairs(data.trials) do
    trial.results.other, trial.arrays.map = 1, { { 1, 2 }, { 3, 4 } }
  end
  local groups, ids = report_figures.groups(report_data.sections(data)), {}
  for _, group in ipairs(groups) do
    ids[#ids + 1] = group.id
    if group.id == "array-variance" then
      lu.assertEquals({ #group.figures, group.figures[2].title }, { 2, "placement lns" })
      lu.assertEquals(group.figures[1].yhigh, group.figures[2].yhigh)
    elseif group.id == "matrix-map" then
      lu.assertEquals({ #group.figures, group.figures[4].title }, { 4, "placement lns, depth 4" })
    end
  end
  lu.assertStrContains(table.concat(ids, " "), "array-variance array-grad_norm matrix-map curve-loss")
end

-- ---- values that are tables -------------------------------------------------------------------------------------

TestTables = {}

function TestTables:test_have_readable_names_and_reach_the_trial_whole()
  local root, got = room(), {}
  local ffns = { { name = "swiglu", hidden = 8, sizes = { 1, 2 } }, { "gelu", inner = { k = 0.5 } }, "plain",
    { hidden = 3 }, { 4, 5 } }
  local sweep = sweep_of(root, { ffn = ffns, seed = { 1, 2 } }, function(trial, p)
    got[trial.id] = p.ffn
    trial:report { score = #trial.id + p.seed }
    if type(p.ffn) == "table" then p.ffn.hidden = "changed by the trial" end
  end)
  for k, name in ipairs { "ffn=swiglu+hidden=8+sizes=1~2", "ffn=gelu+inner.k=0.5", "ffn=plain", "ffn=hidden=3",
      "ffn=4~5" } do
    lu.assertEquals(core.exists(root .. "/s/" .. name .. ",seed=2"), "folder", name)
    if k == 2 then
      lu.assertEquals({ got[name .. ",seed=2"][1], got[name .. ",seed=2"].inner }, { "gelu", { k = 0.5 } })
    end
  end
  lu.assertEquals(ffns[1].hidden, 8)
  lu.assertEquals(core.json_load(root .. "/s/ffn=gelu+inner.k=0.5,seed=1/run.json").sweep.params.ffn,
    { name = "gelu", inner = { k = 0.5 } })
  local ok, path, shown = summary(sweep,
    { by = { "ffn" }, metric = "score", reference = { name = "gelu", inner = { k = 0.5 } } })
  lu.assertTrue(ok, path)
  lu.assertStrContains(shown, "difference from gelu+inner.k=0.5")
  ok, path = summary(sweep, { by = { "seed" }, metric = "score", where = { ffn = { hidden = 3 } } })
  lu.assertTrue(ok, path)
  local _, message = summary(sweep, { by = { "ffn" }, metric = "score", reference = "plan" })
  lu.assertEquals(message, "summary: the reference 'plan' is no value of ffn; did you mean 'plain'?")
end

TestCsv = {}

-- What training and sweep both call "seconds", and a parameter with the name of a column.
function TestCsv:test_no_two_columns_have_one_name()
  local sweep = sweep_of(room(), { status = { "a,b", 'say "x"' }, reason = { "two\nlines" }, seconds = { 1 } },
    function(trial)
    trial:report { seconds = 12, trial = 2 ^ 53 + 1, reason = "own", flag = false, ["result.seconds"] = 3 }
  end)
  local data = sweep:results { by = { "status" }, metric = "seconds" }
  local rows = check_table("trials", report_export.trials_csv(data))
  lu.assertEquals(table.concat(rows[1], " "),
    "trial reason seconds status trial.status trial.seconds flag result.reason "
    .. "result.seconds result.result.seconds result.trial trial.reason")
  lu.assertEquals({ rows[2][2], rows[2][4], rows[3][4], rows[2][7] }, { "two\nlines", "a,b", 'say "x"', "false" })
end

-- ---- many of them -----------------------------------------------------------------------------------------------

TestMany = {}

local drawn = 1
local function draw(n)          -- a small generator: the same sweeps every time
  drawn = (drawn * 16807) % 2147483647
  return drawn % n + 1
end

local function pick(list)
  return list[draw(#list)]
end

local NAMES = { "pre_ln", "a/b", "größer", "日本", "with space", "'; rm -rf x", '"<&>', "two\nlines", "\27[31m", "-", "",
  ("long"):rep(80), "$(x)", "%d %s", "bad \xff byte", "~" }

local function some(list, most)
  local out, seen = {}, {}
  for _ = 1, draw(most) do
    local value = pick(list)
    if not seen[value] then out[#out + 1] = value end
    seen[value] = true
  end
  return out
end

local function axis_values()
  local kinds = {
    function() return some({ 1, 2, 4, 8, 0.5, -3, 1e300, 1e-300, 0 }, 3) end,
    function() return some(NAMES, 3) end,
    function() return some({ true, false }, 2) end,
    function() return { { name = pick(NAMES), k = draw(9) }, { 1, draw(5) }, { deep = { er = { pick(NAMES) } } } } end,
  }
  return pick(kinds)()
end

local ODD_NUMBERS = { 0, -1, 1e-320, 1e308, -1e308, 1 / 0, -1 / 0, 0 / 0, 3, 3, 2.5 }

-- What a trial does: a list of steps, each of which may be the last.
local function behaviour(trial, f)
  local steps = {
    function() end,
    function() trial:report { score = pick(ODD_NUMBERS) } end,
    function() trial:report { score = draw(100) / 7, other = draw(9) } end,
    function() trial:report { score = draw(100) / 7 } end,
    function() trial:report { label = pick { "x", "größer", "" }, flag = draw(2) == 1 } end,
    function()
      trial:report { variance = { draw(9), pick(ODD_NUMBERS), 3 }, map = { { 1, pick(ODD_NUMBERS) }, { 2 } } }
    end,
    function() trial:report { variance = { 0 / 0, 0 / 0 }, map = { { 0 / 0 }, {} } } end,
    function() trial.run:describe { diverged = "loss of " .. pick { "99", "NaN" } } end,
    function()
      core.write_file(trial.dir .. "/metrics.jsonl", '{"step":1,"tokens":8,"train/loss":2,"val/loss":null}\n'
        .. '{"step":2,"tokens":16,"train/loss":1.5,"block/variance":[1,null]}\n'
          .. pick { "", '{"step":3,"tok', "[1]\n", "\0\n" })
    end,
    function() error(pick { "no room\nin two lines", "\27[2J gone", ("x"):rep(3000) }, 0) end,
    function() error { "a table" } end,
    function() trial:report { [pick { "a/b", "", ("n"):rep(300), "ok" }] = pick { 1, print, { {} }, "bad \xff" } } end,
  }
  for _ = 1, draw(5) do f(pick(steps)) end
end

local function summary_options(names)
  local options = { by = { pick(names) }, metric = pick { "score", "score", "other", "scor", "label", "variance" } }
  if draw(2) == 1 then options.by[2] = pick(names) end
  if draw(4) == 1 then options.panels = pick(names) end
  if draw(4) == 1 then options.metric = { "score", "other" } end
  if draw(4) == 1 then options.reference = pick(NAMES) end
  options.percent, options.intervals = draw(3) == 1, draw(3) == 1
  return options
end

-- One line for people: no place in the library, no raw complaint of Lua's.
local function is_a_refusal(message)
  lu.assertEquals(type(message), "string")
  for _, bad in ipairs { "attempt to", "sonde/", "stack traceback", "\n" } do
    lu.assertNil(message:find(bad, 1, true), message)
  end
  lu.assertStrContains(message, "summary")
end

function TestMany:test_a_page_or_one_line()
  local render, pages, refusals = report.render, {}, 0
  local with_gnuplot
  report.render = function(data) return render(data, not with_gnuplot and { gnuplot = "no-gnuplot" } or nil) end
  for round = 1, 40 do
    with_gnuplot = has_gnuplot and round % 8 == 0
    local grid = { seed = some({ 1, 2, 3 }, 3) }
    for _, name in ipairs(some({ "depth", "placement", "share" }, 2)) do grid[name] = axis_values() end
    local root = room()
    local ok, sweep = pcall(sonde.sweep,
      { name = "s", root = root, grid = grid, title = pick(NAMES), question = pick(NAMES) })
    lu.assertTrue(ok, tostring(sweep))
    silently(sweep.run, sweep, function(trial) behaviour(trial, function(step) step() end) end)
    local names = {}
    for name in pairs(grid) do names[#names + 1] = name end
    table.sort(names)
    for _ = 1, 3 do
      local options = summary_options(names)
      options.file = "page" .. #pages .. ".html"
      local made, path, shown = summary(sweep, options)
      if made then
        pages[#pages + 1] = path
        lu.assertNil(shown:find "[%z\1-\9\11-\31]", shown)
        local data = sweep:results(options)
        for _, each in ipairs(report_export.tables(data, report_data.sections(data))) do
          check_table(each.name, each.text)
        end
      else
        refusals = refusals + 1
        is_a_refusal(path)
      end
    end
  end
  report.render = render
  lu.assertTrue(#pages > 20 and refusals > 10, #pages .. " pages, " .. refusals .. " refusals")
  if not has_xmllint then lu.skip("xmllint is not installed") end
  for first = 1, #pages, 50 do
    local pipe = assert(io.popen("xmllint --noout " .. table.concat(pages, " ", first, math.min(first + 49, #pages))
      .. " 2>&1"))
    lu.assertEquals(pipe:read "a", "")
    pipe:close()
  end
end

local status = lu.LuaUnit.run("-o", "tap")
core.remove_tree(base)
os.exit(status)
