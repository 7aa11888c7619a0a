-- What probes share: passes, intervals, the registry, the run they are kept with; and values that modules
-- publish.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"
local bootstrap = require "sonde.probe.bootstrap"
local show = require "sonde.probe.show"

local CONTEXT, DEPTH, WIDTH, VOCAB = 10, 4, 8, 13

local function small(options)
  local all = { vocab = VOCAB, width = WIDTH, depth = DEPTH, heads = 2, context = CONTEXT, init_std = 0.5, seed = 3 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

local function stream(windows, state)
  local ids = {}
  state = state or 7
  for i = 1, windows * CONTEXT + 1 do
    state = (state * 16807) % 2147483647
    ids[i] = state % VOCAB
  end
  return ids
end

TestPasses = {}

function TestPasses:test_are_shared()
  local cases = {                       -- probes, passes together, passes one by one
    { { "variance", "angular_distance", "gradient_norm" }, 1, 3 },
    { { "layer_removal" }, 1 + DEPTH, 1 + DEPTH },
    { { "layer_removal", "causal" }, 1 + DEPTH, 1 + DEPTH + DEPTH },
    { { "layer_removal", "layer_removal_ranges" }, 1 + DEPTH * (DEPTH + 1) / 2, 2 + DEPTH + DEPTH * (DEPTH + 1) / 2 },
    { { "permutation", "variance" }, 1 + DEPTH * (DEPTH - 1) / 2, 2 + DEPTH * (DEPTH - 1) / 2 },
    { { "usefulness" }, 2 + DEPTH, 2 + DEPTH },
    { { "usefulness", "usefulness_held_out" }, 2 + 2 * DEPTH, 4 + 2 * DEPTH },
  }
  local model, ids = small(), stream(5)
  for _, case in ipairs(cases) do
    local _, details = sonde.probe(model, ids, case[1])
    local text = table.concat(case[1], " ")
    lu.assertEquals(details.passes, case[2], text)
    lu.assertEquals(details.passes_alone, case[3], text)
  end
end

function TestPasses:test_company_and_batches_change_nothing()
  local model, ids = small(), stream(7)
  local all = { "variance", "causal", "layer_removal", "usefulness_held_out", "effective_rank",
    "angular_distances_all" }
  local together, details = sonde.probe(model, ids, all, { batch = 3 })
  for _, name in ipairs(all) do
    local alone, own = sonde.probe(model, ids, { name }, { batch = 3 })
    lu.assertEquals(alone[name], together[name], name)
    lu.assertEquals(own.probes[name], details.probes[name], name)
  end
  local one = sonde.probe(model, ids, all, { batch = 1 })
  local function close(a, b)
    if type(a) == "number" then return lu.assertAlmostEquals(a, b, 1e-5) end
    for i = 1, #a do close(a[i], b[i]) end
  end
  for _, name in ipairs(all) do close(one[name], together[name]) end
end

-- 23 windows make 20 groups, of one or two: every window counts alike.
function TestPasses:test_jacobian_of_unequal_groups()
  local windows, model = 23, small { depth = 2 }
  local ids, sums = stream(windows), { 0, 0 }
  for w = 0, windows - 1 do
    local own = {}
    for i = 1, CONTEXT + 1 do own[i] = ids[w * CONTEXT + i] end
    local values = sonde.probe(model, own, { "jacobian" })
    for block = 1, 2 do sums[block] = sums[block] + values.jacobian_diagonal_mean[block] end
  end
  local values = sonde.probe(model, ids, { "jacobian" }, { batch = 4 })
  for block = 1, 2 do lu.assertAlmostEquals(values.jacobian_diagonal_mean[block], sums[block] / windows, 1e-5) end
end

-- Of 7 windows 3 are those in the middle of thirds; all where there is room.
function TestPasses:test_a_sample_is_spread_over_the_text()
  local windows = require "sonde.data.windows"
  lu.assertEquals(windows.spread(3, 7), { 1, 3, 5 })
  lu.assertEquals(windows.spread(4, 4), { 0, 1, 2, 3 })
  local model, ids, sums = small(), stream(7), { 0, 0, 0, 0 }
  for _, w in ipairs { 1, 3, 5 } do
    local own = { table.unpack(ids, w * CONTEXT + 1, (w + 1) * CONTEXT + 1) }
    local cost = sonde.probe(model, own, { "layer_removal" }).layer_removal
    for block = 1, DEPTH do sums[block] = sums[block] + cost[block] / 3 end
  end
  for batch = 1, 3 do
    local values, details = sonde.probe(model, ids, { "layer_removal" }, { tokens = 3 * CONTEXT + 9, batch = batch })
    lu.assertEquals({ details.windows, details.tokens }, { 3, 3 * CONTEXT })
    for block = 1, DEPTH do lu.assertAlmostEquals(values.layer_removal[block], sums[block], 1e-5) end
  end
end

TestIntervals = {}

-- Samples of 5 normal numbers, 400 times over: plain percentiles hold the mean 80 % of the time. Of two numbers none
-- can do better than one half, as no draw lies outside them.
function TestIntervals:test_few_windows()
  local random = bootstrap.random(3)
  local function held(n)
    local hits, slots = 0, {}
    for i = 1, n do slots[i] = i end
    for k = 1, 400 do
      local values = {}
      for i = 1, n do
        values[i] = -6
        for _ = 1, 12 do values[i] = values[i] + random(1000) / 999 end
      end
      local session = { rows = n, options = { seed = k }, slots = function() return slots end }
      local ci = bootstrap.figures(session, { { samples = { core.tensor("f32", { n, 1 }, values) } } },
        function(mean) return { mean[1][1] } end, 300).ci[1]
      if ci[1] <= 0 and ci[2] >= 0 then hits = hits + 1 end
    end
    return hits / 400
  end
  local five, two = held(5), held(2)
  lu.assertTrue(five > 0.86 and five < 0.96, five)
  lu.assertTrue(two > 0.43 and two < 0.57, two)
end

-- The mean of n numbers of standard deviation s: an interval about 2 * 1.96 s / sqrt(n) long.
function TestIntervals:test_width()
  local n, values = 200, {}
  local random = bootstrap.random(5)
  for i = 1, n do values[i] = random(1000) / 1000 end
  local slots = {}
  for i = 1, n do slots[i] = i end
  slots[n + 1] = false                 -- seen before: does not count
  values[n + 1] = 1e6
  local session = { rows = n, options = { seed = 1 }, slots = function() return slots end }
  local job = { samples = { core.tensor("f32", { n + 1, 1 }, values) } }
  local entry = bootstrap.figures(session, { job }, function(mean) return { mean[1][1] } end)
  local mean, square = 0, 0
  for i = 1, n do mean = mean + values[i] / n end
  for i = 1, n do square = square + (values[i] - mean) ^ 2 / n end
  lu.assertAlmostEquals(entry.values[1], mean, 1e-6)
  local expected = 2 * 1.96 * math.sqrt(square / n)
  lu.assertTrue(math.abs((entry.ci[1][2] - entry.ci[1][1]) / expected - 1) < 0.1)
  lu.assertTrue(math.abs(entry.ci[1][1] + entry.ci[1][2] - 2 * mean) < 0.1 * expected)
  lu.assertEquals(bootstrap.figures(session, { job }, function(m) return { m[1][1] } end), entry)
  session.options.seed = 2
  lu.assertNotEquals(bootstrap.figures(session, { job }, function(m) return { m[1][1] } end).ci, entry.ci)
end

function TestIntervals:test_draws_are_even()
  local random, counts = bootstrap.random(0), {}
  for _ = 1, 7000 do
    local k = random(7)
    counts[k] = (counts[k] or 0) + 1
  end
  for k = 0, 6 do lu.assertTrue(math.abs(counts[k] - 1000) < 120, k .. ": " .. counts[k]) end
end

function TestIntervals:test_one_window_has_none()
  local values, details = sonde.probe(small(), stream(1), { "variance", "jacobian_estimate", "causal" })
  lu.assertEquals(#values.variance, DEPTH)
  for _, entry in pairs(details.probes) do lu.assertNil(entry.ci) end
end

function TestIntervals:test_no_order_where_they_overlap()
  local function said(values, ci) return show.order({ values = values, ci = ci, axes = { "block" } }, 10) end
  lu.assertEquals(said({ 1, 2, 3 }, { { 0.9, 1.1 }, { 1.9, 2.1 }, { 2.9, 3.1 } }),
    "smallest: block 0; largest: block 2")
  lu.assertEquals(said({ 1, 1.1, 3 }, { { 0.9, 1.1 }, { 1, 1.2 }, { 2.9, 3.1 } }),
    "smallest among blocks 0, 1, whose intervals overlap; largest: block 2")
  lu.assertStrContains(said({ 1, 1.1, 1.2 }, { { 0, 2 }, { 0, 2 }, { 0, 2 } }), "no block stands out")
end

function TestIntervals:test_few_windows_order_nothing_and_the_page_says_so()
  local model = small { init_std = 2 }
  local function both(windows)
    local _, details = sonde.probe(model, stream(windows), { "variance" })
    return show.text(details) .. show.page(details, "no-gnuplot")
  end
  local one, nine, ten = both(1), both(9), both(10)
  lu.assertNil(one:find "95 %%")
  lu.assertStrContains(one, "One window: no intervals, and no order of blocks")
  lu.assertNil(nine:find "largest")
  lu.assertStrContains(nine, "too short with fewer than 10 of them: no order of blocks")
  lu.assertStrContains(ten, "largest: block")
  lu.assertStrContains(ten, "values with their 95 % intervals")
end

TestPage = {}

function TestPage:test_blocks_are_whole_numbers_from_0()
  if os.execute("gnuplot --version >/dev/null 2>&1") ~= true then lu.skip("gnuplot is not installed") end
  local _, details = sonde.probe(small { depth = 3 }, stream(4), { "variance" })
  local page, seen = show.page(details), {}
  for text in page:gmatch ">%s*([%d.]+)%s*</text>" do seen[text] = true end
  lu.assertTrue(seen["0"] and seen["1"] and seen["2"])
  lu.assertNil(seen["0.5"])
end

-- A block of weights so large that what follows has no figure: "-" for it, null in JSON, and no order.
function TestPage:test_figures_that_are_none()
  local model = small { depth = 3 }
  local weight = model:params():find("model.layers.1.mlp.down_proj.weight")
  for i = 1, weight:count() do weight:set(i, 3e38 * (-1) ^ math.floor(i / 24)) end
  local _, details = sonde.probe(model, stream(4), { "variance", "layer_removal", "permutation", "lens_loss" })
  lu.assertTrue(details.probes.variance.values[1] < 1e6)
  lu.assertFalse(details.probes.variance.values[2] < 1e30)
  for _, entry in pairs(details.probes) do lu.assertNil(show.order(entry, 10)) end
  lu.assertStrContains(core.json_encode(details.probes.variance.values), ",null")
  local page, reason = show.page(details)
  lu.assertStrContains(page, "<td>-</td>")
  if os.execute("gnuplot --version >/dev/null 2>&1") == true then lu.assertNil(reason) end
  lu.assertStrMatches(show.text(details), ".*block 2 +%-\n.*")
  local none = 0 / 0
  for _, values in ipairs { { none, none }, { { none, none }, { none, none } } } do
    local bare = { values = values, axes = { "block", "block" }, definition = "x", source = "", unit = "" }
    local drawn = { probes = { x = bare }, windows = 1, context = 1, passes = 1, passes_alone = 1 }
    lu.assertStrContains(show.page(drawn), "<td>-</td>")
    if os.execute("gnuplot --version >/dev/null 2>&1") == true then lu.assertNil(select(2, show.page(drawn))) end
  end
end

TestRegistry = {}

function TestRegistry:test_what_jobs_give_is_looked_at()
  local model, ids = small(), stream(2)
  for i, case in ipairs {
    { nil, "its jobs must be a list of tables" }, { { 5 }, "its jobs must be a list of tables" },
    { { {} }, "each with a function 'nodes'" },
    { { { nodes = function() return 5 end } }, "a probe's nodes give number; they must give a list of nodes" },
    { { { nodes = function() return { "x" } end } }, "a probe's nodes hold a string" },
  } do
    local name = "given" .. i
    sonde.probes.register(name, { definition = "x", jobs = function() return case[1] end })
    lu.assertErrorMsgContains(case[2], sonde.probe, model, ids, { name })
  end
end

function TestRegistry:test_a_probe_of_a_script()
  sonde.probes.register("peak", {
    definition = "largest magnitude in the stream after each block",
    outputs = function(trace)
      local nodes = {}
      for i, x in ipairs(trace.blocks) do nodes[i] = x:abs():amax { 2, 3 } end
      return nodes
    end,
  })
  local values, details = sonde.probe(small(), stream(4), { "peak", "variance" })
  lu.assertEquals(#values.peak, DEPTH)
  lu.assertEquals(details.passes, 1)
  lu.assertTrue(values.peak[1] > math.sqrt(values.variance[1]))
  lu.assertTrue(details.probes.peak.ci[1][1] < values.peak[1])
  lu.assertErrorMsgContains("exists already", sonde.probes.register, "peak", { definition = "x", outputs = print })
end

function TestRegistry:test_mistakes()
  local register = sonde.probes.register
  lu.assertErrorMsgContains("cannot name a thing of the kind probe", register, "a b",
    { definition = "x", outputs = print })
  lu.assertErrorMsgContains("either outputs or jobs", register, "none", { definition = "x" })
  lu.assertErrorMsgContains("definition", register, "none", { outputs = print })
end

function TestRegistry:test_no_probes_asked_for()
  for _, wanted in ipairs { {}, false } do
    local text = wanted and "a list of probes after the tokens" or "must be a list, not false"
    lu.assertErrorMsgContains(text, sonde.probe, small(), stream(2), wanted)
  end
  lu.assertErrorMsgContains("a list of probes after the tokens", sonde.probe, small(), stream(2))
end

TestPublished = {}

-- A token that sees only itself has entropy 0; two visible tokens at most ln 2.
function TestPublished:test_entropy_of_a_window()
  local bounds = { [1] = 0, [2] = math.log(2), [0] = math.log(CONTEXT) }
  for window, bound in pairs(bounds) do
    local values = sonde.probe(small { attention = { "causal", window = window } }, stream(3), { "attention_entropy" })
    for block = 1, DEPTH do
      for head = 1, 2 do
        local x = values.attention_entropy[block][head]
        lu.assertTrue(x <= bound + 1e-6 and x >= -1e-6, x .. " for " .. bound)
        lu.assertTrue(window == 1 or x > 0.1 * bound)
      end
    end
  end
end

-- A query that sees one key alone has no entropy to be a share of: windows count by their other queries, and of none
-- the value is missing.
function TestPublished:test_normalised_entropy_counts_queries()
  local model, alone, plain = small(), {}, stream(2)
  for i = 1, 2 * CONTEXT do alone[i] = 0 end
  local function entropy(tokens, options)
    return sonde.probe(model, tokens, { "attention_entropy_normalised", "attention_entropy" }, options)
  end
  local documents = { document_mask = 0, context = CONTEXT }
  local one = entropy(alone, documents)
  lu.assertNaN(one.attention_entropy_normalised[1][1])
  lu.assertEquals(one.attention_entropy[1][1], 0)
  local both, mixed = entropy(plain, documents), {}
  for _, list in ipairs { alone, plain } do
    for i = 1, 2 * CONTEXT do mixed[#mixed + 1] = list[i] end
  end
  mixed[#mixed + 1] = plain[#plain]
  for block, row in ipairs(entropy(mixed, documents).attention_entropy_normalised) do
    for head, value in ipairs(row) do
      lu.assertAlmostEquals(value, both.attention_entropy_normalised[block][head], 1e-6)
    end
  end
end

-- Blocks of other numbers of heads, and one without attention: each row is what a probe of its block alone gives.
function TestPublished:test_entropy_of_unlike_blocks()
  sonde.placement("ffn_only", function(block, x) return x + block:ffn(block:norm_in "ffn" (x)) end)
  local model = small { layers = {
    [0] = { attention = { "causal", heads = 4, kv_heads = 2, head_dim = 2 } }, [1] = { placement = "ffn_only" },
    [3] = { attention = { "causal", heads = 1, kv_heads = 1, head_dim = 8, window = 2 } },
  } }
  local values, details = sonde.probe(model, stream(3), { "attention_entropy" })
  local heads = {}
  for block, row in ipairs(values.attention_entropy) do
    heads[block] = 0
    for head = 1, 4 do heads[block] = heads[block] + (row[head] == row[head] and 1 or 0) end
  end
  lu.assertEquals(heads, { 4, 0, 2, 1 })
  lu.assertTrue(values.attention_entropy[4][1] <= math.log(2))
  lu.assertTrue(values.attention_entropy[3][2] > math.log(2))
  lu.assertStrContains(core.json_encode(values.attention_entropy), "],[null,null,null,null],[")
  lu.assertStrContains(show.text(details), "attention_entropy")
  lu.assertStrContains(show.page(details), "attention_entropy")
end

-- y = gain tanh(.), and gains start at 1: the norm's own output tells how often it is at its bounds.
function TestPublished:test_saturation()
  for _, norm in ipairs { { "dyt", alpha_attn = 3, alpha_ffn = 0.01 }, { "bhyt", lambda_attn = 20, lambda_ffn = 20 },
    { "bhyt_star", lambda_attn = 30, lambda_ffn = 1 } } do
    local model, ids = small { norm = norm, init_std = 1 }, stream(4)
    sonde.probes.register("outputs_" .. norm[1], {
      definition = "share of outputs over the bound", axes = { "block", "norm" },
      outputs = function(trace)
        local nodes = {}
        for _, part in ipairs(trace.parts) do
          for _, each in ipairs(part.norms) do nodes[#nodes + 1] = each.output:abs():greater(0.95):mean { 2, 3 } end
        end
        return nodes
      end,
    })
    local values = sonde.probe(model, ids, { "tanh_saturation", "outputs_" .. norm[1] })
    local flat = {}
    for _, row in ipairs(values.tanh_saturation) do
      lu.assertEquals(#row, 2)
      for _, x in ipairs(row) do flat[#flat + 1] = x end
    end
    for i, x in ipairs(flat) do lu.assertAlmostEquals(x, values["outputs_" .. norm[1]][i], 2e-3) end
    lu.assertTrue(flat[1] > 0.05, norm[1] .. " " .. flat[1])
  end
end

-- Columns are places of norms, also where blocks have them at different ones; null where a block has none there.
function TestPublished:test_places_of_norms()
  local model = small { norm = "dyt", placement = { "mix_ln", a = 0.5 }, layers = { [3] = { placement = "linear" } } }
  local values, details = sonde.probe(model, stream(4), { "tanh_saturation", "norm_gradient" })
  for _, name in ipairs { "tanh_saturation", "norm_gradient" } do
    lu.assertEquals(details.probes[name].labels, { "attn_out", "ffn_out", "attn", "ffn" })
    local known = {}
    for block, row in ipairs(values[name]) do
      known[block] = ""
      for k = 1, 4 do known[block] = known[block] .. (row[k] == row[k] and "x" or "-") end
    end
    lu.assertEquals(known, { "xx--", "xx--", "--xx", "----" })
  end
  local text, page = show.text(details), show.page(details)
  lu.assertStrMatches(text, ".*\n +block +attn_out +ffn_out +attn +ffn\n.*")
  lu.assertStrContains(text, "\n  intervals of the entries: see --json, --csv or --html\n")
  lu.assertStrContains(page, "norm attn_out</th>")
end

TestKept = {}

-- Runs f in the one trial of a sweep; gives the trial's folder, whose root is to be removed.
local function in_a_trial(f)
  local root = os.tmpname()
  os.remove(root)
  local sweep = sonde.sweep { name = "kept", grid = { seed = { 1 } }, root = root }
  sweep:run(f)
  lu.assertEquals(sweep.trials[1].status, "done", sweep.trials[1].reason)
  return sweep.trials[1].dir, root, sweep
end

function TestKept:test_in_the_run_of_a_sweep()
  local dir, root, sweep = in_a_trial(function(trial, p)
    local values = sonde.probe(small { seed = p.seed }, stream(4), { "variance", "causal", "jacobian" })
    trial:report(values)
    trial:report { done = 1 }
  end)
  local details = core.json_load(dir .. "/probes.json")
  lu.assertEquals(details.model, dir)
  lu.assertEquals(core.json_load(dir .. "/probes/variance.json"), details.probes.variance.values)
  lu.assertEquals(#core.json_load(dir .. "/probes/causal.json"), DEPTH)
  lu.assertEquals(#core.json_load(dir .. "/probes/jacobian_deviation.json"), DEPTH)
  lu.assertAlmostEquals(core.json_load(dir .. "/run.json").results.causal_score,
    details.probes.causal.scalars.score.value, 1e-12)
  local intervals = sweep:results().trials[1].intervals
  lu.assertEquals(intervals.variance, details.probes.variance.ci)
  lu.assertEquals(intervals.jacobian_frobenius[2], details.probes.jacobian.ci[2][5])
  core.remove_tree(root)
end

-- A later measurement replaces what it measured anew; the rest says what was otherwise then.
function TestKept:test_measurements_of_one_run_are_joined()
  local first, second
  local dir, root = in_a_trial(function()
    local model = small { placement = { "mix_ln", a = 0.5 } }
    first = select(2, sonde.probe(model, stream(4), { "variance", "permutation" }))
    second = select(2, sonde.probe(model, stream(3), { "variance", "causal" }, { seed = 1 }))
    sonde.probe(model, stream(3), { "block_influence" }, { seed = 1 })
  end)
  local all = core.json_load(dir .. "/probes.json")
  lu.assertEquals(require("sonde.base.sorted_keys")(all.probes),
    { "block_influence", "causal", "permutation", "variance" })
  lu.assertEquals({ all.tokens, all.seed, all.windows }, { 3 * CONTEXT, 1, 3 })
  lu.assertEquals(all.probes.variance.values, second.probes.variance.values)
  lu.assertNil(all.probes.causal.tokens)
  local kept = all.probes.permutation
  lu.assertEquals({ kept.tokens, kept.seed, kept.windows, kept.context }, { 4 * CONTEXT, 0, 4, nil })
  lu.assertEquals(kept.values, core.json_decode(core.json_encode(first.probes.permutation.values)))
  lu.assertEquals(kept.values[1][4], false)                   -- null as it was
  lu.assertNotStrContains(core.read_file(dir .. "/probes.json"), "false")
  core.remove_tree(root)
end

function TestKept:test_a_mask_of_documents_is_said()
  local dir, root = in_a_trial(function()
    sonde.probe(small(), stream(3), { "variance" })
    sonde.probe(small(), stream(3), { "block_influence" }, { document_mask = 2 })
  end)
  local all = core.json_load(dir .. "/probes.json")
  lu.assertEquals({ all.document_mask, all.probes.variance.document_mask, all.probes.block_influence.document_mask },
    { 2, false, nil })
  core.remove_tree(root)
end

-- Lists and matrices as JSON in the database too, with their intervals; also those that the script made.
function TestKept:test_in_the_database()
  local details
  local dir, root = in_a_trial(function(trial)
    local model = small { layers = { [1] = { placement = "linear" } } }
    local values
    values, details = sonde.probe(model, stream(4), { "variance", "causal", "attention_entropy" })
    trial:report(values)
    trial:report { own = { { 1, 2 }, { 0 / 0 } } }
  end)
  for round = 1, 2 do
    local results = core.runs(root)[1].results
    for _, name in ipairs { "variance", "causal", "attention_entropy" } do
      local entry = details.probes[name]
      lu.assertEquals(results[name], core.json_decode(core.json_encode(entry.values)), name)
      lu.assertEquals(results[name .. ".ci"], core.json_decode(core.json_encode(entry.ci)), name)
    end
    lu.assertEquals(results.causal_score, details.probes.causal.scalars.score.value)
    lu.assertEquals(#results["causal_score.ci"], 2)
    lu.assertEquals(results.own, { { 1, 2 }, { false } })
    if round == 1 then core.runs_rebuild(root) end
  end
  lu.assertNotNil(core.exists(dir .. "/probes/attention_entropy.json"))
  core.remove_tree(root)
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
