--- sonde.data - text made ready for training: tokenized once, split into training and validation, kept in a cache.

-- What lives here: this file opens corpora; windows.lua cuts a text into windows for evaluation and probes, feed.lua
-- brings other data, documents.lua keeps documents apart.

local core = require "sonde.core"
local args = require "sonde.base.args"
local reads = require "sonde.base.reads"

local corpus = {}
local class = args.class("corpus", { __name = "sonde.corpus" })

--- The options of a corpus.
---@type sonde.schema
corpus.schema = {
  { name = "tokenizer", type = "string",
    doc = "a tokenizer.json, tokenizer.model or vocab.json, or a folder with one; default: one is trained on the "
      .. "training documents" },
  { name = "vocab", type = "integer", min = 1,
    doc = "size of the tokenizer that is trained (default: 8192), or the vocabulary of bare token shards" },
  { name = "validation", type = "number", min = 0, max = 0.99,
    doc = "share of the documents kept for validation; default: 0.05" },
  { name = "field", type = "string", doc = "text field of .jsonl files; default: text" },
  { name = "skip", type = "boolean", doc = "pass over damaged lines of .jsonl files; default: they are an error" },
  { name = "special", type = "boolean",
    doc = "special tokens that the text spells (<|endoftext|>) are tokens; default: they are letters" },
  { name = "end_of_text", type = "string",
    doc = "special token of the option tokenizer that ends each document; default: what the files beside it say, else "
      .. "<|endoftext|> or what usually stands for it" },
  { name = "max_bytes", type = "integer", min = 1, doc = "text to take, from the start; default: all" },
  { name = "cache", type = "string", doc = "folder of what is made; default: $SONDE_CACHE, else ~/.cache/sonde" },
}

--- What may stand for a source in a list.
local entry = {
  { name = "source", type = "string|list", required = true, of = { name = "source", type = "string", doc = "" },
    doc = "a source, or a list of them" },
  { name = "weight", type = "number", min = 0, required = true,
    doc = "share of the training rows, as a part of all weights" },
}

---@class sonde.corpus
---@field spec string              what it was opened as
---@field vocab integer            tokens of the vocabulary V
---@field hash string              SHA-256 of all tokens, hex
---@field tokenizer sonde.tokenizer|nil   nil for bare token shards
---@field tokenizer_hash string    SHA-256 of its file, hex; "" where it is not known
---@field train {tokens: integer, documents: integer, bytes: integer}   documents and bytes are 0 where not known
---@field validation {tokens: integer, documents: integer, bytes: integer}

