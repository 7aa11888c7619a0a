--- sonde.capacity_gap - which teacher is best for a student of S parameters? Teachers of several sizes by one recipe;
-- for each size of the student and each teacher a student that is cut out of it and learns from it, beside the same
-- without a teacher and one from scratch; what that says of the best teacher (capacity.lua), and what it cost.
--
-- Two sweeps, ROOT/NAME-teachers and ROOT/NAME, so a call that was interrupted goes on where it was.

local core = require "sonde.core"
local args = require "sonde.base.args"
local capacity = require "sonde.distill.capacity"
local distill = require "sonde.distill"
local gap_search = require "sonde.distill.gap_search"
local gap_report = require "sonde.distill.gap_report"
local hidden = require "sonde.distill.hidden"
local on_policy = require "sonde.distill.on_policy"
local gap_tables = require "sonde.distill.gap_tables"
local grid = require "sonde.sweep.grid"
local quantity = require "sonde.report.quantity"
local sorted_keys = require "sonde.base.sorted_keys"

local gap = {}

local function sizes(name, doc)
  return { name = name, type = "list", some = true, required = true, doc = doc,
    of = { name = "size", type = "table", doc = "depth, width, heads, ffn_hidden, .. as for sonde.transformer" } }
end

local function numbers(name, preset, of, doc)
  return { name = name, type = "list", some = true, required = preset == nil, preset = preset, doc = doc,
    of = { name = "value", type = of[1], min = of[2], max = of[3], doc = "" } }
end

--- The options of a search for the best teacher.
---@type sonde.schema
gap.schema = {
  { name = "name", type = "string", required = true,
    doc = "folder of the students below root; NAME-teachers is that of the teachers" },
  { name = "root", type = "string", preset = "runs", doc = "the folder of all sweeps" },
  { name = "title", type = "string", preset = "The law of the capacity gap", doc = "heading of the report" },
  { name = "corpus", type = "corpus", doc = "the text; not needed with plan_only" },
  { name = "vocab", type = "integer", min = 1, doc = "tokens of the models; default: the corpus's" },
  { name = "context", type = "integer", min = 2, required = true, doc = "of models and trainings" },
  sizes("teachers", "sizes of the teachers; heads of all models have one width"),
  sizes("students", "sizes that the teachers are cut to; a teacher that is smaller in any way has no such student"),
  numbers("seed", { 1 }, { "integer", 0 }, "seeds, each with teachers of its own"),
  numbers("teacher_tokens", nil, { "integer", 1, 1e15 },
    "tokens that teachers are trained on, one set of teachers for each"),
  numbers("tokens", nil, { "integer", 1, 1e15 }, "tokens that students are trained on"),
  numbers("weight", { 0.5 }, { "number", 0, 1 },
    "shares w of the divergence in what is minimised; the text has 1 - w"),
  numbers("temperature", { 1 }, { "number", 0.01, 1000 }, "temperatures of the divergence"),
  { name = "crossed", type = "boolean", preset = false,
    doc = "every combination of teacher_tokens, tokens, weight and temperature; without it each is varied alone, where "
      .. "the others have their first values" },
  { name = "arms", type = "list", some = true, preset = { "distilled", "pruned", "scratch", "scratch_total" },
    of = { name = "arm", type = "string", choices = { "distilled", "pruned", "random", "scratch", "scratch_total" },
      doc = "a beginning, and what is learned" },
    doc = "distilled: cut out of the teacher, learns from it; pruned: cut out, without a teacher; random: learns from "
      .. "the teacher from a random start; scratch: neither, at equal training tokens; scratch_total: neither, at "
      .. "equal total tokens, with those of the teacher on top" },
  { name = "train", type = "table", preset = {}, doc = "options of sonde.train of the teachers" },
  { name = "tune", type = "table", preset = {}, doc = "what differs from train for the students" },
  { name = "distill", type = "table", preset = {}, doc = "option distill of sonde.train but for weights and "
    .. "temperature" },
  { name = "calibration_tokens", type = "integer", min = 2, preset = 16384,
    doc = "text that heads, neurons and features are chosen on" },
  { name = "eval_tokens", type = "integer", min = 1, preset = 65536, doc = "validation text of every loss" },
  { name = "search", type = "table", fields = gap_search.schema,
    doc = "train the students that a policy chooses along the teachers, not one of every teacher" },
  { name = "jobs", type = "integer", min = 0, max = 4096, doc = "trials at a time, as for sonde.sweep" },
  { name = "plan_only", type = "boolean", preset = false, doc = "print what the trials need and run nothing" },
}

