-- How do perplexity and the variance of the residual stream change with depth, under five placements of the norm?
--
-- Models: decoder-only transformers with RMSNorm, rotary attention, SwiGLU and an untied head, trained from scratch on
-- the same text. Batch, tokens, learning rate and schedule are the same for all; the model's size, the placement and
-- the seed vary. A seed fixes the first weights and the order of the text: trials of one seed see the same batches.
--
--   sonde run experiments/depth_sweep.lua                             minutes on two cores
--   sonde run experiments/depth_sweep.lua --set scale=workstation     hours: the 9 M to 60 M models of Sun et al. (2025)
--   sonde run experiments/depth_sweep.lua --set scale=paper           130 M and more: says what it needs, runs nothing
--
-- Settings stand in depth_sweep/SCALE.yaml; each can be changed: --set seed=[1,2,3,4] --set train.lr=2e-3
-- Other settings are another sweep: add --set name=NAME

local sonde = require "sonde"

local scale = sonde.settings.scale or "demo"
local config = sonde.config("depth_sweep/" .. scale .. ".yaml")
local corpus = sonde.corpus(config.corpus, config.text)

-- The sweep's folder below runs/: no setting of its trials.
local name = config.name
config.name = nil

local sizes, models = {}, {}
for k, model in ipairs(config.models) do
  sizes[k] = model[config.axis]
  models[sizes[k]] = model
end

local function model_of(p)
  local size = models[p[config.axis]]
  return sonde.transformer {
    vocab = corpus.vocab, width = size.width, depth = size.depth, heads = size.heads, ffn_hidden = size.ffn_hidden,
    context = config.context, placement = p.placement, norm = "rmsnorm", attention = "causal", ffn = "swiglu",
    seed = p.seed,
  }
end

local sweep = sonde.sweep {
  name = name,
  named_by = "--set name=NAME",
  title = "Depth sweep, " .. scale .. " scale",
  question = "How do perplexity and the variance of the residual stream change with depth, under five placements of "
    .. "the norm?",
  grid = { [config.axis] = sizes, placement = config.placement, seed = config.seed },
  settings = config,
}

if config.plan_only then return sweep:plan(function(p) return model_of(p), config.train end) end

sweep:check(model_of):run(function(trial, p)
  local result = sonde.train(model_of(p), corpus, config.train)
  trial:report { perplexity = result.perplexity, train_loss = result.train_loss }
end)

-- The first placement of the list is what the others are compared with.
sweep:summary { by = { "placement", config.axis }, metric = "perplexity", reference = config.placement[1] }
