--- changes.lua - a run folder that was made with something else than what is asked for now: refused with what differs,
-- or computed anew (redo), or gone on with (accept_changes), and then it is on record which of its updates were made
-- with what.

local core = require "sonde.core"
local record = require "sonde.train.record"

local changes = {}

-- What the place in the text follows from: no checkpoint can go on with another one.
local FIXED = { "batch", "accumulate", "context", "seed" }

--- The updates that the checkpoint of a run folder holds; 0 where there is none.
---@param dir string
---@return integer
function changes.step_of(dir)
  local ok, state = pcall(core.json_load, dir .. "/checkpoint/state.json")
  return ok and type(state) == "table" and state.step or 0
end

local function refuse_fixed(dir, old, now)
  for _, key in ipairs(FIXED) do
    if old[key] ~= now[key] then
      error(string.format("%s: %s was %s and cannot become %s within a run; let another run begin with this one's "
        .. "checkpoint "
        .. "(option from), or --redo computes it anew", dir, key, tostring(old[key]), tostring(now[key])), 0)
    end
  end
end

-- What the rate does where a run goes on past the end it was planned to have.
local function extension(dir, old, o, step)
  if not old.steps or o.steps <= old.steps then return nil end
  local rate = type(o.schedule) == "string" and core.learning_rate(o, step + 1) or nil
  return string.format("%s: goes on past its planned end of %d updates to %d; the rate follows the schedule of %d%s",
    dir, old.steps,
    o.steps, o.steps, rate and string.format(", which at update %d is %.4g", step + 1, rate) or "")
end

--- What config.yaml holds; nil where there is none.
---@param dir string
---@return table|nil
function changes.configuration_of(dir)
  local ok, old = pcall(core.yaml_load, dir .. "/config.yaml")
  return ok and type(old) == "table" and old or nil
end

-- The options of the training that config.yaml holds.
local function options_there(dir)
  local old = changes.configuration_of(dir) or {}
  return type(old.train) == "table" and old.train or nil
end

-- What to compare of a configuration: runs of earlier versions have not recorded all of it, and go on.
local function comparable(dir, config)
  local old, kept = changes.configuration_of(dir), {}
  if not old or old.begins_with then return config end
  for key, value in pairs(config) do kept[key] = value end
  kept.begins_with, kept.model = nil, {}
  for key, value in pairs(config.model) do
    if key ~= "view_options" then kept.model[key] = value end
  end
  return kept
end

local function put_down(run, what, o)
  local dir, step = run:dir(), changes.step_of(run:dir())
  local list = run:record().changes or core.list()
  list[#list + 1] = { step = step, what = what }
  run:describe { changes = list }
  run:note("from step " .. step .. " on with changes: " .. what)
  io.stderr:write("sonde: note: ", extension(dir, options_there(dir) or {}, o, step)
    or string.format("%s: goes on from step %d with changes: %s", dir, step, what), "\n")
end

local function differences(run, keys, plugins)
  local texts = record.changed(keys and run:record().plugins or {}, plugins)
  if keys and keys ~= "" then table.insert(texts, 1, keys) end
  return table.concat(texts, ", ")
end

-- What --redo and --accept-changes cannot do for a run that differs in `what`.
local function refuse(dir, keys, what, o, step)
  local other, done = keys ~= "" and "configuration" or "code", step >= o.steps
  if not o.accept_changes and not (done and keys ~= "") then
    error(string.format("%s: was made with another %s: %s; use another folder, or --redo computes it anew, or "
      .. "--accept-changes %s", dir, other, what, done and "keeps it as it is, with all its updates done"
      or "goes on with it from step " .. step), 0)
  end
  local there = options_there(dir)
  if there then refuse_fixed(dir, there, o) end
  if done and keys ~= "" then
    error(string.format("%s: was made with another configuration: %s; all of its %d updates are done, so that nothing "
      .. "is left to "
      .. "compute with this one; use another folder, or --redo computes it anew", dir, what, step), 0)
  end
end

local function tell(dir, text)
  io.stderr:write("sonde: note: ", dir, ": ", text, "\n")
end

--- Compares what a run was made with and what is asked for, and refuses or does what the options say.
---@param run userdata
---@param config table       the configuration to record
---@param plugins table[]    of record.plugins
---@param o table            options of the training: steps, accept_changes, redo, and those of its schedule
---@return boolean finished  all updates are done, and what was computed stays as it is
---@return fun(): table[] commit  writes the configuration and the changes, for when nothing can be wrong any more,
---                          and gives run.json's "plugins"
function changes.settle(run, config, plugins, o)
  local dir = run:dir()
  local keys = run:difference(comparable(dir, config))
  local old, what = keys and run:record().plugins or {}, differences(run, keys, plugins)
  if what ~= "" and o.redo then
    run:clear()
    old, keys, what = {}, nil, ""
  elseif keys and o.redo then
    tell(dir, "nothing differs from what it was made with: it is kept (remove the folder to compute it again)")
  elseif what ~= "" then
    refuse(dir, keys, what, o, changes.step_of(dir))
  end
  local finished = keys ~= nil and changes.step_of(dir) >= o.steps
  return finished, function()
    if finished and what ~= "" then tell(dir, "all of its updates were made with other code: " .. what) end
    if finished then return old end
    if what ~= "" then put_down(run, what, o) end
    run:config(config)
    return record.merged(old, plugins, keys and changes.step_of(dir) or 0)
  end
end

return changes
