--- sparsify.lua - a model whose matrices are sparse, in one shot: a method scores the weights (sparse/method.lua), on
-- calibration text if it needs their inputs or gradients, and the lowest go (sparse/pattern.lua). A schedule during
-- training is in sparse/gradual.lua.

local core = require "sonde.core"
local args = require "sonde.base.args"
local cut = require "sonde.sparse.cut"
local inputs = require "sonde.sparse.inputs"
local matrices = require "sonde.sparse.matrices"
local method = require "sonde.sparse.method"
local names = require "sonde.model.names"
local pattern = require "sonde.sparse.pattern"
local windows = require "sonde.data.windows"

local sparsify = {}

--- The options of making a model sparse.
---@type sonde.schema
sparsify.schema = {
  { name = "method", type = "string|table", required = true, choices = method.names,
    doc = "NAME or {NAME, option = value}: what says which weights go" },
  { name = "sparsity", type = "number|string", required = true,
    doc = "share of the weights that go; or N:M, of each M neighbours in a row N stay" },
  { name = "scope", type = "string", choices = { "row", "matrix", "model" },
    doc = "among which weights scores are compared; default: the method's" },
  matrices.schema[1], matrices.schema[2],
  { name = "text", type = "corpus|tensor|list", doc = "calibration text: as for sonde.probe" },
  { name = "eval", type = "corpus|tensor|list", doc = "text that the loss is reported on; default: that of text" },
  { name = "context", type = "integer", min = 2,
    doc = "tokens of a window; default: the model's context, at most 2048 and what the text holds" },
  { name = "windows", type = "integer", min = 1, preset = 128,
    doc = "windows of the calibration, spread over the text, and of the reported loss, from the first" },
  { name = "batch", type = "integer", min = 1,
    doc = "windows computed at once; a method that gathers gradients does so once a batch; default: some thousand "
      .. "tokens" },
  { name = "seed", type = "integer", min = 0, preset = 0, doc = "of what a method draws" },
  { name = "progress", type = "function", doc = "called with the share that is done, and a word for it" },
}

local LONGEST = 2048      -- tokens of a window where none are given, as in the papers

local function default_context(model, options)
  local text = options.text or options.eval
  if not text then return nil end
  local there = windows.open(text, model, 1):tokens() - 1
  return math.max(2, math.min(LONGEST, model.config.context, there))
end

--- Checks the options and fills every one in: method and pattern become tables, `list` has the matrices.
---@param model sonde.model
---@param options table
---@return table
function sparsify.check(model, options)
  options = args.check(sparsify.schema, options, "sparsify")
  options.method = method.resolve(options.method)
  options.pattern = pattern.read(options.sparsity)
  options.list = matrices.choose(model, options)
  if options.scope and (options.method.prunes or options.pattern.group) then
    local why = options.pattern.group and "with N:M, which is chosen among M neighbours"
      or "with method '" .. options.method.name .. "', which chooses by itself"
    error(core.where() .. "sparsify: the option scope has no effect " .. why .. "; leave it out", 0)
  end
  options.scope = options.scope or options.method.scope
  options.progress = options.progress or function() end
  local of = options.method
  pattern.check(options.pattern, options.list)
  of.reads = of.norm or of.gram
  if (of.reads or of.gathers) and options.text == nil then
    error(core.where() .. "sparsify: method '" .. of.name .. "' measures the model on text; give one with the option "
      .. "text (--calibrate FILE)", 0)
  end
  if options.scope == "model" and (of.reads or of.prunes) then
    error(core.where() .. "sparsify: method '" .. of.name .. "' makes one block sparse after the other, so it compares "
      .. "scores within a row or a matrix, not of the whole model", 0)
  end
  for _, param in ipairs(of.reads and options.list or {}) do
    if #param.dims > 2 then
      error(core.where() .. "sparsify: method '" .. of.name .. "' reads the inputs of one matrix; " .. param.name
        .. " holds several: leave it out (option matrices), or take a method that reads no inputs", 0)
    end
  end
  options.context = options.context or default_context(model, options)
  return options
end

-- What a method is given of a matrix.
local function matrix_of(params, param, options, known)
  local matrix = { name = param.name, role = param.role, weight = params:read(param.name), seed = options.seed,
    sparsity = options.pattern.sparsity, keep = options.pattern.keep, group = options.pattern.group }
  for key, value in pairs(known or {}) do matrix[key] = value end
  return matrix
end

