--- sonde.likelihoods - log-likelihoods of continuations behind contexts: what multiple choice, cloze tasks and
-- perplexities with windows are made of.
--
-- Requests are packed into rows that have shared beginnings once (packing.lua). One plan computes a row; it is used
-- again for all rows of its size.

local core = require "sonde.core"
local args = require "sonde.base.args"
local packing = require "sonde.eval.packing"
local rotation = require "sonde.model.rotation"

local likelihood = {}

--- The options of sonde.likelihoods.
---@type sonde.schema
likelihood.schema = {
  { name = "context", type = "integer", min = 1, max = 1048576,
    doc = "tokens that the model takes at most: longer requests lose their beginning; default: the model's context" },
  { name = "tokens", type = "integer", min = 64, max = 1048576, preset = 4096,
    doc = "tokens computed at once, at least; results do not depend on it" },
  { name = "greedy", type = "boolean", preset = false,
    doc = "say whether each continuation is the likeliest token by token" },
  { name = "each", type = "boolean", preset = false, doc = "give the log-likelihood of each token too" },
  { name = "groups", type = "list", doc = "numbers of requests with a shared beginning; default: all in a row",
    of = { name = "group", type = "list", of = { name = "number", type = "integer", min = 1, doc = "" }, doc = "" } },
  { name = "dtype", type = "string", choices = { "f32", "bf16" }, preset = "f32", doc = "of matrix products" },
  { name = "progress", type = "function", doc = "called with the share that is done" },
}

---@class sonde.likelihood
---@field sum number             log-likelihood of the continuation, in nats
---@field greedy? boolean        whether each of its tokens is the likeliest one there (the first of equals)
---@field tokens? number[]       log-likelihood of each of its tokens

local STEP = 64            -- sizes of rows are multiples
local PLANS = 4            -- that are kept

local function up(n, step) return math.ceil(n / step) * step end

-- A plan of rows of `size` tokens of which `scored` are scored.
local function new_plan(model, size, scored, options)
  local trace = model:trace { batch = 1, context = size, segments = packing.most_segments(size), rows = scored }
  local nodes = { trace.loss }
  if options.greedy then nodes[2] = trace:logits():argmax() end
  local plan = core.plan(nodes, { compute = options.dtype })
  trace.graph:close()
  return { plan = plan, size = size, scored = scored }
end

