-- Are models that are trained on longer sequences sparser in their attention, flatter in variance and of more use in
-- their blocks?
--
-- "When Does Sparsity Mitigate the Curse of Depth in LLMs", context length: one model trained at each length, with as
-- many tokens an update and in all. Perplexity is at the length of the training, as in the paper; longer sequences give
-- a prediction more to go by, so it is measured at the shortest length too.
--
--   sonde run experiments/sparsity_context.lua                             minutes on two cores
--   sonde run experiments/sparsity_context.lua --set scale=workstation     an hour
--   sonde run experiments/sparsity_context.lua --set scale=paper           1.3 B: says what it needs, runs nothing
--
-- Settings stand in sparsity_context/SCALE.yaml; other settings are another sweep: add --set name=NAME

local sonde = require "sonde"

local study = sonde.experiment "sparsity_context"
local config = study.settings

local arms, shortest, longest = {}, math.min(table.unpack(config.contexts)), math.max(table.unpack(config.contexts))
for k, context in ipairs(config.contexts) do arms[k] = { value = context, context = context } end

-- The share of a token's keys that get less than a tenth of an even share of its attention: it does not follow from the
-- number of keys alone, as the share below a fixed weight does.
local sparsity = "attention_sparsity_tenth_mean"

sonde.quantity("perplexity_shortest", { short = "perplexity, shortest context", axis = "perplexity, shortest context",
  doc = "Validation perplexity in windows of the shortest context of the sweep." })

study:compare {
  title = "Sparsity by context length",
  question = "Do longer training sequences go with a flatter variance and more useful blocks?",
  axis = "context", arms = arms, sparsity = sparsity,
  metric = "perplexity_shortest", metrics = { "attention_sparsity_milli_mean", "perplexity_shortest" },
  paper = {      -- adamw-1B, 20 B tokens; variances are read off a figure
    { value = 256, perplexity = 18.51, usefulness_score = 0.69, last_variance = 3e4 },
    { value = 512, perplexity = 15.71, usefulness_score = 0.75, last_variance = 8e3 },
    { value = 1024, perplexity = 14.77, usefulness_score = 0.75, last_variance = 2.7e3 },
    { value = 2048, perplexity = 14.51, usefulness_score = 0.81, last_variance = 1.4e3 },
    { value = 4096, perplexity = 14.52, usefulness_score = 0.81, last_variance = 700 },
    { value = 8192, perplexity = 16.30, usefulness_score = 0.75, last_variance = 70 },
  },
  claims = {
    { x = "context", y = sparsity, sign = 1 },
    { x = "context", y = "last_variance", sign = -1 },
    { arm = longest, over = shortest, y = "usefulness_score", sign = 1, paper = 0.06 },
  },
  measure = function(trial, model)
    local result = sonde.evaluate(model, study.corpus, { context = shortest, tokens = config.train.eval_tokens })
    trial:report { perplexity_shortest = result.perplexity }
  end,
}
