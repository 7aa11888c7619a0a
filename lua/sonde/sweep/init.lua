--- sonde.sweep - runs a function for every point of a grid, each in a run folder of its own, and reports on them.
--
-- ROOT/NAME/TRIAL is the folder of a trial; its lock decides which process runs it, so that several may work on one
-- sweep. A trial that is done is never run again; one that was killed goes on from its checkpoint (sonde.train finds
-- it in the folder); one that failed is kept with its reason and run again only with retry.

-- What lives here: grid.lua makes the trials, plan.lua says what they need, view.lua shows them, changes.lua finds
-- those that were run by another script, collect.lua reads them back; search.lua has the policies that choose what is
-- run, searched.lua lets them; experiment.lua is what experiments share,
-- arms.lua what those share that compare arms with a paper's.

local core = require "sonde.core"
local args = require "sonde.base.args"
local current = require "sonde.base.current"
local front = require "sonde.base.front"
local grid = require "sonde.sweep.grid"
local collect = require "sonde.sweep.collect"
local sorted_keys = require "sonde.base.sorted_keys"
local searched = require "sonde.sweep.searched"
local sweep_changes = require "sonde.sweep.changes"
local sweep_view = require "sonde.sweep.view"
local format = require "sonde.base.format"

local sweep = {}
local methods, trial_methods = {}, {}
methods.__index, trial_methods.__index = methods, trial_methods

local finished = {}          -- by folder, the sweeps that this process ran
local SAME_FAILURES = 3      -- so many in a row with one reason are a mistake in the script

--- The options of a sweep.
---@type sonde.schema
sweep.schema = {
  { name = "name", type = "string", required = true, doc = "the folder of the sweep's trials below root" },
  { name = "grid", type = "table", required = true, doc = "a list of values for each parameter" },
  { name = "named_by", type = "string", doc = "how it is given another name, for messages: \"--set name=NAME\"" },
  { name = "root", type = "string", preset = "runs", doc = "the folder of all sweeps" },
  { name = "over", type = "string", preset = "seed", doc = "the parameter that trials repeat over" },
  { name = "title", type = "string", doc = "heading of the report" },
  { name = "question", type = "string", doc = "what the sweep is to answer, for the report" },
  { name = "only", type = "function", doc = "of a point's parameters: whether it is a trial; default: every point is" },
  { name = "search", type = "table", doc = "run what a policy chooses, not every trial: {policy, metric, ..}" },
  { name = "settings", type = "table", preset = {}, doc = "what all trials share; recorded, and checked on resuming" },
  { name = "retry", type = "boolean", preset = false, doc = "run failed trials again" },
  { name = "flops_per_s", type = "number", min = 1,
    doc = "the rate that sweep:plan computes hours by; default: the measured peak of this machine's threads" },
}

---@class sonde.sweep
---@field name string
---@field folder string        ROOT/NAME, where its trials and reports are
---@field trials sonde.trial[]

---@class sonde.trial
---@field id string            made of its parameters: "depth=4,placement=lns,seed=1"
---@field params table         parameter -> value
---@field dir string           its run folder
---@field status string        queued, running, done, diverged, failed, interrupted or killed
---@field reason string|nil    why it failed or diverged

