-- Every placement with every norm: it traces, ten updates lower its loss, and its gradient is that of differences.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"
local placement = require "sonde.model.placement"

package.path = os.getenv("abs_srcdir") .. "/tests/norms/?.lua;" .. package.path
local made = require "made"

local VOCAB, BATCH, LENGTH = 13, 2, 6

-- Three blocks, of which placements that treat some otherwise have both kinds.
local function model_of(norm, name)
  local options = {
    mix_ln = { a = 0.34 }, scale_post_pre = { a = 0.34 }, pre_post = { first = 2 }, pre_sandwich = { first = 2 },
    pre_post_pre_post = { every = 2 }, post_pre_post_pre = { every = 2 },
  }
  local given = { name }
  for key, value in pairs(options[name] or {}) do given[key] = value end
  return sonde.transformer {
    vocab = VOCAB, width = 8, depth = 3, heads = 4, kv_heads = 2, ffn_hidden = 12, context = LENGTH, norm = norm,
    placement = given,
  }
end

local function each(f)
  local count = 0
  for _, norm in ipairs(core.modules "norm") do
    for _, name in ipairs(placement.names()) do
      f(norm, name, norm .. " under " .. name)
      count = count + 1
    end
  end
  lu.assertTrue(count >= 6 * 23)
end

-- Text with something to learn at once: two tokens in turn, and every seventh another one.
local function text(n)
  local values = {}
  for i = 1, n do values[i] = i % 7 == 0 and i % VOCAB or (i % 2 == 0 and 4 or 9) end
  return sonde.tensor("i32", { n }, values)
end

TestTable = {}

function TestTable:test_each_learns()
  local corpus = { vocab = VOCAB, handle = text(3000), spec = "made", hash = "made" }
  each(function(norm, name, what)
    local model = model_of(norm, name)
    local options = { steps = 10, batch = 8, lr = 0.03, warmup = 0, schedule = "constant", log_every = 1,
      eval_every = 0, probe_every = 0, progress = false }
    local result = sonde.train(model, corpus, options)
    lu.assertNil(result.diverged, what)
    lu.assertEquals(result.steps, 10, what)
    lu.assertTrue(result.train_loss < 2.35, what .. ": loss " .. result.train_loss)   -- at first about ln 13 = 2.56
  end)
end

-- ---- gradients ------------------------------------------------------------------------------------------------

-- The loss as a function of the parameters, with their gradients; BHyT's estimate is no function of the first lambda,
-- as far as gradients go, so that stays where it is.
local function function_of(norm, name)
  local model = made.fill(model_of(norm, name))
  local trace = model:trace { batch = BATCH, context = LENGTH }
  local self = { trained = {}, start = {}, inputs = { tokens = {}, targets = {} } }
  local leaves = {}
  for i = 1, BATCH * LENGTH do
    self.inputs.tokens[i], self.inputs.targets[i] = i * 7 % VOCAB, (i * 5 + 3) % VOCAB
  end
  for _, param in ipairs(made.trained(model)) do
    if not (norm == "bhyt" and param.name:find "input_layernorm.lambda") then
      local k = #leaves + 1
      leaves[k] = trace.graph:find(param.name)
      self.trained[k] = model:params():find(param.name)
      self.start[k] = self.trained[k]:values()
    end
  end
  local loss = trace.loss:sum()
  self.loss, self.gradient = sonde.plan { loss }, sonde.plan(loss:grad(leaves))
  return self
end

local function loss_at(self, direction, step)
  for k, tensor in ipairs(self.trained) do
    local moved = {}
    for i, value in ipairs(self.start[k]) do moved[i] = value + step * direction[k][i] end
    tensor:fill(moved)
  end
  self.loss:run(self.inputs)
  return self.loss:output(1):get(1)
end

-- How far the slope along a direction of signs is from the gradient's, over the size of the gradient.
local function distance_by(self, number, step, spoil)
  local direction, expected, square = {}, 0, 0
  loss_at(self, self.start, 0)
  self.gradient:run(self.inputs)
  for k in ipairs(self.trained) do
    direction[k] = {}
    local signs = made.numbers("direction " .. number .. " of " .. k, #self.start[k], -1, 1)
    for i, value in ipairs(self.gradient:output(k):values()) do
      if spoil and k == #self.trained then value = value * spoil end
      direction[k][i] = signs[i] < 0 and -1 or 1
      expected, square = expected + value * direction[k][i], square + value * value
    end
  end
  local near = loss_at(self, direction, step) - loss_at(self, direction, -step)
  local far = loss_at(self, direction, 2 * step) - loss_at(self, direction, -2 * step)
  return math.abs((8 * near - far) / (12 * step) - expected) / math.sqrt(square)
end

local DIRECTIONS, BOUND = 2, 2e-3

-- By the first step, or by the second where the loss bends too much within the first.
local function distance(self, number, spoil)
  local off = distance_by(self, number, 5e-4, spoil)
  return off < BOUND and off or math.min(off, distance_by(self, number, 1e-4, spoil))
end

function TestTable:test_each_has_the_gradient_of_its_differences()
  each(function(norm, name, what)
    local case = function_of(norm, name)
    for number = 1, DIRECTIONS do
      local off = distance(case, number)
      lu.assertTrue(off < BOUND, what .. ": off by " .. off)
    end
  end)
end

function TestTable:test_a_wrong_gradient_is_found()
  for _, norm in ipairs { "rmsnorm", "bhyt" } do
    lu.assertTrue(distance(function_of(norm, "pre_ln"), 1, 1.1) > BOUND)
  end
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
