-- What `sonde graph` says of a configuration is what its trainer has: the bytes of weights, gradients, the optimizer's
-- states and the sums over micro-batches.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"

TestForecast = {}

local program = os.getenv "SONDE"

-- `sonde graph --json` of a configuration: its answer, or nil and its message.
local function graph(tree)
  local file = os.tmpname()
  local out = assert(io.open(file, "w"))
  out:write(core.json_encode(tree))
  out:close()
  local pipe = io.popen(program .. " graph " .. file .. " --json 2>&1")
  local text = pipe:read "a"
  local ok = pipe:close()
  os.remove(file)
  if ok then return core.json_decode(text) end
  return nil, text
end

local function copy(t)
  local new = {}
  for key, value in pairs(t) do new[key] = value end
  return new
end

-- The state that the forecast says, and the one that a training of two updates had.
local function both(model, train, data)
  local info, message = graph { model = model, train = train }
  lu.assertNotNil(info, message)
  local options = copy(train)
  options.steps, options.progress = 2, false
  return info.state_bytes, sonde.train(sonde.transformer(copy(model)), data, options).memory.state
end

local function check(model, train, data)
  local forecast, had = both(model, train, data)
  lu.assertEquals(forecast, had, core.json_encode(train))
  return forecast
end

local language = { vocab = 50, width = 24, depth = 2, heads = 2, context = 8 }

local function text()
  local values = {}
  for i = 1, 600 do values[i] = i * i % 50 end
  return { vocab = 50, handle = core.tensor("i32", { #values }, values), spec = "made", hash = "made" }
end

function TestForecast:test_optimizers_and_accumulation()
  local seen, corpus = {}, text()
  for _, optimizer in ipairs { "adamw", "lion", "muon", "sgd" } do
    for _, accumulate in ipairs { 1, 3, 4 } do
      seen[optimizer .. accumulate] = check(language,
        { batch = 2, optimizer = optimizer, accumulate = accumulate }, corpus)
    end
  end
  lu.assertTrue(seen.lion1 < seen.adamw1 and seen.muon1 ~= seen.adamw1)
  lu.assertTrue(seen.adamw1 < seen.adamw4)
  lu.assertEquals(seen.adamw3, seen.adamw4)          -- both 2 bits of accumulate - 1
end

function TestForecast:test_parameters_that_are_not_trained()
  local part = check(language, { batch = 2, accumulate = 4, trainable = { "*norm*" } }, text())
  lu.assertTrue(part < check(language, { batch = 2 }, text()))
end

function TestForecast:test_the_training_s_memory_budget()
  local model = { vocab = 50, width = 16, depth = 8, heads = 2, context = 32 }
  local function said(budget) return graph { model = model, train = { batch = 16, memory_budget = budget } } end
  lu.assertEquals(said(0).recomputed_blocks, 0)
  local info = said "3MiB"
  local had = sonde.train(sonde.transformer(copy(model)), text(),
    { batch = 16, memory_budget = "3MiB", steps = 1, progress = false }).memory
  lu.assertTrue(info.recomputed_blocks > 0)
  lu.assertEquals({ info.recomputed_blocks, info.arena_bytes }, { had.recomputed_blocks, had.arena })
  local _, message = said "100kB"
  lu.assertStrContains(message, "0.1 MiB is too little: weights, gradients and the optimizer's states take")
  _, message = said "900kB"
  lu.assertStrContains(message, "the budget is")
end

-- The updates that measure blocks have a plan of their own, which takes more: what a forecast lets through, the
-- training takes, and both need the same.
function TestForecast:test_updates_that_measure_blocks()
  local model = { vocab = 50, width = 16, depth = 6, heads = 2, context = 32 }
  local corpus = text()
  corpus.validation = { handle = corpus.handle, tokens = 600 }
  local function needs(train)
    local options = copy(train)
    options.steps, options.progress, options.batch = 1, false, 8
    train.batch = 8
    local info, message = graph { model = model, train = train }
    local ok, had = pcall(sonde.train, sonde.transformer(copy(model)), corpus, options)
    lu.assertEquals(info ~= nil, ok, tostring(message) .. tostring(had))
    if not ok then return nil, message, had end
    lu.assertEquals({ info.arena_bytes, info.recomputed_blocks },
      { had.memory.arena, had.memory.recomputed_blocks }, core.json_encode(train))
    return info
  end
  for _, ffn in ipairs { "swiglu", "moe" } do
    model.ffn = ffn
    local plain = needs { recompute = "always", probe_every = 0 }
    local measuring = needs { recompute = "always" }
    lu.assertTrue(measuring.arena_bytes > plain.arena_bytes)
    local bytes = measuring.arena_bytes + measuring.state_bytes
    local info, message, refused = needs { memory_budget = math.floor(plain.arena_bytes + plain.state_bytes) }
    lu.assertNil(info)
    lu.assertStrContains(message, "the budget is")
    lu.assertStrContains(refused, "the budget is")
    lu.assertNotNil((needs { memory_budget = math.floor(bytes) }))
    lu.assertNotNil((needs { memory_budget = math.floor(bytes * 1.3) }))
    needs { recompute = "never", dtype = "bf16" }
  end
end

local function labelled(inputs)
  local labels = {}
  for i = 1, 20 * 8 do labels[i] = i % 3 end
  inputs.labels = core.tensor("i32", { 20, 8 }, labels)
  return sonde.feed { train = inputs }
end

function TestForecast:test_a_classifier_of_tokens()
  local model = copy(language)
  model.objective = { name = "classifier", classes = 3 }
  check(model, { batch = 2, accumulate = 4 }, labelled { tokens = core.tensor("i32", { 20, 8 }) })
end

function TestForecast:test_a_model_of_features()
  local model = { features = 5, objective = { name = "classifier", classes = 3 }, width = 16, depth = 1, heads = 2,
    context = 8 }
  check(model, { batch = 2, optimizer = "lion" }, labelled { features = core.tensor("f32", { 20, 8, 5 }) })
end

-- Where it says how long, its schedule is checked as the training checks it.
function TestForecast:test_a_schedule_that_training_refuses()
  local train = { batch = 2, steps = 6, schedule = "cosine_restarts", cycles = 4 }
  local _, message = graph { model = language, train = train }
  lu.assertStrContains(tostring(message), "option 'cycles' of train: 4 cycles do not fit into the 6 updates")
  train.steps = 12
  lu.assertNotNil((graph { model = language, train = train }))
  _, message = graph { model = language, train = { batch = 2, steps = 6, tokens = 600 } }
  lu.assertStrContains(tostring(message), "either tokens or steps")
end

-- What a training refuses, its forecast refuses; and what the loss adds is in the plan.
function TestForecast:test_the_loss_is_that_of_the_training()
  local info, message = graph { model = language, train = { objective = { name = "classifier", classes = 3 } } }
  lu.assertNil(info)
  lu.assertStrContains(message, "objective")
  local plain = graph { model = language, train = { batch = 2 } }
  local with_z = { name = "language_model", z_loss = 1e-4 }
  local added = graph { model = language, train = { batch = 2, objective = with_z } }
  local masked = graph { model = language, train = { batch = 2, document_mask = 0 } }
  lu.assertTrue(added.nodes > plain.nodes)
  lu.assertTrue(masked.nodes > plain.nodes)
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
