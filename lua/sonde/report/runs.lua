--- runs.lua - recorded runs as tables, for `sonde runs export`: the runs themselves, the lines of their metrics.jsonl,
-- and the lists and matrices of their probes.

local core = require "sonde.core"
local export = require "sonde.report.export"
local sorted_keys = require "sonde.base.sorted_keys"

local runs_export = {}

local FACTS = { "status", "reason", "started", "ended", "seconds", "command", "version", "commit_id", "machine",
  "threads",
  "corpus", "corpus_sha256" }

local function keys_of(trials, section, wanted)
  local seen = {}
  for _, trial in ipairs(trials) do
    for key, value in pairs(trial[section]) do
      if wanted(value) then seen[key] = true end
    end
  end
  return sorted_keys(seen)
end

local function is_scalar(value)
  return type(value) ~= "table"
end

-- A field of a table: null is nothing, a list its JSON.
local function plain(value)
  if value == core.null then return nil end
  return type(value) == "table" and core.json_encode(value) or value
end

--- One line a run: what is known of it, its parameters, its results but for lists.
---@param trials table[]     of core.runs, with nulls kept
---@return string
function runs_export.runs(trials)
  local parameters = keys_of(trials, "parameters", function() return true end)
  local results, rows = keys_of(trials, "results", is_scalar), {}
  for r, trial in ipairs(trials) do
    local row, n = { trial.dir }, 1
    local function put(value)
      n = n + 1
      row[n] = plain(value)
    end
    for _, key in ipairs(FACTS) do put(trial[key]) end
    for _, key in ipairs(parameters) do put(trial.parameters[key]) end
    for _, key in ipairs(results) do put(trial.results[key]) end
    rows[r] = row
  end
  return export.csv(export.columns { { "run", { "run" } }, { "run", FACTS }, { "parameter", parameters },
    { "result", results } }, rows)
end

-- The lines of a run's metrics as flat tables: "block/variance.0" is the first entry of a list.
local function metric_lines(path, note)
  local rows, text = {}, core.exists(path) and core.read_file(path) or ""
  for line in text:gmatch "([^\n]*)\n" do
    local ok, values = pcall(core.json_decode, line, path)
    if not ok or type(values) ~= "table" then
      note(("%s: line %d is no JSON object; what follows it is left out"):format(path, #rows + 1))
      return rows
    end
    local flat = {}
    for key, value in pairs(values) do
      if type(value) ~= "table" then flat[key] = value end
      for k, entry in ipairs(type(value) == "table" and value or {}) do
        flat[("%s.%d"):format(key, k - 1)] = entry ~= false and entry or nil      -- null
      end
    end
    rows[#rows + 1] = flat
  end
  if text:find "[^\n]$" then note(path .. ": the last line is not whole and is left out") end
  return rows
end

-- "a.2" before "a.10".
local function by_number(a, b)
  local head_a, at_a = a:match "^(.*)%.(%d+)$"
  local head_b, at_b = b:match "^(.*)%.(%d+)$"
  if head_a and head_a == head_b then return tonumber(at_a) < tonumber(at_b) end
  return a < b
end

--- One line a line of metrics.jsonl.
---@param trials table[]
---@param root string
---@param note fun(text: string)     called for what is damaged
---@return string
function runs_export.metrics(trials, root, note)
  local lines, seen, names = {}, { step = true, tokens = true }, {}
  for _, trial in ipairs(trials) do
    for _, flat in ipairs(metric_lines(root .. "/" .. trial.dir .. "/metrics.jsonl", note)) do
      lines[#lines + 1] = { trial.dir, flat }
      for name in pairs(flat) do
        if not seen[name] then names[#names + 1] = name end
        seen[name] = true
      end
    end
  end
  table.sort(names, by_number)
  table.insert(names, 1, "step")
  table.insert(names, 2, "tokens")
  local rows = {}
  for r, line in ipairs(lines) do
    rows[r] = { line[1] }
    for k, name in ipairs(names) do rows[r][k + 1] = line[2][name] end
  end
  return export.csv(export.columns { { "run", { "run" } }, { "metric", names } }, rows)
end

--- One line an entry of every list or matrix that a run's trial or its probes reported, with its interval where it has
--- one.
---@param trials table[]
---@return string
function runs_export.lists(trials)
  local rows = {}
  for _, trial in ipairs(trials) do
    for _, name in ipairs(sorted_keys(trial.results)) do
      local values = trial.results[name]
      if type(values) == "table" and not name:find "%.ci$" then
        export.list_rows(rows, { trial.dir }, name, values, trial.results[name .. ".ci"])
      end
    end
  end
  return export.csv({ "run", "list", "row", "column", "value", "low", "high" }, rows)
end

return runs_export
