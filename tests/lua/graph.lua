-- Graphs from Lua: values of operators and methods, gradients, plans; handles that were closed or collected; mistakes
-- with the script's line.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"

local function assert_fails(text, f, ...)
  local ok, message = pcall(f, ...)
  lu.assertFalse(ok, text)
  lu.assertStrContains(message, text)
  return message
end

local function assert_close(values, expected, tolerance)
  lu.assertEquals(#values, #expected)
  for i, value in ipairs(values) do
    lu.assertTrue(math.abs(value - expected[i]) <= (tolerance or 1e-6) * math.max(1, math.abs(expected[i])),
      i .. ": " .. value .. " for " .. expected[i])
  end
end

-- The values of a function of one input.
local function values_of(f, values, dims)
  local g = sonde.graph()
  local x = g:input("x", "f32", dims or { #values })
  local plan = sonde.plan { f(x, g) }
  plan:run { x = values }
  return plan:output(1):values(), plan:output(1):dims()
end

TestNode = {}

function TestNode:test_whole_powers_of_negative_numbers()
  local x = { -2, 0, 0.5, 3 }
  for _, p in ipairs { 0, 1, 2, 3, 4, 5, 7, 10 } do
    local wanted, slope = {}, {}
    for i, v in ipairs(x) do wanted[i], slope[i] = v ^ p, p == 0 and 0 or p * v ^ (p - 1) end
    assert_close(values_of(function(a) return a ^ p end, x), wanted)
    assert_close(values_of(function(a) return (a ^ p):grad({ a })[1] + a * 0 end, x), slope)
  end
  assert_close(values_of(function(a) return (a ^ 1.5):grad({ a })[1] end, { 0, 4 }), { 0, 3 })
  assert_close(values_of(function(a) return a ^ -3 end, { -2, 0.5 }), { -0.125, 8 })
  assert_close(values_of(function(a) return (a ^ -3):grad({ a })[1] end, { -2, 0.5 }), { -3 / 16, -48 })
end

-- Of classes that are alike each has its share, however large their logits.
function TestNode:test_losses_of_large_logits()
  local rows = {
    { { 1e4, -1e4, 0, 1e4 }, math.log(2), { -0.5, 0, 0, 0.5 } },
    { { 1e30, 1e30, 1e30, 1e30 }, math.log(4), { -0.75, 0.25, 0.25, 0.25 } },
    { { -3e38, -3e38, -3e38, -3e38 }, math.log(4), { -0.75, 0.25, 0.25, 0.25 } },
    { { 300, 299, -math.huge, 298 }, math.log(1 + math.exp(-1) + math.exp(-2)), nil },
  }
  for _, row in ipairs(rows) do
    for _, make in ipairs {
      function(g, x) return x:reshape { 1, 4 }:cross_entropy(g:leaf("t", core.tensor("i32", { 1 }, 0))) end,
      function(g, x)
        local one = g:leaf("one", core.tensor("f32", { 1, 1 }, 1))
        return one:lm_loss(x:reshape { 4, 1 }, g:leaf("t", core.tensor("i32", { 1 }, 0)))
      end,
      function(_, x) return -x:reshape { 1, 4 }:log_softmax():slice(2, 1, 1) end,
    } do
      assert_close(values_of(function(x, g) return make(g, x) end, row[1]), { row[2] })
      if row[3] then assert_close(values_of(function(x, g) return make(g, x):grad({ x })[1] end, row[1]), row[3]) end
    end
  end
end

function TestNode:test_operators()
  local x = { 1, 2, 4 }
  local cases = {
    { function(a) return a + 1 end, { 2, 3, 5 } }, { function(a) return 1 + a end, { 2, 3, 5 } },
    { function(a) return a - 1 end, { 0, 1, 3 } }, { function(a) return 1 - a end, { 0, -1, -3 } },
    { function(a) return a * 3 end, { 3, 6, 12 } }, { function(a) return a / 2 end, { 0.5, 1, 2 } },
    { function(a) return 2 / a end, { 2, 1, 0.5 } }, { function(a) return -a end, { -1, -2, -4 } },
    { function(a) return a + a end, { 2, 4, 8 } }, { function(a) return a - a * 2 end, { -1, -2, -4 } },
    { function(a) return a * a end, { 1, 4, 16 } }, { function(a) return a / (a + 1) end, { 1 / 2, 2 / 3, 4 / 5 } },
    { function(a) return a ^ 2 end, { 1, 4, 16 } }, { function(a) return a ^ 0.5 end, { 1, math.sqrt(2), 2 } },
    { function(a) return a ^ -1 end, { 1, 0.5, 0.25 } }, { function(a) return a ^ 3 end, { 1, 8, 64 } },
    { function(a) return a ^ 1 end, x }, { function(a) return a:max(2) end, { 2, 2, 4 } },
    { function(a) return a:min(2) end, { 1, 2, 2 } }, { function(a) return a:greater(1) end, { 0, 1, 1 } },
    { function(a) return a:greater(1):where(a, -a) end, { -1, 2, 4 } },
    { function(a) return a:log():exp() end, x }, { function(a) return a:affine(2, 3) end, { 5, 7, 11 } },
  }
  for i, case in ipairs(cases) do
    local ok, message = pcall(assert_close, values_of(case[1], x), case[2])
    lu.assertTrue(ok, "case " .. i .. ": " .. tostring(message))
  end
end

function TestNode:test_reductions_keep_axes()
  local x = { { 1, 2, 3 }, { 4, 5, 9 } }
  local function check(f, values, dims)
    local got, shape = values_of(f, x, { 2, 3 })
    assert_close(got, values)
    lu.assertEquals(shape, dims)
  end
  check(function(a) return a:sum() end, { 24 }, {})
  check(function(a) return a:mean() end, { 4 }, {})
  check(function(a) return a:sum(2) end, { 6, 18 }, { 2, 1 })
  check(function(a) return a:mean(-1) end, { 2, 6 }, { 2, 1 })
  check(function(a) return a:sum(1) end, { 5, 7, 12 }, { 1, 3 })
  check(function(a) return a:sum { 1, 2 } end, { 24 }, { 1, 1 })
  check(function(a) return a:amax(2) end, { 3, 9 }, { 2, 1 })
  check(function(a) return a:variance(2) end, { 1, 7 }, { 2, 1 })
  check(function(a) return a:variance(2, true) end, { 2 / 3, 14 / 3 }, { 2, 1 })
end

function TestNode:test_shapes()
  local x = { 1, 2, 3, 4, 5, 6 }
  local function check(f, values, dims)
    local got, shape = values_of(f, x, { 2, 3 })
    assert_close(got, values)
    lu.assertEquals(shape, dims)
  end
  check(function(a) return a:reshape { 3, -1 } end, x, { 3, 2 })
  check(function(a) return a:transpose() end, { 1, 4, 2, 5, 3, 6 }, { 3, 2 })
  check(function(a) return a:permute { 2, 1 } end, { 1, 4, 2, 5, 3, 6 }, { 3, 2 })
  check(function(a) return a:slice(2, 2) end, { 2, 3, 5, 6 }, { 2, 2 })
  check(function(a) return a:slice(-1, 1, 1) end, { 1, 4 }, { 2, 1 })
  check(function(a) return a:slice(1, 2, 2):expand { 2, 3 } end, { 4, 5, 6, 4, 5, 6 }, { 2, 3 })
  check(function(a) return sonde.concat({ a, a:slice(2, 1, 1) }) end, { 1, 2, 3, 1, 4, 5, 6, 4 }, { 2, 4 })
  check(function(a) return sonde.concat({ a, a }, 1) end, { 1, 2, 3, 4, 5, 6, 1, 2, 3, 4, 5, 6 }, { 4, 3 })
  check(function(a) return a:matmul(a, { transpose_b = true }) end, { 14, 32, 32, 77 }, { 2, 2 })
  check(function(a) return a:linear(a) end, { 14, 32, 32, 77 }, { 2, 2 })
  check(function(a) return a:matmul(a, { transpose_a = true }) end, { 17, 22, 27, 22, 29, 36, 27, 36, 45 }, { 3, 3 })
  check(function(a) return a:cast "i32" end, x, { 2, 3 })
end

function TestNode:test_layers()
  local g = sonde.graph()
  local table_ = g:leaf("table", sonde.tensor("f32", { 3, 2 }, { 1, 2, 3, 4, 5, 6 }))
  local index = g:input("index", "i32", { 2 })
  lu.assertEquals(sonde.value(table_:gather(index), { index = { 2, 0 } }):values(), { 5, 6, 1, 2 })
  local loss = sonde.value(table_:cross_entropy(g:input("t", "i32", { 3 })), { t = { 0, 1, -1 } }):values()
  local expected = math.log(1 + math.exp(1))
  assert_close(loss, { expected, expected - 1, 0 })
  lu.assertEquals(sonde.value(table_:argmax()):values(), { 1, 1, 1 })
end

function TestNode:test_gradients()
  local g = sonde.graph()
  local x = g:input("x", "f32", { 3 })
  local y = (x * x * x + 2 * x):sum()
  local first = y:grad({ x })[1]
  local second = sonde.grad(first:sum(), { x })[1]
  local weighed = sonde.grad(x * 2, { x }, g:constant(5, { 3 }))[1]
  local unrelated = y:grad({ g:input("z", "f32", { 2 }) })[1]
  local plan = sonde.plan { first, second, weighed, unrelated }
  plan:run { x = { 1, 2, 3 } }
  assert_close(plan:output(1):values(), { 5, 14, 29 })
  assert_close(plan:output(2):values(), { 6, 12, 18 })
  assert_close(plan:output(3):values(), { 10, 10, 10 })
  lu.assertEquals(plan:output(4):values(), { 0, 0 })
end

function TestNode:test_names_and_looks()
  local g = sonde.graph()
  local x = g:input("x", "f32", { 2, 3 })
  local y = x:tanh():name "tap"
  lu.assertEquals(g:find "tap", y)
  lu.assertNil(g:find "none")
  lu.assertEquals(y:op(), "tanh")
  lu.assertEquals(x:op(), "input")
  lu.assertEquals(y:inputs()[1], x)
  lu.assertEquals(y:dtype(), "f32")
  lu.assertStrContains(tostring(y), "tanh f32 [2, 3]")
  lu.assertEquals(g:names(), { "x", "tap" })
  lu.assertEquals(y:graph(), g)
end

TestPlan = {}

function TestPlan:test_inputs_from_tables_and_tensors()
  local g = sonde.graph()
  local x = g:input("x", "f32", { 2, 2 })
  local into = sonde.tensor("f32", { 2, 2 })
  local plan = sonde.plan({ x * 2, x:sum() }, nil, { into })
  plan:run { x = { { 1, 2 }, { 3, 4 } } }
  lu.assertEquals(into:values(), { 2, 4, 6, 8 })
  lu.assertEquals(plan:output(2):get(1), 10)
  plan:run { x = sonde.tensor("f32", { 2, 2 }, 7) }
  lu.assertEquals(into:values(), { 14, 14, 14, 14 })
  local kept = sonde.tensor("f32", { 2, 2 }, 1)
  plan:set("x", kept)
  kept:set(4, 100)
  plan:run()
  lu.assertEquals(into:get(4), 200)
  lu.assertEquals(plan:outputs(), 2)
  plan:run { x = { { 5, 6 }, { 7, 8 } } }      -- goes into a tensor of the plan's own, not into the one that was set
  lu.assertEquals(into:values(), { 10, 12, 14, 16 })
  lu.assertEquals(kept:values(), { 1, 1, 1, 100 })
  plan:run { x = kept }
  lu.assertEquals(into:get(4), 200)
end

function TestPlan:test_info_and_dump()
  local g = sonde.graph()
  local x = g:input("x", "f32", { 64, 64 })
  local plan = sonde.plan { x:linear(x):tanh():sum() }
  local info = plan:info()
  lu.assertTrue(info.flops >= 2 * 64 ^ 3)
  lu.assertTrue(info.arena_bytes >= 64 * 64 * 4)
  local path = os.tmpname()
  plan:dump(path, "dot")
  lu.assertStrContains(core.read_file(path), "digraph")
  plan:dump(path)
  lu.assertStrContains(core.read_file(path), "matmul")
  os.remove(path)
end

-- The same numbers as without, run after run; what follows from leaves alone, an output among it, is computed once.
function TestPlan:test_what_follows_from_leaves_is_held()
  local g, weights = sonde.graph(), {}
  for i = 1, 64 do weights[i] = math.sin(i) end
  local w = sonde.tensor("f32", { 8, 8 }, weights)
  local x, leaf = g:input("x", "f32", { 8, 8 }), g:leaf("w", w)
  local square = leaf:matmul(leaf):tanh()
  local nodes = { x:matmul(square):tanh():matmul(leaf), square, x + square }
  local into = sonde.tensor("f32", { 8, 8 })
  for _, compute in ipairs { "f32", "bf16" } do
    local plain = sonde.plan(nodes, { compute = compute })
    local held = sonde.plan(nodes, { compute = compute, hold = true }, { [2] = into })
    if compute == "bf16" then         -- at once, not in the first run: what the leaf holds then does not matter
      held:hold()
      w:set(1, 100)
    end
    for run = 1, 3 do
      local values = {}
      for i = 1, 64 do values[i] = math.cos(i * run) end
      for i = 1, 64 do into:set(i, 7) end
      held:run { x = values }
      w:set(1, weights[1])
      plain:run { x = values }
      for k = 1, 3 do lu.assertEquals(held:output(k):values(), plain:output(k):values(), compute .. " " .. run) end
    end
    plain:close()
    local before = held:output(3):values()
    w:set(1, 100)
    held:run { x = before }
    held:run { x = before }
    lu.assertAlmostEquals(held:output(3):get(1), before[1] + into:get(1), 1e-6)       -- the old square
    lu.assertTrue(math.abs(into:get(1)) <= 1)
    w:set(1, weights[1])
    held:close()
  end
end

-- A leaf that the plan itself writes is a state, and nothing of it is held.
function TestPlan:test_a_state_is_not_held()
  local g = sonde.graph()
  local state = sonde.tensor("f32", { 4 }, { 1, 2, 3, 4 })
  local leaf = g:leaf("state", state)
  local plan = sonde.plan({ leaf * 2 }, { hold = true }, { state })
  plan:run()
  plan:run()
  lu.assertEquals(state:values(), { 4, 8, 12, 16 })
end

function TestPlan:test_a_budget_that_cannot_be_met()
  local g = sonde.graph()
  local x = g:input("x", "f32", { 512, 512 })
  local y = x:linear(x)
  assert_fails("graph.lua:", sonde.plan, { y:linear(y) }, { memory_budget = 1000 })
end

function TestPlan:test_same_bits_again()
  local g = sonde.graph()
  local x = g:input("x", "f32", { 50, 50 })
  local plan = sonde.plan { x:linear(x):softmax():linear(x):sum(1) }
  local values = {}
  for i = 1, 2500 do values[i] = math.sin(i) end
  plan:run { x = values }
  local first = plan:output(1):values()
  for _ = 1, 5 do
    plan:run()
    lu.assertEquals(plan:output(1):values(), first)
  end
end

TestTensor = {}

function TestTensor:test_dtypes()
  lu.assertEquals(sonde.tensor("bf16", { 3 }, { 1, 1.00390625, 3.14159274 }):values(), { 1, 1, 3.140625 })
  lu.assertEquals(sonde.tensor("i32", { 2 }, { -5, 7 }):values(), { -5, 7 })
  lu.assertEquals(sonde.tensor("f32", { 2, 2 }):values(), { 0, 0, 0, 0 })
  local t = sonde.tensor("f32", { 2, 3 }, 1)
  t:set(6, 5)
  lu.assertEquals({ t:get(6), t:count(), t:dtype(), t:dims() }, { 5, 6, "f32", { 2, 3 } })
end

function TestTensor:test_mistakes()
  assert_fails("unknown dtype 'f64'; known: f32, bf16, i32", sonde.tensor, "f64", { 1 })
  assert_fails("3 values for a tensor of 4 elements", sonde.tensor, "f32", { 4 }, { 1, 2, 3 })
  assert_fails("too many values: the tensor has 2 elements", sonde.tensor, "f32", { 2 }, { 1, 2, 3 })
  assert_fails("element 1 of an i32 tensor cannot be 1.5", sonde.tensor, "i32", { 1 }, { 1.5 })
  assert_fails("element 1 of an i32 tensor cannot be 3000000000", sonde.tensor, "i32", { 1 }, { 3000000000 })
  assert_fails("element 2 must be a number, not a string", sonde.tensor, "f32", { 2 }, { 1, "x" })
  assert_fails("at most 5 are possible", sonde.tensor, "f32", { 1, 1, 1, 1, 1, 1 })
  assert_fails("argument 'dims[1]' must be a whole number, not 1.5", sonde.tensor, "f32", { 1.5 })
  local t = sonde.tensor("f32", { 2 })
  assert_fails("element 3 of a tensor of 2 elements", t.get, t, 3)
  assert_fails("element 0 of a tensor", t.set, t, 0, 1)
end

TestClosed = {}

function TestClosed:test_closed_handles_say_so()
  local g = sonde.graph()
  local x = g:input("x", "f32", { 2 })
  local plan = sonde.plan { x * 2 }
  g:close()
  g:close()
  assert_fails("this graph has been closed", function() return x + 1, 1 end)
  assert_fails("this graph has been closed", function() x:dims() end)
  assert_fails("this graph has been closed", function() g:input("y", "f32", { 1 }) end)
  lu.assertEquals(tostring(g), "graph (closed)")
  plan:run { x = sonde.tensor("f32", { 2 }, { 1, 2 }) }
  plan:close()
  assert_fails("this plan has been closed", plan.run, plan)
  local t = sonde.tensor("f32", { 1 })
  t:close()
  assert_fails("this tensor has been closed", t.get, t, 1)
end

function TestClosed:test_a_plan_does_not_read_a_closed_tensor()
  local g = sonde.graph()
  local plan = sonde.plan { g:input("x", "f32", { 2 }) * 2 }
  local t = sonde.tensor("f32", { 2 }, 1)
  plan:run { x = t }
  t:close()
  assert_fails("the tensor that input 'x' was set to has been closed", plan.run, plan)
end

function TestClosed:test_to_be_closed_variables()
  local kept
  do
    local g <close> = sonde.graph()
    kept = g:input("x", "f32", { 1 })
  end
  assert_fails("this graph has been closed", function() kept:dims() end)
end

function TestClosed:test_collecting_everything_at_any_moment()
  local function make()
    local g = sonde.graph()
    local w = g:leaf("w", sonde.tensor("f32", { 8, 8 }, 0.5))
    return sonde.plan { g:input("x", "f32", { 4, 8 }):linear(w):sum() }, nil
  end
  local plan = make()
  for i = 1, 100 do
    collectgarbage()
    plan:run { x = sonde.tensor("f32", { 4, 8 }, i) }
    collectgarbage()
    lu.assertEquals(plan:output(1):get(1), 4 * 8 * 8 * 0.5 * i)
  end
  local node = sonde.graph():input("x", "f32", { 3 })
  for _ = 1, 20 do
    collectgarbage()
    node = node:tanh()
  end
  lu.assertEquals(node:dims(), { 3 })
end

function TestClosed:test_stress_while_tracing_and_planning()
  collectgarbage("setpause", 0)
  collectgarbage("setstepmul", 400)
  for i = 1, 60 do
    local g = sonde.graph()
    local x = g:input("x", "f32", { 16, 16 })
    local y = x
    for _ = 1, 10 do y = (y:linear(x) * 0.01):tanh() end
    local d = y:sum():grad { x }
    local plan = sonde.plan { y:sum(), d[1] }
    plan:run { x = sonde.tensor("f32", { 16, 16 }, 0.1 * i) }
    lu.assertEquals(plan:output(2):count(), 256)
  end
  collectgarbage("setpause", 200)
  collectgarbage("setstepmul", 100)
end

-- Each tensor is 1 MiB: a collector that knew only its own few bytes would let gigabytes pile up.
function TestClosed:test_dead_tensors_are_collected_in_time()
  local function resident()
    for line in io.lines("/proc/self/status") do
      local kib = line:match("^VmRSS:%s+(%d+)")
      if kib then return tonumber(kib) / 1024 end
    end
  end
  local before = resident()
  for _ = 1, 600 do sonde.tensor("f32", { 512, 512 }, 1) end
  lu.assertTrue(resident() - before < 350, resident() - before .. " MiB are held by dead tensors")
end

TestMistakes = {}

function TestMistakes:test_errors_of_the_core_have_the_scripts_line()
  local g = sonde.graph()
  local x = g:input("x", "f32", { 2, 3 })
  local function line() return tostring(debug.getinfo(2, "l").currentline) end
  local here
  local message = assert_fails("the inner sizes are 3 and 2", function()
    here = line(); local y = x:linear(x:reshape { 3, 2 })
    return y
  end)
  lu.assertStrContains(message, "graph.lua:" .. here .. ": ")
  message = assert_fails("a node has no method 'tahn'; did you mean 'tanh'?", function()
    here = line(); local y = x:tahn()
    return y
  end)
  lu.assertStrContains(message, "graph.lua:" .. here .. ": ")
end

function TestMistakes:test_a_graph_goes_on_after_a_mistake()
  local g = sonde.graph()
  local x = g:input("x", "f32", { 2, 3 })
  assert_fails("do not broadcast", function() return x + x:reshape { 3, 2 }, 1 end)
  assert_fails("unknown op 'tnh'; did you mean 'tanh'?", sonde.op, "tnh", { x })
  lu.assertEquals(x:tanh():dims(), { 2, 3 })
end

function TestMistakes:test_wrong_arguments()
  local g, other = sonde.graph(), sonde.graph()
  local x, y = g:input("x", "f32", { 2, 3 }), other:input("y", "f32", { 2, 3 })
  assert_fails("another graph", function() return x + y, 1 end)
  assert_fails("a node is needed", function() return x + "1", 1 end)
  assert_fails("argument 'nodes[1]' must be a node, not 1", sonde.plan, { 1 })
  assert_fails("a plan needs at least one output", sonde.plan, {})
  assert_fails("'recompute' of plan cannot be 'alwyas'; did you mean 'always'?", sonde.plan, { x },
    { recompute = "alwyas" })
  assert_fails("the name 'x' is taken", g.input, g, "x", "f32", { 1 })
  assert_fails("there is no axis 3 among 2", x.sum, x, 3)
  assert_fails("there is no axis -3 among 2", x.mean, x, -3)
  assert_fails("cast: unknown dtype 'f16'", x.cast, x, "f16")
  assert_fails("sonde has no 'transfromer'; did you mean 'transformer'?", function() return sonde.transfromer, 1 end)
  local plan = sonde.plan { x * 2 }
  assert_fails("the plan has no input 'z'", plan.run, plan, { z = { 1 } })
  assert_fails("no input 'z'", plan.run, plan, { z = sonde.tensor("f32", { 1 }) })
  assert_fails("input 'x' is f32 [2, 3], and was given i32 [2, 3]", plan.run, plan,
    { x = sonde.tensor("i32", { 2, 3 }) })
  assert_fails("x", plan.run, plan)
  assert_fails("the plan has no output 2", plan.output, plan, 2)
end

-- A message of f, which must be one line that names this file's line once.
local function said(f, ...)
  local ok, message = pcall(f, ...)
  lu.assertFalse(ok)
  lu.assertNotStrContains(message, "\n")
  local _, places = string.gsub(message, "graph%.lua:%d+: ", "")
  lu.assertEquals(places, 1, message)
  return (string.gsub(message, "^.-graph%.lua:%d+: ", ""))
end

function TestMistakes:test_values_nested_without_end()
  local cycle, deep = {}, { 1 }
  cycle[1] = cycle
  for _ = 1, 150000 do deep = { deep } end
  local expected = "values nested more than 5 deep, or a table that holds itself"
  local t = sonde.tensor("f32", { 2 }, { { { { { 1, 2 } } } } })
  lu.assertEquals(t:values(), { 1, 2 })
  for _, values in ipairs { cycle, deep } do
    lu.assertEquals(said(function() return sonde.tensor("f32", { 2 }, values), 1 end), expected)
    lu.assertEquals(said(function() return t:fill(values), 1 end), expected)
    for _, encode in ipairs { core.json_encode, core.yaml_encode } do
      lu.assertStrContains(said(function() return encode(values), 1 end),
        "a table nested too deeply, or one that holds itself")
    end
  end
end

function TestMistakes:test_axes_count_from_1_in_messages_too()
  local g = sonde.graph()
  local x = g:input("x", "f32", { 5 })
  lu.assertEquals(said(function() return x:slice(1, 2, 9), 1 end),
    "slice: 8 elements from element 2 on, of axis 1 of f32 [5]; the axis has 1 to 5")
  lu.assertEquals(said(function() return sonde.op("permute", { x }, nil, { 1, 1 }), 1 end),
    "permute: there is no axis 2 of f32 [5]; axes count from 1")
  lu.assertEquals(said(function() return x:tanh():result(2), 1 end), "tanh has no result 2")
end

function TestMistakes:test_an_op_is_named_once()
  local g = sonde.graph()
  local x, i = g:input("x", "f32", { 2, 3 }), g:input("i", "i32", { 2 })
  local values = { x = { 1, 2, 3, 4, 5, 6 }, i = { 7, 0 } }
  local rows, loss = sonde.plan { x:gather(i) }, sonde.plan { x:cross_entropy(i) }
  lu.assertEquals(said(function() rows:run(values) end), "input 'i': 7 at position 0; gather takes 0 to 1")
  lu.assertEquals(said(function() loss:run(values) end),
    "input 'i': 7 at position 0; cross_entropy takes -1 to 2")
  local computed = sonde.plan { x:gather(sonde.op("cast", { i * 1 }, nil, { 2 })) }
  lu.assertEquals(said(function() computed:run(values) end), "gather: index 7 at position 0; it must be 0 to 1")
end

function TestMistakes:test_a_module_is_named_with_what_it_did_wrong()
  sonde.norm("gives_number", function() return 3 end)
  sonde.norm("gives_nothing", function() end)
  local function trace(name)
    local model = sonde.transformer { vocab = 10, width = 8, depth = 2, heads = 2, context = 4, norm = name }
    return said(function() sonde.evaluate(model, { 1, 2, 3, 4, 5 }, { context = 4 }) end)
  end
  lu.assertEquals(trace("gives_number"), "block 0, norm 'attn' (gives_number): its result is a number, not a node")
  lu.assertEquals(trace("gives_nothing"), "block 0, norm 'attn' (gives_nothing): it gave no result and no reason")
  lu.assertStrMatches(said(function() sonde.norm("rmsnorm", function() end) end),
    "the norm 'rmsnorm' exists already, from .*rmsnorm%.so; give one of them another name")
  local ok, message = pcall(function() sonde.norm("gives_number", function() end) end)
  lu.assertFalse(ok)
  lu.assertStrMatches(message,
    ".-graph%.lua:%d+: the norm 'gives_number' exists already, from .-graph%.lua:%d+; give .*")
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
