-- Do deep blocks matter less under Pre-LN, and does LayerNorm Scaling mend it?
--
-- The table and figures of "The Curse of Depth" (Sun et al., 2025) at three scales: perplexity by size and placement,
-- the variance of the residual stream, the angle between the streams of any two blocks, and what the loss loses with
-- each block. Their protocol (Adam, no weight decay, no clipping, a tenth of warm-up, cosine to a tenth), packed text
-- instead of padded.
--
--   sonde run experiments/curse_of_depth.lua                             minutes on two cores
--   sonde run experiments/curse_of_depth.lua --set scale=workstation     an hour: depths to 32 at width 128
--   sonde run experiments/curse_of_depth.lua --set scale=paper           130 M to 1 B: says what it needs, runs nothing
--
-- Settings stand in curse_of_depth/SCALE.yaml; each can be changed: --set placement=[pre_ln,lns,layerscale,skipinit]
-- Other settings are another sweep: add --set name=NAME

local sonde = require "sonde"

local study = sonde.experiment "curse_of_depth"
local settings = study.settings

study:run {
  title = "The curse of depth",
  question = "Do deep blocks matter less under Pre-LN than under other placements of the norm?",
  trial = function(trial, model)
    local result = sonde.train(model, study.corpus, settings.train)
    trial:report { perplexity = result.perplexity, train_loss = result.train_loss }
    if result.diverged then return end
    trial:report(sonde.probe(model, study.corpus, { "layer_removal", "angular_distances" }, settings.probe))
  end,
}