local function chosen(points, only)
  local trials = {}
  for _, point in ipairs(points) do
    if not only or only(point.params) then trials[#trials + 1] = point end
  end
  if #trials == 0 then error(core.where() .. "sweep: 'only' leaves no trial", 0) end
  return trials
end

-- What a schema cannot know: that `over` is one of the grid's, and that settings can be recorded.
local function check_options(self, given)
  local names = sorted_keys(self.grid)
  if given.over ~= nil and self.grid[given.over] == nil then
    error(core.where() .. "sweep: over = '" .. given.over .. "' is no parameter of the grid"
      .. args.hint(given.over, names), 0)
  end
  local ok, message = pcall(core.json_encode, self.settings)
  if not ok then error(core.where() .. "sweep: the settings: " .. tostring(message), 0) end
end

--- Declares a sweep. Nothing runs yet.
---@param options table     see sweep.schema
---@return sonde.sweep
function sweep.new(options)
  local self = setmetatable(args.check(sweep.schema, options, "sweep"), methods)
  if not self.name:find("^[%w_][%w_.+-]*$") then
    error(core.where() .. "sweep: the name '" .. self.name .. "' must be a word, it names a folder", 0)
  end
  self.axes = grid.axes(self.grid, self.over)
  check_options(self, options)
  self.trials = chosen(grid.points(self.axes), self.only)
  self.folder = self.root .. "/" .. self.name
  for _, trial in ipairs(self.trials) do
    trial.dir, trial.status, trial.link = self.folder .. "/" .. trial.id, "queued", trial.id
  end
  if self.search then self.searched = searched.open(self) end
  return self
end

-- ---- one trial ---------------------------------------------------------------------------------------------------

--- Records results, in the folder and in the database: a number, string or boolean in run.json, a list of numbers or
--- of such lists (a matrix) in probes/NAME.json.
---@param values table<string, any>
function trial_methods:report(values)
  if not self.run then error(core.where() .. "trial:report: the trial '" .. self.id .. "' is not running", 0) end
  collect.check_results(values)
  local scalars = {}
  for name, value in pairs(values) do
    if type(value) == "table" then
      core.mkdirs(self.dir .. "/probes")
      core.write_file(self.dir .. "/probes/" .. name .. ".json", core.json_encode(value) .. "\n")
    else
      scalars[name], self.reported[name] = value, value
    end
  end
  self.run:report(scalars)      -- where a number is not finite, null
end

-- Names of the numbers that a trial reported, in order: of those that are not finite, or of those that are and still
-- stand in its results (a training that diverged afterwards may have put its own in their place).
local function reported(trial, results)
  local finite, others = core.list(), core.list()
  for _, name in ipairs(sorted_keys(trial.reported)) do
    local value = trial.reported[name]
    if type(value) == "number" then
      if not format.finite(value) then
        others[#others + 1] = name
      elseif results[name] == value then
        finite[#finite + 1] = name
      end
    end
  end
  return finite, others
end

-- What stands in a failed trial's record: the first line; the stack goes into its log.
local function reason_of(message)
  if type(message) ~= "string" and not (getmetatable(message) or {}).__tostring then
    return "an error that is a " .. type(message) .. ", not a text"
  end
  return (tostring(message):match("^[^\n]*"))
end

-- The script as it is now, to be noticed when it changes between two runs of a sweep.
local function script_mark()
  local path = arg and arg[0]
  if not path or not core.exists(path) then return nil end
  return grid.hash(core.read_file(path))
end

-- What runs this sweep again.
local function again()
  local words = { "sonde", "run", format.shell_word(arg and arg[0] or "-") }
  for _, pair in ipairs(collect.flat(require("sonde.base.settings").given)) do
    if pair[1] ~= "retry" then
      words[#words + 1] = "--set " .. format.shell_word(pair[1] .. "=" .. tostring(pair[2]))
    end
  end
  for _, word in ipairs(arg or {}) do words[#words + 1] = format.shell_word(word) end
  return table.concat(words, " ")
end

-- Parameters as JSON holds them.
local function plain(params)
  local copy = {}
  for name, value in pairs(params) do copy[name] = grid.plain(value, error) end
  return copy
end

-- A failed trial that never saved anything starts anew, with whatever configuration the mended script has.
local function begin(self, trial, before)
  sweep_changes.redo(self, trial)
  if before == "failed" and not core.exists(trial.dir .. "/checkpoint") then
    core.remove_tree(trial.dir .. "/probes")
    core.remove_tree(trial.dir .. "/config.yaml")
  end
  trial.status, trial.reason, trial.reported = "running", nil, {}
  trial.run:begin(again())
  trial.run:describe { sweep = { params = plain(trial.params), settings = self.settings, script = self.script,
    code = self.code } }
end

-- How a trial ended whose function returned. One number that is not finite says nothing of the others: a trial has
-- diverged when its training did, or when no number that it reported is finite.
local function judge(trial, record)
  local finite, others = reported(trial, record.results or {})
  trial.status, trial.reason = "done", nil
  if #others > 0 then
    trial.reason = table.concat(others, ", ") .. (#others == 1 and " is not finite" or " are not finite")
    trial.run:describe { not_finite = others }
    if #finite == 0 then trial.status = "diverged" end
  end
  if record.diverged then
    trial.status, trial.reason = "diverged", record.diverged
    trial.run:describe { sound = finite }
  end
end

-- Runs the function of one trial whose folder is open. Returns false and why if the user asked to stop.
local function perform(self, trial, f)
  local run, started = trial.run, core.seconds()
  local ok, message, trace = current.with(run, f, setmetatable(trial, trial_methods), grid.copy(trial.params))
  local record = run:record()
  trial.seconds = (record.seconds or 0) + core.seconds() - started
  run:describe { seconds = trial.seconds }
  sweep_changes.after(self, trial, f)
  if not ok and core.interrupted() then
    run:finish("interrupted", "stopped by the user")
    trial.status = "interrupted"
    return false, message
  end
  if not ok then
    trial.status, trial.reason = "failed", reason_of(message)
    run:note(trace)
  else
    judge(trial, record)
  end
  run:finish(trial.status, trial.reason)
  return true
end

-- ---- the sweep -----------------------------------------------------------------------------------------------------

-- What other runs of this sweep, and other processes, have done so far.
local function refresh(self)
  core.mkdirs(self.folder)
  local known = {}
  for _, entry in ipairs(core.runs(self.root, self.name)) do known[entry.trial] = entry end
  for _, trial in ipairs(self.trials) do
    local entry = known[trial.id]
    if entry then trial.status, trial.reason = entry.status, entry.reason end
  end
end

local function is_over(self, trial)
  if trial.redo then return false end
  return trial.status == "done" or trial.status == "diverged" or (trial.status == "failed" and not self.retry)
    or trial.tried
end

-- Opens the trial's folder if it is there to be run: not held by another process, not finished by one meanwhile. A
-- lock may be gone again when we look for it, so a second attempt follows.
local function claim(self, trial)
  local name, ok, run = self.name .. "/" .. trial.id, nil, nil
  for _ = 1, 2 do
    ok, run = pcall(core.run_open, self.root, name)
    if ok then break end
    if core.run_held(self.root, name) then
      trial.status = "running"
      return false
    end
  end
  if not ok then error(run, 0) end
  local record = run:record()
  if record.status then trial.status, trial.reason = record.status, record.reason end
  if is_over(self, trial) then
    run:close()
    return false
  end
  trial.run = run
  return true
end

local function check_settings(self)
  for _, trial in ipairs(self.trials) do
    if trial.status ~= "queued" and not (trial.status == "failed" and self.retry) then
      local record = collect.record(trial.dir)
      local difference = record.sweep and collect.difference(record.sweep.settings or {}, self.settings)
      if difference and current.redo then
        trial.redo = true
      elseif difference then
        local by = self.named_by and " (" .. self.named_by .. ")" or ""
        error(("%s: was run with other settings: %s; give the sweep another name%s, or --redo runs them "
          .. "again"):format(trial.dir,
          difference, by), 0)
      end
    end
  end
end

-- Three failures in a row for one reason, and no success: the script is wrong, not the trials.
local function count_failure(self, trial)
  if trial.status ~= "failed" then
    self.failures = 0
    return
  end
  self.failures = trial.reason == self.last_reason and (self.failures or 0) + 1 or 1
  self.last_reason = trial.reason
  if self.failures >= SAME_FAILURES then
    error(("%d trials in a row failed for the same reason: %s; correct it, then run with --set retry=true")
      :format(SAME_FAILURES, trial.reason), 0)
  end
end

-- One pass over some trials; returns how many it ran.
local function pass(self, trials, f, view)
  local ran = 0
  for _, trial in ipairs(trials) do
    if not is_over(self, trial) and claim(self, trial) then
      trial.tried = true
      local before = trial.status
      local resumed = not trial.redo and before ~= "queued" and before ~= "failed"
      begin(self, trial, before)
      view:start(trial, resumed)
      local go_on, message = perform(self, trial, f)
      trial.run:close()
      trial.run = nil
      view:finish(trial)
      if not go_on then error(message, 0) end
      count_failure(self, trial)
      ran = ran + 1
    end
  end
  return ran
end

--- Refuses to go on where trials were run with other settings, as run does: for scripts that do much before they run
--- it. f(params), if given, is called for every trial that is to be run, to make its model, say: a mistake in the
--- settings of the last one is then found before the first is trained.
---@param f? fun(params: table)
---@return sonde.sweep
function methods:check(f)
  refresh(self)
  check_settings(self)
  for _, trial in ipairs(f and self.trials or {}) do
    local ok, message = true, nil
    if not is_over(self, trial) then ok, message = pcall(f, grid.copy(trial.params)) end
    if not ok then error(trial.id .. ": " .. tostring(message), 0) end
  end
  return self
end

--- Runs f(trial, params) for every trial that is not done. An error in f fails its trial and the sweep goes on;
--- `sonde run` then ends with status 1.
---@param f fun(trial: sonde.trial, params: table)
---@return sonde.sweep
function methods:run(f)
  if require("sonde.base.settings").given.retry ~= nil then self.retry = require("sonde").settings.retry == true end
  self:check()
  sweep_changes.check(self, f, script_mark())
  front.begin()
  local view = sweep_view.new(self)
  view:open()
  current.quiet = not view.live
  -- Once more as long as something was run: a process that held a trial before may have died meanwhile.
  local function run_all(trials)
    repeat
      local ran = pass(self, trials, f, view)
      refresh(self)
    until ran == 0
  end
  if self.searched then self.searched:run(run_all) else run_all(self.trials) end
  current.quiet = false
  view:close()
  finished[self.folder] = self
  return self
end

--- The arms that a sweep with a search has run, the best first: {params, value}, the value being the mean of the metric
--- over trials. It follows from the folders of the trials, and is the same after an interruption.
---@return {params: table, value: number}[]
function methods:ranking()
  if not self.searched then error(core.where() .. "sweep:ranking: the sweep has no search", 0) end
  refresh(self)
  return self.searched:ranking()
end

--- What failed in the sweeps that this process ran, in one line; nil where nothing did. Diverging is a result.
---@return string|nil
function sweep.failures()
  local parts = {}
  for _, folder in ipairs(sorted_keys(finished)) do
    local self, failed = finished[folder], 0
    for _, trial in ipairs(self.trials) do
      if trial.status == "failed" then failed = failed + 1 end
    end
    if failed > 0 then
      parts[#parts + 1] = ("%d of %d trials of the sweep '%s' failed; `sonde runs list %s --root %s` says why, log.txt "
        .. "in the "
        .. "folder of a trial says where"):format(failed, #self.trials, self.name, self.name,
          format.shell_word(self.root))
    end
  end
  return #parts > 0 and table.concat(parts, "; ") or nil
end

--- Prints what the trials would need (memory, time), without running them. f(params) gives a model and the options of
--- its training, as f of sweep:run would train it.
---@param f fun(params: table): sonde.model, table
---@return table[]     a table for each model: name, trials, parameters, peak_bytes, flops, hours
function methods:plan(f)
  return require("sonde.sweep.plan").run(self, f)
end

-- ---- results -------------------------------------------------------------------------------------------------------

--- The options of a summary.
---@type sonde.schema
sweep.summary_schema = {
  { name = "by", type = "list", some = true, required = true, of = { name = "name", type = "string",
    doc = "a parameter" },
    doc = "parameters for the lines and, if there is a second, the columns" },
  { name = "metric", type = "string|list", some = true, required = true, of = { name = "name", type = "string",
    doc = "a metric" },
    doc = "the reported number to compare, or several" },
  { name = "where", type = "table", doc = "fixed values of further parameters" },
  { name = "higher", type = "boolean|list", preset = false, of = { name = "name", type = "string", doc = "a metric" },
    doc = "larger is better: of all metrics, or of these" },
  { name = "panels", type = "string",
    doc = "a further parameter whose values stand side by side, in tables and figures" },
  { name = "reference", type = "any",
    doc = "the value of panels, or else of the first of by, that the others are compared with" },
  { name = "percent", type = "boolean", preset = false, doc = "show differences in percent of the reference" },
  { name = "intervals", type = "boolean", preset = false, doc = "bars of figures are 95 % intervals, not ± 1 sd" },
  { name = "comparison", type = "table",
    doc = "arms, metrics and claims of experiment:compare: a paper's numbers beside those of the sweep" },
  { name = "tables", type = "list", of = { name = "table", type = "table", doc = "title, head, rows of texts, note" },
    doc = "tables to show first: {title, head, rows, note}" },
  { name = "beside", type = "results", doc = "results of another sweep to show below: sweep:results of it" },
  { name = "file", type = "string", preset = "report.html", doc = "name of the page in the sweep's folder" },
  { name = "csv", type = "boolean", preset = false,
    doc = "write the page's tables as CSV beside it: report-trials.csv, .." },
}

--- What the trials have reported so far: results.trials are the sweep's trials, each with status, results and arrays.
--- The whole, made with the options of a summary, can stand beside another sweep's.
---@param options? table     see sweep.summary_schema
---@return table
function methods:results(options)
  options = options and args.check(sweep.summary_schema, options, "results") or {}
  refresh(self)
  return collect.data(self, options, again())
end

--- Prints the table of a metric (mean ± sd over the seeds) and writes the HTML report.
---@param options table     see sweep.summary_schema
---@return string      path of the report
function methods:summary(options)
  options = args.check(sweep.summary_schema, options, "summary")
  local report = require "sonde.report"
  local data = self:results(options)
  local page, reason = report.render(data)
  local path = self.folder .. "/" .. options.file
  core.write_file(path, page)
  for _, each in ipairs(options.csv and report.tables(data) or {}) do
    core.write_file((path:gsub("%.html?$", "")) .. "-" .. each.name .. ".csv", each.text)
  end
  print(report.text(data))
  if reason then print(reason) end
  print("report: " .. path)
  return path
end

args.class("sweep", methods)
args.class("trial", trial_methods)

local self, options = { name = "self", type = "sweep", required = true }, { name = "options", type = "table" }
local f = { name = "f", type = "function", required = true }

args.declare(methods, "sweep:", {
  check = { self, { name = "f", type = "function" } }, run = { self, f }, plan = { self, f }, ranking = { self },
  results = { self, options }, summary = { self, options },
})
args.declare(trial_methods, "trial:", {
  report = {
    { name = "self", type = "trial", required = true },
    { name = "values", type = "table", required = true, each = { name = "value", type = "any" } },
  },
})

return sweep
