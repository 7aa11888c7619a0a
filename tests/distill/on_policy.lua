-- Distillation on the student's own samples: what the rows are, the loss and its gradient against PyTorch, what is
-- sampled when, trainings that go on, and mistakes.
local lu = require "luaunit"
local core = require "sonde.core"
local distill = require "sonde.distill"
local sonde = require "sonde"

local VOCAB, CONTEXT, BATCH, SEED = 23, 8, 4, 3

local ids = {}
for i = 1, 1500 do ids[i] = (i * i + 3 * i + (i % 7 == 0 and i or 0)) % VOCAB end
local corpus = { vocab = VOCAB, handle = core.tensor("i32", { #ids }, ids), spec = "made", hash = core.sha256 "made",
  train = { tokens = #ids } }

local function model(options)
  local all = { vocab = VOCAB, width = 16, depth = 2, heads = 2, context = CONTEXT, init_std = 0.3, seed = 5 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

local teacher = model { width = 24, seed = 9 }

local function train(student, on_policy, options, loss)
  local all = { batch = BATCH, steps = 6, lr = 3e-3, progress = false, probe_every = 0, log_every = 1, seed = SEED,
    teacher = teacher, distill = { loss = loss or "forward_kl", on_policy = on_policy } }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.train(student, corpus, all)
end

local function near(values, expected, margin, what)
  lu.assertEquals(#values, #expected)
  for i, value in ipairs(values) do
    lu.assertTrue(math.abs(value - expected[i]) <= margin * (1 + math.abs(expected[i])),
      what .. " " .. i .. ": " .. value .. ", expected " .. expected[i])
  end
end

-- ---- rows ----------------------------------------------------------------------------------------------------------

TestRows = {}

local function feed_of(options)
  local how = { share = 1, seed = 1, rows = 2, batches = 2, prompt = 3, tokens = 4 }
  for key, value in pairs(options or {}) do how[key] = value end
  local text = core.feed_tokens(corpus.handle, CONTEXT, SEED)
  return core.feed_samples(text, how, "text"), text
end

local function rows_of(feed, first, text)
  local inputs = { tokens = core.tensor("i32", { 2, CONTEXT }), targets = core.tensor("i32", { 2, CONTEXT }),
    text = text and core.tensor("f32", { 2 }) }
  feed:train(first, inputs)
  return inputs.tokens:values(), inputs.targets:values(), text and inputs.text:values()
end

function TestRows:test_prompt_samples_and_text_behind()
  local feed, text = feed_of()
  local tokens = rows_of(text, 4)
  local prompts = core.tensor("i32", { 2, 3 })
  lu.assertTrue(feed:wants(4))
  feed:prompts(4, prompts)
  lu.assertEquals(prompts:values(), { tokens[1], tokens[2], tokens[3], tokens[9], tokens[10], tokens[11] })
  feed:put(4, core.tensor("i32", { 2, 4 }, { 1, 2, 3, 4, 5, 6, 7, 8 }))
  lu.assertFalse(feed:wants(4))
  local x, y, flags = rows_of(feed, 4, true)
  local t = tokens
  lu.assertEquals(x, { t[1], t[2], t[3], 1, 2, 3, 4, t[8], t[9], t[10], t[11], 5, 6, 7, 8, t[16] })
  lu.assertEquals(y, { -1, -1, 1, 2, 3, 4, -1, -1, -1, -1, 5, 6, 7, 8, -1, -1 })
  lu.assertEquals(flags, { 0, 0 })
end

-- To the end of the row the last sampled token is a target only.
function TestRows:test_to_the_end()
  local feed, text = feed_of { prompt = 7, tokens = 2 }
  local t = rows_of(text, 0)
  feed:put(0, core.tensor("i32", { 4 }, { 1, 2, 3, 4 }))
  local x, y = rows_of(feed, 0, true)
  lu.assertEquals({ x[7], x[8], x[15], x[16] }, { t[7], 1, t[15], 3 })
  lu.assertEquals({ y[6], y[7], y[8], y[14], y[15], y[16] }, { -1, 1, 2, -1, 3, 4 })
end

function TestRows:test_share_and_what_is_kept()
  local feed, sampled = feed_of { share = 0.3 }, 0
  for first = 0, 3998, 2 do
    if feed:wants(first) then sampled = sampled + 1 else rows_of(feed, first, true) end
  end
  lu.assertAlmostEquals(sampled / 2000, 0.3, 0.04)
  feed = feed_of()
  local some = core.tensor("i32", { 8 })
  lu.assertErrorMsgContains("the samples of row 0 are not there", rows_of, feed, 0, true)
  for first = 0, 4, 2 do feed:put(first, some) end
  lu.assertTrue(feed:wants(0))                                  -- two micro-batches are kept
  lu.assertFalse(feed:wants(2) or feed:wants(4))
end

function TestRows:test_mistakes()
  lu.assertErrorMsgContains("do not fit rows of 8 tokens", feed_of, { prompt = 8, tokens = 2 })
  lu.assertErrorMsgContains("share of 1.5", feed_of, { share = 1.5 })
  lu.assertErrorMsgContains("share of", feed_of, { share = 0 / 0 })
  local feed, text = feed_of()
  lu.assertErrorMsgContains("nothing else", core.feed_samples, feed, {}, "more")
  lu.assertErrorMsgContains("has no samples", text.wants, text, 0)
  lu.assertErrorMsgContains("a tensor of 8 i32", feed.put, feed, 0, core.tensor("i32", { 7 }))
  feed:put(0, core.tensor("i32", { 8 }, { 1, 2, 3, 99, 1, 2, 3, 4 }))      -- refused when a plan reads them
  lu.assertEquals(rows_of(feed, 0, true)[7], 99)
end

-- ---- the loss ------------------------------------------------------------------------------------------------------

-- As make_distill.py makes them.
local function made(n, seed, size)
  local x = {}
  for i = 0, n - 1 do x[i + 1] = size * math.sin(seed + 1.7 * i + 0.3 * i * i / n) end
  return x
end

local function leaf(g, name, dims, seed, size)
  local n = 1
  for _, dim in ipairs(dims) do n = n * dim end
  return g:leaf(name, core.tensor("f32", dims, made(n, seed, size)))
end

-- The trace of a model that ends in these rows and this head.
local function trace_of(graph, x, head, targets, batch, context)
  return { graph = graph, loss = x:lm_loss(head, targets), targets = targets, batch = batch, context = context,
    scores_tokens = true, model = { config = { logit_softcap = 0 } } }
end

TestLoss = {}

function TestLoss:test_against_pytorch()
  local cases = core.json_load(os.getenv "abs_srcdir" .. "/tests/reference/on_policy.json")
  lu.assertEquals(#cases, 8)
  for _, case in ipairs(cases) do
    local g, n = core.graph(), #case.targets
    local x, w = leaf(g, "x", { n, 4 }, 1, 0.9), leaf(g, "w", { 11, 4 }, 2, 0.9)
    local targets = g:leaf("targets", core.tensor("i32", { n }, case.targets))
    local student = trace_of(g, x, w, targets, case.rows, n / case.rows)
    local theirs = trace_of(g, leaf(g, "tx", { n, 6 }, 3, 0.9), leaf(g, "tw", { 11, 6 }, 4, 0.9), targets)
    local o = { divergence = core.divergence(case.name, case.options),
      teachers = { { name = "made", weight = 1, model = { trace = function() return theirs end } } },
      distill = { temperature = 1, weight = case.weight, ce_weight = case.ce_weight, on_policy = { lambda = 0.5 } } }
    local found = distill.attach(student, o, {})
    local grads = sonde.grad(found.total, { x, w })
    local plan = core.plan { found.total, found.metrics[1].node, grads[1], grads[2], found.metrics[2].node }
    plan:run { ["distill.text"] = case.text }
    near(plan:output(1):values(), { case.total }, 4e-6, case.name .. " total")
    near(plan:output(2):values(), case.divergence, 4e-6, case.name)
    near(plan:output(3):values(), case.dx, 4e-6, case.name .. " dx")
    near(plan:output(4):values(), case.dw, 4e-6, case.name .. " dw")
    near(plan:output(5):values(), case.sampled, 0, "sampled")
  end
end

-- ---- trainings -----------------------------------------------------------------------------------------------------

TestTraining = {}

function TestTraining:test_without_samples_it_is_the_plain_training()
  local plain = train(model(), nil).state_sha256
  lu.assertEquals(train(model(), { lambda = 0 }).state_sha256, plain)
  lu.assertEquals(train(model(), { lambda = 1e-9 }).state_sha256, plain)      -- none is drawn
  lu.assertNotEquals(train(model(), { lambda = 1 }).state_sha256, plain)
end

-- log softmax of the model at all places of rows.
local function log_probabilities(of, rows)
  local flat = {}
  for _, row in ipairs(rows) do for _, token in ipairs(row) do flat[#flat + 1] = token end end
  local plan = core.plan { of:trace({ batch = #rows, context = CONTEXT }):logits():log_softmax() }
  plan:run { tokens = flat }
  return plan:output(1):values()
end

-- What the first update learns from is what sonde.generate continues its rows with; the divergence is the mean over
-- these tokens alone.
function TestTraining:test_the_first_samples_are_those_of_generate()
  local student, prompts, rows = model(), {}, {}
  local tokens = core.tensor("i32", { BATCH, CONTEXT })
  core.feed_tokens(corpus.handle, CONTEXT, SEED):train(0,
    { tokens = tokens, targets = core.tensor("i32", { BATCH, CONTEXT }) })
  for r = 1, BATCH do prompts[r] = { table.unpack(tokens:values(), (r - 1) * CONTEXT + 1, (r - 1) * CONTEXT + 3) } end
  local samples = sonde.generate(student, prompts, { tokens = 6, temperature = 0.8, top_k = 9, seed = SEED })
  for r = 1, BATCH do
    rows[r] = { table.unpack(prompts[r]) }
    for k = 1, 5 do rows[r][3 + k] = samples[r][k] end
  end
  local p, q, sum = log_probabilities(teacher, rows), log_probabilities(student, rows), 0
  for r = 1, BATCH do
    for t = 3, CONTEXT do
      for v = 1, VOCAB do
        local i = (((r - 1) * CONTEXT) + t - 1) * VOCAB + v
        sum = sum + math.exp(q[i]) * (q[i] - p[i])
      end
    end
  end
  local result = train(student, { lambda = 1, prompt = 3, temperature = 0.8, top_k = 9 }, { steps = 1 }, "reverse_kl")
  lu.assertAlmostEquals(result.metrics.divergence, sum / (BATCH * 6), 2e-5)
  lu.assertAlmostEquals(result.metrics.sampled, 1, 1e-6)
end

function TestTraining:test_a_student_like_its_teacher_stays()
  for _, loss in ipairs { "forward_kl", "reverse_kl", "jsd" } do
    local student = model { width = 24, seed = 9 }
    local before = student:params():sha256()
    local result = train(student, { lambda = 1 }, { lr = 0, weight_decay = 0, steps = 2 }, loss)
    lu.assertEquals(result.metrics.divergence, 0)
    lu.assertEquals(student:params():sha256(), before)
  end
end

-- The student comes nearer to the teacher on what it writes itself.
function TestTraining:test_it_learns_on_its_samples()
  local function after(steps)
    return train(model(), { lambda = 1 }, { steps = steps, lr = 1e-2, distill = { weight = 1, ce_weight = 0,
      loss = "reverse_kl", on_policy = { lambda = 1 } } }).metrics.divergence
  end
  local first, last = after(1), after(40)
  lu.assertTrue(last < 0.6 * first, last .. " of " .. first)
end

-- Samples follow the weights, text and samples are mixed within an update, and a stop in between changes nothing.
function TestTraining:test_goes_on()
  local dir, how = os.tmpname(), { lambda = 0.5, prompt = 2, tokens = 4 }
  os.remove(dir)
  local whole = train(model(), how, { accumulate = 3 })
  lu.assertTrue(whole.metrics.sampled > 0 and whole.metrics.sampled < 1)
  train(model(), how, { accumulate = 3, dir = dir, hooks = { { every = 3, call = function() return "enough" end } } })
  local went_on = train(model(), how, { accumulate = 3, dir = dir, accept_changes = true })
  lu.assertEquals(went_on.state_sha256, whole.state_sha256)
  local recorded = core.yaml_load(dir .. "/config.yaml").train.distill.on_policy
  lu.assertEquals(recorded, { lambda = 0.5, prompt = 2, tokens = 4, temperature = 1, top_k = 0, top_p = 1 })
  lu.assertErrorMsgContains("on_policy", train, model(), { lambda = 0.4 }, { accumulate = 3, dir = dir, steps = 9 })
end

-- Whatever the products' dtype, dropout, an objective's further losses: it trains.
function TestTraining:test_with_other_options()
  for _, each in ipairs { { { dtype = "bf16" } }, { { dtype = "f32" }, { dropout = 0.1 } },
    { {}, { attention = { "causal", rope_scaling = "linear", rope_factor = 2 } } },
    { {}, { positions = "learned" } } } do
    local result = train(model(each[2]), { lambda = 1 }, each[1])
    lu.assertTrue(result.loss == result.loss and result.metrics.divergence > 0)
  end
end

-- `true` is the table of defaults, `false` none.
function TestTraining:test_true_and_false()
  lu.assertEquals(train(model(), true).state_sha256, train(model(), {}).state_sha256)
  lu.assertEquals(train(model(), false).state_sha256, train(model(), nil).state_sha256)
end

-- The training's own objective, by its name or with options.
function TestTraining:test_an_objective_of_the_training()
  local plain = train(model(), {}).state_sha256
  lu.assertEquals(train(model(), {}, { objective = "language_model" }).state_sha256, plain)
  lu.assertNotEquals(train(model(), {}, { objective = { "language_model", label_smoothing = 0.1 } }).state_sha256,
    plain)
end

function TestTraining:test_what_does_not_fit()
  local function refused(text, on_policy, options, data)
    local all = { batch = BATCH, steps = 2, progress = false, teacher = teacher, distill = { on_policy = on_policy } }
    for key, value in pairs(options or {}) do all[key] = value end
    lu.assertErrorMsgContains(text, sonde.train, model(), data or corpus, all)
  end
  refused("a prompt of 5 tokens and 5 sampled ones do not fit rows of 8 tokens", { prompt = 5, tokens = 5 })
  refused("a prompt of 9 tokens and 0 sampled ones", { prompt = 9 })
  refused("lambda", { lambda = 2 })
  refused("unknown option 'lamda' of on_policy of distill", { lamda = 1 })
  refused("does not go with document_mask", {}, { document_mask = 3 })
  local file = os.tmpname()
  os.remove(file)
  sonde.teach(teacher, corpus, { out = file, top_k = 4, tokens = 64, seed = SEED })
  refused("says nothing of samples", {}, { teacher = file })
  local rows = core.tensor("i32", { 4, CONTEXT })
  refused("a feed of arrays has none", {}, {}, sonde.feed { train = { tokens = rows, targets = rows } })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
