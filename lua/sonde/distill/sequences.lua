--- sequences.lua - sequence-level distillation (Kim & Rush, 2016): what a teacher continues passages of a text with, as
-- a corpus that a student is trained on. A run that was killed goes on where it was.

local core = require "sonde.core"
local args = require "sonde.base.args"
local feeds = require "sonde.data.feed"
local front = require "sonde.base.front"
local generate = require "sonde.eval.generate"
local windows = require "sonde.data.windows"

local sequences = {}

--- The options of a teacher's sequences.
---@type sonde.schema
sequences.schema = {
  { name = "out", type = "string", some = true, required = true, value = "FILE",
    doc = "token shard (.tok) or text (.jsonl); FILE.json beside it says what it was made with" },
  { name = "sequences", type = "integer", min = 1, max = 1e12, required = true, doc = "how many" },
  { name = "context", type = "integer", min = 2, max = 1048576,
    doc = "tokens of a sequence, of its prompt too; default: the model's context" },
  { name = "prompt", type = "integer", min = 1, max = 1048576,
    doc = "tokens of the text that each continues; default: a quarter of the context" },
  { name = "temperature", type = "number", min = 0, max = 1000, preset = 0,
    doc = "of the sampling; 0: always the likeliest token" },
  { name = "top_k", type = "integer", min = 0, preset = 0, doc = "choose among the k likeliest; 0: all" },
  { name = "top_p", type = "number", min = 0, max = 1, preset = 1,
    doc = "choose among the likeliest that hold this probability" },
  { name = "seed", type = "integer", preset = 0, doc = "of the choice of passages, and of the sampling" },
  { name = "batch", type = "integer", min = 1, max = 1048576,
    doc = "sequences at once; default: some thousand tokens" },
  { name = "dtype", type = "string", preset = "f32", choices = { "f32", "bf16" }, doc = "of the teacher's products" },
}

-- ---- the unfinished file: a line that says what it is of, then the tokens of each sequence behind its number -------

local function damaged(path)
  error(core.where() .. path .. ": is damaged; remove it, and make it again", 0)
end

-- Calls each(line) for the whole lines of the first n sequences, in order; returns how many there are.
local function each_line(path, header, n, each)
  local file, done = io.open(path, "rb"), 0
  local line = file and file:read "*L"
  if line and string.sub(line, -1) == "\n" and line ~= header then
    file:close()
    error(core.where() .. path .. ": is of another teacher, text or options, and was not finished; remove it, or "
      .. "choose another name", 0)
  end
  while line and done < n do
    line = file:read "*L"
    if not line or not string.find(line, string.format("^%%[%d[%%d,]*%%]\n$", done)) then break end
    each(line)
    done = done + 1
  end
  if file then file:close() end
  return done
end

-- The sequences that an unfinished file has, of whole batches; what else is in it is removed.
local function begin_part(part, header, n, batch)
  local done = each_line(part, header, n, function() end)
  if done < n then done = done - done % batch end
  local file = assert(io.open(part .. ".new", "wb"))
  file:write(header)
  each_line(part, header, done, function(line) file:write(line) end)
  assert(file:close())
  assert(os.rename(part .. ".new", part))
  return done
end

-- Calls each(tokens) for all sequences.
local function each_sequence(part, header, n, each)
  local there = each_line(part, header, n, function(line)
    local ok, tokens = pcall(core.json_decode, line, part)
    if not ok then damaged(part) end
    table.remove(tokens, 1)
    each(tokens)
  end)
  if there < n then damaged(part) end
end

-- ---- generation -----------------------------------------------------------------------------------------------------

