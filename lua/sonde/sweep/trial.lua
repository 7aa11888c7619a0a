--- trial.lua - one trial of a sweep: whether it is to be run, its run, and what its record then says.

local core = require "sonde.core"
local args = require "sonde.base.args"
local collect = require "sonde.sweep.collect"
local current = require "sonde.base.current"
local format = require "sonde.base.format"
local grid = require "sonde.sweep.grid"
local sorted_keys = require "sonde.base.sorted_keys"
local sweep_changes = require "sonde.sweep.changes"

local trials = {}
local methods = {}
methods.__index = methods

---@class sonde.trial
---@field id string            made of its parameters: "depth=4,placement=lns,seed=1"
---@field params table         parameter -> value
---@field dir string           its run folder
---@field status string        queued, running, done, diverged, failed, interrupted or killed
---@field reason string|nil    why it failed or diverged

--- Records results, in the folder and in the database: a number, string or boolean in run.json, a list of numbers or
--- of such lists (a matrix) in probes/NAME.json.
---@param values table<string, any>
function methods:report(values)
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
  return (format.reason(message):match("^[^\n]*"))
end

--- What runs this sweep again.
---@return string
function trials.command()
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
  trial.status, trial.reason, trial.reported, trial.began = "running", nil, {}, core.seconds()
  trial.run:begin(trials.command())
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
  local run = trial.run
  local ok, message, trace = current.with(run, f, setmetatable(trial, methods), grid.copy(trial.params))
  local record = run:record()
  trial.seconds = (record.seconds or 0) + core.seconds() - trial.began
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

--- Whether a trial needs no more work.
---@param self sonde.sweep
---@param trial sonde.trial
---@return boolean
function trials.is_over(self, trial)
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
  if trials.is_over(self, trial) then
    run:close()
    return false
  end
  trial.run = run
  return true
end

--- Whether a trial that is to be run has been begun before, and goes on.
---@param trial sonde.trial
---@return boolean
function trials.goes_on(trial)
  return not trial.redo and trial.status ~= "queued" and trial.status ~= "failed"
end

--- Runs the function of a trial, in this process, if it is there to be run. An error in f fails the trial.
---@param self sonde.sweep
---@param trial sonde.trial
---@param f fun(trial: sonde.trial, params: table)
---@param begun? fun(goes_on: boolean)     called before f
---@return boolean ran, string|nil stopped  what was said when the user asked to stop
function trials.run(self, trial, f, begun)
  if not claim(self, trial) then return false end
  local goes_on = trials.goes_on(trial)
  begin(self, trial, trial.status)
  if begun then begun(goes_on) end
  local go_on, message = perform(self, trial, f)
  trial.run:close()
  trial.run = nil
  return true, not go_on and message or nil
end

--- Takes over what the record of a trial says that another process has run.
---@param trial sonde.trial
function trials.read(trial)
  local record = collect.record(trial.dir)
  trial.status, trial.seconds = record.status or "queued", record.seconds
  trial.reason = record.reason ~= "" and record.reason or nil
end

--- Puts down that a trial failed whose process ended in the middle of it.
---@param self sonde.sweep
---@param trial sonde.trial
---@param reason string
---@param seconds number      that it took
function trials.lost(self, trial, reason, seconds)
  local run = core.run_open(self.root, self.name .. "/" .. trial.id)
  run:describe { seconds = (run:record().seconds or 0) + seconds }
  run:finish("failed", reason)
  run:close()
end

args.class("trial", methods)

args.declare(methods, "trial:", {
  report = {
    { name = "self", type = "trial", required = true },
    { name = "values", type = "table", required = true, each = { name = "value", type = "any" } },
  },
})

return trials
