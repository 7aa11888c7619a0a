-- Does separating the motion of others from that of the camera help to recognise near misses and to warn of them, and
-- does training on another domain first?
--
-- The questions of the near-miss incident database (Kataoka et al. 2018, arXiv 1804.02555) on clips made by the traffic
-- simulator. A transformer over frames reads thumbnails, the unseparated motion, that of the camera (background), what
-- the camera's motion leaves (foreground), both, and both with thumbnails: from scratch, and tuned from a model of the
-- same features that was trained on clips of another domain. A logistic regression of mean features and one of the
-- time to collision by divergence alone stand beside them.
--
--   sonde run experiments/near_miss.lua                             minutes on two cores, the clips included
--   sonde run experiments/near_miss.lua --set scale=workstation     half an hour: 420 clips of each domain
--   sonde run experiments/near_miss.lua --set scale=paper           your own clips: says what it needs, runs nothing
--   sonde run experiments/near_miss.lua --set task=warning --set name=NAME
--
-- Settings are in near_miss/SCALE.yaml. `tune` says how models are tuned: all, head, lora.

local sonde = require "sonde"
local baselines = require "sonde.video.baselines"

local study = sonde.experiment "near_miss"
local config = study.settings
local sources_name, workers = config.sources_name, config.workers
config.sources_name, config.workers = nil, nil

local PARTS = {
  thumbnails = { "thumbnail" }, unseparated = { "all" }, background = { "background" }, foreground = { "foreground" },
  both = { "background", "foreground" }, both_and_thumbnails = { "background", "foreground", "thumbnail" },
}
local BASELINES = { mean_features = "mean", time_to_collision = "looming" }
local METRICS = {
  recognition = { "accuracy" },
  warning = { "recall_500ms", "recall_1000ms", "recall_1500ms", "ap", "mean_tta", "tta_r80", "frame_auc" },
}
-- What sonde.clip_metrics calls them, where names of quantities may not.
local MEASURES = { recall_500ms = "recall_0.5s", recall_1000ms = "recall_1s", recall_1500ms = "recall_1.5s" }
-- Numbers of a frame, where there are no clips to count them: 10 x 6 cells of 5, 32 x 18 grey pixels.
local FIELD, THUMBNAIL = 300, 576

local metrics = METRICS[config.task]
if not metrics then error("--set task: recognition or warning, not '" .. tostring(config.task) .. "'", 0) end
for _, name in ipairs(config.features) do
  if not PARTS[name] then error("--set features: there is no '" .. tostring(name) .. "'", 0) end
end
for _, name in ipairs(config.tune) do
  if name ~= "all" and name ~= "head" and name ~= "lora" then
    error("--set tune: all, head or lora, not '" .. tostring(name) .. "'", 0)
  end
end

local function model_of(features, classes, seed)
  local adaptive = config.task == "warning" and config.loss == "adalea"
  local objective = { adaptive and "adalea" or "weighted_classifier", classes = classes }
  local options = { features = features, objective = objective, context = config.frames[config.task], seed = seed }
  for key, value in pairs(config.model) do options[key] = value end
  return sonde.transformer(options)
end

-- ---- arms -----------------------------------------------------------------------------------------------------------