-- Continues the passages of `batch` rows from `first` on; returns the lines of the first n.
local function lines_of(state, first, n)
  local o, lists, ended, left = state.o, {}, {}, state.batch
  state.feed:train(first, state.inputs)
  local text, flat, streams = state.inputs.tokens:values(), {}, {}
  for r = 1, state.batch do
    lists[r], streams[r] = { string.format("%d", first + r - 1) }, first + r - 1
    for t = 1, o.prompt do
      local token = text[(r - 1) * o.context + t]
      flat[#flat + 1], lists[r][t + 1] = token, token
    end
  end
  state.generator:run(flat, streams, function(generator)
    for r = 1, state.batch do
      if not ended[r] then
        local token = generator.new:get(r)
        lists[r][#lists[r] + 1], ended[r] = token, token == state.last
        if ended[r] then left = left - 1 end
      end
    end
    return left == 0
  end)
  local lines = {}
  for r = 1, n do lines[r] = "[" .. table.concat(lists[r], ",") .. "]\n" end
  return table.concat(lines)
end

local function generate_all(part, done, state, progress)
  local o = state.o
  local file = assert(io.open(part, "ab"))
  front.begin()
  for first = done, o.sequences - 1, state.batch do
    local n = math.min(state.batch, o.sequences - first)
    assert(file:write(lines_of(state, first, n)))
    assert(file:flush())
    if progress then progress(first + n, o.sequences) end
    if core.interrupted() then
      file:close()
      error(string.format("stopped at sequence %d of %d; the same command goes on there", first + n, o.sequences), 0)
    end
  end
  assert(file:close())
end

-- ---- the finished file ----------------------------------------------------------------------------------------------

-- Documents as those of any corpus: each is followed by the token that ends a text, where one is known.
local function write_shard(path, each, facts, corpus, vocab, last)
  local offsets, total, at, bytes = { 0 }, 0, 0, 0
  each(function(tokens)
    total = total + #tokens + ((last and tokens[#tokens] ~= last) and 1 or 0)
    offsets[#offsets + 1] = total
  end)
  local ids = core.tensor("i32", { total })
  each(function(tokens)
    if last and tokens[#tokens] ~= last then tokens[#tokens + 1] = last end
    if corpus.tokenizer then bytes = bytes + #corpus.tokenizer:decode(tokens, true) end
    for k, token in ipairs(tokens) do ids:set(at + k, token) end
    at = at + #tokens
  end)
  core.shard_write(path, ids, offsets, { vocab = vocab, text_bytes = bytes, tokenizer = corpus.tokenizer_hash or "" })
  facts.tokens = total
end

local function write_text(path, each, facts, corpus)
  local lines = {}
  facts.tokens = 0
  each(function(tokens)
    facts.tokens = facts.tokens + #tokens
    lines[#lines + 1] = core.json_encode { text = require("sonde.eval.pieces").clean(corpus.tokenizer:decode(tokens,
      true)) }
  end)
  core.write_file(path, table.concat(lines, "\n") .. "\n")
end

-- ---- all of it ------------------------------------------------------------------------------------------------------

local function resolve(model, corpus, options)
  local o = args.check(sequences.schema, options, "teach_sequences")
  local function refuse(text, ...) error(core.where() .. "teach_sequences: " .. string.format(text, ...), 0) end
  o.context = o.context or model.config.context
  if not o.context then refuse("the model reads features; only a model of tokens continues a text") end
  o.prompt = o.prompt or math.max(1, math.floor(o.context / 4))
  if o.prompt >= o.context then
    refuse("a prompt of %d tokens leaves nothing to generate in sequences of %d", o.prompt, o.context)
  end
  local is_text = string.find(o.out, "%.jsonl$")
  if not is_text and not string.find(o.out, "%.tok$") then
    refuse("corpora are read by their names: out is FILE.tok, a token shard, or FILE.jsonl, text; not '%s'", o.out)
  end
  if is_text and not corpus.tokenizer then
    refuse("no tokenizer is known that makes text of the tokens; write a token shard, FILE.tok")
  end
  core.check_file(o.out)
  require("sonde.data").check_model(corpus, model)
  if corpus.vocab > model.config.vocab then
    refuse("the corpus has %d tokens, the model's vocabulary only %d", corpus.vocab, model.config.vocab)
  end
  model:init():check_finite()
  generate.check(model, o.prompt, o.context - o.prompt)
  o.batch = math.min(o.sequences, o.batch or windows.batch(o.context, o.sequences))
  return o, is_text
end

-- What a file is of: all that decides what is in it.
local function source_of(model, corpus, o)
  return {
    sonde = "teacher's sequences", version = 1, teacher = model:params():sha256(),
    tokenizer = corpus.tokenizer_hash or "", corpus = corpus.hash or "", sequences = o.sequences, context = o.context,
    prompt = o.prompt, temperature = o.temperature, top_k = o.top_k, top_p = o.top_p, seed = o.seed, batch = o.batch,
    dtype = o.dtype,
  }
end

---@class sonde.taught_sequences
---@field out string
---@field sequences integer
---@field tokens integer         of all sequences, prompts among them
---@field ended integer          sequences whose last token ends a text: the others were cut at the context
---@field sha256 string          of the file
---@field teacher string         SHA-256 of its weights; tokenizer and corpus likewise, "" where not known
---@field tokenizer string
---@field corpus string

--- Has a teacher continue passages of a corpus, and writes what it says as a corpus for a student: each sequence is a
--- document, the passage and its continuation up to the token that ends a text, or to the context.
---@param model sonde.model      the teacher
---@param corpus sonde.corpus    in its tokens
---@param options table          see sequences.schema
---@param progress? fun(done: integer, sequences: integer)
---@return sonde.taught_sequences
function sequences.make(model, corpus, options, progress)
  local o, is_text = resolve(model, corpus, options)
  local last, part = corpus.tokenizer and corpus.tokenizer:eot(), o.out .. ".part"
  local facts = source_of(model, corpus, o)
  local header = core.json_encode(facts) .. "\n"
  local done = begin_part(part, header, o.sequences, o.batch)
  if done > 0 then
    io.stderr:write(string.format("sonde: note: %s: goes on at sequence %d of %d\n", part, done, o.sequences))
  end
  if done < o.sequences then
    local state = { o = o, batch = o.batch, last = last, feed = feeds.open(corpus, o.context, o.seed),
      inputs = { tokens = core.tensor("i32", { o.batch, o.context }),
        targets = core.tensor("i32", { o.batch, o.context }) },
      generator = generate.open(model, o.batch, o.prompt, { tokens = o.context - o.prompt,
        temperature = o.temperature, top_k = o.top_k, top_p = o.top_p, seed = o.seed, dtype = o.dtype }) }
    generate_all(part, done, state, progress)
    state.generator:close()
  end
  facts.ended = 0
  local function each(f) each_sequence(part, header, o.sequences, f) end
  each(function(tokens) facts.ended = facts.ended + (tokens[#tokens] == last and 1 or 0) end)
  if is_text then write_text(o.out, each, facts, corpus)
  else write_shard(o.out, each, facts, corpus, model.config.vocab, last) end
  facts.sha256 = core.file_sha256(o.out)
  core.json_save(o.out .. ".json", facts)
  os.remove(part)
  facts.out = o.out
  return facts
end

return args.declare(sequences, "sonde.", {
  make = {
    as = "sonde.teach_sequences", { name = "model", type = "model", required = true },
    { name = "corpus", type = "corpus", required = true }, { name = "options", type = "table" },
    { name = "progress", type = "function" },
  },
})
