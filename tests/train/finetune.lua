-- Fine-tuning: what is learned of a row, examples that do not see each other, and what is saved.

local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"
local dialogue = require "sonde.data.dialogue"
local packed = require "sonde.data.packed"

local words = { "small", "tree", "river", "stone", "green", "window", "seven", "lamp" }
local rows, texts = {}, {}
for k = 1, 40 do
  local word = words[k % #words + 1]
  rows[k] = { prompt = "say " .. word, response = word .. string.rep(" " .. word, k % 3) }
  texts[k] = "say " .. word .. ". " .. rows[k].response
end
local tokenizer = core.tokenizer_train({ table.concat(texts, "\n") }, { vocab = 290 })
local ending = tokenizer:eot()

local folder = os.tmpname()
os.remove(folder)

local function base(options)
  local all = { vocab = tokenizer:vocab(), width = 16, depth = 2, heads = 2, context = 48, init_std = 0.1, seed = 3 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

-- The model in a folder of its own, so that it has the tokenizer.
local function folder_of(model, name)
  model:save(folder .. "/" .. name, { tokenizer = tokenizer })
  core.write_file(folder .. "/" .. name .. "/LICENSE", "free")
  return folder .. "/" .. name
end

local function learned_text(row, options)
  options = options or { template = dialogue.TEMPLATE }
  local ids, learns = dialogue.encode(tokenizer, dialogue.parts(row, options, ""), ending)
  local kept = {}
  for k, id in ipairs(ids) do
    if learns[k] then kept[#kept + 1] = id end
  end
  return tokenizer:decode(kept), tokenizer:decode(ids), ids
end

TestText = {}

function TestText:test_the_response_and_its_end_are_learned()
  local eot = tokenizer:decode { ending }
  local learned, whole = learned_text { prompt = "say tree", response = "tree tree" }
  lu.assertEquals(learned, "tree tree" .. eot)
  lu.assertEquals(whole, "### Instruction:\nsay tree\n\n### Response:\ntree tree" .. eot)
  learned, whole = learned_text({ instruction = "a", input = "b", output = "c" }, { template = "{prompt} => " })
  lu.assertEquals({ learned, whole }, { "c" .. eot, "a\n\nb => c" .. eot })
  learned, whole = learned_text({ q = "a", a = "c", tone = "kind" }, { template = "[{tone}] {prompt}:", prompt = "q",
    response = "a" })
  lu.assertEquals({ learned, whole }, { "c" .. eot, "[kind] a:c" .. eot })
end

function TestText:test_each_answer_of_a_conversation_is_learned()
  local eot = tokenizer:decode { ending }
  local row = { messages = { { role = "system", content = "be kind" }, { role = "user", content = "a" },
    { role = "assistant", content = "b" }, { role = "user", content = "c" }, { role = "assistant", content = "d" } } }
  local learned, whole = learned_text(row, { template = "U:{prompt}\nA:" })
  lu.assertEquals(learned, "b" .. eot .. "d" .. eot)
  lu.assertEquals(whole, "U:be kind\n\na\nA:b" .. eot .. "U:c\nA:d" .. eot)
  local shared = { conversations = { { from = "human", value = "a" }, { from = "gpt", value = "b" } } }
  lu.assertEquals(learned_text(shared), "b" .. eot)
end

function TestText:test_special_tokens_of_the_template_are_tokens_and_those_of_a_row_are_text()
  local eot = tokenizer:decode { ending }
  local row = { prompt = "a" .. eot, response = "b" .. eot }
  local learned, _, ids = learned_text(row, { template = eot .. "{prompt}:" })
  local count = 0
  for _, id in ipairs(ids) do count = count + (id == ending and 1 or 0) end
  lu.assertEquals(count, 2)                -- the template's, and the one that ends the response
  lu.assertEquals(ids[1], ending)
  lu.assertEquals(learned, "b" .. eot .. eot)
end

function TestText:test_a_token_across_the_boundary_is_the_responses()
  -- "say tree" is cut inside a token: the ids are those of the whole text.
  local _, whole, ids = learned_text({ prompt = "say tr", response = "ee" }, { template = "{prompt}" })
  lu.assertEquals(whole, "say tree" .. tokenizer:decode { ending })
  local all = tokenizer:encode("say tree", { plain = true, bare = true }):values()
  all[#all + 1] = ending
  lu.assertEquals(ids, all)
end

function TestText:test_a_template_of_a_script()
  local eot = tokenizer:decode { ending }
  local function pair(row) return "Q " .. row.q, row.a end
  lu.assertEquals(learned_text({ q = "x", a = "y" }, { template = pair }), "y" .. eot)
  local function list(row)
    return { { text = "Q " .. row.q }, { text = "y", learn = true }, { text = "again" }, { text = "z", learn = true } }
  end
  lu.assertEquals(learned_text({ q = "x" }, { template = list }), "y" .. eot .. "z" .. eot)
end

function TestText:test_refused_in_one_line()
  local function refused(pattern, f, ...)
    local ok, message = pcall(f, ...)
    lu.assertFalse(ok, pattern)
    lu.assertStrContains(message, pattern, false, message)
    lu.assertNotStrContains(message, "\n")
  end
  local plain = { template = "{prompt}:" }
  refused("Jinja, which is not read", dialogue.check, "{% for m in messages %}")
  refused("has no {prompt}", dialogue.check, "nothing")
  refused("F:3: the row has no prompt as a text", dialogue.parts, { response = "x" }, plain, "F:3: ")
  refused("F:3: the row has no response as a text: said", dialogue.parts, { prompt = "x" },
    { template = "{prompt}", response = "said" }, "F:3: ")
  refused("there is no response to learn", dialogue.parts, { prompt = "x", response = "" }, plain, "")
  refused("the template has {tone}", dialogue.parts, { prompt = "x", response = "y" }, { template = "{tone}" }, "")
  local odd = { messages = { { role = "tool", content = "x" } } }
  refused("message 1 is not {role, content}", dialogue.parts, odd, plain, "")
  refused("the template gives number", dialogue.parts, {}, { template = function() return 3 end }, "")
  local model = sonde.load(folder_of(base(), "refused"))
  refused("belongs to lora", sonde.finetune, model, rows, { alpha = 2 })
  refused("'epochs' of finetune must be over 0", sonde.finetune, model, rows, { epochs = 0 })
  refused("there are no examples", sonde.finetune, model, {}, {})
  refused("give a larger context", sonde.finetune, model, rows, { context = 4 })
  refused("give 'batch' itself", sonde.finetune, model, rows, { train = { batch = 3 } })
  refused("of 1 examples none would be left", sonde.finetune, model, { rows[1], rows[2] }, { validation = 0.99,
    limit = 1 })
end

TestPacking = {}

local function example(ids, from)
  local learns = {}
  for k in ipairs(ids) do learns[k] = k >= from end
  return { ids = ids, learns = learns }
end

function TestPacking:test_rows_hold_whole_examples()
  local list = { example({ 1, 2, 3 }, 2), example({ 4, 5 }, 2), example({ 6, 7, 8, 9, 10 }, 4), example({ 11 }, 1) }
  local feed, n = packed.feed(list, {}, 6, 0)
  lu.assertEquals(n, 2)
  local arrays = {}
  for _, part in ipairs(feed.parts) do arrays[part.name] = part.train:values() end
  lu.assertEquals(arrays.tokens, { 6, 7, 8, 9, 10, 0, 1, 2, 3, 4, 5, 11 })
  lu.assertEquals(arrays.targets, { -1, -1, 9, 10, -1, -1, 2, 3, -1, 5, -1, -1 })
  lu.assertEquals(arrays.document_ends, { 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1 })
end

-- The sum of the losses of an example alone, and how many tokens are learned.
local function alone(model, one)
  local targets, n = {}, 0
  for k = 1, #one.ids do
    targets[k] = one.learns[k + 1] and one.ids[k + 1] or -1
    n = n + (targets[k] >= 0 and 1 or 0)
  end
  local trace = model:trace { context = #one.ids }
  return sonde.value(trace.loss:sum(), { tokens = one.ids, targets = targets }), n
end

function TestPacking:test_no_example_sees_another()
  local list = {}
  for k = 1, 11 do
    local ids = {}
    for i = 1, 2 + k % 6 do ids[i] = (k * 31 + i * i * 7) % 200 end
    list[k] = example(ids, 2)
  end
  for _, options in ipairs { {}, { attention = { "causal", window = 3 } }, { positions = "learned" } } do
    options.init_std = 0.3
    local model, sum, count = base(options), 0, 0
    for _, one in ipairs(list) do
      local loss, n = alone(model, one)
      sum, count = sum + loss, count + n
    end
    local result = sonde.evaluate(model, (packed.feed({ list[1] }, list, 16, ending)), { context = 16 })
    lu.assertEquals(result.tokens, count)
    lu.assertAlmostEquals(result.loss, sum / count, 2e-6)
  end
end

TestFinetune = {}

function TestFinetune:test_the_responses_are_learned_and_the_folder_keeps_what_it_had()
  local from, bounds = folder_of(base(), "base"), { full = 3, lora = 4.8 }      -- ln 290 = 5.7
  for name, options in pairs { full = { lr = 1e-2 }, lora = { lora = 4, lr = 3e-2 } } do
    local model, to = sonde.load(from), folder .. "/" .. name
    local before = model:params():sha256()
    options.epochs, options.batch, options.validation, options.save = 40, 4, 0.2, to
    options.train = { progress = false, probe_every = 0, eval_every = 0 }
    options.template = "{prompt}. "
    local facts = sonde.finetune(model, rows, options)
    lu.assertEquals({ facts.examples, facts.validation, facts.cut, facts.left_out }, { 32, 8, 0, 0 })
    lu.assertTrue(facts.learned < facts.tokens)
    lu.assertTrue(facts.training.loss < bounds[name], name .. " " .. facts.training.loss)
    lu.assertNotEquals(model:params():sha256(), before)
    lu.assertEquals(core.read_file(to .. "/LICENSE"), "free")
    lu.assertEquals(sonde.load(to):params():sha256(), model:params():sha256())
    lu.assertEquals(core.read_file(to .. "/tokenizer.json"), core.read_file(from .. "/tokenizer.json"))
  end
end

function TestFinetune:test_adapters_leave_everything_else()
  local model = sonde.load(folder_of(base(), "adapted"))
  local function values(name) return model:params():find(name):values() end
  local embedding, q = values "model.embed_tokens.weight", values "model.layers.1.self_attn.q_proj.weight"
  sonde.finetune(model, rows, { lora = 2, epochs = 1, lr = 1e-2, train = { progress = false, eval_every = 0 } })
  lu.assertEquals(values "model.embed_tokens.weight", embedding)
  lu.assertNotEquals(values "model.layers.1.self_attn.q_proj.weight", q)
end

function TestFinetune:test_long_examples_are_cut_and_counted()
  local model = sonde.load(folder_of(base(), "long"))
  local data = { rows[1], { prompt = "say", response = string.rep("window lamp ", 40) },
    { prompt = string.rep("river ", 80), response = "stone" } }
  local facts = sonde.finetune(model, data, { epochs = 1, train = { progress = false, eval_every = 0 } })
  lu.assertEquals({ facts.examples, facts.cut, facts.left_out, facts.context }, { 2, 1, 1, 48 })
end

-- Defaults of fine-tuning that a schedule does not read are not given to it.
function TestFinetune:test_schedules()
  for _, schedule in ipairs { "constant", "linear", function() return 1 end } do
    local model = sonde.load(folder_of(base(), "schedule"))
    local facts = sonde.finetune(model, rows, { epochs = 1, train = { schedule = schedule, progress = false,
      eval_every = 0 } })
    lu.assertEquals(facts.examples, 40)
  end
end

-- An update takes no more rows than the epochs have.
function TestFinetune:test_more_micro_batches_than_there_are()
  local model = sonde.load(folder_of(base(), "accumulated"))
  local facts = sonde.finetune(model, rows, { epochs = 2, batch = 2, accumulate = 1000, train = { progress = false,
    eval_every = 0 } })
  lu.assertEquals(facts.training.steps, 1)
  lu.assertAlmostEquals(facts.training.tokens, 2 * facts.rows * 48, 2 * 48)
end

-- Positions that are rotated by the length of a sequence would be rotated by that of the row.
function TestFinetune:test_rows_are_not_longer_than_what_is_rotated_alike()
  local attention = { "causal", rope_scaling = "dynamic", rope_factor = 2, rope_original_context = 40 }
  local model = sonde.load(folder_of(base { attention = attention }, "dynamic"))
  local how = { epochs = 1, train = { progress = false, eval_every = 0 } }
  lu.assertEquals(sonde.finetune(model, rows, how).context, 40)
  how.context = 48
  lu.assertErrorMsgContains("from 40 tokens on the model rotates positions by the length", sonde.finetune, model, rows,
    how)
end

function TestFinetune:tearDown() os.execute("rm -rf '" .. folder .. "'") end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
