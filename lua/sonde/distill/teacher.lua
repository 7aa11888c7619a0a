--- teacher.lua - teachers: models, model folders and caches, opened and checked against the student.

local core = require "sonde.core"
local args = require "sonde.base.args"
local reads = require "sonde.base.reads"

local teacher = {}

---@class sonde.teacher
---@field name string            for messages
---@field weight number
---@field model? sonde.model     a live one
---@field cache? userdata        or a cache, and what its header says
---@field info? table

local entry = {
  { name = "teacher", type = "string|model", required = true, doc = "a model, a model folder, or a cache" },
  { name = "weight", type = "number", min = 0, preset = 1, doc = "factor of its divergence" },
}

-- The entries of the option: one teacher, or a list of teachers or {teacher =, weight =}.
local function entries(given, where)
  if type(given) ~= "table" or not (given[1] or rawequal(next(given), nil)) then
    return { { teacher = given, weight = 1 } }
  end
  local list = {}
  for i, one in ipairs(given) do
    local plain = type(one) == "table" and getmetatable(one) == nil
    list[i] = plain and args.check(entry, one, "teacher of train", function() return where() end)
      or { teacher = one, weight = 1 }
  end
  if #list == 0 then error(where() .. "option 'teacher' of train is an empty list", 0) end
  return list
end

local function open_path(path, one)
  one.name = path
  if core.exists(path) == "file" and not path:find "%.bin$" then
    one.cache = core.teacher_cache(path)
    one.info = one.cache:info()
    reads.note("cache", path)
  else
    one.model = require("sonde.io").load(path)
  end
end

local function check_vocabulary(one, student, where)
  local theirs, ours = one.info and one.info.vocab or one.model.config.vocab, student.config.vocab
  if not theirs or not ours then
    error(where() .. "distillation is for models of tokens; " .. (ours and one.name or "the student")
      .. " reads features", 0)
  end
  if theirs ~= ours then
    error(where() .. string.format("the teacher %s has a vocabulary of %d tokens, the student one of %d: their "
      .. "distributions are of other tokens; use models of one tokenizer", one.name, theirs, ours), 0)
  end
end

-- Where both say their tokenizer, it must be one.
local function check_tokenizer(one, student, where)
  local data = require "sonde.data"
  local ours = data.known(student)
  local theirs = one.info and { hash = one.info.tokenizer } or data.known(one.model)
  if not ours or not theirs or data.same_ids(theirs.hash, theirs.tokenizer, ours) then return end
  error(where() .. string.format("the teacher %s is of another tokenizer (%.8s..) than the student (%.8s..), so the "
    .. "same ids are other texts; use models of one tokenizer", one.name, theirs.hash, ours.hash), 0)
end

--- Opens the teachers of the option.
---@param given string|sonde.model|table
---@param student sonde.model
---@param where fun(): string
---@return sonde.teacher[]
function teacher.open(given, student, where)
  local list = {}
  for i, said in ipairs(entries(given, where)) do
    local one = { weight = said.weight, name = "given" }
    if type(said.teacher) == "string" then open_path(said.teacher, one) else one.model = said.teacher end
    if one.model and rawequal(one.model, student) then
      error(where() .. "the student is its own teacher: it would change while it teaches; load it twice", 0)
    end
    check_vocabulary(one, student, where)
    check_tokenizer(one, student, where)
    if one.model then one.model:init():check_finite() end
    list[i] = one
  end
  return list
end

--- What the configuration records of them.
---@param list sonde.teacher[]
---@return table[]
function teacher.record(list)
  local texts = {}
  for i, one in ipairs(list) do
    local info = one.info
    texts[i] = { sha256 = info and info.teacher or one.model:params():sha256(), weight = one.weight,
      cached = info and info.k or nil, temperature = info and info.temperature or nil }
  end
  return texts
end

--- Refuses a teacher whose distributions are of other tokens than the student's.
---@param model sonde.model       the teacher
---@param student sonde.model
---@param where fun(): string
function teacher.check_tokens(model, student, where)
  local one = { model = model, name = "given" }
  check_vocabulary(one, student, where)
  check_tokenizer(one, student, where)
end

-- A cache is of the rows of one training: text, context and seed.
local function check_cache(one, corpus, o)
  local info = one.info
  local function refuse(what, theirs, ours)
    error(core.where() .. string.format("the cache %s is of %s %s, and this training of %s: make one with `sonde "
      .. "teach` for it", one.name, what, theirs, ours), 0)
  end
  if info.corpus ~= "" and corpus.hash and info.corpus ~= corpus.hash then
    refuse("another text,", info.corpus:sub(1, 8) .. "..", corpus.hash:sub(1, 8) .. "..")
  end
  if info.context ~= o.context then refuse("a context of", info.context, o.context) end
  if o.document_mask then
    error(core.where() .. "the cache " .. one.name .. " is of rows whose documents see each other, and this training "
      .. "has a document_mask; use the teacher itself", 0)
  end
  if info.seed ~= o.seed then refuse("the seed", info.seed, o.seed) end
  local rows = o.steps * o.accumulate * o.batch
  if rows > info.rows then
    error(core.where() .. string.format("the cache %s has %d rows of %d tokens, and this training reads %d; make one "
      .. "of %d tokens with `sonde teach`", one.name, info.rows, info.context, rows, rows * info.context), 0)
  end
end

--- Refuses a corpus that a teacher does not go with.
---@param one sonde.teacher
---@param corpus sonde.corpus|sonde.feed
---@param o table     of a training, resolved
function teacher.check_corpus(one, corpus, o)
  if one.cache then
    if require("sonde.data.feed").is(corpus) then
      error(core.where() .. "a teacher's cache is for a training on a corpus, not on arrays", 0)
    end
    if o.from and o.from_text then
      error(core.where() .. "a teacher's cache is of a training from its beginning: with `from` give from_text = false",
        0)
    end
    return check_cache(one, corpus, o)
  end
  if corpus.tokenizer_hash then require("sonde.data").check_model(corpus, one.model) end
end

return teacher
