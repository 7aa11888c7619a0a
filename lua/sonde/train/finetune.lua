--- finetune.lua - sonde.finetune(model, data, options): trains a model on prompts and responses, with the loss on the
-- responses alone; examples are packed into rows without one seeing another.

local core = require "sonde.core"
local args = require "sonde.base.args"
local dialogue = require "sonde.data.dialogue"
local packed = require "sonde.data.packed"

local finetune = {}

local LONGEST = 2048      -- tokens of a row where none are given: attention's time and memory grow with them

--- The options of a fine-tuning.
---@type sonde.schema
finetune.schema = {
  { name = "template", type = "string|function", preset = dialogue.TEMPLATE,
    doc = "what a prompt is put into, as {prompt} or another field of the row, and the response comes behind; or a "
      .. "function of the row (doc/finetune.md)" },
  { name = "prompt", type = "string", doc = "field of a row with the prompt; default: prompt, instruction, question" },
  { name = "response", type = "string",
    doc = "field with the response; default: response, output, completion, answer" },
  { name = "context", type = "integer", min = 2, max = 1048576,
    doc = "tokens of a row; a longer example is cut off at its end; default: the model's context, at most 2048" },
  { name = "epochs", type = "number", min = 0, max = 1e6, preset = 3, doc = "how often every row is trained on" },
  { name = "batch", type = "integer", min = 1, max = 1048576, preset = 8, doc = "rows of a micro-batch" },
  { name = "accumulate", type = "integer", min = 1, max = 1048576, preset = 1, doc = "micro-batches of an update" },
  { name = "lr", type = "number", min = 0, doc = "peak learning rate; default: 2e-5, with lora 2e-4" },
  { name = "lora", type = "integer", min = 1, max = 65536,
    doc = "rank of adapters on the matrices of all blocks, which alone are trained and then added to the weights" },
  { name = "alpha", type = "number", min = 0, doc = "of lora: adapters count alpha / rank; default: the rank" },
  { name = "validation", type = "number", min = 0, max = 0.99, preset = 0,
    doc = "share of the examples that is kept for validation: the last ones" },
  { name = "limit", type = "integer", min = 1, doc = "examples to take, from the first; default: all" },
  { name = "seed", type = "integer", doc = "of the order of the rows; default: the model's" },
  { name = "dtype", type = "string", choices = { "f32", "bf16" }, preset = "f32",
    doc = "of products; weights stay f32" },
  { name = "dir", type = "string", doc = "run folder, with which a training that was stopped goes on" },
  { name = "save", type = "string", doc = "folder to save the model in" },
  { name = "train", type = "table", preset = {}, doc = "further options of sonde.train, such as schedule or hooks" },
}

---@class sonde.finetuned
---@field examples integer      trained on
---@field validation integer    examples kept for validation
---@field rows integer          that the examples of training are packed into
---@field tokens integer        of these examples
---@field learned integer       of them, those that the loss is on: responses and what ends them
---@field cut integer           examples that were longer than a row
---@field left_out integer      examples whose prompt alone fills a row
---@field context integer
---@field training sonde.training

-- The rows of data with their places: of a file, or of a list of tables.
local function rows_of(data)
  if type(data) == "string" then return require("sonde.eval.rows").read(data) end
  local list = {}
  for k, row in ipairs(data) do list[k] = { row = row, where = core.where() .. "example " .. k .. ": " } end
  if #list == 0 then error(core.where() .. "finetune: there are no examples", 0) end
  return list
end

-- What the tokenizer puts in front of a text.
local function leading(tokenizer)
  local whole, bare = tokenizer:encode "a":values(), tokenizer:encode("a", { bare = true }):values()
  local ids = {}
  for k = 1, #whole - #bare + 1 do
    if whole[k] == bare[1] then break end
    ids[k] = whole[k]
  end
  return ids
end