-- What holds a trial's results together: everything but the lists of arms, which may grow.
local SHARED = { "context", "train", "tune", "distill", "calibration_tokens", "eval_tokens" }

-- Axes of which each is varied alone unless they are crossed.
local VARIED = { "teacher_tokens", "tokens", "weight", "temperature" }

-- ---- models --------------------------------------------------------------------------------------------------------

local function merged(...)
  local all = {}
  for _, options in ipairs { ... } do
    for key, value in pairs(options) do all[key] = value end
  end
  return all
end

local function model_of(self, size, seed)
  return require("sonde.model.transformer").new(merged({ vocab = self.vocab, context = self.context, seed = seed },
    size))
end

-- The sizes by their parameters, and the list of these, from the smallest.
local function by_parameters(self, list, what)
  local known, counts = {}, {}
  for k, size in ipairs(list) do
    local count = model_of(self, size, 0):count().total
    if known[count] then
      error(core.where() .. ("capacity_gap: %s %d has as many parameters as another, %d"):format(what, k, count), 0)
    end
    known[count], counts[k] = size, count
  end
  table.sort(counts)
  return known, counts
end

local function size_text(size)
  local parts = {}
  for k, key in ipairs(sorted_keys(size)) do parts[k] = key .. " " .. tostring(size[key]) end
  return table.concat(parts, ", ")
end

local function head_width(size)
  return size.head_dim or size.width / size.heads
end

-- Whether a student can be cut out of a teacher.
local function contains(teacher, student)
  for _, key in ipairs { "depth", "width", "heads", "ffn_hidden" } do
    if teacher[key] < student[key] then return false end
  end
  return true
end

local function here() return core.where() end

local function refuse(text, ...)
  error(core.where() .. "capacity_gap: " .. text:format(...), 0)
end

local function has_arm(self, ...)
  for _, name in ipairs { ... } do
    for _, arm in ipairs(self.arms) do
      if arm == name then return true end
    end
  end
  return false
end

local SIZES = { depth = true, width = true, heads = true, ffn_hidden = true }      -- what every model says of its size
local OF_HEADS = { kv_heads = true, groups = true, head_dim = true }

-- Numbers, one of the whole model: what differs by block cannot be compared along the teachers.
local function check_numbers(size, name)
  for _, key in ipairs { "depth", "width", "heads", "ffn_hidden", "kv_heads", "groups", "head_dim" } do
    local value = size[key]
    if value == nil and SIZES[key] then
      refuse("each of teachers and students needs depth, width, heads and ffn_hidden; %s is missing", key)
    elseif value ~= nil and not (type(value) == "number" and value >= 1 and value % 1 == 0) then
      refuse("%s of %s must be a whole number of at least 1, not %s", key, name,
        type(value) == "string" and "'" .. value .. "'" or type(value) == "table" and "a list" or tostring(value))
    end
  end
end

-- Query heads that read each key and value head.
local function sharing(size)
  return size.groups or size.heads / (size.kv_heads or size.heads)
end

-- What a cut keeps of the teacher must be the student's too: else its size is not the one it is shown at.
local function check_cut(size, first, name)
  if sharing(size) ~= sharing(first) then
    refuse("%g query heads of one model read each key and value head, %g of another; pruning keeps that, so give all "
      .. "models the same (kv_heads)", sharing(first), sharing(size))
  end
  for key in pairs(merged(size, first)) do
    if not SIZES[key] and not OF_HEADS[key] and not grid.same(size[key], first[key]) then
      refuse("%s of %s differs from that of the first teacher; pruning keeps it, so give all models the same", key,
        name)
    end
  end
