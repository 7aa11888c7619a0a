-- Do deep blocks matter less under Pre-LN, and does LayerNorm Scaling mend it?
--
-- The table and figures of "The Curse of Depth" (Sun et al., 2025) at three scales: perplexity by size and placement, the
-- variance of the residual stream, the angle between the streams of any two blocks, and what the loss loses with each block.
-- Their protocol (Adam, no weight decay, no clipping, a tenth of warm-up, cosine to a tenth), packed text instead of padded.
--
--   sonde run experiments/curse_of_depth.lua                             minutes on two cores
--   sonde run experiments/curse_of_depth.lua --set scale=workstation     an hour: depths to 32 at width 128
--   sonde run experiments/curse_of_depth.lua --set scale=paper           130 M to 1 B: says what it needs, runs nothing
--
-- Settings stand in curse_of_depth/SCALE.yaml; each can be changed: --set placement=[pre_ln,lns,layerscale,skipinit]
-- Other settings are another sweep: add --set name=NAME

local sonde = require "sonde"

local scale = sonde.settings.scale or "demo"
local config = sonde.config("curse_of_depth/" .. scale .. ".yaml")
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
    context = config.context, placement = p.placement, seed = p.seed,
  }
end

local sweep = sonde.sweep {
  name = name,
  named_by = "--set name=NAME",
  title = "The curse of depth, " .. scale .. " scale",
  question = "Do deep blocks matter less under Pre-LN than under other placements of the norm?",
  grid = { [config.axis] = sizes, placement = config.placement, seed = config.seed },
  settings = config,
}

if config.plan_only then return sweep:plan(function(p) return model_of(p), config.train end) end

sweep:check(model_of):run(function(trial, p)
  local model = model_of(p)
  local result = sonde.train(model, corpus, config.train)
  trial:report { perplexity = result.perplexity, train_loss = result.train_loss }
  if result.diverged then return end
  trial:report(sonde.probe(model, corpus, { "layer_removal", "angular_distances" }, config.probe))
end)

-- The first placement of the list is what the others are compared with.
sweep:summary { by = { "placement", config.axis }, metric = "perplexity", reference = config.placement[1] }
