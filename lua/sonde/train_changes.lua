--- train_changes.lua - a run folder that was made with something else than what is asked for now: refused with what differs, or
-- computed anew (redo), or gone on with (accept_changes), and then it is on record which of its updates were made with what.

local core = require "sonde.core"
local record = require "sonde.train_record"

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
      error(string.format("%s: %s was %s and cannot become %s within a run; let another run begin with this one's checkpoint "
        .. "(option from), or --redo computes it anew", dir, key, tostring(old[key]), tostring(now[key])), 0)
    end
  end
end

-- What the rate does where a run goes on past the end it was planned to have.
local function extension(dir, old, o, step)
  if not old.steps or o.steps <= old.steps then return nil end
  local rate = type(o.schedule) == "string" and core.learning_rate(o, step + 1) or nil
  return string.format("%s: goes on past its planned end of %d updates to %d; the rate follows the schedule of %d%s", dir, old.steps,
    o.steps, o.steps, rate and string.format(", which at update %d is %.4g", step + 1, rate) or "")
end

-- The options of the training that config.yaml holds.
local function options_there(dir)
  local ok, old = pcall(core.yaml_load, dir .. "/config.yaml")
  return ok and type(old) == "table" and type(old.train) == "table" and old.train or nil
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

--- Compares what a run was made with and what is asked for, and refuses or does what the options say. What it returns writes
-- the configuration and the changes down, for when nothing can be wrong with them any more, and gives run.json's "plugins".
---@param run userdata
---@param config table       the configuration to record
---@param plugins table[]    of record.plugins
---@param o table            options of the training: accept_changes, redo, and those of its schedule
---@return fun(): table[]
function changes.settle(run, config, plugins, o)
  local dir, keys = run:dir(), run:difference(config)
  local old = keys and run:record().plugins or {}
  local texts = record.changed(old, plugins)
  if keys and keys ~= "" then table.insert(texts, 1, keys) end
  local what = table.concat(texts, ", ")
  if what ~= "" and o.redo then
    run:clear()
    old = {}
  elseif what ~= "" and o.accept_changes then
    local there = options_there(dir)
    if there then refuse_fixed(dir, there, config.train) end
  elseif what ~= "" then
    error(string.format("%s: was made with another %s: %s; use another folder, or --redo computes it anew, or --accept-changes "
      .. "goes on with it from step %d", dir, keys ~= "" and "configuration" or "code", what, changes.step_of(dir)), 0)
  end
  return function()
    if what ~= "" and o.accept_changes then put_down(run, what, o) end
    run:config(config)
    return record.merged(old, plugins, keys and changes.step_of(dir) or 0)
  end
end

return changes
