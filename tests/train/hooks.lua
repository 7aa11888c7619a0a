-- Hooks of a training, and feeds of arrays: bits, cadence, stops and mistakes; the same rows however they are asked
-- for.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"

local ids = {}
for i = 1, 900 do ids[i] = (i * i + 3 * i + (i % 7 == 0 and i or 0)) % 23 end
local corpus = { vocab = 23, handle = core.tensor("i32", { #ids }, ids), spec = "made", hash = "made" }

local function folder()
  local dir = os.tmpname()
  os.remove(dir)
  return dir
end

local function model_of()
  return sonde.transformer { vocab = 23, width = 16, depth = 2, heads = 2, context = 8, init_std = 0.2, seed = 5 }
end

local function train(options, model, data)
  local all = { batch = 4, steps = 12, lr = 3e-3, progress = false, probe_every = 0, log_every = 5,
    checkpoint_every = 4 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.train(model or model_of(), data or corpus, all)
end

-- Features that say the class, for a feed with validation.
local function feed_of(n)
  local x, y = {}, {}
  for i = 1, 8 * n do x[i], y[i] = (i * 7 % 11) / 5 - 1, i * 7 % 11 > 5 and 1 or 0 end
  local function arrays()
    return { features = core.tensor("f32", { n, 8, 1 }, x), labels = core.tensor("i32", { n, 8 }, y) }
  end
  return sonde.feed { train = arrays(), validation = arrays() }
end

local function classifier(context)
  return sonde.transformer { features = 1, objective = { "classifier", classes = 2 }, width = 16, depth = 1, heads = 2,
    context = context or 8 }
end

-- metrics.jsonl without what depends on time.
local function records(dir)
  local list = {}
  for line in io.lines(dir .. "/metrics.jsonl") do
    local record = core.json_decode(line)
    record.wall, record.tok_per_s, record.mfu = nil, nil, nil
    list[#list + 1] = record
  end
  return list
end

-- What hooks have seen, in a file: values that a function has closed over are part of the code that a run is compared
-- by.
local function note(path, what)
  local file = assert(io.open(path, "a"))
  file:write(what, " ")
  file:close()
end

local function noted(path)
  local file = assert(io.open(path))
  local text = file:read "a"
  file:close()
  return text
end

TestHooks = {}

function TestHooks:test_are_called_when_they_are_due_and_change_no_bits()
  local seen, plain = {}, train()
  local function note(what)
    return function(state)
      seen[#seen + 1] = what .. state.step
      lu.assertEquals(state.model.config.width, 16)
      lu.assertTrue(state.lr > 0 and state.grad_norm > 0 and state.update_loss > 0 and #state.block_grad_norm == 2)
      state.model:params():find("model.norm.weight"):get(1)
    end
  end
  local result = train { hooks = {
    { every = 5, call = note "a" }, { every = 3, call = note "b" }, { at = "end", call = note "end" } } }
  lu.assertEquals(table.concat(seen, " "), "b3 a5 b6 b9 a10 b12 end12")
  lu.assertEquals(result.state_sha256, plain.state_sha256)
  lu.assertEquals(result.train_loss, plain.train_loss)
  lu.assertNil(result.stopped)
end

function TestHooks:test_at_evaluations()
  local seen = {}
  local result = train({ eval_every = 5, hooks = { { at = "evaluation", call = function(state)
    seen[#seen + 1] = state.step
    lu.assertTrue(state.val_loss > 0 and state.val_metrics.accuracy >= 0)
  end } } }, classifier(), feed_of(16))
  lu.assertEquals(seen, { 5, 10, 12 })
  lu.assertEquals(result.state_sha256, train({ eval_every = 5 }, classifier(), feed_of(16)).state_sha256)
end

function TestHooks:test_may_end_the_training()
  local dir = folder()
  local function stop_at(step) return { { name = "enough", every = 1, call = function(state)
    if state.step == step then return "it is enough" end
  end } } end
  local result = train({ hooks = stop_at(7), dir = dir, eval_every = 0 }, classifier(), feed_of(16))
  lu.assertEquals(result.stopped, "hook 'enough' at update 7 of 12: it is enough")
  lu.assertEquals(result.steps, 7)
  lu.assertTrue(result.validated)
  lu.assertEquals(core.json_load(dir .. "/checkpoint/state.json").step, 7)
  lu.assertEquals(core.json_load(dir .. "/checkpoint/state.json").stopped, result.stopped)
  local last = records(dir)
  lu.assertEquals(last[#last].step, 7)
  lu.assertTrue(last[#last]["val/loss"] ~= nil)
  -- The same command finds it ended, and says why; when that is changed, it goes on, to the bits of one that was never
  -- stopped.
  local said, warn = {}, core.warn
  core.warn = function(text) said[#said + 1] = text end
  local same = train({ hooks = stop_at(7), dir = dir, eval_every = 0 }, classifier(), feed_of(16))
  core.warn = warn
  lu.assertEquals(said, { "this training ended before its last update: " .. result.stopped
    .. "; --accept-changes lets it go on" })
  lu.assertEquals({ same.steps, same.stopped, same.state_sha256 }, { 7, result.stopped, result.state_sha256 })
  local on = train({ dir = dir, eval_every = 0, accept_changes = true }, classifier(), feed_of(16))
  lu.assertEquals(on.steps, 12)
  lu.assertEquals(on.state_sha256, train({ eval_every = 0 }, classifier(), feed_of(16)).state_sha256)
end

-- Warnings of a function, and what it gives.
local function warned(f, ...)
  local said, warn = {}, core.warn
  core.warn = function(text) said[#said + 1] = text end
  local ok, result = pcall(f, ...)
  core.warn = warn
  if not ok then error(result, 0) end
  return said, result
end

-- An evaluation that gives NaN is an evaluation: it is no lower loss, and the training loss does not stand for it.
function TestHooks:test_evaluations_that_give_nan()
  local dir, log = folder(), folder()
  local function overflows()
    local feed = feed_of(16)
    feed.parts[1].valid:fill(3e38)
    return feed
  end
  local function with_hook(options)
    options.hooks = { { name = "see", at = "evaluation", call = function(state)
      note(log, state.val_loss == nil and "nil" or state.val_loss ~= state.val_loss and "NaN" or "number")
    end } }
    return options
  end
  local function model()                                   -- whose embedding of such features is infinite
    return sonde.transformer { features = 1, objective = { "classifier", classes = 2 }, width = 16, depth = 1,
      heads = 2, context = 8, init_std = 3 }
  end
  local function go()
    local options = { dir = dir, eval_every = 1, patience = 2, loss_bound = 0 }
    return warned(train, with_hook(options), model(), overflows())
  end
  local said, result = go()
  lu.assertEquals(noted(log), "NaN NaN ")
  lu.assertTrue(result.loss ~= result.loss)
  lu.assertTrue(result.train_loss == result.train_loss)
  lu.assertEquals({ result.validated, result.best_loss, result.perplexity, result.steps }, { true, nil, nil, 2 })
  lu.assertEquals(result.stopped, "the validation loss was NaN in 2 evaluations, at step 2 of 12")
  lu.assertEquals(#said, 1)
  lu.assertStrContains(said[1], "the validation loss is NaN, and so is the loss of the result, whose training loss is ")
  lu.assertNil(core.json_load(dir .. "/run.json").loss)
  -- Shown again, it is still no training without evaluation.
  said, result = go()
  lu.assertTrue(result.loss ~= result.loss)
  lu.assertEquals(#said, 2)
end

function TestHooks:test_a_finished_training_does_not_end_again()
  local log = folder()
  local function hooks() return {
    { name = "end", at = "end", call = function(state) note(log, state.step) end },
    { name = "stop", every = 6, call = function() if not core.exists(log .. ".on") then return "enough" end end },
  } end
  local dir = folder()
  warned(train, { hooks = hooks(), dir = dir })
  warned(train, { hooks = hooks(), dir = dir })
  lu.assertEquals(noted(log), "6 ")
  note(log .. ".on", 1)
  train { hooks = hooks(), dir = dir, accept_changes = true }
  train { hooks = hooks(), dir = dir }
  lu.assertEquals(noted(log), "6 12 ")
end

-- One that is over at its first event had not ended before.
function TestHooks:test_a_new_training_that_is_over_at_once()
  local said, result = warned(train, { max_minutes = 1e-9, log_every = 1 })
  lu.assertEquals(result.steps, 1)
  lu.assertStrContains(result.stopped, "the 1e-09 minutes it may take are over")
  lu.assertEquals(said, {})
end

function TestHooks:test_a_resumed_training_keeps_their_cadence()
  local dir, whole, log = folder(), folder(), folder()
  local function hooks() return {
    { every = 3, call = function(state) note(log, state.step) end },
    { name = "broken", every = 6, call = function()
      if not core.exists(log .. ".mended") then error("no more", 0) end
    end },
  } end
  lu.assertErrorMsgContains("hook 'broken' at update 6: no more", train, { hooks = hooks(), dir = dir }, classifier(),
    feed_of(16))
  note(log .. ".mended", 1)
  local result = train({ hooks = hooks(), dir = dir }, classifier(), feed_of(16))
  lu.assertEquals(noted(log), "3 6 6 9 12 ")                 -- from the checkpoint of update 4 on
  lu.assertEquals(result.state_sha256, train({ dir = whole }, classifier(), feed_of(16)).state_sha256)
  lu.assertEquals(records(dir), records(whole))
end

function TestHooks:test_a_hook_before_its_checkpoint()
  local dir, log = folder(), folder()
  local function hooks() return { { every = 4, call = function(state)
    note(log, state.step)
    if state.step == 8 and noted(log) == "4 8 " then error("cut", 0) end
  end } } end
  lu.assertErrorMsgContains("cut", train, { hooks = hooks(), dir = dir })
  lu.assertEquals(core.json_load(dir .. "/checkpoint/state.json").step, 4)      -- that of 8 comes after its hook
  train { hooks = hooks(), dir = dir }
  lu.assertEquals(noted(log), "4 8 8 12 ")
end

function TestHooks:test_code_of_hooks_is_recorded()
  local dir = folder()
  local function first() end
  train { hooks = { { name = "h", every = 20, call = first } }, dir = dir, steps = 4 }
  local names = {}
  for _, plugin in ipairs(core.json_load(dir .. "/run.json").plugins) do
    names[plugin.kind .. "/" .. plugin.name] = plugin.sha256
  end
  lu.assertEquals(#names["hook/h"], 64)
end

function TestHooks:test_mistakes()
  local function hook(h) return { hooks = { h } } end
  local function nothing() end
  lu.assertErrorMsgContains("needs either every", train, hook { call = nothing })
  lu.assertErrorMsgContains("hook 'x' of train needs either every", train,
    hook { name = "x", every = 1, at = "end", call = nothing })
  lu.assertErrorMsgContains("call", train, hook { every = 1 })
  local function twice(first, second)
    return { hooks = { { name = first, every = 1, call = nothing }, { name = second, every = 2, call = nothing } } }
  end
  lu.assertErrorMsgContains("hooks 1 and 2 of train have one name, 'x'", train, twice("x", "x"))
  lu.assertErrorMsgContains("hooks 1 and 2 of train have one name, '2'", train, twice("2", nil))
  lu.assertErrorMsgContains("at", train, hook { at = "start", call = nothing })
  lu.assertErrorMsgContains("hook 'x' of train is called at evaluations, and the corpus has no validation text", train,
    hook { name = "x", at = "evaluation", call = nothing })
  lu.assertErrorMsgContains("hook '1' at update 2: an error that is a table, not a text: code = 3, why = full, "
    .. "...", train, hook { every = 2, call = function() error { code = 3, why = "full", of = {} } end })
  lu.assertErrorMsgContains("hook '1' at update 2: an error that is a table, not a text: code = 3", train,
    hook { every = 2, call = function()
      error(setmetatable({ code = 3 }, { __tostring = function() error "not this either" end }))
    end })
  lu.assertErrorMsgContains("hook '1' at update 2: it returned a number", train,
    hook { every = 2, call = function() return 3 end })
  lu.assertErrorMsgContains("hook '1' at update 2: it returned an empty text", train,
    hook { every = 2, call = function() return "" end })
  lu.assertErrorMsgContains("hook 'late' at update 12: sorry", train,
    hook { name = "late", at = "end", call = function() error("sorry", 0) end })
end

-- The trainer counts parameters when it is made.
function TestHooks:test_views_do_not_change_under_a_training()
  local name, other = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.q_proj.weight"
  local tries = {
    function(params) params:mask(name) end,
    function(params) params:low_rank(name, 2, 1) end,
    function(params) params:share(other, name) end,
    function(params) params:freeze(name) end,
    function(params) params:freeze(name, false) end,
  }
  for _, try in ipairs(tries) do
    local model = model_of()
    lu.assertErrorMsgContains("a training uses these parameters", train, { dir = folder(), hooks = {
      { name = "v", every = 2, call = function(state) try(state.model:params()) end } } }, model)
    try(model:params())       -- the training has ended
    train({ steps = 2 }, model)
  end
end

-- ---- feeds -------------------------------------------------------------------------------------------------------

TestFeed = {}

local function numbered(n)
  local x = {}
  for i = 1, 2 * n do x[i] = math.floor((i - 1) / 2) + i % 2 * 0.5 end
  return core.tensor("f32", { n, 2 }, x)
end

local function rows_from(feed, sequence, n)
  local into, rows = core.tensor("f32", { n, 2 }), {}
  feed:train(sequence, { x = into })
  for k = 1, n do
    rows[k] = math.floor(into:get(2 * k))
    lu.assertEquals(into:get(2 * k - 1), rows[k] + 0.5)
  end
  return rows
end

function TestFeed:test_an_epoch_has_each_row_once()
  local feed = core.feed_arrays({ { name = "x", train = numbered(13) } }, 4)
  local first, second = rows_from(feed, 0, 13), rows_from(feed, 13, 13)
  lu.assertNotEquals(first, second)
  for _, rows in ipairs { first, second } do
    local sorted = { (table.unpack)(rows) }
    table.sort(sorted)
    for k = 1, 13 do lu.assertEquals(sorted[k], k - 1) end
  end
  lu.assertNotEquals(rows_from(core.feed_arrays({ { name = "x", train = numbered(13) } }, 5), 0, 13), first)
end

function TestFeed:test_the_rows_are_those_of_any_batch()
  local feed = core.feed_arrays({ { name = "x", train = numbered(13) } }, 4)
  local whole = rows_from(feed, 5, 20)
  for k = 1, 20 do lu.assertEquals(rows_from(feed, 4 + k, 1)[1], whole[k]) end
end

function TestFeed:test_validation_in_order()
  local feed = core.feed_arrays({ { name = "x", train = numbered(5), valid = numbered(7) } }, 4)
  local into = core.tensor("f32", { 3, 2 })
  lu.assertEquals(feed:rows(), 7)
  lu.assertEquals(feed:valid(6, { x = into }), 1)
  lu.assertEquals(into:get(2), 6)
  lu.assertEquals(feed:valid(7, { x = into }), 0)
  lu.assertEquals(feed:inputs(), { { name = "x", dtype = "f32", dims = { 2 } } })
end

function TestFeed:test_its_hash_is_that_of_names_and_values()
  local a = sonde.feed { train = { x = numbered(5) } }
  lu.assertEquals(sonde.feed({ train = { x = numbered(5) } }).hash, a.hash)
  lu.assertNotEquals(sonde.feed({ train = { y = numbered(5) } }).hash, a.hash)
  lu.assertNotEquals(sonde.feed({ train = { x = numbered(6) } }).hash, a.hash)
  lu.assertNotEquals(sonde.feed({ train = { x = numbered(5) }, validation = { x = numbered(5) } }).hash, a.hash)
end

-- Rows of another length than the context, or of other features, are neither joined nor cut.
function TestFeed:test_a_row_is_a_context()
  local function said(...)
    local ok, message = pcall(...)
    return not ok and message:gsub("^[^ ]*: ", "") or "accepted"
  end
  for _, context in ipairs { 4, 12, 16 } do
    local model, text = classifier(context), "the rows of 'features' are [8, 1], but the model reads rows of ["
      .. context .. ", 1] at a context of " .. context
    lu.assertStrContains(said(train, { steps = 1 }, model, feed_of(8)), text)
    lu.assertStrContains(said(sonde.evaluate, model, feed_of(8)), text)
    lu.assertEquals(sonde.evaluate(model, feed_of(8), { context = 8 }).tokens, 64)
  end
  local x = core.tensor("f32", { 8, 8, 2 })
  lu.assertStrContains(said(train, { steps = 1 }, classifier(8), sonde.feed { train = { features = x,
    labels = core.tensor("i32", { 8, 8 }) } }), "the rows of 'features' are [8, 2], but the model reads rows of [8, 1]")
  local short = sonde.feed { train = { features = core.tensor("f32", { 8, 8, 1 }),
    labels = core.tensor("i32", { 8, 4 }) } }
  lu.assertStrContains(said(train, { steps = 1 }, classifier(8), short),
    "the rows of 'labels' are [4], but the model reads rows of [8]")
end

function TestFeed:test_mistakes()
  local function refused(text, arrays) lu.assertErrorMsgContains(text, sonde.feed, arrays) end
  refused("holds no array", { train = {} })
  refused("'y' has 4 rows, 'x' 5", { train = { x = numbered(5), y = numbered(4) } })
  refused("validation has 'y', which train has not", { train = { x = numbered(5) }, validation = { y = numbered(5) } })
  refused("'y' has no rows of validation", { train = { x = numbered(5), y = numbered(5) },
    validation = { x = numbered(5) } })
  refused("rows must be alike", { train = { x = numbered(5) }, validation = { x = core.tensor("f32", { 5, 3 }) } })
  refused("its first axis must count rows", { train = { x = core.tensor("f32", {}) } })
  refused("a tensor", { train = { x = 3 } })
  lu.assertErrorMsgContains("no validation rows", sonde.evaluate, classifier(),
    sonde.feed { train = { x = numbered(5) } })
  lu.assertErrorMsgContains("patience' of train waits", train, { patience = 1 }, classifier(),
    sonde.feed { train = { features = core.tensor("f32", { 4, 8, 1 }), labels = core.tensor("i32", { 4, 8 }) } })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
