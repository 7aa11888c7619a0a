--- sonde.train - trains a model on a corpus, in a run folder when there is one: sonde.train(model, corpus, options).
--
-- Two runs with the same model, corpus and options give the same bits, at any number of threads and however often they
-- were stopped in between. A folder that holds a checkpoint of the same configuration is gone on with.

-- What lives here: this file runs a training; run_folder.lua opens its folder, with record.lua, changes.lua and
-- start.lua for what that says, what differs from it, and where it begins; schedule.lua and hooks.lua are what scripts
-- bring, evaluation.lua evaluates on tasks in between; tensorboard.lua writes the metrics for TensorBoard; config.lua
-- reads YAML configurations, forecast.lua says what a step needs, bench.lua measures.

local core = require "sonde.core"
local args = require "sonde.base.args"
local attention_weights = require "sonde.probe.attention_weights"
local documents = require "sonde.data.documents"
local distill = require "sonde.distill"
local evaluation = require "sonde.train.evaluation"
local current = require "sonde.base.current"
local feeds = require "sonde.data.feed"
local gradual = require "sonde.sparse.gradual"
local hooks = require "sonde.train.hooks"
local on_policy = require "sonde.distill.on_policy"
local format = require "sonde.base.format"
local front = require "sonde.base.front"
local glob = require "sonde.base.glob"
local machine = require "sonde.base.machine"
local module = require "sonde.model.module"
local objectives = require "sonde.model.objective"
local progress = require "sonde.base.progress"
local schedule = require "sonde.train.schedule"
local run_folder = require "sonde.train.run_folder"
local start = require "sonde.train.start"
local tensorboard = require "sonde.train.tensorboard"

local train = {}

local function optimizers()
  return core.modules "optimizer"
end

