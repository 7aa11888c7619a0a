--- arms.lua - experiments that compare arms: changes of one model or of its training, measured alike and set beside a
-- paper's numbers.
--
-- Known to this file are further settings of an experiment (experiment.lua has the others):
--
--   model, train, seed    the model and its training that all arms change, and the seeds
--   probes, probe         which probes measure a trained model, and their options
--   eval                  tasks, data, limit of sonde.evaluate_tasks: where tasks are given, their mean accuracy counts

local args = require "sonde.base.args"
local core = require "sonde.core"
local merged = require "sonde.base.merged"

local arms = {}

local number = { name = "number", type = "number", doc = "" }

local change = {
  { name = "value", type = "number|string", required = true, doc = "of the axis" },
  { name = "model", type = "table", preset = {}, doc = "options of sonde.transformer that differ" },
  { name = "train", type = "table", preset = {}, doc = "options of sonde.train that differ" },
  { name = "context", type = "integer", min = 1,
    doc = "tokens of a sequence: as many tokens an update and in all as at the settings' context" },
  { name = "facts", type = "table", preset = {}, each = number, doc = "numbers of the arm, reported with its trials" },
  { name = "note", type = "string", doc = "said behind its name: \"rejected\"" },
  { name = "rejected", type = "boolean", preset = false, doc = "of cumulative arms: those after it are without it" },
}

local claim = {
  { name = "y", type = "string", required = true, doc = "the metric that it is about" },
  { name = "sign", type = "integer", min = -1, max = 1, required = true, doc = "1: rises, -1: falls" },
  { name = "x", type = "string", doc = "with this metric, or the axis: a rank correlation over trials" },
  { name = "arm", type = "number|string", doc = "or in this arm" },
  { name = "over", type = "number|string", doc = "beside that one: differences paired over seeds" },
  { name = "paper", type = "number", doc = "the paper's difference, of its own arms" },
  { name = "ours", type = "boolean", doc = "no claim of the paper's" },
}

--- What experiment:compare takes.
---@type sonde.schema
arms.schema = {
  { name = "title", type = "string", required = true, doc = "heading of the report" },
  { name = "question", type = "string", required = true, doc = "what the sweep is to answer" },
  { name = "axis", type = "string", required = true, doc = "what the arms are by, a parameter of the sweep" },
  { name = "arms", type = "list", some = true, required = true, doc = "the arms",
    of = { name = "arm", type = "table", fields = change, doc = "what one changes" } },
  { name = "sparsity", type = "string",
    doc = "the metric that measures the sparsity: its rank correlations with variance and usefulness are claims" },
  { name = "paper", type = "list", preset = {}, doc = "the rows of the paper's table",
    of = { name = "row", type = "table", doc = "the axis as `value`, and metric -> number" } },
  { name = "claims", type = "list", preset = {}, doc = "further claims of the paper",
    of = { name = "claim", type = "table", fields = claim, doc = "its direction" } },
  { name = "metrics", type = "list", preset = {}, of = { name = "metric", type = "string", doc = "a number" },
    doc = "columns of the table beside those of every comparison" },
  { name = "metric", type = "string", preset = "perplexity",
    doc = "the number by which arms are ranked: the lower, the better" },
  { name = "reference", type = "number|string", doc = "the arm that the others are compared with; default: the first" },
  { name = "measure", type = "function", doc = "of trial, model and arm: reports further numbers of a trained model" },
}

-- The columns of every table, where trials report them.
local METRICS = { "perplexity", "accuracy", "last_variance", "usefulness_score", "usefulness_mean_ratio",
  "causal_score", "permutation_score", "jacobian_estimate_mean_deviation", "jacobian_mean_deviation" }

--- Arms in which each adds its change to all before it that were not rejected.
---@param list table[]     arms
---@return table[]
function arms.cumulative(list)
  local so_far, out = { model = {}, train = {} }, {}
  for k, arm in ipairs(list) do
    local all = merged(arm, { model = merged(so_far.model, arm.model or {}),
      train = merged(so_far.train, arm.train or {}), context = arm.context or so_far.context })
    if arm.rejected then all.note = all.note or "rejected" else so_far = all end
    out[k] = all
  end
  return out
end

--- A training's options at another context, with as many tokens an update and in all: longer sequences, fewer of them.
---@param train table       options with `batch`
---@param reference integer the context that these are for
---@param context integer
---@return table
function arms.at_context(train, reference, context)
  local batch = train.batch * reference / context
  if batch < 1 or batch ~= math.floor(batch) then
    error(("%d sequences of %d tokens are no whole number of sequences of %d tokens: choose another context, or "
      .. "--set train.batch"):format(train.batch, reference, context), 0)
  end
  return merged(train, { batch = math.floor(batch) })
end

-- ---- one trial ---------------------------------------------------------------------------------------------------

local function of_value(list, value)
  for _, arm in ipairs(list) do
    if arm.value == value then return arm end
  end
end

