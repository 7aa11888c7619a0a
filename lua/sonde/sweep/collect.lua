--- collect.lua - reads the run folders of a sweep back: records, training history, reported arrays, provenance.

local core = require "sonde.core"

local collect = {}

local LONGEST_NAME = 200      -- a list's name is its file's

-- ---- what trials may report ---------------------------------------------------------------------------------------

local function check_numbers(name, list, least)
  local n = 0
  for _ in pairs(list) do n = n + 1 end
  if n ~= #list or n < least then
    error(core.where() .. ("trial:report: '%s' must be a list of numbers or of lists of numbers"):format(name), 0)
  end
  for _, v in ipairs(list) do
    if type(v) ~= "number" then
      error(core.where() .. ("trial:report: '%s' holds a %s among its numbers"):format(name, type(v)), 0)
    end
  end
end

--- Refuses what is neither a list of numbers nor a list of such lists (a matrix, or a triangle); rows may be empty.
---@param name string
---@param value table
function collect.check_array(name, value)
  if type(value[1]) ~= "table" then return check_numbers(name, value, 1) end
  for _, row in ipairs(value) do
    if type(row) ~= "table" then
      error(core.where() .. ("trial:report: '%s' mixes numbers and lists"):format(name), 0)
    end
    check_numbers(name, row, 0)
  end
end

--- Refuses what cannot be kept as a result.
---@param values table
function collect.check_results(values)
  if type(values) ~= "table" then
    error(core.where() .. "trial:report takes a table, such as { perplexity = 41.3 }", 0)
  end
  for name, value in pairs(values) do
    if type(name) ~= "string" or not name:find("^[%w_][%w_.-]*$") or #name > LONGEST_NAME then
      error(core.where() .. "trial:report: '" .. tostring(name)
        .. "' is no name for a result; letters, digits, _, . and - "
        .. "make one, at most " .. LONGEST_NAME .. " of them", 0)
    end
    local kind = type(value)
    if kind == "table" then
      collect.check_array(name, value)
    elseif kind == "string" and (value:find "%z" or not pcall(core.json_encode, { value })) then
      error(core.where() .. ("trial:report: '%s' is a text that is not UTF-8, or holds a NUL"):format(name), 0)
    elseif kind ~= "number" and kind ~= "string" and kind ~= "boolean" then
      error(core.where() .. ("trial:report: '%s' is a %s; results are numbers, texts, booleans and lists of numbers")
        :format(name, kind), 0)
    end
  end
end

--- A null in a list is read as false; here it is a number that is none.
---@param value table
---@return table
function collect.with_nan(value)
  for k, v in ipairs(value) do
    if type(v) == "table" then collect.with_nan(v) elseif v == false then value[k] = 0 / 0 end
  end
  return value
end

-- ---- one run folder ------------------------------------------------------------------------------------------------

--- What run.json of a folder says; an empty table where there is none.
---@param dir string
---@return table
function collect.record(dir)
  local path = dir .. "/run.json"
  return core.exists(path) and core.json_load(path) or {}
end

