-- Which divergence teaches a small student best, and on which tokens: the text's, its own, or the teacher's?
--
-- One teacher, and students of one size that learn from it with each divergence, on the text and on their own samples,
-- or from the sequences that it continues the text with, beside the same student without a teacher: the same order,
-- tokens and schedule. Reported is the perplexity of the validation text, and how far
-- the student is from its teacher there, by measures that do not depend on the loss.
--
--   sonde run experiments/distill_losses.lua                             minutes on two cores
--   sonde run experiments/distill_losses.lua --set scale=workstation     hours
--   sonde run experiments/distill_losses.lua --set scale=paper           says what it needs, runs nothing
--
-- Settings stand in distill_losses/SCALE.yaml; each can be changed: --set distill.temperature=2
-- Other settings are another sweep: add --set name=NAME

local sonde = require "sonde"

local study = sonde.experiment "distill_losses"
local config, corpus = study.settings, study.corpus

local names, arms = {}, {}
for k, arm in ipairs(config.arms) do
  names[k] = arm.name
  arms[arm.name] = arm
end

local function student_of(p) return study:model(config.student, { seed = p.seed }) end

local sweep = study:sweep {
  title = "Losses of distillation",
  question = "Which divergence teaches a small student best, on the text or on its own samples, beside the same "
    .. "student without a teacher?",
  grid = { loss = names, seed = config.seed },
}

if study.plan_only then return sweep:plan(function(p) return student_of(p), config.train end) end

-- The teacher is trained once, in a run of its own, which goes on where it was.
local teacher = study:model(config.teacher, { seed = 0 })
config.teacher_train.dir = "runs/" .. study.name .. "-teacher/0"
print(string.format("teacher: perplexity %.2f", sonde.train(teacher, corpus, config.teacher_train).perplexity))

-- The options of a student's training: an arm without a loss has no teacher.
local function options_of(arm)
  local options, distill = {}, {}
  for key, value in pairs(config.train) do options[key] = value end
  if not arm.loss then return options end
  for key, value in pairs(config.distill) do distill[key] = value end
  for key, value in pairs(arm) do
    if key ~= "name" then distill[key] = value end
  end
  options.teacher, options.distill = teacher, distill
  return options
end

local function sequences_of(arm)
  return string.format("runs/%s-teacher/%s.tok", study.name, arm.name)
end

-- The text that an arm reads: the corpus, or what the teacher continues its passages with.
local function text_of(arm)
  return arm.sequences and sonde.corpus(sequences_of(arm)) or corpus
end

sweep:check(student_of)
for _, arm in ipairs(config.arms) do      -- before the trials, which may run side by side; what is there is kept
  if arm.sequences then
    sonde.teach_sequences(teacher, corpus, { out = sequences_of(arm), sequences = arm.sequences,
      temperature = arm.temperature })
  end
end
sweep:run(function(trial, p)
  local student, arm = student_of(p), arms[p.loss]
  local result = sonde.train(student, text_of(arm), options_of(arm))
  trial:report { train_loss = result.train_loss }
  if result.diverged then return end
  local on_text = sonde.evaluate(student, corpus, { context = config.context,
    tokens = config.train.eval_tokens or 65536 })
  trial:report { perplexity = on_text.perplexity }
  for name, value in pairs(sonde.divergences(student, teacher, corpus, config.measure)) do
    trial:report { [name] = value }
  end
end)

sweep:summary { by = { "loss" }, metric = { "perplexity", "forward_kl", "reverse_kl", "total_variation" },
  reference = names[1] }
