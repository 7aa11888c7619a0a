-- Streams and relations of a teacher: equal models, gradients by finite differences, values by hand, projections that
-- the student does not keep, maps.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"
local distill = require "sonde.distill"

local function path()
  local name = os.tmpname()
  os.remove(name)
  return name
end

local ids = {}
for i = 1, 900 do ids[i] = (i * i + 3 * i + (i % 7 == 0 and i or 0)) % 23 end
local corpus = { vocab = 23, handle = core.tensor("i32", { #ids }, ids), spec = "made", hash = core.sha256 "made" }

local function model(options)
  local all = { vocab = 23, width = 16, depth = 2, heads = 2, context = 8, init_std = 0.3, seed = 5 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

local function train(student, options)
  local all = { batch = 4, steps = 6, lr = 3e-3, progress = false, probe_every = 0, log_every = 1, seed = 1 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.train(student, corpus, all)
end

local tokens, targets = {}, {}
for i = 1, 16 do tokens[i], targets[i] = ids[i], i == 5 and -1 or ids[i + 1] end

-- What distillation adds, by name, of a student beside its teacher; and the gradient of a parameter.
local function added(student, teacher, options, param)
  local o = { teacher = teacher, distill = options, batch = 2, context = 8 }
  distill.resolve(student, o)
  if require("sonde.distill.hidden").has_parameters(o) then require("sonde.distill.hidden").extend(student, o) end
  student:init()
  local shape = { batch = 2, context = 8 }
  local trace = student:trace(shape)
  local found, outputs = distill.attach(trace, o, shape), {}
  outputs[1] = found.total
  for _, metric in ipairs(found.metrics) do outputs[#outputs + 1] = metric.node:sum() end
  if param then outputs[#outputs + 1] = sonde.grad(found.total, { trace.graph:find(param) })[1] end
  local plan, values = core.plan(outputs), {}
  plan:run { tokens = tokens, targets = targets }
  for k, metric in ipairs(found.metrics) do values[metric.name] = plan:output(k + 1):values()[1] end
  values.total = plan:output(1):values()[1]
  return values, param and plan:output(#outputs):values(), trace
end

TestHidden = {}

local all = { hidden = { loss = "mse" }, relations = {}, weight = 0, ce_weight = 0 }

function TestHidden:test_equal_models()
  for _, loss in ipairs { "mse", "cosine" } do
    local values = added(model(), model(), { hidden = { loss = loss }, relations = { map = "uniform" } })
    lu.assertAlmostEquals(values.hidden, 0, 1e-4)
    lu.assertAlmostEquals(values.attention_relation, 0, 1e-5)
    lu.assertAlmostEquals(values.value_relation, 0, 1e-5)
  end
end

-- The streams of both as a plan gives them, compared here.
function TestHidden:test_values()
  local student, teacher = model(), model { seed = 8, depth = 4 }
  local function streams(of)
    local trace = of:trace { batch = 2, context = 8 }
    local plan, list = core.plan(trace.blocks), {}
    plan:run { tokens = tokens }
    for i = 1, #trace.blocks do list[i] = plan:output(i):values() end
    return list
  end
  local a, b, mse, cosine = streams(student), streams(teacher), 0, 0
  for i, j in ipairs { 2, 4 } do
    for t = 0, 15 do
      local square, dot, aa, bb = 0, 0, 0, 0
      for d = 1, 16 do
        local x, y = a[i][16 * t + d], b[j][16 * t + d]
        square, dot, aa, bb = square + (x - y) ^ 2, dot + x * y, aa + x * x, bb + y * y
      end
      if targets[t + 1] >= 0 then
        mse, cosine = mse + square / 16 / 2, cosine + (1 - dot / math.sqrt(aa * bb)) / 2
      end
    end
  end
  lu.assertAlmostEquals(added(student, teacher, { hidden = {} }).hidden / mse, 1, 1e-5)
  lu.assertAlmostEquals(added(student, teacher, { hidden = { loss = "cosine" } }).hidden / cosine, 1, 1e-5)
end

function TestHidden:test_gradients()
  local name, teacher = "model.layers.0.self_attn.v_proj.weight", model { seed = 8, depth = 3, width = 16 }
  for _, options in ipairs { { hidden = {}, weight = 0, ce_weight = 0 }, { hidden = { loss = "cosine" }, weight = 0,
    ce_weight = 0 }, { relations = { attention = 1, values = 0, map = "uniform" }, weight = 0, ce_weight = 0 },
    { relations = { attention = 0, values = 2, map = { { 0, 1 } } }, weight = 0, ce_weight = 0 }, all } do
    local student = model()
    local _, gradient = added(student, teacher, options, name)
    local weight, step, along = student:params():find(name), 1e-2, 0
    local start = weight:values()
    local function moved(by)
      for i, value in ipairs(start) do weight:set(i, value + by * math.sin(i)) end
      return added(student, teacher, options).total
    end
    for i, value in ipairs(gradient) do along = along + value * math.sin(i) end
    local slope = (moved(step) - moved(-step)) / (2 * step)
    lu.assertAlmostEquals(slope, along, 0.02 * math.abs(along) + 2e-3)
    lu.assertTrue(math.abs(along) > 1e-3)
  end
end

-- Maps are searched on whatever rows a training reads: packed examples have an input of their own.
function TestHidden:test_searched_on_packed_examples()
  local examples = {}
  for k = 1, 12 do
    local learns = {}
    for i = 1, 3 + k % 4 do learns[i] = i > 1 end
    examples[k] = { ids = { table.unpack(ids, k, k + #learns - 1) }, learns = learns }
  end
  local feed, run = require("sonde.data.packed").feed(examples, {}, 8, 0), path()
  sonde.train(model(), feed, { batch = 2, steps = 1, progress = false, probe_every = 0, dir = run,
    teacher = model { seed = 8, depth = 4 }, distill = { hidden = { map = "searched" } } })
  lu.assertEquals(#core.yaml_load(run .. "/config.yaml").train.distill.hidden.map, 2)
  core.remove_tree(run)
end

-- A student of another width learns through a matrix, which is the training's alone.
function TestHidden:test_projections()
  local teacher, student, run = model { width = 24, depth = 3, seed = 9 }, model(), path()
  local options = { teacher = teacher, steps = 40, lr = 1e-2, distill = { hidden = { weight = 1 }, weight = 0.1 } }
  local names = #student:params():list()
  local first = train(model(), { teacher = teacher, steps = 1, distill = options.distill }).metrics.hidden
  options.dir = run
  local result = train(student, options)
  lu.assertTrue(result.metrics.hidden < 0.7 * first, result.metrics.hidden .. " of " .. first)
  lu.assertEquals(#student:params():list(), names)
  local recorded = core.yaml_load(run .. "/config.yaml").train.distill.hidden
  lu.assertEquals(recorded.map, { { 0, 1 }, { 1, 2 } })
  lu.assertTrue(recorded.projection)
  local whole = student:params():sha256()
  local stopped, again = model(), path()
  options.dir, options.hooks = again, { { every = 20, call = function() return "enough" end } }
  train(stopped, options)
  options.hooks, options.accept_changes = nil, true
  local saved = path()
  train(model(), { teacher = teacher, steps = 1, distill = options.distill, hooks = { { every = 1,
    call = function(state) state.model:save(saved) end } } })
  lu.assertEquals(#sonde.load(saved):params():list(), names)
  train(stopped, options)
  lu.assertEquals(stopped:params():sha256(), whole)
end

-- The copy that is trained with the projections keeps what is frozen; what it cannot keep is refused.
function TestHidden:test_views_of_the_student()
  local teacher, student, name = model { width = 24, seed = 9 }, model(), "model.layers.0.mlp.up_proj.weight"
  local before = student:params():find(name):values()
  student:params():freeze(name)
  train(student, { teacher = teacher, distill = { hidden = {} } })
  lu.assertEquals(student:params():find(name):values(), before)
  student = model()
  student:params():low_rank(name, 2, 2)
  lu.assertErrorMsgContains("not supported with low-rank factors ('" .. name .. "')", train, student,
    { teacher = teacher, distill = { hidden = {} } })
end

function TestHidden:test_a_searched_map()
  local teacher = model { depth = 4, seed = 8 }
  local student = require("sonde.sparse.cut").build(teacher, { { source = 0 }, { source = 1 }, { source = 3 } })
  local run = path()
  train(student, { teacher = teacher, dir = run, steps = 1, distill = { hidden = { map = "searched" } } })
  local map = core.yaml_load(run .. "/config.yaml").train.distill.hidden.map
  lu.assertEquals({ map[1], map[2] }, { { 0, 0 }, { 1, 1 } })
  lu.assertTrue(map[3][2] >= 1)
end

function TestHidden:test_mistakes()
  local fails, teacher = lu.assertErrorMsgContains, model { seed = 8 }
  fails("pair 1 must be {block of the student's 2", train, model(), { teacher = teacher,
    distill = { hidden = { map = { { 2, 0 } } } } })
  fails("there are 2", train, model(), { teacher = { teacher, teacher }, distill = { hidden = {} } })
  fails("widths of 16 and 24 need a projection", train, model(), { teacher = model { width = 24 },
    distill = { hidden = { projection = false } } })
  fails("the student has 2 heads and the teacher 4", train, model(), { teacher = model { heads = 4 },
    distill = { relations = {} } })
  fails("unknown option 'wight'", train, model(), { teacher = teacher, distill = { hidden = { wight = 1 } } })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
