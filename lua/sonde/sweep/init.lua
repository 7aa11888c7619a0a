--- sonde.sweep - runs a function for every point of a grid, each in a run folder of its own, and reports on them.
--
-- ROOT/NAME/TRIAL is the folder of a trial; its lock decides which process runs it, so that several may work on one
-- sweep. A trial that is done is never run again; one that was killed goes on from its checkpoint (sonde.train finds
-- it in the folder); one that failed is kept with its reason and run again only with retry.

-- What lives here: grid.lua makes the trials, plan.lua says what they need, view.lua shows them, changes.lua finds
-- those that were run by another script, trial.lua runs one, processes.lua several at a time, collect.lua reads them
-- back; search.lua has the policies that choose what is run, searched.lua lets them; experiment.lua is what experiments
-- share, arms.lua what those share that compare arms with a paper's.

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
local processes = require "sonde.sweep.processes"
local trials = require "sonde.sweep.trial"

local sweep = {}
local methods = {}
methods.__index = methods

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
  { name = "jobs", type = "integer", min = 0, max = 4096,
    doc = "trials at a time, each in a process of its own, which share the cores; 0: one for each core; default: 1, or "
      .. "--jobs" },
  { name = "settings", type = "table", preset = {}, doc = "what all trials share; recorded, and checked on resuming" },
  { name = "retry", type = "boolean", preset = false, doc = "run failed trials again" },
  { name = "flops_per_s", type = "number", min = 1,
    doc = "the rate that sweep:plan computes hours by; default: the measured peak of this machine's threads" },
}

---@class sonde.sweep
---@field name string
---@field folder string        ROOT/NAME, where its trials and reports are
---@field trials sonde.trial[]

local function chosen(points, only)
  local list = {}
  for _, point in ipairs(points) do
    if not only or only(point.params) then list[#list + 1] = point end
  end
  if #list == 0 then error(core.where() .. "sweep: 'only' leaves no trial", 0) end
  return list
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

-- ---- the sweep -----------------------------------------------------------------------------------------------------

-- The script as it is now, to be noticed when it changes between two runs of a sweep.
local function script_mark()
  local path = arg and arg[0]
  if not path or not core.exists(path) then return nil end
  return grid.hash(core.read_file(path))
end

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
    if not trials.is_over(self, trial) then ok, message = pcall(f, grid.copy(trial.params)) end
    if not ok then error(trial.id .. ": " .. format.reason(message), 0) end
  end
  return self
end

-- How many trials run at a time: what the command line says, else the script. One in a trial of another sweep, which
-- has its share of the cores.
local function jobs_of(self)
  local jobs = current.run() and 1 or current.jobs or self.jobs or 1
  if jobs == 0 then jobs = core.threads() end
  local open = 0
  for _, trial in ipairs(self.trials) do
    if not trials.is_over(self, trial) then open = open + 1 end
  end
  return math.max(1, math.min(jobs, open))
end

-- Runs the trials that next_trial gives, as long as it gives some; it is asked again whenever one has ended. Returns
-- how many were run.
local function run_some(self, runner, view, next_trial)
  local ran = 0
  while true do
    while runner:room() do
      local trial = next_trial()
      if not trial then break end
      trial.held = not runner:start(trial)
      trial.tried = not trial.held
    end
    local trial, stopped = runner:next()
    if not trial then return ran end
    view:finish(trial)
    if stopped then error(stopped, 0) end
    count_failure(self, trial)
    ran = ran + 1
  end
end

-- The next trial of a list that is there to be run.
local function each_open(self, list)
  local k = 0
  return function()
    repeat k = k + 1 until not list[k] or not trials.is_over(self, list[k])
    return list[k]
  end
end

local function run_all(self, runner, view)
  if self.searched then
    return self.searched:run(function(next_trial)
      run_some(self, runner, view, next_trial)
      refresh(self)
    end)
  end
  -- Once more as long as something was run: a process that held a trial before may have died meanwhile.
  repeat
    local ran = run_some(self, runner, view, each_open(self, self.trials))
    refresh(self)
  until ran == 0
end

--- Runs f(trial, params) for every trial that is not done. An error in f fails its trial and the sweep goes on;
--- `sonde run` then ends with status 1. With several jobs each trial runs in a copy of this process, and what f changes
--- in variables is lost there.
---@param f fun(trial: sonde.trial, params: table)
---@return sonde.sweep
function methods:run(f)
  if require("sonde.base.settings").given.retry ~= nil then self.retry = require("sonde").settings.retry == true end
  self:check()
  sweep_changes.check(self, f, script_mark())
  front.begin()
  local jobs = jobs_of(self)
  local view = sweep_view.new(self, jobs)
  view:open()
  current.quiet = not view.live
  local runner = processes.open(self, f, view, jobs)
  local ok, message = pcall(run_all, self, runner, view)
  runner:close()
  current.quiet = false
  if not ok then error(message, 0) end
  view:close()
  finished[self.folder] = self
  return self
end

--- The arms that a sweep with a search has run, the best first: {params, value}, the value being the mean of the metric
--- over trials. It follows from the folders of the trials, and is the same after an interruption.
---@param of? table     the values of search.each, where there are some: the search that is meant
---@return {params: table, value: number}[]
function methods:ranking(of)
  if not self.searched then error(core.where() .. "sweep:ranking: the sweep has no search", 0) end
  refresh(self)
  return self.searched:ranking(of)
end

--- What each search of a sweep has run: of, the values of search.each; asked, the parameters of the arms that it was
--- given a value of; ranking.
---@return {of: table, asked: table[], ranking: {params: table, value: number}[]}[]
function methods:searches()
  if not self.searched then error(core.where() .. "sweep:searches: the sweep has no search", 0) end
  refresh(self)
  return self.searched:results()
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
  { name = "figures", type = "list", of = { name = "group", type = "table", doc = "title, figures, caption" },
    doc = "groups of figures to show before the tables: {title, figures = {{xlabel, ylabel, series = {{label, colour, "
      .. "x, y, ..}, ..}}, ..}, caption}, as sonde/report/plot/lines.lua draws them" },
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
  return collect.data(self, options, trials.command())
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

local self, options = { name = "self", type = "sweep", required = true }, { name = "options", type = "table" }
local f = { name = "f", type = "function", required = true }

args.declare(methods, "sweep:", {
  check = { self, { name = "f", type = "function" } }, run = { self, f }, plan = { self, f },
  ranking = { self, { name = "of", type = "table" } }, searches = { self },
  results = { self, options }, summary = { self, options },
})
return sweep
