-- Sweeps: names of trials, what is run, skipped, resumed and retried, and what a summary gathers.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"
local grid = require "sonde.sweep.grid"

local program = os.getenv "SONDE"
local base = os.tmpname()
os.remove(base)
local rooms = 0

-- A new folder for the runs of one test.
local function room()
  rooms = rooms + 1
  local path = base .. "/" .. rooms
  core.mkdirs(path)
  return path
end

local function two_by_two(root, more)
  local options = { name = "s", root = root, grid = { depth = { 2, 4 }, seed = { 1, 2 } } }
  for key, value in pairs(more or {}) do options[key] = value end
  return sonde.sweep(options)
end

-- Runs a script in another process; returns what it printed, stderr included, and its exit status.
local function child(root, text)
  local path = root .. "/script.lua"
  core.write_file(path, text)
  local pipe = assert(io.popen(("'%s' run '%s' 2>&1; echo \"exit $?\""):format(program, path)))
  local output = pipe:read "a"
  pipe:close()
  return output, tonumber(output:match "exit (%d+)%s*$")
end

TestGrid = {}

function TestGrid:test_every_combination_once_and_seeds_slowest()
  local ids = {}
  local axes = grid.axes({ seed = { 1, 2 }, depth = { 4, 8 }, placement = { "lns", "pre_ln" } }, "seed")
  for k, point in ipairs(grid.points(axes)) do ids[k] = point.id end
  lu.assertEquals(ids, {
    "depth=4,placement=lns,seed=1", "depth=4,placement=pre_ln,seed=1", "depth=8,placement=lns,seed=1",
    "depth=8,placement=pre_ln,seed=1", "depth=4,placement=lns,seed=2", "depth=4,placement=pre_ln,seed=2",
    "depth=8,placement=lns,seed=2", "depth=8,placement=pre_ln,seed=2" })
end

function TestGrid:test_a_name_does_not_depend_on_the_rest_of_the_grid()
  local small = grid.points(grid.axes({ lr = { 1e-3 }, seed = { 1 } }, "seed"))
  local large = grid.points(grid.axes({ lr = { 3e-4, 1e-3 }, seed = { 7, 1 } }, "seed"))
  lu.assertEquals(small[1].id, "lr=0.001,seed=1")
  lu.assertEquals(large[4].id, small[1].id)
end

