-- Models of every norm and placement against PyTorch: the loss of each token, the gradients by each parameter and by
-- what is inside, and what probes measure.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"

local source = os.getenv("abs_srcdir")
package.path = source .. "/tests/norms/?.lua;" .. package.path
local made = require "made"

local BATCH, LENGTH, VOCAB = 2, 5, 13
local BOUND = 5e-5   -- of f32 beside f64, relative; where large terms cancel to less than LEAST, relative to that
local LEAST = 0.05

local function text_of(case)
  local options = { norm = case.norm or "rmsnorm", placement = case.placement or "pre_ln", attention = case.attention }
  return core.json_encode(options)
end

local function model_of(case)
  return made.fill(sonde.transformer {
    vocab = VOCAB, width = 8, depth = 2, heads = 4, kv_heads = 2, ffn_hidden = 12, context = 7,
    norm = case.norm or "rmsnorm",
    placement = case.placement or "pre_ln", attention = case.attention or "causal",
  })
end

local function check_gradient(text, name, tensor, expected)
  local values, product, square = tensor:values(), 0, 0
  local weights = made.numbers("weight of " .. name, #values, -1, 1)
  for i, value in ipairs(values) do
    product, square = product + value * weights[i], square + value * value
  end
  local off = math.abs(product - expected[1]) / math.max(expected[2], LEAST)
  lu.assertTrue(off < BOUND, text .. ": the gradient of " .. name .. " is off by " .. off)
  lu.assertTrue(math.abs(math.sqrt(square) - expected[2]) < BOUND * math.max(expected[2], LEAST), text .. ": " .. name)
end

-- The stream before and after blocks, and the result of each norm of a block: {name, node}.
local function inner_of(trace, expected, text)
  local list, named = {}, 0
  local function add(name, node)
    if expected[name] then list[#list + 1] = { name = name, node = node } end
  end
  add("embedding", trace.embedding)
  for i, part in ipairs(trace.parts) do
    add("blocks." .. i - 1 .. ".out", trace.blocks[i])
    for _, norm in ipairs(part.norms) do add("blocks." .. i - 1 .. " " .. norm.slot, norm.output) end
  end
  for _ in pairs(expected) do named = named + 1 end
  lu.assertEquals(#list, named, text)
  return list
end

local function flat(values)
  local list = {}
  for _, value in ipairs(values) do
    if type(value) == "table" then table.move(value, 1, #value, #list + 1, list) else list[#list + 1] = value end
  end
  return list
end

local function check_probes(text, model, expected)
  local ids, wanted = {}, {}
  for i = 0, BATCH * LENGTH do ids[i + 1] = i * 7 % VOCAB end
  for name in pairs(expected) do wanted[#wanted + 1] = name end
  local _, details = sonde.probe(model, ids, wanted, { context = LENGTH })
  for name, want in pairs(expected) do
    local got, largest = flat(details.probes[name].values), 0
    want = flat(want)
    lu.assertEquals(#got, #want, text)
    for _, value in ipairs(want) do largest = math.max(largest, math.abs(value)) end
    for i, value in ipairs(want) do
      local off = math.abs(got[i] - value)
      lu.assertTrue(off <= BOUND * largest, text .. ": " .. name .. " " .. i .. " is " .. got[i] .. ", not " .. value)
    end
  end
end

local function check(case)
  local text, model = text_of(case), model_of(case)
  local trace = model:trace { batch = BATCH, context = LENGTH }
  local tokens, targets, leaves = {}, {}, {}
  for i = 1, BATCH * LENGTH do
    tokens[i], targets[i] = (i - 1) * 7 % VOCAB, ((i - 1) * 5 + 3) % VOCAB
  end
  local trained = made.trained(model)
  lu.assertEquals(#trained, #case.gradients, text)
  for i, param in ipairs(trained) do leaves[i] = trace.graph:find(param.name) end
  local inner = inner_of(trace, case.inner, text)
  for _, value in ipairs(inner) do leaves[#leaves + 1] = value.node end
  local plan = sonde.plan { trace.loss, table.unpack(trace.loss:grad(leaves)) }
  plan:run { tokens = tokens, targets = targets }
  for i, loss in ipairs(plan:output(1):values()) do
    lu.assertTrue(math.abs(loss - case.losses[i]) < BOUND * math.max(1, case.losses[i]), text .. ": loss " .. i)
  end
  for i, param in ipairs(trained) do check_gradient(text, param.name, plan:output(1 + i), case.gradients[i]) end
  for i, value in ipairs(inner) do
    check_gradient(text, value.name, plan:output(1 + #trained + i), case.inner[value.name])
  end
  plan:close()
  if case.probes then check_probes(text, model, case.probes) end
end

local reference = core.json_load(source .. "/tests/reference/norms.json")

TestReference = {}

function TestReference:test_models_are_those_of_PyTorch()
  lu.assertTrue(#reference.cases > 40)
  for _, case in ipairs(reference.cases) do check(case) end
end

-- The buffer takes part: with another training context the estimate, and so the loss, is another.
function TestReference:test_the_context_of_the_training_counts()
  local function loss_of(context)
    local model = made.fill(sonde.transformer {
      vocab = VOCAB, width = 8, depth = 1, heads = 4, kv_heads = 2, context = context, norm = "bhyt",
    })
    local trace = model:trace { batch = 1, context = 2 }
    return sonde.value(trace:mean_loss(), { tokens = { 1, 2 }, targets = { 3, 4 } })
  end
  lu.assertNotEquals(loss_of(4), loss_of(40))
end

-- Each norm and each placement of Sonde's own is among the cases.
function TestReference:test_every_one_has_a_case()
  local seen = {}
  for _, case in ipairs(reference.cases) do
    for _, given in ipairs { case.norm or "rmsnorm", case.placement or "pre_ln" } do
      seen[type(given) == "table" and given.name or given] = true
    end
  end
  for _, name in ipairs(core.modules "norm") do lu.assertTrue(seen[name], name) end
  for _, name in ipairs(require("sonde.model.placement").names()) do lu.assertTrue(seen[name], name) end
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
