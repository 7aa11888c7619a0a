--- sonde.eval - loss and perplexity of a model on text.

local core = require "sonde.core"
local args = require "sonde.base.args"
local documents = require "sonde.data.documents"
local windows = require "sonde.data.windows"

local eval = {}

--- The options of an evaluation.
---@type sonde.schema
eval.schema = documents.with {
  { name = "context", type = "integer", min = 1, max = 1048576, doc = "tokens of a window; default: the model's context, at most 4096" },
  { name = "batch", type = "integer", min = 1, max = 1048576, doc = "windows computed at once; default: some thousand tokens" },
  { name = "tokens", type = "integer", min = 2, doc = "tokens to take, from the first; default: all" },
  { name = "bytes", type = "integer", min = 1, doc = "bytes of the text behind the tokens, for bits_per_byte" },
  { name = "dtype", type = "string", choices = { "f32", "bf16" }, preset = "f32", doc = "of matrix products" },
  { name = "progress", type = "function", doc = "called with the share that is done" },
}

---@class sonde.evaluation
---@field loss number            mean over the predicted tokens, in nats
---@field perplexity number      exp(loss)
---@field tokens integer         predicted tokens
---@field context integer        tokens of a window
---@field windows integer        windows gone over; the last may be short
---@field bytes? integer         those of the option
---@field document_mask? integer  the token that ended documents, where attention kept them apart
---@field bits_per_byte? number

--- Mean cross-entropy of a model over a stream of tokens, cut into windows of the context: every token but the first of
--- the stream is predicted exactly once, from what its window holds before it.
---@param model sonde.model
---@param source sonde.corpus|integer[]|sonde.tensor   a corpus stands for its validation text
---@param options? table
---@return sonde.evaluation
function eval.evaluate(model, source, options)
  options = args.check(eval.schema, options, "evaluate")
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
    { name = "source", type = "corpus|tensor|list", required = true }, { name = "options", type = "table" },
  },
})
