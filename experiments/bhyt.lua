-- Is BHyT, a bounded tanh in place of the norm, stable at depth, and is it faster than RMSNorm?
--
-- Two sweeps. The first trains each method at growing depth with the same data, learning rate and schedule. The second
-- measures tokens a second of training, of generation, and of generation with the gains folded into the weights: all
-- methods in turns in one process, so that what the machine does meanwhile falls on all alike, with an interval over
-- the repeats; and why: the share of a training's time that goes into the kernels of the norms.
--
--   sonde run experiments/bhyt.lua                             minutes on two cores
--   sonde run experiments/bhyt.lua --set scale=workstation     hours
--   sonde run experiments/bhyt.lua --set scale=paper           374 M to 3 B: says what it needs, runs nothing
--
-- Settings stand in bhyt/SCALE.yaml; each can be changed: --set speed.repeats=20
-- Other settings are another sweep: add --set name=NAME

local sonde = require "sonde"

local study = sonde.experiment "bhyt"
local config, corpus = study.settings, study.corpus

local names, methods = {}, {}
for k, method in ipairs(config.methods) do
  names[k] = method.name
  methods[method.name] = method
end

local function model_of(method, size, seed)
  return study:model(size, { norm = method.norm, placement = method.placement, seed = seed })
end

-- ---- stability ------------------------------------------------------------------------------------------------

local function at_depth(p)
  local size = { depth = p.depth }
  for key, value in pairs(config.size) do size[key] = value end
  return model_of(methods[p.method], size, p.seed)
end

local stability = study:sweep {
  title = "BHyT and other norms at depth",
  question = "Which norms still train at depth, and what do they do to the variance of the residual stream?",
  grid = { depth = config.depth, method = names, seed = config.seed },
}

local speed, repeats = config.speed, {}
for k = 1, speed.repeats do repeats[k] = k end

local timing = study:sweep {
  name = study.name .. "-speed",
  title = "Speed of BHyT and other norms",
  question = "How many tokens a second does each method train and generate?",
  grid = { pass = { "training", "generation", "folded" }, method = names, ["repeat"] = repeats },
  over = "repeat",
}

if study.plan_only then return stability:plan(function(p) return at_depth(p), config.train end) end

-- Mistakes in the settings of either are found before anything is trained. A repeat has a seed of its own: trials that
-- end in the same weights count as one.
local function to_time(p) return model_of(methods[p.method], speed.size, p["repeat"]) end
timing:check(to_time)

stability:check(at_depth):run(function(trial, p)
  local result = sonde.train(at_depth(p), corpus, config.train)
  trial:report { perplexity = result.perplexity, train_loss = result.train_loss }
end)

-- The first method of the list is what the others are compared with.
stability:summary { by = { "method", "depth" }, metric = "perplexity", reference = names[1] }

-- ---- speed ----------------------------------------------------------------------------------------------------

local prompt = {}
for k = 1, speed.prompt do prompt[k] = k * 31 % study.vocab end

-- The rate, and what the norms take of the time: all that a faster norm could gain.
local function measured(result)
  return { tokens_per_s = result.tokens_per_s, norms_time_share = result.profile_modules.norm / result.seconds }
end

local function generation(model)
  local options = { tokens = speed.tokens, temperature = 0, dtype = speed.dtype, profile = true }
  return measured(select(2, sonde.generate(model, { prompt }, options)))
end

local measures = {
  training = function(model)
    return measured(sonde.train(model, corpus, {
      steps = speed.steps, batch = speed.batch, lr = 1e-4, dtype = speed.dtype, eval_every = 0, eval_tokens = 2,
      probe_every = 0, checkpoint_every = 0, log_every = speed.steps, profile = true,
    }))
  end,
  generation = generation,
  folded = function(model) return generation(require("sonde.model.fold").gains(model)) end,
}

timing:run(function(trial, p)
  trial:report(measures[p.pass](to_time(p)))
end)

timing:summary {
  by = { "method", "pass" }, metric = { "tokens_per_s", "norms_time_share" }, higher = { "tokens_per_s" },
  percent = true,
  reference = names[1],
}
