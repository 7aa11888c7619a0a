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

-- ---- the unfinished file: a line that says what it is of, then a line for each sequence: a checksum, and its number
-- and tokens ----------------------------------------------------------------------------------------------------------

local function checksum(text)
  return string.sub(core.sha256(text), 1, 16)
end

-- The line of a sequence: its number, counted from 0, and its tokens.
local function line_of(list)
  local text = "[" .. table.concat(list, ",") .. "]"
  return checksum(text) .. " " .. text .. "\n"
end

-- The list in the line of sequence `number`; nil where the line is cut, changed, or of another.
local function list_of(line, number)
  local sum, text = string.match(line or "", "^(%x+) (%[[%d,]+%])\n$")
  if not sum or sum ~= checksum(text) or not string.find(text, string.format("^%%[%d,", number)) then return nil end
  return core.json_decode(text)
end

local function opened(path, mode)
  local file, why = io.open(path, mode)
  if not file then error(core.where() .. "cannot open the unfinished file " .. why, 0) end
  return file
end

-- Calls each(tokens, line) for the whole sequences from the first on, at most n; returns how many there are.
local function each_whole(path, header, n, each)
  local file, done = opened(path, "rb"), 0
  local line = file:read "*L"
  if line ~= header then
    file:close()
    if not line or string.sub(header, 1, #line) == line then return 0 end      -- killed before it was whole, or new
    error(core.where() .. path .. ": is of another teacher, text or options, and was not finished; remove it, or "
      .. "choose another name", 0)
  end
  while done < n do
    line = file:read "*L"
    local list = list_of(line, done)
    if not list then break end
    table.remove(list, 1)
    each(list, line)
    done = done + 1
  end
  file:close()
  return done
end

-- The sequences that an unfinished file has, of whole batches; what is behind them is cut off.
local function begin_part(lock, part, header, n, batch)
  local ends = { [0] = #header }      -- where each sequence ends, in bytes
  local done = each_whole(part, header, n, function(_, line) ends[#ends + 1] = ends[#ends] + #line end)
  if done < n then done = done - done % batch end
  lock:cut(done > 0 and ends[done] or 0)
  if done == 0 then
    local file = opened(part, "wb")
    file:write(header)
    if not file:close() then error(core.where() .. part .. ": cannot write", 0) end
  end
  return done
end

-- Calls each(tokens) for all sequences.
local function each_sequence(part, header, n, each)
  local there = each_whole(part, header, n, each)
  if there < n then
    error(core.where() .. string.format("%s: sequence %d is damaged; the same command makes it again", part, there), 0)
  end
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
  for r = 1, n do lines[r] = line_of(lists[r]) end
  return table.concat(lines)
end

local function generate_all(part, done, state, progress)
  local o = state.o
  local file = opened(part, "ab")
  local function check(ok, why)
    if not ok then error(string.format("cannot write %s: %s; the same command goes on there", part, why), 0) end
  end
  front.begin()
  for first = done, o.sequences - 1, state.batch do
    local n = math.min(state.batch, o.sequences - first)
    check(file:write(lines_of(state, first, n)))
    check(file:flush())
    if progress then progress(first + n, o.sequences) end
    if core.interrupted() then
      file:close()
      error(string.format("stopped at sequence %d of %d; the same command goes on there", first + n, o.sequences), 0)
    end
  end
  check(file:close())
end

-- ---- the finished file ----------------------------------------------------------------------------------------------

-- A document a sequence. One that was cut at the context has no token that ends a text behind it: a student would learn
-- that texts end where the teacher never said so.
local function write_shard(path, each, facts, corpus, vocab)
  local offsets, total, at, bytes = { 0 }, 0, 0, 0
  each(function(tokens)
    total = total + #tokens
    offsets[#offsets + 1] = total
  end)
  local ids = core.tensor("i32", { total })
  each(function(tokens)
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
    sonde = "teacher's sequences", version = 3, teacher = model:params():sha256(),
    tokenizer = corpus.tokenizer_hash or "", corpus = corpus.hash or "", sequences = o.sequences, context = o.context,
    prompt = o.prompt, temperature = o.temperature, top_k = o.top_k, top_p = o.top_p, seed = o.seed, batch = o.batch,
    dtype = o.dtype,
  }
end

-- Generates what an unfinished file lacks, and writes the finished one and what is known of it.
local function write_all(lock, model, corpus, job, progress)
  local o, part, facts, last = job.o, job.part, job.facts, job.last
  local header = core.json_encode(facts) .. "\n"
  local done = begin_part(lock, part, header, o.sequences, o.batch)
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
  if job.is_text then write_text(o.out, each, facts, corpus)
  else write_shard(o.out, each, facts, corpus, model.config.vocab) end
  facts.sha256 = core.file_sha256(o.out)
  core.json_save(o.out .. ".json", facts)
  os.remove(part)
end

-- What is known of a finished file that is of just this, and whole; nil where it is not.
local function finished(path, source)
  if core.exists(path) ~= "file" or core.exists(path .. ".json") ~= "file" then return nil end
  local ok, facts = pcall(core.json_load, path .. ".json")
  if not ok or type(facts) ~= "table" or facts.sha256 ~= core.file_sha256(path) then return nil end
  for key, value in pairs(source) do
    if facts[key] ~= value then return nil end
  end
  return facts
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
--- document, the passage and its continuation up to the token that ends a text, or to the context. A file of the same
--- teacher, text and options that is there is kept; any other of that name is written over.
---@param model sonde.model      the teacher
---@param corpus sonde.corpus    in its tokens
---@param options table          see sequences.schema
---@param progress? fun(done: integer, sequences: integer)
---@return sonde.taught_sequences
function sequences.make(model, corpus, options, progress)
  local o, is_text = resolve(model, corpus, options)
  local last, part = corpus.tokenizer and corpus.tokenizer:eot(), o.out .. ".part"
  local source = source_of(model, corpus, o)
  local facts = finished(o.out, source)
  if not facts then
    facts = source
    local lock = core.part(part, "these sequences")
    local ok, why = pcall(write_all, lock, model, corpus, { o = o, is_text = is_text, last = last, part = part,
      facts = facts }, progress)
    lock:close()
    if not ok then error(why, 0) end
  end
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
