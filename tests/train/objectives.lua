-- Objectives: losses and their gradients against PyTorch, a classifier that learns, what modules add to the loss.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"
local objective = require "sonde.model.objective"

local source = os.getenv "abs_srcdir"

local function folder()
  local dir = os.tmpname()
  os.remove(dir)
  return dir
end

local function lines(dir)
  local list = {}
  for line in io.lines(dir .. "/metrics.jsonl") do list[#list + 1] = core.json_decode(line) end
  return list
end

TestReference = {}

-- The loss, what is added to it, and the gradients of the sum, in a dtype.
local function computed(dtype)
  local ref = core.json_load(source .. "/tests/reference/objectives.json")
  local g, published = core.graph(), {}
  local x = g:leaf("x", core.tensor("f32", { ref.n, ref.d }, ref.x))
  local w = g:leaf("w", core.tensor("f32", { ref.v, ref.d }, ref.w))
  local targets = g:leaf("targets", core.tensor("i32", { ref.n }, ref.targets))
  local site = { publish = function(_, name, node) published[name] = node end }
  local loss = objective.cross_entropy(site, x, w, targets, { z_loss = ref.z_loss,
    label_smoothing = ref.label_smoothing })
  local total = loss:sum() + published["loss.z_loss"]:sum() + published["loss.label_smoothing"]:sum()
  local grads = sonde.grad(total, { x, w })
  local plan = core.plan({ loss, loss + published["loss.label_smoothing"], published["loss.z_loss"],
    objective.hits(x, w, targets), grads[1], grads[2] }, { compute = dtype })
  plan:run()
  return ref, plan
end

local function near(values, expected, margin)
  lu.assertEquals(#values, #expected)
  for i, value in ipairs(values) do lu.assertAlmostEquals(value, expected[i], margin * (1 + math.abs(expected[i]))) end
end

function TestReference:test_f32()
  local ref, plan = computed "f32"
  for i, name in ipairs { "loss", "smoothed", "z", "hits", "dx", "dw" } do
    near(plan:output(i):values(), ref[name], 2e-6)
  end
end

function TestReference:test_bf16()
  local ref, plan = computed "bf16"
  for i, name in ipairs { "loss", "smoothed", "z" } do near(plan:output(i):values(), ref[name], 2e-2) end
  for i, name in ipairs { "dx", "dw" } do near(plan:output(i + 4):values(), ref[name], 4e-2) end
end

function TestReference:test_adalea()
  local ref = core.json_load(source .. "/tests/reference/objectives.json")
  local g, of = core.graph(), ref.adalea
  local x = g:leaf("x", core.tensor("f32", { 1, ref.n, ref.d }, ref.x))
  local w = g:leaf("w", core.tensor("f32", { ref.v, ref.d }, ref.w))
  local leaves = {
    ["classifier.weight"] = w, ["adalea.reached"] = g:leaf("reached", core.tensor("f32", { 1 }, { of.reached })),
    labels = g:leaf("labels", core.tensor("i32", { ref.n }, ref.targets)),
    seconds = g:leaf("seconds", core.tensor("f32", { ref.n }, of.seconds)),
  }
  local function leaf(_, name) return leaves[name] end
  local site = { batch = 1, context = ref.n, width = ref.d, publish = function() end, param = leaf, input = leaf }
  local found = objective.find "adalea"
  local loss = found.build(site, { classes = ref.v, growth = of.growth, margin = of.margin, z_loss = 0,
    label_smoothing = 0 }, x)
  local grads = sonde.grad(loss:sum(), { x, w })
  local plan = core.plan { loss, grads[1], grads[2] }
  plan:run()
  for i, name in ipairs { "loss", "dx", "dw" } do near(plan:output(i):values(), of[name], 2e-6) end
end

-- ---- a model -----------------------------------------------------------------------------------------------------

local ids = {}
for i = 1, 900 do ids[i] = (i * i + 3 * i + (i % 7 == 0 and i or 0)) % 23 end
local corpus = { vocab = 23, handle = core.tensor("i32", { #ids }, ids), spec = "made", hash = "made" }

local function language_model(options)
  local all = { vocab = 23, width = 16, depth = 2, heads = 2, context = 8, init_std = 0.2, seed = 5 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all)
end

local function train(model, data, options)
  local all = { batch = 4, steps = 6, lr = 3e-3, progress = false, probe_every = 0, log_every = 1 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.train(model, data, all)
end

-- Two classes a position: the sign of the sum of one feature so far, and the sign of another one.
local function rows(n, seed)
  local x, y, state = {}, {}, seed
  local function random()
    state = (state * 69069 + 12345) % 4294967296
    return state / 2147483648 - 1
  end
  for _ = 1, n do
    local sum = 0
    for _ = 1, 6 do
      local a, b = random(), random()
      sum = sum + a
      x[#x + 1], x[#x + 2], y[#y + 1] = a, b, (sum > 0 and 1 or 0) + (b > 0 and 2 or 0)
    end
  end
  return { features = core.tensor("f32", { n, 6, 2 }, x), labels = core.tensor("i32", { n, 6 }, y) }
end

local function classifier(options)
  local all = { features = 2, objective = { "classifier", classes = 4 }, width = 32, depth = 2, heads = 2, context = 6,
    seed = 1 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all)
end

TestClassifier = {}

function TestClassifier:test_learns()
  local feed, dir, model = sonde.feed { train = rows(300, 1), validation = rows(41, 2) }, folder(), classifier()
  local result = train(model, feed, { steps = 250, batch = 16, lr = 1e-2, eval_every = 50, log_every = 50, dir = dir })
  lu.assertTrue(result.metrics.accuracy > 0.8, result.metrics.accuracy)   -- of four classes
  lu.assertTrue(result.loss < 0.4, result.loss)
  lu.assertNil(result.perplexity)
  local first, last = lines(dir)[1], lines(dir)[5]
  lu.assertTrue(last["val/accuracy"] > first["val/accuracy"] and last["train/accuracy"] > 0.9)
  lu.assertAlmostEquals(last["val/accuracy"], result.metrics.accuracy, 1e-9)
  local measured = sonde.evaluate(model, feed)
  lu.assertAlmostEquals(measured.loss, result.loss, 1e-6)
  lu.assertAlmostEquals(measured.metrics.accuracy, result.metrics.accuracy, 1e-9)
  lu.assertEquals(measured.tokens, 41 * 6)
end

function TestClassifier:test_labels_of_minus_one_do_not_count()
  local data, other = rows(40, 3), rows(40, 3)
  local none = rows(10, 4)
  for i = 1, 60 do
    if i % 3 == 0 then none.labels:set(i, -1) end
  end
  local model = classifier():init()
  local measured = sonde.evaluate(model, sonde.feed { train = data, validation = none }, { batch = 4 })
  lu.assertEquals(measured.tokens, 40)
  -- By hand, from the loss of each item.
  local trace = model:trace { batch = 10 }
  local plan = core.plan { trace.loss }
  plan:run { features = none.features, labels = none.labels:values() }
  local sum = 0
  for i, value in ipairs(plan:output(1):values()) do
    if i % 3 == 0 then lu.assertEquals(value, 0) end
    sum = sum + value
  end
  lu.assertAlmostEquals(measured.loss, sum / 40, 1e-6)
  -- What a label of -1 stands for changes nothing, in training either.
  for i = 1, 240 do
    if i % 4 == 0 then
      data.labels:set(i, -1)
      other.labels:set(i, -1)
      other.features:set(2 * i, 0)
    end
  end
  local a = train(classifier { attention = { "causal", window = 1 } }, sonde.feed { train = data }, { accumulate = 2 })
  local b = train(classifier { attention = { "causal", window = 1 } }, sonde.feed { train = other }, { accumulate = 2 })
  lu.assertEquals(a.state_sha256, b.state_sha256)
  data.labels:fill(-1)
  lu.assertErrorMsgContains("update 1 has no item that counts", train, classifier(), sonde.feed { train = data })
end

function TestClassifier:test_a_saved_folder_keeps_it()
  local model, dir, feed = classifier(), folder(), sonde.feed { train = rows(20, 1), validation = rows(20, 2) }
  train(model, feed)
  model:save(dir)
  local again = sonde.load(dir)
  lu.assertEquals(again.objective.name, "classifier")
  lu.assertEquals(sonde.evaluate(again, feed), sonde.evaluate(model, feed))
end

function TestClassifier:test_mistakes()
  local feed = sonde.feed { train = rows(20, 1) }
  lu.assertErrorMsgContains("either tokens (vocab) or features", classifier, { vocab = 9 })
  lu.assertErrorMsgContains("no next token to predict", classifier, { objective = "language_model" })
  lu.assertErrorMsgContains("unknown objective 'classifer'", classifier, { objective = { "classifer", classes = 2 } })
  lu.assertErrorMsgContains("'classes'", classifier, { objective = "classifier" })
  lu.assertErrorMsgContains("option 'vocab' of transformer is missing", sonde.transformer, { width = 8, depth = 1 })
  lu.assertErrorMsgContains("the model does not read the feed's array 'features'; it reads tokens, targets", train,
    language_model { context = 6 }, feed)
  lu.assertErrorMsgContains("the model reads the input 'labels', which the data do not have; they have features", train,
    classifier(),
    sonde.feed { train = { features = rows(20, 1).features } })
  lu.assertErrorMsgContains("the rows of 'features' are [6, 2], but the model reads rows of [5, 2]", train,
    classifier(), feed, { context = 5 })
  lu.assertErrorMsgContains("the model was traced for the input 'labels' i32", train, classifier(),
    sonde.feed { train = { features = rows(20, 1).features, labels = core.tensor("f32", { 20, 6 }) } })
  lu.assertErrorMsgContains("is for language models", sonde.probe, classifier(), corpus, { "variance" })
  lu.assertErrorMsgContains("input 'labels': 7 at position 0", train,
    classifier { objective = { "classifier", classes = 2 } },
    sonde.feed { train = { features = core.tensor("f32", { 8, 6, 2 }), labels = core.tensor("i32", { 8, 6 }, 7) } })
end

-- ---- what is added to the loss -----------------------------------------------------------------------------------

TestAdded = {}

function TestAdded:test_the_reported_loss_stays_the_cross_entropy()
  local plain, dir = train(language_model(), corpus, { steps = 1 }), folder()
  local with = { "language_model", z_loss = 0.1, label_smoothing = 0.2 }
  local result = train(language_model(), corpus, { steps = 1, objective = with, dir = dir })
  lu.assertEquals(result.train_loss, plain.train_loss)
  lu.assertNotEquals(result.state_sha256, plain.state_sha256)
  local line = lines(dir)[1]
  lu.assertAlmostEquals(line["train/loss"], plain.train_loss, 1e-9)
  lu.assertAlmostEquals(line["train/loss.z_loss"], result.metrics["loss.z_loss"], 1e-9)
  lu.assertTrue(line["train/loss.label_smoothing"] ~= nil and line["train/loss.z_loss"] > 0)
  lu.assertEquals(core.yaml_load(dir .. "/config.yaml").train.objective,
    { name = "language_model", z_loss = 0.1, label_smoothing = 0.2 })
  local as_model = train(language_model { objective = with }, corpus, { steps = 1 })
  lu.assertEquals(as_model.state_sha256, result.state_sha256)
  local off = train(language_model(), corpus, { steps = 1, objective = with,
    loss_weights = { z_loss = 0, label_smoothing = 0 } })
  lu.assertEquals(off.state_sha256, plain.state_sha256)
  lu.assertNil(off.metrics["loss.z_loss"])
end

-- A norm whose gains are drawn to zero, by one number a block, and with a value for each token that it reports.
sonde.norm("drawn", { options = {} }, function(site, _, x)
  local gain = site:param("weight", { site.width }, "gain", 1)
  if site.slot == "attn" then
    site:publish("loss.gains", (gain * gain):sum() * 0.25)
    site:publish("metric.first", x:slice(3, 1, 1):reshape { site.batch * site.context })
  end
  return x:rmsnorm(gain, 1e-6)
end)

-- One number in some of its places, one for each item in others.
sonde.norm("mixed", { options = {} }, function(site, _, x)
  local gain = site:param("weight", { site.width }, "gain", 1)
  local each = (x * x):mean(3):reshape { site.batch * site.context }
  site:publish("loss.mixed", site.slot == "attn" and each or each:sum():reshape { 1 })
  return x:rmsnorm(gain, 1e-6)
end)

function TestAdded:test_one_name_in_two_forms()
  lu.assertErrorMsgContains("'loss.mixed' is published as one number in block 0 and as one for each item in block 0; "
    .. "publish it alike, or give the two their own names", train, language_model { norm = "mixed" }, corpus,
    { steps = 1 })
end

function TestAdded:test_a_module_adds_to_the_loss_and_reports()
  local model = language_model { norm = "drawn" }
  local result = train(model, corpus, { steps = 1, lr = 0, accumulate = 2 })
  lu.assertAlmostEquals(result.metrics["loss.gains"], 2 * 16 * 0.25, 1e-6)       -- two blocks, 16 gains of 1
  lu.assertTrue(result.metrics.first ~= nil)
  local function gain_after(options)
    local drawn = language_model { norm = "drawn" }
    local all = { steps = 1, optimizer = "sgd", lr = 1, schedule = "constant", warmup = 0, clip = 0, weight_decay = 0 }
    for key, value in pairs(options) do all[key] = value end
    train(drawn, corpus, all)
    return drawn:params():find("model.layers.1.input_layernorm.weight"):values()
  end
  local with, without, twice = gain_after {}, gain_after { loss_weights = { gains = 0 } },
    gain_after { loss_weights = { gains = 2 } }
  for i = 1, 16 do
    lu.assertAlmostEquals(with[i], without[i] - 0.5, 1e-5)     -- d/dg of g^2 / 4 at 1, once for all tokens
    lu.assertAlmostEquals(twice[i], without[i] - 1, 1e-5)
  end
  lu.assertErrorMsgContains("the model adds no loss 'gain'; did you mean 'gains'?", gain_after,
    { loss_weights = { gain = 1 } })
end

-- In one block norm 1, attention 2 and feed-forward layer 10 publish under one name; the norm twice.
local function counts(number)
  return function(site, _, x)
    for _, value in ipairs(number) do
      site:publish("loss.count", (x * 0):mean { 1, 2, 3 } + value)
      site:publish("metric.count", (x * 0):mean { 1, 2, 3 } + value)
    end
    return x * 1
  end
end
sonde.norm("counts", { options = {} }, counts { 1, 1 })
sonde.attention("counts", { options = {} }, counts { 2 })
sonde.ffn("counts", { options = {} }, counts { 10 })

function TestAdded:test_what_all_modules_publish_under_a_name_adds_up()
  local model = sonde.transformer { vocab = 23, width = 16, depth = 2, context = 8, norm = "counts",
    attention = "counts", ffn = "counts" }
  local result = train(model, corpus, { steps = 1 })
  local all = model.config.depth * (2 + 2 + 2 + 10) + 2       -- two norms in each block, and the final one
  lu.assertAlmostEquals(result.metrics["loss.count"], all, 1e-5)
  lu.assertAlmostEquals(result.metrics.count, all, 1e-5)
end

function TestAdded:test_an_objective_of_a_script()
  sonde.objective("halves", { doc = "half the square of the output's first number" }, function(site, _, x)
    local first = x:slice(3, 1, 1):reshape { site.batch * site.context }
    site:publish("metric.size", first:abs())
    return first * first * 0.5
  end)
  local feed = sonde.feed { train = { features = rows(30, 1).features },
    validation = { features = rows(7, 2).features } }
  local model = classifier { objective = "halves" }
  local result = train(model, feed, { steps = 40, lr = 1e-2 })
  lu.assertTrue(result.loss < 0.05, result.loss)
  -- Seven rows are no whole micro-batches of four.
  lu.assertAlmostEquals(sonde.evaluate(model, feed, { batch = 1 }).loss,
    sonde.evaluate(model, feed, { batch = 7 }).loss, 1e-6)
  lu.assertErrorMsgContains("it returns the loss of each item, [N]", function()
    sonde.objective("wrong", function(_, _, x) return x end)
    train(classifier { objective = "wrong" }, feed)
  end)
  lu.assertErrorMsgContains("'metric.odd' holds 3 numbers", function()
    sonde.objective("odd", function(site, _, x)
      site:publish("metric.odd", site:param("odd", { 3 }, "gain"))
      return x:sum(3):reshape { site.batch * site.context }
    end)
    train(classifier { objective = "odd" }, feed)
  end)
  lu.assertErrorMsgContains("publishes no head", function() model:trace({}):logits() end)
end

TestRefusals = {}

function TestRefusals:test_an_array_that_nothing_reads()
  local function tokens(name)
    local arrays = {}
    for _, each in ipairs { "tokens", "targets", name } do arrays[each] = core.tensor("i32", { 4, 8 }, 1) end
    return sonde.feed { train = arrays, validation = arrays }
  end
  local model = language_model()
  lu.assertErrorMsgContains("the model does not read the feed's array 'junk'; it reads tokens, targets", train, model,
    tokens "junk", { steps = 1 })
  lu.assertErrorMsgContains("did you mean 'document_ends'?", train, model, tokens "document_end", { steps = 1 })
  lu.assertErrorMsgContains("the feed's array 'junk'", sonde.evaluate, model, tokens "junk")
  train(model, tokens "document_ends", { steps = 1 })
end

function TestRefusals:test_an_evaluation_that_has_no_loss()
  local data, model = rows(8, 1), classifier()
  data.labels:fill(-1)
  lu.assertErrorMsgContains("no item that counts: all targets are -1", sonde.evaluate, model,
    sonde.feed { train = data, validation = data })
  data = rows(8, 1)
  data.features:set(3, 0 / 0)
  lu.assertErrorMsgContains("array 'features' holds NaN or an infinite value, the first at element 3", sonde.evaluate,
    model, sonde.feed { train = data, validation = data })
  lu.assertErrorMsgContains("train: the feed's validation array 'features' holds NaN or an infinite value, the first "
    .. "at element 3", train, model, sonde.feed { train = rows(8, 1), validation = data }, { steps = 1 })
  model:params():find("classifier.weight"):set(1, 0 / 0)
  lu.assertErrorMsgContains("the weights are not finite: 'classifier.weight'", sonde.evaluate, model,
    sonde.feed { train = rows(8, 1), validation = rows(8, 1) })
end

-- What is for tokens says so to a model of features, and what needs logits of tokens to a classifier.
function TestRefusals:test_what_a_model_is_not_for()
  local function refused(text, f, ...) lu.assertErrorMsgContains(text, f, ...) end
  local features, feed = classifier():init(), sonde.feed { train = rows(8, 1), validation = rows(8, 2) }
  refused("this one reads features", train, features, feed, { document_mask = 0 })
  refused("this one reads features", sonde.evaluate, features, feed, { document_mask = 0 })
  refused("generate: continues tokens; the model reads features", sonde.generate, features, { { 1 } })
  refused("attention_maps: is of tokens; the model reads features", sonde.attention_maps, features, { 1, 2 })
  refused("must be a corpus (of sonde.corpus) or a tensor or a list, not a feed", sonde.probe, features,
    feed, { "variance" })
  refused("option 'tie' of transformer has no effect", classifier, { tie = true })
  local options = { vocab = 9, width = 16, depth = 1, heads = 2, context = 8 }
  local lm = sonde.transformer(options):init()
  options.objective = { "classifier", classes = 3 }
  refused("objective 'classifier' gives no logits of its 9 tokens", sonde.generate, sonde.transformer(options),
    { { 1 } })
  refused("the model does not read the feed's array 'features'; it reads tokens, targets", sonde.evaluate, lm, feed)
  refused("outside the blocks, objective: the model has no parameter 'classifier.weight'", train, lm, feed,
    { objective = { "classifier", classes = 2 } })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