end

local function check_sizes(self)
  for _, what in ipairs { "teacher", "student" } do
    for k, size in ipairs(self[what .. "s"]) do check_numbers(size, what .. " " .. k) end
  end
  local first = self.teachers[1]
  for _, what in ipairs { "teacher", "student" } do
    for k, size in ipairs(self[what .. "s"]) do
      if head_width(size) ~= head_width(first) then
        refuse("heads of one model have width %g, of another %g; pruning keeps a head whole, so give all models the "
          .. "same (head_dim)", head_width(first), head_width(size))
      end
      if has_arm(self, "distilled", "pruned") then check_cut(size, first, what .. " " .. k) end
    end
  end
end

local function option(name) return "the option '" .. name .. "' of capacity_gap decides it" end

local BY_TRIAL = "each trial has its own"

-- What the axes and the trials decide: it would be taken over, and never used, or be that of another trial.
local DECIDED = {
  train = { tokens = option "teacher_tokens", steps = option "teacher_tokens" },
  tune = { tokens = option "tokens", steps = option "tokens" },
  distill = { weight = option "weight", ce_weight = option "weight", temperature = option "temperature" },
}
for _, name in ipairs { "train", "tune" } do
  DECIDED[name].teacher, DECIDED[name].distill = option "arms", option "distill"
  DECIDED[name].context, DECIDED[name].from = option "context", option "arms"
  DECIDED[name].dir, DECIDED[name].save = BY_TRIAL, BY_TRIAL
end

-- Whether some trial of a student learns from a teacher.
local function learns(self, student, teacher)
  return has_arm(self, "random") or (has_arm(self, "distilled") and contains(teacher, student))
end

-- Streams and relations, of each student and teacher.
local function check_hidden(self, student, teacher)
  for _, what in ipairs { "hidden", "relations" } do
    local given = self.distill[what]
    local options = given and hidden.check(what, given, student, teacher, here)
    local heads = options and (options.attention or 0) > 0 and student.heads ~= teacher.heads
    local shared = options and (options.values or 0) > 0
      and student.heads / sharing(student) ~= teacher.heads / sharing(teacher)
    if heads or shared then
      refuse("relations of distill: a student has %d heads (%d of keys and values) and a teacher %d (%d); they must be "
        .. "as many", student.heads, student.heads / sharing(student), teacher.heads, teacher.heads / sharing(teacher))
    end
  end
end

-- Options that would fail after the teachers' training.
local function check_trainings(self)
  for _, name in ipairs { "train", "tune", "distill" } do
    for key, why in pairs(DECIDED[name]) do
      if self[name][key] ~= nil then
        error(core.where() .. ("option '%s.%s' of capacity_gap: %s; leave it out"):format(name, key, why), 0)
      end
    end
  end
  for _, name in ipairs { "train", "tune" } do
    args.check(require("sonde.train").schema, self[name], name .. " of capacity_gap")
  end
  distill.check(self.distill, "distill of capacity_gap", here)
  on_policy.check(self.distill.on_policy, self.context, here)
  for _, student in ipairs(self.students) do
    for _, teacher in ipairs(self.teachers) do
      if learns(self, student, teacher) then check_hidden(self, student, teacher) end
    end
  end
  if has_arm(self, "distilled", "pruned") and self.calibration_tokens < self.context then
    refuse("calibration_tokens is %d, less than one window of %d tokens", self.calibration_tokens, self.context)
  end
end

-- The text, and what is cut by.
local function open_text(self)
  local corpus = self.corpus
  if self.vocab < corpus.vocab then
    refuse("vocab is %d, but the corpus has %d tokens", self.vocab, corpus.vocab)
  elseif self.calibration_tokens >= corpus.train.tokens then
    refuse("the training text has only %d tokens, calibration_tokens is %d", corpus.train.tokens,
      self.calibration_tokens)
  end
  self.calibration = corpus.handle:tokens("train", 0, self.calibration_tokens + 1)
