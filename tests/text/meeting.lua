-- Where a model meets a corpus: the same number of tokens does not make them the same tokens.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"

local dir = os.tmpname()
os.remove(dir)
core.mkdirs(dir)

local function text(name, words)
  local lines = {}
  for i = 1, 200 do
    local line = {}
    for k = 1, 8 do line[k] = words[(i * k * 7 + k) % #words + 1] end
    lines[i] = core.json_encode({ text = table.concat(line, " ") }, 0)
  end
  core.write_file(dir .. "/" .. name, table.concat(lines, "\n") .. "\n")
  return dir .. "/" .. name
end

local one = text("one.jsonl", { "the", "sea", "is", "deep", "and", "wide", "there" })
local two = text("two.jsonl", { "networks", "learn", "slowly", "when", "layers", "multiply", "gradients" })

local function open(source, options)
  options = options or {}
  options.cache, options.validation = dir .. "/cache", options.validation or 0.2
  if not options.tokenizer then options.vocab = 270 end
  return sonde.corpus(source, options)
end

local function model_of(corpus)
  return sonde.transformer { vocab = corpus.vocab, width = 8, depth = 2, heads = 1, context = 8, seed = 3 }
end

local function train(model, corpus, options)
  options = options or {}
  options.steps, options.batch, options.progress = 2, 2, false
  return sonde.train(model, corpus, options)
end

local function refused(f, ...)
  local ok, message = pcall(f, ...)
  lu.assertFalse(ok)
  lu.assertStrContains(message, "is of another tokenizer")
  lu.assertStrContains(message, "meeting.lua:")
  return message
end

TestMeeting = {}

function TestMeeting:setUp()
  self.one, self.two = open(one), open(two)
  lu.assertEquals(self.one.vocab, self.two.vocab)
  lu.assertNotEquals(self.one.tokenizer_hash, self.two.tokenizer_hash)
end

function TestMeeting:test_a_model_that_was_trained_here()
  local model = model_of(self.one)
  train(model, self.one)
  lu.assertStrContains(refused(sonde.evaluate, model, self.two), "which the model was trained on")
  refused(sonde.probe, model, self.two, { "variance" })
  refused(train, model, self.two)
  refused(sonde.prune, model, { strategy = "angular", remove = 1, text = self.two })
  refused(sonde.evaluate, model:fold(), self.two)
  lu.assertTrue(sonde.evaluate(model, self.one).loss > 0)
end

function TestMeeting:test_a_model_of_a_folder()
  local folder = dir .. "/model"
  train(model_of(self.one), self.one, { save = folder })
  local model = sonde.load(folder)
  local message = refused(sonde.evaluate, model, self.two)
  lu.assertStrContains(message, "open it with tokenizer = '" .. folder .. "/tokenizer.json'")
  refused(train, model, self.two)
  refused(train, model_of(self.two), self.two, { from = folder, dir = dir .. "/begun" })
  lu.assertFalse(core.exists(dir .. "/begun/checkpoint"))
  local again = open(two, { tokenizer = folder .. "/tokenizer.json" })
  lu.assertTrue(sonde.evaluate(model, again).loss > 0)
end

function TestMeeting:test_a_run_to_begin_with()
  train(model_of(self.one), self.one, { dir = dir .. "/run" })
  refused(train, model_of(self.two), self.two, { from = dir .. "/run", from_text = false, dir = dir .. "/after" })
end

-- The same tokenizer in other letters is the same tokenizer; one with another merge is not.
function TestMeeting:test_files_that_say_the_same()
  local json = core.json_load(self.one.handle and (function()
    self.one.tokenizer:save(dir .. "/t.json")
    return dir .. "/t.json"
  end)())
  core.write_file(dir .. "/compact.json", core.json_encode(json, 0))
  local compact = open(one, { tokenizer = dir .. "/compact.json" })
  lu.assertNotEquals(compact.tokenizer_hash, self.one.tokenizer_hash)
  lu.assertTrue(compact.tokenizer:same(self.one.tokenizer))
  local model = model_of(self.one)
  train(model, self.one)
  lu.assertTrue(sonde.evaluate(model, compact).loss > 0)
  table.remove(json.model.merges)
  core.write_file(dir .. "/other.json", core.json_encode(json, 0))
  lu.assertFalse(core.tokenizer(dir .. "/other.json"):same(self.one.tokenizer))
  lu.assertFalse(self.one.tokenizer:same(core.tokenizer(dir .. "/other.json")))
end

function TestMeeting:test_another_tokenizer_is_not_saved_without_a_word()
  local model, stderr, said = model_of(self.one), io.stderr, {}
  train(model, self.one)
  io.stderr = { write = function(_, ...) said[#said + 1] = table.concat { ... } end }
  model:save(dir .. "/its-own", { tokenizer = self.one.tokenizer })
  local none = #said
  model:save(dir .. "/others", { tokenizer = self.two.tokenizer })
  sonde.load(dir .. "/its-own"):save(dir .. "/others-too", { tokenizer = self.two.tokenizer })
  io.stderr = stderr
  lu.assertEquals({ none, #said }, { 0, 2 })
  for _, line in ipairs(said) do
    lu.assertStrContains(line, "is another than ")
    lu.assertStrContains(line, string.format("%.8s", self.one.tokenizer_hash))
  end
end

function TestMeeting:test_tokens_that_do_not_say_whose_they_are()
  core.write_file(dir .. "/bare.bin", string.rep("\1\0\2\0\3\0", 50))
  local bare = sonde.corpus(dir .. "/bare.bin", { vocab = 270 })
  local model = model_of(self.one)
  train(model, self.one)
  lu.assertTrue(sonde.evaluate(model, bare).loss > 0)
end

local status = lu.LuaUnit.run("-o", "tap")
core.remove_tree(dir)
os.exit(status, true)
