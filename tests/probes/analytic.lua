-- Cases whose answer is known without computing: blocks that do nothing, blocks that are affine, blocks that
-- are equal.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"
local affine = require "sonde.probe.affine"

local DEPTH, WIDTH, CONTEXT = 3, 8, 16

local function small(options)
  local all = { vocab = 13, width = WIDTH, depth = DEPTH, heads = 2, context = CONTEXT, init_std = 0.5, seed = 5 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

local function stream(n)
  local ids, state = {}, 7
  for i = 1, n do
    state = (state * 16807) % 2147483647
    ids[i] = state % 13
  end
  return ids
end

-- A block whose branches end in zero matrices adds nothing.
local function silence(model, block)
  for _, name in ipairs { "self_attn.o_proj.weight", "mlp.down_proj.weight" } do
    model:params():find("model.layers." .. block .. "." .. name):fill(0)
  end
  return model
end

TestSilentBlock = {}

function TestSilentBlock:test_changes_nothing()
  local _, details = sonde.probe(silence(small(), 1), stream(16 * 9 + 1),
    { "layer_removal", "angular_distance", "angular_distance_all", "block_influence", "attn_variance", "ffn_variance" },
    { batch = 4 })
  for name, entry in pairs(details.probes) do
    lu.assertEquals(entry.values[2], 0, name)
    lu.assertEquals(entry.ci[2], { 0, 0 }, name)
    lu.assertNotEquals(entry.values[1], 0, name)
    lu.assertTrue(entry.ci[1][1] < entry.values[1] and entry.values[1] < entry.ci[1][2], name)
  end
end

function TestSilentBlock:test_does_nothing_to_later_blocks_and_has_the_identity_for_a_jacobian()
  local values, details = sonde.probe(silence(small(), 1), stream(16 * 6 + 1),
    { "causal", "jacobian", "jacobian_estimate" })
  lu.assertEquals(values.causal[2][3], 0)
  lu.assertTrue(values.causal[1][3] > 0)
  for _, name in ipairs { "jacobian", "jacobian_estimate" } do
    lu.assertTrue(values[name .. "_deviation"][2] < 1e-7, name)
    lu.assertTrue(values[name .. "_deviation"][1] > 1e-2, name)
    lu.assertAlmostEquals(values[name .. "_frobenius"][2], math.sqrt(WIDTH), 1e-6)
    lu.assertAlmostEquals(values[name .. "_spectral"][2], 1, 1e-5)
  end
  lu.assertTrue(details.probes.jacobian.ci[2][1][2] < 1e-7)
  lu.assertAlmostEquals(values.jacobian_diagonal_mean[2], 1, 1e-6)
end

function TestSilentBlock:test_ranges_that_end_in_it()
  local values = sonde.probe(silence(small(), 1), stream(16 * 5 + 1), { "layer_removal", "layer_removal_ranges" })
  lu.assertEquals(values.layer_removal_ranges[1], values.layer_removal)
  lu.assertEquals(values.layer_removal_ranges[2][1], values.layer_removal[1])
  lu.assertEquals(values.layer_removal_ranges[2][2], values.layer_removal[3])
  lu.assertEquals(#values.layer_removal_ranges[3], 1)
end

TestEstimate = {}

-- Blocks near the identity, whose singular values lie close together: steps that converge slowly would stay below the
-- exact value, and an interval that knows nothing of it would leave that out.
function TestEstimate:test_largest_singular_value()
  for _, width in ipairs { 4, 32 } do
    local model = small { width = width, depth = 2, init_std = 0.02 }
    local ids, held, all = stream(16 * 12 + 1), 0, 0
    local exact = sonde.probe(model, ids, { "jacobian" }).jacobian_spectral
    for seed = 1, 20 do
      local values, details = sonde.probe(model, ids, { "jacobian_estimate" }, { seed = seed })
      for block = 1, 2 do
        local off = values.jacobian_estimate_spectral[block] / exact[block] - 1
        lu.assertTrue(math.abs(off) < 1e-4, width .. " " .. seed .. " " .. block .. ": " .. off)
        local ci = details.probes.jacobian_estimate.ci[block][4]
        all, held = all + 1, held + (ci[1] <= exact[block] and exact[block] <= ci[2] and 1 or 0)
      end
    end
    lu.assertTrue(held >= 0.95 * all, held .. " of " .. all)
  end
end

TestAdded = {}

-- What is added is measured behind whatever stands behind the branch; where nothing is added there is no figure.
function TestAdded:test_placements_of_ones_own()
  local function of(placement)
    local model = small { depth = 1, layers = { [0] = { placement = placement } } }
    local values, details = sonde.probe(model, stream(16 * 5 + 1),
      { "attn_variance", "ffn_variance", "ffn_variance_uncentred" })
    return values, details.probes.ffn_variance.note
  end
  local function plain(block, x) return x + block:attention(x), block:ffn(x) end
  local base = of(function(block, x)
    local y, f = plain(block, x)
    return y + f
  end)
  local bias = sonde.tensor("f32", { WIDTH }, 1)
  for name, case in pairs {
    tripled = { 9, function(f, y) return y + 3 * f end }, taken_off = { 4, function(f, y) return y - 2 * f end },
    gated = { 0.25, function(f, y) return 0.5 * f + 0.5 * y end },
    with_a_bias = { 1, function(f, y) return (f + f:graph():leaf("bias", bias)) + y end },
    first_to_each_other = { 1, function(f, y, a, x) return x + (a + f) + y * 0 end },
  } do
    local values, note = of(function(block, x)
      local a, f = block:attention(x), block:ffn(x)
      return case[2](f, x + a, a, x)
    end)
    lu.assertNil(note, name)
    lu.assertAlmostEquals(values.ffn_variance[1] / base.ffn_variance[1], case[1], 1e-5, name)
    lu.assertAlmostEquals(values.attn_variance[1] / base.attn_variance[1], 1, 1e-5, name)
  end
  local values, note = of(function(block, x)
    local _, f = plain(block, x)
    return f:tanh()
  end)
  lu.assertNaN(values.ffn_variance[1])
  lu.assertStrContains(note, "the ffn branch is not added to anything in block 0")
  lu.assertEquals(values.attn_variance[1], 0)         -- its result goes nowhere
end

-- A norm behind the branch says what it is: D ones to the square, times the factor's.
function TestAdded:test_norms_behind_branches()
  for placement, factor in pairs { sandwich = function() return 1 end, lns_sandwich = function(l) return 1 / l end } do
    local values = sonde.probe(small { placement = placement }, stream(16 * 5 + 1), { "ffn_variance_uncentred" })
    for l = 1, DEPTH do lu.assertAlmostEquals(values.ffn_variance_uncentred[l], factor(l), 1e-4, placement) end
  end
end

TestAngles = {}

-- Streams of known angles: a zero embedding, block 0 adds nothing, block 1 something, block 2 turns that into half of
-- its length and block 3 at right angles; all again at scales whose squares are beyond f32.
function TestAngles:test_zero_and_huge_streams()
  for _, scale in ipairs { 1, 1e30, 1e-30, 3e37 } do
    local function vector(list)
      return function(_, x)
        return x * 0 + x:graph():leaf("vector " .. table.concat(list, " "), core.tensor("f32", { WIDTH }, list))
      end
    end
    local ones, turned, half = {}, {}, {}
    for k = 1, WIDTH do
      ones[k], half[k], turned[k] = scale, scale / 2, scale * (-1) ^ k
    end
    local model = small { depth = 4, layers = {
      [0] = { placement = function(_, x) return x * 1 end }, [1] = { placement = vector(ones) },
      [2] = { placement = vector(half) }, [3] = { placement = vector(turned) },
    } }
    model:params():find("model.embed_tokens.weight"):fill(0)
    local values = sonde.probe(model, stream(16 * 3 + 1),
      { "angular_distance", "angular_distance_all", "block_influence", "angular_distances" })
    for _, name in ipairs { "angular_distance", "angular_distance_all", "block_influence" } do
      local whole = name == "block_influence" and 1 or 0.5
      for block, want in ipairs { 0, whole, 0, whole } do
        lu.assertAlmostEquals(values[name][block], want, 1e-6, scale .. " " .. name .. " " .. block)
      end
    end
    lu.assertAlmostEquals(values.angular_distances[4][1], 0.5, 1e-6)
  end
end

TestAffineBlock = {}

-- y = 2 x - 1 and so on: a placement that is an affine map of the stream.
local function affine_model()
  return small { layers = { [1] = { placement = function(block, x)
    local mixed = x:reshape({ block.batch * block.context, 2, WIDTH / 2 }):transpose(2, 3)
    return (x + 0.5 * mixed:reshape(x:dims())) * 1.5 + 0.25
  end } } }
end

function TestAffineBlock:test_usefulness_is_one()
  local values, details = sonde.probe(affine_model(), stream(16 * 21 + 1), { "usefulness", "usefulness_held_out" })
  for _, name in ipairs { "usefulness", "usefulness_held_out" } do
    lu.assertAlmostEquals(values[name][2], 1, 1e-5)
    lu.assertTrue(math.abs(values[name][1] - 1) > 1e-3 and math.abs(values[name][3] - 1) > 1e-3)
  end
  lu.assertTrue(values.usefulness_held_out[1] > values.usefulness[1])
  local scalars, sum = details.probes.usefulness.scalars, 0
  lu.assertNotNil(scalars.score)
  for _, ratio in ipairs(values.usefulness) do sum = sum + ratio end
  lu.assertAlmostEquals(scalars.mean_ratio.value, sum / DEPTH, 1e-9)
end

-- The map is applied as it was fitted: a matrix that is not symmetric would show its transpose.
function TestAffineBlock:test_map_of_a_block_and_of_a_range()
  local model, ids = affine_model(), stream(16 * 21 + 1)
  local maps = affine.fit(model, ids, { { 1, 1 }, { 0, 1 } }, { tokens = 1e6 })
  lu.assertErrorMsgContains("give more tokens", affine.fit, model, stream(2 * WIDTH), { { 0, 0 } }, { context = WIDTH })
  lu.assertTrue(maps[1].residual < 1e-5 and maps[2].residual > 1e-3)
  local w, b = maps[1].weight:values(), maps[1].bias:values()
  for i = 0, WIDTH - 1 do          -- output j takes x_j and, times 0.5, the entry that the exchange of axes puts there
    lu.assertAlmostEquals(b[i + 1], 0.25, 1e-4)
    for j = 0, WIDTH - 1 do
      local from = (j % 2) * (WIDTH / 2) + math.floor(j / 2)
      lu.assertAlmostEquals(w[i * WIDTH + j + 1], 1.5 * ((i == j and 1 or 0) + (i == from and 0.5 or 0)), 1e-4)
    end
  end
end

-- Fits that do not fit into memory together take a pass each, and come out alike.
function TestAffineBlock:test_fits_in_portions()
  local model, ids, ranges = affine_model(), stream(16 * 21 + 1), { { 0, 0 }, { 1, 1 }, { 2, 2 } }
  local together, memory = affine.fit(model, ids, ranges), affine.MEMORY
  local _, before = sonde.probe(model, ids, { "usefulness" })
  affine.MEMORY = 1
  local apart = affine.fit(model, ids, ranges)
  local _, after = sonde.probe(model, ids, { "usefulness" })
  affine.MEMORY = memory
  for i = 1, 3 do lu.assertEquals(apart[i].weight:values(), together[i].weight:values()) end
  lu.assertEquals(after.probes, before.probes)
  lu.assertEquals(after.passes, before.passes + DEPTH - 1)
end

TestEqualBlocks = {}

function TestEqualBlocks:test_permutation_is_nothing()
  local model = small()
  local params = model:params()
  for _, param in ipairs(params:list()) do
    local rest = string.match(param.name, "^model%.layers%.2%.(.*)")
    if rest then params:find(param.name):fill(params:find("model.layers.0." .. rest):values()) end
  end
  local values, details = sonde.probe(model, stream(16 * 4 + 1), { "permutation" })
  lu.assertEquals(values.permutation[1][3], 0)
  lu.assertEquals(values.permutation[3][1], 0)
  lu.assertTrue(values.permutation[1][2] > 0)
  lu.assertAlmostEquals(details.probes.permutation.scalars.score.value,
    (values.permutation[1][2] + values.permutation[2][3]) / 3, 1e-9)
end

-- Blocks with norms in other places cannot be exchanged: no score, and a model that is what it was.
function TestEqualBlocks:test_permutation_of_blocks_with_other_parameters()
  for _, case in ipairs { { { placement = { "mix_ln", a = 0.5 } }, "(0 | 1,2)", "post_mlp_layernorm" },
    { { layers = { [0] = { placement = "linear" } } }, "(0 | 1,2)", "placement.bias" } } do
    local model, ids = small(case[1]), stream(16 * 4 + 1)
    local before = model:params():sha256()
    local values, details = sonde.probe(model, ids, { "permutation" })
    local entry, rows = details.probes.permutation, values.permutation
    lu.assertStrContains(entry.note, case[2])
    lu.assertStrContains(entry.note, case[3])
    lu.assertNaN(rows[1][2])
    lu.assertNaN(rows[3][1])
    lu.assertTrue(rows[2][3] > 0 and rows[2][3] < 0.5)
    lu.assertEquals(entry.scalars.score.value, rows[2][3])
    lu.assertAlmostEquals(entry.scalars.weighted.value, (0.9 + 0.81) / 2 * rows[2][3], 1e-9)      -- block 0 has no pair
    lu.assertEquals(core.json_decode(core.json_encode(entry.values))[1], { 0, false, false })
    lu.assertEquals(model:params():sha256(), before)
  end
  lu.assertNil(select(2, sonde.probe(small(), stream(16 * 2 + 1), { "permutation" })).probes.permutation.note)
end

-- The same stream twice; a stream that is turned and scaled; streams that have nothing to do with each other.
TestCka = {}

function TestCka:test_alike_and_unlike_streams()
  local width, context = 64, 48          -- fewer tokens than features: biased estimates see likeness everywhere
  local model = sonde.transformer { vocab = 512, width = width, depth = 4, heads = 1, context = context, init_std = 1,
    seed = 2,
    placement = "linear" }:init()
  local params = model:params()
  local function weight(block) return params:find("model.layers." .. block .. ".placement.weight") end
  weight(1):fill(0)                       -- y = x + x A' + b
  for i = 1, width do
    for j = 1, width do
      local flip = i == width + 1 - j and 3 or 0
      weight(2):set((i - 1) * width + j, flip - (i == j and 1 or 0))      -- y = 3 (x backwards)
    end
  end
  local ids = {}
  for i = 1, 20 * context + 1 do ids[i] = (i * i * 31 + i * 7) % 509 end
  local values = sonde.probe(model, ids, { "cka", "cka_unbiased" })
  for name, bound in pairs { cka = 1e-5, cka_unbiased = 1e-4 } do
    lu.assertAlmostEquals(values[name][1][1], 1, bound)
    lu.assertAlmostEquals(values[name][1][2], 1, bound)
    lu.assertAlmostEquals(values[name][2][3], 1, bound)
    lu.assertAlmostEquals(values[name][3][1], values[name][1][3], bound)
    lu.assertTrue(values[name][4][1] < 0.99)
  end
end

-- A block that gives another table's rows, which know nothing of its input: near 0 without bias, far from it with.
function TestCka:test_unrelated_streams()
  sonde.placement("another_table", function(block)
    return block:param("table", { 512, block.width }, "other"):gather(block.trace.tokens)
  end)
  local model = sonde.transformer { vocab = 512, width = 64, depth = 2, heads = 1, context = 48, init_std = 1, seed = 2,
    placement = "another_table" }:init()
  local ids = {}
  for i = 1, 40 * 48 + 1 do ids[i] = i * 31 % 509 end      -- all different in a window
  local values = sonde.probe(model, ids, { "cka", "cka_unbiased" })
  lu.assertTrue(math.abs(values.cka_unbiased[1][2]) < 0.03, values.cka_unbiased[1][2])
  lu.assertTrue(values.cka[1][2] > 0.35, values.cka[1][2])
end

function TestCka:test_short_windows_are_refused()
  local ok, message = pcall(sonde.probe, small(), stream(40), { "cka_unbiased" }, { context = 3 })
  lu.assertFalse(ok)
  lu.assertStrContains(message, "probe cka_unbiased: windows of 3 tokens are too short; it needs 4 at least")
end

TestLens = {}

-- 21 windows of 15 tokens: no power of two divides them, as an f32 would like.
function TestLens:test_the_last_block_agrees_with_the_model_exactly()
  local values, details = sonde.probe(small { context = 15 }, stream(15 * 21 + 1), { "lens_agreement" }, { batch = 5 })
  lu.assertEquals(values.lens_agreement[DEPTH], 1)
  lu.assertEquals(details.probes.lens_agreement.ci[DEPTH], { 1, 1 })
  local agreed = values.lens_agreement[1] * 15 * 21
  lu.assertTrue(values.lens_agreement[1] < 1)
  lu.assertAlmostEquals(agreed, math.floor(agreed + 0.5), 1e-9)
end

TestNormGradient = {}

-- A factor of the placement is a part of its norm: LNS's norms have gradients in every block.
function TestNormGradient:test_scaled_norms()
  for _, norm in ipairs { "rmsnorm", "layernorm", "dyt", "bhyt" } do
    local model = sonde.transformer { vocab = 11, width = 8, depth = 3, heads = 2, context = 8, norm = norm,
      placement = "lns", init_std = 0.3, seed = 3 }
    local ids = {}
    for i = 1, 33 do ids[i] = i * i % 11 end
    local rows = sonde.probe(model, ids, { "norm_gradient" }).norm_gradient
    for block = 1, 3 do
      for k = 1, 2 do lu.assertTrue(rows[block][k] > 1e-6, norm .. " block " .. block - 1) end
    end
  end
end

-- Linear blocks read no tokens in their Jacobian, and have no attention to take the entropy of.
function TestNormGradient:test_blocks_without_attention()
  local model = sonde.transformer { vocab = 11, width = 8, depth = 2, heads = 2, context = 8,
    layers = { [1] = { placement = "linear" } }, seed = 3 }
  local ids = {}
  for i = 1, 33 do ids[i] = i * i % 11 end
  local values = sonde.probe(model, ids, { "attention_entropy", "jacobian" })
  lu.assertEquals({ #values.attention_entropy[1], #values.attention_entropy[2] }, { 2, 2 })
  lu.assertNaN(values.attention_entropy[2][1])
end

TestLeastSquares = {}

-- Normal equations in f64 by Gaussian elimination, as a check that shares nothing with the QR.
local function plain(x, y, n, p)
  local a = {}
  for i = 1, p + 1 do
    a[i] = {}
    for j = 1, p + 2 do a[i][j] = 0 end
  end
  for r = 1, n do
    local row = { 1 }
    for k = 1, p do row[k + 1] = x[(r - 1) * p + k] end
    row[p + 2] = y[r]
    for i = 1, p + 1 do
      for j = 1, p + 2 do a[i][j] = a[i][j] + row[i] * row[j] end
    end
  end
  for i = 1, p + 1 do
    for k = 1, p + 1 do
      if k ~= i then
        local f = a[k][i] / a[i][i]
        for j = i, p + 2 do a[k][j] = a[k][j] - f * a[i][j] end
      end
    end
  end
  local z = {}
  for i = 1, p + 1 do z[i] = a[i][p + 2] / a[i][i] end
  return z
end

local function numbers(n, seed)
  local list, state = {}, seed
  for i = 1, n do
    state = (state * 16807) % 2147483647
    list[i] = state / 2147483647 - 0.5
  end
  return list
end

function TestLeastSquares:test_against_normal_equations()
  local n, p = 700, 5                -- more than one portion
  local x, y = numbers(n * p, 11), numbers(n, 13)
  local tx, ty = core.tensor("f32", { n, p }, x), core.tensor("f32", { n, 1 }, y)
  local whole, first, second = core.least_squares(p, 1), core.least_squares(p, 1), core.least_squares(p, 1)
  whole:add(tx, ty)
  first:add(tx, ty, 1, 300)
  second:add(tx, ty, 301, 400)
  local z = plain(tx:values(), ty:values(), n, p)
  for _, fit in ipairs { whole, first:merge(second) } do
    local w, b, residual = fit:solve()
    lu.assertEquals(fit:rows(), n)
    lu.assertAlmostEquals(b:get(1), z[1], 1e-6)
    local left, all, mean = 0, 0, 0
    for r = 1, n do mean = mean + ty:get(r) / n end
    for r = 1, n do
      local e = ty:get(r) - z[1]
      for k = 1, p do e = e - z[k + 1] * tx:get((r - 1) * p + k) end
      left, all = left + e * e, all + (ty:get(r) - mean) ^ 2
    end
    lu.assertAlmostEquals(residual, math.sqrt(left / all), 1e-6)
    for k = 1, p do lu.assertAlmostEquals(w:get(k), z[k + 1], 1e-6) end
  end
end

-- Two equal inputs: the solution of least norm shares the weight.
function TestLeastSquares:test_inputs_that_say_the_same()
  local a, fit = numbers(40, 17), core.least_squares(2, 1)
  local x, y = {}, {}
  for i = 1, 40 do x[2 * i - 1], x[2 * i], y[i] = a[i], a[i], 3 * a[i] + 1 end
  local w, b, residual = fit:add(core.tensor("f32", { 40, 2 }, x), core.tensor("f32", { 40, 1 }, y)):solve()
  lu.assertAlmostEquals(w:get(1), 1.5, 1e-5)
  lu.assertAlmostEquals(w:get(2), 1.5, 1e-5)
  lu.assertAlmostEquals(b:get(1), 1, 1e-5)
  lu.assertTrue(residual < 1e-5)
end

-- A LayerNorm's outputs depend on each other but for the rounding of f32, which no solution may follow.
function TestLeastSquares:test_inputs_that_depend_on_each_other_to_rounding()
  local r = core.json_load(os.getenv("abs_srcdir") .. "/tests/reference/lstsq.json")
  local x, y = core.tensor("f32", { r.rows, r["in"] }, r.x), core.tensor("f32", { r.rows, r.out }, r.y)
  local w, b = core.least_squares(r["in"], r.out):add(x, y):solve()
  for i, want in ipairs(r.w) do lu.assertAlmostEquals(w:get(i), want, 2e-5) end
  for i, want in ipairs(r.b) do lu.assertAlmostEquals(b:get(i), want, 2e-5) end
end

-- What counts as rounding is a matter of each input's own size.
function TestLeastSquares:test_small_inputs_count()
  local a, fit = numbers(80, 19), core.least_squares(2, 1)
  local x, y = {}, {}
  for i = 1, 40 do x[2 * i - 1], x[2 * i], y[i] = a[i], 1e-9 * a[40 + i], 2 * a[i] + 3 * a[40 + i] end
  local w, _, residual = fit:add(core.tensor("f32", { 40, 2 }, x), core.tensor("f32", { 40, 1 }, y)):solve()
  lu.assertAlmostEquals(w:get(1), 2, 1e-5)
  lu.assertAlmostEquals(w:get(2) * 1e-9, 3, 1e-5)
  lu.assertTrue(residual < 1e-5)
end

function TestLeastSquares:test_mistakes()
  local fit = core.least_squares(2, 1)
  local x, y = core.tensor("f32", { 4, 2 }), core.tensor("f32", { 4, 1 })
  lu.assertErrorMsgContains("there are no rows", fit.solve, fit)
  lu.assertErrorMsgContains("2 inputs and 1 outputs", fit.add, fit, y, y)
  lu.assertErrorMsgContains("rows 4.. are not among 4", fit.add, fit, x, y, 4, 2)
  x:set(3, 0 / 0)
  lu.assertErrorMsgContains("not finite", fit.add, fit, x, y)
  lu.assertErrorMsgContains("cannot be joined", fit.merge, fit, core.least_squares(1, 1))
  lu.assertErrorMsgContains("up to", core.least_squares, 10000, 10000)
end

function TestLeastSquares:test_singular_values()
  local s = core.singular_values(core.tensor("f32", { 2, 2, 3 }, { 3, 0, 0, 0, 4, 0, 1, 1, 1, 1, 1, 1 }))
  lu.assertEquals(s:dims(), { 2, 2 })
  for i, want in ipairs { 4, 3, math.sqrt(6), 0 } do lu.assertAlmostEquals(s:get(i), want, 1e-6) end
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