end

-- ---- trials --------------------------------------------------------------------------------------------------------

local USES = {       -- what an arm depends on beside student and seed
  distilled = { teacher = true, teacher_tokens = true, tokens = true, weight = true, temperature = true },
  pruned = { teacher = true, teacher_tokens = true, tokens = true },
  random = { teacher = true, teacher_tokens = true, tokens = true, weight = true, temperature = true },
  scratch = { tokens = true },
  scratch_total = { teacher_tokens = true, tokens = true },
}

-- A point is a trial where the parameters that its arm does not depend on have their first value, and of the varied
-- ones all but one. The rungs of a search vary beside them.
local function is_trial(self, p)
  local uses, others, has_rungs = USES[p.arm], 0, gap_search.has_rungs(self)
  if not uses.teacher and p.teacher ~= self.teacher_counts[1] then return false end
  for _, key in ipairs(VARIED) do
    local is_rung = key == "tokens" and has_rungs
    if p[key] ~= self[key][1] then
      if not uses[key] or (is_rung and not uses.teacher) then return false end
      others = others + (is_rung and 0 or 1)
    end
  end
  if others > 1 and not self.crossed then return false end
  return (p.arm ~= "distilled" and p.arm ~= "pruned")
    or contains(self.teacher_sizes[p.teacher], self.student_sizes[p.student])
end

local function settings_of(self, keys)
  local settings = { corpus = self.corpus and self.corpus.hash }
  for _, key in ipairs(keys) do settings[key] = self[key] end
  return settings
end

-- Operations a token of a training, and of a forward pass.
local function flops_of(self, size)
  if not self.flops[size] then
    self.flops[size] = { require("sonde.train.forecast").flops_per_token(model_of(self, size, 0), self.context) }
  end
  return self.flops[size][1], self.flops[size][2]
end

-- Operations of a student that is trained on so many tokens, and with its teacher's training. Passes that sample are of
-- the expected number of micro-batches.
local function cost_of(self, p, tokens)
  local own, forward = flops_of(self, self.student_sizes[p.student])
  local uses = USES[p.arm]
  own = own * tokens
  if not uses.teacher then return own, own end
  local of_teacher, teacher_forward = flops_of(self, self.teacher_sizes[p.teacher])
  if uses.weight then
    local samples = on_policy.check(self.distill.on_policy, self.context, here)
    own = own + (forward * on_policy.passes(samples, self.context) + teacher_forward) * tokens
  end
  if p.arm ~= "random" then own = own + of_teacher * self.calibration_tokens end
  return own, own + of_teacher * p.teacher_tokens
end

local function sweeps_of(self)
  local sweep = require "sonde.sweep"
  local teachers = sweep.new {
    name = self.name .. "-teachers", root = self.root, title = "The teachers",
    grid = { teacher = self.teacher_counts, teacher_tokens = self.teacher_tokens, seed = self.seed },
    settings = settings_of(self, { "context", "train", "eval_tokens" }), jobs = self.jobs,
  }
  local students = sweep.new {
    name = self.name, root = self.root, title = self.title,
    question = "Which teacher is best for a student of each size?",
    grid = { arm = self.arms, student = self.student_counts, teacher = self.teacher_counts,
      teacher_tokens = self.teacher_tokens, tokens = self.tokens, weight = self.weight,
      temperature = self.temperature, seed = self.seed },
    only = function(p) return is_trial(self, p) end,
    settings = settings_of(self, SHARED), jobs = self.jobs,
    search = gap_search.options(self, function(p) return (cost_of(self, p, p.tokens)) end),
  }
  return teachers, students
end

local function teacher_training(self, p)
  return merged(self.train, { tokens = p.teacher_tokens })
end

