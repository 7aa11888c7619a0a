-- What each strategy removes from models that are made so that the answer is known.

local lu = require "luaunit"
local sonde = require "sonde"
local strategy = require "sonde.sparse.strategy"
package.path = os.getenv "abs_srcdir" .. "/tests/prune/?.lua;" .. package.path
local made = require "made"

local text = made.ids(1200)

local function removed(model, name, n, options)
  local all = { strategy = name, remove = n, text = text }
  for key, value in pairs(options or {}) do all[key] = value end
  local _, facts = sonde.prune(model, all)
  return facts.removed, facts
end

TestStrategies = {}

function TestStrategies:test_silent_blocks_go_first()
  for _, blocks in ipairs { { 0 }, { 3 }, { 5 }, { 2, 3 } } do
    local model, silent = made.model { init_std = 0.1 }, {}
    for _, index in ipairs(blocks) do
      made.silence(model, index)
      silent[#silent + 1] = ("model.layers.%d.*"):format(index)
    end
    made.train(model, silent)
    for _, name in ipairs { "angular", "influence", "removal", "usefulness" } do
      local found, facts = removed(model, name, #blocks)
      lu.assertEquals(found, blocks, name)
      lu.assertAlmostEquals(facts.loss.pruned, facts.loss.before, 1e-6)
    end
  end
end

function TestStrategies:test_angular_takes_a_range_and_influence_does_not()
  local model = made.model()
  for _, index in ipairs { 0, 2, 3 } do made.silence(model, index) end
  lu.assertEquals(removed(model, "angular", 2), { 2, 3 })
  local found = removed(model, "influence", 3)
  lu.assertEquals(found, { 0, 2, 3 })
end

function TestStrategies:test_usefulness_prefers_a_linear_block_that_others_hold_dear()
  local model = made.train(made.model { init_std = 0.1, layers = { [2] = { placement = "linear" } } })
  lu.assertEquals(removed(model, "usefulness", 1), { 2 })
  lu.assertNotEquals(removed(model, "influence", 1), { 2 })
end

function TestStrategies:test_scores_are_what_was_chosen_by()
  local model = made.model()
  made.silence(model, 4)
  local _, facts = removed(model, "removal", 1)
  lu.assertEquals(#facts.scores, 6)
  lu.assertAlmostEquals(facts.scores[5], 0, 1e-6)
  _, facts = removed(model, "angular", 4)
  lu.assertEquals(#facts.scores, 3)                       -- first blocks of ranges of 4
  lu.assertNil(select(2, removed(model, "last", 4)).scores)
end

function TestStrategies:test_last()
  lu.assertEquals(removed(made.model(), "last", 2), { 4, 5 })
end

function TestStrategies:test_random_is_the_seeds_and_reaches_every_block()
  local model, counts = made.model(), { 0, 0, 0, 0, 0, 0 }
  for seed = 0, 199 do
    local task = { model = model, depth = 6, count = 2, seed = seed, what = "block", blocks = { 0, 1, 2, 3, 4, 5 } }
    local blocks = strategy.choose("random", task)
    lu.assertEquals(blocks, (strategy.choose("random", task)))
    for _, block in ipairs(blocks) do counts[block + 1] = counts[block + 1] + 1 end
  end
  -- 66.7, sd 6.7
  for _, count in ipairs(counts) do lu.assertTrue(count > 40 and count < 95, table.concat(counts, " ")) end
end

function TestStrategies:test_of_equal_scores_the_deepest()
  lu.assertEquals(strategy.lowest({ 1, 0, 2, 0 }, 3), { 3, 1, 0 })
end

function TestStrategies:test_a_strategy_of_ones_own()
  sonde.prune_strategy("first", function(task)
    local blocks = {}
    for i = 1, task.count do blocks[i] = i - 1 end
    return blocks, task.measure "variance"
  end, { text = true, doc = "the first blocks" })
  local found, facts = removed(made.model(), "first", 2)
  lu.assertEquals(found, { 0, 1 })
  lu.assertEquals(#facts.scores, 6)
  lu.assertErrorMsgContains("strategy 'first' measures", sonde.prune, made.model(), { strategy = "first", remove = 1 })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
