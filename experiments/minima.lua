-- What does a student gain by being cut out of its teacher, and what by learning the teacher's distribution?
--
-- The question of MiniMA (Zhang et al., 2023) at one size of the student. A teacher is trained; students of about the
-- same number of parameters begin
--   minima      as a narrower and shorter teacher: uniform widths by gate importance, blocks dropped at both ends
--   gate        as the teacher without the heads, neurons and features of least importance over all blocks
--   shortgpt    as the teacher with fewer blocks, without those of lowest influence
--   scratch     at random
-- Each is trained on the text alone, and on the text and the teacher's distribution. All arms of a seed get the same
-- compute: what the teacher's forward passes and the calibration take is less text for their students.
--
--   sonde run experiments/minima.lua                             two or three minutes on two cores
--   sonde run experiments/minima.lua --set scale=workstation     hours: 16 blocks of width 256
--   sonde run experiments/minima.lua --set scale=paper           7 B to 3 B: says what it needs, runs nothing
--
-- Settings are in minima/SCALE.yaml. The students are evaluated on tasks too with
--
--   sonde run experiments/minima.lua --set context=128 \
--     --set "tune.eval={tasks: [arc_easy, sciq], data: DIR, limit: 200}"

local sonde = require "sonde"
local flops_per_token = require("sonde.train.forecast").flops_per_token

local study = sonde.experiment "minima"
local config, corpus = study.settings, study.corpus
local teachers_name = config.teachers_name
config.teachers_name = nil

local function teacher_of(p) return study:model(config.teacher, { seed = p.seed }) end
local function student_of(p) return study:model(config.student, { seed = p.seed }) end

local teachers = sonde.sweep {
  name = teachers_name, named_by = "--set teachers_name=NAME", title = "The teachers",
  question = "What do the blocks of the teachers do?", grid = { seed = config.seed },
  settings = { corpus = config.corpus, text = config.text, context = config.context, teacher = config.teacher,
    train = config.train, eval_tokens = config.eval_tokens },
}

if study.plan_only then return teachers:plan(function(p) return teacher_of(p), config.train end) end

sonde.quantity("loss_before", {
  title = "The students before they are trained", axis = "loss (nats per token)", log = false,
  doc = "Mean cross-entropy of the student as it was cut, before any training.",
  look = "A cut that keeps what the teacher knows is far below a random student, at ln of the vocabulary.",
})
sonde.quantity("student_loss", {
  title = "The students at equal compute", axis = "loss (nats per token)", log = false,
  doc = "Mean cross-entropy on validation text after training; all arms of a seed took the same compute.",
  look = "Compare the starts within a panel, and a start across the panels: text alone, and with the teacher.",
})
sonde.quantity("trained_tokens", { short = "tokens trained on", axis = "tokens trained on", ranked = false })
sonde.quantity("parameters", { axis = "parameters", ranked = false })

-- ---- what each arm gets -------------------------------------------------------------------------------------------

if config.calibration_tokens >= corpus.train.tokens then
  error("--set calibration_tokens: the training text has only " .. corpus.train.tokens .. " tokens", 0)
end
local calibration = corpus.handle:tokens("train", 0, config.calibration_tokens + 1)
local student, size = config.student, config.teacher

local function pruned(teacher, options)
  options.text, options.context, options.tokens = calibration, config.context, config.calibration_tokens
  return (sonde.prune(teacher, options))
end

-- How many blocks of the teacher have about the parameters of the student's.
local function blocks_removed(teacher, goal)
  local block = teacher:count().non_embedding / size.depth
  local less = math.floor((teacher:count().total - goal:count().total) / block + 0.5)
  return math.max(1, math.min(size.depth - 1, less))
end

