--- objective.lua - what a model is trained for: from its output to the loss of each item. doc/training.md has an
--- example.
--
-- An objective gets a site, its options and the output x [B, T, D] after the final norm, and returns the loss [N] of
-- each item (of language modelling: of each of the N = B T tokens). It reads the inputs that it needs (site:input), has
-- parameters of its own (site:param), and publishes (site:publish)
--   "targets"        the input i32 [N] in which -1 marks an item that does not count; its loss must be 0
--   "head"           the matrix whose product with the output gives the logits, for generation and the logit lens
--   "metric.NAME"    what is reported beside the loss: [N], 0 for items that do not count, or one number
--   "loss.NAME"      what is added to the loss: [N], or one number; any module of a model may publish those
-- What is added is minimised but reported apart: the loss that is reported stays the objective's.

local args = require "sonde.base.args"
local module = require "sonde.model.module"
local registry = require "sonde.base.registry"

local objectives = registry.new {
  kind = "objective", folder = "sonde/model/objectives",
  schema = {
    { name = "build", type = "function", required = true,
      doc = "of a site, the options, x [B, T, D] and the model's options: the loss [N]" },
    { name = "doc", type = "string", preset = "", doc = "one line on what the model learns" },
    { name = "options", type = "list", preset = {}, doc = "the schema of the objective's options" },
    { name = "perplexity", type = "boolean", preset = false,
      doc = "whether exp of the mean loss is reported as perplexity" },
    { name = "scores_tokens", type = "boolean", preset = false,
      doc = "whether its logits are those of the model's tokens: logit_scale and logit_softcap are for them" },
    { name = "bound", type = "function",
      doc = "of the options and the model's: a mean loss over this has diverged; without it only one that is not "
        .. "finite" },
  },
}
local objective = { registry = objectives }

--- Registers an objective under a name that models and trainings can have.
---@param name string
---@param info {doc: string, options: sonde.schema, perplexity: boolean, bound: function}|function
---@param build? fun(site: sonde.site, options: table, x: sonde.node, config: table): sonde.node   config: of the model
function objective.register(name, info, build)
  if type(info) == "function" then info, build = {}, info end
  local described = { build = build }
  for key, value in pairs(info) do described[key] = value end
  objectives:add(name, described)
end

--- The names of all objectives.
---@return string[]
function objective.names()
  return objectives:names()
end

--- The objective of that name: {build=, doc=, options=, bound=}.
---@param name string
---@param where? fun(): string
---@return table
function objective.find(name, where)
  return objectives:find(name, where)
end

--- NAME or {NAME, option = value} with every option's value, as {name = NAME, option = value}.
---@param given string|table
---@param where fun(): string
---@return table
function objective.resolve(given, where)
  local name, options = module.spec(given, "objective", where)
  local found = objectives:find(name, where)
  options = args.check(found.options, options, "objective '" .. name .. "'", where)
  options.name = name
  return options
end

--- What every objective with a cross-entropy can add to it.
---@type sonde.schema
objective.regularizers = {
  { name = "z_loss", type = "number", min = 0, preset = 0,
    doc = "times the square of each item's log-sum-exp, added (PaLM; Chowdhery et al., 2022: 1e-4)" },
  { name = "label_smoothing", type = "number", min = 0, max = 1, preset = 0,
    doc = "share e of the target that goes to all classes alike: (1 - e) CE + e mean of -log p (Szegedy et al., "
      .. "2016)" },
}

--- What a model with the option logit_scale multiplies with its head in place of x.
---@param x sonde.node
---@param config table     of the model
---@return sonde.node
function objective.scaled(x, config)
  return config.logit_scale == 1 and x or x * config.logit_scale
end

--- Cross-entropy of each item under softmax(x head^T) in nats, 0 where the target is -1; with the options of
--- objective.regularizers published as "loss.z_loss" and "loss.label_smoothing". The logits are never held.
---@param site sonde.site
---@param x sonde.node         [N, D]
---@param head sonde.node      [V, D]
---@param targets sonde.node   i32 [N]
---@param options table
---@param softcap? number      of the logits; default 0: none
---@return sonde.node   [N]
function objective.cross_entropy(site, x, head, targets, options, softcap)
  local loss, n = x:lm_loss(head, targets, softcap), targets:dims()[1]
  local function term(i) return loss:result(2):slice(1, i, i):reshape { n } end
  if options.z_loss > 0 then site:publish("loss.z_loss", term(1) * options.z_loss) end
  if options.label_smoothing > 0 then      -- what smoothing changes of the cross-entropy
    site:publish("loss.label_smoothing", (term(2) - loss) * options.label_smoothing)
  end
  site:publish("targets", targets)
  site:publish("head", head)
  return loss
end

--- 1 for each item whose likeliest class is its target, else 0; 0 where the target is -1. Holds the logits.
---@param x sonde.node         [N, D]
---@param head sonde.node      [C, D]
---@param targets sonde.node   i32 [N]
---@return sonde.node   [N]
function objective.hits(x, head, targets)
  local off = (x:linear(head):argmax():cast "f32" - targets:cast "f32"):abs()
  return off:affine(-1, 1):max(0)
end

local name = { name = "name", type = "string", required = true }
local where = { name = "where", type = "function" }
local function node(of) return { name = of, type = "node", required = true } end

return args.declare(objective, "sonde.objectives.", {
  register = {
    as = "sonde.objective", name, { name = "info", type = "table|function", required = true },
    { name = "build", type = "function" },
  },
  names = {}, find = { name, where },
  resolve = { { name = "given", type = "string|table", required = true }, { name = "where", type = "function",
    required = true } },
  cross_entropy = {
    { name = "site", type = "any" }, node "x", node "head", node "targets", { name = "options", type = "table",
      required = true },
    { name = "softcap", type = "number" },
  },
  scaled = { node "x", { name = "config", type = "table", required = true } },
  hits = { node "x", node "head", node "targets" },
})
