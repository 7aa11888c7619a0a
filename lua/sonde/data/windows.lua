--- windows.lua - where evaluation and probes get their tokens: a corpus, a list of ids, a tensor of ids; and a
-- loop over them in batches.

local core = require "sonde.core"
local front = require "sonde.base.front"

local windows = {}

-- A model that was made for more is measured in windows of so many tokens: attention's time and memory grow with them.
local LONGEST = 4096

-- Bytes that the forward pass over one window takes beside the weights.
local function bytes_of(model, context)
  local trace = model:trace { batch = 1, context = context }
  local plan = core.plan { trace.loss:sum() }
  local bytes = plan:info().arena_bytes
  plan:close()
  trace.graph:close()
  return bytes
end

--- The tokens of a window that evaluation and pruning take where none are asked for: the model's context, but no more
--- than LONGEST, than the text holds, and than fits in half of the free memory (512 always do).
---@param model sonde.model
---@param tokens? integer   of the text
---@return integer
function windows.context(model, tokens)
  local context = math.min(LONGEST, model.config.context, tokens and math.max(1, tokens - 1) or LONGEST)
  local free = require("sonde.base.machine").memory()
  while free and context > 512 and bytes_of(model, context) > free / 2 do context = math.floor(context / 2) end
  return context
end

--- Windows of `context` tokens over a source, for a model.
---@param source sonde.corpus|integer[]|sonde.tensor   a corpus stands for its validation text
---@param model sonde.model
---@param context integer
---@return userdata
function windows.open(source, model, context)
  local vocab = model.config.vocab
  if not vocab or model.objective.name ~= "language_model" then
    error(core.where() .. "this is for language models; the model's objective is '" .. model.objective.name .. "'"
      .. (vocab and "" or ", and it reads features"), 0)
  end
  if type(source) == "table" and source.handle and source.validation and source.validation.tokens < 2 then
    error(core.where() .. "corpus '" .. source.spec .. "' has no validation text: " .. source.train.documents
      .. " documents, of which the option validation keeps a share; give it more, or evaluate on another text", 0)
  end
  if type(source) == "table" and source.handle then
    require("sonde.data").check_model(source, model)
    return core.windows(source.handle, context, vocab)
  end
  if type(source) == "table" then source = core.tensor("i32", { math.max(1, #source) }, source) end
  return core.windows(source, context, vocab)
end

--- The options of reading a text file, of the commands that do.
---@type sonde.schema
windows.reading = {
  { name = "field", type = "string", doc = "text field of a .jsonl; default: text" },
  { name = "skip", type = "boolean", preset = false, doc = "pass over damaged lines of a .jsonl" },
  { name = "special", type = "boolean", preset = false,
    doc = "special tokens that the text spells (<|endoftext|>) are tokens, not letters" },
}

--- Those options behind the ones of a command.
---@param options sonde.schema
---@return sonde.schema
function windows.with_reading(options)
  for _, field in ipairs(windows.reading) do options[#options + 1] = field end
  return options
end

--- Says on standard error, once for a model, which settings of its tokenizer are not used.
---@param model sonde.model
function windows.note_unused(model)
  local unused = model:tokenizer():unused()
  if unused ~= "" and not model.told_unused then
    io.stderr:write("sonde: note: settings of tokenizer.json that are not used here: ", unused, "\n")
  end
  model.told_unused = true
end

--- The tokens of a text file, packed or not, or of standard input ("-"), by the model's tokenizer. A .jsonl, and a text
--- with lines that hold only <|endoftext|>, are documents, each ended by the end-of-text token as in a corpus; any
--- other file is one text.
---@param model sonde.model
---@param path string
---@param options? table    field, skip, special
---@return sonde.tensor tokens, integer bytes
function windows.read(model, path, options)
  options = options or {}
  windows.note_unused(model)
  local tokens, bytes = model:tokenizer():read(path, { field = options.field, skip = options.skip,
    special = options.special })
  if tokens:count() < 2 then error(path .. ": a text of " .. tokens:count() .. " tokens has nothing to predict", 0) end
  return tokens, bytes
end

--- The windows (from 0) of a sample of n out of `all`, in the middle of n equal stretches of the text: a text is not
--- the same throughout, so its beginning would not stand for the rest.
---@param n integer
---@param all integer     at least n
---@return integer[]
function windows.spread(n, all)
  local rows = {}
  for k = 1, n do rows[k] = math.floor((2 * k - 1) * all / (2 * n)) end
  return rows
end

--- The first n tokens of a source, at least as long, as one.
---@param source sonde.corpus|integer[]|sonde.tensor
---@param n integer
---@return integer[]|sonde.tensor
function windows.first(source, n)
  if type(source) == "table" and source.handle then return source.handle:tokens("validation", 0, n) end
  local ids = {}
  for i = 1, n do ids[i] = type(source) == "table" and source[i] or source:get(i) end
  return ids
end

--- Says on standard error that something is longer than the model was made for.
---@param model sonde.model
---@param tokens integer
---@param what string      "windows"
function windows.note(model, tokens, what)
  if tokens <= model.config.context then return end
  io.stderr:write(string.format("sonde: note: %s of %d tokens are longer than the %d the model was made for\n", what,
    tokens, model.config.context))
end

--- Sequences of a batch, so that it has some thousand tokens but no more rows than there are.
---@param context integer
---@param rows integer
---@return integer
function windows.batch(context, rows)
  return math.max(1, math.min(rows, math.floor(4096 / context)))
end

--- Runs a plan of a trace over windows, batch by batch; calls `each(plan, predicted tokens, rows)` after each.
---@param plan sonde.plan
---@param stream userdata     of windows.open
---@param batch integer
---@param context integer
---@param rows integer        windows to go over, from the first
---@param scored boolean       whether the plan has the input "targets"
---@param each fun(plan: sonde.plan, predicted: integer, rows: integer)
---@param progress? fun(share: number)
function windows.each(plan, stream, batch, context, rows, scored, each, progress)
  front.begin()
  local tokens, targets = core.tensor("i32", { batch, context }), core.tensor("i32", { batch * context })
  if plan:reads "tokens" then plan:set("tokens", tokens) end      -- the Jacobian of a linear map reads none
  if scored then plan:set("targets", targets) end
  for row = 0, rows - 1, batch do
    local predicted = stream:fill(row, tokens, targets)
    plan:run()
    each(plan, predicted, math.min(batch, rows - row))
    if progress then progress(math.min(1, (row + batch) / rows)) end
  end
end

return windows