-- The plan for a row. Few sizes, so that a plan is used for many rows; all sizes give the same bits.
local function plan_of(plans, model, row, capacity, options)
  local step = up(capacity / 8, STEP)
  local size, scored = math.min(capacity, up(#row.tokens, step)), up(#row.rows, up(capacity / 32, STEP))
  for k, each in ipairs(plans) do
    if each.size == size and each.scored == scored then
      table.insert(plans, 1, table.remove(plans, k))
      return plans[1]
    end
  end
  table.insert(plans, 1, new_plan(model, size, scored, options))
  if #plans > PLANS then table.remove(plans).plan:close() end
  return plans[1]
end

local function filled(list, n, value)
  for k = #list + 1, n do list[k] = value end
  return list
end

local function run_row(kept, row, options, results)
  local plan, scored, values = kept.plan, #row.rows, nil
  local inputs = { tokens = filled(row.tokens, kept.size, 0), positions = filled(row.positions, kept.size, 0),
    segments = filled(row.segments, 4 * packing.most_segments(kept.size), 0), rows = filled(row.rows, kept.scored, 0),
    targets = filled(row.targets, kept.scored, -1) }
  for name, list in pairs(inputs) do
    if plan:reads(name) then plan:set(name, list) end
  end
  plan:run()
  values = plan:output(1):values()
  local greedy = options.greedy and plan:output(2):values()
  for k = scored, 1, -1 do               -- the first token of a continuation is its last entry
    local result = results[row.owners[k]]
    result.sum = result.sum - values[k]
    if greedy then result.greedy = result.greedy and greedy[k] == row.targets[k] end
    if result.tokens then table.insert(result.tokens, -values[k]) end
  end
end

local function check_requests(requests, model, longest)
  local function refuse(k, text, ...)
    error(core.where() .. "likelihoods: request " .. k .. " " .. string.format(text, ...), 0)
  end
  local vocab = model.config.vocab
  for k, request in ipairs(requests) do
    if #request.context == 0 then refuse(k, "has an empty context; begin it with a token that begins a text") end
    if #request.continuation == 0 then refuse(k, "has an empty continuation: there is nothing to score") end
    if #request.continuation > longest then
      refuse(k, "has a continuation of %d tokens, and the model takes %d", #request.continuation, longest)
    end
    for _, part in ipairs { "context", "continuation" } do
      for _, token in ipairs(request[part]) do
        if token < 0 or token >= vocab then
          refuse(k, "has token %.0f in its %s, outside the vocabulary of %d", token, part, vocab)
        end
      end
    end
  end
end

local function one_each(n)
  local groups = {}
  for k = 1, n do groups[k] = { k } end
  return groups
end

-- Sequences that share a beginning must have the likelihoods that they have alone: a model that mixes tokens other than
-- by the op attention, or reckons with the length of a row, has others. Returns what is wrong, or nil.
local TRIED, BOUND = 12, 1e-3

local function check_model(model, capacity)
  local requests, ids, vocab = {}, {}, model.config.vocab
  local n = math.min(TRIED, model.config.context - 1, capacity - 3)
  if n < 2 or packing.most_segments(capacity) < 3 then return end   -- nothing is shared in so short a row
  for k = 1, n do ids[k] = k * 7919 % vocab end
  for k = 1, 3 do requests[k] = { context = ids, continuation = { k * 31 % vocab, k * 17 % vocab } } end
  local rows, together = packing.rows(requests, { { 1, 2, 3 } }, n + 1, capacity), {}
  for k = 1, 3 do together[k] = { sum = 0 } end
  local kept = new_plan(model, capacity, STEP, { dtype = "f32" })
  run_row(kept, rows(), {}, together)
  kept.plan:close()
  local trace = model:trace { batch = 1, context = n + 1 }
  local plan = core.plan { trace.loss }
  for k, request in ipairs(requests) do
    local tokens, targets = {}, {}
    for i = 1, n do tokens[i], targets[i] = ids[i], -1 end
    tokens[n + 1], targets[n], targets[n + 1] = request.continuation[1], request.continuation[1],
      request.continuation[2]
    for name, list in pairs { tokens = tokens, targets = targets } do
      if plan:reads(name) then plan:set(name, list) end
    end
    plan:run()
    local loss = plan:output(1)
    local alone = -loss:get(n) - loss:get(n + 1)
    if math.abs(alone - together[k].sum) > BOUND * math.max(1, math.abs(alone)) then
      plan:close()
      return string.format("this model cannot be evaluated with shared contexts: a continuation has the log-likelihood "
        .. "%.6g there and %.6g alone; it mixes tokens other than by the op 'attention' (causal), or depends on the "
        .. "length of a row", together[k].sum, alone)
    end
  end
  plan:close()
end

---@class sonde.likelihood_scorer      keeps plans from one set of requests to the next
---@field work {tokens: integer, rows: integer, seconds: number}   computed so far
local scorer = {}
scorer.__index = scorer

---@private
--- A scorer of a model. Options as in the schema, checked.
---@param model sonde.model
---@param options table
---@return sonde.likelihood_scorer
function likelihood.scorer(model, options)
  if not model.config.vocab or model.objective.name ~= "language_model" then
    error(core.where() .. "likelihoods: the model's objective is '" .. model.objective.name .. "'; it must be a "
      .. "language model", 0)
  end
  model:init()
  return setmetatable({ model = model, options = options, plans = {}, longest = options.context
    or model.config.context, limit = (rotation.limit(model)), work = { tokens = 0, rows = 0, seconds = 0 } }, scorer)
end

-- Tokens of a row: room for the longest request.
local function capacity_for(self, requests)
  local longest = 0
  for k, request in ipairs(requests) do
    local n = math.min(self.longest, #request.context + #request.continuation - 1)
    if self.limit and n > self.limit then
      error(string.format("%slikelihoods: request %d has %d tokens, but this model rotates positions in another way "
        .. "beyond %d, so that rows cannot be shared; set the context to %d or less", core.where(), k, n, self.limit,
        self.limit), 0)
    end
    longest = math.max(longest, n)
  end
  return math.min(up(math.max(self.options.tokens, longest), STEP), self.limit or math.huge)
end

---@private
--- The likelihoods of requests; groups as in the schema.
---@param requests sonde.request[]
---@param groups integer[][]
---@param progress? fun(share: number)
---@return sonde.likelihood[]
function scorer:run(requests, groups, progress)
  local options, results, done = self.options, {}, 0
  check_requests(requests, self.model, self.longest)
  for k = 1, #requests do
    results[k] = { sum = 0, greedy = options.greedy or nil, tokens = options.each and {} or nil }
  end
  if #requests == 0 then return results end
  local capacity = capacity_for(self, requests)
  if not self.checked then
    local wrong = check_model(self.model, capacity)
    if wrong then error(core.where() .. wrong, 0) end
    self.checked = true
  end
  local start = core.seconds()
  for row in packing.rows(requests, groups, self.longest, capacity) do
    run_row(plan_of(self.plans, self.model, row, capacity, options), row, options, results)
    self.work.tokens, self.work.rows = self.work.tokens + row.distinct, self.work.rows + 1
    done = done + row.requests
    if progress then progress(done / #requests) end
  end
  self.work.seconds = self.work.seconds + core.seconds() - start
  return results
end

---@private
function scorer:close()
  for _, each in ipairs(self.plans) do each.plan:close() end
  self.plans = {}
end

--- Log-likelihoods of continuations. Requests of a group should have one beginning, which is computed once. A request
--- longer than the model's context loses its beginning. Neither order, groups nor `tokens` change a bit of a result.
---
---     local t = model:tokenizer()
---     local context = t:encode("The capital of France is"):values()
---     local r = sonde.likelihoods(model, { { context = context, continuation = t:encode(" Paris"):values() } })
---     print(r[1].sum)
---
---@param model sonde.model
---@param requests sonde.request[]
---@param options? table          see likelihood.schema
---@return sonde.likelihood[] results, table work   tokens (computed), rows, seconds
function likelihood.of(model, requests, options)
  options = args.check(likelihood.schema, options, "likelihoods")
  local this = likelihood.scorer(model, options)
  local results = this:run(requests, options.groups or one_each(#requests), options.progress)
  this:close()
  return results, this.work
end

local function ids(name)
  return { name = name, type = "list", required = true, of = { name = "token", type = "integer" }, doc = "token ids" }
end
return args.declare(likelihood, "sonde.likelihoods.", {
  of = {
    as = "sonde.likelihoods",
    { name = "model", type = "model", required = true },
    { name = "requests", type = "list", required = true,
      of = { name = "request", type = "table", fields = { ids "context", ids "continuation" } } },
    { name = "options", type = "table" },
  },
})