--- The options of a training.
---@type sonde.schema
train.schema = documents.with {
  { name = "tokens", type = "number", min = 1, max = 1e15, doc = "train on so many tokens (or give steps)" },
  { name = "steps", type = "integer", min = 1, max = 1000000000, doc = "updates" },
  { name = "batch", type = "integer", min = 1, max = 1048576, preset = 16, doc = "sequences of a micro-batch B" },
  { name = "context", type = "integer", min = 1, max = 1048576,
    doc = "tokens of a sequence T; default: the model's context" },
  { name = "accumulate", type = "integer", min = 1, max = 1048576, preset = 1, doc = "micro-batches of an update" },
  { name = "lr", type = "number", min = 0, preset = 1e-3, doc = "peak learning rate" },
  { name = "schedule", type = "string|function|list", preset = "cosine",
    choices = { "constant", "cosine", "wsd", "linear", "inverse_sqrt", "cosine_restarts" },
    of = { name = "point", type = "list", of = { name = "number", type = "number", doc = "" },
      doc = "{update, rate over lr}" },
    doc = "course of the rate; or a function of update and updates that gives the rate over lr; or points {update, "
      .. "rate over lr}" },
  { name = "warmup", type = "number", min = 0, preset = 0.05,
    doc = "updates of linear warm-up; below 1: a fraction of all" },
  { name = "warmup_from", type = "number", min = 0, max = 1,
    doc = "rate that the warm-up begins from, as a fraction of lr; default: 0" },
  { name = "min_lr", type = "number", min = 0, max = 1, preset = 0.1,
    doc = "last rate as a fraction of lr; the lowest of inverse_sqrt" },
  { name = "decay", type = "number", min = 0, preset = 0.2,
    doc = "wsd: updates of the last phase; below 1: a fraction of all" },
  { name = "cycles", type = "integer", min = 1, max = 1000, doc = "cosine_restarts: how many cosines; default: 4" },
  { name = "cycle_growth", type = "number", min = 1, max = 1000,
    doc = "cosine_restarts: length of a cycle over that of the one before; default: 1" },
  { name = "optimizer", type = "string|table", preset = "adamw", choices = optimizers,
    doc = "NAME or {NAME, option = value}" },
  { name = "beta1", type = "number", min = 0, max = 1, doc = "of the optimizer, in its range (adamw: to 0.99999)" },
  { name = "beta2", type = "number", min = 0, max = 1, doc = "of the optimizer, in its range" },
  { name = "eps", type = "number", min = 0, doc = "of the optimizer" },
  { name = "weight_decay", type = "number", min = 0, preset = 0.1, doc = "of matrices" },
  { name = "decay_embeddings", type = "boolean",
    doc = "decay the embedding; default: where the head shares it (tie), as other heads are" },
  { name = "decay_gains", type = "boolean", preset = false, doc = "decay the norms' gains, and biases" },
  { name = "groups", type = "list",
    doc = "{match or role =, lr =, weight_decay =}: factors of the rates of some parameters; the last that fits counts",
    of = { name = "group", type = "table", doc = "parameters, and factors of their rates", fields = {
      { name = "match", type = "string", doc = "a name, where * stands for any text" },
      { name = "role", type = "string", choices = core.roles, doc = "what the parameters are for" },
      { name = "lr", type = "number", min = 0, max = 1e6, preset = 1, doc = "factor of the learning rate" },
      { name = "weight_decay", type = "number", min = 0, max = 1e6, preset = 1,
        doc = "factor of the weight decay that they have" },
    } } },
  { name = "trainable", type = "list", of = { name = "pattern", type = "string",
    doc = "a name with *, or ! and such a name" },
    doc = "names of the parameters to train (* stands for any text; !NAME takes away again; the last that fits "
      .. "counts)" },
  { name = "sparsity", type = "table",
    doc = "matrices that become sparse in training: {method =, sparsity =, begin =, end =, every =} "
      .. "(doc/sparsity.md)" },
  { name = "objective", type = "string|table", choices = objectives.names,
    doc = "what the loss is of, NAME or {NAME, option = value}; default: the model's" },
  { name = "loss_weights", type = "table", each = { name = "weight", type = "number", doc = "a factor" },
    doc = "name -> factor of a loss that the objective or a module adds (\"z_loss\"); default: 1 each; 0 leaves it "
      .. "out" },
  distill.teacher,
  { name = "distill", type = "table", doc = "how it learns from the teacher (doc/distillation.md)" },
  { name = "clip", type = "number", min = 0, preset = 1, doc = "bound of the gradient's norm; 0: none" },
  { name = "loss_bound", type = "number", min = 0,
    doc = "a loss over this has diverged; default: the objective's, 4 ln V of a language model" },
  { name = "dtype", type = "string", preset = "f32", choices = { "f32", "bf16" },
    doc = "of products; weights stay f32" },
  { name = "memory_budget", type = "integer|string", preset = 0, doc = "bytes, or text such as 8GiB; 0: what is free" },
  { name = "recompute", type = "string", preset = "budget", choices = { "never", "budget", "always" },
    doc = "blocks' activations" },
  { name = "eval_tokens", type = "integer", min = 0, max = 1e15, preset = 65536,
    doc = "size of the fixed validation set; 0: all" },
  { name = "eval_every", type = "integer", min = 0, max = 1e15,
    doc = "updates between evaluations; default: 5 in all; 0: at the end" },
  { name = "log_every", type = "integer", min = 1, max = 1e15,
    doc = "updates between lines of metrics; default: 200 in all" },
  { name = "probe_every", type = "integer", min = 0, max = 1e15,
    doc = "updates between variances of the blocks; default: 20 in all; 0: never" },
  { name = "checkpoint_every", type = "integer", min = 0, max = 1e15,
    doc = "updates between checkpoints; default: 10 in all; 0: by time" },
  { name = "checkpoint_minutes", type = "number", min = 0, preset = 10,
    doc = "at most so long between checkpoints; 0: any" },
  { name = "patience", type = "integer", min = 1, max = 1e9,
    doc = "end after so many evaluations in a row without a lower validation loss" },
  { name = "max_minutes", type = "number", min = 0, doc = "end after so long a training, all sessions together" },
  { name = "from", type = "string",
    doc = "begin with the weights of a run folder's checkpoint (and its optimizer and text, see below) or of a model "
      .. "folder" },
  { name = "from_optimizer", type = "boolean", doc = "from a run: go on with its optimizer's state; default: true" },
  { name = "from_text", type = "boolean", doc = "from a run: go on in the text where it was; default: true" },
  { name = "hooks", type = "list", doc = "functions that are called between updates (doc/training.md)",
    of = { name = "hook", type = "table", doc = "one of them", fields = hooks.schema } },
  { name = "eval", type = "table",
    doc = "downstream tasks to evaluate on: {tasks =, data =, every = updates (default: at the end only)} and the "
      .. "other options of sonde.evaluate_tasks" },
  { name = "seed", type = "integer", doc = "of the order of the text; default: the model's" },
  { name = "dir", type = "string", doc = "run folder; default: the sweep's; without one nothing is kept" },
  { name = "accept_changes", type = "boolean", doc = "go on with a run that was made with something else" },
  { name = "redo", type = "boolean", doc = "compute such a run anew: what is there is removed" },
  { name = "save", type = "string", doc = "folder to save the trained model in" },
  { name = "log", type = "list", of = { name = "format", type = "string", choices = { "tensorboard" }, doc = "" },
    doc = "forms to write the metrics in beside metrics.jsonl: \"tensorboard\", an event file in the run folder" },
  { name = "progress", type = "boolean", preset = true, doc = "show how far it is" },
  { name = "profile", type = "boolean", preset = false, doc = "say what the time of this session's updates went into" },
}