-- An example of a row; nil where nothing of the response fits. And whether it was cut.
local function example_of(row, options, encoder)
  local ids, learns = {}, {}
  local more, learn = dialogue.encode(encoder.tokenizer, dialogue.parts(row.row, options, row.where), encoder.ending)
  local spelled = more[1] == encoder.leading[1]      -- the template begins with it
  for k, id in ipairs(spelled and {} or encoder.leading) do ids[k], learns[k] = id, false end
  for k, id in ipairs(more) do ids[#ids + 1], learns[#learns + 1] = id, learn[k] end
  local cut, any = #ids > options.context, false
  for k = #ids, options.context + 1, -1 do ids[k], learns[k] = nil, nil end
  for k = 2, #ids do any = any or learns[k] end
  return any and { ids = ids, learns = learns } or nil, cut
end

-- All examples, in their order, and what became of them.
local function examples_of(model, data, options)
  local tokenizer, list = model:tokenizer(), {}
  local encoder = { tokenizer = tokenizer, leading = leading(tokenizer), ending = model:end_tokens()[1] }
  if not encoder.ending then
    error(core.where() .. "finetune: no token ends a text of this model, so a response would have no end; its folder "
      .. "names one by eos_token", 0)
  end
  local facts = { cut = 0, left_out = 0, context = options.context }
  for k, row in ipairs(rows_of(data)) do
    if options.limit and k > options.limit then break end
    local example, cut = example_of(row, options, encoder)
    list[#list + 1] = example
    facts.cut = facts.cut + (cut and example and 1 or 0)
    facts.left_out = facts.left_out + (example and 0 or 1)
  end
  if #list == 0 then
    error(core.where() .. string.format("finetune: no prompt leaves room for its response in rows of %d tokens; give a "
      .. "larger context", options.context), 0)
  end
  return list, facts, encoder.ending
end

-- The first and the last examples apart: to train on, and to validate on.
local function split(list, share)
  local kept = math.floor(#list * share)
  if share > 0 and kept == 0 then kept = 1 end
  if kept == #list then
    error(core.where() .. "finetune: of " .. #list .. " examples none would be left to train on; validate on fewer", 0)
  end
  local train, validation = {}, core.list()
  for k, example in ipairs(list) do
    local into = k <= #list - kept and train or validation
    into[#into + 1] = example
  end
  return train, validation
end

local function count(facts, train, validation, rows)
  facts.examples, facts.validation, facts.rows, facts.tokens, facts.learned = #train, #validation, rows, 0, 0
  for _, example in ipairs(train) do
    facts.tokens = facts.tokens + #example.ids
    for k = 2, #example.ids do facts.learned = facts.learned + (example.learns[k] and 1 or 0) end
  end
  return facts
end

-- The options of sonde.train: as MiniChat was tuned (Zhang et al., 2023, their code), where nothing else is given.
local function training_of(options, rows)
  local batch = math.min(options.batch, rows)
  local o = {
    -- no update of more rows than all epochs have
    batch = batch, accumulate = math.min(options.accumulate, math.max(1, math.floor(options.epochs * rows / batch
      + 0.5))), context = options.context,
    lr = options.lr or (options.lora and 2e-4 or 2e-5), warmup = 0.1, min_lr = 0, weight_decay = 0,
    seed = options.seed, dtype = options.dtype, dir = options.dir,
  }
  o.steps = math.max(1, math.floor(options.epochs * rows / (o.batch * o.accumulate) + 0.5))
  for key, value in pairs(options.train) do
    if key == "save" or key == "tokens" or finetune.own[key] then
      error(core.where() .. "option 'train." .. key .. "' of finetune: give " .. (finetune.own[key] and "'" .. key
        .. "' itself" or key == "save" and "'save' itself" or "'epochs'"), 0)
    end
    o[key] = value
  end
  if o.schedule == "constant" then o.min_lr = options.train.min_lr end
  if o.schedule ~= nil and type(o.schedule) ~= "string" then      -- it gives every update its rate
    o.warmup, o.min_lr = options.train.warmup, options.train.min_lr
  end
  return o
end

-- Options of a training that are options here.
finetune.own = { batch = true, accumulate = true, context = true, lr = true, seed = true, dtype = true, dir = true }

local function run(model, feed, options, rows)
  local o = training_of(options, rows)
  if not options.lora then return require("sonde.train").train(model, feed, o) end
  local blocks = {}
  for block = 0, model.config.depth - 1 do blocks[block + 1] = block end
  o.rank, o.alpha = options.lora, options.alpha
  return require("sonde.sparse.lora").train(model, blocks, feed, o)
end

-- Tokens of a row. Examples share rows, and a model that rotates positions by the length of its sequence would take
-- each example for one of the row's length.
local function context_of(model, given)
  local limit = require("sonde.model.rotation").limit(model)
  if not given then return math.min(LONGEST, model.config.context, limit or LONGEST) end
  if limit and given > limit then
    error(core.where() .. string.format("finetune: from %d tokens on the model rotates positions by the length of a "
      .. "sequence, and a row of %d holds several examples; give a context of at most %d", limit, given, limit), 0)
  end
  return given
end

--- Trains a model, in place, on prompts and responses: a file of JSON lines (.jsonl, also .gz and .zst) or a list of
--- rows. The loss is the mean over the tokens of the responses. What the folder of the model holds beside its weights
--- stays with it.
---@param model sonde.model
---@param data string|table[]
---@param options? table         see finetune.schema
---@return sonde.finetuned
function finetune.run(model, data, options)
  options = args.check(finetune.schema, options, "finetune")
  dialogue.check(options.template)
  if options.alpha and not options.lora then
    error(core.where() .. "option 'alpha' of finetune belongs to lora, the rank of adapters", 0)
  end
  if options.save then core.check_folder(options.save) end
  if options.epochs == 0 then error(core.where() .. "option 'epochs' of finetune must be over 0", 0) end
  options.context = context_of(model, options.context)
  local list, facts, ending = examples_of(model, data, options)
  local train, validation = split(list, options.validation)
  local feed, rows = packed.feed(train, validation, options.context, ending)
  facts = count(facts, train, validation, rows)
  facts.training = run(model, feed, options, rows)
  if options.save and not facts.training.diverged then model:save(options.save) end
  return facts
end

return args.declare(finetune, "sonde.", {
  run = {
    as = "sonde.finetune",
    { name = "model", type = "model", required = true }, { name = "data", type = "string|list", required = true },
    { name = "options", type = "table" },
  },
})
