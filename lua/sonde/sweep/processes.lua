--- processes.lua - where the trials of a sweep run: one after the other in this process, or several at a time, each in
-- a process of its own (--jobs).
--
-- Such a process is a copy of this one (fork), so a trial's function finds all that the script has made so far. It
-- opens the trial's folder and runs the trial as this process would; what it reports is in the folder. This process
-- only starts them, shows how far they are, and writes down those that crashed. They end with it.
--
--   runner:room()          whether another trial may be started
--   runner:start(trial)    false where another process has it
--   runner:next()          the next trial that has ended, and what was said if the user stopped it; nil: none runs
--   runner:close()         stops those that run, and waits for them

local core = require "sonde.core"
local current = require "sonde.base.current"
local front = require "sonde.base.front"
local settings = require "sonde.base.settings"
local trials = require "sonde.sweep.trial"

local processes = {}

-- Exit statuses of a process.
local STOPPED, HELD = 3, 75

local LOOK = 0.5      -- seconds between two looks at the clock while trials run

-- ---- here ----------------------------------------------------------------------------------------------------------

local here = {}
here.__index = here

function here:room() return self.ended == nil end

function here:start(trial)
  local ran, stopped = trials.run(self.sweep, trial, self.f, function(goes_on) self.view:start(trial, goes_on) end)
  if ran then self.ended, self.stopped = trial, stopped end
  return ran
end

function here:next()
  local trial = self.ended
  self.ended = nil
  return trial, self.stopped
end

function here:close() end

-- ---- several processes ---------------------------------------------------------------------------------------------

local several = {}
several.__index = several

-- The threads of the trial in a slot: the cores are shared out, unless the command line gives a number.
local function threads_of(self, slot)
  if front.threads > 0 then return front.threads end
  local each = math.floor(self.threads / self.jobs)
  return math.max(1, each + (slot <= self.threads - each * self.jobs and 1 or 0))
end

function several:room()
  return self.running < self.jobs
end

function several:start(trial)
  local sweep, slot = self.sweep, 1
  if core.run_held(sweep.root, sweep.name .. "/" .. trial.id) then
    trial.status = "running"
    return false
  end
  while self.slots[slot] do slot = slot + 1 end
  local threads, status, goes_on = threads_of(self, slot), trial.status, trials.goes_on(trial)
  trial.status, trial.began = "running", core.seconds()
  self.view:start(trial, goes_on)
  local process = core.fork(function()
    current.quiet, trial.status = true, status
    core.resize(threads, self.jobs)
    local ran, stopped = trials.run(sweep, trial, self.f)
    return stopped and STOPPED or ran and 0 or HELD
  end)
  self.slots[slot], self.running = { process = process, trial = trial, rest = "" }, self.running + 1
  return true
end

-- Shows what a process has said, line by line; the rest of a line follows later.
local function listen(self, one, all)
  local text = one.rest .. one.process:read()
  if all and text ~= "" and string.sub(text, -1) ~= "\n" then text = text .. "\n" end
  for line in string.gmatch(text, "([^\n]*)\n") do
    one.last = line
    self.view:say(one.trial, line)
  end
  one.rest = string.match(text, "[^\n]*$")
end

-- Why a process ended in the middle of its trial; what the program itself says of it is its last line.
local function end_of(one, status, number, name)
  local said = one.last and string.match(one.last, "^sonde: (.*)")
  if status then
    return ("its process ended with status %d before the trial did%s"):format(status, said and ": " .. said or "")
  elseif number == 9 then
    return "its process was killed (signal 9): by the system where memory ran out, which fewer --jobs need less of, or "
      .. "by someone"
  end
  return ("its process crashed (signal %d): %s"):format(number, said or name)
end

-- A trial whose process has ended; false where another process had it. What its exit status says is believed only
-- where the trial's record says it too: the trial's function may have called os.exit.
local function ended(self, one, status, number, name)
  local trial = one.trial
  local was_redo, held = trial.redo, core.run_held(self.sweep.root, self.sweep.name .. "/" .. trial.id)
  trial.redo = nil
  trials.read(trial)
  if status == HELD and (held or trial.status ~= "running") then
    trial.tried = false
    return false
  end
  if status == 0 and trial.status ~= "running" then return trial end
  if status == STOPPED and trial.status == "interrupted" then return trial, trial.id .. ": stopped by a signal" end
  if trial.status ~= "done" and trial.status ~= "diverged" or was_redo then
    trials.lost(self.sweep, trial, end_of(one, status, number, name), core.seconds() - trial.began)
    trials.read(trial)
  end
  return trial
end

-- The slot of a process that has ended, with how; nil where none has.
local function any_ended(self)
  for slot, one in pairs(self.slots) do
    listen(self, one)
    local status, number, name = one.process:ended()
    if status ~= nil then
      listen(self, one, true)
      self.slots[slot], self.running = nil, self.running - 1
      return one, status, number, name
    end
  end
end

local function wait(self)
  local list = {}
  for _, one in pairs(self.slots) do list[#list + 1] = one.process end
  core.wait(list, LOOK)
end

function several:next()
  while self.running > 0 do
    local one, status, number, name = any_ended(self)
    if one then
      local trial, stopped = ended(self, one, status, number, name)
      one.process:close()
      if trial then return trial, stopped end
    else
      wait(self)
      self.view:tick()
    end
  end
end

-- Each writes a checkpoint, as a stopped run does; another signal ends this process, and they with it.
function several:close()
  for _, one in pairs(self.slots) do one.process:stop() end
  while self.running > 0 do
    local one, status, number, name = any_ended(self)
    if one then
      ended(self, one, status, number, name)
      one.process:close()
    else
      wait(self)
    end
  end
  core.resize(self.threads, 1)
end

--- A runner of the sweep's trials, at most `jobs` of them at a time.
---@param sweep sonde.sweep
---@param f fun(trial: sonde.trial, params: table)
---@param view table
---@param jobs integer
---@return table
function processes.open(sweep, f, view, jobs)
  if jobs == 1 then return setmetatable({ sweep = sweep, f = f, view = view }, here) end
  local self = setmetatable({ sweep = sweep, f = f, view = view, jobs = jobs, threads = core.threads(), slots = {},
    running = 0 }, several)
  settings.all()             -- what trials read of them there is not known here
  core.resize(1, 1)          -- a process that is copied has one thread
  collectgarbage()           -- what is closed there is not closed again in each copy
  return self
end

return processes
