--- sonde.probe - what the depth of a model does: measured on the values of its blocks, over tokens it has not
-- seen.
--
-- Blocks count from 0: the first entry of a list is block 0. Probes that are asked for together share their
-- passes over the text (session.lua); every figure has a 95 % interval from windows drawn anew
-- (bootstrap.lua). What can be asked for is registered by the files of measures/, and described in doc/probes.md.

-- What lives here: registry.lua and measures/ are the probes, session.lua the passes that they share, bootstrap.lua the
-- intervals; affine.lua, added.lua, norms.lua and attention_weights.lua are shared by several. keep.lua writes results
-- into run folders, show.lua shows them; attention_maps.lua is of one text.

local core = require "sonde.core"
local args = require "sonde.base.args"
local current = require "sonde.base.current"
local documents = require "sonde.data.documents"
local bootstrap = require "sonde.probe.bootstrap"
local keep = require "sonde.probe.keep"
local registry = require "sonde.probe.registry"
local session = require "sonde.probe.session"

local probe = { registry = registry }

--- The options of a probe.
---@type sonde.schema
probe.schema = documents.with {
  { name = "tokens", type = "integer", min = 2, preset = 51200,
    doc = "tokens to measure on: whole windows, at least one, spread evenly over the text; all where it has no more" },
  { name = "context", type = "integer", min = 2, max = 1048576,
    doc = "tokens of a window; default: 512, or the model's context, or what the text holds" },
  { name = "batch", type = "integer", min = 1, max = 1048576,
    doc = "windows computed at once; default: some thousand tokens" },
  { name = "seed", type = "integer", min = 0, preset = 0,
    doc = "of the draws behind the intervals, and of random vectors" },
  { name = "progress", type = "function", doc = "called with the share that is done, and of what" },
}

--- The names of all probes.
---@return string[]
function probe.names()
  return registry.names()
end

-- What a probe has to say of its jobs, described.
local function entry_of(run, found, jobs)
  local entry
  if found.measure then
    entry = found.measure(run, jobs)
  else
    entry = bootstrap.figures(run, jobs, found.value, found.resamples)
  end
  entry.unit, entry.definition, entry.source = found.unit, found.definition, found.source
  entry.axes, entry.columns = found.axes, found.columns
  entry.labels, entry.note = found.labels and found.labels(run), found.note and found.note(run)
  return entry
end

local function spread(values, name, entry)
  if not entry.columns then
    values[name] = entry.values
    return
  end
  for k, column in ipairs(entry.columns) do
    local list = core.list()
    for block, row in ipairs(entry.values) do list[block] = row[k] end
    values[name .. "_" .. column] = list
  end
end

-- Passes that a probe takes before its jobs; those that share the preparation make it once.
local function prepare(run, found, made)
  local f = found.prepare
  if not f then return 0 end
  if not made[f] then
    local before = run.passes
    f(run)
    made[f] = run.passes - before
  end
  return made[f]
end

local function checked(name, jobs)
  for _, job in ipairs(type(jobs) == "table" and jobs or { false }) do
    if type(job) ~= "table" or type(job.nodes) ~= "function" then
      error(core.where() .. "probe " .. name .. ": its jobs must be a list of tables, each with a function 'nodes'", 0)
    end
  end
  return jobs
end

-- The jobs of all wanted probes; and how many passes each would take by itself.
local function collect(run, wanted)
  local jobs, parts, alone, made = {}, {}, 0, {}
  for _, name in ipairs(wanted) do
    local found = registry.find(name)
    local before = prepare(run, found, made)
    local own = checked(name, found.jobs(run))
    alone = alone + before + run.count(own)
    parts[#parts + 1] = { name = name, found = found, jobs = own }
    for _, job in ipairs(own) do jobs[#jobs + 1] = job end
  end
  return jobs, parts, alone
end

--- Measures a model on tokens; a corpus stands for its validation text. Gives a list (or rows) of numbers for
--- each probe (of one with several figures a block, a list for each: NAME_FIGURE), and as a second result
--- everything: model, tokens, windows, context, passes and passes_alone (forward passes made, and what the
--- probes would have made one by one), and probes: for each its values, ci (95 % intervals of the same
--- shape), scalars, unit and definition. Inside a sweep that is kept with the run.
---@param model sonde.model
---@param source sonde.corpus|integer[]|sonde.tensor
---@param wanted string[]      see doc/probes.md
---@param options? table   see probe.schema
---@return table<string, table> values, table details
function probe.probe(model, source, wanted, options)
  if wanted == nil or type(wanted) == "table" and #wanted == 0 then
    error(core.where() .. "probe takes a list of probes after the tokens, such as { \"variance\" }; "
      .. "sonde.probes.names() lists them", 0)
  end
  wanted = args.value({
    name = "probes", type = "list", doc = "",
    of = { name = "probe", type = "string", choices = registry.names, doc = "" },
  }, wanted, "probe")
  options = args.check(probe.schema, options, "probe")
  local run = session.open(model, source, options)
  local jobs, parts, alone = collect(run, wanted)
  run:begin("probe", 1)
  run:compute(jobs)
  local details = {
    model = model.folder, tokens = run.rows * run.context, windows = run.rows, context = run.context,
    seed = options.seed, document_mask = run.documents.document_end,
    document_positions = run.documents.document_positions,
    probes = {},
  }
  local values = {}
  for _, part in ipairs(parts) do
    local entry = entry_of(run, part.found, part.jobs)
    details.probes[part.name] = entry
    spread(values, part.name, entry)
  end
  details.passes, details.passes_alone = run.passes, alone
  local kept = current.run()
  if kept then
    details.model = details.model or kept:dir()
    keep.put(kept, details)
  end
  return values, details
end

return args.declare(probe, "sonde.", {
  probe = {
    { name = "model", type = "model", required = true },
    { name = "source", type = "corpus|tensor|list", required = true },
    { name = "probes", type = "list" }, { name = "options", type = "table" },
  },
})
