--- start.lua - where a training begins: with another run's checkpoint (weights, and by choice its optimizer's state and
-- its place in the text) or with the weights of a model folder. A run that has a checkpoint of its own goes on with
-- that.

local core = require "sonde.core"
local reads = require "sonde.base.reads"

local start = {}

local function is_run(dir)
  return core.exists(dir .. "/checkpoint") ~= false and core.exists(dir .. "/run.json") ~= false
end

-- Whether the run goes on with a checkpoint of its own.
local function goes_on(run)
  return run ~= nil and core.exists(run:dir() .. "/checkpoint") ~= false
end

--- Fills from_optimizer and from_text in, which say nothing without `from`.
---@param o table
---@param where fun(): string
function start.check(o, where)
  for _, key in ipairs { "from_optimizer", "from_text" } do
    if o[key] ~= nil and not o.from then
      error(where() .. "option '" .. key .. "' of train has no effect without the option 'from'", 0)
    end
    if o.from and o[key] == nil then o[key] = true end
  end
end

-- What must be the same for a place in a text, or an optimizer's state, to mean the same.
local function check_run(o, corpus)
  local there = core.yaml_load(o.from .. "/config.yaml")
  local was, text = there.train or {}, there.corpus or {}
  local function same(option, what, a, b)
    if a == b then return end
    error(string.format("%sfrom %s: %s is another one there (%s, here %s); %s = false begins that anew", core.where(),
      o.from, what,
      tostring(a), tostring(b), option), 0)
  end
  if o.from_text then
    same("from_text", "the text", text.sha256, corpus.hash)
    same("from_text", "the context", was.context, o.context)
    same("from_text", "the seed", was.seed, o.seed)
  end
  if o.from_optimizer then same("from_optimizer", "the optimizer", (was.optimizer or {}).name, o.optimizer.name) end
end

-- What a run or a folder says of its tokenizer must be the corpus's.
local function check_tokens(o, corpus)
  local record = core.exists(o.from .. "/run.json") and core.json_load(o.from .. "/run.json") or {}
  local hash, path = type(record.corpus) == "table" and record.corpus.tokenizer or "", nil
  local known = { hash = hash, of = "the one that " .. o.from .. " was trained with" }
  for _, dir in ipairs { o.from, o.from .. "/model" } do
    path = path or require("sonde.io.origin").tokenizer_path(dir)
  end
  if path then
    local tokenizer = core.tokenizer(path)
    known = { hash = tokenizer:hash(), tokenizer = tokenizer, of = path, path = path }
  end
  if known.hash ~= "" then require("sonde.data").check_ids(corpus, known) end
end

--- Refuses a `from` that a training without a checkpoint cannot begin with.
---@param o table
---@param corpus sonde.corpus
---@param run userdata|nil
function start.check_source(o, corpus, run)
  if not o.from or goes_on(run) then return end
  if run and core.real_path(o.from) == core.real_path(run:dir()) then
    error(core.where() .. "from " .. o.from .. ": is the run's own folder; choose another dir", 0)
  end
  check_tokens(o, corpus)
  if is_run(o.from) then
    check_run(o, corpus)
  else
    require("sonde.io").check(o.from)
  end
end

--- Puts on the model the masks of the weights that it begins with and what a sparsity method has gathered, whose values
--- come with those: of the run's own checkpoint where there is one, as `from` may be gone by then.
---@param model sonde.model
---@param o table
function start.views(model, o)
  local weights = o.dir and not o.redo and o.dir .. "/checkpoint/model.safetensors"
  if not (weights and core.exists(weights)) then
    if not o.from or not core.exists(o.from) then return end       -- it is refused when the run's folder is opened
    if not is_run(o.from) then return require("sonde.io").put_masks(model, o.from) end
    weights = o.from .. "/checkpoint/model.safetensors"
  end
  local params = model:params()
  for _, name in ipairs(core.exists(weights) and core.weights_open(weights):names() or {}) do
    local of, view = string.match(name, "^(.+)%.(%a+)$")
    local put = view == "mask" and params.mask or view == "gathered" and params.gather
    if put and params:find(of) and not params:find(name) then put(params, of) end
  end
end

--- Puts into the trainer's fields, or into the model, what the training begins with.
---@param model sonde.model
---@param o table
---@param run userdata|nil
---@param fields table
function start.prepare(model, o, run, fields)
  if not o.from or goes_on(run) then return end
  if not is_run(o.from) then return require("sonde.io").begin(model, o.from) end
  for _, key in ipairs { "from", "from_optimizer", "from_text" } do fields[key] = o[key] end
end

-- The hash of the weights of `from`, and of a run's the update; nil where there are none any more.
local function source(from)
  if is_run(from) then
    local ok, state = pcall(core.json_load, from .. "/checkpoint/state.json")
    local weights = from .. "/checkpoint/model.safetensors"
    return ok and core.exists(weights) and { sha256 = core.file_sha256(weights), step = state.step } or nil
  end
  local ok, dir = pcall(require("sonde.io").check, from)
  return ok and { sha256 = reads.hash.model(dir) } or nil
end

-- A run that has gone on since, or a folder that is gone, is no other beginning (but one that a new beginning takes).
local function same_source(o, run, was)
  local now = source(o.from)
  was = type(was) == "table" and was or nil
  local later = now and not o.redo and (tonumber(now.step) or 0) > (was and tonumber(was.step) or 0)
  return was and goes_on(run) and (later or not now) and was or now
end

--- What a training begins with beside its seed, by hashes: `weights`, those of the model that it is given, but for
--- what the initialisation made, which follows from the seed and may differ in its last bits on another machine; and
--- `from`. Of a training that goes on it is what it began with.
---@param model sonde.model      as it is before the training
---@param o table
---@param run sonde.run
---@param was table|nil          what the run has recorded of it
---@return {weights: string, from: table|nil}
function start.begins_with(model, o, run, was)
  return {
    weights = model:params():given_sha256() or "its seed",
    from = o.from and same_source(o, run, type(was) == "table" and was.from),
  }
end

--- What a run's record says of its beginning; nil where it has said so or there is nothing to say.
---@param o table
---@param run userdata
---@param begins table          of begins_with
---@return table|nil
function start.facts(o, run, begins)
  if not o.from or goes_on(run) then return nil end
  local facts = { dir = o.from }
  for key, value in pairs(begins.from or {}) do facts[key] = value end
  return facts
end

return start