-- What a file holds; nil, and a note, where it is damaged: one trial's file is no reason to show none of the others.
local function load_or_note(path, notes)
  if not core.exists(path) then return nil end
  local ok, value = pcall(core.json_load, path)
  if ok then return value end
  notes[#notes + 1] = tostring(value) .. "; it is left out"
end

local function arrays_of(dir, notes)
  local arrays = {}
  if not core.exists(dir .. "/probes") then return arrays end
  for _, file in ipairs(core.list_dir(dir .. "/probes")) do
    local name = file:match("^(.+)%.json$")
    local value = name and load_or_note(dir .. "/probes/" .. file, notes)
    if type(value) == "table" and (type(value[1]) == "number" or value[1] == false or type(value[1]) == "table") then
      arrays[name] = collect.with_nan(value)
    end
  end
  return arrays
end

-- The intervals, over windows of text, of those arrays that the trial's last sonde.probe measured.
local function intervals_of(dir, arrays, notes)
  local intervals, found = {}, load_or_note(dir .. "/probes.json", notes)
  for name, entry in pairs(type(found) == "table" and found.probes or {}) do
    local ci = collect.with_nan(entry.ci or {})
    if arrays[name] then intervals[name] = ci end
    for k, column in ipairs(entry.columns or {}) do
      local list = {}
      for block, row in ipairs(ci) do list[block] = row[k] end
      if arrays[name .. "_" .. column] then intervals[name .. "_" .. column] = list end
    end
  end
  return intervals
end

-- The lines of metrics.jsonl, with the trainer's names made plain. A last line that is being written is left out.
local PLAIN = { ["train/loss"] = "loss", ["val/loss"] = "val_loss", ["block/variance"] = "variance",
  ["block/grad_norm"] = "block_grad_norm", ["block/attention_entropy"] = "attention_entropy" }

local function history_of(dir, notes)
  local path, rows = dir .. "/metrics.jsonl", {}
  if not core.exists(path) then return rows end
  for line in core.read_file(path):gmatch("([^\n]*)\n") do
    local ok, row = pcall(core.json_decode, line, path)
    if not ok or type(row) ~= "table" then
      notes[#notes + 1] = ("%s: line %d is no JSON object; what follows it is left out"):format(path, #rows + 1)
      break
    end
    for name, plain in pairs(PLAIN) do row[plain] = row[name] ~= nil and row[name] or row[plain] end
    for _, name in ipairs { "variance", "block_grad_norm", "attention_entropy" } do
      if row[name] then collect.with_nan(row[name]) end
    end
    rows[#rows + 1] = row
  end
  return rows
end

-- What training recorded last, for arrays that the trial did not report itself.
local function last_arrays(arrays, history)
  for array, field in pairs { variance = "variance", grad_norm = "block_grad_norm" } do
    for k = #history, 1, -1 do
      if arrays[array] then break end
      arrays[array] = history[k][field]
    end
  end
end

-- Whether a metric, or each of several, is a speed or a share of time.
local function is_rate(metric)
  for _, name in ipairs(type(metric) == "table" and metric or { metric }) do
    if not (name:find "_per_s$" or name:find "_time_share$") then return false end
  end
  return metric ~= nil
end

-- Whether the losses of a trial's training are of validation text; nil where it trained nothing.
local function validated(record, history)
  if record.validated ~= nil then return record.validated end
  for _, row in ipairs(history) do
    if row.val_loss then return true end
  end
  if #history > 0 then return false end
end

-- Reads what a trial's folder holds into the trial (with dir), which gets record, results, arrays, intervals, history,
-- seconds, validated. What training records by itself has nothing to say where trials train to measure a speed.
local function read_trial(trial, metric, notes)
  local record = collect.record(trial.dir)
  trial.record, trial.results, trial.seconds = record, record.results or {}, record.seconds
  trial.arrays, trial.history = arrays_of(trial.dir, notes), is_rate(metric) and {} or history_of(trial.dir, notes)
  trial.intervals = intervals_of(trial.dir, trial.arrays, notes)
  trial.validated = validated(record, trial.history)
  last_arrays(trial.arrays, trial.history)
end

-- ---- settings and provenance
-- -------------------------------------------------------------------------------------------

--- A tree of tables as sorted pairs { "train.lr", 0.001 }.
---@param tree table
---@return table[] pairs
function collect.flat(tree)
  local out = {}
  local function walk(t, prefix)
    local keys = {}
    for key in pairs(t) do keys[#keys + 1] = key end
    table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
    for _, key in ipairs(keys) do
      local path, value = prefix .. tostring(key), t[key]
      if type(value) == "table" and #value == 0 and next(value) ~= nil then
        walk(value, path .. ".")
      else
        out[#out + 1] = { path, type(value) == "table" and core.json_encode(value) or value }
      end
    end
  end
  walk(tree, "")
  return out
end

local function shown(value)
  if type(value) == "number" then return string.format("%.14g", value) end
  return value == nil and "absent" or tostring(value)
end

--- What differs between two trees of settings: "width 96, now 128", or nil.
---@param old table
---@param new table
---@return string|nil
function collect.difference(old, new)
  local values, names, parts = {}, {}, {}
  for side, tree in ipairs { old, new } do
    for _, pair in ipairs(collect.flat(tree)) do
      if not values[pair[1]] then
        values[pair[1]] = {}
        names[#names + 1] = pair[1]
      end
      values[pair[1]][side] = pair[2]
    end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local a, b = shown(values[name][1]), shown(values[name][2])
    if a ~= b then parts[#parts + 1] = ("%s was %s, is now %s"):format(name, a, b) end
  end
  return #parts > 0 and table.concat(parts, "; ") or nil
end

-- The values that a fact has over the trials that have it, with how many have each where they differ.
local function distinct(trials, fact)
  local counts, order = {}, {}
  for _, trial in ipairs(trials) do
    local value = trial.record and fact(trial.record)
    if value and value ~= "" then
      if not counts[value] then order[#order + 1] = value end
      counts[value] = (counts[value] or 0) + 1
    end
  end
  if #order <= 1 then return order[1], #order end
  local parts = {}
  for k, value in ipairs(order) do
    parts[k] = ("%s (%d %s)"):format(value, counts[value], counts[value] == 1 and "trial" or "trials")
  end
  return table.concat(parts, "; "), #order
end

local function plugin_list(record)
  local parts = {}
  for _, plugin in ipairs(record.plugins or {}) do
    local from = plugin.from or 0
    local steps = plugin.to and (", steps %d to %d"):format(from + 1, plugin.to) or from > 0
      and (", from step %d"):format(from + 1) or ""
    parts[#parts + 1] = ("%s %s %s (%s%s)"):format(plugin.kind, plugin.name, plugin.version or "",
      plugin.sha256 and plugin.sha256:sub(1, 12) or "built in", steps)
  end
  table.sort(parts)
  return table.concat(parts, ", ")
end

local function corpus_text(record)
  local corpus = record.corpus
  return corpus and ("%s, sha256 %s"):format(corpus.name or "?", corpus.sha256 or "?")
end

local FACTS = {
  { "program", function(r)
    if not r.version then return nil end
    return "sonde " .. r.version .. (r.commit and r.commit ~= "" and " (commit " .. r.commit .. ")" or "")
  end },
  { "machine", function(r) return r.machine end },
  { "threads", function(r) return r.threads and string.format("%d", r.threads) end },
  { "corpus", corpus_text },
  { "plugins", plugin_list },
}

local function dates(trials)
  local first, last
  for _, trial in ipairs(trials) do
    local started, ended = trial.record.started, trial.record.ended
    if started and (not first or started < first) then first = started end
    if ended and (not last or ended > last) then last = ended end
  end
  return first, last
end

local function provenance(trials, notes)
  local rows = {}
  for _, fact in ipairs(FACTS) do
    local text, different = distinct(trials, fact[2])
    if text then rows[#rows + 1] = { fact[1], text } end
    if different > 1 and fact[1] ~= "plugins" then
      notes[#notes + 1] = ("the trials differ in their %s; see the provenance below"):format(fact[1])
    end
  end
  local first, last = dates(trials)
  if first then rows[#rows + 1] = { "first trial started", first } end
  if last then rows[#rows + 1] = { "last trial ended", last } end
  local total = 0
  for _, trial in ipairs(trials) do total = total + (trial.seconds or 0) end
  if total > 0 then rows[#rows + 1] = { "time in trials", ("%.0f s"):format(total) } end
  local _, scripts = distinct(trials, function(r) return r.sweep and r.sweep.script end)
  if scripts > 1 then notes[#notes + 1] = "the script was changed between trials of this sweep" end
  return rows
end

local function configs(sweep)
  local out = {}
  if next(sweep.settings) then out[1] = { "Settings that all trials share", core.yaml_encode(sweep.settings) } end
  for _, trial in ipairs(sweep.trials) do
    local path = trial.dir .. "/config.yaml"
    if core.exists(path) then
      out[#out + 1] = { "Full configuration of the trial " .. trial.id, core.read_file(path) }
      break
    end
  end
  local script = arg and arg[0]
  if script and core.exists(script) then out[#out + 1] = { "The script, " .. script, core.read_file(script) } end
  return out
end

--- Everything that a report of the sweep shows (report/data.lua lists the fields).
---@param sweep table
---@param options table of sweep:summary
---@param command string
---@return table
function collect.data(sweep, options, command)
  local notes = {}
  for _, trial in ipairs(sweep.trials) do read_trial(trial, options.metric, notes) end
  return {
    name = sweep.name, title = sweep.title, question = sweep.question, over = sweep.over, grid = sweep.axes,
    trials = sweep.trials, metric = options.metric, by = options.by, where = options.where, higher = options.higher,
    reference = options.reference, percent = options.percent, panels = options.panels, intervals = options.intervals,
    beside = options.beside, comparison = options.comparison, tables = options.tables,
    figures = options.figures,
    command = command, provenance = provenance(sweep.trials, notes), configs = configs(sweep), notes = notes,
  }
end

return collect
