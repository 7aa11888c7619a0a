-- The mixture of experts: values, losses and gradients of an independent forward pass (reference/make_moe.py), what it
-- is equal to, and that what works with models works with models that have one. Folders of other programs with experts
-- are in llamas.lua.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"

local reference = core.json_load(os.getenv "abs_srcdir" .. "/tests/reference/moe.json", true)
local scratch = os.tmpname()
os.remove(scratch)
core.mkdirs(scratch)

local function wave(start, n)
  local list = {}
  for k = 1, n do list[k] = math.sin(start + 0.7 * (k - 1)) end
  return list
end

local function count_of(dims)
  local n = 1
  for _, dim in ipairs(dims) do n = n * dim end
  return n
end

local function module_at(graph, params, block, name, options, x)
  local dims = x:dims()
  local site = core.site { graph = graph, params = params, block = block, layer = reference.layer,
    depth = reference.depth, slot = "ffn", prefix = "", width = dims[3], batch = dims[1], context = dims[2] }
  return core.module_build("ffn", name, site, x, options)
end

local function off(got, want)
  local most, size = 0, 1e-30
  for k, value in ipairs(want) do
    most, size = math.max(most, math.abs(got[k] - value)), math.max(size, math.abs(value))
  end
  return #got == #want and most / size or 1 / 0
end

local function published(block, graph)
  local by_name = {}
  for _, each in ipairs(block:published(graph)) do by_name[each.name] = each.node end
  return by_name
end

