--- distill - a student learns from teachers: the options teacher and distill of a training, and what they add to its
-- graph. The teacher is computed beside the student in the same plan, or read from a cache (`sonde teach`).

-- What lives here: this file has the options and the loss over the vocabulary, hidden.lua those of streams and
-- relations, on_policy.lua the student's samples; teacher.lua opens teachers, teach.lua makes their caches and
-- sequences.lua their texts, measure.lua compares a student with one. Divergences are modules of the kind
-- "distill" (model/kind/distill.lua, plugins/distill).

local core = require "sonde.core"
local args = require "sonde.base.args"
local module = require "sonde.model.module"
local schedule = require "sonde.train.schedule"
local hidden = require "sonde.distill.hidden"
local on_policy = require "sonde.distill.on_policy"
local teachers = require "sonde.distill.teacher"

local distill = {}

local function weight(name, doc)
  return { name = name, type = "number|function|list", min = 0, preset = 0.5, doc = doc
    .. "; or a function of update and updates, or points {update, weight}",
    of = { name = "point", type = "list", of = { name = "number", type = "number", doc = "" },
      doc = "{update, weight}" } }
end

--- The option `distill` of a training.
---@type sonde.schema
distill.schema = {
  { name = "loss", type = "string|table", preset = "forward_kl",
    choices = function() return core.modules "distill" end,
    doc = "the divergence of the student from its teacher, NAME or {NAME, option = value}" },
  weight("weight", "factor of the divergence"),
  weight("ce_weight", "factor of the cross-entropy of the text"),
  { name = "temperature", type = "number", min = 0.01, max = 1000, preset = 1,
    doc = "T: logits of both are divided by it" },
  { name = "squared", type = "boolean", preset = false,
    doc = "multiply the divergence by T^2, so that its gradient keeps its size (Hinton et al., 2015)" },
  { name = "top_k", type = "integer", min = 1, max = 2147483647,
    doc = "keep the teacher's K likeliest tokens, all others as one; a cache has a K of its own" },
  { name = "top_p", type = "number", min = 0.001, max = 1,
    doc = "or the fewest that have this probability together" },
  { name = "hidden", type = "table", doc = "also learn the teacher's streams: loss, map, weight, projection" },
  { name = "relations", type = "table",
    doc = "also learn the relations of its tokens: attention, values (factors), map" },
  { name = "on_policy", type = "table|boolean",
    doc = "learn on the student's own samples too (GKD): lambda, prompt, tokens, temperature, top_k, top_p; true: with "
      .. "their defaults, false: not" },
}

--- The option `teacher` of a training.
---@type sonde.field
distill.teacher = {
  name = "teacher", type = "string|model|list",
  of = { name = "teacher", type = "string|model|table", doc = "a teacher" },
  doc = "learn from it: a model, a model folder, a cache of `sonde teach`, or a list of those or {teacher =, weight =}",
}

-- ---- options -------------------------------------------------------------------------------------------------------

local function refuse(where, text)
  error(where() .. text, 0)
end

local function check_support(o, list, where)
  local d = o.distill
  for _, one in ipairs(list) do
    if one.info and (d.top_k or d.top_p) then
      refuse(where, "option '" .. (d.top_k and "top_k" or "top_p") .. "' of distill: the cache " .. one.name .. " has "
        .. one.info.k .. " classes a token already; leave it out")
    end
    if one.info and one.info.temperature ~= d.temperature then
      refuse(where, string.format("the cache %s was made at a temperature of %g, and distill asks for %g: give "
        .. "temperature = %g, or make another with `sonde teach --temperature %g`", one.name, one.info.temperature,
        d.temperature, one.info.temperature, d.temperature))
    end
  end
end

--- Checks the option distill of a training, but for what its models decide.
---@param given table|nil
---@param what string        for messages
---@param where sonde.where
---@return table             with all its options
---@return integer           the number of its divergence
function distill.check(given, what, where)
  local d = args.check(distill.schema, given, what, where)
  local function place() return where {} end
  local name, options = module.spec(d.loss, "distill", place)
  options = core.module_values("distill", name, options)
  local divergence = core.divergence(name, options)
  options.name = name
  d.loss = options
  if d.top_k and d.top_p then refuse(place, "options 'top_k' and 'top_p' of distill exclude each other") end
  return d, divergence
