--- corpus.lua - text made ready for training: tokenized once, split into training and validation, kept in a cache.

local core = require "sonde.core"
local args = require "sonde.args"

local corpus = {}

--- The options of a corpus.
---@type sonde.schema
corpus.schema = {
  { name = "tokenizer", type = "string", doc = "a tokenizer.json; default: one is trained on the training documents" },
  { name = "vocab", type = "integer", min = 257, preset = 8192, doc = "size of the tokenizer that is trained" },
  { name = "validation", type = "number", min = 0, max = 0.99, preset = 0.05,
    doc = "share of the documents kept for validation" },
  { name = "field", type = "string", preset = "text", doc = "text field of .jsonl files" },
  { name = "max_bytes", type = "integer", min = 1, doc = "text to take, from the start; default: all" },
  { name = "cache", type = "string", doc = "folder of what is made; default: $SONDE_CACHE, else ~/.cache/sonde" },
}

---@class sonde.corpus
---@field spec string              what it was opened as
---@field vocab integer            tokens of the vocabulary V
---@field hash string              SHA-256 of all tokens, hex
---@field tokenizer sonde.tokenizer|nil   nil for bare token shards
---@field train {tokens: integer, documents: integer, bytes: integer}
---@field validation {tokens: integer, documents: integer, bytes: integer}

--- Opens a corpus: "default" (the King James Bible, of Debian's bible-kjv), "technical" (the Perl and Python
--- manuals), or a path: .txt, .jsonl, both also .gz, token shards, a folder of shards.
---@param spec string
---@param options? table           see corpus.schema
---@param where? sonde.where       the place of an option, for messages; default: the user's line
---@return sonde.corpus
function corpus.open(spec, options, where)
  spec = args.value({ name = "source", type = "string", preset = "default", doc = "" }, spec, "corpus")
  options = args.check(corpus.schema, options, "corpus", where)
  local handle = core.corpus(spec, options)
  local facts = handle:facts()
  facts.handle, facts.spec = handle, spec
  facts.tokenizer = handle:tokenizer()
  return facts
end

return corpus
