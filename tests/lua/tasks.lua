-- Evaluation on tasks: random numbers, texts and windows as CPython has them, prompts to the byte, metrics and their
-- standard errors, files and tables.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"
local metrics = require "sonde.eval.metrics"
local results = require "sonde.eval.results"
local task = require "sonde.eval.task"
local text = require "sonde.eval.text"

local expected = core.json_load(os.getenv "abs_srcdir" .. "/tests/reference/tasks.json")
local scratch = os.tmpname()
os.remove(scratch)
core.mkdirs(scratch .. "/data")

local function write(name, list)
  local lines = {}
  for k, row in ipairs(list) do lines[k] = type(row) == "string" and row or core.json_encode(row) end
  core.write_file(scratch .. "/" .. name, table.concat(lines, "\n") .. "\n")
end

TestPython = {}

function TestPython:test_samples()
  for first = 1, #expected.samples, 10 do
    local random = core.python_random(expected.samples[first].seed)
    for k = first, first + 9 do
      local want = expected.samples[k]
      lu.assertEquals(random:sample(want.n, want.k), want.drawn)
    end
  end
  local golden = core.python_random(1234)
  lu.assertEquals(golden:sample(39905, 6), { 28883, 7657, 490, 5940, 38156, 2288 })
  golden = core.python_random(1234)
  lu.assertEquals(golden:sample(2251, 5), { 1805, 478, 30, 371, 143 })
  lu.assertEquals(golden:sample(2251, 5), { 343, 403, 1452, 969, 71 })
  lu.assertErrorMsgContains("must be a whole number from 0 to 3, not 4", golden.sample, golden, 3, 4)
end

function TestPython:test_bootstrap()
  for _, want in ipairs(expected.bootstrap) do
    local value, stderr = core.bootstrap(want.name, want.values, want.resamples)
    lu.assertEquals(value, want.value)
    lu.assertAlmostEquals(stderr, want.stderr, 1e-14 * want.stderr)
  end
  lu.assertErrorMsgContains("at least one value", core.bootstrap, "f1", {})
  lu.assertErrorMsgContains("two resamples", core.bootstrap, "f1", { 1 }, 1)
end

function TestPython:test_texts()
  for _, want in ipairs(expected.texts) do
    local s = want.text
    lu.assertEquals(text.strip(s), want.strip)
    lu.assertEquals(text.lstrip(s), want.lstrip)
    lu.assertEquals((text.rstrip(s)), want.rstrip)
    lu.assertEquals(text.length(s), want.length)
    lu.assertEquals(text.words(s), want.words)
    lu.assertEquals(text.cleaners.hellaswag(s), want.hellaswag)
    lu.assertEquals(text.cleaners.wikitext(s), want.wikitext)
    lu.assertEquals(text.filters.but_last_word(s), want.split)
    lu.assertEquals(text.filters.last_word(s), want.last)
  end
end

function TestPython:test_cases()
  lu.assertEquals(core.lower(expected.cases.lower[1]), expected.cases.lower[2])
  for _, pair in ipairs(expected.cases.capitalize) do lu.assertEquals(core.capitalize(pair[1]), pair[2]) end
  lu.assertEquals(core.capitalize "aB\255C", "Ab\255c")
  lu.assertEquals(core.capitalize "", "")
end

