--- registry.lua - the probes by name. Those of Sonde are the files of measures/; a script registers its own alike.
--
-- A probe asks for jobs: values of the traced graph, one row of numbers for each window of text. All jobs of
-- all probes are computed together (session.lua), means over the windows are taken, and `value` makes figures
-- of the means; the same function on resampled windows gives the intervals (bootstrap.lua).

local core = require "sonde.core"
local args = require "sonde.base.args"
local base = require "sonde.base.registry"

local registry = {}

local schema = {
  { name = "definition", type = "string", required = true, doc = "what is measured, in a sentence" },
  { name = "unit", type = "string", preset = "", doc = "of the values; empty: a pure number" },
  { name = "source", type = "string", preset = "", doc = "paper that it comes from" },
  { name = "axes", type = "list", preset = { "block" },
    doc = "what the values are by: one name, or two for rows and columns", of = { name = "axis", type = "string",
      doc = "a name" } },
  { name = "columns", type = "list", doc = "names of the columns, where they are not numbers from 0",
    of = { name = "column", type = "string", doc = "a name" } },
  { name = "labels", type = "function",
    doc = "of a session whose jobs are done: names of the columns of one figure, where they are known only then" },
  { name = "outputs", type = "function",
    doc = "of a trace: a list of nodes whose first axis is the windows [B, ..]; their means are the values" },
  { name = "jobs", type = "function", doc = "of a session: a list of jobs, in place of outputs" },
  { name = "value", type = "function",
    doc = "of the jobs' means and the session: values (a list, or rows), a table of scalars; default: first means" },
  { name = "prepare", type = "function",
    doc = "of a session: computes what the jobs need, before them; once for all probes with the same function" },
  { name = "measure", type = "function",
    doc = "of a session and the finished jobs: the entry itself, in place of value" },
  { name = "note", type = "function",
    doc = "of a session whose jobs are done: a line on what the values lack, or nil" },
  { name = "title", type = "string", doc = "of its figure in the report of a sweep" },
  { name = "axis", type = "string", doc = "what an axis of its values is called; default: the unit" },
  { name = "log", type = "boolean|string", choices = { "auto" }, preset = "auto",
    doc = "a log axis: true, false, or 'auto' where its values span a factor of five" },
  { name = "look", type = "string", preset = "", doc = "what to look for in a figure of it" },
  { name = "place", type = "integer", preset = 99, doc = "its place among the figures of a report" },
  { name = "resamples", type = "integer", min = 1, doc = "of the intervals, where value takes long" },
}

local probes = base.new { kind = "probe", schema = schema, doc = "definition", folder = "sonde/probe/measures" }
registry.registry = probes

local function taps(outputs)
  return function() return { { nodes = outputs } } end
end

local function first_means(mean)
  return mean[1]
end

--- Registers a probe under a name that sonde.probe can be asked for. The simplest has a definition and
--- `outputs`, a function of a trace that gives a node [B] for each block.
---@param name string
---@param info table   definition, unit, source, axes, note; outputs, or jobs, value, prepare, measure; title, axis
function registry.register(name, info)
  if (info.jobs == nil) == (info.outputs == nil) then
    error(core.where() .. "probe '" .. name .. "': either outputs or jobs says what is computed", 0)
  end
  local probe = probes:add(name, info)
  probe.jobs = probe.jobs or taps(probe.outputs)
  probe.value = probe.value or first_means
end

--- The names of all probes, in order.
---@return string[]
function registry.names()
  return probes:names()
end

--- The probe of that name, as it was registered, or nil.
---@param name string
---@return table|nil
function registry.find(name)
  return probes:get(name)
end

--- A list of means as rows, each of so many.
---@param list number[]
---@param counts integer[]
---@return number[][]
function registry.rows(list, counts)
  local rows, at = core.list(), 0
  for r, n in ipairs(counts) do
    rows[r] = core.list()
    for k = 1, n do rows[r][k] = list[at + k] end
    at = at + n
  end
  return rows
end

--- The number of the first entry along an axis: blocks, heads and norms count from 0, how many blocks from 1.
---@param axis string|nil
---@return integer
function registry.first(axis)
  return axis == "blocks n" and 1 or 0
end

return args.declare(registry, "sonde.probes.", {
  register = { { name = "name", type = "string", required = true }, { name = "info", type = "table",
    required = true } },
  rows = {
    { name = "list", type = "list", required = true },
    { name = "counts", type = "list", required = true, of = { name = "count", type = "integer", min = 0,
      max = 1048576 } },
  },
})
