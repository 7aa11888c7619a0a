--- logprobs.lua - the log-probability of each token of some sequences, and the likeliest tokens at each position.
--
-- The forward pass is that of sonde.evaluate, over sequences that are padded at their ends: in a causal model the
-- padding changes nothing before it, unless the rotation of all positions depends on the length. Logits are computed
-- for some rows at a time, because with a large vocabulary those of a whole batch do not fit into memory.

local core = require "sonde.core"
local rotation = require "sonde.model.rotation"

local logprobs = {}

local ROWS, TOKENS, KEPT = 128, 4096, 8     -- logits at once; tokens of a batch at most; plans that are kept
local SKIP, NONE = -2, -1                   -- of a row's target

---@class sonde.token_logprobs
---@field logprob? number       of the token itself, in nats; none behind the last token
---@field tokens integer[]      the likeliest, best first
---@field logprobs number[]     theirs

--- Of the rows of logits that are an output of a plan: what is known of each row's target, false for a skipped row.
---@param plan sonde.plan
---@param output integer        from 1
---@param vocab integer
---@param targets integer[]     a token for each row; -1: none, -2: the row is skipped
---@param top integer           how many of the likeliest tokens
---@return (sonde.token_logprobs|false)[]
function logprobs.of_rows(plan, output, vocab, targets, top)
  local own, tokens, values = core.logprobs(plan, output, vocab, targets, top)
  local rows = {}
  for r, target in ipairs(targets) do
    local row = target ~= SKIP and { logprob = own[r] or nil, tokens = {}, logprobs = {} }
    for j = 1, row and top or 0 do
      row.tokens[j], row.logprobs[j] = tokens[(r - 1) * top + j], values[(r - 1) * top + j]
    end
    rows[r] = row
  end
  return rows
end

-- ---- plans, by the shape of their batch
-- -----------------------------------------------------------------------------------------------

---@class sonde.logprob_scorer
local scorer = {}
scorer.__index = scorer

--- Computes log-probabilities with a model; keeps the plans of the shapes that it met last.
---@param model sonde.model
---@param options? {dtype: "f32"|"bf16", longest: integer}   longest: tokens that the model reads; default: its context
---@return sonde.logprob_scorer
function logprobs.scorer(model, options)
  options = options or {}
  model:init()
  return setmetatable({ model = model, dtype = options.dtype or "f32", longest = options.longest
    or model.config.context, bodies = {}, heads = {} }, scorer)
end

