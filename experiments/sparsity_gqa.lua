-- Are blocks of more use where query heads share their keys and values?
--
-- "When Does Sparsity Mitigate the Curse of Depth in LLMs", grouped-query attention: one model trained at each group
-- size G, the query heads for each key-value head (G = 1: multi-head, G = heads: multi-query). Nothing makes up for the
-- weights that sharing saves, as in the paper.
--
--   sonde run experiments/sparsity_gqa.lua                             minutes on two cores
--   sonde run experiments/sparsity_gqa.lua --set scale=workstation     an hour
--   sonde run experiments/sparsity_gqa.lua --set scale=paper           1.3 B: says what it needs, runs nothing
--
-- Settings stand in sparsity_gqa/SCALE.yaml; other settings are another sweep: add --set name=NAME

local sonde = require "sonde"

local study = sonde.experiment "sparsity_gqa"

local arms = {}
for k, size in ipairs(study.settings.group_sizes) do arms[k] = { value = size, model = { groups = size } } end

local first, last = arms[1].value, arms[#arms].value

study:compare {
  title = "Sparsity by grouped-query attention",
  question = "Do shared keys and values go with a flatter variance and more useful blocks?",
  axis = "group_size", arms = arms, sparsity = "group_size",
  metrics = { "attention_sparsity_tenth_mean" },
  paper = {      -- adamw-1B with 16 heads, 20 B tokens; variances are read off a figure
    { value = 1, perplexity = 14.52, usefulness_score = 0.81, last_variance = 220 },
    { value = 4, perplexity = 14.50, usefulness_score = 0.87, last_variance = 125 },
    { value = 16, perplexity = 14.47, usefulness_score = 0.87, last_variance = 103 },
  },
  claims = {
    { arm = last, over = first, y = "perplexity", sign = -1, paper = -0.05 },
    { arm = last, over = first, y = "last_variance", sign = -1, paper = -117 },
    { arm = last, over = first, y = "usefulness_score", sign = 1, paper = 0.06 },
  },
}
