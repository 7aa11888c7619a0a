--- on_policy.lua - distillation on the student's own samples (GKD; Agarwal et al., 2024): some micro-batches are no
-- text, but what the student continues beginnings of the text with, as it is before the update. No gradient flows
-- through the sampling.
--
-- The trainer asks for the samples of an update before it (the event `prepare`); what is sampled is a function of the
-- seed, the rows' numbers and the weights, so a training that goes on from a checkpoint samples the same.

local core = require "sonde.core"
local args = require "sonde.base.args"
local generate = require "sonde.eval.generate"
local rotation = require "sonde.model.rotation"

local on_policy = {}

--- The option on_policy of distill.
---@type sonde.schema
on_policy.schema = {
  { name = "lambda", type = "number", min = 0, max = 1, preset = 0.5,
    doc = "share of the micro-batches that are the student's samples; 0: none" },
  { name = "prompt", type = "integer", min = 1, max = 1048576,
    doc = "tokens of the text that a sample continues; default: a quarter of the context" },
  { name = "tokens", type = "integer", min = 1, max = 1048576, doc = "of a sample; default: to the end of the row" },
  { name = "temperature", type = "number", min = 0, max = 1000, preset = 1,
    doc = "of the sampling, whatever that of the losses; 0: always the likeliest token" },
  { name = "top_k", type = "integer", min = 0, preset = 0, doc = "sample among the k likeliest; 0: all" },
  { name = "top_p", type = "number", min = 0, max = 1, preset = 1,
    doc = "sample among the likeliest that hold this probability" },
}

local TEXT = "distill.text"      -- the input that says which rows are text

--- What a training samples; nil where it does not.
---@param o table      of a training, resolved
---@return table|nil
function on_policy.of(o)
  local how = o.distill and o.distill.on_policy
  return how and how.lambda > 0 and how or nil
end

--- The option, checked and filled in for rows of a context; nil where it is absent or false.
---@param given table|boolean|nil
---@param context integer
---@param where sonde.where     the place of an option of distill
---@return table|nil
function on_policy.check(given, context, where)
  if not given then return nil end
  local how = args.check(on_policy.schema, given ~= true and given or {}, "on_policy of distill", function(path)
    return where { "on_policy", table.unpack(path) }
  end)
  how.prompt = how.prompt or math.max(1, math.floor(context / 4))
  how.tokens = how.tokens or context + 1 - how.prompt
  if how.prompt > context or how.prompt + how.tokens - 1 > context then
    error(where { "on_policy" } .. string.format("option 'on_policy' of distill: a prompt of %d tokens and %d sampled "
      .. "ones do not fit rows of %d tokens and the one behind them; give smaller ones, or a larger context",
      how.prompt, math.max(0, how.tokens), context), 0)
  end
  return how
end

--- Tokens that are passed forward to sample, of each token of a training: a prompt's and all samples but the last.
---@param how table|nil      as checked
---@param context integer
---@return number
function on_policy.passes(how, context)
  return how and how.lambda * (how.prompt + how.tokens - 1) / context or 0
end

--- Checks the option and fills it in.
---@param o table              of a training
---@param model sonde.model
---@param list sonde.teacher[]
---@param where sonde.where     the place of an option of distill
function on_policy.resolve(o, model, list, where)
  local how = on_policy.check(o.distill.on_policy, o.context, where)
  o.distill.on_policy = how
  if not on_policy.of(o) then return end
  local function refuse(text, ...)
    error(where { "on_policy" } .. "option 'on_policy' of distill: " .. string.format(text, ...), 0)
  end
  for _, one in ipairs(list) do
    if one.cache then
      refuse("the cache %s is of the text's rows and says nothing of samples; give the teacher itself", one.name)
    end
  end
  local objective = (o.objective or model.objective).name
  if objective ~= "language_model" then
    refuse("samples are of language models, not of the objective '%s'", objective)
  end
  if o.document_mask then
    refuse("it does not go with document_mask: a sample sees all of its row")
  end
  local limit = rotation.between(model, how.prompt, o.context)
  if limit then
    refuse("the model rotates positions in another way from %d tokens on, between the prompt of %d and the context of "
      .. "%d", limit, how.prompt, o.context)
  end
end

--- Refuses data that have no text to continue.
---@param corpus sonde.corpus|sonde.feed
---@param o table
function on_policy.check_corpus(corpus, o)
  if on_policy.of(o) and require("sonde.data.feed").is(corpus) then
    error(core.where() .. "option 'on_policy' of distill continues rows of a corpus; a feed of arrays has none", 0)
  end
end

--- Which tokens are text: 1, and 0 of those that are sampled; [N].
---@param trace sonde.trace     of the student
---@return sonde.node
function on_policy.text(trace)
  local graph, n = trace.graph, trace.batch * trace.context
  local rows = graph:find(TEXT) or graph:input(TEXT, "f32", { trace.batch, 1 })
  return rows:expand({ trace.batch, trace.context }):reshape { n }
end

--- The share of the tokens that are sampled, as a metric's node [N].
---@param trace sonde.trace
---@return sonde.node
function on_policy.sampled(trace)
  return (1 - on_policy.text(trace)) * trace.targets:cast("f32"):greater(-0.5)
end

-- ---- the samples of a training --------------------------------------------------------------------------------------

---@class sonde.sampler
---@field feed userdata       that the trainer reads
---@field private how table
---@field private generator sonde.generator

local sampler = {}
sampler.__index = sampler

--- Opens the sampler of a training: its feed is to be trained on, with `prepare` called when the trainer asks.
---@param model sonde.model     that is trained
---@param feed userdata         of the corpus
---@param o table               of the training
---@return sonde.sampler
function on_policy.open(model, feed, o)
  local how = on_policy.of(o)
  model:init()
  generate.check(model, how.prompt, how.tokens)
  local self = setmetatable({ how = how, batch = o.batch, context = o.context }, sampler)
  self.feed = core.feed_samples(feed, { share = how.lambda, seed = o.seed, rows = o.batch, batches = o.accumulate,
    prompt = how.prompt, tokens = how.tokens }, TEXT)
  self.generator = generate.open(model, o.batch, how.prompt, { tokens = how.tokens, temperature = how.temperature,
    top_k = how.top_k, top_p = how.top_p, seed = o.seed, dtype = o.dtype })
  self.prompts = core.tensor("i32", { o.batch, how.prompt })
  self.samples = core.tensor("i32", { o.batch, how.tokens })
  return self
end

-- Samples one micro-batch, whose first row this is.
local function sample(self, first)
  local streams, step, tokens, samples = {}, 0, self.how.tokens, self.samples
  for r = 1, self.batch do streams[r] = first + r - 1 end
  self.feed:prompts(first, self.prompts)
  self.generator:run(self.prompts:values(), streams, function(generator)
    step = step + 1
    for r = 1, self.batch do samples:set((r - 1) * tokens + step, generator.new:get(r)) end
    return false
  end)
  self.feed:put(first, samples)
end

--- Brings the samples of the next update.
---@param event table     of the trainer
function sampler:prepare(event)
  for first = event.sequence, event.sequence + event.rows - 1, self.batch do
    if self.feed:wants(first) then sample(self, first) end
  end
end

function sampler:close()
  self.generator:close()
end

return on_policy
