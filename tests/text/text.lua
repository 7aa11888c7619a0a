-- Tokenizers, corpora and the token feed from Lua.

local lu = require "luaunit"
local core = require "sonde.core"

local dir = os.tmpname()
os.remove(dir)
core.mkdirs(dir)

local function assert_fails(pattern, f, ...)
  local ok, message = pcall(f, ...)
  lu.assertFalse(ok)
  lu.assertStrContains(message, pattern)
  return message
end

local function write(name, text)
  core.write_file(dir .. "/" .. name, text)
  return dir .. "/" .. name
end

local function open(spec, options)
  options = options or {}
  options.cache = dir .. "/cache"
  options.vocab = options.vocab or 300
  return core.corpus(spec, options)
end

-- ---- tokenizers ---------------------------------------------------------------------------------------------

TestTokenizer = {}

local texts = { "the depth of the sea", "the depth of the network", "the the the" }

function TestTokenizer:test_train_encode_decode()
  local t = core.tokenizer_train(texts, { vocab = 264 })
  lu.assertEquals(t:vocab(), 264)
  lu.assertEquals(t:eot(), 0)
  for _, text in ipairs { "the sea", "", "caf\xc3\xa9 \xff\0 end", "  two\r\n" } do
    local ids = t:encode(text)
    lu.assertEquals(ids:dtype(), "i32")
    lu.assertEquals(t:decode(ids), text)
    lu.assertEquals(t:decode(ids:values()), text)
  end
  lu.assertTrue(t:encode("the the the"):count() < 6)
end

function TestTokenizer:test_special_tokens()
  local t = core.tokenizer_train(texts, { vocab = 260, special = { "<a>", "<b>" } })
  lu.assertEquals({ t:special("<a>"), t:special("<b>"), t:special("the"), t:eot() }, { 0, 1 })
  lu.assertEquals(t:encode("<b>"):values(), { 1 })
  lu.assertEquals(t:encode("<b>", { plain = true }):count(), 3)
  lu.assertEquals(t:decode({ 0, t:encode("x"):values()[1] }, true), "x")
end

function TestTokenizer:test_save_and_load()
  local t = core.tokenizer_train(texts, { vocab = 264 })
  t:save(dir .. "/t.json")
  local u = core.tokenizer(dir .. "/t.json")
  lu.assertEquals(u:hash(), t:hash())
  lu.assertEquals(u:encode("the network"):values(), t:encode("the network"):values())
end

function TestTokenizer:test_mistakes_name_the_line()
  local t = core.tokenizer_train(texts, { vocab = 264 })
  lu.assertStrContains(assert_fails("the id -1 is no token", t.decode, t, { -1 }), "text.lua:")
  lu.assertEquals(t:decode({ 264, 1000000 }), "")
  assert_fails("token id 1 of the list is none", t.decode, t, { "x" })
  assert_fails("text 2 must be a string", core.tokenizer_train, { "a", 7 }, { vocab = 264 })
  assert_fails("a vocabulary of 12", core.tokenizer_train, texts, { vocab = 12 })
  assert_fails("/nowhere.json", core.tokenizer, "/nowhere.json")
  assert_fails("not JSON", core.tokenizer, write("bad.json", "{"))
  t:close()
  assert_fails("closed", t.encode, t, "x")
end

-- ---- corpora ------------------------------------------------------------------------------------------------

TestCorpus = {}

local function documents(n)
  local lines = {}
  for i = 1, n do lines[i] = core.json_encode { text = "document " .. i .. (" deep"):rep(i % 7) } end
  return table.concat(lines, "\n")
end

function TestCorpus:test_facts_and_tokens()
  local c = open(write("a.jsonl", documents(200)), { validation = 0.25, vocab = 280 })
  local facts = c:facts()
  lu.assertEquals(facts.vocab, 280)
  lu.assertEquals(#facts.hash, 64)
  lu.assertEquals(facts.train.documents + facts.validation.documents, 200)
  lu.assertTrue(facts.validation.documents > 20 and facts.validation.documents < 80)
  local t = c:tokenizer()
  local text = t:decode(c:tokens("train", 0, facts.train.tokens))
  local _, ends = text:gsub("<|endoftext|>", "")
  lu.assertEquals(ends, facts.train.documents)
  lu.assertEquals(#text - ends * #"<|endoftext|>", facts.train.bytes)
  assert_fails("tokens", c.tokens, c, "train", facts.train.tokens, 1)
  assert_fails("'test' is not among train, validation", c.tokens, c, "test", 0, 1)
end

function TestCorpus:test_a_share_of_none()
  local facts = open(write("b.jsonl", documents(50)), { validation = 0 }):facts()
  lu.assertEquals(facts.validation.tokens, 0)
  lu.assertEquals(facts.train.documents, 50)
end

function TestCorpus:test_the_tokenizer_outlives_the_corpus()
  local c = open(write("c.jsonl", documents(50)))
  local t = c:tokenizer()
  c:close()
  collectgarbage()
  lu.assertEquals(t:decode(t:encode("document")), "document")
  assert_fails("closed", c.facts, c)
end

function TestCorpus:test_mistakes_name_the_line()
  lu.assertStrContains(assert_fails("did you mean 'technical'?", open, "techncal"), "text.lua:")
  assert_fails("no text in the field 'body'", open, write("d.jsonl", documents(3)), { field = "body" })
end

-- ---- batches ------------------------------------------------------------------------------------------------

TestBatches = {}

function TestBatches:test_targets_are_one_further()
  local c = open(write("e.jsonl", documents(100)))
  local b = core.feed_tokens(c, 8, 1)
  local x, y = core.tensor("i32", { 4, 8 }), core.tensor("i32", { 32 })
  local train = c:tokens("train", 0, c:facts().train.tokens):values()
  local stream = table.concat(train, " ")
  local epoch = math.floor((c:facts().train.tokens - 1) / 8) - 1
  b:train(epoch - 2, { tokens = x, targets = y })        -- over the end of the epoch
  local tokens, targets = x:values(), y:values()
  for row = 0, 3 do
    local part = { table.unpack(tokens, row * 8 + 1, row * 8 + 8) }
    lu.assertEquals({ table.unpack(targets, row * 8 + 1, row * 8 + 7) }, { table.unpack(part, 2, 8) })
    part[9] = targets[row * 8 + 8]
    lu.assertStrContains(stream, table.concat(part, " "))
  end
  assert_fails("does not take rows i32 [8] of 'tokens'", b.train, b, 0,
    { tokens = core.tensor("i32", { 7 }), targets = y })
  assert_fails("does not take rows i32 [8] of 'targets'", b.train, b, 0,
    { tokens = x, targets = core.tensor("i32", { 31 }) })
  assert_fails("no tensor for the input 'targets'", b.train, b, 0, { tokens = x })
  assert_fails("fewer than one row", core.feed_tokens, c, 1000000, 1)
  c:close()
  assert_fails("closed", b.train, b, 0, { tokens = x, targets = y })
end

local status = lu.LuaUnit.run("-o", "tap")
core.remove_tree(dir)
os.exit(status, true)
