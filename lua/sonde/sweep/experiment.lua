--- experiment.lua - what experiments share: settings at a scale, the text, models by size, and a sweep that can be
-- planned alone.
--
-- The settings of an experiment are FOLDER/SCALE.yaml beside its script; `--set scale=SCALE` chooses one ("demo" where
-- none is given), and `--set key=value` changes a setting. Known to this file are
--
--   name         the folder of the sweep's trials, no setting of theirs: other settings are another sweep's, with
--                another name
--   corpus, text what sonde.corpus takes; text.vocab or text.tokenizer says how many tokens the models have. Without
--                them the experiment has no text
--   context      of the models
--   plan_only    print what the trials need and run nothing; the text need not be there
--   flops_per_s  the rate of a machine that a plan computes hours by, no setting of the trials;
--                `--set flops_per_s=RATE` where the file has none
--   axis, models for experiment:run: the models by size, of which `axis` is the key that tells them apart
--   placement, seed, train    likewise: lists, and the options of sonde.train

local args = require "sonde.base.args"
local arms = require "sonde.sweep.arms"

local experiment = {}

---@class sonde.experiment
---@field scale string
---@field settings table          of the scale, without its name
---@field name string             of the sweep
---@field plan_only boolean
---@field flops_per_s number|nil  that hours of a plan are computed by
---@field corpus sonde.corpus|nil nil where it is only planned, or has no text
---@field vocab integer|nil       tokens of the models
local methods = {}
methods.__index = methods

-- Tokens that the models of a plan have: those of the text, which need not be there.
local function vocab_of(settings)
  local text = settings.text or {}
  if text.tokenizer then return require("sonde.io.origin").tokenizer(text.tokenizer):vocab() end
  return text.vocab
end

--- Opens an experiment: its settings at the scale of `--set scale`, and its text.
---@param folder string      of the settings, beside the script
---@return sonde.experiment
function experiment.open(folder)
  local scale = require("sonde").settings.scale or "demo"
  local settings = require("sonde.base.config").load(folder .. "/" .. scale .. ".yaml", { "flops_per_s" })
  local self = setmetatable({
    scale = scale, settings = settings, name = settings.name, plan_only = settings.plan_only == true,
    flops_per_s = settings.flops_per_s,
  }, methods)
  settings.name, settings.flops_per_s = nil, nil
  self.vocab = self.plan_only and vocab_of(settings) or nil
  if not self.vocab and (settings.corpus or settings.text) then
    self.corpus = require("sonde.data").open(settings.corpus, settings.text)
    self.vocab = self.corpus.vocab
  end
  return self
end

local SIZE = { "width", "depth", "heads", "kv_heads", "head_dim", "ffn_hidden" }

--- A model of a size, with the settings' context and the tokens of the text.
---@param size table         its width, depth, heads, kv_heads, head_dim, ffn_hidden
---@param options? table     further ones of sonde.transformer: placement, seed, norm, ..
---@return sonde.model
function methods:model(size, options)
  local all = { vocab = self.vocab, context = self.settings.context }
  for _, key in ipairs(SIZE) do all[key] = size[key] end
  for key, value in pairs(options or {}) do all[key] = value end
  return require("sonde.model.transformer").new(all)
end

--- A sweep of the experiment: options of sonde.sweep; its name and settings are the experiment's where none are given,
--- and its title says the scale.
---@param options table
---@return sonde.sweep
function methods:sweep(options)
  local all = { name = self.name, named_by = "--set name=NAME", settings = self.settings,
    flops_per_s = self.flops_per_s }
  for key, value in pairs(options) do all[key] = value end
  all.title = all.title and all.title .. ", " .. self.scale .. " scale"
  return require("sonde.sweep").new(all)
end

local run_schema = {
  { name = "title", type = "string", required = true, doc = "heading of the report" },
  { name = "question", type = "string", required = true, doc = "what the sweep is to answer" },
  { name = "model", type = "table", preset = {}, doc = "options of all models beside size, placement and seed" },
  { name = "trial", type = "function", required = true,
    doc = "of a trial, its model and the corpus: trains, measures and reports a perplexity" },
}

--- Runs an experiment over model sizes, placements and seeds, and reports on the perplexity: the settings' models by
--- their axis, placement and seed are the grid, and the first placement is what the others are compared with. With
--- plan_only it prints what the trials need and runs none.
---@param options {title: string, question: string, model: table, trial: fun(trial: sonde.trial, model: sonde.model)}
function methods:run(options)
  options = args.check(run_schema, options, "experiment:run")
  local settings = self.settings
  local axis, sizes, models = settings.axis, {}, {}
  for k, size in ipairs(settings.models) do
    sizes[k] = size[axis]
    models[sizes[k]] = size
  end
  local function model_of(p)
    local all = { placement = p.placement, seed = p.seed }
    for key, value in pairs(options.model) do all[key] = value end
    return self:model(models[p[axis]], all)
  end
  local sweep = self:sweep {
    title = options.title, question = options.question,
    grid = { [axis] = sizes, placement = settings.placement, seed = settings.seed },
  }
  if self.plan_only then return sweep:plan(function(p) return model_of(p), settings.train end) end
  local trial_of = options.trial
  sweep:check(model_of):run(function(trial, p) trial_of(trial, model_of(p)) end)
  sweep:summary { by = { "placement", axis }, metric = "perplexity", reference = settings.placement[1] }
end

--- Runs an experiment whose arms change one model or its training, and sets its numbers beside a paper's: see
--- arms.compare.
---@param options table     see arms.schema
function methods:compare(options)
  return arms.compare(self, options)
end

--- Arms in which each adds its change to all before it that were not rejected, as a recipe does.
---@param list table[]     arms of experiment:compare
---@return table[]
function methods:cumulative(list)
  return arms.cumulative(list)
end

args.class("experiment", methods)

local self = { name = "self", type = "experiment", required = true }
local options = { name = "options", type = "table", required = true }

args.declare(methods, "experiment:", {
  model = { self, { name = "size", type = "table", required = true }, { name = "options", type = "table" } },
  sweep = { self, options }, run = { self, options }, compare = { self, options },
  cumulative = { self, { name = "list", type = "list", required = true } },
})
return args.declare(experiment, "sonde.experiment.", {
  open = { as = "sonde.experiment", { name = "folder", type = "string", required = true } },
})
