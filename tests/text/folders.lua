-- Model folders whose tokenizer is no tokenizer.json: SentencePiece's model, GPT-2's two files, one that is not read.

local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"

local scratch = os.tmpname()
os.remove(scratch)
core.mkdirs(scratch)

local source = debug.getinfo(1, "S").source:match "^@(.*)/[^/]*$"
local reference = core.json_load(source .. "/../reference/sentencepiece.json")
local byte_level = core.json_load(source .. "/../reference/tokenizers.json").base

local function from_hex(hex)
  return (hex:gsub("..", function(pair) return string.char(tonumber(pair, 16)) end))
end

local made = 0
-- A model folder of a vocabulary with these files beside it.
local function folder(vocab, files)
  made = made + 1
  local dir = scratch .. "/" .. made
  sonde.transformer { vocab = vocab, width = 16, depth = 1, heads = 2, context = 64, seed = 1 }:save(dir)
  for name, bytes in pairs(files) do core.write_file(dir .. "/" .. name, bytes) end
  return dir
end

local function merges_text()
  local lines = { "#version: 0.2" }
  for _, merge in ipairs(byte_level.model.merges) do lines[#lines + 1] = merge end
  return table.concat(lines, "\n") .. "\n"
end

TestFolders = {}

function TestFolders:test_a_sentencepiece_model_reads_texts_and_is_saved_as_a_tokenizer_json()
  local of = reference.models.bpe
  local dir = folder(432, { ["tokenizer.model"] = from_hex(of.model) })
  local model = sonde.load(dir)
  lu.assertTrue(model:has_tokenizer())
  local tokenizer = model:tokenizer()
  for i, text in ipairs(reference.texts) do
    lu.assertEquals(tokenizer:encode(text, { plain = true, bare = true }):values(), of.ids[i], text)
  end
  lu.assertEquals(model:end_tokens(), { tokenizer:special "</s>" })
  lu.assertEquals(tokenizer:encode("the"):values()[1], tokenizer:special "<s>")
  local out = dir .. "-saved"
  model:save(out)
  lu.assertEquals(core.read_file(out .. "/tokenizer.model"), from_hex(of.model))
  lu.assertEquals(core.tokenizer(out .. "/tokenizer.json"):hash(), tokenizer:hash())
  lu.assertTrue(sonde.load(out):tokenizer():same(tokenizer))
  lu.assertTrue(sonde.tokenizer(dir):same(tokenizer))      -- the folder for the file
end

function TestFolders:test_what_the_folder_says_goes_around_a_text()
  local bytes = from_hex(reference.models.bpe.model)
  local config = '{"add_bos_token": false, "added_tokens_decoder": {"420": {"content": "<|new|>", "special": true}}}'
  local tokenizer = sonde.load(folder(432, { ["tokenizer.model"] = bytes, ["tokenizer_config.json"] = config }))
    :tokenizer()
  lu.assertEquals(tokenizer:encode("the"):values(), tokenizer:encode("the", { bare = true }):values())
  lu.assertEquals(tokenizer:special "<|new|>", 420)
end

function TestFolders:test_vocab_and_merges_are_a_tokenizer()
  local model = sonde.load(folder(500, {
    ["vocab.json"] = core.json_encode(byte_level.model.vocab), ["merges.txt"] = merges_text(),
  }))
  core.json_save(scratch .. "/base.json", byte_level)
  lu.assertTrue(model:tokenizer():same(core.tokenizer(scratch .. "/base.json")))
  local ids = model:tokenizer():encode "the depth of the sea"
  lu.assertEquals(model:tokenizer():decode(ids), "the depth of the sea")
end

-- A folder opens and is saved with a tokenizer that is not read here; reading a text with it names what is not.
function TestFolders:test_a_tokenizer_that_is_not_read_is_carried_along()
  local dir = folder(64, { ["tokenizer.json"] = '{"model": {"type": "WordLevel", "vocab": {"a": 0}}}' })
  local model = sonde.load(dir)
  lu.assertErrorMsgContains("'WordLevel'", model.tokenizer, model)
  local out = dir .. "-saved"
  model:save(out)
  lu.assertEquals(core.read_file(out .. "/tokenizer.json"), core.read_file(dir .. "/tokenizer.json"))
end

local status = lu.LuaUnit.run("-o", "tap")
core.remove_tree(scratch)
os.exit(status, true)
