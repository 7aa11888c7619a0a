-- The losses of distillation and their gradients against PyTorch, of a live teacher and of a cached one; equal models.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"

local TOKENS, WIDTH, TEACHER_WIDTH = 5, 4, 6
local cases = core.json_load(os.getenv "abs_srcdir" .. "/tests/reference/distill.json")

-- As make_distill.py makes them.
local function made(n, seed, size)
  local x = {}
  for i = 0, n - 1 do x[i + 1] = size * math.sin(seed + 1.7 * i + 0.3 * i * i / n) end
  return x
end

local function leaf(g, name, dims, values) return g:leaf(name, core.tensor("f32", dims, values)) end

local function targets_of(g, classes)
  local targets = {}
  for t = 0, TOKENS - 1 do targets[t + 1] = t == 2 and -1 or (7 * t + 3) % classes end
  return g:leaf("targets", core.tensor("i32", { TOKENS }, targets))
end

local function attributes(case) return { case.temperature, case.cap, case.teacher_cap, case.top_p } end

-- The two losses of a case, and the gradients of their sums with weights.
local function plan_of(case, dtype, classes_of)
  local g, v = core.graph(), case.classes
  local x = leaf(g, "x", { TOKENS, WIDTH }, made(TOKENS * WIDTH, 1, case.size))
  local w = leaf(g, "w", { v, WIDTH }, made(v * WIDTH, 2, case.size))
  local tx = leaf(g, "tx", { TOKENS, TEACHER_WIDTH }, made(TOKENS * TEACHER_WIDTH, 3, case.size))
  local tw = leaf(g, "tw", { v, TEACHER_WIDTH }, made(v * TEACHER_WIDTH, 4, case.size))
  local divergence, both = core.divergence(case.name, case.options), nil
  if classes_of then
    local ids, logs = classes_of(tx, tw)
    both = core.op("distill_cached", { x, w, targets_of(g, v), ids, logs }, { case.temperature, case.cap, 0, 0 },
      { divergence, 0 })
  else
    both = core.op("distill", { x, w, targets_of(g, v), tx, tw }, attributes(case), { divergence, case.top_k })
  end
  local ce, kd = both, core.result(both, 2)
  local total = (ce * leaf(g, "dce", { TOKENS }, made(TOKENS, 5, 1))):sum()
    + (kd * leaf(g, "dkd", { TOKENS }, made(TOKENS, 6, 1))):sum()
  local grads = sonde.grad(total, { x, w })
  return core.plan({ ce, kd, grads[1], grads[2] }, { compute = dtype })
end