-- Makes one list of matrices sparse; known: name -> what is known of a matrix.
local function prune(params, list, options, known)
  local of, scored = options.method, {}
  for _, param in ipairs(list) do
    local matrix = matrix_of(params, param, options, known[param.name])
    local mask, weight = matrices.mask_of(params, param.name), params:find(param.name)
    if of.prunes then
      weight:copy(core.sparsity_prune(of.name, of.options, matrix, mask))
    else
      scored[#scored + 1] = { name = param.name, score = method.score(of, matrix), mask = mask, weight = weight }
    end
  end
  if not of.prunes then pattern.apply(scored, options.pattern, options.scope) end
end

-- What a method gathers of the gradients of each batch's mean loss: name -> {gathered =}.
local function gather(model, list, options, calibration)
  local of, params, known, leaves, of_each = options.method, model:params(), {}, {}, {}
  local trace = model:trace(calibration:traced())
  for k, param in ipairs(list) do
    leaves[k], of_each[k] = trace.graph:find(param.name), matrix_of(params, param, options)
  end
  local plan = core.plan(core.grad(trace:mean_loss(), leaves))
  for _, param in ipairs(list) do known[param.name] = { gathered = core.tensor("f32", param.dims) } end
  calibration:each(function(batch, tokens, targets)
    plan:set("tokens", tokens)
    plan:set("targets", targets)
    plan:run()
    for k, param in ipairs(list) do
      method.gather(of, of_each[k], plan:output(k), known[param.name].gathered)
    end
    options.progress(batch * calibration.batch / calibration.rows, "gradients")
  end)
  plan:close()
  trace.graph:close()
  return known
end

local function by_block(list)
  local blocks = {}
  for _, param in ipairs(list) do
    local block = names.in_block(param.name)
    blocks[block] = blocks[block] or {}
    table.insert(blocks[block], param)
  end
  return blocks
end

-- Makes the model sparse, in place.
local function make(model, options)
  local params, of, blocks = model:params(), options.method, by_block(options.list)
  matrices.mask(params, options.list)
  local calibration = options.text ~= nil and (of.reads or of.gathers) and inputs.open(model, options.text, options)
  local known = of.gathers and gather(model, options.list, options, calibration) or {}
  if of.reads then
    calibration:blocks(blocks, of.gram, function(block, found)
      for name, what in pairs(found) do
        what.tokens, what.gathered = calibration.tokens, known[name] and known[name].gathered
      end
      prune(params, blocks[block], options, found)
      model:refresh()
    end, options.progress)
  else
    prune(params, options.list, options, known)
    model:refresh()
  end
  return calibration
end

--- The mean loss on the text that it is reported on; nil without one.
---@param model sonde.model
---@param options table      eval, text, windows, context
---@return number|nil
function sparsify.loss(model, options)
  local text = options.eval
  if text == nil then text = options.text end
  if text == nil then return nil end
  local context = options.context or default_context(model, options)
  return require("sonde.eval").evaluate(model, text, { context = context, tokens = options.windows * context + 1 }).loss
end

---@class sonde.sparsified       what sonde.sparsify says of its work
---@field method string
---@field options table          of the method
---@field pattern string         "0.5" or "2:4"
---@field scope string|nil       nil where the method chooses by itself
---@field sparsity number        of the chosen matrices together
---@field matrices sonde.sparse_matrix[]
---@field calibration? {windows: integer, context: integer, tokens: integer, batch: integer}
---@field loss? {before: number, after: number}   in nats, on the text of eval or text
---@field seconds number

--- A model that is sparse, and what was done: the matrices chosen have a mask (a view of the parameter) that stays
--- through training, checkpoints and folders. `model` stays as it is.
---@param model sonde.model
---@param options table     see sparsify.schema
---@return sonde.model sparse, sonde.sparsified facts
function sparsify.sparsify(model, options)
  options = sparsify.check(model, options)
  model:check_finite()
  local before, started = sparsify.loss(model, options), core.seconds()
  local sparse = cut.copy(model)
  options.list = matrices.choose(sparse, options)
  local calibration = make(sparse, options)
  local seconds, weights, zeros = core.seconds() - started, 0, 0
  local facts = matrices.facts(sparse:params(), options.list)
  for _, each in ipairs(facts) do weights, zeros = weights + each.weights, zeros + each.zeros end
  return sparse, {
    method = options.method.name, options = options.method.options, pattern = pattern.text(options.pattern),
    scope = not (options.method.prunes or options.pattern.group) and options.scope or nil,
    sparsity = zeros / weights, matrices = facts,
    calibration = calibration and { windows = calibration.rows, context = calibration.context,
      tokens = calibration.tokens, batch = calibration.batch } or nil,
    loss = before and { before = before, after = sparsify.loss(sparse, options) } or nil, seconds = seconds,
  }
end

-- A plan of a model's forward pass over made inputs, whose values do not matter: of a language model with its loss.
local function forward_of(model, batch, context)
  local config, trace, count = model.config, model:trace { batch = batch, context = context }, batch * context
  local speaks = model.objective.name == "language_model"
  local plan = core.plan { speaks and trace.loss:sum() or trace.final:sum() }
  if config.vocab then
    local tokens = core.tensor("i32", { batch, context })
    for i = 1, count do tokens:set(i, (i * i) % config.vocab) end
    plan:set("tokens", tokens)
  else
    plan:set("features", core.tensor("f32", { batch, context, config.features }))
  end
  if speaks then plan:set("targets", core.tensor("i32", { count })) end
  plan:run()
  return plan
end

local ROUND = 0.05      -- seconds of a round at least: single passes of tiny models are of the clock's noise

--- Forward passes of two models over the same tokens (frames, where they read features) in turn: tokens/s of each, in
--- the round that took the least processor time, which other programs of a busy machine have the least part in.
---@param dense sonde.model
---@param sparse sonde.model
---@param options {context: integer, batch: integer, rounds: integer|nil}
---@return {dense: number, sparse: number, ratio: number}
function sparsify.speed(dense, sparse, options)
  local rounds, context, batch, plans, rates = options.rounds or 7, options.context, options.batch, {}, {}
  for k, model in ipairs { dense, sparse } do
    plans[k] = { plan = forward_of(model, batch, context), least = math.huge }
  end
  local function passes(each, count)
    local start = os.clock()
    for _ = 1, count do each.plan:run() end
    return os.clock() - start
  end
  local count = math.ceil(ROUND / math.max(passes(plans[1], 1), 1e-6))
  for _ = 1, rounds do
    for _, each in ipairs(plans) do each.least = math.min(each.least, passes(each, count)) end
  end
  for k, each in ipairs(plans) do
    rates[k] = core.threads() * count * context * batch / math.max(each.least, 1e-9)
    each.plan:close()
  end
  return { dense = rates[1], sparse = rates[2], ratio = rates[2] / rates[1] }
end

return args.declare(sparsify, "sonde.", {
  sparsify = { { name = "model", type = "model", required = true }, { name = "options", type = "table" } },
})
