--- keep.lua - results of sonde.probe in a run folder: all of them in probes.json, scalars in run.json, both in the
-- database.

local core = require "sonde.core"
local collect = require "sonde.sweep.collect"
local train_record = require "sonde.train.record"

local keep = {}

-- What belongs to one measurement, and may differ for the probes of another.
local MEASURED = { "model", "tokens", "windows", "context", "seed" }
-- Likewise; absent without a mask.
local MASK = { "document_mask", "document_positions" }

-- The probes of an earlier measurement that this one did not repeat; each says what was otherwise then.
local function earlier(path, details)
  local old, others = core.exists(path) and core.json_load(path) or { probes = {} }, {}
  for name, entry in pairs(old.probes) do
    if not details.probes[name] then
      for _, key in ipairs(MEASURED) do
        if entry[key] == nil and old[key] ~= details[key] then entry[key] = old[key] end
      end
      for _, key in ipairs(MASK) do
        if entry[key] == nil and old[key] ~= details[key] then entry[key] = old[key] or false end
      end
      collect.with_nan(entry.values)
      collect.with_nan(entry.ci or {})
      for _, scalar in pairs(entry.scalars or {}) do collect.with_nan(scalar.ci or {}) end
      others[name] = entry
    end
  end
  return others
end

--- Keeps a result in a run folder, beside those of other probes.
---@param run userdata      an open run
---@param details table     second result of sonde.probe
function keep.put(run, details)
  local path, all, scalars = run:dir() .. "/probes.json", {}, {}
  for key, value in pairs(details) do all[key] = value end
  all.probes = earlier(path, details)
  for name, entry in pairs(details.probes) do
    all.probes[name] = entry
    for key, scalar in pairs(entry.scalars or {}) do scalars[name .. "_" .. key] = scalar.value end
  end
  core.json_save(path, all)
  run:report(scalars)
end

--- Keeps a result with the run that the model's folder lies in.
---@param details table
---@return string|nil note   what was done, in a line; nil where the folder lies in no run
function keep.with_model(details)
  local dir = core.real_path(details.model)
  repeat
    dir = string.match(dir, "^(.+)/[^/]+$")
    if not dir then return nil end
  until core.exists(dir .. "/run.json")
  local root, name = train_record.split(dir)
  local ok, message = pcall(function()
    local run = core.run_open(root, name)
    keep.put(run, details)
    run:close()
  end)
  if ok then return "kept with the run: " .. dir .. "/probes.json, and in " .. root .. "/sonde.db" end
  return "not kept with the run " .. dir .. ": " .. message
end

return keep