local arms, of_arm = {}, {}
local function add(value, arm)
  arms[#arms + 1] = { value = value }
  of_arm[value] = arm
end
for _, name in ipairs(config.features) do
  add(name, { features = name })
  for _, tune in ipairs(config.tune) do add(name .. "_tuned_" .. tune, { features = name, tune = tune }) end
end
for _, name in ipairs { "mean_features", "time_to_collision" } do add(name, { baseline = name }) end

local values = {}
for k, arm in ipairs(arms) do values[k] = arm.value end

local sources = sonde.sweep {
  name = sources_name .. "-" .. config.task, named_by = "--set sources_name=NAME", title = "Models of the other domain",
  grid = { features = config.features, seed = config.seed }, settings = config, flops_per_s = study.flops_per_s,
}
local sweep = study:sweep {
  title = "Near misses, " .. config.task,
  question = "Does separating foreground from background beat the unseparated motion, and fine-tuning beat training "
    .. "from scratch? Clips made by a simulator (or your own): their figures are no results on the paper's database.",
  grid = { arm = values, seed = config.seed },
}

-- Options of a training, with what an arm changes.
local function training(changes)
  local options = {}
  for _, list in ipairs { config.train, changes } do
    for key, value in pairs(list) do options[key] = value end
  end
  return options
end

-- What an arm trains, without clips.
local function planned(arm, seed)
  local size, classes = 0, config.task == "warning" and 2 or config.classes
  for _, part in ipairs(PARTS[arm.features or "both"]) do
    size = size + (part == "thumbnail" and THUMBNAIL or FIELD)
  end
  if not arm.baseline then return model_of(size, classes, seed), training {} end
  return baselines.logistic({ features = arm.baseline == "time_to_collision" and 2 or size, classes = classes,
    frames = config.frames[config.task], task = config.task }, seed), training(config.logistic)
end

if study.plan_only then
  print("The clips: --set tables.target=PATH, a table as in doc/video.md, of DoTA, CCD, DADA-2000 or Nexar, with its\n"
    .. "videos beside it; --set tables.source=PATH, another one to tune from; then --set plan_only=false. The videos\n"
    .. "of the near-miss incident database are given out by its owners only. What the models need:")
  if #config.tune > 0 then
    print "Models of the other domain, which the tuned ones begin with:"
    sources:plan(function(p) return planned(p, p.seed) end)
    print "Models of the target:"
  end
  return sweep:plan(function(p) return planned(of_arm[p.arm], p.seed) end)
end

-- ---- clips ---------------------------------------------------------------------------------------------------------

local sets = {}

local function set_of(which)
  if sets[which] then return sets[which] end
  local path = config.tables[which]
  if path == "" then
    if not config.clips then error("--set tables." .. which .. "=PATH: a table of clips is needed", 0) end
    local made, uncut = config.clips, config.task == "warning"
    path = sonde.make_clips { out = made.out .. "/" .. config.task .. "-" .. which, domain = made[which], uncut = uncut,
      quiet = uncut and 6 or 1, clips = made.clips, seed = made.seed, width = made.width, height = made.height,
      seconds = uncut and made.uncut_seconds or nil }.table
  end
  local set = sonde.clips(path, { validation = config.validation, seed = config.split_seed })
  sets[which] = set:features { workers = workers }
  return sets[which]
end

local function feed_of(which, arm)
  local warning = config.task == "warning"
  return set_of(which):feed { task = config.task, labelled = config.labelled, mirror = config.mirror,
    loss = warning and (arm.baseline and config.loss == "adalea" and "exponential" or config.loss) or nil,
    growth = config.growth, frames = config.frames[config.task], parts = PARTS[arm.features or "both"],
    baseline = arm.baseline and BASELINES[arm.baseline] }
end

-- Options of a training by this feed, with what an arm changes.
local function with(about, changes)
  local adaptive = config.task == "warning" and config.loss == "adalea" and not about.baseline
  local options = training(changes)
  options.hooks = adaptive and { about:adalea(config.train.batch) } or nil
  return options
end

-- ---- models of the other domain ------------------------------------------------------------------------------------

sweep:check()

local folders = {}
if #config.tune > 0 then
  set_of "source"      -- before the trials, which are compared with it: another table is another sweep
  sources:run(function(trial, p)
    local data, about = feed_of("source", p)
    local model = model_of(about.features, about.classes, p.seed)
    if sonde.train(model, data, with(about, {})).diverged then return end
    model:save(trial.dir .. "/model")
    about:save(trial.dir .. "/model")
  end)
  for _, trial in ipairs(sources:results().trials) do
    if trial.status ~= "done" then error(trial.id .. " of the other domain is " .. trial.status, 0) end
    folders[trial.params.features .. "/" .. trial.params.seed] = trial.dir .. "/model"
  end
end

-- ---- all arms on the target ----------------------------------------------------------------------------------------

local function all_blocks(model)
  local list = {}
  for k = 1, model.config.depth do list[k] = k - 1 end
  return list
end

-- The trained model of an arm; nil: it diverged.
local function trained(arm, p, data, about)
  local model, result
  if arm.baseline then
    model = baselines.logistic(about, p.seed)
    result = sonde.train(model, data, with(about, config.logistic))
  elseif not arm.tune then
    model = model_of(about.features, about.classes, p.seed)
    result = sonde.train(model, data, with(about, {}))
  else
    model = sonde.load(folders[arm.features .. "/" .. p.seed])
    if arm.tune == "lora" then
      result = sonde.heal(model, data, with(about, { lora = config.lora, lr = config.lora_lr }), all_blocks(model))
    else
      local head = arm.tune == "head" and { "*classifier.weight" } or nil
      result = sonde.train(model, data, with(about, { trainable = head }))
    end
  end
  return not result.diverged and model or nil
end

set_of "target"
sweep:run(function(trial, p)
  local arm = of_arm[p.arm]
  local data, about = feed_of("target", arm)
  local model = trained(arm, p, data, about)
  if not model then return end
  model:save(trial.dir .. "/model")
  about:save(trial.dir .. "/model")
  local measured = about:measure(model, { alarms_per_hour = config.alarms_per_hour, draws = true })
  for _, name in ipairs(metrics) do
    local m = measured[MEASURES[name] or name]
    if m then
      trial:report { [name] = m.value, [name .. "_low"] = m.ci and m.ci[1], [name .. "_high"] = m.ci and m.ci[2],
        ["draws_" .. name] = m.draws }
    end
  end
  if measured.confusion then trial:report { confusion = measured.confusion } end
end)

-- ---- what may be said ----------------------------------------------------------------------------------------------

-- What the claims are about: accuracy, or recall a second before the event and average precision.
local judged, claims = config.task == "warning" and { "recall_1000ms", "ap" } or { "accuracy" }, {}
local function claim(arm, over, ours)
  if not of_arm[arm] or not of_arm[over] then return end
  for _, y in ipairs(judged) do claims[#claims + 1] = { arm = arm, over = over, y = y, sign = 1, ours = ours } end
end
claim("both", "unseparated")
claim("foreground", "unseparated")
for _, name in ipairs(config.features) do
  for _, tune in ipairs(config.tune) do claim(name .. "_tuned_" .. tune, name) end
end
for _, name in ipairs(config.features) do
  claim(name, "mean_features", true)
  claim(name, "time_to_collision", true)
end

for name, text in pairs { accuracy = "accuracy", ap = "average precision", mean_tta = "mean time to accident (s)",
  frame_auc = "AUC of frames", recall_500ms = "recall 0.5 s before", recall_1000ms = "recall 1 s before",
  recall_1500ms = "recall 1.5 s before", tta_r80 = "time at recall 0.8 (s)" } do
  sonde.quantity(name, { title = text, axis = text, log = false, doc = "On the clips of validation; doc/video.md." })
end
for _, name in ipairs(metrics) do
  sonde.quantity("draws_" .. name, { axis = "bootstrap draws of " .. name, figure = false })
end
sonde.quantity("confusion", { title = "Confusion of classes", axis = "clips", log = false,
  axes = { "class", "taken for" },
  doc = "How many clips of validation of a class were taken for another one, in the order of the classes' names." })

-- The draws of an arm by seed: the same seed of the bootstrap draws the same clips in all trials.
local function draws_of(trials, arm, name)
  local list = {}
  for _, trial in ipairs(trials) do
    if trial.params.arm == arm and trial.arrays then list[#list + 1] = trial.arrays["draws_" .. name] end
  end
  return list
end

local function mean_draws(lists)
  local mean = {}
  for _, list in ipairs(lists) do
    for r, x in ipairs(list) do mean[r] = (mean[r] or 0) + x / #lists end
  end
  return mean
end

local stats = require "sonde.base.stats"
local trials = sweep:results().trials
print "Differences over the clips of validation, mean of the seeds, with 95 % intervals of the clips:"
for _, c in ipairs(claims) do
  local a, b, d = draws_of(trials, c.arm, c.y), draws_of(trials, c.over, c.y), {}
  local one, other = mean_draws(a), mean_draws(b)
  for r = 1, math.min(#one, #other) do d[r] = one[r] - other[r] end
  if #d > 1 and #one == #other then
    local low, high = stats.quantile(d, 0.025), stats.quantile(d, 0.975)
    local verdict = low > 0 and "better" or high < 0 and "worse" or "cannot be told"
    print(("  %-34s over %-20s %-12s %+.3f [%+.3f, %+.3f]  %s"):format(c.arm, c.over, c.y, stats.mean(d), low, high,
      verdict))
  end
end
if config.task == "recognition" then
  print "The paper, on its own database (other clips, other people): 64.5 % accuracy, people 68.4 %."
else
  print "The paper, on its own database (other clips, another measure): detection 61.3 %, people 78.7 %."
end

sweep:summary {
  by = { "arm" }, metric = metrics, higher = true, reference = values[1], intervals = true,
  comparison = { arms = arms, paper = {}, metrics = metrics, claims = claims },
}
