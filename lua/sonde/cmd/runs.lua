--- runs - lists, shows and compares the runs that were recorded.

local core = require "sonde.core"
local args = require "sonde.base.args"
local output = require "sonde.base.output"
local grid = require "sonde.sweep.grid"
local sorted_keys = require "sonde.base.sorted_keys"

local root_option = { name = "root", type = "string", preset = "runs", value = "DIR", doc = "folder of the runs" }
local json_option = output.json

local function need_root(root)
  if not core.exists(root) then
    error("there is no folder '" .. root .. "'; name the folder of the runs with --root DIR", 0)
  end
end

local function text_of(value)
  if value == nil or value == core.null then return "-" end      -- of a number that was not finite
  if type(value) == "number" then return grid.text(value) end
  if type(value) == "table" then return core.json_encode(value) end
  return (string.gsub(tostring(value), "%c", "?"))
end

-- Hashes and lists would push the other columns off the screen.
local function brief(text)
  if #text <= 24 then return text end
  return string.sub(text, 1, 16) .. "..."
end

local function trials_of(options)
  need_root(options.root)
  local under = options.under and string.gsub(options.under, "/+$", "")
  -- its path, as training prints it
  if under and string.sub(under, 1, #options.root + 1) == options.root .. "/" then
    under = string.sub(under, #options.root + 2)
  end
  local trials = core.runs(options.root, under, options.json)
  if under and #trials == 0 then
    local names, seen = {}, {}
    for _, trial in ipairs(core.runs(options.root)) do
      for _, name in ipairs { trial.experiment, trial.dir } do
        if name ~= "" and not seen[name] then
          seen[name] = true
          names[#names + 1] = name
        end
      end
    end
    error("no run '" .. under .. "' in " .. options.root .. args.hint(under, names), 0)
  end
  return trials
end

-- ---- list
-- ------------------------------------------------------------------------------------------------------------

-- A script may have reported something else under the name.
local function number_text(value, form)
  return type(value) == "number" and string.format(form, value) or "-"
end

local function list(options)
  local trials = trials_of(options)
  if options.json then return output.print_json(core.list(trials)) end
  if #trials == 0 then return print("no runs in " .. options.root) end
  local rows = { { "RUN", "STATUS", "LOSS", "PERPLEXITY", "TOK/S", "STARTED", "REASON" } }
  for _, trial in ipairs(trials) do
    local r = trial.results
    rows[#rows + 1] = {
      trial.dir, trial.status, number_text(r.loss, "%.4f"), number_text(r.perplexity, "%.4g"),
      number_text(r.tokens_per_s, "%.0f"),
      trial.started and string.gsub(string.sub(trial.started, 1, 16), "T", " ") or "-", trial.reason or "",
    }
  end
  output.print_table(rows)
end

-- ---- show
-- ------------------------------------------------------------------------------------------------------------

local function print_section(title, values, shorten)
  local keys = sorted_keys(values)
  if #keys == 0 then return end
  print("\n" .. title)
  local widest = 0
  for _, key in ipairs(keys) do widest = math.max(widest, #key) end
  for _, key in ipairs(keys) do
    print("  " .. key .. string.rep(" ", widest - #key + 2) .. (shorten or tostring)(text_of(values[key])))
  end
end

-- What a run was computed with; one that was changed while the run was stopped has a line for each state, in their
-- order.
local function print_modules(plugins)
  local states = {}
  for _, plugin in ipairs(plugins) do
    local name = plugin.kind .. "/" .. plugin.name
    states[name] = states[name] or {}
    table.insert(states[name], tostring(plugin.version or "") .. "  " .. string.sub(tostring(plugin.sha256 or ""), 1,
      16))
  end
  local shown = {}
  for name, list in pairs(states) do
    for k, state in ipairs(list) do shown[k == 1 and name or name .. " (" .. k .. ")"] = state end
  end
  print_section("modules", shown)
end

local function show(options)
  local trials = trials_of { root = options.root, under = options.run, json = true }
  if #trials ~= 1 then
    error("'" .. options.run .. "' holds " .. #trials .. " runs; name one, such as " .. trials[1].dir, 0)
  end
  local trial = trials[1]
  if options.json then return output.print_json(trial) end
  for key, value in pairs(trial) do
    if value == core.null then trial[key] = nil end      -- a null among the results is shown, as "-"
  end
  local reason = trial.reason and trial.reason ~= "" and " (" .. trial.reason .. ")" or ""
  print(trial.dir .. ": " .. trial.status .. reason)
  print_section("results", trial.results, brief)
  print_section("provenance", {
    command = trial.command, version = trial.version, commit = trial.commit_id, machine = trial.machine,
    threads = trial.threads, corpus = trial.corpus, corpus_sha256 = trial.corpus_sha256, started = trial.started,
    ended = trial.ended,
  })
  print_modules(trial.plugins)
  print_section("parameters", trial.parameters)
end

-- ---- compare
-- -----------------------------------------------------------------------------------------------------------

local function equal(a, b)
  return text_of(a) == text_of(b)
end

-- Keys of a section in which the trials are not all the same.
local function differing(trials, section)
  local all = {}
  for _, trial in ipairs(trials) do
    for key in pairs(trial[section]) do all[key] = true end
  end
  local keys = {}
  for _, key in ipairs(sorted_keys(all)) do
    for i = 2, #trials do
      if not equal(trials[i][section][key], trials[1][section][key]) then
        keys[#keys + 1] = key
        break
      end
    end
  end
  return keys
end

local function compare(options)
  local trials = {}
  for _, name in ipairs(options.runs) do
    for _, trial in ipairs(trials_of { root = options.root, under = name, json = true }) do
      trials[#trials + 1] = trial
    end
  end
  if #trials < 2 then error("compare needs two runs or more, or an experiment that holds them", 0) end
  local keys = { parameters = differing(trials, "parameters"), results = differing(trials, "results") }
  local rows = { { "" } }
  if options.json then
    return output.print_json { runs = core.list(trials), differing = {
      parameters = core.list(keys.parameters), results = core.list(keys.results) } }
  end
  for _, trial in ipairs(trials) do rows[1][#rows[1] + 1] = trial.dir end
  for _, section in ipairs { "parameters", "results" } do
    for _, key in ipairs(keys[section]) do
      local row = { key }
      for _, trial in ipairs(trials) do
        row[#row + 1] = brief(text_of(trial[section][key]))
      end
      rows[#rows + 1] = row
    end
  end
  output.print_table(rows)
end

-- ---- rebuild
-- -----------------------------------------------------------------------------------------------------------

local function rebuild(options)
  need_root(options.root)
  local path = options.root .. "/sonde.db"
  for _, suffix in ipairs { "", "-wal", "-shm" } do core.remove_tree(path .. suffix) end
  print(string.format("%s: %d runs", path, core.runs_rebuild(options.root)))
end

-- ---- export
-- ------------------------------------------------------------------------------------------------------------

local function export(options)
  local trials = trials_of { root = options.root, under = options.under, json = true }
  local tables = require "sonde.report.runs"
  io.stdout:write(tables[options.table](trials, options.root, function(text)
    io.stderr:write("sonde: note: ", text, "\n")
  end))
end

-- ---- tensorboard
-- -------------------------------------------------------------------------------------------------------

local function events(options)
  local tensorboard = require "sonde.train.tensorboard"
  for _, trial in ipairs(trials_of(options)) do
    local dir = options.root .. "/" .. trial.dir
    if core.run_held(options.root, trial.dir) then
      io.stderr:write("sonde: note: ", dir, " is being written; it is left out\n")
    elseif core.exists(dir .. "/metrics.jsonl") then
      local board = tensorboard.open(dir)
      board:close()
      print(board.file)
    end
  end
end

-- What completion offers: experiments and runs of the usual folder.
local function suggest()
  local names, seen = {}, {}
  for _, trial in ipairs(core.exists(root_option.preset) and core.runs(root_option.preset) or {}) do
    for _, name in ipairs { trial.experiment, trial.dir } do
      if name ~= "" and not seen[name] then names[#names + 1], seen[name] = name, true end
    end
  end
  return names
end

local run_field = { name = "run", type = "string", doc = "EXPERIMENT or EXPERIMENT/TRIAL", suggest = suggest }

local under_field = { name = "under", type = "string", doc = "an experiment or a run; default: all",
  suggest = suggest }

return {
  summary = "list, show and compare recorded runs",
  usage = "[list|show|compare|export|tensorboard|rebuild]",
  details = "A run that `sonde train --dir X` keeps elsewhere is found with --root FOLDER, the folder around X.",
  default = "list",
  example = "sonde runs compare depth/pre_ln-8-1 depth/lns-8-1",
  commands = {
    list = {
      summary = "one line for each run", usage = "[EXPERIMENT]", options = { root_option, json_option },
      positional = { { name = "under", type = "string", doc = "an experiment", suggest = suggest } },
      example = "sonde runs list depth", run = list,
    },
    show = {
      summary = "everything about one run", usage = "EXPERIMENT/TRIAL", options = { root_option, json_option },
      positional = { { name = "run", type = "string", required = true, doc = "EXPERIMENT/TRIAL", suggest = suggest } },
      example = "sonde runs show depth/pre_ln-8-1", run = show,
    },
    compare = {
      summary = "in what runs differ: parameters and results", usage = "RUN RUN ...",
      options = { root_option, json_option },
      positional = {
        { name = "runs", type = "list", repeated = true, required = true, of = run_field,
          doc = "runs, or experiments" },
      },
      example = "sonde runs compare depth", run = compare,
    },
    export = {
      summary = "a table of runs, their metrics or their lists, as CSV", usage = "[EXPERIMENT or RUN]",
      details = "Prints CSV (RFC 4180, with line feeds). runs: a line for each run, with its parameters and results. "
        .. "metrics: a\n"
        .. "line for each line of metrics.jsonl. lists: a line for each entry of what probes and trial:report gave as "
        .. "lists and\n"
        .. "matrices, with its interval. The tables of a sweep's summary: sweep:summary { csv = true }.",
      options = { root_option, { name = "table", type = "string", preset = "runs", choices = { "runs", "metrics",
        "lists" },
        doc = "which table" } },
      positional = { under_field },
      example = "sonde runs export depth --table metrics > metrics.csv", run = export,
    },
    tensorboard = {
      summary = "the metrics of runs as event files of TensorBoard", usage = "[EXPERIMENT or RUN]",
      details = "Writes events.out.tfevents.sonde into each run folder, or adds what it lacks; then: tensorboard "
        .. "--logdir runs.\n"
        .. "A training with the option log = {\"tensorboard\"} writes it while it runs.",
      options = { root_option }, positional = { under_field },
      example = "sonde runs tensorboard depth", run = events,
    },
    rebuild = {
      summary = "make the database again from the run folders", usage = "", options = { root_option },
      example = "sonde runs rebuild", run = rebuild,
    },
  },
}
