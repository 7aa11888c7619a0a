--- teach.lua - a teacher's cache: what it says of each token of the rows that a training will read, in a file. A run
-- that was killed goes on where it was.

local core = require "sonde.core"
local args = require "sonde.base.args"
local feeds = require "sonde.data.feed"
local front = require "sonde.base.front"
local windows = require "sonde.data.windows"

local teach = {}

--- The options of a cache, for the training that will read it.
---@type sonde.schema
teach.schema = {
  { name = "out", type = "string", some = true, required = true, value = "FILE", doc = "the cache" },
  { name = "top_k", type = "integer", min = 1, max = 1048576, preset = 64,
    doc = "the K likeliest tokens are kept, all others as one" },
  { name = "tokens", type = "number", min = 1, max = 1e15,
    doc = "for a training of so many tokens; default: one epoch of the text" },
  { name = "context", type = "integer", min = 1, max = 1048576,
    doc = "tokens of its sequences; default: the model's context" },
  { name = "seed", type = "integer", preset = 0, doc = "of the order of its text" },
  { name = "temperature", type = "number", min = 0.01, max = 1000, preset = 1, doc = "that its distillation has" },
  { name = "batch", type = "integer", min = 1, max = 1048576,
    doc = "sequences at once; default: some thousand tokens" },
  { name = "dtype", type = "string", preset = "f32", choices = { "f32", "bf16" }, doc = "of the teacher's products" },
}

-- How many rows there are to make.
local function rows_of(corpus, o)
  if o.tokens then return math.ceil(o.tokens / o.context) end
  return math.max(1, math.floor((corpus.train.tokens - 1) / o.context))
end

-- A plan of the teacher for a batch, with the tensors that it writes.
local function plan_of(model, o, batch)
  local n = batch * o.context
  local trace = model:trace { batch = batch, context = o.context }
  if core.node_op(trace.loss) ~= "lm_loss" then
    error(core.where() .. "teach: the model has no head over tokens", 0)
  end
  local inputs = core.node_inputs(trace.loss)
  local top = core.op("teacher_top", { inputs[1], inputs[2] }, { o.temperature, model.config.logit_softcap },
    { o.top_k })
  local tensors = { core.tensor("i32", { n, o.top_k }), core.tensor("f32", { n, o.top_k + 1 }),
    core.tensor("f32", { n }) }
  local plan = core.plan({ top, core.result(top, 2), core.result(top, 3) }, { compute = o.dtype, hold = true }, tensors)
  return plan, tensors
end

local function write(writer, done, rows, feed, plan, tensors, o, batch, progress)
  local inputs = { tokens = core.tensor("i32", { batch, o.context }),
    targets = core.tensor("i32", { batch * o.context }) }
  plan:set("tokens", inputs.tokens)
  front.begin()
  for row = done, rows - 1, batch do
    feed:train(row, inputs)
    plan:run()
    writer:append(tensors[1], tensors[2], tensors[3], math.min(batch, rows - row))
    if progress then progress(math.min(rows, row + batch), rows) end
    if core.interrupted() then
      error(string.format("stopped at row %d of %d; the same command goes on there", math.min(rows, row + batch), rows),
        0)
    end
  end
end

---@class sonde.taught
---@field out string
---@field rows integer
---@field tokens integer
---@field top_k integer
---@field bytes_per_token number
---@field rest number            mean probability of the tokens that are not kept
---@field lost_entropy number    mean entropy in nats of these among each other, which the cache does not hold
---@field rounding number        mean total variation between what the teacher says of the K + 1 and what is stored
---@field worst_rounding number  the largest of these

local function described(path)
  local cache = core.teacher_cache(path)
  local info, loss = cache:info(), cache:losses()
  cache:close()
  return {
    out = path, rows = info.rows, tokens = info.rows * info.context, top_k = info.k, context = info.context,
    seed = info.seed, temperature = info.temperature, teacher = info.teacher, tokenizer = info.tokenizer,
    corpus = info.corpus, bytes_per_token = 2 * (info.k + 1) + (info.vocab <= 65536 and 2 or 4) * info.k,
    rest = loss.rest, lost_entropy = loss.entropy, rounding = loss.rounding, worst_rounding = loss.worst,
    dtype = info.dtype,
  }
end

--- Makes a teacher's cache for a training on a corpus: its option teacher takes the file.
---@param model sonde.model       the teacher
---@param corpus sonde.corpus     opened as the training opens it
---@param options table           see teach.schema
---@param progress? fun(done: integer, rows: integer)
---@return sonde.taught
function teach.make(model, corpus, options, progress)
  local o = args.check(teach.schema, options, "teach")
  o.context = o.context or model.config.context
  if not model.config.vocab then error(core.where() .. "teach: the model reads features, not tokens", 0) end
  require("sonde.data").check_model(corpus, model)
  if o.top_k > model.config.vocab then
    error(core.where() .. string.format("option 'top_k' of teach must be at most the vocabulary of %d, not %d",
      model.config.vocab, o.top_k), 0)
  end
  if core.exists(o.out) == "folder" then error(core.where() .. "teach: " .. o.out .. " is a folder", 0) end
  model:init():check_finite()
  local rows = rows_of(corpus, o)
  local batch = o.batch or windows.batch(o.context, rows)
  local writer, done = core.teacher_cache_writer(o.out, {
    rows = rows, context = o.context, vocab = model.config.vocab, k = o.top_k, temperature = o.temperature,
    seed = o.seed, dtype = o.dtype, teacher = model:params():sha256(), tokenizer = corpus.tokenizer_hash or "",
    corpus = #(corpus.hash or "") == 64 and corpus.hash or "",
  })
  if done > 0 then
    io.stderr:write(string.format("sonde: note: %s.part: goes on at row %d of %d\n", o.out, done, rows))
  end
  if done < rows then
    local plan, tensors = plan_of(model, o, batch)
    local feed = feeds.open(corpus, o.context, o.seed)
    write(writer, done, rows, feed, plan, tensors, o, batch, progress)
    plan:close()
  end
  writer:commit()
  return described(o.out)
end

return args.declare(teach, "sonde.", {
  make = {
    as = "sonde.teach", { name = "model", type = "model", required = true },
    { name = "corpus", type = "corpus", required = true }, { name = "options", type = "table" },
    { name = "progress", type = "function" },
  },
})