-- A tokenizer of one token a letter, a = 1, b = 2, ..
local letters = {
  encode = function(_, s, options)
    local ids = options.bare and {} or { 99 }
    for letter in s:gmatch "." do ids[#ids + 1] = letter == " " and 98 or letter:byte() - 96 end
    return { values = function() return ids end }
  end,
  decode = function(_, ids) return ids[1] == 99 and "<s>" or "" end,
}

function TestPython:test_windows()
  local encoder = require("sonde.eval.encode").new({}, { tokenizer = letters, add_bos = false, prefix = 0 })
  for _, want in ipairs(expected.windows) do
    local s = {}
    for k = 1, want.n do s[k] = string.char(96 + k) end
    for k, request in ipairs(encoder:windows(table.concat(s), want.longest, "")) do
      lu.assertEquals({ request.context, request.continuation }, { want.windows[k][1], want.windows[k][2] })
    end
  end
  lu.assertEquals(encoder:windows("", 10, ""), {})
end

-- Blanks at the end of a context go to the continuation; an empty context is the prefix; nothing begins twice.
function TestPython:test_ids()
  local encoder = require("sonde.eval.encode").new({}, { tokenizer = letters, prefix = 99 })
  local function ids(context, continuation)
    local request = encoder:pairs({ { context, continuation } }, "f:1: ")[1]
    return { request.context, request.continuation }
  end
  lu.assertEquals(ids("ab", " c"), { { 99, 1, 2 }, { 98, 3 } })
  lu.assertEquals(ids("ab ", "c"), { { 99, 1, 2 }, { 98, 3 } })
  lu.assertEquals(ids("", "ab"), { { 99 }, { 1, 2 } })
  lu.assertEquals(ids("<s>a", "b")[1][1], ("<"):byte() - 96)      -- the fake one knows no special tokens
  lu.assertErrorMsgContains("f:1: '' has no tokens of its own", ids, "ab", "")
  encoder = require("sonde.eval.encode").new({}, { tokenizer = letters, prefix = 99, add_bos = false })
  lu.assertEquals(ids("ab", " c"), { { 1, 2 }, { 98, 3 } })
  encoder.prefix = nil
  lu.assertErrorMsgContains("f:1: the context is empty", ids, "", "ab")
end

TestPrompts = {}

local all = task.load()

local function prompts(name, row, shots)
  local this = all.tasks[name]
  local item = this:item(row, "here: ")
  local examples = {}
  for k, shot in ipairs(shots or {}) do examples[k] = this:item(shot, "here: ") end
  return this:requests(item, examples), item.answer
end

-- Rows as the hub has them, and what the harness asks.
function TestPrompts:test_to_the_byte()
  local function check(name, row, want, answer, shots)
    local got, at = prompts(name, row, shots)
    lu.assertEquals(got, want)
    lu.assertEquals(at, answer)
  end
  local arc = { question = "Why?", answerKey = "2", choices = { text = { "a", " b" }, label = { "1", "2" } } }
  check("arc_easy", arc, { { "Question: Why?\nAnswer:", " a" }, { "Question: Why?\nAnswer:", "  b" } }, 1)
  check("arc_challenge", arc, { { "Question: Why?\nAnswer:  b\n\nQuestion: Why?\nAnswer:", " a" },
    { "Question: Why?\nAnswer:  b\n\nQuestion: Why?\nAnswer:", "  b" } }, 1, { arc })
  check("hellaswag", { activity_label = " Home", ctx_a = "[header] How [title] to", ctx_b = "AN Épée", label = "1",
    endings = { "one [step]two", " three" } },
    { { "Home: How. to An épée", " one two" }, { "Home: How. to An épée", " three" } }, 1)
  check("piqa", { goal = "open", sol1 = "pull", sol2 = "push", label = 0 },
    { { "Question: open\nAnswer:", " pull" }, { "Question: open\nAnswer:", " push" } }, 0)
  check("openbookqa", { question_stem = "The sun is", choices = { text = { "x", "y" }, label = { "A", "B" } },
    answerKey = " B" }, { { "The sun is", " x" }, { "The sun is", " y" } }, 1)
  local wino = { sentence = "Ann saw Bea so _ ran. ", option1 = "Ann", option2 = "Bea", answer = "2" }
  check("winogrande", wino, { { "Ann saw Bea so Bea ran.\n\nAnn saw Bea so Ann", " ran." },
    { "Ann saw Bea so Bea ran.\n\nAnn saw Bea so Bea", " ran." } }, 1, { wino })
  check("boolq", { passage = "P.", question = "is it", label = 1 },
    { { "P.\nQuestion: is it?\nAnswer:", " no" }, { "P.\nQuestion: is it?\nAnswer:", " yes" } }, 1)
  check("sciq", { support = "", question = "q", distractor1 = "a", distractor2 = "b", distractor3 = "c",
    correct_answer = "d" }, { { "\nQuestion: q\nAnswer:", " a" }, { "\nQuestion: q\nAnswer:", " b" },
    { "\nQuestion: q\nAnswer:", " c" }, { "\nQuestion: q\nAnswer:", " d" } }, 3)
  check("copa", { premise = " It rained. ", question = "effect", choice1 = "He ran.", choice2 = "É.", label = 0 },
    { { "It rained therefore", "  he ran." }, { "It rained therefore", "  é." } }, 0)
  check("rte", { sentence1 = "A.", sentence2 = "B.", label = 1 },
    { { "A.\nQuestion: B. True or False?\nAnswer:", " True" },
      { "A.\nQuestion: B. True or False?\nAnswer:", " False" } },
    1)
  check("sglue_rte", { premise = "A.", hypothesis = "B.", label = 0 },
    { { "A.\nQuestion: B. True or False?\nAnswer:", " True" },
      { "A.\nQuestion: B. True or False?\nAnswer:", " False" } },
    0)
  local letters = "Question: q\nA. 1\nB. 2\nC. 3\nD. 4\nE. 5\nAnswer:"
  check("commonsense_qa", { question = " q ", choices = { text = { "1", "2", "3", "4", "5" } }, answerKey = "C" },
    { { letters, " A" }, { letters, " B" }, { letters, " C" }, { letters, " D" }, { letters, " E" } }, 2)
  check("social_iqa", { context = "C.", question = "Q?", answerA = "a", answerB = "b", answerC = "c", label = "1" },
    { { "Q: C. Q?\nA:", " a" }, { "Q: C. Q?\nA:", " b" }, { "Q: C. Q?\nA:", " c" } }, 0)
  check("cb", { premise = "P", hypothesis = "H", label = 2 },
    { { "P\nQuestion: H. True, False, or Neither?\nAnswer:", " True" },
      { "P\nQuestion: H. True, False, or Neither?\nAnswer:", " False" },
      { "P\nQuestion: H. True, False, or Neither?\nAnswer:", " Neither" } }, 2)
  check("lambada_openai", { text = "a b  c" }, { { "a b ", " c" } })
  local before = "The following are multiple choice questions (with answers) about high school physics.\n\n"
  local question = before .. "q\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"
  local mmlu = { question = "q ", choices = { "1", "2", "3", "4" }, answer = 3 }
  check("mmlu_high_school_physics", mmlu, { { question, " A" }, { question, " B" }, { question, " C" },
    { question, " D" } }, 3)
  local solved = "The following are questions (with answers) about anatomy.\n\nQuestion: q\nAnswer: 4\n\n"
    .. "Question: q\nAnswer:"
  check("mmlu_anatomy_continuation", mmlu,
    { { solved, " 1" }, { solved, " 2" }, { solved, " 3" }, { solved, " 4" } }, 3, { mmlu })
end

function TestPrompts:test_groups()
  local n = 0
  for _, sub in ipairs(all.groups.mmlu.children) do n = n + #all.groups[sub].children end
  lu.assertEquals(n, 57)
  lu.assertEquals(#all.groups.mmlu_stem.children, 19)
  lu.assertEquals({ #all.groups.mmlu_humanities.children, #all.groups.mmlu_other.children,
    #all.groups.mmlu_social_sciences.children }, { 13, 13, 12 })
end

function TestPrompts:test_bad_rows()
  local function refused(want, name, row)
    lu.assertErrorMsgContains("f:3: " .. want, all.tasks[name].item, all.tasks[name], row, "f:3: ")
  end
  refused("column 'sol2' is missing; there are goal, label, sol1", "piqa", { goal = "g", sol1 = "a", label = 0 })
  refused("the answer must be from 0 to 1, not 2", "piqa", { goal = "g", sol1 = "a", sol2 = "b", label = 2 })
  refused("the answer must be from 0 to 1, not -1", "piqa", { goal = "g", sol1 = "a", sol2 = "b", label = -1 })
  refused("choice 1 is empty", "piqa", { goal = "g", sol1 = "a", sol2 = "", label = 0 })
  refused("a choice is among at least two, not 1", "piqa", { context = "c", choices = { "a" }, answer = 0 })
  refused("the answer must be from 0 to 1, not nil", "piqa", { context = "c", choices = { "a", "b" } })
  refused("the answer 'E' is not among A, B", "arc_easy", { question = "q", answerKey = "E",
    choices = { text = { "a", "b" }, label = { "A", "B" } } })
  refused("a row is an object with columns", "piqa", { 1, 2 })
  refused("column 'question' is 'why', which 'connective' cannot take", "copa", { premise = "p.", question = "why",
    choice1 = "a", choice2 = "b", label = 0 })
  refused("column 'goal' must be a text or a number, not a list", "piqa", { goal = { "g" }, sol1 = "a", sol2 = "b",
    label = 0 })
end

TestMetrics = {}

local function scored(sums, answer, choices)
  return { sums = sums, greedy = {}, item = { answer = answer, choices = choices or { "ab", "é", "cdef" } } }
end

function TestMetrics:test_definitions()
  local docs = { scored({ -1, -2, -3 }, 0), scored({ -4, -2, -6 }, 2), scored({ -2, -2, -9 }, 0), scored({ -9, -9, -1 },
    1) }
  local value, stderr = metrics.of("acc", docs, 100000)
  lu.assertEquals(value, 0.5)
  lu.assertAlmostEquals(stderr, math.sqrt(4 * 0.25 / 3) / 2, 1e-15)
  -- By code points: {-0.5, -2, -0.75}, {-2, -2, -1.5}, {-1, -2, -2.25}, ..; by bytes é counts two.
  lu.assertEquals((metrics.of("acc_norm", docs, 0)), 0.75)
  lu.assertEquals((metrics.of("acc_bytes", docs, 0)), 0.5)
  lu.assertNil(select(2, metrics.of("acc", docs, 0)))
  lu.assertNil(select(2, metrics.of("acc", { docs[1] }, 100)))
  local f1, error_of_f1, values = metrics.of("f1", { scored({ 1, 2 }, 1), scored({ 2, 1 }, 1), scored({ 1, 2 }, 0),
    scored({ 2, 1 }, 0) }, 1000)
  lu.assertEquals(values, { 3, 2, 1, 0 })
  lu.assertEquals(f1, 0.5)
  lu.assertTrue(error_of_f1 > 0.1 and error_of_f1 < 0.5)
  -- One against the rest: 1/1, 2 1 / (2 + 1), 0.
  lu.assertAlmostEquals(metrics.of("f1_mean",
    { scored({ 1, 0, 0 }, 0), scored({ 0, 1, 0 }, 1), scored({ 0, 1, 0 }, 2) }, 10), (1 + 2 / 3 + 0) / 3, 1e-15)
end

function TestMetrics:test_means_as_python_has_them()
  local docs = {}
  for k, x in ipairs(expected.bootstrap[1].values) do
    docs[k] = { sums = { x }, greedy = { k % 3 == 0 }, item = { target = "t", text = "a b\n" } }
  end
  lu.assertEquals((metrics.of("perplexity", docs, 0)), expected.bootstrap[1].value)
  lu.assertEquals((metrics.of("acc", docs, 0)), 19 / 57)
  local n = #docs
  lu.assertAlmostEquals(metrics.of("word_perplexity", docs, 9), math.exp(-expected.mean / 3), 1e-12)
  lu.assertAlmostEquals(metrics.of("byte_perplexity", docs, 9), math.exp(-expected.mean / 4), 1e-12)
  local bits, none = metrics.of("bits_per_byte", docs, 9)
  lu.assertAlmostEquals(bits, -expected.mean / 4 / math.log(2), 1e-12)
  lu.assertNil(none)
  lu.assertEquals(n, 57)
end

-- mrpc's stored scores of the harness: 2 gold + predicted of each item, and what it publishes of them.
local MRPC = "0022013032220122132023312032312322230222232021032212333022300233023132330332313211230230332000123320"
  .. "0022332313013331120331312330332223203231203221222322233003313133322030211022202322333120032101003330"
  .. "2323222212330211321333202223003323032330211332010223333303212330312110323200303022233233233223221323"
  .. "3123302002223312232222020000310222230033021212301312320120323032332302333023322300333032202232002331"
  .. "31222032"

function TestMetrics:test_published()
  local docs, codes = {}, {}
  for digit in string.gmatch(MRPC, "%d") do
    local code = tonumber(digit)
    codes[#codes + 1] = code
    docs[#docs + 1] = scored(code % 2 == 1 and { 0, 1 } or { 1, 0 }, math.floor(code / 2))
  end
  local f1, error_of_f1, values = metrics.of("f1", docs, 10)
  lu.assertAlmostEquals(f1, 0.5982905982905982, 2e-16)
  lu.assertAlmostEquals(error_of_f1, 0.028928325246283727, 1e-17)
  lu.assertTrue(table.concat(values) == table.concat(codes))
  local acc, stderr = metrics.of("acc", docs, 10)
  lu.assertEquals({ acc, stderr }, { 0.5392156862745098, 0.024707732873723128 })
end

function TestMetrics:test_groups()
  local value, stderr = metrics.pooled { { value = 0.5, stderr = 0.1, n = 10 }, { value = 0.25, stderr = 0.2, n = 20 } }
  lu.assertAlmostEquals(value, 10 / 30, 1e-15)
  lu.assertAlmostEquals(stderr, math.sqrt((9 * 10 * 0.01 + 19 * 20 * 0.04) / 28 / 30), 1e-15)
  lu.assertNil(select(2, metrics.pooled { { value = 0.5, n = 1 } }))
end

TestTables = {}

-- The tables that the harness prints of pythia-14m-deduped.
local function table_of(values, groups, aliases, n)
  local result = { results = {}, versions = {}, ["n-shot"] = {}, higher_is_better = {}, group_subtasks = groups or {} }
  for name, of in pairs(values) do
    local entry, higher = { alias = aliases and aliases[name] or name, name = name, sample_len = n }, {}
    for metric, value in pairs(of) do
      if metric ~= "version" then
        entry[metric .. ",none"], entry[metric .. "_stderr,none"] = value, "N/A"
        higher[metric] = not string.find(metric, "perplexity") and not string.find(metric, "bits")
      end
    end
    result.results[name], result.versions[name], result["n-shot"][name] = entry, of.version or 1.0, 0
    result.higher_is_better[name] = higher
  end
  return results.pipe_table(result)
end

function TestTables:test_goldens()
  lu.assertEquals(table_of { arc_challenge = { acc = 0, acc_norm = 0 }, arc_easy = { acc = 0.3, acc_norm = 0.1 } },
    "|    Tasks    |Version|Filter|n-shot| Metric |   |Value|   |Stderr|\n"
    .. "|-------------|------:|------|-----:|--------|---|----:|---|------|\n"
    .. "|arc_challenge|      1|none  |     0|acc     |↑  |  0.0|±  |   N/A|\n"
    .. "|             |       |none  |     0|acc_norm|↑  |  0.0|±  |   N/A|\n"
    .. "|arc_easy     |      1|none  |     0|acc     |↑  |  0.3|±  |   N/A|\n"
    .. "|             |       |none  |     0|acc_norm|↑  |  0.1|±  |   N/A|")
  lu.assertEquals(table_of { lambada_openai = { acc = 0.1, perplexity = 605.38659 } },
    "|    Tasks     |Version|Filter|n-shot|  Metric  |   | Value  |   |Stderr|\n"
    .. "|--------------|------:|------|-----:|----------|---|-------:|---|------|\n"
    .. "|lambada_openai|      1|none  |     0|acc       |↑  |  0.1000|±  |   N/A|\n"
    .. "|              |       |none  |     0|perplexity|↓  |605.3866|±  |   N/A|")
  lu.assertEquals(table_of { wikitext = { version = 2.0, bits_per_byte = 1.33941, byte_perplexity = 2.53041,
    word_perplexity = 130.48006 } },
    "| Tasks  |Version|Filter|n-shot|    Metric     |   | Value  |   |Stderr|\n"
    .. "|--------|------:|------|-----:|---------------|---|-------:|---|------|\n"
    .. "|wikitext|      2|none  |     0|bits_per_byte  |↓  |  1.3394|±  |   N/A|\n"
    .. "|        |       |none  |     0|byte_perplexity|↓  |  2.5304|±  |   N/A|\n"
    .. "|        |       |none  |     0|word_perplexity|↓  |130.4801|±  |   N/A|")
  lu.assertEquals(table_of(
    { mmlu_stem = { acc = 0.24739, version = 2 }, mmlu_b = { acc = 0.3 }, mmlu_a = { acc = 0.2 } },
    { mmlu_stem = { "mmlu_b", "mmlu_a" } }, { mmlu_stem = "stem", mmlu_a = "abstract_algebra", mmlu_b = "anatomy" }),
    "|       Tasks       |Version|Filter|n-shot|Metric|   |Value |   |Stderr|\n"
    .. "|-------------------|------:|------|-----:|------|---|-----:|---|------|\n"
    .. "|stem               |      2|none  |     0|acc   |↑  |0.2474|±  |   N/A|\n"
    .. "| - abstract_algebra|      1|none  |     0|acc   |↑  |0.2000|±  |   N/A|\n"
    .. "| - anatomy         |      1|none  |     0|acc   |↑  |0.3000|±  |   N/A|")
end

TestTraining = {}

-- The option eval: what a hook would measure, in the metrics and the result; the same bits of the weights; and a run
-- that goes on has each line once.
function TestTraining:test_eval()
  local words = string.rep("the cat sat on the mat and the dog ran to the cat. ", 60)
  core.write_file(scratch .. "/corpus.txt", words)
  local corpus = sonde.corpus(scratch .. "/corpus.txt", { vocab = 280, validation = 0.2, cache = scratch .. "/cache" })
  write("data/piqa.jsonl", {
    { context = "the cat sat on", choices = { "the mat", "cat dog" }, answer = 0 },
    { context = "the dog ran", choices = { "mat mat", "to the cat" }, answer = 1 },
  })
  local function trained(options)
    local model = sonde.transformer { vocab = corpus.vocab, width = 16, depth = 1, heads = 2, context = 16 }
    local all = { steps = 7, batch = 4, lr = 1e-2, progress = false }
    for key, value in pairs(options) do all[key] = value end
    return sonde.train(model, corpus, all), model
  end
  local eval = { tasks = { "piqa" }, data = scratch .. "/data", every = 3, bootstrap = 10 }
  local plain = trained {}
  local result, model = trained { eval = eval, dir = scratch .. "/runs/one/0" }
  lu.assertEquals(result.state_sha256, plain.state_sha256)
  local again = sonde.evaluate_tasks(model, { tasks = { "piqa" }, data = scratch .. "/data" },
    { tokenizer = corpus.tokenizer })
  lu.assertEquals(result.metrics["tasks/piqa/acc"], again.results.piqa["acc,none"])
  lu.assertEquals(result.metrics["tasks/piqa/acc_norm_stderr"], again.results.piqa["acc_norm_stderr,none"])
  local steps = {}
  for _, line in ipairs(core.text_lines(scratch .. "/runs/one/0/metrics.jsonl")) do
    local row = core.json_decode(line)
    if row["tasks/piqa/acc"] then steps[#steps + 1] = row.step end
  end
  lu.assertEquals(steps, { 3, 6, 7 })
  lu.assertErrorMsgContains("unknown option 'task' of eval of train; did you mean 'tasks'?", trained,
    { eval = { task = { "piqa" } } })
  lu.assertErrorMsgContains("there is no data of the task 'boolq'", trained,      -- before the first update
    { eval = { tasks = { "boolq" }, data = scratch .. "/data" } })
  lu.assertErrorMsgContains("option 'data' of eval of train is missing", trained, { eval = { tasks = { "piqa" } } })
end

local status = lu.LuaUnit.run("-o", "tap")
core.remove_tree(scratch)
os.exit(status, true)
