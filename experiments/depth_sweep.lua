-- How do perplexity and the variance of the residual stream change with depth, under five placements of the norm?
--
-- Models: decoder-only transformers with RMSNorm, rotary attention, SwiGLU and an untied head, trained from scratch on
-- the same text. Batch, tokens, learning rate and schedule are the same for all; the model's size, the placement and
-- the seed vary. A seed fixes the first weights and the order of the text: trials of one seed see the same batches.
--
--   sonde run experiments/depth_sweep.lua                             minutes on two cores
--   sonde run experiments/depth_sweep.lua --set scale=workstation   hours: the 9 M to 60 M models of Sun et al. (2025)
--   sonde run experiments/depth_sweep.lua --set scale=paper           130 M and more: says what it needs, runs nothing
--
-- Settings stand in depth_sweep/SCALE.yaml; each can be changed: --set seed=[1,2,3,4] --set train.lr=2e-3
-- Other settings are another sweep: add --set name=NAME

local sonde = require "sonde"

local study = sonde.experiment "depth_sweep"

study:run {
  title = "Depth sweep",
  question = "How do perplexity and the variance of the residual stream change with depth, under five placements of "
    .. "the norm?",
  model = { norm = "rmsnorm", attention = "causal", ffn = "swiglu" },
  trial = function(trial, model)
    local result = sonde.train(model, study.corpus, study.settings.train)
    trial:report { perplexity = result.perplexity, train_loss = result.train_loss }
  end,
}
