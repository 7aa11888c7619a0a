-- Which sources of sparsity make a deep model better, added one by one?
--
-- The recipe of "When Does Sparsity Mitigate the Curse of Depth in LLMs": a deep model, then longer sequences, weight
-- decay, grouped queries and experts, each on top of those before it; strengths that the paper tried and rejected are
-- beside them. The paper compares mean accuracy on tasks that it does not name. Here it is that of the tasks given, and
-- without any the perplexity:
--
--   sonde run experiments/recipe.lua                             minutes on two cores
--   sonde run experiments/recipe.lua --set scale=workstation     an hour
--   sonde run experiments/recipe.lua --set scale=paper           1.2 B active: says what it needs, runs nothing
--   sonde run experiments/recipe.lua --set 'eval={tasks: [hellaswag], data: DIR, limit: 200}' --set name=NAME
--
-- Settings stand in recipe/SCALE.yaml; other settings are another sweep: add --set name=NAME

local sonde = require "sonde"

local study = sonde.experiment "recipe"

local arms = study:cumulative(study.settings.steps)
local deep = arms[2].value

-- Perplexities of arms of different contexts are of different windows: they are compared in those of the shortest.
local shortest = study.settings.context
sonde.quantity("perplexity_shortest", { short = "perplexity, shortest context", axis = "perplexity, shortest context",
  doc = "Validation perplexity in windows of the settings' context, which is the shortest of the arms." })

-- A step is better than what it was added to, in what there is of accuracy, perplexity and usefulness; a rejected one
-- is worse. The last one is better than the deep model.
local measures, claims = { { "perplexity_shortest", -1 }, { "usefulness_score", 1 } }, {}
if #study.settings.eval.tasks > 0 then measures[3] = { "accuracy", 1 } end
local function claim(arm, over, sign)
  for _, each in ipairs(measures) do
    claims[#claims + 1] = { arm = arm.value, over = over, y = each[1], sign = sign * each[2] }
  end
end

local before = deep
for k = 3, #arms do
  claim(arms[k], before, arms[k].rejected and -1 or 1)
  if not arms[k].rejected then before = arms[k].value end
end
claim(arms[#arms], deep, 1)

study:compare {
  title = "A recipe of sparsity",
  question = "Which sources of sparsity, one added to the other, make a deep model better?",
  axis = "step", arms = arms, reference = deep, metric = "perplexity_shortest",
  metrics = { "perplexity_shortest" },
  paper = {      -- about 1.2 B active parameters; usefulness is read off a figure
    { value = "shallow", accuracy = 0.401, usefulness_score = 0.75 },
    { value = "deep", accuracy = 0.395, usefulness_score = 0.53 },
    { value = "context", accuracy = 0.400, usefulness_score = 0.59 },
    { value = "longer_context", accuracy = 0.395, usefulness_score = 0.53 },
    { value = "decay", accuracy = 0.414, usefulness_score = 0.63 },
    { value = "more_decay", accuracy = 0.410, usefulness_score = 0.63 },
    { value = "most_decay", accuracy = 0.385, usefulness_score = 0.53 },
    { value = "groups", accuracy = 0.421, usefulness_score = 0.66 },
    { value = "experts", accuracy = 0.441, usefulness_score = 0.75 },
  },
  claims = claims,
  measure = function(trial, model)
    local result = sonde.evaluate(model, study.corpus, { context = shortest,
      tokens = study.settings.train.eval_tokens })
    trial:report { perplexity_shortest = result.perplexity }
  end,
}