-- ---- options
-- ---------------------------------------------------------------------------------------------------------

local function at_least_one(x)
  return math.max(1, math.floor(x + 0.5))
end

local function resolve_optimizer(options, where)
  local name, given = module.spec(options.optimizer, "optimizer", where)
  for _, key in ipairs { "beta1", "beta2", "eps" } do
    if options[key] ~= nil then given[key] = options[key] end
    options[key] = nil
  end
  options.optimizer = core.module_values("optimizer", name, given)
  options.optimizer.name = name
end

-- Of a pattern that names only parameters that share another's value: whose it is, which is what is trained.
local function shared_by(params, pattern)
  for _, param in ipairs(params:weights()) do
    if param.shares and string.find(param.name, glob(pattern)) then
      return string.format("'%s' shares the value of '%s': name that one", param.name, param.shares)
    end
  end
end

--- The names of the parameters that `trainable` leaves as they are, as a set; nil where all are trained.
---@param params sonde.params
---@param patterns string[]|nil
---@param where fun(): string
---@return table<string, boolean>|nil
function train.frozen(params, patterns, where)
  if not patterns then return nil end
  local frozen, list, trained = {}, params:list(), false
  local first = string.sub(patterns[1] or "", 1, 1) ~= "!"      -- a list that begins with ! begins with all
  for _, param in ipairs(list) do frozen[param.name] = first end
  for _, pattern in ipairs(patterns) do
    local off, fits = string.sub(pattern, 1, 1) == "!", false
    for _, param in ipairs(list) do
      if string.find(param.name, glob(off and string.sub(pattern, 2) or pattern)) then
        fits, frozen[param.name] = true, off
      end
    end
    if not fits then
      error(where() .. "option 'trainable' of train: no parameter is called '" .. pattern .. "'; "
        .. (shared_by(params, off and string.sub(pattern, 2) or pattern)
          or "the first is called '" .. list[1].name .. "'"), 0)
    end
  end
  for _, param in ipairs(list) do trained = trained or not frozen[param.name] end
  if not trained then error(where() .. "option 'trainable' of train leaves no parameter to train", 0) end
  return frozen
end

--- What `groups` says of each parameter, by name: {lr=, weight_decay=}, factors; nil where there are no groups.
---@param params sonde.params
---@param groups table[]|nil
---@param where fun(): string
---@return table<string, {lr: number, weight_decay: number}>|nil
function train.factors(params, groups, where)
  if not groups then return nil end
  local factors = {}
  for i, group in ipairs(groups) do
    local said, fits = "option 'groups[" .. i .. "]' of train", false
    if not group.match and not group.role then
      error(where() .. said .. " needs match (a name, * for any text) or role (" .. table.concat(core.roles(), ", ")
        .. ")", 0)
    end
    for _, param in ipairs(params:list()) do
      if (not group.match or string.find(param.name, glob(group.match)))
        and (not group.role or group.role == param.role) then
        fits, factors[param.name] = true, { lr = group.lr, weight_decay = group.weight_decay }
      end
    end
    if not fits then
      error(where() .. said .. ": no parameter " .. (group.match and "is called '" .. group.match .. "'" or "")
        .. (group.match and group.role and " and " or "") .. (group.role and "has the role '" .. group.role .. "'"
          or "")
        .. "; the first is called '" .. params:list()[1].name .. "'", 0)
    end
  end
  return factors
end

