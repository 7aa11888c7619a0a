-- Sparsity methods against PyTorch's masks and weights (tests/reference/make_sparsity.py), masks by scores, and methods
-- of scripts.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"
local method = require "sonde.sparse.method"
local pattern = require "sonde.sparse.pattern"

local reference = core.json_load(os.getenv "abs_srcdir" .. "/tests/reference/sparsity.json")
local OUT, IN = reference.out, reference["in"]

local function tensor(dims, values) return sonde.tensor("f32", dims, values) end

-- What is known of the reference's matrix.
local function matrix_of(of)
  local x = tensor({ reference.tokens, IN }, reference.x)
  local graph = sonde.graph()
  local node = graph:leaf("x", x)
  local gram = of.gram and sonde.value(node:matmul(node, { transpose_a = true })) or nil
  local norm = of.norm and sonde.value(node:square():sum({ 1 }):sqrt():reshape { IN }) or nil
  return { name = "w", role = "ffn_in", weight = tensor({ OUT, IN }, reference.weight), tokens = reference.tokens,
    gram = gram, norm = norm }
end

local function bits(mask)
  local text = {}
  for k, value in ipairs(mask:values()) do text[k] = string.format("%d", value) end
  return table.concat(text)
end

TestReference = {}

function TestReference:test_every_case()
  lu.assertTrue(#reference.cases >= 24)
  for _, case in ipairs(reference.cases) do
    local label = table.concat({ case.method, tostring(case.sparsity), case.scope or "" }, " ")
    local given = { case.method }
    for key, value in pairs(case.options) do given[key] = value end
    local of, wanted = method.resolve(given), pattern.read(case.sparsity)
    local matrix, mask = matrix_of(of), tensor({ OUT, IN }, 1)
    matrix.sparsity, matrix.keep, matrix.group = wanted.sparsity, wanted.keep, wanted.group
    if of.prunes then
      local pruned = core.sparsity_prune(of.name, of.options, matrix, mask)
      for k, value in ipairs(pruned:values()) do
        lu.assertAlmostEquals(value, case.weight[k], 2e-5 * (1 + math.abs(case.weight[k])), label .. " " .. k)
        if case.mask:sub(k, k) == "0" then lu.assertEquals(value, 0) end
      end
    else
      pattern.apply({ { name = "w", score = method.score(of, matrix), mask = mask } }, wanted, case.scope)
    end
    lu.assertEquals(bits(mask), case.mask, label)
  end
end

TestMasks = {}

local function apply(score, mask, given, scope)
  local list = {}
  for k, values in ipairs(score) do
    list[k] = { name = "m" .. k, score = tensor({ #values, #values[1] }, values),
      mask = mask[k] or tensor({ #values, #values[1] }, 1) }
  end
  pattern.apply(list, pattern.read(given), scope)
  local texts = {}
  for k, each in ipairs(list) do texts[k] = bits(each.mask) end
  return texts
end

function TestMasks:test_scopes()
  local low, high = { { 1, 2, 3, 4 }, { 5, 6, 7, 8 } }, { { 9, 8, 7, 6 }, { 5, 4, 3, 2 } }
  lu.assertEquals(apply({ low, high }, {}, 0.5, "row"), { "00110011", "11001100" })
  lu.assertEquals(apply({ low, high }, {}, 0.5, "matrix"), { "00001111", "11110000" })
  lu.assertEquals(apply({ low, high }, {}, 0.5, "model"), { "00000111", "11111000" })
  lu.assertEquals(apply({ low, high }, {}, "1:2", "model"), { "01010101", "10101010" })
end

function TestMasks:test_of_equal_scores_the_first_go()
  lu.assertEquals(apply({ { { 1, 1, 1, 1 }, { 1, 1, 1, 1 } } }, {}, 0.5, "row"), { "00110011" })
  lu.assertEquals(apply({ { { 1, 1, 1, 1 }, { 1, 1, 1, 1 } } }, {}, 0.5, "matrix"), { "00001111" })
  lu.assertEquals(apply({ { { 0, -0.0, 0, 0 } } }, {}, "1:4", "row"), { "0001" })
end

function TestMasks:test_what_is_out_stays_out_and_counts()
  local mask = tensor({ 1, 6 }, { 1, 1, 1, 1, 0, 0 })
  lu.assertEquals(apply({ { { 1, 2, 3, 4, 90, 90 } } }, { mask }, 0.5, "row"), { "011100" })
  lu.assertEquals(apply({ { { 1, 2, 3, 4, 90, 90 } } }, { mask }, 0.1, "row"), { "011100" })
end

function TestMasks:test_shares_round_down()
  local row = {}
  for k = 1, 100 do row[k] = k end
  local _, zeros = apply({ { row } }, {}, 0.29, "row")[1]:gsub("0", "")
  lu.assertEquals(zeros, 29)
  lu.assertEquals(apply({ { { 1, 2, 3 } } }, {}, 0.3, "row"), { "111" })
  lu.assertEquals(apply({ { { 1, 2, 3 } } }, {}, 0, "row"), { "111" })
end

function TestMasks:test_mistakes()
  lu.assertErrorMsgContains("m1: the score of weight 2 is NaN", apply, { { { 1, 0 / 0 } } }, {}, 0.5, "row")
  lu.assertErrorMsgContains("m1: rows of 3 weights are no whole groups of 2", apply, { { { 1, 2, 3 } } }, {}, "1:2",
    "row")
  lu.assertErrorMsgContains("'4:2' must keep fewer", pattern.read, "4:2")
  lu.assertErrorMsgContains("'0:4' must keep fewer than the M of N:M, which is at most 256, and at least one",
    pattern.read, "0:4")
  lu.assertErrorMsgContains("'1' is neither a share from 0 to below 1 nor a pattern such as 2:4", pattern.read, 1)
  lu.assertErrorMsgContains("'half' is neither", pattern.read, "half")
end

TestScripts = {}

function TestScripts:test_one_scores_as_the_plugin()
  sonde.sparsity("own_wanda", { summary = "as wanda, in Lua", needs = { "norm" }, scope = "row" },
    function(matrix) return matrix.weight:abs() * matrix.norm end)
  local own, wanda = method.resolve "own_wanda", method.resolve "wanda"
  lu.assertEquals(own.scope, "row")
  lu.assertTrue(own.norm and not own.gram and not own.gathers)
  lu.assertEquals(method.score(own, matrix_of(own)):values(), method.score(wanda, matrix_of(wanda)):values())
end

function TestScripts:test_one_gathers_as_the_plugin()
  sonde.sparsity("own_movement", { summary = "as movement, in Lua",
    gather = function(matrix) return -(matrix.weight * matrix.gradient) end,
  }, function(matrix) return matrix.gathered end)
  for _, name in ipairs { "own_movement", "movement" } do
    local of = method.resolve(name)
    local matrix, sum = matrix_of(of), tensor({ OUT, IN }, 0)
    for step = 1, 2 do
      local gradient = tensor({ OUT, IN }, 0)
      for k = 1, OUT * IN do gradient:set(k, math.sin(step + k)) end
      method.gather(of, matrix, gradient, sum)
    end
    matrix.gathered = sum
    local score = method.score(of, matrix)
    for k = 1, OUT * IN do
      lu.assertAlmostEquals(score:get(k), -reference.weight[k] * (math.sin(1 + k) + math.sin(2 + k)), 1e-6)
    end
  end
end

function TestScripts:test_mistakes()
  lu.assertErrorMsgContains("exists already", sonde.sparsity, "wanda", {}, function() end)
  lu.assertErrorMsgContains("sonde.sparsity(name, [info,] function(matrix, options) ... end)", sonde.sparsity, "none",
    { summary = "no function" })
  sonde.sparsity("narrow", { summary = "one number a row" }, function(matrix) return matrix.weight:sum(-1) end)
  local of = method.resolve "narrow"
  lu.assertErrorMsgContains("it gives a number for each weight, [10, 24]", method.score, of, matrix_of(of))
  sonde.sparsity("gathers_rows", { summary = "gathers one number a row",
    gather = function(matrix) return matrix.gradient:sum(-1) end,
  }, function(matrix) return matrix.gathered end)
  local gradient, sum = tensor({ OUT, IN }, 0), tensor({ OUT, IN }, 0)
  lu.assertErrorMsgContains("sparsity 'gathers_rows', gather gave a node [10, 1]; it gives a number for each weight",
    method.gather, method.resolve "gathers_rows", matrix_of {}, gradient, sum)
  sonde.sparsity("gathers_nothing", { summary = "gathers nothing", gather = function() end },
    function(matrix) return matrix.gathered end)
  lu.assertErrorMsgContains("gather gave a nil", method.gather, method.resolve "gathers_nothing", matrix_of {},
    gradient, sum)
  sonde.sparsity("curious", { summary = "reads what it did not ask for" },
    function(matrix) return matrix.weight * matrix.norm end)
  lu.assertError(method.score, method.resolve "curious", matrix_of { norm = true })
  lu.assertErrorMsgContains("did you mean 'wanda'", method.resolve, "wandaa")
  lu.assertErrorMsgContains("option 'damp'", method.resolve, { "sparsegpt", damp = 7 })
  lu.assertErrorMsgContains("needs the inputs of w", method.score, method.resolve "wanda", matrix_of {})
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
