--- vocabulary.lua - a tokenizer as the keys of a GGUF file: tokens, their kinds, merges or scores, the special ones.
--
-- llama.cpp has two forms of BPE: "gpt2", over bytes spelled as characters, whose first split it knows by the name of
-- an expression; and "llama", SentencePiece's with pieces for single bytes, which merges by scores.

local core = require "sonde.core"

local vocabulary = {}

local NORMAL, UNKNOWN, CONTROL, USER, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

local LLAMA3 = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*"
  .. "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
local QWEN2 = string.gsub(LLAMA3, "\\p{N}{1,3}", "\\p{N}", 1)
local GPT2 = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

-- What llama.cpp calls a first split, by its expression.
local splits = { [LLAMA3] = "llama-bpe", [QWEN2] = "qwen2", [GPT2] = "gpt-2" }

-- The steps of a part of a tokenizer.json that may be one step or a sequence of them.
local function steps_of(part, list)
  if type(part) ~= "table" then return {} end
  return part.type == "Sequence" and part[list] or { part }
end

local function step(steps, kind)
  for _, each in ipairs(steps) do
    if each.type == kind then return each end
  end
end

-- The name of the first split of a byte-level BPE.
local function split_of(tree, refuse)
  local steps = steps_of(tree.pre_tokenizer, "pretokenizers")
  local bytes, split = step(steps, "ByteLevel"), step(steps, "Split")
  local others = #steps - (bytes and 1 or 0) - (split and 1 or 0)
  local name = bytes and not split and bytes.use_regex ~= false and "gpt-2" or nil
  if split and split.pattern and not split.invert and (not bytes or bytes.use_regex == false) then
    name = splits[split.pattern.Regex]
  end
  if name and others == 0 then return name end
  refuse "the first split of its tokenizer is none that GGUF has a name for"
end

-- Tokens and kinds by id, of `count` ids.
local function tokens_of(tree, count, spm, refuse)
  local tokens, kinds = {}, {}
  local function check(id, text)
    if id < count then return end
    refuse(string.format("its tokenizer has the id %d for '%s', and the model reads ids up to %d", id, text, count - 1))
  end
  for id = 0, count - 1 do tokens[id + 1], kinds[id + 1] = "[PAD" .. id .. "]", UNUSED end
  for text, id in pairs(tree.model.vocab) do
    check(id, text)
    tokens[id + 1], kinds[id + 1] = text, spm and string.find(text, "^<0x%x%x>$") and BYTE or NORMAL
  end
  for _, token in ipairs(tree.added_tokens or {}) do
    check(token.id, token.content)
    tokens[token.id + 1], kinds[token.id + 1] = token.content, token.special and CONTROL or USER
  end
  local unknown = spm and tree.model.vocab[tree.model.unk_token or ""]
  if unknown then kinds[unknown + 1] = UNKNOWN end
  return tokens, kinds
end

-- Merges as "a b".
local function merges_of(tree)
  local list = {}
  for k, merge in ipairs(tree.model.merges) do
    list[k] = type(merge) == "table" and merge[1] .. " " .. merge[2] or merge
  end
  return list
end

-- Scores by which SentencePiece merges in the order of the merges: each token's is that of the first one that makes it.
local function scores_of(tree, tokens)
  local scores, rank, id_of = {}, {}, {}
  for id, text in ipairs(tokens) do scores[id], id_of[text] = 0, id end
  for k, merge in ipairs(merges_of(tree)) do
    local id = id_of[(string.gsub(merge, " ", "", 1))]
    if id and not rank[id] then rank[id], scores[id] = k, -k end
  end
  return scores
end

-- The token that the post-processor puts in front of a text, or nil.
local function first_token(tree)
  for _, each in ipairs(steps_of(tree.post_processor, "processors")) do
    local first = each.type == "TemplateProcessing" and each.single and each.single[1]
    local special = first and first.SpecialToken and first.SpecialToken.id
    local ids = special and each.special_tokens and each.special_tokens[special]
    if ids then return ids.ids[1] end
  end
end

-- Whether a space comes in front of a text.
local function has_prefix(tree)
  local space = step(steps_of(tree.pre_tokenizer, "pretokenizers"), "Metaspace")
  if space and space.prepend_scheme then return space.prepend_scheme ~= "never" end
  if space then return space.add_prefix_space ~= false end
  return step(steps_of(tree.normalizer, "normalizers"), "Prepend") ~= nil
end

-- The id that a key of tokenizer_config.json names by its text, else that of the key of config.json.
local function special_id(tree, usage, keys, name)
  local text = usage[name .. "_token"]
  if type(text) == "table" then text = text.content end
  for _, token in ipairs(type(text) == "string" and tree.added_tokens or {}) do
    if token.content == text then return token.id end
  end
  local id = keys[name .. "_token_id"]
  if type(id) == "table" then id = id[1] end
  return type(id) == "number" and math.floor(id) or nil
end

local function put_special(put, tree, usage, keys, count)
  local first = first_token(tree)
  for _, pair in ipairs { { "bos", "bos" }, { "eos", "eos" }, { "unk", "unknown" }, { "pad", "padding" } } do
    local id = pair[1] == "bos" and first or special_id(tree, usage, keys, pair[1])
    if id and id >= 0 and id < count then put("u32", "tokenizer.ggml." .. pair[2] .. "_token_id", id) end
  end
  put("bool", "tokenizer.ggml.add_bos_token", first ~= nil)
  put("bool", "tokenizer.ggml.add_eos_token", false)
end

-- The template of a chat: one text, of several the one called "default".
local function template_of(files, usage)
  local template = files["chat_template.jinja"] or usage.chat_template
  for _, each in ipairs(type(template) == "table" and template or {}) do
    if each.name == "default" then return each.template end
  end
  return type(template) == "string" and template or nil
end

--- Puts the keys of a tokenizer.
---@param put fun(kind: string, key: string, value: any)
---@param files table<string, string>     of the model's folder: tokenizer.json and what lies beside it
---@param count integer                    tokens of the model's vocabulary
---@param keys table                       of config.json
---@param refuse fun(text: string)         raises
function vocabulary.put(put, files, count, keys, refuse)
  local tree = core.json_decode(files["tokenizer.json"], "tokenizer.json")
  local usage = files["tokenizer_config.json"] and core.json_decode(files["tokenizer_config.json"],
    "tokenizer_config.json") or {}
  local kind = type(tree.model) == "table" and (tree.model.type or "BPE")
  if kind ~= "BPE" then refuse("its tokenizer is " .. tostring(kind) .. ", not BPE") end
  local spm = tree.model.byte_fallback == true
  local tokens, kinds = tokens_of(tree, count, spm, refuse)
  put("string", "tokenizer.ggml.model", spm and "llama" or "gpt2")
  put("string", "tokenizer.ggml.pre", spm and "default" or split_of(tree, refuse))
  put("strings", "tokenizer.ggml.tokens", tokens)
  if spm then
    put("f32s", "tokenizer.ggml.scores", scores_of(tree, tokens))
    put("bool", "tokenizer.ggml.add_space_prefix", has_prefix(tree))
  else
    put("strings", "tokenizer.ggml.merges", merges_of(tree))
  end
  put("i32s", "tokenizer.ggml.token_type", kinds)
  put_special(put, tree, usage, keys, count)
  local template = template_of(files, usage)
  if template then put("string", "tokenizer.chat_template", template) end
end

return vocabulary