-- A decay of parameters that are not decayed at all would change nothing.
local function check_decays(o, where)
  local needs = { gain = "decay_gains", bias = "decay_gains", embed = "decay_embeddings" }
  for i, group in ipairs(o.groups or {}) do
    local switch = needs[group.role]
    if switch and not o[switch] and group.weight_decay ~= 1 and group.weight_decay ~= 0 then
      error(string.format("%soption 'groups[%d].weight_decay' of train has no effect: parameters of role '%s' are not "
        .. "decayed without %s", where(), i, group.role, switch), 0)
    end
  end
end

local function default_bound(learns, config)
  local bound = objectives.find(learns.name).bound
  return bound and bound(learns, config) or 0
end

--- Fills in what a step of training is made of: context, optimizer, objective and memory of checked options.
---@param model sonde.model
---@param o table                changed
---@param where fun(): string
---@param places? sonde.where    the place of an option
function train.resolve_step(model, o, where, places)
  o.context = o.context or model.config.context
  o.memory_budget = machine.bytes(o.memory_budget, "memory_budget", where)
  resolve_optimizer(o, where)
  o.objective = o.objective and objectives.resolve(o.objective, where)
  distill.resolve(model, o, places)
  train.frozen(model:params(), o.trainable, where)
end

--- Fills in what follows from the number of updates: the rates, and what else changes from one to the next.
---@param model sonde.model
---@param o table                changed, after resolve_step
---@param given table            the options as they were given
---@param where fun(): string
---@param places? sonde.where    the place of an option
function train.resolve_updates(model, o, given, where, places)
  schedule.resolve_length(o, where)
  distill.resolve_weights(o, where)
  o.sparsity = o.sparsity and gradual.check(o.sparsity, model, o.steps, places)
  schedule.resolve(o, given, where)
end

--- Checks options and fills every one in, those that follow from others included.
---@param model sonde.model
---@param options table
---@param where? sonde.where
---@return table
function train.resolve(model, options, where)
  local o = args.check(train.schema, options, "train", where)
  local function place() return where and where({}) or core.where() end
  train.resolve_step(model, o, place, where)
  train.resolve_updates(model, o, options, place, where)
  if o.decay_embeddings == nil then o.decay_embeddings = model.config.tie end
  o.loss_bound = o.loss_bound or default_bound(o.objective or model.objective, model.config)
  hooks.check(o.hooks, place)
  o.eval = evaluation.check(o.eval, where)
  o.eval_every = o.eval_every or math.ceil(o.steps / 5)
  o.log_every = o.log_every or at_least_one(o.steps / 200)
  o.probe_every = o.probe_every or at_least_one(o.steps / 20)
  o.checkpoint_every = o.checkpoint_every or math.ceil(o.steps / 10)
  o.seed = o.seed or model.config.seed
  o.max_minutes = o.max_minutes ~= 0 and o.max_minutes or nil
  if o.accept_changes == nil then o.accept_changes = current.accept_changes end
  if o.redo == nil then o.redo = current.redo end
  if o.patience and o.eval_every == 0 then
    error(place() .. "option 'patience' of train waits for a lower validation loss: it needs eval_every, not 0", 0)
  end
  start.check(o, place)
  train.factors(model:params(), o.groups, place)
  check_decays(o, place)
  return o
end

-- ---- the run
-- ---------------------------------------------------------------------------------------------------------

-- Options that the trainer takes as they are.
local passed_on = {
  "steps", "accumulate", "lr", "schedule", "warmup", "warmup_from", "min_lr", "decay", "cycles",
  "cycle_growth", "weight_decay", "decay_embeddings", "decay_gains", "clip", "loss_bound", "dtype", "memory_budget",
  "recompute", "eval_tokens", "eval_every", "log_every", "probe_every",
  "checkpoint_every", "patience",
}

local peaks = {}

-- FLOP/s that this machine reaches at most, measured once.
local function peak(dtype)
  peaks[dtype] = peaks[dtype] or core.peak(dtype, 0.05)
  return peaks[dtype]
end