function TestGrid:test_values_unfit_for_a_file_name_keep_apart()
  local points = grid.points(grid.axes({ path = { "a/b", "a b", "a-b", ("x"):rep(300) } }, "seed"))
  local seen = {}
  for _, point in ipairs(points) do
    lu.assertNil(point.id:find "[/ ]")
    lu.assertIsTrue(#point.id < 200)
    lu.assertNil(seen[point.id])
    seen[point.id] = true
  end
  lu.assertEquals(points[3].id, "path=a-b")
end

function TestGrid:test_mistakes_are_named()
  lu.assertErrorMsgContains("grid.depth must be a list", grid.axes, { depth = 4 }, "seed")
  lu.assertErrorMsgContains("grid.depth must be a list", grid.axes, { depth = {} }, "seed")
  lu.assertErrorMsgContains("has the value 4 twice", grid.axes, { depth = { 4, 8, 4 } }, "seed")
  lu.assertErrorMsgContains("grid.depth holds a function", grid.axes, { depth = { { print } } }, "seed")
  lu.assertErrorMsgContains("a number that is not finite", grid.axes, { depth = { 4, 1 / 0 } }, "seed")
  lu.assertErrorMsgContains("mixes a list with names", grid.axes, { depth = { { 1, 2, a = 3 } } }, "seed")
  lu.assertErrorMsgContains("has the value swiglu+hidden=8 twice", grid.axes,
    { ffn = { { "swiglu", hidden = 8 }, { name = "swiglu", hidden = 8 } } }, "seed")
  local endless = {}
  endless.again = endless
  lu.assertErrorMsgContains("nested too deeply", grid.axes, { depth = { endless } }, "seed")
  lu.assertErrorMsgContains("the grid is empty", grid.axes, {}, "seed")
  lu.assertErrorMsgContains("is no name", grid.axes, { ["a=b"] = { 1 } }, "seed")
end

TestSweep = {}

function TestSweep:test_a_value_with_a_zero_byte_is_refused()
  lu.assertErrorMsgContains("a text with a zero byte", sonde.sweep,
    { name = "s", root = room(), grid = { name = { "a\0b", "c" } } })
end

function TestSweep:test_options_are_checked()
  lu.assertErrorMsgContains("did you mean 'grid'?", sonde.sweep, { name = "s", grids = {} })
  lu.assertErrorMsgContains("must be a word", sonde.sweep, { name = "../s", grid = { a = { 1 } } })
end

function TestSweep:test_done_trials_are_not_run_again()
  local root, calls = room(), {}
  local function f(trial, p)
    calls[#calls + 1] = trial.id
    trial:report { score = p.depth + p.seed }
  end
  two_by_two(root):run(f)
  lu.assertEquals(#calls, 4)
  two_by_two(root):run(f)
  lu.assertEquals(#calls, 4)
  two_by_two(root, { grid = { depth = { 2, 4, 6 }, seed = { 1, 2 } } }):run(f)
  lu.assertEquals({ #calls, calls[5], calls[6] }, { 6, "depth=6,seed=1", "depth=6,seed=2" })
end

function TestSweep:test_a_trial_whose_folder_was_removed_is_run_again()
  local root, calls = room(), 0
  local function f(trial)
    calls = calls + 1
    trial:report { score = 1 }
  end
  two_by_two(root):run(f)
  core.remove_tree(root .. "/s/depth=4,seed=1")
  two_by_two(root):run(f)
  lu.assertEquals(calls, 5)
end

function TestSweep:test_failed_trials_are_kept_with_their_reason_and_retried_when_asked()
  local root, broken, calls = room(), true, 0
  local function f(trial, p)
    calls = calls + 1
    if broken and p.depth == 4 and p.seed == 1 then error("no room for depth 4", 0) end
    trial:report { score = 1 }
  end
  two_by_two(root):run(f)
  local record = core.json_load(root .. "/s/depth=4,seed=1/run.json")
  lu.assertEquals({ record.status, record.reason, calls }, { "failed", "no room for depth 4", 4 })
  two_by_two(root):run(f)
  lu.assertEquals(calls, 4)
  broken = false
  two_by_two(root, { retry = true }):run(f)
  lu.assertEquals(calls, 5)
  record = core.json_load(root .. "/s/depth=4,seed=1/run.json")
  lu.assertEquals({ record.status, record.reason }, { "done", "" })
end

function TestSweep:test_a_mistake_in_the_script_stops_the_sweep()
  local calls = 0
  local sweep = two_by_two(room())
  lu.assertErrorMsgContains("3 trials in a row failed for the same reason", sweep.run, sweep, function()
    calls = calls + 1
    error("a typo", 0)
  end)
  lu.assertEquals(calls, 3)
end

-- Two kinds of failure in turns: never three of one kind in a row. A diverged trial is a result.
function TestSweep:test_a_program_whose_trials_failed_says_so_and_ends_with_1()
  local root = room()
  local script = ([[
    local sonde = require "sonde"
    local sweep = sonde.sweep { name = "s", root = "%s", grid = { n = { 1, 2, 3, 4 } } }
    sweep:run(function(trial, p)
      if p.n > sonde.settings.good then error("no room for " .. p.n, 0) end
      trial:report { score = p.n == 1 and 0 / 0 or 1 }
    end)
    sweep:summary { by = { "n" }, metric = "score" }]]):format(root)
  local output, status = child(root, "require('sonde').settings.good = 0 " .. script)
  lu.assertEquals(status, 1)
  lu.assertStrContains(output, "report: " .. root)                       -- the script went on to its end
  lu.assertStrContains(output, "sonde: 4 of 4 trials of the sweep 's' failed; `sonde runs list s --root " .. root
    .. "` says why")
  core.remove_tree(root .. "/s")
  output, status = child(root, "require('sonde').settings.good = 3 " .. script)
  lu.assertEquals(status, 1)
  lu.assertStrContains(output, "sonde: 1 of 4 trials")
  core.remove_tree(root .. "/s")
  output, status = child(root, "require('sonde').settings.good = 4 " .. script)
  lu.assertEquals(status, 0, output)
  lu.assertStrContains(output, "n=1 diverged: score is not finite")
end

function TestSweep:test_other_settings_are_refused()
  local root = room()
  two_by_two(root, { settings = { width = 64, train = { lr = 1e-3 } } }):run(function() end)
  local changed = two_by_two(root, { settings = { width = 64, train = { lr = 2e-3 } } })
  lu.assertErrorMsgContains("train.lr was 0.001, is now 0.002", changed.run, changed, function() end)
end

function TestSweep:test_a_result_that_is_not_finite_is_a_divergence()
  local root = room()
  two_by_two(root):run(function(trial, p) trial:report { loss = p.depth == 4 and 0 / 0 or 1 } end)
  local record = core.json_load(root .. "/s/depth=4,seed=2/run.json")
  lu.assertEquals({ record.status, record.reason }, { "diverged", "loss is not finite" })
end

function TestSweep:test_reports_are_checked()
  local root, messages = room(), {}
  two_by_two(root, { grid = { seed = { 1 } } }):run(function(trial)
    for k, bad in ipairs { { v = { 1, "x" } }, { v = { { 1, 2 }, 3 } }, { v = {} }, { ["a/b"] = 1 }, { 5 } } do
      messages[k] = select(2, pcall(trial.report, trial, bad))
    end
  end)
  for k, part in ipairs { "holds a string", "mixes numbers", "must be a list", "'a/b' is no name", "'1' is no name" } do
    lu.assertStrContains(messages[k], part)
  end
end

function TestSweep:test_summary_gathers_numbers_arrays_and_writes_the_page()
  local root = room()
  local sweep = two_by_two(root):run(function(trial, p)
    trial:report { score = 10 * p.depth + p.seed, variance = { 1, 2, 0 / 0 }, map = { { 1, 2 }, { 3, 4 } } }
  end)
  local path = sweep:summary { by = { "depth" }, metric = "score" }
  lu.assertEquals(path, root .. "/s/report.html")
  local page = core.read_file(path)
  lu.assertStrContains(page, "20.50 ± 0.71")
  lu.assertStrContains(page, "4 trials: 4 done")
  lu.assertEquals(sweep.trials[1].arrays.map, { { 1, 2 }, { 3, 4 } })
  lu.assertIsTrue(sweep.trials[1].arrays.variance[3] ~= sweep.trials[1].arrays.variance[3])
end

-- What training records by itself is no part of a sweep that measures speed; what its trials report is.
function TestSweep:test_speeds_have_no_figures_of_training()
  local sweep = two_by_two(room()):run(function(trial, p)
    local lines = ""
    for step = 1, 3 do
      lines = lines .. ('{"step":%d,"tokens":%d,"train/loss":2,"block/grad_norm":[1,2]}\n'):format(step, step)
    end
    core.write_file(trial.dir .. "/metrics.jsonl", lines)
    trial:report { tokens_per_s = p.depth, perplexity = p.depth }
    if p.depth == 4 then trial:report { own = { 1, 2 } } end
  end)
  local function ids(metric)
    local data, list = sweep:results { by = { "depth" }, metric = metric }, {}
    for _, group in ipairs(require("sonde.report.figures").groups(require("sonde.report.data").sections(data))) do
      list[#list + 1] = group.id
    end
    return table.concat(list, " "), (require("sonde.report").render(data, { gnuplot = "no-gnuplot" }))
  end
  lu.assertStrContains(ids "perplexity", "array-grad_norm array-own curve-loss")
  lu.assertEquals((ids "tokens_per_s"), "array-own")
  for _, trial in ipairs(sweep.trials) do core.remove_tree(trial.dir .. "/probes") end
  local none, page = ids "tokens_per_s"
  lu.assertEquals({ none, page:find("id=\"figures\"", 1, true) }, { "" })
end

function TestSweep:test_a_killed_trial_goes_on_and_done_ones_stay()
  local root = room()
  local script = ([[
    local sonde = require "sonde"
    local log = io.open("%s/calls", "a")
    sonde.sweep { name = "s", root = "%s", grid = { depth = { 2, 4 }, seed = { 1 } } }:run(function(trial, p)
      log:write(p.depth, "\n")
      log:flush()
      if p.depth == 4 and not io.open("%s/again") then os.execute("touch %s/again; kill -9 $PPID") end
      trial:report { score = 1 }
    end)]]):format(root, root, root, root)
  local _, status = child(root, script)
  lu.assertEquals(status, 137)
  lu.assertEquals(core.runs(root, "s")[2].status, "killed")
  local output, again = child(root, script)
  lu.assertEquals(again, 0)
  lu.assertStrContains(output, "depth=4,seed=1, going on where it stopped")
  lu.assertEquals(core.read_file(root .. "/calls"), "2\n4\n4\n")
end

function TestSweep:test_an_interrupted_trial_ends_the_sweep_and_goes_on_later()
  local root = room()
  local script = ([[
    local sonde = require "sonde"
    sonde.sweep { name = "s", root = "%s", grid = { depth = { 2, 4 }, seed = { 1 } } }:run(function(trial, p)
      if not io.open("%s/again") then
        os.execute("touch %s/again; kill -TERM $PPID")
        for k = 1, 1e9 do local _ = k end
      end
    end)]]):format(root, root, root)
  local output, status = child(root, script)
  lu.assertEquals(status, 3, output)
  lu.assertEquals(core.json_load(root .. "/s/depth=2,seed=1/run.json").status, "interrupted")
  lu.assertFalse(core.exists(root .. "/s/depth=4,seed=1"))
  lu.assertEquals(select(2, child(root, script)), 0)
end

function TestSweep:test_several_processes_share_a_sweep()
  local root = room()
  core.write_file(root .. "/script.lua", ([[
    local sonde = require "sonde"
    local sweep = sonde.sweep { name = "s", root = "%s", grid = { n = { 1, 2, 3, 4, 5, 6, 7, 8 } } }
    sweep:run(function(trial, p)
      os.execute("echo " .. p.n .. " >> %s/calls; sleep 0.02")
      trial:report { score = p.n }
    end)]]):format(root, root))
  local command = ("'%s' run '%s/script.lua' 2>/dev/null"):format(program, root)
  lu.assertIsTrue(os.execute(("%s & %s & %s; wait"):format(command, command, command)))
  local calls = {}
  for n in core.read_file(root .. "/calls"):gmatch "%d+" do calls[#calls + 1] = tonumber(n) end
  table.sort(calls)
  lu.assertEquals(calls, { 1, 2, 3, 4, 5, 6, 7, 8 })
  for _, trial in ipairs(core.runs(root, "s")) do lu.assertEquals(trial.status, "done") end
end

local status = lu.LuaUnit.run("-o", "tap")
core.remove_tree(base)
os.exit(status)
