--- probe.lua - what the depth of a model does: measured on the values of its blocks, over tokens it has not seen.
--
-- All lists count blocks from 0: the first entry is block 0. One pass over the tokens serves all probes.
--
--   variance, attn_variance, ffn_variance   of the stream after each block (before the final norm), and of what the
--       branches add: the variance over the features of a token (mean subtracted, unbiased), averaged over tokens
--   angular_distance    for each block, arccos(cos(h, h')) / pi of the stream before and after it, at the last token of
--       each window, averaged over windows; h' of the last block is taken after the final norm (Gromov et al., 2024)
--   angular_distances   the same over n blocks: entry n holds d(i, n) for i = 0 .. L - n
--   layer_removal       the rise of the loss in nats when a block only passes the stream on, one block at a time

local core = require "sonde.core"
local args = require "sonde.args"
local current = require "sonde.current"
local windows = require "sonde.windows"

local probe = {}

--- The options of a probe.
---@type sonde.schema
probe.schema = {
  { name = "tokens", type = "integer", min = 2, preset = 16384,
    doc = "tokens to measure on, from the first; whole windows" },
  { name = "context", type = "integer", min = 2, doc = "tokens of a window; default: the model's context" },
  { name = "batch", type = "integer", min = 1, doc = "windows computed at once; default: some thousand tokens" },
  { name = "progress", type = "function", doc = "called with the share that is done" },
}

-- Of a probe, `outputs` gives the nodes to compute from the trace, `add` takes their tensors after each batch, `result`
-- turns the sums over that many rows into what is reported; `scored` ones need the targets.
local probes = {}

local function mean_of(nodes)
  local variances = {}
  for i, node in ipairs(nodes) do variances[i] = node:variance(-1):mean() end
  return variances
end

-- Sums scalars over batches, weighed by the rows of the batch.
local function averaging(outputs)
  return {
    outputs = outputs,
    add = function(state, tensors, rows)
      for i, tensor in ipairs(tensors) do state[i] = (state[i] or 0) + rows * tensor:get(1) end
    end,
    result = function(state, rows)
      local list = core.list()
      for i, sum in ipairs(state) do list[i] = sum / rows end
      return list
    end,
  }
end

local function taps(trace, branch)
  local nodes = {}
  for i = 1, #trace.blocks do nodes[i] = trace.graph:find("blocks." .. (i - 1) .. "." .. branch .. ".out") end
  return nodes
end

probes.variance = averaging(function(trace) return mean_of(trace.blocks) end)
probes.attn_variance = averaging(function(trace) return mean_of(taps(trace, "attn")) end)
probes.ffn_variance = averaging(function(trace) return mean_of(taps(trace, "ffn")) end)

-- Cosines of all pairs of streams at the last token of each row: [B, L + 1, L + 1].
local function cosines(trace)
  local streams = { trace.embedding }
  for i = 1, #trace.blocks - 1 do streams[i + 1] = trace.blocks[i] end
  streams[#trace.blocks + 1] = trace.final
  for i, stream in ipairs(streams) do
    local last = stream:slice(2, trace.context)
    streams[i] = last * last:square():sum(-1):rsqrt()
  end
  local all = require("sonde").concat(streams, 2)
  return { all:matmul(all, { transpose_b = true }) }
end

local function add_angles(state, tensors, rows)
  local values, dims = tensors[1]:values(), tensors[1]:dims()
  local n = dims[2]
  for row = 0, rows - 1 do
    for i = 0, n - 1 do
      for j = i + 1, n - 1 do
        local cosine = math.max(-1, math.min(1, values[row * n * n + i * n + j + 1]))
        local key = i * n + j
        state[key] = (state[key] or 0) + math.acos(cosine) / math.pi
      end
    end
  end
  state.n = n
end

local function angles(state, rows, distance)
  local list = core.list()
  for i = 0, state.n - 1 - distance do list[i + 1] = state[i * state.n + i + distance] / rows end
  return list
end

probes.angular_distance = {
  outputs = cosines, add = add_angles,
  result = function(state, rows) return angles(state, rows, 1) end,
}

probes.angular_distances = {
  outputs = cosines, add = add_angles,
  result = function(state, rows)
    local list = core.list()
    for distance = 1, state.n - 1 do list[distance] = angles(state, rows, distance) end
    return list
  end,
}

-- The loss of the whole model, then without each block. The traces share a graph, and so all that they have in common.
probes.layer_removal = {
  scored = true,
  outputs = function(trace)
    local losses = { trace:mean_loss() }
    for index = 0, #trace.blocks - 1 do
      local without = trace.model:trace {
        graph = trace.graph, batch = trace.batch, context = trace.context, skip = { index },
      }
      losses[index + 2] = without:mean_loss()
    end
    return losses
  end,
  add = probes.variance.add,
  result = function(state, rows)
    local list = core.list()
    for i = 2, #state do list[i - 1] = (state[i] - state[1]) / rows end
    return list
  end,
}

local function names()
  local list = {}
  for name in pairs(probes) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- All nodes of the wanted probes in one list, where each probe's begin, and whether one needs targets.
local function collect(trace, wanted)
  local nodes, parts, scored = {}, {}, false
  for _, name in ipairs(wanted) do
    local own = probes[name].outputs(trace)
    scored = scored or probes[name].scored == true
    parts[#parts + 1] = { name = name, first = #nodes + 1, count = #own, state = {} }
    for _, node in ipairs(own) do nodes[#nodes + 1] = node end
  end
  return nodes, parts, scored
end

-- In a run folder, what was measured last stays in probes/NAME.json.
local function keep(result, tokens, context)
  local run = current.run()
  if not run then return end
  core.mkdirs(run:dir() .. "/probes")
  for name, values in pairs(result) do
    core.json_save(run:dir() .. "/probes/" .. name .. ".json", { values = values, tokens = tokens, context = context })
  end
end

--- Measures a model on tokens; a corpus stands for its validation text. Inside a sweep the values are kept with
--- the run.
---@param model sonde.model
---@param source sonde.corpus|integer[]|sonde.tensor
---@param wanted string[]      variance attn_variance ffn_variance angular_distance angular_distances layer_removal
---@param options? {tokens: integer, context: integer, batch: integer, progress: function}
---@return table<string, table>   a list for each probe
function probe.probe(model, source, wanted, options)
  wanted = args.value({
    name = "probes", type = "list", of = { name = "probe", type = "string", choices = names, doc = "" }, doc = "",
  }, wanted, "probe")
  options = args.check(probe.schema, options, "probe")
  local context = options.context or model.config.context
  local stream = windows.open(source, model, context)
  local rows = math.min(math.floor((stream:tokens() - 1) / context), math.max(1, math.floor(options.tokens / context)))
  if rows < 1 then
    error(core.where() .. "probe: " .. stream:tokens() .. " tokens hold no whole window of " .. context
      .. " and a target", 0)
  end
  local batch = math.min(options.batch or windows.batch(context, rows), rows)
  rows = rows - rows % batch
  model:init()
  local trace = model:trace { batch = batch, context = context }
  local nodes, parts, scored = collect(trace, wanted)
  local plan = core.plan(nodes)
  windows.each(plan, stream, batch, context, rows, scored, function(done)
    for _, part in ipairs(parts) do
      local tensors = {}
      for i = 1, part.count do tensors[i] = done:output(part.first + i - 1) end
      probes[part.name].add(part.state, tensors, batch)
    end
  end, options.progress)
  plan:close()
  local result = {}
  for _, part in ipairs(parts) do result[part.name] = probes[part.name].result(part.state, rows) end
  keep(result, rows * context, context)
  return result
end

return probe