--- Calls f with the parameters frozen that `trainable` leaves out: for this training, beside those that are anyway.
---@param params sonde.params
---@param trainable string[]|nil
---@param f fun(): any
---@return any
function train.with_frozen(params, trainable, f)
  local frozen, put = train.frozen(params, trainable, core.where) or {}, {}
  for _, param in ipairs(params:list()) do
    local is = param.role == "buffer" or table.concat(param.views, " "):find "freeze"
    if frozen[param.name] and not is then put[#put + 1] = param.name end
  end
  for _, name in ipairs(put) do params:freeze(name) end
  local ok, result = pcall(f)
  for _, name in ipairs(put) do params:freeze(name, false) end
  if not ok then error(result, 0) end
  return result
end

-- The options of a trace that is trained, or evaluated beside it.
local function traced(model, corpus, o, dropout)
  local options = documents.of_trace(o, corpus, model, "train")
  options.batch, options.context, options.dropout = o.batch, o.context, dropout
  options.document_ends = feeds.has_documents(corpus)
  options.objective, options.loss_weights = o.objective, o.loss_weights
  return options
end

-- What is reported beside the loss: the losses that are added, in training, and the objective's and the modules'
-- metrics.
local function reported_of(trace, steady)
  local list = {}
  for _, loss in ipairs(trace.losses) do
    list[#list + 1] = { name = "loss." .. loss.name, node = loss.node * loss.weight }
  end
  for i, metric in ipairs(trace.metrics) do
    list[#list + 1] = { name = metric.name, node = metric.node, eval = steady.metrics[i].node }
  end
  return list
end

-- The name of the feed's input that the targets are.
local function targets_of(trace, feed)
  for _, input in ipairs(trace.targets and feed:inputs() or {}) do
    local node = trace.graph:find(input.name)
    if node and core.node_id(node) == core.node_id(trace.targets) then return input.name end
  end
end

--- What is minimised and reported in training: the trace's, or that with its teachers.
---@param trace sonde.trace
---@param steady sonde.trace     that evaluations are of
---@param o table                options of the training, resolved
---@param options table          of the trace
---@return { loss: sonde.node, total: sonde.node|nil, metrics: table[] }
function train.learned(trace, steady, o, options)
  local metrics = reported_of(trace, steady)
  if not o.teachers then return { loss = trace.loss, total = trace.total, metrics = metrics } end
  local found = distill.attach(trace, o, options)
  for _, metric in ipairs(found.metrics) do metrics[#metrics + 1] = metric end
  found.metrics = metrics
  return found
end

--- What some updates measure of the blocks: the values whose variance is recorded, and the entropies of attention.
---@param trace sonde.trace
---@param o table                options of the training
---@return sonde.node[]|nil probes, sonde.node[]|nil entropies   nil where no update measures
function train.measured(trace, o)
  if o.probe_every == 0 then return nil end
  return trace.blocks, attention_weights.entropies(trace)
end

local function make_trainer(model, corpus, o, run, called)
  local optimizer, feed = {}, feeds.open(corpus, o.context, o.seed, distill.caches(o))
  local sampler = on_policy.of(o) and on_policy.open(model, feed, o)
  feed = sampler and sampler.feed or feed
  for key, value in pairs(o.optimizer) do
    if key ~= "name" then optimizer[key] = value end
  end
  local options = traced(model, corpus, o, true)
  local trace = model:trace(options)
  local steady = model.config.dropout > 0 and model:trace(traced(model, corpus, o, false))
  local learns = train.learned(trace, steady or trace, o, options)
  local probes, entropies = train.measured(trace, o)
  feeds.check_rows(feed, trace, corpus)
  local fields = {
    factors = train.factors(model:params(), o.groups, core.where),
    eval_loss = steady and steady.loss or o.teachers and trace.loss or nil, total = learns.total,
    metrics = learns.metrics, courses = o.courses, probes = probes,
    entropies = entropies, blocks = model.config.depth, optimizer = o.optimizer.name, optimizer_options = optimizer,
    targets = targets_of(trace, feed), seed = model.config.seed, tick_seconds = 0.2,
    checkpoint_seconds = 60 * o.checkpoint_minutes, peak_flops = peak(o.dtype),
  }
  for _, key in ipairs(passed_on) do fields[key] = o[key] end
  if o.rates then fields.schedule, fields.rates = "constant", o.rates end
  fields.max_seconds = o.max_minutes and 60 * o.max_minutes or 0
  fields.forget_stop = o.accept_changes or false
  hooks.prepare(called, fields)
  gradual.prepare(o.sparsity, fields)
  start.prepare(model, o, run, fields)
  -- Too much for the machine is refused before the first step; the bound of the day is no part of the configuration.
  if o.memory_budget == 0 then fields.memory_budget = machine.memory() or 0 end
  return train.with_frozen(model:params(), o.trainable, function()
    return core.trainer(learns.loss, model:params(), feed, fields, run)
  end), sampler
end

---@class sonde.training      what sonde.train returns
---@field loss number         mean validation loss in nats (may be NaN); of training without any; NaN: diverged at once
---@field perplexity? number  exp(loss); none where there is no validation text
---@field metrics table<string, number>   of the objective and the modules, like loss; "loss.NAME": added in training
---@field train_loss number   mean over the last updates
---@field steps integer       updates done
---@field tokens integer      tokens trained on
---@field tokens_per_s number
---@field seconds number      of training, all sessions together
---@field mfu number          fraction of the machine's peak, over all of it
---@field validated boolean   whether loss is of validation text
---@field best_loss? number    lowest of the evaluations
---@field diverged? string    why it could not go on
---@field stopped? string     why it ended before its last update: out of patience, or of time
---@field sparsity? number    option sparsity: the share of the chosen matrices' weights that is out at the end
---@field run_dir? string
---@field state_sha256 string of all weights
---@field memory table        arena and state, in bytes; recomputed_blocks
---@field profile? table<string, number> seconds by op (option profile): "fused" is several; without the optimizer
---@field profile_modules? table<string, number> by kind of module: norm, attention, ffn, embedding, head, stream

local function result_of(model, o, event, trainer, run)
  local train_loss = event.loss or 0 / 0          -- NaN where there is none: it diverged at once
  local loss, metrics = event.val_loss or train_loss, {}
  for _, of in ipairs { event.metrics, event.val_metrics } do
    for name, value in pairs(of) do metrics[name] = value end
  end
  local learns = objectives.find((o.objective or model.objective).name)
  local rate = event.seconds > 0 and event.tokens / event.seconds or 0
  return {
    loss = loss, metrics = metrics,
    perplexity = event.val_loss and loss == loss and learns.perplexity and math.exp(loss) or nil,
    train_loss = train_loss, steps = event.step, tokens = event.tokens,
    tokens_per_s = rate, seconds = event.seconds, mfu = rate * trainer:flops() / peak(o.dtype),
    validated = event.val_loss ~= nil, best_loss = event.best_loss, stopped = event.stopped,
    diverged = event.reason, run_dir = run and run:dir(), state_sha256 = model:params():sha256(),
    memory = trainer:memory(),
  }
end

-- The trainer's next event but for those that ask for samples.
local function next_event(trainer, sampler)
  local event = trainer:run()
  while event.prepare do
    sampler:prepare(event)
    event = trainer:run()
  end
  return event
end

-- Runs the trainer to its end; says so where it ended before, in an earlier session. `ended`: the run was recorded as
-- done then.
local function loop(trainer, sampler, display, o, model, board, called, ended)
  local event, first = nil, trainer:step()
  if o.profile then trainer:profile() end
  repeat
    event = next_event(trainer, sampler)
    display:show(event)
    if board and event.logged then board:update() end
    if #called > 0 then
      if event.hook or event.done or event.diverged then display:clear() end
      hooks.call(called, event, model, trainer, ended and event.step == first)
    end
  until event.done or event.diverged or event.interrupted
  if event.step == first and event.done and event.stopped then
    core.warn("this training ended before its last update: " .. event.stopped .. "; --accept-changes lets it go on")
  end
  return event
end

local reported = {
  "loss", "perplexity", "train_loss", "best_loss", "stopped", "steps", "tokens", "tokens_per_s", "seconds", "mfu",
  "sparsity", "state_sha256",
}

local function report(run, own, result)
  run:describe { diverged = result.diverged, validated = result.validated }
  local scalars = {}
  for _, key in ipairs(reported) do
    local value = result[key]
    if value == value then scalars[key] = value end
  end
  for name, value in pairs(result.metrics) do scalars[name] = value end
  run:report(scalars)
  if own then run:finish(result.diverged and "diverged" or "done", result.diverged or "") end
end

local function perform(model, corpus, o, run, own, commit, finished, ended)
  local tasks = evaluation.new(o.eval, corpus.tokenizer)
  local called = o.sparsity and { gradual.hook(o.sparsity) } or {}
  for _, hook in ipairs(tasks:hooks(o.hooks) or {}) do called[#called + 1] = hook end
  local trainer, sampler = make_trainer(model, corpus, o, run, called)
  tasks.trainer = trainer
  if commit then commit() end
  local board = o.log and o.log[1] and tensorboard.open(run:dir())
  local memory = trainer:memory()
  local display = progress.new(o.progress and not current.quiet, memory.arena + memory.state)
  if o.progress then front.begin() end
  local ok, event = pcall(loop, trainer, sampler, display, o, model, board, called, ended)
  if board then board:close() end
  if sampler then sampler:close() end
  display:clear()
  -- A stop that was asked for between two events raises here and not in the trainer: let it save.
  if not ok and core.interrupted() then ok, event = pcall(trainer.run, trainer) end
  if not ok or event.interrupted then trainer:close() end     -- it holds the run, and so its lock
  if not ok then error(event, 0) end
  if event.interrupted then
    if own then run:finish("interrupted", "stopped by the user") end
    local go_on = run and "; the same command resumes it" or ""
    error(string.format("stopped at step %d of %d%s", event.step, event.steps, go_on), 0)
  end
  local result = result_of(model, o, event, trainer, run)
  if result.validated and not result.diverged and not format.finite(result.loss) then
    core.warn(string.format("the validation loss is %s, and so is the loss of the result, whose training loss is %.4f: "
      .. "look at the validation data and at the weights", result.loss ~= result.loss and "NaN" or "infinite",
      result.train_loss))
  end
  if o.sparsity then
    local short
    result.sparsity, short = gradual.reached(model, o.sparsity, event.step)
    if short then core.warn(short) end
  end
  for name, value in pairs(tasks.last) do result.metrics[name] = value end
  if o.profile then
    local ops, parts = trainer:profile()
    result.profile, result.profile_modules = ops, require("sonde.model.trace").by_kind(parts)
  end
  trainer:close()
  if run and not finished then report(run, own, result) end
  return result
end

--- Trains a model. Raises when the training cannot go on (a full disk, a stop asked for); a loss that diverges is a
--- result, with its reason in `diverged`.
---@param model sonde.model
---@param corpus sonde.corpus|sonde.feed
---@param options table          see train.schema
---@param where? sonde.where     the place of an option, for messages; default: the user's line
---@return sonde.training
function train.train(model, corpus, options, where)
  require("sonde.model.fold").refuse(model)
  local o = train.resolve(model, options, where)
  if o.save then core.check_folder(o.save) end
  if corpus.vocab and model.config.vocab and corpus.vocab > model.config.vocab then
    error(core.where() .. string.format("the corpus has %d tokens, the model's vocabulary only %d; build it with "
      .. "vocab = corpus.vocab", corpus.vocab, model.config.vocab), 0)
  end
  require("sonde.data").check_model(corpus, model)
  distill.check_corpus(model, corpus, o)
  documents.of_trace(o, corpus, model, "train", where and function() return where {} end)
  local waits = o.patience and "option 'patience' of train waits for a lower validation loss"
    or hooks.awaits_evaluation(o.hooks)
  if waits and not feeds.validates(corpus) then
    error(core.where() .. waits .. ", and the corpus has no validation text", 0)
  end
  feeds.refuse_not_finite(corpus, "train")
  start.views(model, o)
  gradual.views(model, o.sparsity)
  local run, own, commit, finished, ended = run_folder.open(model, corpus, o)
  if o.log and o.log[1] and not run then
    error(core.where() .. "option 'log' of train writes into the run folder, and there is none; give dir", 0)
  end
  require("sonde.data").used_by(corpus, model)
  local trained = distill.trained(model, o)
  local ok, result = pcall(perform, trained, corpus, o, run, own, commit, finished, ended)
  if not ok and own and run:record().status == "running" then
    local reason = string.gsub(tostring(result), "\n.*", "")
    pcall(run.finish, run, core.interrupted() and "interrupted" or "failed", reason)
  end
  if own then run:close() end
  distill.keep(model, trained)
  if not ok then error(result, 0) end
  if o.save then model:save(o.save, { tokenizer = corpus.tokenizer }) end
  return result
end

return args.declare(train, "sonde.", {
  train = {
    { name = "model", type = "model", required = true }, { name = "corpus", type = "corpus|feed", required = true },
    { name = "options", type = "table" }, { name = "where", type = "function" },
  },
})