-- What a student is trained with; `folder` is its teacher's, if it has one.
local function student_training(self, p, folder)
  local options = merged(self.train, self.tune, { tokens = p.tokens })
  if p.arm == "scratch_total" then options.tokens = p.tokens + p.teacher_tokens end
  if p.arm == "distilled" or p.arm == "random" then
    options.teacher = folder
    options.distill = merged(self.distill, { weight = p.weight, ce_weight = 1 - p.weight,
      temperature = p.temperature })
  end
  return options
end

local function teacher_folder(self, p)
  return ("%s/%s-teachers/teacher=%d,teacher_tokens=%d,seed=%d/model"):format(self.root, self.name, p.teacher,
    p.teacher_tokens, p.seed)
end

-- How a student begins.
local function start_of(self, p)
  local student, teacher = self.student_sizes[p.student], self.teacher_sizes[p.teacher]
  if p.arm ~= "distilled" and p.arm ~= "pruned" then return model_of(self, student, p.seed) end
  local less = teacher.depth - student.depth
  return (require("sonde.sparse").prune(require("sonde.io").load(teacher_folder(self, p)), {
    method = "gate", hidden = student.width, heads = student.heads, ffn = student.ffn_hidden,
    strategy = less > 0 and "ends" or nil, remove = less > 0 and less or nil,
    text = self.calibration, tokens = self.calibration_tokens, context = self.context,
  }))
end

local function loss_of(self, model)
  return require("sonde.eval").evaluate(model, self.corpus, { tokens = self.eval_tokens }).loss
end

local function run_teacher(self, trial, p)
  local model = model_of(self, self.teacher_sizes[p.teacher], p.seed)
  if require("sonde.train").train(model, self.corpus, teacher_training(self, p)).diverged then return end
  model:save(trial.dir .. "/model", { tokenizer = self.corpus.tokenizer })
  trial:report { size = size_text(self.teacher_sizes[p.teacher]), loss = loss_of(self, model) }
end

local function run_student(self, trial, p)
  local model = start_of(self, p)
  local count = model:count().total
  if count ~= p.student then
    error(("cut out of its teacher the student has %d parameters, not %d: an option of the sizes differs that pruning "
      .. "keeps"):format(count, p.student), 0)
  end
  trial:report { loss_before = loss_of(self, model), size = size_text(self.student_sizes[p.student]) }
  local result = require("sonde.train").train(model, self.corpus, student_training(self, p, teacher_folder(self, p)))
  local own, with_teacher = cost_of(self, p, result.tokens)
  trial:report { flops = own, flops_with_teacher = with_teacher }
  if not result.diverged then trial:report { student_loss = loss_of(self, model) } end
end

-- ---- the search ----------------------------------------------------------------------------------------------------

quantity.register("student_loss", {
  title = "The student's loss by its teacher", short = "student's loss", log = false,
  axis = "student's loss (nats per token)",
  doc = "Mean cross-entropy of the student on validation text after its training.",
  look = "A curve with a lowest point between its ends has a best teacher; one that falls to its end asks for larger "
    .. "teachers, one that rises for smaller ones.",
})
quantity.register("loss_before", {
  title = "Before the student's training", short = "loss before training", axis = "loss (nats per token)", log = false,
  doc = "Mean cross-entropy of the student on validation text before its training: as it was cut out of the teacher, "
    .. "or random.",
  look = "What a cut has left of the teacher is below a random student, at about ln of the vocabulary.",
})
quantity.register("teacher", { axis = "teacher's parameters", log = true, doc = "Parameters of the teacher." })
quantity.register("flops_with_teacher", {
  axis = "operations, with the teacher's training", doc = "Floating-point operations of a student and its teacher.",
})

-- What trials depend on is in the sweeps' settings and in the sizes that trials report; the lists may grow, so the
-- object is none of the values around the trials' functions that are compared.
local object = {}