-- How a student begins, of a teacher and a random student.
local starts = {
  minima = function(teacher)
    return pruned(teacher, { method = "gate", hidden = student.width, heads = student.heads, ffn = student.ffn_hidden,
      strategy = "ends", remove = size.depth - student.depth })
  end,
  gate = function(teacher, goal)      -- embedding and head shrink on one side only, so more than their share goes
    local ratio, model = 1 - goal:count().total / teacher:count().total
    repeat
      model = pruned(teacher, { method = "gate", ratio = ratio })
      ratio = ratio + 0.02
    until model:count().total <= goal:count().total or ratio > 0.99
    return model
  end,
  shortgpt = function(teacher, goal)
    return pruned(teacher, { strategy = "influence", remove = blocks_removed(teacher, goal) })
  end,
  scratch = function(_, goal) return goal end,
}

-- The tokens that an arm trains on, by operations: forward and backward pass of the student, the forward pass of the
-- teacher, and the calibration, which goes forward and backward through the teacher.
local function tokens_of(model, teacher, p)
  local of_teacher, teacher_forward = flops_per_token(teacher, config.context)
  local budget = config.tokens * flops_per_token(student_of(p), config.context)
  if p.start ~= "scratch" then budget = budget - config.calibration_tokens * of_teacher end
  local each = flops_per_token(model, config.context) + (p.loss == "distilled" and teacher_forward or 0)
  return math.max(1, math.floor(budget / each))
end

local function training_of(model, teacher, p, folder)
  local options = {}
  for key, value in pairs(config.train) do options[key] = value end
  for key, value in pairs(config.tune) do options[key] = value end
  options.tokens = tokens_of(model, teacher, p)
  if p.loss == "distilled" then options.teacher, options.distill = folder, config.distill end
  return options
end

-- ---- the teachers -------------------------------------------------------------------------------------------------

local sweep = study:sweep {
  title = "Students of one teacher",
  question = "What does a student gain by being cut out of its teacher, and what by learning its distribution?",
  grid = { loss = { "text", "distilled" }, start = config.start, seed = config.seed },
}

sweep:check()
for _, start in ipairs(config.start) do
  if not starts[start] then error("--set start: there is no '" .. tostring(start) .. "'", 0) end
end

local function loss_of(model)
  return sonde.evaluate(model, corpus, { tokens = config.eval_tokens }).loss
end

teachers:run(function(trial, p)
  local model = teacher_of(p)
  if sonde.train(model, corpus, config.train).diverged then return end
  model:save(trial.dir .. "/model", { tokenizer = corpus.tokenizer })
  trial:report { loss = loss_of(model), parameters = model:count().total }
end)

local folders = {}
for _, trial in ipairs(teachers:results().trials) do
  if trial.status ~= "done" then error(trial.id .. " of the teachers is " .. trial.status, 0) end
  folders[trial.params.seed] = trial.dir .. "/model"
end

-- ---- the students -------------------------------------------------------------------------------------------------

sweep:run(function(trial, p)
  local teacher = sonde.load(folders[p.seed])
  local model = starts[p.start](teacher, student_of(p))
  trial:report { loss_before = loss_of(model), parameters = model:count().total }
  local result = sonde.train(model, corpus, training_of(model, teacher, p, folders[p.seed]))
  trial:report { trained_tokens = result.tokens }
  if result.diverged then return end
  trial:report { student_loss = loss_of(model) }
end)

-- What the students' training reported of tasks.
local of_tasks, seen = {}, {}
for _, trial in ipairs(config.tune.eval and sweep:results().trials or {}) do
  for name in pairs(trial.results) do
    if name:find "^tasks/.*/acc$" and not seen[name] then of_tasks[#of_tasks + 1], seen[name] = name, true end
  end
end
table.sort(of_tasks)
local metrics = { "student_loss", "loss_before", "parameters", "trained_tokens", table.unpack(of_tasks) }

sweep:summary {
  by = { "start" }, panels = "loss", intervals = true, metric = metrics, higher = of_tasks,
  beside = teachers:results { by = { "seed" }, metric = "loss" },
}