-- A layer with such parameters, and a list of its values: those of `names`, then the gradients of sum(y u) and the
-- losses by x and the parameters of `of`.
local function run(module_name, options, input, upstream, values, of, what, compute)
  local graph, params, block = core.graph(), core.params(1), core.block()
  local dims = { reference.batch, reference.context, reference.width }
  local x = graph:input("x", "f32", dims)
  local y = module_at(graph, params, block, module_name, options, x)
  local seen, total, leaves = published(block, graph), (y * graph:input("u", "f32", dims)):sum(), { x }
  for name, node in pairs(seen) do
    if string.find(name, "^loss%.") then total = total + node end
  end
  for k, name in ipairs(of) do leaves[k + 1] = params:node(graph, name) end
  local nodes = { y }
  for _, name in ipairs(what) do nodes[#nodes + 1] = seen[name] end
  for _, gradient in ipairs(core.grad(total, leaves)) do nodes[#nodes + 1] = gradient end
  for name, list in pairs(values) do params:find(name):fill(list) end
  local plan, results = core.plan(nodes, compute), {}
  plan:run { x = input, u = upstream }
  for k in ipairs(nodes) do results[k] = plan:output(k):values() end
  local dims_of = {}
  for _, param in ipairs(params:list()) do dims_of[param.name] = param.dims end
  plan:close()
  graph:close()
  return results, dims_of, seen
end

-- Parameter k starts at wave(0.5 + 13 (k - 1)).
local function waves_of(options, names)
  local graph, params, values = core.graph(), core.params(1), {}
  local x = graph:input("x", "f32", { reference.batch, reference.context, reference.width })
  module_at(graph, params, core.block(), "moe", options, x)
  for k, name in ipairs(names) do
    values[name] = wave(0.5 + 13 * (k - 1), count_of(params:find(name):dims()))
  end
  lu.assertEquals(#params:list(), #names)
  graph:close()
  return values
end

local INPUT = wave(1, reference.batch * reference.context * reference.width)
local UPSTREAM = wave(2, #INPUT)

TestReference = {}

for k, case in ipairs(reference.cases) do
  TestReference["test_case_" .. k] = function()
    local what = { "router.load", "router.entropy" }
    local results, _, seen = run("moe", case.options, INPUT, UPSTREAM, waves_of(case.options, case.params), case.params,
      what)
    lu.assertTrue(off(results[1], case.y) < 3e-6, "y is off by " .. off(results[1], case.y))
    lu.assertTrue(off(results[2], case.seen.load) < 1e-6, "the load")
    lu.assertTrue(off(results[3], case.seen.entropy) < 3e-6, "the entropy")
    lu.assertTrue(off(results[4], case.dx) < 1e-5, "dx is off by " .. off(results[4], case.dx))
    for i, name in ipairs(case.params) do
      local distance = off(results[4 + i], case.gradients[name])
      lu.assertTrue(distance < 1e-5, "the gradient by " .. name .. " is off by " .. distance)
    end
    for _, name in ipairs { "balance", "router_z" } do
      lu.assertEquals(seen["loss." .. name] ~= nil, case.losses[name] ~= nil, name)
    end
  end
  TestReference["test_losses_" .. k] = function()
    local list = {}
    for name in pairs(case.losses) do list[#list + 1] = name end
    local what = {}
    for i, name in ipairs(list) do what[i] = "loss." .. name end
    local results = run("moe", case.options, INPUT, UPSTREAM, waves_of(case.options, case.params), {}, what)
    for i, name in ipairs(list) do
      lu.assertAlmostEquals(results[1 + i][1] / case.losses[name], 1, 3e-6, name)
    end
  end
end

-- ---- what it is equal to ----------------------------------------------------------------------------------------

TestEqual = {}

local DENSE = { "gate_proj.weight", "up_proj.weight", "down_proj.weight" }

-- The dense layer's values, and for a mixture of E copies of it; the router is a wave.
local function copies(experts, hidden)
  local dense, mixture, width = {}, {}, reference.width
  for k, name in ipairs(DENSE) do
    dense[name] = wave(3 * k, hidden * width)
    local all = {}
    for e = 1, experts do
      for i, value in ipairs(dense[name]) do all[(e - 1) * #dense[name] + i] = value end
    end
    mixture["experts." .. name] = all
  end
  mixture["gate.weight"] = wave(0.3, experts * width)
  return dense, mixture
end

function TestEqual:test_identical_experts_are_the_dense_layer()
  local experts, hidden = 6, 4
  local dense, mixture = copies(experts, hidden)
  local want = run("swiglu", { hidden = hidden }, INPUT, UPSTREAM, dense, DENSE, {})
  for _, top_k in ipairs { 1, 2, 6 } do
    local options = { experts = experts, top_k = top_k, hidden = hidden, renormalize = true, balance = 0, z_loss = 0 }
    local names = {}
    for k, name in ipairs(DENSE) do names[k] = "experts." .. name end
    local got = run("moe", options, INPUT, UPSTREAM, mixture, names, {})
    for k = 1, 2 do lu.assertTrue(off(got[k], want[k]) < 2e-6, "value " .. k .. ", top_k " .. top_k) end
    for k in ipairs(DENSE) do      -- the experts' gradients add up to the dense layer's
      local sum, n = {}, #want[2 + k]
      for i, value in ipairs(got[2 + k]) do
        local at = (i - 1) % n + 1
        sum[at] = (sum[at] or 0) + value
      end
      lu.assertTrue(off(sum, want[2 + k]) < 3e-6, DENSE[k] .. ", top_k " .. top_k)
    end
  end
end

function TestEqual:test_experts_without_tokens()
  local _, mixture = copies(4, 3)
  for i = 1, 4 * reference.width do mixture["gate.weight"][i] = 0 end      -- all are equal: the lowest two have all
  local options = { experts = 4, top_k = 2, hidden = 3, balance = 1, balance_scaling = "sum" }
  local names = { "experts.gate_proj.weight", "experts.up_proj.weight", "experts.down_proj.weight" }
  local got = run("moe", options, INPUT, UPSTREAM, mixture, names, { "router.load", "loss.balance", "router.dropped" })
  lu.assertEquals(got[2], { 0.5, 0.5, 0, 0 })
  lu.assertAlmostEquals(got[3][1], 1, 1e-6)      -- 4 (1/2 1/4 + 1/2 1/4)
  lu.assertEquals(got[4], { 0 })
  for k = 1, 3 do
    local list = got[5 + k]
    for i, value in ipairs(list) do
      lu.assertEquals(value ~= 0, i <= #list / 2, names[k] .. ", element " .. i)
    end
  end
end

function TestEqual:test_bf16_rounds_products_and_not_the_router()
  local options, names = reference.cases[1].options, reference.cases[1].params
  local values = waves_of(options, names)
  local what = { "router.probabilities" }
  local exact = run("moe", options, INPUT, UPSTREAM, values, {}, what)
  local narrow = run("moe", options, INPUT, UPSTREAM, values, {}, what, { compute = "bf16" })
  lu.assertEquals(narrow[2], exact[2])
  local distance = off(narrow[1], exact[1])
  lu.assertTrue(distance > 1e-4 and distance < 3e-2, "bf16 is off by " .. distance)
end

-- ---- models -----------------------------------------------------------------------------------------------------

local ids = {}
for i = 1, 400 do ids[i] = (i * i + 3 * i) % 13 end

local function corpus()
  return { vocab = 13, handle = sonde.tensor("i32", { 400 }, ids), spec = "made", hash = "made" }
end

local function small(options)
  local all = { vocab = 13, width = 8, depth = 3, heads = 2, ffn_hidden = 6, context = 8, init_std = 0.4, seed = 3,
    ffn = { "moe", experts = 4, top_k = 2 } }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

local function logits_of(model, options)
  options = options or {}
  options.batch, options.context = 1, 8
  local trace, tokens = model:trace(options), {}
  for k = 1, 8 do tokens[k] = ids[k] end
  local values = sonde.value(trace:logits(), { tokens = tokens }):values()
  trace.graph:close()
  return values
end

TestModels = {}

function TestModels:test_losses_are_means_over_the_blocks_and_can_be_left_out()
  local model = small()
  local trace = model:trace { batch = 2, context = 8 }
  lu.assertEquals({ trace.losses[1].name, trace.losses[2].name, #trace.losses }, { "balance", "router_z", 2 })
  local tokens, targets = {}, {}
  for k = 1, 16 do tokens[k], targets[k] = ids[k], ids[k + 1] end
  local plan = core.plan { trace.losses[1].node, trace.parts[1]:lookup "loss.balance",
    trace.parts[2]:lookup "loss.balance", trace.parts[3]:lookup "loss.balance" }
  plan:run { tokens = tokens }
  local sum = plan:output(2):values()[1] + plan:output(3):values()[1] + plan:output(4):values()[1]
  lu.assertAlmostEquals(plan:output(1):values()[1], sum, 1e-7)
  lu.assertTrue(sum > 0.00999 and sum < 0.01 * 4)      -- 0.01 where the loads are even, 0.01 E where one has all
  plan:close()
  trace.graph:close()
  trace = model:trace { batch = 2, context = 8, loss_weights = { balance = 0 } }
  lu.assertEquals({ trace.losses[1].name, #trace.losses }, { "router_z", 1 })
  trace.graph:close()
end

function TestModels:test_training_lowers_the_loss_with_every_optimizer_and_mixed_blocks()
  for _, optimizer in ipairs { "adamw", "muon" } do
    for _, layers in ipairs { {}, { [0] = { ffn = { "swiglu", hidden = 10 } } } } do
      local model = small { layers = layers }
      local result = sonde.train(model, corpus(), { steps = 30, batch = 4, lr = 1e-2, optimizer = optimizer,
        progress = false, eval_every = 0, probe_every = 0 })
      lu.assertTrue(result.loss < 2.2, optimizer .. ": " .. result.loss)      -- ln 13 = 2.56
    end
  end
end

function TestModels:test_recomputed_activations_give_the_same_gradients()
  local function gradients(options)
    local model = small()
    local trace, leaves, tokens, targets = model:trace { batch = 1, context = 8 }, {}, {}, {}
    for k = 1, 8 do tokens[k], targets[k] = ids[k], ids[k + 1] end
    for k, param in ipairs(model:params():list()) do leaves[k] = model:params():node(trace.graph, param.name) end
    local plan, all = core.plan(core.grad(trace.total, leaves), options), {}
    plan:run { tokens = tokens, targets = targets }
    for k in ipairs(leaves) do all[k] = plan:output(k):values() end
    plan:close()
    trace.graph:close()
    return all
  end
  lu.assertEquals(gradients { recompute = "always", blocks = 3 }, gradients { recompute = "never", blocks = 3 })
end

function TestModels:test_a_muted_expert_is_one_whose_last_matrix_is_zero()
  local model = small()
  local whole, muted = logits_of(model), logits_of(model, { mute = { [1] = { 0, 2 } } })
  lu.assertNotEquals(muted, whole)
  local param = model:params():find "model.layers.1.mlp.experts.down_proj.weight"
  local values = param:values()
  for i = 1, #values do
    local e = math.floor((i - 1) / (#values / 4))
    if e == 0 or e == 2 then values[i] = 0 end
  end
  param:fill(values)
  lu.assertTrue(off(logits_of(model), muted) < 1e-6)
  lu.assertErrorMsgContains("mute: block 1 has no expert 4", logits_of, model, { mute = { [1] = { 4 } } })
  lu.assertErrorMsgContains("mute: there is no block 3", logits_of, model, { mute = { [3] = { 0 } } })
end

function TestModels:test_folders_adapters_folding_and_pruning()
  local model = small { ffn = { "moe", experts = 4, top_k = 2, shared = 5, shared_combine = "gated" } }
  local before, dir = logits_of(model), scratch .. "/own"
  model:save(dir)
  lu.assertEquals(core.json_load(dir .. "/config.json", true).model_type, "sonde")
  lu.assertEquals(logits_of(sonde.load(dir)), before)
  local folded = model:fold()
  lu.assertTrue(off(logits_of(folded), before) < 1e-5)
  lu.assertErrorMsgContains("not written as GGUF", sonde.export, model, scratch .. "/model.gguf")
  lu.assertStrContains(sonde.export(model, scratch .. "/exported").opens, "trust_remote_code=True")
  local pruned = sonde.prune(model, { blocks = { 1 }, heal = { steps = 2, batch = 2, lora = 2 },
    heal_text = corpus() })
  lu.assertEquals(pruned.config.depth, 2)
  lu.assertEquals(#logits_of(pruned), #before)
  lu.assertEquals(sonde.prune(model, { what = "ffn", blocks = { 1 } }).layers[2].without, "ffn")
end

function TestModels:test_low_rank_factors_are_of_each_expert()
  local model, name = small(), "model.layers.0.mlp.experts.gate_proj.weight"
  local params, before = model:params(), logits_of(model)
  params:low_rank(name, 2, 0.5)
  model:init()
  lu.assertEquals({ params:find(name .. ".lora_a"):dims(), params:find(name .. ".lora_b"):dims() },
    { { 4, 2, 8 }, { 4, 6, 2 } })
  lu.assertEquals(logits_of(model), before)
  params:find(name .. ".lora_b"):fill(wave(1, 4 * 6 * 2))
  local a, b, w = params:find(name .. ".lora_a"):values(), params:find(name .. ".lora_b"):values(),
    params:find(name):values()
  local want = {}
  for e = 0, 3 do
    for o = 0, 5 do
      for i = 0, 7 do
        local sum = 0
        for r = 0, 1 do sum = sum + b[e * 12 + o * 2 + r + 1] * a[e * 16 + r * 8 + i + 1] end
        local at = e * 48 + o * 8 + i + 1
        want[at] = w[at] + 0.5 * sum
      end
    end
  end
  lu.assertTrue(off(params:read(name):values(), want) < 1e-6)
  lu.assertErrorMsgContains("the rank is 1 to the smaller side", params.low_rank, params,
    "model.layers.0.mlp.experts.up_proj.weight", 7, 1)
end

function TestModels:test_generation_is_what_the_whole_text_has()
  local model = small()
  local got = sonde.generate(model, { { 1, 5, 2 } }, { tokens = 4, temperature = 0 })[1]
  local all = { 1, 5, 2 }
  for _, id in ipairs(got) do
    local trace = model:trace { batch = 1, context = #all }
    local logits, best = sonde.value(trace:logits(), { tokens = all }):values(), 0
    for v = 1, 12 do
      if logits[(#all - 1) * 13 + v + 1] > logits[(#all - 1) * 13 + best + 1] then best = v end
    end
    trace.graph:close()
    lu.assertEquals(id, best)
    all[#all + 1] = id
  end
end

function TestModels:test_what_cannot_be_is_refused_in_one_line()
  for _, case in ipairs {
    { { "moe", experts = 2, top_k = 3 }, "top_k 3 is more than there are experts (2)" },
    { { "moe", experts = 0 }, "experts" }, { { "moe", top_k = 0 }, "top_k" }, { { "moe", experts = 1e9 }, "experts" },
    { { "moe", balance = -1 }, "balance" }, { { "moe", balance_scaling = "none" }, "mean, sum, released" },
    { { "moe", experts = 65536, hidden = 1e7 }, "[65536, 10000000, 8]" },
    { { "moe", shared_combine = "mean" }, "shared_combine has no effect without a shared expert" },
    { { "moe", balance = 0, z_loss = 0, balance_scaling = "sum" }, "balance_scaling has no effect" },
  } do
    local ok, text = pcall(small, { ffn = case[1] })
    lu.assertFalse(ok, case[2])
    lu.assertStrContains(text, case[2])
    lu.assertNotStrContains(text, "\n")
  end
end

-- ---- probes -----------------------------------------------------------------------------------------------------

TestProbes = {}

function TestProbes:test_loads_entropies_and_what_an_expert_is_for()
  local model = small { layers = { [1] = { ffn = "swiglu" } } }
  model:params():find("model.layers.2.mlp.gate.weight"):fill(0)      -- all equal: the two lowest have all
  local names = { "expert_load", "expert_balance", "router_entropy", "expert_removal", "expert_importance" }
  local values, details = sonde.probe(model, ids, names, { context = 8 })
  local sum = 0
  for e = 1, 4 do sum = sum + values.expert_load[1][e] end
  lu.assertAlmostEquals(sum, 1, 1e-6)
  for e, want in ipairs { 0.5, 0.5, 0, 0 } do lu.assertAlmostEquals(values.expert_load[3][e], want, 1e-7) end
  lu.assertNaN(values.expert_load[2][1])
  lu.assertAlmostEquals(values.expert_balance[3], 0, 1e-6)      -- 1 - sqrt(1/4 over 4) / (1/4)
  lu.assertNaN(values.expert_balance[2])
  lu.assertAlmostEquals(values.router_entropy[3], math.log(4), 1e-6)
  lu.assertNaN(values.router_entropy[2])
  lu.assertEquals({ values.expert_removal[3][3], values.expert_removal[3][4] }, { 0, 0 })
  lu.assertNotEquals(values.expert_removal[3][1], 0)
  for i, row in ipairs(values.expert_importance) do
    for e, value in ipairs(row) do
      if value == value then
        lu.assertTrue(value <= 1 and (value == 0) == (values.expert_removal[i][e] == 0))
      end
    end
  end
  lu.assertEquals(details.passes, 9)      -- the model, and it without each of eight experts, once for both
  local dense = small { ffn = "swiglu" }
  for _, name in ipairs(names) do
    lu.assertErrorMsgContains("probe " .. name .. ": the model has no mixture of experts", sonde.probe, dense, ids,
      { name }, { context = 8 })
  end
end

local status = lu.LuaUnit.run("-o", "tap")
core.remove_tree(scratch)
os.exit(status, true)
