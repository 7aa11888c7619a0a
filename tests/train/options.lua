-- The options of a training, its record and its display, from Lua: what is derived from what, and what is refused.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"
local forecast = require "sonde.train.forecast"
local progress = require "sonde.base.progress"
local record = require "sonde.train.record"
local machine = require "sonde.base.machine"
local train = require "sonde.train"

local function assert_fails(text, f, ...)
  local ok, message = pcall(f, ...)
  lu.assertFalse(ok, text)
  lu.assertStrContains(message, text)
end

local function model(options)
  local o = { vocab = 50, width = 16, depth = 3, heads = 2, context = 8, seed = 4 }
  for key, value in pairs(options or {}) do o[key] = value end
  return sonde.transformer(o)
end

-- A text of numbers and a short training on it.
local function trained(options, of_model)
  local values = {}
  for i = 1, 400 do values[i] = i * i % 50 end
  local corpus = { vocab = 50, handle = sonde.tensor("i32", { #values }, values), spec = "made", hash = "made" }
  options.steps, options.batch, options.progress = 4, 2, false
  return sonde.train(model(of_model), corpus, options)
end

TestProfile = {}

function TestProfile:test_the_time_of_the_updates_by_op()
  local result, sum = trained { profile = true }, 0
  for _, seconds in pairs(result.profile) do sum = sum + seconds end
  for _, op in ipairs { "matmul", "rmsnorm", "rmsnorm_grad", "attention", "fused" } do
    lu.assertTrue((result.profile[op] or 0) > 0, op)
  end
  lu.assertTrue(sum <= result.seconds)
  -- Every step is of some module: the same seconds by another key.
  local by_module = 0
  for _, seconds in pairs(result.profile_modules) do by_module = by_module + seconds end
  lu.assertAlmostEquals(by_module, sum, 1e-9)
  lu.assertTrue(result.profile_modules.norm >= result.profile.rmsnorm + result.profile.rmsnorm_grad)
  for _, kind in ipairs { "attention", "ffn", "head", "embedding" } do
    lu.assertTrue((result.profile_modules[kind] or 0) > 0, kind)
  end
  local plain = trained {}
  lu.assertNil(plain.profile)
  lu.assertEquals(plain.state_sha256, result.state_sha256)
end

TestRoles = {}

function TestRoles:test_an_unknown_role_is_refused_with_the_known_ones()
  local params = core.params(1)
  assert_fails("unknown role 'zzzzzzzz'; known: embed, head, qk, v, ", params.need, params, "p", { 2 }, "zzzzzzzz",
    { kind = "normal" })
end

TestResolve = {}

function TestResolve:test_steps_and_tokens_follow_from_each_other()
  local o = train.resolve(model(), { tokens = 1000, batch = 4, accumulate = 2 })
  lu.assertEquals(o.steps, 16)                       -- 1000 / (4 * 8 * 2), rounded up
  lu.assertEquals(o.tokens, 1024)
  lu.assertEquals(train.resolve(model(), { steps = 5, batch = 3, context = 7 }).tokens, 105)
end

function TestResolve:test_fractions_of_the_run()
  local o = train.resolve(model(), { steps = 200, schedule = "wsd", decay = 0.25 })
  lu.assertEquals({ o.warmup, o.decay }, { 10, 50 })
  o = train.resolve(model(), { steps = 200, schedule = "wsd", warmup = 180, decay = 20 })
  lu.assertEquals({ o.warmup, o.decay }, { 180, 20 })
  lu.assertNil(train.resolve(model(), { steps = 200 }).decay)
end

function TestResolve:test_schedules_and_their_options()
  local o = train.resolve(model(), { steps = 100, schedule = "cosine_restarts", warmup = 20, min_lr = 0.25, lr = 1 })
  lu.assertEquals({ o.cycles, o.cycle_growth }, { 4, 1 })
  lu.assertEquals(core.learning_rate(o, 20), 1)
  lu.assertAlmostEquals(core.learning_rate(o, 30), 0.625, 1e-12)
  lu.assertEquals(core.learning_rate(o, 40), 1)
  lu.assertEquals(core.learning_rate(o, 100), 0.25)
  o = train.resolve(model(), { steps = 100, schedule = "linear", warmup = 20, warmup_from = 0.5, min_lr = 0, lr = 1 })
  lu.assertEquals(core.learning_rate(o, 10), 0.75)
  lu.assertEquals({ core.learning_rate(o, 60), core.learning_rate(o, 100) }, { 0.5, 0 })
  o = train.resolve(model(), { steps = 100, schedule = "inverse_sqrt", warmup = 4, lr = 1 })
  lu.assertEquals(core.learning_rate(o, 16), 0.5)
  lu.assertNil(train.resolve(model(), { steps = 100 }).cycles)
  for name, given in pairs { decay = { decay = 10 }, min_lr = { schedule = "constant", min_lr = 0.5 },
    warmup_from = { warmup = 0, warmup_from = 0.5 } } do
    given.steps = 9
    assert_fails("option '" .. name .. "' of train has no effect: ", train.resolve, model(), given)
  end
  for key, value in pairs { cycles = 2, cycle_growth = 2 } do
    assert_fails("option '" .. key .. "' of train has no effect: the schedule is 'cosine'", train.resolve, model(),
      { steps = 9, [key] = value })
  end
  assert_fails("option 'warmup_from' of train must be between 0 and 1", train.resolve, model(),
    { steps = 9, warmup_from = 2 })
  assert_fails("option 'cycle_growth' of train must be between 1", train.resolve, model(),
    { steps = 9, schedule = "cosine_restarts", cycle_growth = 0.5 })
  for message, given in pairs {
    ["option 'cycles' of train: 40 cycles do not fit into the 12 updates that there are"] = { cycles = 40 },
    ["option 'cycles' of train: 4 cycles do not fit into the 7 updates that the warm-up leaves"] = { warmup = 5 },
    ["give fewer, or a smaller cycle_growth"] = { cycles = 1000, cycle_growth = 1000 },
  } do
    given.steps, given.schedule, given.warmup = 12, "cosine_restarts", given.warmup or 0
    assert_fails(message, train.resolve, model(), given)
  end
  local fits = { steps = 30, schedule = "cosine_restarts", warmup = 0, cycles = 4, cycle_growth = 2 }
  lu.assertEquals(train.resolve(model(), fits).cycles, 4)
  assert_fails("did you mean 'inverse_sqrt'?", train.resolve, model(), { steps = 9, schedule = "inverse_sqr" })
end

-- What is decayed has smaller weights after training by little but decay: the rate is small, the decay large.
function TestResolve:test_what_is_decayed()
  local function decayed(tie, options)
    local m = model { depth = 1, tie = tie }:init()
    local start = {}
    for _, param in ipairs(m:params():list()) do start[param.name] = m:params():find(param.name):values() end
    local values = {}
    for i = 1, 400 do values[i] = i * i % 50 end
    local o = { steps = 1, batch = 2, progress = false, lr = 1e-6, weight_decay = 5e5, schedule = "constant",
      warmup = 0, eval_every = 0 }
    for key, value in pairs(options) do o[key] = value end
    sonde.train(m, { vocab = 50, handle = sonde.tensor("i32", { #values }, values), spec = "made", hash = "made" }, o)
    local function halved(name)
      return math.abs(m:params():find(name):get(1) / start[name][1] - 0.5) < 0.01
    end
    lu.assertTrue(halved "model.layers.0.mlp.up_proj.weight")
    if not tie then lu.assertTrue(halved "lm_head.weight") end
    return { halved "model.embed_tokens.weight", halved "model.norm.weight" }
  end
  lu.assertEquals(decayed(false, {}), { false, false })
  lu.assertEquals(decayed(true, {}), { true, false })
  lu.assertEquals(decayed(true, { decay_embeddings = false }), { false, false })
  lu.assertEquals(decayed(false, { decay_embeddings = true }), { true, false })
  lu.assertEquals(decayed(false, { decay_gains = true }), { false, true })
end

function TestResolve:test_how_often_follows_from_the_steps()
  local o = train.resolve(model(), { steps = 1000 })
  lu.assertEquals({ o.eval_every, o.log_every, o.probe_every, o.checkpoint_every }, { 200, 5, 50, 100 })
  o = train.resolve(model(), { steps = 3 })
  lu.assertEquals({ o.eval_every, o.log_every, o.probe_every, o.checkpoint_every }, { 1, 1, 1, 1 })
end

function TestResolve:test_optimizer_options()
  local o = train.resolve(model(), { steps = 3, optimizer = { "adamw", beta1 = 0.8 }, beta2 = 0.99 })
  lu.assertEquals(o.optimizer, { name = "adamw", beta1 = 0.8, beta2 = 0.99, eps = 1e-8 })
  lu.assertNil(o.beta2)
  assert_fails("beta3", train.resolve, model(), { steps = 3, optimizer = { "adamw", beta3 = 1 } })
  assert_fails("did you mean 'adamw'?", train.resolve, model(), { steps = 3, optimizer = "adamv" })
end

function TestResolve:test_seed_and_bound_come_from_the_model()
  local o = train.resolve(model(), { steps = 3 })
  lu.assertEquals(o.seed, 4)
  lu.assertAlmostEquals(o.loss_bound, 4 * math.log(50), 1e-12)
end

function TestResolve:test_sizes()
  lu.assertEquals(machine.bytes("8GiB", "size"), 8 * 2 ^ 30)
  lu.assertEquals(machine.bytes("1.5G", "size"), 1.5 * 2 ^ 30)
  lu.assertEquals(machine.bytes("1.5 MB", "size"), 1500000)
  lu.assertEquals(machine.bytes(123, "size"), 123)
  for _, bad in ipairs { "GiB", "8 GiBs", "-1GiB", "", "9e30", "1e300T" } do
    assert_fails("memory_budget cannot be", machine.bytes, bad, "memory_budget")
  end
end

function TestResolve:test_free_memory()
  local free = machine.memory()
  lu.assertTrue(free > 2 ^ 20 and free < 2 ^ 50, tostring(free))
end

function TestResolve:test_operations_a_token()
  local count = forecast.flops_per_token
  local untied, tied = model(), model { tie = true }
  local products = 0
  for _, param in ipairs(untied:params():list()) do
    if #param.dims == 2 and param.role ~= "embed" then products = products + param.dims[1] * param.dims[2] end
  end
  local training, forward = count(untied, 8)
  lu.assertTrue(training > 6 * products and training < 8 * products, training)
  lu.assertTrue(forward > 2 * products and forward < training / 2.5, forward)
  lu.assertAlmostEquals(count(tied, 8), training, 6 * 50 * 16 * 0.2)       -- the sum of the two gradients
  -- Attention by the pairs that it sees: of 128 queries the first 16 see 1 to 16 keys, the others 16.
  local full = count(model { context = 128 }, 128)
  local window = count(model { context = 128, attention = { name = "causal", window = 16 } }, 128)
  local pairs_less = 128 * 129 / 2 - (16 * 17 / 2 + 112 * 16)
  lu.assertAlmostEquals((full - window) * 128, 3 * 2 * pairs_less * (14 * 8 + 10), 1e-3)
  local without = count(model { layers = { [0] = { without = "attn" } } }, 8)
  lu.assertTrue(without < training)
  lu.assertTrue(count(model { head_dim = 16 }, 8) > training)
end

-- The share of the peak is by the same count as `sonde graph`, whatever is computed again and in bf16 as in f32.
function TestResolve:test_utilisation_is_by_the_count_of_the_graph()
  local step = train.resolve(model(), { steps = 4, batch = 2 })
  local plain = forecast.step(model(), step)
  lu.assertEquals(plain.flops, plain.model_flops)
  step.recompute = "always"
  local again = forecast.step(model(), step)
  lu.assertEquals(again.model_flops, plain.flops)
  lu.assertTrue(again.flops > plain.flops)
  step.recompute, step.dtype = "never", "bf16"
  local narrow = forecast.step(model(), step)
  lu.assertEquals(narrow.model_flops, plain.flops)
  lu.assertEquals(narrow.flops, plain.flops)
  local one, two = trained {}, trained { recompute = "always" }
  local other = trained({}, { attention = { name = "causal", window = 2 } })
  local function per_token(result) return result.mfu / result.tokens_per_s end
  lu.assertAlmostEquals(per_token(two) / per_token(one), 1, 1e-9)
  lu.assertAlmostEquals(per_token(other) / per_token(one),
    forecast.flops_per_token(model { attention = { name = "causal", window = 2 } }, 8)
    / forecast.flops_per_token(model(), 8), 1e-3)
end

TestGroups = {}

function TestGroups:test_the_last_group_that_fits_counts()
  local m = model()
  local factors = train.factors(m:params(), {
    { role = "gain", lr = 0.5, weight_decay = 1 }, { match = "*.1.mlp.*", lr = 2, weight_decay = 0 },
    { match = "*.1.*", role = "ffn_out", lr = 3, weight_decay = 4 },
  }, core.where)
  lu.assertEquals(factors["model.norm.weight"], { lr = 0.5, weight_decay = 1 })
  lu.assertEquals(factors["model.layers.1.mlp.up_proj.weight"], { lr = 2, weight_decay = 0 })
  lu.assertEquals(factors["model.layers.1.mlp.down_proj.weight"], { lr = 3, weight_decay = 4 })
  lu.assertNil(factors["model.layers.0.mlp.down_proj.weight"])
  lu.assertEquals(train.resolve(m, { steps = 3, groups = { { role = "head", lr = 2 } } }).groups,
    { { role = "head", lr = 2, weight_decay = 1 } })
end

function TestGroups:test_what_is_refused()
  local function groups(...) train.resolve(model(), { steps = 3, groups = { ... } }) end
  assert_fails("option 'groups[2]' of train needs match", groups, { role = "gain" }, { lr = 2 })
  assert_fails("option 'groups[1]' of train: no parameter is called 'q_proj'; the first is called", groups,
    { match = "q_proj" })
  assert_fails("did you mean 'gain'?", groups, { role = "gian" })
  assert_fails("option 'groups[1].lr' of train must be between 0", groups, { role = "gain", lr = -1 })
  for role, switch in pairs { gain = "decay_gains", embed = "decay_embeddings" } do
    local options = { steps = 3, groups = { { role = role, weight_decay = 2 } } }
    assert_fails("'groups[1].weight_decay' of train has no effect: parameters of role '" .. role .. "' are not decayed "
      .. "without " .. switch, train.resolve, model(), options)
    options[switch] = true
    lu.assertEquals(train.resolve(model(), options).groups[1].weight_decay, 2)
  end
  assert_fails("unknown option 'groups[1].rate' of train", groups, { role = "gain", rate = 1 })
end

-- With any optimizer: a rate of 0 keeps parameters, one of 1 changes no bit, and the rest of the model moves.
function TestGroups:test_rates_reach_every_optimizer()
  for _, optimizer in ipairs { "adamw", "lion", "sgd", "muon" } do
    local plain = trained { optimizer = optimizer, lr = 1e-3 }.state_sha256
    lu.assertEquals(trained { optimizer = optimizer, lr = 1e-3, groups = { { match = "*" } } }.state_sha256, plain)
    lu.assertEquals(trained { optimizer = optimizer, lr = 4e-3,
      groups = { { match = "*", lr = 0.25, weight_decay = 4 } },
      weight_decay = 0.025 }.state_sha256, plain)
    lu.assertNotEquals(trained { optimizer = optimizer,
      groups = { { match = "*.q_proj.weight", lr = 0.5 } } }.state_sha256, plain)
  end
end

-- ---- values at their borders ------------------------------------------------------------------------------------

-- Every whole number among the options, with values that 32 bits, or no training, can hold: refused by its name, or
-- taken as it is. A training is not run: what is resolved is what C is given, which checks its own 32 bits.
function TestResolve:test_no_whole_number_is_cut()
  local huge = { 2 ^ 31, 2 ^ 32 + 1, 2 ^ 53, math.maxinteger, -1, -2 ^ 31 - 1, -2 ^ 53, math.mininteger }
  local may_be_any = { seed = true }
  for _, field in ipairs(train.schema) do
    for _, value in ipairs(string.find(field.type, "integer") and huge or {}) do
      value = math.tointeger(value) or value
      local options = { [field.name] = value, batch = 2 }
      options.batch = field.name == "batch" and value or 2
      if field.name ~= "steps" then options.steps = 3 end
      local ok, o = pcall(train.resolve, model(), options)
      if ok then
        lu.assertEquals(o[field.name], value, field.name)
        lu.assertTrue(o.tokens > 0 and o.tokens < 2 ^ 53 and (value > 0 or may_be_any[field.name]), field.name)
      else
        lu.assertTrue(string.find(o, field.name, 1, true) ~= nil or string.find(o, "2^53", 1, true) ~= nil, o)
      end
    end
  end
end

function TestResolve:test_more_tokens_than_can_be_counted_are_refused()
  assert_fails("2^53", train.resolve, model(), { steps = 1000000000, batch = 1048576, accumulate = 1048576 })
end

TestSchedule = {}

local function bits(options)
  return trained(options).state_sha256
end

function TestSchedule:test_a_rate_of_ones_own()
  local constant = bits { schedule = "constant", warmup = 0 }
  lu.assertEquals(bits { schedule = function() return 1 end }, constant)
  lu.assertEquals(bits { schedule = { { 1, 1 } } }, constant)
  lu.assertNotEquals(bits { schedule = function(update, updates) return 1 - update / updates end }, constant)
  lu.assertEquals(bits { schedule = { { 0, 1 }, { 4, 0 } } },
    bits { schedule = function(update) return 1 - update / 4 end })
  local half = bits { schedule = function() return 0.5 end, lr = 2e-3 }
  lu.assertEquals(half, bits { schedule = "constant", warmup = 0, lr = 1e-3 })
end

function TestSchedule:test_points_are_joined_by_lines()
  local schedule = require "sonde.train.schedule"
  local rates, text = schedule.sample({ { 2, 1 }, { 4, 3 }, { 5, 0 } }, 6, core.where)
  lu.assertEquals(rates, { 1, 1, 2, 3, 0, 0 })
  lu.assertEquals(text.kind, "points")
  local _, same = schedule.sample(function(u) return ({ 1, 1, 2, 3, 0, 0 })[u] end, 6, core.where)
  lu.assertEquals(same.sha256, text.sha256)
end

function TestSchedule:test_what_is_no_rate_is_refused()
  assert_fails("the schedule gives NaN at update 1 of 4", trained, { schedule = function() return 0 / 0 end })
  assert_fails("the schedule gives nil at update 3 of 4", trained,
    { schedule = function(u) return u < 3 and 1 or nil end })
  assert_fails("the schedule gives -1 at update 1", trained, { schedule = function() return -1 end })
  assert_fails("option 'warmup' of train has no effect", trained, { schedule = function() return 1 end, warmup = 2 })
  assert_fails("point 2 must be {update, rate over lr}", trained, { schedule = { { 2, 1 }, { 2, 0 } } })
  assert_fails("schedule", trained, { schedule = { { 2, "x" } } })
end

function TestResolve:test_texts_with_a_zero_byte_are_refused()
  for _, field in ipairs(train.schema) do
    if field.type == "string" then
      assert_fails("option '" .. field.name .. "' of train must be a text without zero bytes", train.resolve, model(),
        { steps = 3, [field.name] = "a\0b" })
    end
  end
end

TestRecord = {}

function TestRecord:test_equal_blocks_are_written_once()
  local tree = record.model(model { layers = { [1] = { norm = "layernorm" } } })
  local names = {}
  for range, block in pairs(tree.blocks) do names[range] = block.norm.name end
  lu.assertEquals(names, { ["0"] = "rmsnorm", ["1"] = "layernorm", ["2"] = "rmsnorm" })
  lu.assertNotNil(record.model(model()).blocks.all)
  lu.assertEquals(core.yaml_decode(core.yaml_encode(tree)), tree)
end

function TestRecord:test_a_placement_of_ones_own_is_named_by_its_place()
  local tree = record.model(model { placement = function(_, x) return x end })
  lu.assertStrContains(tree.blocks.all.placement.name, "options.lua")
end

function TestRecord:test_each_module_is_listed_once()
  local seen = {}
  for _, plugin in ipairs(record.plugins(model(), { optimizer = { name = "adamw" } })) do
    seen[#seen + 1] = plugin.kind .. "/" .. plugin.name
    lu.assertEquals(#plugin.sha256, 64)
  end
  lu.assertEquals(seen, { "norm/rmsnorm", "attention/causal", "ffn/swiglu", "placement/pre_ln", "init/normal",
    "optimizer/adamw" })
end

-- Code, numbers and texts around a function are what it is; where it stands and what it is called are not.
function TestRecord:test_a_function_has_a_fingerprint()
  local fingerprint = require "sonde.base.fingerprint"
  local function made(text, ...) return assert(load(text))(...) end
  local text = "local a, t, g = ... return function(x) return g(x) * a + t.b[2] end"
  local function g(x) return x + 1 end
  local same = fingerprint.of(made(text, 2, { b = { 1, 5 } }, g))
  lu.assertEquals(fingerprint.of(made("-- a comment\n\n" .. text:gsub("return f", "return  f"), 2, { b = { 1, 5 } },
    g)), same)
  lu.assertNotEquals(fingerprint.of(made(text, 3, { b = { 1, 5 } }, g)), same)
  lu.assertNotEquals(fingerprint.of(made(text, 2, { b = { 1, 6 } }, g)), same)
  lu.assertNotEquals(fingerprint.of(made(text, 2, { b = { 1, 5 } }, function(x) return x + 2 end)), same)
  lu.assertNotEquals(fingerprint.of(made(text:gsub("%*", "/"), 2, { b = { 1, 5 } }, g)), same)
  local loop = {}
  loop.self = loop
  lu.assertEquals(#fingerprint.of(made(text, 2, loop, g)), 64)
  local long = made("local f = ... return function(x) " .. ("x = f(x, 'text', 1.5, nil, true) "):rep(300)
    .. " return x end", g)
  lu.assertEquals(#fingerprint.of(long), 64)
end

function TestRecord:test_what_has_changed_is_named()
  local fingerprint = require "sonde.base.fingerprint"
  lu.assertNil(fingerprint.difference({ a = "1" }, { a = "1" }))
  lu.assertEquals(fingerprint.difference({ a = "1", ["function"] = "x" }, { b = "2", ["function"] = "y" }),
    "a (was 1, now absent), b (was absent, now 2), its code")
  lu.assertEquals(fingerprint.variables({ ["c[1]"] = "1", d = "1" }, { ["c[2]"] = "1", d = "1" }), { c = true })
end

function TestRecord:test_code_is_kept_with_its_steps()
  local function entry(sha256) return { kind = "norm", name = "n", version = "", sha256 = sha256 } end
  local list = record.merged({}, { entry "a" }, 0)
  list = record.merged(list, { entry "a" }, 5)
  list = record.merged(list, { entry "b" }, 7)
  list = record.merged(list, { entry "a" }, 9)
  local seen = {}
  for k, e in ipairs(list) do seen[k] = string.format("%s %d-%s", e.sha256, e.from, tostring(e.to)) end
  lu.assertEquals(seen, { "a 0-7", "b 7-9", "a 9-nil" })
  lu.assertEquals(record.changed(list, { entry "c" }), { "norm/n (was a, now c)" })
  lu.assertEquals(record.changed(list, { entry "a" }), {})
end

function TestRecord:test_where_the_root_of_a_run_is()
  local cases = {
    { "runs/depth/a", "runs", "depth/a" }, { "x/runs/depth/a/", "x/runs", "depth/a" }, { "/tmp/out", "/tmp", "out" },
    { "out", ".", "out" }, { "depth/a", "depth", "a" }, { "/x", "/", "x" }, { "a/b/c", "a/b", "c" },
  }
  for _, case in ipairs(cases) do lu.assertEquals({ record.split(case[1]) }, { case[2], case[3] }) end
end

TestProgress = {}

function TestProgress:test_figures_are_short()
  lu.assertEquals({ progress.short(0), progress.short(999), progress.short(1000), progress.short(12345),
    progress.short(4.56e6) },
    { "0", "999", "1.00k", "12.3k", "4.56M" })
  lu.assertEquals({ progress.bytes(2048), progress.bytes(1.5 * 2 ^ 30), progress.bytes(200 * 2 ^ 20) },
    { "2.00 KiB", "1.50 GiB", "200 MiB" })
  lu.assertEquals({ progress.clock(7.4), progress.clock(750), progress.clock(11100) }, { "0:07", "12:30", "3:05:00" })
end

function TestProgress:test_a_line_fits_the_terminal()
  local display = progress.new(false, 2 ^ 30)
  local event = { step = 120, steps = 1000, loss = 4.25, val_loss = 4.5, tokens_per_s = 12345, mfu = 0.42, eta = 65 }
  for _, width in ipairs { 20, 60, 80, 100, 200 } do lu.assertTrue(#display:line(event, width) < width) end
  local line = display:line(event, 120)
  for _, part in ipairs { "step 120/1000 [===", "loss 4.2500", "val 4.5000", "12.3k tok/s", "MFU 42%", "1.00 GiB",
      "ETA 1:05" } do
    lu.assertStrContains(line, part)
  end
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
