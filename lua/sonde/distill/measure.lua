--- measure.lua - how far a student is from a teacher on text that neither learned from: divergences over the whole
-- vocabulary, whatever loss it was trained with.

local core = require "sonde.core"
local args = require "sonde.base.args"
local feeds = require "sonde.data.feed"
local windows = require "sonde.data.windows"

local measure = {}

local schema = {
  { name = "losses", type = "list", preset = { "forward_kl", "reverse_kl", "total_variation" },
    of = { name = "loss", type = "string", doc = "a divergence" }, doc = "divergences, with their defaults" },
  { name = "tokens", type = "integer", min = 1, max = 1e15, preset = 16384, doc = "of the validation text, at most" },
  { name = "context", type = "integer", min = 1, max = 1048576, doc = "default: the student's" },
}

-- Sums over the counted tokens of a batch: one of each divergence.
local function plan_of(student, teacher, o, batch)
  local trace = student:trace { batch = batch, context = o.context }
  local theirs = teacher:trace { batch = batch, context = o.context, graph = trace.graph, prefix = "teacher." }
  local mine, other, outputs = core.node_inputs(trace.loss), core.node_inputs(theirs.loss), {}
  for k, loss in ipairs(o.losses) do
    local both = core.op("distill", { mine[1], mine[2], mine[3], other[1], other[2] },
      { 1, student.config.logit_softcap, teacher.config.logit_softcap, 0 }, { core.divergence(loss), 0 })
    outputs[k] = core.result(both, 2):sum()
  end
  return core.plan(outputs)
end

--- Mean divergences of a student from a teacher over the validation text of a corpus, by name.
---@param student sonde.model
---@param teacher sonde.model
---@param corpus sonde.corpus
---@param options? {losses: string[], tokens: integer, context: integer}
---@return table<string, number>
function measure.divergences(student, teacher, corpus, options)
  local o = args.check(schema, options, "divergences")
  if #o.losses == 0 then error(core.where() .. "option 'losses' of divergences is an empty list", 0) end
  o.context = o.context or student.config.context
  require("sonde.distill.teacher").check_tokens(teacher, student, function() return core.where() .. "divergences: " end)
  if corpus.tokenizer_hash then require("sonde.data").check_model(corpus, student) end
  student:init()
  teacher:init()
  local feed = feeds.open(corpus, o.context, 0)
  local rows = math.min(feed:rows(), math.ceil(o.tokens / o.context))
  if rows == 0 then error(core.where() .. "divergences: the corpus has no validation text", 0) end
  local batch = windows.batch(o.context, rows)
  local plan, counted, sums = plan_of(student, teacher, o, batch), 0, {}
  local inputs = { tokens = core.tensor("i32", { batch, o.context }),
    targets = core.tensor("i32", { batch * o.context }) }
  for row = 0, rows - 1, batch do
    local filled = math.min(feed:valid(row, inputs), rows - row)
    local targets = inputs.targets:values()
    for k, target in ipairs(targets) do
      if k > filled * o.context then inputs.targets:set(k, -1) elseif target >= 0 then counted = counted + 1 end
    end
    plan:run(inputs)
    for k, loss in ipairs(o.losses) do sums[loss] = (sums[loss] or 0) + plan:output(k):values()[1] end
  end
  plan:close()
  for loss, sum in pairs(sums) do sums[loss] = sum / counted end
  return sums
end

return args.declare(measure, "sonde.", {
  divergences = {
    as = "sonde.divergences", { name = "student", type = "model", required = true },
    { name = "teacher", type = "model", required = true }, { name = "corpus", type = "corpus", required = true },
    { name = "options", type = "table" },
  },
})
