-- Does weight decay make weights sparse, and is that associated with a flatter variance and more useful blocks?
--
-- "When Does Sparsity Mitigate the Curse of Depth in LLMs", weight decay: one model trained at each rate. Decay is
-- decoupled (AdamW) and of matrices alone: norm gains and the embedding have none, as in the paper's runs.
--
--   sonde run experiments/sparsity_weight_decay.lua                             minutes on two cores
--   sonde run experiments/sparsity_weight_decay.lua --set scale=workstation     an hour
--   sonde run experiments/sparsity_weight_decay.lua --set scale=paper           1.3 B: says what it needs, runs nothing
--
-- Settings stand in sparsity_weight_decay/SCALE.yaml; other settings are another sweep: add --set name=NAME

local sonde = require "sonde"

local study = sonde.experiment "sparsity_weight_decay"

local arms = {}
for k, rate in ipairs(study.settings.weight_decay) do arms[k] = { value = rate, train = { weight_decay = rate } } end

local sparsity = "weight_sparsity_total_1e-2"

study:compare {
  title = "Sparsity by weight decay",
  question = "Does weight decay make weights sparse, and do variance and usefulness of the blocks follow?",
  axis = "weight_decay", arms = arms, sparsity = sparsity, metrics = { "weight_sparsity_total_sd_over_10" },
  paper = {      -- adamw-1B, 20 B tokens; variances are read off a figure
    { value = 0, perplexity = 15.63, usefulness_score = 0.75, last_variance = 320 },
    { value = 0.01, perplexity = 15.20, usefulness_score = 0.75, last_variance = 285 },
    { value = 0.1, perplexity = 14.83, usefulness_score = 0.81, last_variance = 116 },
    { value = 1, perplexity = 15.55, usefulness_score = 0.69, last_variance = 0 },
    { value = 3, perplexity = 773.42, usefulness_score = 0.63, last_variance = 0 },
  },
  claims = {
    { x = "weight_decay", y = sparsity, sign = 1 },
    { x = "weight_decay", y = "last_variance", sign = -1 },
    { arm = 0.1, over = 0, y = "perplexity", sign = -1, paper = -0.80 },
    { arm = 3, over = 0.1, y = "perplexity", sign = 1, paper = 758.59 },
    { arm = 0.1, over = 0, y = "usefulness_score", sign = 1, paper = 0.06 },
  },
}