local function opened(options)
  local self = setmetatable(args.check(gap.schema, options, "capacity_gap"), object)
  if not self.plan_only and not self.corpus then
    error(core.where() .. "capacity_gap needs a text: give it with the option corpus", 0)
  end
  self.vocab, self.flops = self.vocab or self.corpus and self.corpus.vocab, {}
  if not self.vocab then error(core.where() .. "capacity_gap: plan_only needs the option vocab, or a corpus", 0) end
  check_sizes(self)
  check_trainings(self)
  if gap_search.has_rungs(self) then table.sort(self.tokens, function(a, b) return a > b end) end
  self.teacher_sizes, self.teacher_counts = by_parameters(self, self.teachers, "teacher")
  self.student_sizes, self.student_counts = by_parameters(self, self.students, "student")
  if self.corpus then open_text(self) end
  return self
end

local function first_values(self)
  local first = {}
  for _, key in ipairs(VARIED) do first[key] = self[key][1] end
  return first
end

-- Trials are named by numbers of parameters, which models of other sizes may have too. Without one of its teachers a
-- curve has a gap that says nothing of the student.
local function check_trial(trial, size, must_be_done)
  if must_be_done and trial.status ~= "done" then
    error(("%s: this teacher is %s%s; %s"):format(trial.dir, trial.status, trial.reason and " (" .. trial.reason .. ")"
      or "", trial.status == "diverged" and "leave it or its seed out, or give the search another name and train a "
      .. "lower lr" or "--set retry=true trains it again"), 0)
  end
  local was = trial.results.size
  if was and was ~= size_text(size) then
    error(("%s was run with a model of %s, now it would be %s; give the search another name"):format(trial.dir, was,
      size_text(size)), 0)
  end
end

local function plan(self, teachers, students)
  teachers:plan(function(p)
    return model_of(self, self.teacher_sizes[p.teacher], p.seed), teacher_training(self, p)
  end)
  print "students, without their teachers' forward passes:"
  students:plan(function(p)
    local options = student_training(self, p)
    options.teacher, options.distill = nil, nil
    return model_of(self, self.student_sizes[p.student], p.seed), options
  end)
end

---@class sonde.capacity_gap
---@field conditions table[]     of each arm with teachers and values of what is varied: {arm, teacher_tokens, tokens,
--- weight, temperature, curves, optima, line, held_out}, as the functions of sonde.distill.capacity give them
---@field frontier table[]       arms {text, flops, loss} that no cheaper arm is better than, by student
---@field searches sonde.capacity_gap.search[]|nil   with the option search: what the searches found and cost
---@field recommend fun(student: number): table     {teacher, lo, hi, why}: the teacher for a student of so many
--- parameters, by the first condition; teacher is nil where it cannot be told from these arms

--- Trains what is not there yet, and says which teacher is best for each student: prints it, and writes the page
--- ROOT/NAME/report.html with the curves and ROOT/NAME/capacity_gap.json. Called again after an interruption it goes on
--- where it was; lists of sizes, seeds, weights and tokens may grow.
---@param options table     see gap.schema
---@return sonde.capacity_gap|nil     nil with plan_only
function gap.run(options)
  local self = opened(options)
  local teachers, students = sweeps_of(self)
  if self.plan_only then return plan(self, teachers, students) end
  for _, trial in ipairs(students:check():results().trials) do
    check_trial(trial, self.student_sizes[trial.params.student])
  end
  teachers:run(function(trial, p) run_teacher(self, trial, p) end)
  for _, trial in ipairs(teachers:results().trials) do
    check_trial(trial, self.teacher_sizes[trial.params.teacher], true)
  end
  students:run(function(trial, p) run_student(self, trial, p) end)
  local found = gap_report.findings(students:results().trials, function(arm) return USES[arm] end,
    teachers:results().trials, first_values(self))
  found.searches = gap_search.findings(self, students, function(p) return (cost_of(self, p, p.tokens)) end)
  core.write_file(students.folder .. "/capacity_gap.json", core.json_encode(gap_report.record(found)) .. "\n")
  gap_tables.show(found, teachers, students)
  return found
end

return gap
