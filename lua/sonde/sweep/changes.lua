--- changes.lua - trials that were run by another version of the script than the one that asks for them now: their
-- results are not shown as if they were this one's. What is compared is the function of the trials with everything it
-- uses (base/fingerprint.lua), the plugins, and the files of teachers that it read (base/reads.lua); a change elsewhere
-- in the script is told and keeps them.

local core = require "sonde.core"
local collect = require "sonde.sweep.collect"
local current = require "sonde.base.current"
local fingerprint = require "sonde.base.fingerprint"
local reads = require "sonde.base.reads"
local record = require "sonde.train.record"
local sorted_keys = require "sonde.base.sorted_keys"
local step_of = require("sonde.train.changes").step_of

local sweep_changes = {}

-- Whether a table is the list of values of one of the grid's parameters: a larger grid has the same trials.
local function is_axis(self, t)
  for _, axis in ipairs(self.axes) do
    local same = #axis.values == #t and #t > 0
    for k, value in ipairs(axis.values) do same = same and t[k] == value end
    if same then return true end
  end
  return false
end

local function parts_of(self, f)
  return fingerprint.parts(f, function(t) return t == self or t == self.grid or is_axis(self, t) end)
end

local function script()
  return arg and arg[0] or "the script"
end

-- What of a trial's record differs from now, as text: "by another version of SCRIPT: ..", and the whole of it as a
-- hash; nil where nothing does. `files`: of reads.changed.
local function difference(self, trial_record, files)
  local was = trial_record.sweep or {}
  local texts, read = record.changed(trial_record.plugins or {}), reads.changed(trial_record.reads, files)
  local code = was.code and fingerprint.difference(was.code, self.code, self.kept)
  if code then table.insert(texts, 1, "the trial's function: " .. code) end
  if #texts + #read == 0 then return nil end
  local what = #texts > 0 and "by another version of " .. script() or "with a teacher's files that have changed since"
  for _, text in ipairs(read) do texts[#texts + 1] = text end
  local all = table.concat(texts, ", ")
  return what .. ": " .. all, core.sha256(core.json_encode(self.code) .. all)
end

local function was_run(self, trial)
  return trial.status ~= "queued" and trial.status ~= "failed"
end

-- The trials that other code has run, and how many are of a script that differs elsewhere.
local function look(self)
  local changed, elsewhere, files = {}, {}, {}
  for _, trial in ipairs(self.trials) do
    if was_run(self, trial) then
      local trial_record = collect.record(trial.dir)
      local was = trial_record.sweep or {}
      local text, hash = difference(self, trial_record, files)
      if text and (current.redo or was.accepted ~= hash) then
        changed[#changed + 1] = { trial = trial, text = text, hash = hash }
      elseif not text and was.script and was.script ~= self.script then
        elsewhere[#elsewhere + 1] = { trial = trial }
      end
    end
  end
  return changed, elsewhere
end

-- Written down with the trial, so that it is asked once. One that another process is at work on is left to it.
local function accept(self, entry)
  local ok, run = pcall(core.run_open, self.root, self.name .. "/" .. entry.trial.id)
  if not ok then return end
  local was = run:record()
  local sweep = was.sweep or {}
  sweep.accepted = entry.hash
  local list = was.changes or core.list()
  list[#list + 1] = { step = step_of(entry.trial.dir), what = entry.text }
  run:describe { sweep = sweep, changes = list }
  run:close()
end

local function note(text, ...)
  io.stderr:write("sonde: note: ", string.format(text, ...), "\n")
end

--- Compares the trials that are there with f, and refuses, or marks them to be run again, or accepts them, as the
--- command line says.
---@param self sonde.sweep
---@param f function
---@param mark string|nil     of the script's file
function sweep_changes.check(self, f, mark)
  self.script, self.code, self.kept = mark, parts_of(self, f), {}
  for _, trial in ipairs(self.trials) do
    for _, name in ipairs((collect.record(trial.dir).sweep or {}).keeps or {}) do self.kept[name] = true end
  end
  local changed, elsewhere = look(self)
  if current.redo then
    for _, list in ipairs { changed, elsewhere } do
      for _, entry in ipairs(list) do entry.trial.redo = true end
    end
    return
  end
  if #elsewhere > 0 then
    note("%s has changed since %d of %d trials of '%s' were run, but not what they compute; --redo runs them again",
      script(),
      #elsewhere, #self.trials, self.name)
  end
  if #changed == 0 then return end
  local what = string.format("%d of %d trials were run %s", #changed, #self.trials, changed[1].text)
  if not current.accept_changes and not self.retry then      -- to retry is to have mended something
    error(string.format("%s: %s; --redo runs them again, --accept-changes keeps them as they are", self.folder, what),
      0)
  end
  for _, entry in ipairs(changed) do accept(self, entry) end
  note("%s: %s; they are kept, --redo runs them again", self.folder, what)
end

--- After a call of f: the variables that f itself changes (a counter, a list of what it has done) are on record with
--- the trial, and are not compared.
---@param self sonde.sweep
---@param trial table
---@param f function
function sweep_changes.after(self, trial, f)
  local keeps = sorted_keys(fingerprint.variables(self.code, parts_of(self, f)))
  if #keeps == 0 then return end
  local sweep = trial.run:record().sweep
  sweep.keeps = keeps
  trial.run:describe { sweep = sweep }
end

--- Empties the folder of a trial that is to be run again, whose run is open; not if another process has done so
--- meanwhile.
---@param self sonde.sweep
---@param trial table
function sweep_changes.redo(self, trial)
  if not trial.redo then return end
  trial.redo = nil
  local was = trial.run:record()
  local there = was.sweep or {}
  if difference(self, was, {}) or there.script ~= self.script or collect.difference(there.settings or {},
    self.settings) then
    trial.run:clear()
  end
end

return sweep_changes
