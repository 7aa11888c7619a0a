-- Gradients by values inside, by finite differences: of every placement with every norm, by each tap of the trace and
-- by the result of each module (norms, attention, feed-forward layer).

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"
local trace_type = require "sonde.model.trace"

package.path = os.getenv("abs_srcdir") .. "/tests/norms/?.lua;" .. package.path
local made = require "made"

local BATCH, CONTEXT, VOCAB, STEP, BOUND = 1, 4, 11, 1e-2, 0.02

-- A trace, and its places {name, node}: as it is; or with each of these values followed by the sum with a leaf of
-- zeros, which what comes after reads, and which stands in the place too.
local function trace_of(model, moves)
  local places = {}
  local function moved(name, x)
    local place = { name = name, node = x }
    places[#places + 1] = place
    if moves then
      place.leaf = core.tensor("f32", x:dims())
      place.node = x + x:graph():leaf("moved " .. #places, place.leaf)
    end
    return place.node
  end
  local tap, build = trace_type.tap, core.module_build
  trace_type.tap = function(self, x, name)
    return tap(self, name == "loss" and x or moved(name, x), name)
  end
  core.module_build = function(kind, name, ...)
    local y = build(kind, name, ...)
    return moved(kind, y)
  end
  local ok, trace = pcall(model.trace, model, { batch = BATCH, context = CONTEXT })
  trace_type.tap, core.module_build = tap, build
  if not ok then error(trace, 0) end
  return trace, places
end

local function check(placement, norm)
  local model = made.fill(sonde.transformer {
    vocab = VOCAB, width = 8, depth = 2, heads = 2, ffn_hidden = 12, context = CONTEXT, norm = norm,
    placement = placement,
  })
  local plain, values = trace_of(model, false)
  local trace, places = trace_of(model, true)
  lu.assertEquals(#values, #places)
  local nodes, inputs = {}, { tokens = { 3, 1, 4, 1 }, targets = { 5, 9, 2, 6 } }
  for i, value in ipairs(values) do nodes[i] = value.node end
  local plan = sonde.plan { plain.loss, table.unpack(plain.loss:sum():grad(nodes)) }
  plan:run(inputs)
  for i, place in ipairs(places) do place.gradient = plan:output(1 + i):values() end
  plan:close()
  plan = sonde.plan { plain.loss, table.unpack(nodes) }
  plan:run(inputs)
  for i, place in ipairs(places) do                      -- steps are a share of what is moved
    local sum = 0
    for _, value in ipairs(plan:output(1 + i):values()) do sum = sum + value * value end
    place.step = STEP * math.sqrt(sum / place.leaf:count())
  end
  local losses = sonde.plan { trace.loss }
  local function loss()
    losses:run(inputs)
    local sum = 0
    for _, value in ipairs(losses:output(1):values()) do sum = sum + value end
    return sum
  end
  for i, place in ipairs(places) do
    local along = made.numbers("along " .. i, place.leaf:count(), -1, 1)
    local want, size = 0, 0
    for k, g in ipairs(place.gradient) do want, size = want + g * along[k], size + g * g end
    local at = {}
    for side = -2, 2 do
      for k, a in ipairs(along) do place.leaf:set(k, side * place.step * a) end
      at[side] = loss()
    end
    place.leaf:fill(0)
    local got = (8 * (at[1] - at[-1]) - (at[2] - at[-2])) / (12 * place.step)
    local off = math.abs(got - want)
    lu.assertTrue(off <= BOUND * math.sqrt(size) + 1e-5 / place.step,
      placement .. ", " .. norm .. ", " .. place.name .. ": " .. want
      .. ", by differences " .. got)
  end
  plan:close()
  losses:close()
  return #places
end

TestTaps = {}

for _, norm in ipairs(core.modules "norm") do
  TestTaps["test_" .. norm] = function()
    for _, placement in ipairs(require("sonde.model.placement").names()) do
      lu.assertTrue(check(placement, norm) >= 4, placement)
    end
  end
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