-- The plan from the tokens of a batch to its stream, which is written to tensors of up to ROWS rows.
local function make_body(self, batch, length)
  local trace = self.model:trace { batch = batch, context = length }
  local dims = trace.final:dims()
  local width, all = dims[#dims], batch * length
  local flat = trace.final:reshape { all, width }
  local body = { batch = batch, length = length, parts = {}, tokens = core.tensor("i32", { batch, length }) }
  local nodes = {}
  for first = 1, all, ROWS do
    local last = math.min(all, first + ROWS - 1)
    nodes[#nodes + 1] = flat:slice(1, first, last)
    body.parts[#nodes] = core.tensor("f32", { last - first + 1, width })
  end
  body.plan = core.plan(nodes, { compute = self.dtype }, body.parts)
  body.plan:set("tokens", body.tokens)
  return body
end

-- The plan from so many rows of the stream to their logits.
local function head_of(self, rows)
  if not self.heads[rows] then
    local trace = self.model:trace { batch = 1, context = 1 }
    local dims = trace.final:dims()
    local stream = trace.graph:input("stream", "f32", { rows, dims[#dims] })
    self.heads[rows] = core.plan({ trace:logits(stream) }, { compute = self.dtype })
  end
  return self.heads[rows]
end

local function body_of(self, batch, length)
  local bodies = self.bodies
  for k, body in ipairs(bodies) do
    if body.batch == batch and body.length == length then
      table.insert(bodies, 1, table.remove(bodies, k))
      return body
    end
  end
  if #bodies == KEPT then table.remove(bodies).plan:close() end
  table.insert(bodies, 1, make_body(self, batch, length))
  return bodies[1]
end

-- ---- batches
-- -------------------------------------------------------------------------------------------------------------

-- How many tokens of a sequence are read. Its last one predicts none of the others, so it is left out where it would
-- rotate them otherwise: log-likelihoods are those of the tokens that predict, as sonde.likelihoods has them.
local function read_of(self, tokens)
  local n = #tokens
  return math.min(rotation.between(self.model, n - 1, n) and n - 1 or n, self.longest)
end

-- The length that so many tokens are padded to, so that few shapes do for all; one by which they are rotated alike.
local function padded(self, n)
  local limit, every = rotation.limit(self.model)
  local longest, length = self.longest, 16
  if limit and n <= limit then longest = math.min(longest, limit) elseif every then return n end
  while length < n and length < ROWS do length = 2 * length end
  if length < n then length = math.ceil(n / ROWS) * ROWS end
  return math.max(n, math.min(length, longest))
end

-- The numbers of the sequences by the length they are padded to, in batches of a power of two.
local function batches_of(self, sequences)
  local by_length, lengths, batches = {}, {}, {}
  for k, tokens in ipairs(sequences) do
    local length = padded(self, read_of(self, tokens))
    if not by_length[length] then
      by_length[length] = {}
      lengths[#lengths + 1] = length
    end
    table.insert(by_length[length], k)
  end
  for _, length in ipairs(lengths) do
    local waiting, at = by_length[length], 1
    while at <= #waiting do
      local size = 1
      while 2 * size <= #waiting - at + 1 and 2 * size * length <= TOKENS do size = 2 * size end
      local batch = { length = length }
      for r = 1, size do batch[r] = waiting[at + r - 1] end
      batches[#batches + 1], at = batch, at + size
    end
  end
  return batches
end

-- The tokens of a batch, and for each of its rows of logits the token that comes next.
local function flat_of(self, sequences, batch)
  local flat, targets = {}, {}
  for _, number in ipairs(batch) do
    local tokens = sequences[number]
    local n = read_of(self, tokens)
    for i = 1, batch.length do
      flat[#flat + 1] = i <= n and tokens[i] or 0
      targets[#targets + 1] = i > n and SKIP or tokens[i + 1] or NONE
    end
  end
  return flat, targets
end

--- What is known of each token of some sequences: for one of n tokens a list of n + 1 entries. The first is false,
--- since nothing predicts the first token; the last holds the likeliest tokens behind the sequence, and is false where
--- the last token is not read: the sequence is one token longer than the model takes, or than is rotated alike.
---@param sequences integer[][]     each of 1 to `longest` + 1 tokens of the vocabulary
---@param top integer               how many of the likeliest tokens to give at each position, at least 1
---@param stop? fun(): boolean      called before each batch; true: the rest is left out
---@return (sonde.token_logprobs|false)[][]
function scorer:score(sequences, top, stop)
  local results = {}
  for k in ipairs(sequences) do results[k] = { false } end
  for _, batch in ipairs(batches_of(self, sequences)) do
    if stop and stop() then return results end
    local body = body_of(self, #batch, batch.length)
    local flat, targets = flat_of(self, sequences, batch)
    body.tokens:fill(flat)
    body.plan:run()
    local first = 1
    for _, part in ipairs(body.parts) do
      local rows, wanted, any = part:dims()[1], {}, false
      for r = 1, rows do
        wanted[r] = targets[first + r - 1]
        any = any or wanted[r] ~= SKIP
      end
      if any then
        local head = head_of(self, rows)
        head:run { stream = part }
        for r, row in ipairs(logprobs.of_rows(head, 1, self.model.config.vocab, wanted, top)) do
          local result = results[batch[math.floor((first + r - 2) / batch.length) + 1]]
          if row then result[#result + 1] = row end
        end
      end
      first = first + rows
    end
  end
  for k, tokens in ipairs(sequences) do
    if #results[k] == #tokens then results[k][#tokens + 1] = false end
  end
  return results
end

--- Gives the memory of the plans back.
function scorer:close()
  for _, body in ipairs(self.bodies) do body.plan:close() end
  for _, head in pairs(self.heads) do head:close() end
  self.bodies, self.heads = {}, {}
end

return logprobs