local function near(values, expected, margin, what)
  lu.assertEquals(#values, #expected)
  for i, value in ipairs(values) do
    lu.assertTrue(math.abs(value - expected[i]) <= margin * (1 + math.abs(expected[i])),
      what .. " " .. i .. ": " .. value .. ", expected " .. expected[i])
  end
end

local function dot(a, b)
  local sum = 0
  for i, x in ipairs(a) do sum = sum + x * b[i] end
  return sum
end

local function compare(case, plan, margin)
  local text = case.name .. " " .. core.json_encode(case.options) .. " top_k " .. case.top_k .. " top_p " .. case.top_p
    .. " T " .. case.temperature .. " of " .. case.classes
  plan:run()
  near(plan:output(1):values(), case.ce, margin, text .. " ce")
  near(plan:output(2):values(), case.kd, margin, text .. " kd")
  near(plan:output(3):values(), case.dx, margin, text .. " dx")
  local dw, sums = plan:output(4):values(), {}
  for k = 1, 4 do sums[k] = dot(dw, made(#dw, 6 + k, 1)) end
  near(sums, case.dw, margin, text .. " dw")
  near({ math.sqrt(dot(dw, dw)) }, { case.dw_norm }, margin, text .. " |dw|")
end

TestReference = {}

function TestReference:test_f32()
  for _, case in ipairs(cases) do compare(case, plan_of(case, "f32"), 4e-6) end
end

function TestReference:test_bf16()
  for _, case in ipairs(cases) do
    if case.top_k == 0 and case.top_p == 0 and case.size < 1 then compare(case, plan_of(case, "bf16"), 4e-2) end
  end
end

-- What teacher_top gives is the teacher's top k: the cached op computes the same.
function TestReference:test_cached()
  local n = 0
  for _, case in ipairs(cases) do
    if case.top_k > 0 then
      n = n + 1
      compare(case, plan_of(case, "f32", function(tx, tw)
        local top = core.op("teacher_top", { tx, tw }, { case.temperature, case.teacher_cap }, { case.top_k })
        return top, core.result(top, 2)
      end), 4e-6)
    end
  end
  lu.assertTrue(n > 8)
end

-- ---- equal models --------------------------------------------------------------------------------------------------

TestEqual = {}

-- Loss and gradient of a student with its teacher's numbers.
local function equal(name, options, attr, top_k)
  local g, v = core.graph(), 700
  local values, head = made(TOKENS * WIDTH, 1, 2), made(v * WIDTH, 2, 2)
  local x, w = leaf(g, "x", { TOKENS, WIDTH }, values), leaf(g, "w", { v, WIDTH }, head)
  local tx, tw = leaf(g, "tx", { TOKENS, WIDTH }, values), leaf(g, "tw", { v, WIDTH }, head)
  local both = core.op("distill", { x, w, targets_of(g, v), tx, tw }, attr, { core.divergence(name, options), top_k })
  local kd = core.result(both, 2)
  local grads = sonde.grad(kd:sum(), { x, w })
  local top = core.op("teacher_top", { tx, tw }, { attr[1], attr[3] }, { v })
  local plan = core.plan { kd, grads[1], grads[2], top, core.result(top, 2), core.result(top, 3) }
  plan:run()
  return plan:output(1):values(), plan:output(2):values(), plan:output(3):values(), plan:output(6):values()
end

function TestEqual:test_loss_and_gradient_are_zero()
  for _, name in ipairs(core.modules "distill") do
    for _, how in ipairs { { 1, 0, 0, 0, 0 }, { 2, 0, 0, 0, 0 }, { 1, 3, 3, 0, 0 }, { 1, 0, 0, 0, 5 },
      { 1.5, 0, 0, 0.7, 0 } } do
      local loss, dx, dw, entropy = equal(name, nil, { how[1], how[2], how[3], how[4] }, how[5])
      for t, value in ipairs(loss) do
        local sparse = how[4] > 0 or how[5] > 0
        local least = name == "soft_ce" and t ~= 3 and (sparse and value or entropy[t]) or 0
        lu.assertAlmostEquals(value, least, 2e-5, name)
      end
      for _, gradient in ipairs { dx, dw } do
        for _, value in ipairs(gradient) do lu.assertAlmostEquals(value, 0, 5e-6, name) end
      end
    end
  end
end

-- ---- refusals ------------------------------------------------------------------------------------------------------

TestRefused = {}

local function op(changes)
  local g = core.graph()
  local function f32(...) return g:leaf("l" .. #g:names(), core.tensor("f32", { ... })) end
  local in_ = { f32(5, 4), f32(11, 4), targets_of(g, 11), f32(5, 6), f32(11, 6) }
  local attr, ints = { 1, 0, 0, 0 }, { core.divergence "forward_kl", 0 }
  changes(in_, attr, ints, f32, g)
  return core.op("distill", in_, attr, ints)
end

function TestRefused:test_what_does_not_fit()
  local fails = lu.assertErrorMsgContains
  fails("needs x [N, D], w [V, D]", op, function(in_, _, _, f32) in_[1] = f32(5, 3) end)
  fails("with a teacher of", op, function(in_, _, _, f32) in_[5] = f32(12, 6) end)
  fails("with a teacher of", op, function(in_, _, _, f32) in_[4] = f32(4, 6) end)
  fails("the temperature must be over 0", op, function(_, attr) attr[1] = 0 end)
  fails("soft-cap must be positive", op, function(_, attr) attr[3] = -1 end)
  fails("one of them 0", op, function(_, attr, ints) attr[4], ints[2] = 0.5, 3 end)
  fails("there is no divergence 60000", op, function(_, _, ints) ints[1] = 60000 end)
  fails("unknown distill 'forwrd_kl'; did you mean 'forward_kl'?", core.divergence, "forwrd_kl")
  fails("cached classes", op, function(in_, _, _, f32, g)
    in_[4], in_[5] = g:leaf("ids", core.tensor("i32", { 5, 2 })), f32(5, 3)
  end)
end

function TestRefused:test_divergences()
  local fails = lu.assertErrorMsgContains
  sonde.distill("sums", function(_, _, x) return x * x:sum() end)
  fails("op 'sum' is not elementwise", core.divergence, "sums")
  sonde.distill("alone", function(site) return site:lookup "p" * 2 end)
  fails("'alone' does not depend on the student", core.divergence, "alone")
  sonde.distill("learned", function(site, _, x) return x * site:param("scale", { 1 }, "gain") end)
  fails("has a parameter, 'scale'", core.divergence, "learned")
  sonde.distill("nothing", function() end)
  fails("it gave no result and no reason", core.divergence, "nothing")
end

-- A script's divergence computes what the plugin of the same formula does, and equal ones are one function.
function TestRefused:test_a_script_beside_a_plugin()
  sonde.distill("kl_of_script", function(site, _, log_q) return site:lookup "p" * (site:lookup "log_p" - log_q) end)
  lu.assertEquals(core.divergence "kl_of_script", core.divergence "forward_kl")
  lu.assertNotEquals(core.divergence "reverse_kl", core.divergence "forward_kl")
  lu.assertEquals(core.divergence("jsd", { beta = 0.3 }), core.divergence("jsd", { beta = 0.3 }))
  lu.assertNotEquals(core.divergence("jsd", { beta = 0.3 }), core.divergence "jsd")
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
