--- sonde.eval - loss and perplexity of a model on text.

-- What lives here: this file evaluates on texts; generate.lua continues texts, generate_check.lua tries whether a model
-- can. tasks.lua evaluates on downstream tasks: task.lua reads what they are (tasks/*.yaml), rows.lua their data,
-- text.lua makes prompts, encode.lua ids, likelihood.lua scores them in rows that packing.lua packs, metrics.lua and
-- results.lua say what came out; convert.lua makes data files.

local core = require "sonde.core"
local args = require "sonde.base.args"
local documents = require "sonde.data.documents"
local feeds = require "sonde.data.feed"
local objectives = require "sonde.model.objective"
local windows = require "sonde.data.windows"

local eval = {}

--- The options of an evaluation.
---@type sonde.schema
eval.schema = documents.with {
  { name = "context", type = "integer", min = 1, max = 1048576,
    doc = "tokens of a window; default: the model's context, at most 4096" },
  { name = "batch", type = "integer", min = 1, max = 1048576,
    doc = "windows computed at once; default: some thousand tokens" },
  { name = "tokens", type = "integer", min = 2, doc = "tokens to take, from the first; default: all" },
  { name = "bytes", type = "integer", min = 1, doc = "bytes of the text behind the tokens, for bits_per_byte" },
  { name = "dtype", type = "string", choices = { "f32", "bf16" }, preset = "f32", doc = "of matrix products" },
  { name = "progress", type = "function", doc = "called with the share that is done" },
}

---@class sonde.evaluation
---@field loss number            mean over the predicted tokens, in nats
---@field perplexity? number     exp(loss), where the objective has one
---@field metrics? table<string, number>  of a feed: the objective's and the modules', means over the items
---@field tokens integer         predicted tokens
---@field context integer        tokens of a window
---@field windows integer        windows gone over; the last may be short
---@field bytes? integer         those of the option
---@field document_mask? integer  the token that ended documents, where attention kept them apart
---@field bits_per_byte? number

-- Sums of the loss, the items that count and the metrics over rows first..last (from 0) of a feed, so many at once.
local function add_rows(model, feed, rows, context, options, sums)
  local trace = model:trace { batch = rows.batch, context = context, document_end = options.document_end,
    document_positions = options.document_positions, document_ends = feeds.has_documents(rows.source) }
  feeds.check_rows(feed, trace, rows.source)
  local nodes = { trace.loss:sum(), trace:counted() }
  for i, metric in ipairs(trace.metrics) do
    nodes[i + 2] = metric.node:dims()[1] > 1 and metric.node:sum() or metric.node * trace:counted()
  end
  local plan = core.plan(nodes, { compute = options.dtype })
  local tensors = feeds.bind(plan, trace, feed)
  for _, name in ipairs(plan:inputs()) do
    if not tensors[name] then
      error(core.where() .. "evaluate: the model reads the input '" .. name .. "', which the feed lacks; give it "
        .. "an array of that name", 0)
    end
  end
  for row = rows.first, rows.last, rows.batch do
    feed:valid(row, tensors)
    plan:run()
    for i = 1, #nodes do sums[i] = (sums[i] or 0) + plan:output(i):get(1) end
    if options.progress then options.progress(math.min(1, (row + rows.batch) / rows.all)) end
  end
  plan:close()
  local names = {}
  for i, metric in ipairs(trace.metrics) do names[i] = metric.name end
  return names
end

-- The same of a feed's validation rows: whole batches, then what is left.
local function of_feed(model, source, options)
  if not feeds.validates(source) then error(core.where() .. "the feed has no validation rows to evaluate on", 0) end
  local context, feed = options.context or model.config.context, nil
  feed = feeds.open(source, context, 0)
  local all, sums, names = feed:rows(), {}, {}
  if options.tokens then all = math.min(all, math.ceil(options.tokens / context)) end
  local batch = math.min(options.batch or windows.batch(context, all), all)
  local whole = math.floor(all / batch) * batch
  model:init()
  local traced = documents.of_trace(options, source, model, "evaluate")
  options.document_end = traced.document_end
  names = add_rows(model, feed, { first = 0, last = whole - 1, batch = batch, all = all, source = source }, context,
    options, sums)
  if whole < all then
    add_rows(model, feed, { first = whole, last = all - 1, batch = all - whole, all = all, source = source }, context,
      options, sums)
  end
  if sums[2] == 0 then
    error(core.where() .. "evaluate: the feed's validation data have no item that counts: all targets are -1", 0)
  end
  if sums[1] - sums[1] ~= 0 then           -- data or weights may be why: they are refused then
    feeds.refuse_not_finite(source, "evaluate")
    model:check_finite()
  end
  local result = { loss = sums[1] / sums[2], tokens = math.floor(sums[2] + 0.5), context = context, windows = all,
    metrics = {}, document_mask = traced.document_end }
  for i, name in ipairs(names) do result.metrics[name] = sums[i + 2] / sums[2] end
  if objectives.find(model.objective.name).perplexity then result.perplexity = math.exp(result.loss) end
  return result
end

--- Mean cross-entropy of a model over a stream of tokens, cut into windows of the context: every token but the first of
--- the stream is predicted exactly once, from what its window holds before it.
---@param model sonde.model
---@param source sonde.corpus|sonde.feed|integer[]|sonde.tensor   a corpus or a feed stands for its validation data
---@param options? table
---@return sonde.evaluation
function eval.evaluate(model, source, options)
  options = args.check(eval.schema, options, "evaluate")
  if feeds.is(source) then return of_feed(model, source, options) end
  local context = options.context or windows.context(model)
  local stream = windows.open(source, model, context)
  if stream:tokens() - 1 < context then      -- nothing is beyond the text
    context = math.max(1, stream:tokens() - 1)
    stream = windows.open(source, model, context)
  end
  local rows = stream:rows()
  if options.tokens then rows = math.min(rows, math.ceil((options.tokens - 1) / context)) end
  local batch = math.min(options.batch or windows.batch(context, rows), rows)
  model:init()
  local traced = documents.of_trace(options, source, model, "evaluate")
  traced.batch, traced.context = batch, context
  local trace = model:trace(traced)
  local plan = core.plan({ trace.loss:sum() }, { compute = options.dtype })
  local sum, count = 0, 0
  windows.each(plan, stream, batch, context, rows, true, function(done, predicted)
    sum, count = sum + done:output(1):get(1), count + predicted
  end, options.progress)
  plan:close()
  local loss = sum / count
  local result = { loss = loss, perplexity = math.exp(loss), tokens = count, context = context, windows = rows }
  result.document_mask = traced.document_end
  if options.bytes then
    result.bytes, result.bits_per_byte = options.bytes, sum / math.log(2) / options.bytes
  end
  return result
end

return args.declare(eval, "sonde.", {
  evaluate = {
    { name = "model", type = "model", required = true },
    { name = "source", type = "corpus|feed|tensor|list", required = true }, { name = "options", type = "table" },
  },
})
