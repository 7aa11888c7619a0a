-- Which divergence teaches a small student best?
--
-- One teacher, and students of one size that learn from it with each divergence, beside the same student without a
-- teacher: the same text, order, tokens and schedule. Reported is the perplexity of the validation text, and how far
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
  question = "Which divergence teaches a small student best, beside the same student without a teacher?",
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

sweep:check(student_of):run(function(trial, p)
  local student = student_of(p)
  local result = sonde.train(student, corpus, options_of(arms[p.loss]))
  trial:report { perplexity = result.perplexity, train_loss = result.train_loss }
  if result.diverged then return end
  for name, value in pairs(sonde.divergences(student, teacher, corpus, config.measure)) do
    trial:report { [name] = value }
  end
end)

sweep:summary { by = { "loss" }, metric = { "perplexity", "forward_kl", "reverse_kl", "total_variation" },
  reference = names[1] }
