-- Do deep blocks matter more under LayerNorm Scaling than under Pre-LN? Asked by removing them.
--
-- The same model is trained under each placement. Then every strategy of sonde.prune removes a share of its blocks; the
-- loss on text that neither training nor the strategies have seen is taken before and after a short training of what is
-- left ("healing"). "none" is the whole model, trained on as long: what healing gives without a cut.
--
--   sonde run experiments/layer_pruning.lua                             minutes on two cores
--   sonde run experiments/layer_pruning.lua --set scale=workstation     hours: 16 blocks of width 256
--   sonde run experiments/layer_pruning.lua --set scale=paper           250 M: says what it needs, runs nothing
--
-- Settings stand in layer_pruning/SCALE.yaml; each can be changed. Other settings are another sweep, of the same whole
-- models:
--
--   sonde run experiments/layer_pruning.lua --set replace=linear --set heal.lora=4 --set name=pruned-linear

local sonde = require "sonde"

local study = sonde.experiment "layer_pruning"
local config, corpus = study.settings, study.corpus

-- The folder of the whole models' sweep below runs/: no setting of its trials.
local name, whole_name = study.name, config.whole_name
config.whole_name = nil

-- What the whole models follow from; nothing else of the settings is known to what makes them.
local whole_settings = {
  corpus = config.corpus, text = config.text, context = config.context, model = config.model, train = config.train,
  probe = config.probe, eval_tokens = config.eval_tokens,
}

local function model_of(p)
  return study:model(whole_settings.model, { placement = p.placement, seed = p.seed })
end

local whole = sonde.sweep {
  name = whole_name,
  named_by = "--set whole_name=NAME",
  title = "The whole models",
  question = "What do the blocks of the models do that were pruned above?",
  grid = { placement = config.placement, seed = config.seed },
  settings = whole_settings,
}

if study.plan_only then return whole:plan(function(p) return model_of(p), config.train end) end

-- What the report says of these numbers.
sonde.quantity("rise", {
  title = "What removal costs", axis = "rise of the loss (nats)", log = false,
  doc = "Loss of the pruned model, before any training, less that of the whole model of the same seed.",
  look = "Where removing deep blocks costs little, they did little; compare the panels at the same share.",
})
sonde.quantity("loss_pruned", {
  title = "Loss without the removed blocks", axis = "loss (nats per token)", log = false,
  doc = "Mean cross-entropy of the pruned model, before any training.",
  look = "A line that stays low has found blocks that the model can do without.",
})
sonde.quantity("loss_healed", {
  title = "Loss after healing", axis = "loss (nats per token)", log = false,
  doc = "Mean cross-entropy after a short training of what was left; the whole model was trained on as long.",
  look = "Strategies that meet again differed in what training mends.",
})
sonde.quantity("share", { axis = "share of the blocks removed" })

-- What strategies measure on and maps are fitted on: the first tokens of the training text.
if config.calibration_tokens >= corpus.train.tokens then
  error(("--set calibration_tokens: the training text has %d tokens, and %d and a target are asked for"):format(
    corpus.train.tokens, config.calibration_tokens), 0)
end
local calibration = corpus.handle:tokens("train", 0, config.calibration_tokens + 1)

local function pruning(strategy, share, seed)
  if type(share) ~= "number" or share <= 0 or share >= 1 then
    error("--set share: a share of the blocks lies between 0 and 1, unlike " .. tostring(share), 0)
  end
  local remove = math.floor(share * config.model.depth + 0.5)
  if remove < 1 or math.abs(remove - share * config.model.depth) > 0.05 then
    error(("--set share: %g of %d blocks are no whole number of them; %g are %d"):format(share, config.model.depth,
      math.max(1, remove) / config.model.depth, math.max(1, remove)), 0)
  end
  return {
    strategy = strategy, remove = remove, seed = seed, text = calibration, tokens = config.calibration_tokens,
    replace = config.replace,
  }
end

-- Mistakes in the settings of what comes last are found before anything is trained.
if name == whole_name then
  error("--set name: '" .. name .. "' is the name of the whole models' sweep (whole_name)", 0)
end
for _, placement in ipairs(config.placement) do
  local any = model_of { placement = placement, seed = config.seed[1] }
  for _, strategy in ipairs(config.strategy) do
    for _, share in ipairs(config.share) do
      local options = pruning(strategy, share, config.seed[1])
      options.heal, options.heal_text = config.heal, corpus
      require("sonde.sparse").check(any, options)
    end
  end
end

local strategies, shares = { "none" }, { 0 }
for _, strategy in ipairs(config.strategy) do strategies[#strategies + 1] = strategy end
for _, share in ipairs(config.share) do shares[#shares + 1] = share end

local sweep = study:sweep {
  title = "Layer pruning",
  question = "Do deep blocks matter more under LayerNorm Scaling than under Pre-LN?",
  grid = { placement = config.placement, strategy = strategies, share = shares, seed = config.seed },
  only = function(p) return (p.strategy == "none") == (p.share == 0) end,
}

-- ---- the whole models ---------------------------------------------------------------------------------------------

sweep:check()

whole:run(function(trial, p)
  local model = model_of(p)
  if sonde.train(model, corpus, whole_settings.train).diverged then return end
  model:save(trial.dir .. "/model", { tokenizer = corpus.tokenizer })
  local probes = { "layer_removal", "block_influence", "angular_distances" }
  trial:report(sonde.probe(model, corpus, probes, whole_settings.probe))
  trial:report { loss = sonde.evaluate(model, corpus, { tokens = whole_settings.eval_tokens }).loss }
end)

local wholes = {}
for _, trial in ipairs(whole:results().trials) do
  if trial.status ~= "done" and trial.status ~= "diverged" then
    error(trial.id .. " of the whole models is " .. trial.status .. "; run this again when it is done", 0)
  end
  wholes[trial.params.placement .. "/" .. trial.params.seed] = {
    dir = trial.dir, status = trial.status, loss = trial.results.loss,
  }
end

-- ---- pruned -------------------------------------------------------------------------------------------------------

local function loss_of(model)
  return sonde.evaluate(model, corpus, { tokens = config.eval_tokens }).loss
end

sweep:run(function(trial, p)
  local before = wholes[p.placement .. "/" .. p.seed]
  if before.status == "diverged" then
    return trial:report { loss_pruned = 0 / 0, loss_healed = 0 / 0, rise = 0 / 0 }
  end
  local model, neighbours = sonde.load(before.dir .. "/model"), {}
  for block = 0, config.model.depth - 1 do neighbours[block + 1] = block end      -- adapters of a whole model
  if p.share > 0 then
    local smaller, facts = sonde.prune(model, pruning(p.strategy, p.share, p.seed))
    model, neighbours = smaller, facts.neighbours
    trial:report { removed = facts.removed }
  end
  local pruned = loss_of(model)
  trial:report { loss_pruned = pruned, rise = pruned - before.loss }
  if sonde.heal(model, corpus, config.heal, neighbours).diverged then return end
  trial:report { loss_healed = loss_of(model) }
end)

-- The first placement of the list is what the others are compared with.
sweep:summary {
  by = { "strategy", "share" }, panels = "placement", reference = config.placement[1], intervals = true,
  metric = { "rise", "loss_pruned", "loss_healed" },
  beside = whole:results { by = { "placement" }, metric = "loss", reference = config.placement[1] },
}