local function model_of(self, arm, seed)
  local options = merged(merged(self.settings.model, arm.model), { seed = seed, context = arm.context })
  return self:model(options, options)
end

local function training_of(self, arm)
  local train, eval = merged(self.settings.train, arm.train), self.settings.eval or {}
  if arm.context then train = arms.at_context(train, self.settings.context, arm.context) end
  if eval.tasks and #eval.tasks > 0 then train.eval = eval end
  return train
end

-- The mean accuracy over the tasks, where there are some.
local function accuracy_of(metrics)
  local sum, count = 0, 0
  for name, value in pairs(metrics) do
    if string.find(name, "^tasks/.*/acc$") then sum, count = sum + value, count + 1 end
  end
  return count > 0 and sum / count or nil
end

local function run_trial(self, measure, arm, trial, model)
  local result = require("sonde.train").train(model, self.corpus, training_of(self, arm))
  trial:report(arm.facts)
  trial:report { perplexity = result.perplexity, train_loss = result.train_loss,
    accuracy = accuracy_of(result.metrics) }
  if result.diverged then return end
  local values = require("sonde.probe").probe(model, self.corpus, self.settings.probes, self.settings.probe)
  trial:report(values)
  trial:report { last_variance = values.variance and values.variance[#values.variance] }
  if measure then measure(trial, model, arm) end
end

-- ---- the comparison ----------------------------------------------------------------------------------------------

-- What the paper is about, for any measure of sparsity. Its usefulness counts blocks over a threshold, which none of a
-- small model may reach: so also by degrees. Without rows of a paper all of them are ours.
local function claims_of(options)
  local list, own = {}, #options.paper == 0 or nil
  if options.sparsity then
    list[1] = { x = options.sparsity, y = "last_variance", sign = -1, ours = own }
    for _, useful in ipairs { "usefulness_score", "usefulness_mean_ratio" } do
      local ours = own or useful ~= "usefulness_score" or nil
      list[#list + 1] = { x = options.sparsity, y = useful, sign = 1, ours = ours }
      list[#list + 1] = { x = "last_variance", y = useful, sign = -1, ours = ours }
    end
  end
  for _, each in ipairs(options.claims) do list[#list + 1] = each end
  return list
end

-- What would show only when the arms are trained.
local function check(options)
  local function refuse(text, ...) error(core.where() .. "experiment:compare: " .. text:format(...), 0) end
  for _, each in ipairs(options.claims) do
    if (each.x == nil) == (each.arm == nil) or (each.arm == nil) ~= (each.over == nil) then
      refuse "a claim is of y and either x, or arm and over"
    end
    if each.sign == 0 then refuse("the claim on %s has the sign 0; 1: rises, -1: falls", each.y) end
  end
  if options.axis == "seed" then refuse "the axis cannot be 'seed', which each arm is repeated over" end
  if options.reference and not of_value(options.arms, options.reference) then
    refuse("the reference is no arm: %s", tostring(options.reference))
  end
  for k, row in ipairs(options.paper) do
    if row.value == nil then refuse("row %d of the paper has no `value` of the axis", k) end
    for name, value in pairs(row) do
      if name ~= "value" and type(value) ~= "number" then
        refuse("%s in row %d of the paper must be a number, not %s", tostring(name), k, tostring(value))
      end
    end
  end
end

local function metrics_of(options)
  local list, seen = {}, {}
  for _, names in ipairs { METRICS, { options.sparsity }, options.metrics } do
    for _, name in ipairs(names) do
      if not seen[name] then list[#list + 1] = name end
      seen[name] = true
    end
  end
  return list
end

--- Runs an experiment whose arms each change the settings' model or training, over its seeds, and reports on them: the
--- paper's table beside ours, and for each claim whether its direction holds here. With plan_only it prints what
--- the trials need and runs none.
---@param self sonde.experiment
---@param options table     see arms.schema
function arms.compare(self, options)
  options = args.check(arms.schema, options, "experiment:compare")
  check(options)
  local values, list, measure = {}, options.arms, options.measure      -- all of the options that trials depend on
  for k, arm in ipairs(list) do values[k] = arm.value end
  local sweep = self:sweep {
    title = options.title, question = options.question,
    grid = { [options.axis] = values, seed = self.settings.seed },
  }
  local axis = options.axis
  local function arm_of(p) return of_value(list, p[axis]) end
  local function made(p)
    local arm = arm_of(p)
    return model_of(self, arm, p.seed), training_of(self, arm)
  end
  if self.plan_only then return sweep:plan(made) end
  sweep:check(made):run(function(trial, p)
    local arm = arm_of(p)
    run_trial(self, measure, arm, trial, model_of(self, arm, p.seed))
  end)
  sweep:summary {
    by = { options.axis }, metric = options.metric, reference = options.reference or values[1],
    comparison = { arms = options.arms, paper = options.paper, metrics = metrics_of(options),
      claims = claims_of(options) },
  }
end

return arms
