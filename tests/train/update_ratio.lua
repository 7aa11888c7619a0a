-- How far an update moves the weights of each block: measured without changing them, for optimizers of tiles and of
-- whole matrices.

local lu = require "luaunit"
local sonde = require "sonde"

local function corpus()
  local ids = {}
  for i = 1, 600 do ids[i] = (i * i + 3 * i) % 23 end
  return { vocab = 23, handle = sonde.tensor("i32", { 600 }, ids), spec = "made", hash = "made" }
end

local function values_of(model)
  local all = {}
  for _, param in ipairs(model:params():list()) do
    local block = string.match(param.name, "^model%.layers%.(%d+)%.")
    if block then
      block = tonumber(block) + 1
      all[block] = all[block] or {}
      for _, x in ipairs(model:params():find(param.name):values()) do table.insert(all[block], x) end
    end
  end
  return all
end

local function trained(optimizer, probe_every)
  local model = sonde.transformer { vocab = 23, width = 16, depth = 3, heads = 2, context = 12, seed = 5 }:init()
  local before, ratios = values_of(model), nil
  local result = sonde.train(model, corpus(),
    { steps = 1, batch = 4, warmup = 0, optimizer = optimizer, progress = false,
    eval_every = 0, probe_every = probe_every,
    hooks = { { every = 1, call = function(state) ratios = state.block_update_ratio end } } })
  return result.state_sha256, ratios, before, values_of(model)
end

TestRatio = {}

function TestRatio:test_is_that_of_the_weights()
  for _, optimizer in ipairs { "adamw", "sgd", "muon", "lion" } do
    local sha, ratios, before, after = trained(optimizer, 1)
    lu.assertEquals(#ratios, 3)
    for block = 1, 3 do
      local moved, weighed = 0, 0
      for i, x in ipairs(before[block]) do
        moved, weighed = moved + (after[block][i] - x) ^ 2, weighed + x ^ 2
      end
      lu.assertTrue(ratios[block] > 0)
      lu.assertAlmostEquals(ratios[block] / math.sqrt(moved / weighed), 1, 1e-9, optimizer)
    end
    local plain, none = trained(optimizer, 0)
    lu.assertEquals(plain, sha, optimizer)
    lu.assertNil(none)
  end
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