-- The parts of a source as core takes them: a source or a list of sources is one part, a list of entries a mixture.
local function parts_of(source, where)
  local field = { name = "source", type = "string|list", of = { name = "source", type = "string|table", fields = entry,
    doc = "" },
    required = true, doc = "" }
  source = args.value(field, source, "corpus", where)
  if type(source) == "string" then return { { sources = { source }, weight = 1 } } end
  local plain, parts = {}, {}
  for _, each in ipairs(source) do
    if type(each) == "string" then
      plain[#plain + 1] = each
    else
      parts[#parts + 1] = { sources = type(each.source) == "string" and { each.source } or each.source,
        weight = each.weight }
    end
  end
  if #plain > 0 and #parts > 0 then
    error(where {} .. "the corpus is a list of sources, or of {source, weight}; not of both: '" .. plain[1]
      .. "' has no weight", 0)
  end
  return #parts > 0 and parts or { { sources = plain, weight = 1 } }
end

-- Whether parts are of token shards, which say their vocabulary, and not of texts.
local function are_shards(parts)
  local first = parts[1] and parts[1].sources[1] or ""
  return string.find(first, "%.tok$") or string.find(first, "%.bin$") or core.exists(first .. "/train.tok")
    or core.exists(first .. "/train.bin")
end

-- Whether a file is a teacher's sequences (distill/sequences.lua).
local function is_taught(path)
  if core.exists(path .. ".json") ~= "file" then return false end
  local ok, facts = pcall(core.json_load, path .. ".json")
  return ok and type(facts) == "table" and facts.sonde == "teacher's sequences"
end

-- Options for parts, checked. A tokenizer that is trained has the 256 bytes and a token that ends a text.
local function options_for(parts, options, where)
  options = args.check(corpus.schema, options, "corpus", where)
  if options.vocab and not options.tokenizer and not are_shards(parts) then
    args.value({ name = "vocab", type = "integer", min = 257, doc = "" }, options.vocab, "corpus", where)
  end
  return options
end

--- Opens a corpus: "default" (the King James Bible, of Debian's bible-kjv), "technical" (the Perl and Python
--- manuals), or a path: .txt, .jsonl, both also packed (.gz, .zst), - for standard input, token shards, a folder of
--- shards or of texts, a pattern with * ? [. A list of those is read one behind the other; a list of {source = , weight
--- = } is a mixture: every 1024 training rows hold rows of each source in proportion to its weight.
---
--- A .txt is cut at lines that hold only <|endoftext|>; without any, into sections of at least 4 KiB that end at a
--- blank line (or, past 64 KiB, at a line end). Documents go to training or validation by the hash of their text; where
--- they are too few for that, the tail of the text is kept for validation.
---@param source string|table
---@param options? table           see corpus.schema
---@param where? sonde.where       the place of an option, for messages; default: the user's line
---@return sonde.corpus
function corpus.open(source, options, where)
  where = where or core.where
  local parts = parts_of(source, where)
  options = options_for(parts, options, where)
  if options.tokenizer and not options.end_of_text and not are_shards(parts) then
    local _, text = require("sonde.io.origin").tokenizer(options.tokenizer)
    options.end_of_text = text
  end
  local handle = core.corpus(parts, options)
  local facts = handle:facts()
  facts.handle = handle
  facts.tokenizer = handle:tokenizer()
  for _, part in ipairs(parts) do
    for _, path in ipairs(part.sources) do
      if is_taught(path) then reads.note("sequences", path) end
    end
  end
  return setmetatable(facts, class)
end

--- Whether ids of a tokenizer (hash "" or nil: not known) are those that are known of a model, as far as both are
--- known.
---@param hash string|nil
---@param tokenizer sonde.tokenizer|nil
---@param known table|nil     see corpus.check_ids
---@return boolean
function corpus.same_ids(hash, tokenizer, known)
  if not known or hash == nil or hash == "" or hash == known.hash then return true end
  return known.tokenizer ~= nil and tokenizer ~= nil and known.tokenizer:same(tokenizer)
end

--- Refuses a corpus whose ids are those of another tokenizer than the one that is known of a model: a size alone says
--- nothing, and the same ids would be other texts. Nothing is refused where either side does not say its tokenizer.
---@param c sonde.corpus
---@param known {hash: string, tokenizer: sonde.tokenizer|nil, of: string, path: string|nil}|nil   of: for the message
function corpus.check_ids(c, known)
  local hash = c.tokenizer_hash
  if corpus.same_ids(hash, c.tokenizer, known) then return end
  error(string.format("%scorpus '%s' is of another tokenizer (%.8s..) than %s (%.8s..), so the same ids are other "
    .. "texts; %s",
    core.where(), c.spec, hash, known.of, known.hash, known.path and "open it with tokenizer = '" .. known.path .. "'"
    or "open both with the same option tokenizer"), 0)
end

--- What is known of a model's tokenizer: that of its folder, or of the corpus that it was trained on first.
---@param model sonde.model
---@return table|nil known     see corpus.check_ids
function corpus.known(model)
  if not model:has_tokenizer() then return model.read_with end
  local tokenizer, from = model:tokenizer(), model.origin
  local path = from and from.dir .. "/" .. (require("sonde.io.origin").tokenizer_file(from) or "tokenizer.json")
  return { hash = tokenizer:hash(), tokenizer = tokenizer, path = path, of = path and "the model's " .. path
    or "the model's" }
end

--- Refuses a corpus that is of another tokenizer than the model.
---@param c sonde.corpus
---@param model sonde.model
function corpus.check_model(c, model)
  corpus.check_ids(c, corpus.known(model))
end

--- Notes that a model is trained on a corpus, so on its ids.
---@param c sonde.corpus
---@param model sonde.model
function corpus.used_by(c, model)
  if (c.tokenizer_hash or "") == "" or model.read_with then return end
  model.read_with = { hash = c.tokenizer_hash, tokenizer = c.tokenizer,
    of = "that of corpus '" .. c.spec .. "', which the model was trained on" }
end

--- The vocabulary of a corpus as far as it is known without making one: what is asked for, what its tokenizer or its
--- shards say, or the size that a tokenizer is trained to.
---@param source string|table|nil
---@param options table
---@param where? sonde.where
---@return integer
function corpus.vocab(source, options, where)
  where = where or core.where
  local parts = parts_of(source or "default", where)
  options = options_for(parts, options, where)
  if are_shards(parts) then return corpus.open(source, options, where).vocab end
  if options.tokenizer then return core.tokenizer(options.tokenizer):vocab() end
  return options.vocab or 8192
end

--- Whether a source is of token shards, which have a tokenizer already.
---@param source string|table|nil
---@param where? sonde.where
---@return boolean
function corpus.has_tokens(source, where)
  return are_shards(parts_of(source or "default", where or core.where)) and true or false
end

--- A corpus section of a configuration as source and options.
---@param section table|nil
---@param where sonde.where
---@return string|table source, table options
function corpus.section(section, where)
  if section == nil then return "default", {} end
  if section.source == nil then error(where({}) .. "section 'corpus' needs a source: a name, a path, or a list", 0) end
  local options = {}
  for key, value in pairs(section) do
    if key ~= "source" then options[key] = value end
  end
  return section.source, options
end

return args.declare(corpus, "sonde.corpus.", {
  open = {
    as = "sonde.corpus",
    { name = "source", type = "string|list", required = true }, { name = "options", type = "table" },
    { name = "where", type = "function" },
  },
})