end

--- Checks the options teacher and distill of a training, and opens the teachers: into o.teachers, which is no part of
--- the configuration; o.teacher becomes what is recorded of them.
---@param model sonde.model
---@param o table            changed
---@param where? sonde.where
function distill.resolve(model, o, where)
  local function place() return where and where({}) or core.where() end
  if not o.teacher then
    if o.distill then refuse(place, "option 'distill' of train needs a teacher: give the option teacher") end
    return
  end
  local function inside(path)      -- the place of an option of distill
    if not where then return core.where() end
    local at = { "distill" }
    for k, key in ipairs(path) do at[k + 1] = key end
    return where(at)
  end
  o.distill, o.divergence = distill.check(o.distill, "distill of train", inside)
  o.teachers = teachers.open(o.teacher, model, place)
  o.teacher = teachers.record(o.teachers)
  check_support(o, o.teachers, place)
  hidden.resolve(o, model, o.teachers, place)
  on_policy.resolve(o, model, o.teachers, inside)
end

--- The factors of an update that change: each becomes a course of the trainer, and its record in the configuration.
---@param o table            changed
---@param where fun(): string
function distill.resolve_weights(o, where)
  if not o.teachers then return end
  o.courses = {}
  for _, key in ipairs { "weight", "ce_weight" } do
    local given = o.distill[key]
    if type(given) ~= "number" then
      local values, text = schedule.sample(given, o.steps, where, "option '" .. key .. "' of distill", "weight")
      o.courses[#o.courses + 1] = { input = "distill." .. key, values = values }
      o.distill[key] = text
    end
  end
end

--- Refuses a corpus that the teachers cannot go with; searches in it what waits for the text.
---@param model sonde.model
---@param corpus sonde.corpus|sonde.feed
---@param o table
function distill.check_corpus(model, corpus, o)
  if not o.teachers then return end
  for _, one in ipairs(o.teachers) do teachers.check_corpus(one, corpus, o) end
  on_policy.check_corpus(corpus, o)
  hidden.search(o, model, corpus)
end

-- What is frozen stays so in the copy; what else a script has done to parameters the copy lacks, but for masks.
local function same_views(model, copy)
  local shared = model:shared()
  for _, param in ipairs(model:params():weights()) do
    if param.shares and not shared[param.name] then
      error(core.where() .. "hidden of distill with a projection: '" .. param.name .. "' shares its values by "
        .. "params:share, which is not supported there; share blocks by the model's options", 0)
    end
    for _, view in ipairs(param.views) do
      if view == "low_rank" then
        error(core.where() .. "hidden of distill with a projection is not supported with low-rank factors ('"
          .. param.name .. "'); train all weights, or give student and teacher one width", 0)
      elseif view == "freeze" then
        copy:params():freeze(param.name)
      end
    end
  end
end

--- The model that is trained: the student, or a copy of it with what the distillation learns beside it.
---@param model sonde.model
---@param o table
---@return sonde.model
function distill.trained(model, o)
  if not hidden.has_parameters(o) then return model end
  if o.from then
    error(core.where() .. "hidden of distill with a projection does not begin `from` another run or folder: load the "
      .. "student with sonde.load", 0)
  end
  local copy = require("sonde.sparse.cut").copy(model)
  same_views(model, copy)
  hidden.extend(copy, o)
  copy.read_with, copy.origin = model.read_with, model.origin
  return copy
end

--- The model that would be trained, for a plan of a step that reads no text.
---@param model sonde.model
---@param o table
---@return sonde.model
function distill.planned(model, o)
  if not o.teachers then return model end
  hidden.stand_in(o, model)
  return distill.trained(model, o)
end

--- Gives the student what such a copy has learned.
---@param model sonde.model
---@param copy sonde.model
function distill.keep(model, copy)
  if rawequal(model, copy) then return end
  for _, param in ipairs(model:params():list()) do
    model:params():find(param.name):copy(copy:params():find(param.name))
  end
end

--- The caches among the teachers, as the feed of tokens takes them.
---@param o table
---@return table[]|nil
function distill.caches(o)
  local list = {}
  for i, one in ipairs(o.teachers or {}) do
    if one.cache then
      list[#list + 1] = { cache = one.cache, ids = "teacher." .. i .. ".ids", logs = "teacher." .. i .. ".logs" }
    end
  end
  return #list > 0 and list or nil
end

-- ---- the graph -----------------------------------------------------------------------------------------------------

-- What an objective's loss is of: x [N, D], the head [V, D], targets, and the soft-cap of the logits.
local function head_of(trace, whose)
  if core.node_op(trace.loss) ~= "lm_loss" then
    error(core.where() .. "distillation: the loss of " .. whose .. " is no cross-entropy over a head, so there are no "
      .. "logits to compare", 0)
  end
  local inputs = core.node_inputs(trace.loss)
  return inputs[1], inputs[2], inputs[3], trace.scores_tokens and trace.model.config.logit_softcap or 0
end

-- The teacher's trace in the student's graph; no gradient flows to it.
local function beside(trace, one, i, options)
  local traced = {}
  for key, value in pairs(options) do traced[key] = value end
  traced.graph, traced.prefix, traced.dropout = trace.graph, "teacher." .. i .. ".", false
  traced.objective, traced.loss_weights = nil, nil
  return one.model:trace(traced)
end

-- The cross-entropy and the divergence from one teacher, [N] each.
local function losses_of(trace, one, i, o, options)
  local d, n = o.distill, trace.loss:dims()[1]
  local x, head, targets, cap = head_of(trace, "the student")
  if one.cache then
    local ids = trace.graph:input("teacher." .. i .. ".ids", "i32", { n, one.info.k })
    local logs = trace.graph:input("teacher." .. i .. ".logs", "f32", { n, one.info.k + 1 })
    local both = core.op("distill_cached", { x, head, targets, ids, logs }, { d.temperature, cap, 0, 0 },
      { o.divergence, 0 })
    return both, core.result(both, 2)
  end
  local theirs = beside(trace, one, i, options)
  local tx, thead, _, tcap = head_of(theirs, "the teacher " .. one.name)
  local both = core.op("distill", { x, head, targets, tx, thead }, { d.temperature, cap, tcap, d.top_p or 0 },
    { o.divergence, d.top_k or 0 })
  return both, core.result(both, 2), theirs
end

-- A number of the configuration, or the input that has it in each update.
local function factor(trace, o, key, x)
  if type(o.distill[key]) == "number" then return x * o.distill[key] end
  return x * trace.graph:input("distill." .. key, "f32", { 1 })
end

---@class sonde.distillation
---@field loss sonde.node       [N]: the cross-entropy, of the pass that gives the divergence
---@field total sonde.node      what is minimised, one number
---@field metrics {name: string, node: sonde.node}[]

--- Adds the teachers to a trace of the student.
---@param trace sonde.trace
---@param o table          of a training, resolved
---@param options table    that the student was traced with
---@return sonde.distillation
function distill.attach(trace, o, options)
  local loss, divergence
  local scale = o.distill.squared and o.distill.temperature ^ 2 or 1
  local theirs
  for i, one in ipairs(o.teachers) do
    local ce, kd, traced = losses_of(trace, one, i, o, options)
    loss, theirs = loss or ce, theirs or traced
    if one.weight ~= 1 then kd = kd * one.weight end
    divergence = divergence and divergence + kd or kd
  end
  if scale ~= 1 then divergence = divergence * scale end
  local samples = on_policy.of(o)
  local of_text = samples and loss * on_policy.text(trace) or loss
  local total = factor(trace, o, "ce_weight", of_text:sum():reshape { 1 })
    + factor(trace, o, "weight", divergence:sum():reshape { 1 })
  if trace.added then total = total + trace.added end
  local metrics = { { name = "divergence", node = divergence } }
  if samples then metrics[2] = { name = "sampled", node = on_policy.sampled(trace) } end
  for _, added in ipairs(theirs and hidden.losses(trace, theirs, o) or {}) do
    total = total + added.node:sum():reshape { 1 } * added.weight
    metrics[#metrics + 1] = { name = added.name, node = added.node }
  end
  return { loss = loss, total = total, metrics = metrics }
end

return distill
