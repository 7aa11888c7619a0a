-- Searches: how often policies find the grid's optimum on made curves with noise, their state, and sweeps that use
-- them.

local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"
local bootstrap = require "sonde.probe.bootstrap"
local gaussian = require "sonde.sweep.gaussian"
local policies = require "sonde.sweep.search"
local sweep_view = require "sonde.sweep.view"

local SIZES = 16

local function normal(random)
  local sum = 0
  for _ = 1, 12 do sum = sum + random(1000000) / 1000000 end
  return sum - 6
end

-- Arms of sizes 1, 1.5, 1.5^2 .., and of budgets where given.
local function arms_of(budgets)
  local arms = {}
  for _, budget in ipairs(budgets or { false }) do
    for k = 1, SIZES do arms[#arms + 1] = { size = 1.5 ^ (k - 1), tokens = budget or nil } end
  end
  return arms
end

-- A loss with its least value at size 1.5^(best - 1); less text adds what is left to learn.
local function made(arm, best, noise, random)
  local more = arm.tokens and 2 * arm.tokens ^ -0.3 or 0
  return 3 + 0.1 * (math.log(arm.size) - (best - 1) * math.log(1.5)) ^ 2 + more + noise * normal(random)
end

-- The best arm by a search, how many arms it asked for and what they cost over the grid at the largest budget.
local function searched(options, arms, best, noise, random)
  local search, asked, cost, largest = policies.new(options, arms), 0, 0, 0
  for _, arm in ipairs(arms) do largest = math.max(largest, arm.tokens or 1) end
  for k in function() return search:ask() end do
    asked, cost = asked + 1, cost + (arms[k].tokens or 1)
    search:tell(k, made(arms[k], best, noise, random))
  end
  return arms[search:ranking()[1]].size, asked, cost / (SIZES * largest)
end

local OPTIONS = {
  grid = { policy = "grid", metric = "loss" },
  random = { policy = "random", metric = "loss" },
  asha = { policy = "asha", metric = "loss", budget = "tokens", eta = 3 },
  golden = { policy = "golden", metric = "loss", axis = "size" },
  bayes = { policy = "bayes", metric = "loss", axis = "size" },
}

-- Share of searches that find the best arm, and of those that find it or a neighbour; the mean cost.
local function rate(name, noise, times)
  local random, hits, near, cost = bootstrap.random(3), 0, 0, 0
  local arms = arms_of(name == "asha" and { 1, 3, 9 } or nil)
  for t = 1, times do
    local best = 2 + (t % (SIZES - 2))
    local options = {}
    for key, value in pairs(OPTIONS[name]) do options[key] = value end
    options.seed = t
    local size, _, share = searched(options, arms, best, noise, random)
    local off = math.abs(math.log(size) / math.log(1.5) - (best - 1))
    if off < 0.1 then hits = hits + 1 end
    if off < 1.1 then near = near + 1 end
    cost = cost + share / times
  end
  return hits / times, near / times, cost
end

TestPolicies = {}

function TestPolicies:test_how_often_they_find_the_optimum()
  local least = {      -- without noise; at a noise of a neighbour's difference: the best or a neighbour
    grid = { 1, 0.95, 1 }, random = { 0.2, 0.5, 0.4 }, asha = { 1, 0.95, 0.4 }, golden = { 1, 0.9, 0.4 },
    bayes = { 1, 0.95, 0.45 },
  }
  for _, name in ipairs { "grid", "random", "asha", "golden", "bayes" } do
    local hits, _, cost = rate(name, 0, 28)
    local _, near = rate(name, 0.0164, 56)
    lu.assertTrue(hits >= least[name][1], name .. " finds it in " .. hits)
    lu.assertTrue(near >= least[name][2], name .. " is near it in " .. near)
    lu.assertTrue(cost <= least[name][3] + 1e-9, name .. " costs " .. cost)
  end
end

function TestPolicies:test_saved_and_resumed_they_ask_the_same()
  for name, options in pairs(OPTIONS) do
    local arms, random = arms_of(name == "asha" and { 1, 3, 9 } or nil), bootstrap.random(5)
    local values = {}
    for k, arm in ipairs(arms) do values[k] = made(arm, 6, 0.01, random) end
    local whole = policies.new(options, arms)
    local parts = policies.new(options, arms)
    for k in function() return whole:ask() end do
      parts = policies.resume(options, arms, core.json_decode(core.json_encode(parts:save()), "state"))
      lu.assertEquals(parts:ask(), k)
      local value = k ~= 5 and values[k] or nil        -- one arm diverges
      whole:tell(k, value)
      parts:tell(k, value)
    end
    lu.assertNil(parts:ask())
    lu.assertEquals(parts:ranking(), whole:ranking())
    lu.assertNotEquals(whole:ranking()[1], 5)
  end
end

-- A search whose values come `jobs` at a time, in an order of their own; returns what it asked for and its ranking.
local function with_jobs(options, arms, values, jobs, random)
  local search, running = policies.new(options, arms), {}
  local kill_at = random(20)
  while true do
    while #running < jobs do
      local k, waits = search:ask()
      if not k then
        lu.assertEquals(waits, #running > 0)
        break
      end
      running[#running + 1] = k
    end
    if #running == 0 then break end
    local k = table.remove(running, random(#running) + 1)
    search:tell(k, values[k])
    kill_at = kill_at - 1
    if kill_at == 0 then      -- those that run are asked for again
      search, running = policies.resume(options, arms, core.json_decode(core.json_encode(search:save()), "state")), {}
    end
  end
  local asked = {}
  for i, k in ipairs(search.asked) do asked[i] = k end
  table.sort(asked)
  return asked, search:ranking(), search:save()
end

function TestPolicies:test_which_arms_are_run_does_not_depend_on_how_many_run_at_a_time()
  for _, name in ipairs { "grid", "random", "asha", "golden", "bayes" } do
    local options = { batch = 2 }
    for key, value in pairs(OPTIONS[name]) do options[key] = value end
    for best = 1, SIZES, 3 do
      local arms, random = arms_of(name == "asha" and { 1, 3, 9 } or nil), bootstrap.random(best)
      local values = {}
      for k, arm in ipairs(arms) do values[k] = made(arm, best, 0.02, random) end
      values[best] = nil        -- it diverges
      local asked, ranking, state = with_jobs(options, arms, values, 1, random)
      for _, jobs in ipairs { 2, 3, 16 } do
        local asked_too, ranking_too, state_too = with_jobs(options, arms, values, jobs, random)
        lu.assertEquals(asked_too, asked, name .. " with " .. jobs .. " jobs")
        lu.assertEquals(ranking_too, ranking)
        lu.assertEquals(state_too, state)
      end
    end
  end
end

function TestPolicies:test_asha_promotes_who_is_sure_to_be_promoted_before_the_rung_is_over()
  local search = policies.new({ policy = "asha", metric = "loss", budget = "tokens", eta = 2, most = 1 },
    { { a = 1, tokens = 1 }, { a = 2, tokens = 1 }, { a = 3, tokens = 1 }, { a = 4, tokens = 1 },
      { a = 1, tokens = 8 }, { a = 2, tokens = 8 }, { a = 3, tokens = 8 }, { a = 4, tokens = 8 } })
  for k = 1, 4 do lu.assertEquals(search:ask(), k) end
  search:tell(2, 0.5)
  search:tell(4, 0.1)
  lu.assertEquals({ search:ask() }, { nil, true })     -- both that are out may be better
  search:tell(1, 0.2)
  lu.assertEquals(search:ask(), 8)
  lu.assertEquals({ search:ask() }, { nil, true })
  search:tell(3, 0.3)
  lu.assertEquals(search:ask(), 5)
  search:tell(5, 1)
  search:tell(8, 2)
  lu.assertEquals({ search:ask() }, { nil, false })
  lu.assertEquals(search:ranking(), { 5, 8, 4, 1, 3, 2 })
end

-- Twelve sizes at rungs 1 : 4, of which the dearest three cost as much as all others.
local function of_sizes(cost, most)
  local arms = {}
  for _, tokens in ipairs { 1, 4 } do
    for size = 1, 12 do arms[#arms + 1] = { size = size, tokens = tokens } end
  end
  return { policy = "asha", metric = "loss", budget = "tokens", eta = 4, most = most or 0.5,
    cost = cost and function(p) return p.tokens * (p.size > 9 and 3 or 1) end or nil }, arms
end

function TestPolicies:test_asha_keeps_to_its_share_of_the_operations_whichever_arms_are_promoted()
  lu.assertIsTable(policies.new(of_sizes(false)))        -- in budgets: (12 + 3 x 4) / (12 x 4)
  lu.assertErrorMsgContains("may take 75.0 % of the grid's compute, most is 50.0 %; with one arm on each rung behind "
    .. "the first it is 41.7 %, the least for these rungs: give smaller first values of 'tokens'", policies.new,
    of_sizes(true))
  local options, arms = of_sizes(true, 0.75)
  for dearest = 0, 1 do        -- the largest are the best, or the smallest
    local search, spent, whole = policies.new(options, arms), 0, 0
    for k in function() return search:ask() end do
      spent = spent + options.cost(arms[k])
      search:tell(k, arms[k].size * (1 - 2 * dearest))
    end
    for k = 13, 24 do whole = whole + options.cost(arms[k]) end
    lu.assertAlmostEquals(spent / whole, dearest == 1 and 0.75 or 18 / 72 + 12 / 72, 1e-12)
  end
  options.cost = function() return 0 end
  lu.assertErrorMsgContains("cost must give a number above 0, not 0", policies.new, options, arms)
end

function TestPolicies:test_no_policy_asks_for_more_arms_than_it_says()
  for name, options in pairs(OPTIONS) do
    local arms, longest, most = arms_of(name == "asha" and { 1, 3, 9 } or nil), 0, nil
    for best = 1, SIZES do
      local search, asked = policies.new(options, arms), 0
      most = search:most()
      for k in function() return search:ask() end do
        asked = asked + 1
        search:tell(k, made(arms[k], best, 0, bootstrap.random(1)))
      end
      longest = math.max(longest, asked)
    end
    lu.assertEquals(longest, most, name)
  end
end

function TestPolicies:test_larger_can_be_better()
  local search = policies.new({ policy = "grid", metric = "accuracy", higher = true }, { { a = 1 }, { a = 2 } })
  search:tell(search:ask(), 0.2)
  search:tell(search:ask(), 0.7)
  lu.assertEquals(search:ranking(), { 2, 1 })
end

function TestPolicies:test_mistakes_are_refused()
  local function refused(text, options, arms)
    lu.assertErrorMsgContains(text, policies.new, options, arms)
  end
  refused("asha needs budget", { policy = "asha", metric = "loss" }, arms_of())
  refused("one value; give two", { policy = "asha", metric = "loss", budget = "tokens", most = 1 }, arms_of { 1 })
  refused("% of the grid's compute", { policy = "asha", metric = "loss", budget = "tokens" }, arms_of { 1, 2 })
  refused("golden needs axis", { policy = "golden", metric = "loss", axis = "width" }, arms_of())
  refused("searches one parameter", { policy = "bayes", metric = "loss", axis = "size" }, arms_of { 1, 2 })
  local search = policies.new(OPTIONS.grid, arms_of())
  search:ask()
  lu.assertErrorMsgContains("told of arm 3, which was not asked for", search.tell, search, 3, 1)
  search:tell(1, 1)
  lu.assertErrorMsgContains("told of arm 1 twice", search.tell, search, 1, 1)
  lu.assertErrorMsgContains("one of grid, not of golden", policies.resume, OPTIONS.golden, arms_of(), search:save())
  lu.assertErrorMsgContains("other arms or options", policies.resume, OPTIONS.golden, arms_of(),
    { policy = "golden", told = { { 1, 2 } } })
end

function TestPolicies:test_what_is_no_value_or_no_state_is_refused()
  local arms = arms_of()
  local search = policies.new(OPTIONS.golden, arms)
  lu.assertErrorMsgContains("must be a number or nil, not a string", search.tell, search, search:ask(), "3")
  for _, state in ipairs { {}, { policy = "golden" }, { policy = "golden", told = { 5 } }, { policy = "golden",
    told = { { 99, 1 } } }, { policy = "golden", told = { { 1, "3" } } }, { policy = "golden", told = { { 1 } } },
    { policy = "golden", told = { { 7, 1 }, { 7, 2 } } } } do
    lu.assertErrorMsgContains("the state is none: it has a policy and the list told", policies.resume, OPTIONS.golden,
      arms, state)
  end
  for name, key in pairs { golden = "axis", bayes = "axis", asha = "budget" } do
    local options = { each = { OPTIONS[name][key] } }
    for k, value in pairs(OPTIONS[name]) do options[k] = value end
    lu.assertErrorMsgContains("each search would have one arm", policies.check, options)
  end
end

function TestPolicies:test_a_process_is_exact_where_it_was_told_and_unsure_elsewhere()
  local process = gaussian.fit({ 0, 1, 2 }, { 1, 0, 1 })
  local mean, sd = process:at(1)
  lu.assertAlmostEquals(mean, 0, 1e-2)
  lu.assertTrue(sd < 0.05)
  lu.assertTrue(select(2, process:at(3)) > 0.1)
  lu.assertTrue(process:improvement(0, 0) < 1e-3)
end

function TestPolicies:test_bayes_ranks_values_of_any_magnitude()
  for _, scale in ipairs { 1, -1, 1e160, -1e160, 1e307, 1e-200 } do
    local search = policies.new({ policy = "bayes", metric = "loss", axis = "size", higher = scale < 0 }, arms_of())
    for k in function() return search:ask() end do search:tell(k, scale * (1 + math.abs(k - 5))) end
    lu.assertEquals(search:ranking()[1], 5, "scale " .. scale)
    lu.assertEquals(#search:ranking(), 7)
  end
end

-- ---- sweeps --------------------------------------------------------------------------------------------------------

local program = os.getenv "SONDE"
local root = os.tmpname()
os.remove(root)

-- A sweep of 9 rates and 3 budgets in another process, which is killed in its trial number `at` if that is given.
local function child(name, at)
  core.mkdirs(root)
  local path = root .. "/script.lua"
  core.write_file(path, ([[
    local sonde = require "sonde"
    local count = 0
    local sweep = sonde.sweep { name = "%s", root = "%s", search = { policy = "asha", metric = "loss",
      budget = "tokens" }, grid = { lr = { 1, 2, 3, 4, 5, 6, 7, 8, 9 }, tokens = { 1, 3, 9 }, seed = { 1, 2 } } }
    sweep:run(function(trial, p)
      count = count + 1
      if count == tonumber(os.getenv "KILL_AT") then os.execute "kill -9 $PPID" end
      trial:report { loss = (p.lr - 6.1) ^ 2 + 1 / p.tokens + p.seed * 0.01 }
    end)
    for _, arm in ipairs(sweep:ranking()) do
      print(("%%d %%d %%.4f"):format(arm.params.lr, arm.params.tokens, arm.value))
    end]]):format(name, root))
  local pipe = assert(io.popen(("KILL_AT=%d exec '%s' run '%s' 2>'%s/err.txt'"):format(at or 0, program, path, root)))
  local output = pipe:read "a"
  local _, _, status = pipe:close()
  return output, status
end

TestSweeps = {}

function TestSweeps:tearDown() os.execute("rm -rf '" .. root .. "'") end

function TestSweeps:test_killed_and_run_again_the_ranking_is_the_same()
  local whole = child("whole")
  lu.assertStrContains(whole, "6 9 0.1361\n")
  lu.assertEquals(#core.runs(root, "whole"), 2 * (9 + 3 + 1))
  local _, status = child("killed", 4)
  lu.assertNotEquals(status, 0)
  lu.assertNotEquals(select(2, child("killed", 17)), 0)
  local again = child("killed")
  lu.assertEquals(again, whole)
  local state = core.json_load(root .. "/killed/search.json")
  lu.assertEquals(state, core.json_load(root .. "/whole/search.json"))
end

function TestSweeps:test_the_time_that_is_left_is_not_said_of_a_search()
  local options = { name = "s", root = root, grid = { size = { 1, 2, 4 } } }
  for _, search in ipairs { false, { policy = "golden", metric = "loss", axis = "size" } } do
    options.search = search or nil
    local view = sweep_view.new(sonde.sweep(options), 1)
    view.ran[1] = { params = { size = 1 }, seconds = 60 }
    lu.assertEquals(view:eta(), not search and 180 or nil)
    lu.assertEquals(view:rate(), not search and ", about 3 min 00 s left" or "")
  end
end

function TestSweeps:test_what_is_shown_of_a_search_is_of_the_trials_that_it_runs()
  local options = { name = "shown", root = root, grid = { size = { 1, 2, 4, 8, 16, 32, 64, 128 }, seed = { 1, 2 } },
    search = { policy = "golden", metric = "loss", axis = "size" } }
  local sweep = sonde.sweep(options)
  lu.assertEquals(sweep_view.new(sweep, 1):summary_line(), "shown: at most 10 queued")
  local lines = {}
  sweep:run(function(trial, p)
    lines[#lines + 1] = sweep_view.new(sweep, 1):bar():match "%d+ of .*"
    trial:report { loss = math.abs(p.size - 5) }
  end)
  lu.assertStrContains(lines[1], "0 of at most 10, 1 running")
  local n = #core.runs(root, "shown")
  lu.assertTrue(n <= 10)
  lu.assertStrContains(sweep_view.new(sweep, 1):bar(), ("%d of %d"):format(n, n))
  lu.assertEquals(sweep_view.new(sonde.sweep(options):check(), 1):summary_line(), "shown: " .. n .. " done")
end

function TestSweeps:test_an_arm_of_which_a_seed_diverged_is_not_ranked_by_the_others()
  local sweep = sonde.sweep { name = "lost", root = root, grid = { size = { 1, 2, 4 }, seed = { 1, 2, 3 } },
    search = { policy = "grid", metric = "loss" } }
  sweep:run(function(trial, p)
    local lost = p.seed > 1 and p.size > 1
    trial:report { loss = lost and 0 / 0 or 3 - 0.5 * p.size, time = p.size == 4 and 1 or nil }      -- diverged, done
  end)
  local ranking = sweep:ranking()
  lu.assertEquals(#ranking, 1)
  lu.assertEquals(ranking[1].params.size, 1)
  lu.assertNil(core.json_load(root .. "/lost/search.json").searches[1].told[3].value)
end

function TestSweeps:test_a_search_of_a_metric_that_is_not_reported_is_an_error()
  local sweep = sonde.sweep { name = "s", root = root, grid = { size = { 1, 2, 4 } },
    search = { policy = "golden", metric = "loss", axis = "size" } }
  lu.assertErrorMsgContains("no trial of size=1 has reported 'loss'", sweep.run, sweep, function(trial)
    trial:report { accuracy = 1 }
  end)
  lu.assertErrorMsgContains("the sweep has no search", function()
    sonde.sweep { name = "t", root = root, grid = { size = { 1 } } }:ranking()
  end)
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
