-- Trainings with a teacher: what the student learns, what the weights do, caches beside live teachers, and mistakes.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"

local function path()
  local name = os.tmpname()
  os.remove(name)
  return name
end

local ids = {}
for i = 1, 1500 do ids[i] = (i * i + 3 * i + (i % 7 == 0 and i or 0)) % 23 end
local corpus = { vocab = 23, handle = core.tensor("i32", { #ids }, ids), spec = "made",
  hash = core.sha256 "made", train = { tokens = #ids } }

local function model(options)
  local all = { vocab = 23, width = 16, depth = 2, heads = 2, context = 8, init_std = 0.2, seed = 5 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all)
end

local function train(student, options, data)
  local all = { batch = 4, steps = 6, lr = 3e-3, progress = false, probe_every = 0, log_every = 1, seed = 1 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.train(student, data or corpus, all)
end

local teacher = model { width = 24, depth = 3, seed = 9 }
train(teacher, { steps = 60 })

TestTraining = {}

function TestTraining:test_the_student_learns_from_it()
  local how = { teacher = teacher, steps = 60, distill = { weight = 1, ce_weight = 0, loss = "forward_kl" } }
  local first = train(model(), { teacher = teacher, steps = 1, distill = how.distill }).metrics.divergence
  local last = train(model(), how).metrics.divergence
  lu.assertTrue(last < 0.5 * first, last .. " of " .. first)
end

-- The weights are factors: of 0 and 1 the training is the plain one.
function TestTraining:test_without_weight_it_is_the_plain_training()
  local plain, student = model(), model()
  train(plain)
  local result = train(student, { teacher = teacher, distill = { weight = 0, ce_weight = 1 } })
  lu.assertTrue(result.metrics.divergence > 0)
  for _, param in ipairs(plain:params():list()) do
    local a, b = plain:params():find(param.name):values(), student:params():find(param.name):values()
    for i, value in ipairs(a) do lu.assertAlmostEquals(b[i], value, 2e-4, param.name) end
  end
end

function TestTraining:test_a_student_like_its_teacher_stays()
  for _, loss in ipairs(core.modules "distill") do
    local student, same = model(), model()
    local before = student:init():params():find "model.layers.1.mlp.up_proj.weight":values()
    train(student, { teacher = same, steps = 2, optimizer = "sgd", lr = 0.1, weight_decay = 0,
      distill = { weight = 1, ce_weight = 0, loss = loss } })
    for i, value in ipairs(student:params():find "model.layers.1.mlp.up_proj.weight":values()) do
      lu.assertAlmostEquals(value, before[i], 1e-6, loss)
    end
  end
end

function TestTraining:test_the_teacher_stays()
  local before = teacher:params():sha256()
  train(model(), { teacher = teacher })
  lu.assertEquals(teacher:params():sha256(), before)
end

-- The same numbers from a folder, from a list of halves, and after a stop in between.
function TestTraining:test_a_folder_a_list_and_a_resumed_run()
  local dir, run = path(), path()
  teacher:save(dir)
  local expected = train(model(), { teacher = teacher }).state_sha256
  lu.assertEquals(train(model(), { teacher = dir }).state_sha256, expected)
  local half = { { teacher = dir, weight = 0.5 }, { teacher = teacher, weight = 0.5 } }
  lu.assertAlmostEquals(train(model(), { teacher = half }).metrics.divergence,
    train(model(), { teacher = dir }).metrics.divergence, 1e-5)
  local stop = { { every = 3, call = function() return "enough" end } }
  train(model(), { teacher = dir, dir = run, hooks = stop })
  local went_on = train(model(), { teacher = dir, dir = run, accept_changes = true })
  lu.assertEquals(went_on.state_sha256, expected)
  local recorded = core.yaml_load(run .. "/config.yaml").train
  lu.assertEquals(recorded.teacher, { { sha256 = teacher:params():sha256(), weight = 1 } })
  lu.assertEquals(recorded.distill.loss, { name = "forward_kl" })
  lu.assertErrorMsgContains("train.teacher", train, model(), { teacher = model(), dir = run })
end

function TestTraining:test_weights_that_change()
  local constant = train(model(), { teacher = teacher, distill = { weight = 0.3, ce_weight = 0.7 } })
  local courses = train(model(), { teacher = teacher, distill = { weight = { { 1, 0.3 } },
    ce_weight = function() return 0.7 end } })
  lu.assertAlmostEquals(courses.train_loss, constant.train_loss, 1e-6)
  lu.assertAlmostEquals(courses.metrics.divergence, constant.metrics.divergence, 1e-6)
  local other = train(model(), { teacher = teacher, distill = { weight = { { 1, 0.3 }, { 6, 0 } }, ce_weight = 0.7 } })
  lu.assertNotEquals(other.metrics.divergence, constant.metrics.divergence)
end

function TestTraining:test_options_of_the_loss()
  local function divergence(distill)
    return train(model(), { teacher = teacher, steps = 1, distill = distill }).metrics.divergence
  end
  local plain = divergence {}
  lu.assertAlmostEquals(divergence { temperature = 2, squared = true }, 4 * divergence { temperature = 2 }, 1e-5)
  lu.assertAlmostEquals(divergence { top_k = 22 }, plain, 1e-5)
  lu.assertTrue(divergence { top_k = 3 } < plain)           -- merging classes loses divergence
  lu.assertTrue(divergence { top_p = 0.5 } <= divergence { top_p = 0.9 })
  lu.assertTrue(divergence { loss = { "jsd", beta = 0.5 } } < math.log(2))
end

-- ---- caches --------------------------------------------------------------------------------------------------------

TestCache = {}

local function taught(options)
  local all = { out = path(), top_k = 5, tokens = 6 * 4 * 8, seed = 1, batch = 3 }
  for key, value in pairs(options or {}) do all[key] = value end
  return all.out, sonde.teach(teacher, corpus, all)
end

function TestCache:test_beside_a_live_teacher()
  local file, facts = taught()
  lu.assertEquals(facts.rows, 24)
  lu.assertEquals(facts.bytes_per_token, 22)
  lu.assertTrue(facts.rest > 0 and facts.rest < 1 and facts.lost_entropy > 0)
  lu.assertTrue(facts.rounding > 0 and facts.rounding <= facts.worst_rounding and facts.worst_rounding < 1.3e-4,
    facts.worst_rounding)
  local live = train(model(), { teacher = teacher, distill = { top_k = 5 } })
  local cached = train(model(), { teacher = file })
  lu.assertAlmostEquals(cached.metrics.divergence, live.metrics.divergence, 3e-4)
  lu.assertAlmostEquals(cached.train_loss, live.train_loss, 3e-4)
  local warm = train(model(), { teacher = taught { temperature = 2 }, distill = { temperature = 2 } })
  lu.assertAlmostEquals(warm.metrics.divergence,
    train(model(), { teacher = teacher, distill = { top_k = 5, temperature = 2 } }).metrics.divergence, 3e-4)
end

-- However many rows at once, and however often it was stopped, the file is the same.
function TestCache:test_goes_on()
  local whole = taught()
  local bytes = core.read_file(whole)
  local row = (#bytes - 256) / 24
  for _, size in ipairs { 0, 100, 256, 256 + 3 * row, 256 + 7 * row + 11, #bytes - 1 } do
    local file = path()
    core.write_file(file .. ".part", string.sub(bytes, 1, size))
    taught { out = file }
    lu.assertTrue(core.read_file(file) == bytes, size)
    lu.assertFalse(core.exists(file .. ".part"))
  end
  for _, batch in ipairs { 1, 7 } do      -- 7: the last batch has 3 rows of 24
    local file = taught { batch = batch }
    lu.assertTrue(core.read_file(file) == bytes, batch)
  end
  local file = path()
  local torn = string.sub(bytes, 1, 256 + 2 * row - 20) .. "?" .. string.sub(bytes, 256 + 2 * row - 18, 256 + 4 * row)
  core.write_file(file .. ".part", torn)
  taught { out = file }
  lu.assertTrue(core.read_file(file) == bytes)
  core.write_file(file .. ".part", bytes)
  lu.assertErrorMsgContains("a cache of another teacher, text or options", taught, { out = file, top_k = 4 })
end

-- A file that was cut or changed anywhere is refused when it is opened, or when the row is read.
function TestCache:test_damaged_files()
  local whole, damaged = taught { tokens = 24 }, path()
  local bytes = core.read_file(whole)
  local function opens(content)
    core.write_file(damaged, content)
    local ok, why = pcall(function()
      local cache = core.teacher_cache(damaged)
      cache:losses()
    end)
    lu.assertFalse(ok)
    lu.assertTrue(string.find(why, damaged, 1, true) ~= nil, why)
    return why
  end
  for size = 0, #bytes - 1, 7 do opens(string.sub(bytes, 1, size)) end
  opens(bytes .. "x")
  for at = 1, #bytes, 3 do
    local byte = string.byte(bytes, at)
    opens(string.sub(bytes, 1, at - 1) .. string.char((byte + 1 + at % 254) % 256) .. string.sub(bytes, at + 1))
  end
  lu.assertStrContains(opens "SONDETOKxxxx", "is no teacher's cache")
end

-- ---- mistakes ------------------------------------------------------------------------------------------------------

TestMistakes = {}

function TestMistakes:test_of_teachers()
  local fails = lu.assertErrorMsgContains
  fails("option 'distill' of train needs a teacher", train, model(), { distill = {} })
  fails("has a vocabulary of 29 tokens, the student one of 23", train, model(), { teacher = model { vocab = 29 } })
  local student = model()
  fails("the student is its own teacher", train, student, { teacher = student })
  fails("there is no such folder", train, model(), { teacher = "/nowhere/teacher" })
  fails("is an empty list", train, model(), { teacher = {} })
  fails("unknown option 'wieght'", train, model(), { teacher = { { teacher = teacher, wieght = 1 } } })
  fails("unknown option 'losss'", train, model(), { teacher = teacher, distill = { losss = "jsd" } })
  fails("did you mean 'jsd'?", train, model(), { teacher = teacher, distill = { loss = { "jds" } } })
  fails("exclude each other", train, model(), { teacher = teacher, distill = { top_k = 2, top_p = 0.5 } })
  fails("option 'weight' of distill", train, model(), { teacher = teacher, distill = { weight = function() end } })
  fails("the student is no cross-entropy over a head", train, model(), { teacher = teacher,
    objective = "language_model_of_zeros" })
end

sonde.objective("language_model_of_zeros", function(site, _, x)
  return x:reshape { site.batch * site.context, site.width }:square():sum(-1):reshape { site.batch * site.context }
end)

function TestMistakes:test_of_caches()
  local fails, file = lu.assertErrorMsgContains, taught()
  fails("has 24 rows of 8 tokens, and this training reads 28", train, model(), { teacher = file, steps = 7 })
  fails("is of the seed 1, and this training of 2", train, model(), { teacher = file, seed = 2 })
  fails("is of a context of 8, and this training of 4", train, model(), { teacher = file, context = 4 })
  fails("has 5 classes a token already", train, model(), { teacher = file, distill = { top_k = 3 } })
  fails("was made at a temperature of 1", train, model(), { teacher = file, distill = { temperature = 2 } })
  local other = { vocab = 23, handle = corpus.handle, spec = "other", hash = core.sha256 "other" }
  fails("is of another text", train, model(), { teacher = file }, other)
  fails("must be at most the vocabulary of 23", taught, { top_k = 24 })
  fails("has a vocabulary of 23 tokens, the student one of 29", train, model { vocab = 29 }, { teacher = file })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
