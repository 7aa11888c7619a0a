--- graph - what a training step of a configuration costs, before anything is computed.

local args = require "sonde.base.args"
local forecast = require "sonde.train.forecast"
local machine = require "sonde.base.machine"
local output = require "sonde.base.output"

local mib = forecast.mib

-- The model of a configuration, the options of its training, and the memory to stay within instead of its budget.
local function read_model(options)
  local modelconfig, transformer = require "sonde.train.config", require "sonde.model.transformer"
  local sections, where = modelconfig.load(options.config)
  local train = require "sonde.train"
  local o = args.check(train.schema, sections.train, "train", where "train")
  if sections.model.vocab == nil and sections.model.features == nil then
    local corpus, place = require "sonde.data", where "corpus"
    local source, corpus_options = corpus.section(sections.corpus, place)
    sections.model.vocab = corpus.vocab(source, corpus_options, place)
  end
  local model = transformer.new(sections.model, where "model")
  for _, key in ipairs { "batch", "context", "dtype" } do o[key] = options[key] or o[key] end
  local function place() return where "train" {} end
  train.resolve_step(model, o, place, where "train")
  if o.steps or o.tokens then train.resolve_updates(model, o, sections.train, place, where "train") end
  if o.memory_budget == 0 then o.memory_budget = machine.memory() or 0 end
  return model, o, options.memory and machine.bytes(options.memory, "--memory", function() return "" end)
end

local function show(info)
  local blocks = info.recomputed_blocks
  local recomputed = blocks > 0 and string.format(", %d block%s recomputed", blocks, blocks == 1 and "" or "s") or ""
  local rows = {
    { "parameters", string.format("%d (%d without embedding and head)", info.parameters, info.non_embedding) },
    { "tokens a step", string.format("%d (%d sequences of %d)", info.batch * info.context, info.batch, info.context) },
    { "nodes", string.format("%d, in %d steps", info.nodes, info.steps) },
    { "arithmetic", string.format("%.2f GFLOP a step", info.flops / 1e9) },
    { "memory traffic", string.format("%.2f GB a step", info.bytes / 1e9) },
    { "arena", mib(info.arena_bytes) .. recomputed },
    { "state", mib(info.state_bytes) .. " (weights, gradients, optimizer's states, sums over micro-batches)" },
    { "peak memory", mib(info.peak_bytes) .. " (with " .. mib(info.base_bytes) .. " for the program)" },
  }
  for _, row in ipairs(rows) do print(string.format("%-15s %s", row[1], row[2])) end
end

local function show_nodes(trace)
  print("\nvalue                    shape")
  for _, name in ipairs(trace.graph:names()) do
    local node = trace.graph:find(name)
    print(string.format("%-24s %s [%s]", name, node:dtype(), table.concat(node:dims(), ", ")))
  end
end

return {
  summary = "what a training step of a configuration costs: nodes, shapes, FLOPs, memory",
  usage = "CONFIG.yaml [options]",
  details = "Plans the step (forward, loss, gradients of all parameters) without computing it. Exit status 1 when it\n"
    .. "does not fit its memory, with what would.",
  positional = { { name = "config", type = "string", required = true, doc = "a configuration, as for `sonde train`" } },
  options = {
    { name = "batch", type = "integer", min = 1, max = 1048576,
      doc = "sequences of a step; default: the configuration's, or 16" },
    { name = "context", type = "integer", min = 1, max = 1048576,
      doc = "tokens of a sequence; default: the configuration's" },
    { name = "dtype", type = "string", choices = { "f32", "bf16" },
      doc = "of matrix products; default: the configuration's" },
    { name = "memory", type = "string", value = "SIZE",
      doc = "memory for the process, such as 800M or 1.5G; default: the training's memory_budget, or what is free" },
    { name = "dot", type = "boolean", preset = false, doc = "print the graph for Graphviz instead" },
    { name = "nodes", type = "boolean", preset = false, doc = "list the named values and their shapes too" },
    output.json,
  },
  example = "sonde graph model.yaml --batch 8 --memory 1G\n  sonde graph model.yaml --dot | dot -Tsvg > model.svg",
  run = function(options)
    require "sonde"
    if options.dot and options.json then
      error("--dot and --json both print on standard output; give one of them", 0)
    end
    local model, step, memory = read_model(options)
    local info, plan, trace = forecast.step(require("sonde.distill").planned(model, step), step, memory)
    if options.dot then
      io.stdout:write(plan:dump(nil, "dot"))
    elseif options.json then
      output.print_json(info)
    else
      show(info)
      if options.nodes then show_nodes(trace) end
    end
  end,
}
