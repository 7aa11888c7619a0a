--- query - a SELECT over the database of runs.

local core = require "sonde.core"
local output = require "sonde.base.output"
local grid = require "sonde.sweep.grid"

local function text_of(value)
  if value == core.null then return "-" end
  return type(value) == "number" and grid.text(value) or (string.gsub(tostring(value), "%c", "?"))
end

-- Rows as objects: two columns of one name would be one.
local function objects(columns, rows)
  local seen, list = {}, core.list()
  for _, name in ipairs(columns) do
    if seen[name] then error("two columns are called '" .. name .. "'; name them with AS", 0) end
    seen[name] = true
  end
  for r, row in ipairs(rows) do
    list[r] = {}
    for k, name in ipairs(columns) do list[r][name] = row[k] end
  end
  return list
end

local function csv(columns, rows)
  local plain = {}
  for r, row in ipairs(rows) do
    plain[r] = {}
    for k = 1, #columns do plain[r][k] = row[k] ~= core.null and row[k] or nil end
  end
  return require("sonde.report.export").csv(columns, plain)
end

local function print_rows(columns, rows)
  local lines = { columns }
  for r, row in ipairs(rows) do
    local texts = {}
    for k, value in ipairs(row) do texts[k] = text_of(value) end
    lines[r + 1] = texts
  end
  output.print_table(lines)
end

return {
  summary = "a SELECT over the database of recorded runs",
  usage = "\"SELECT ...\" [options]",
  details = "SQLite's SQL, for reading only. Tables: trials (id, dir, experiment, trial, status, reason, started, "
    .. "ended,\n"
    .. "command, version, commit_id, machine, threads, corpus, corpus_sha256), a row for each run; and by trial (=\n"
    .. "trials.id) parameters (trial, key, value, type), results (trial, key, value, type), plugins (trial, kind,\n"
    .. "name, version, sha256). Keys are dotted paths: train.lr, model.depth. A value whose type is boolean is 0 or\n"
    .. "1, json is a list as text.",
  positional = { { name = "sql", type = "string", required = true, doc = "the statement, as one word" } },
  options = {
    { name = "root", type = "string", preset = "runs", value = "DIR", doc = "folder of the runs" },
    output.json, output.csv,
  },
  example = "sonde query \"SELECT dir, value FROM results JOIN trials ON id = results.trial WHERE key = 'perplexity' "
    .. "ORDER BY value\"",
  run = function(options)
    output.check_one(options)
    if not core.exists(options.root) then
      error("there is no folder '" .. options.root .. "'; name the folder of the runs with --root DIR", 0)
    end
    local result = core.query(options.root, options.sql)
    if options.json then
      output.print_json(objects(result.columns, result.rows))
    elseif options.csv then
      io.stdout:write(csv(result.columns, result.rows))
    else
      print_rows(result.columns, result.rows)
    end
  end,
}
