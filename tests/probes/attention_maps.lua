-- sonde.attention_maps: what a head's weights are, where they are zero, which are given, and the bound on their number.
local lu = require "luaunit"
local sonde = require "sonde"
local maps_of = require "sonde.probe.attention_maps"

local function model_of(more)
  local options = { vocab = 40, width = 16, depth = 3, heads = 4, kv_heads = 2, context = 12, init_std = 0.5, seed = 3 }
  for key, value in pairs(more or {}) do options[key] = value end
  return sonde.transformer(options):init()
end

local TOKENS = { 3, 1, 4, 1, 5, 9, 2, 6, 5, 35 }

TestMaps = {}

function TestMaps:test_rows_sum_to_one_and_see_nothing_later()
  local maps = sonde.attention_maps(model_of(), TOKENS)
  lu.assertEquals(#maps, 12)
  lu.assertEquals({ maps[6].block, maps[6].head }, { 1, 1 })
  for _, map in ipairs(maps) do
    for q, row in ipairs(map.weights) do
      local sum = 0
      for k, w in ipairs(row) do
        sum = sum + w
        if k > q then lu.assertEquals(w, 0) end
      end
      lu.assertEquals({ #map.weights, #row }, { #TOKENS, #TOKENS })
      lu.assertAlmostEquals(sum, 1, 1e-5)
    end
  end
end

-- Without queries all that can be seen weighs the same: all before, or a window.
function TestMaps:test_scores_of_zero_are_spread_evenly()
  for window, attention in pairs { [#TOKENS] = "causal", [3] = { "causal", window = 3 } } do
    local model = model_of { attention = attention }
    for block = 0, 2 do model:params():find(("model.layers.%d.self_attn.q_proj.weight"):format(block)):fill(0) end
    for _, map in ipairs(sonde.attention_maps(model, TOKENS, { blocks = { 1 } })) do
      for q, row in ipairs(map.weights) do
        local seen = math.min(q, window)
        for k, w in ipairs(row) do
          lu.assertAlmostEquals(w, (k <= q and k > q - window) and 1 / seen or 0, 1e-6)
        end
      end
    end
  end
end

-- Under ALiBi, then, a weight falls by the slope of its head, 2^(-2 h) of 4 heads, for each token back.
function TestMaps:test_distance_under_alibi()
  local model = model_of { positions = "alibi" }
  for block = 0, 2 do model:params():find(("model.layers.%d.self_attn.q_proj.weight"):format(block)):fill(0) end
  for _, map in ipairs(sonde.attention_maps(model, TOKENS, { blocks = { 1 } })) do
    local fall = math.exp(-2 ^ (-2 * (map.head + 1)))
    for q = 2, #map.weights do
      for k = 2, q do lu.assertAlmostEquals(map.weights[q][k - 1] / map.weights[q][k], fall, 1e-5) end
    end
  end
end

-- The layer's own result out of these weights: without positions and with one head, o(w v) of each token.
function TestMaps:test_the_layer_mixes_values_by_them()
  local model = model_of { depth = 1, heads = 1, kv_heads = 1 }
  local trace = model:trace { batch = 1, context = #TOKENS }
  local part = trace.parts[1]
  local x, params = part.norms[1].output, model:params()
  local v = x:linear(trace.graph:leaf("test.v", params:find "model.layers.0.self_attn.v_proj.weight"))
  local out = trace.graph:find "blocks.0.attn.out"
  local plan = sonde.plan { v, out }
  plan:run { tokens = sonde.tensor("i32", { 1, #TOKENS }, TOKENS) }
  local values, result, o = plan:output(1):values(), plan:output(2):values(),
    params:find("model.layers.0.self_attn.o_proj.weight"):values()
  local weights = sonde.attention_maps(model, TOKENS)[1].weights
  for q = 1, #TOKENS do
    local mixed = {}
    for d = 1, 16 do
      mixed[d] = 0
      for k = 1, q do mixed[d] = mixed[d] + weights[q][k] * values[(k - 1) * 16 + d] end
    end
    for d = 1, 16 do
      local sum = 0
      for e = 1, 16 do sum = sum + o[(d - 1) * 16 + e] * mixed[e] end
      lu.assertAlmostEquals(result[(q - 1) * 16 + d], sum, 1e-4)
    end
  end
end

function TestMaps:test_blocks_and_heads_can_be_chosen()
  local all, some = sonde.attention_maps(model_of(), TOKENS),
    sonde.attention_maps(model_of(), TOKENS, { blocks = { 2 }, heads = { 3, 0 } })
  lu.assertEquals(#some, 2)
  lu.assertEquals(some[1], all[12])
  lu.assertEquals(some[2], all[9])
end

function TestMaps:test_refusals()
  local model = model_of()
  for text, call in pairs {
    ["there is no block 3; the last of the model is 2"] = { TOKENS, { blocks = { 3 } } },
    ["block 0 has no head 4; its last is 3"] = { TOKENS, { heads = { 4 } } },
    ["40 is no token of a vocabulary of 40"] = { { 1, 40 } },
    ["takes a list of tokens"] = { {} },
    ["did you mean 'blocks'"] = { TOKENS, { block = { 1 } } },
  } do
    lu.assertErrorMsgContains(text, sonde.attention_maps, model, call[1], call[2])
  end
  local long = {}
  for k = 1, 900 do long[k] = 1 end
  lu.assertErrorMsgContains("12 heads of 3 blocks on 900 tokens are 9720000 numbers, 8388608 at most",
    sonde.attention_maps, model, long)
  lu.assertEquals(#sonde.attention_maps(model, long, { blocks = { 0 }, heads = { 1 } })[1].weights, 900)
  lu.assertErrorMsgContains("the blocks have no attention", sonde.attention_maps,
    model_of { layers = { [0] = { placement = "linear" }, [1] = { placement = "linear" },
      [2] = { placement = "linear" } } }, TOKENS)
end

function TestMaps:test_csv_and_page()
  local maps = sonde.attention_maps(model_of(), { 1, 2, 3 }, { blocks = { 0, 2 }, heads = { 1 } })
  local csv, lines = maps_of.csv(maps), 0
  for _ in csv:gmatch "\n" do lines = lines + 1 end
  lu.assertEquals(lines, 1 + 2 * 6)
  lu.assertStrContains(csv, ("block,head,query,key,weight\n0,1,0,0,1\n0,1,1,0,%.17g\n"):format(maps[1].weights[2][1]))
  local page = maps_of.page(maps, { "a", " <b>", "\n" }, "A title", "no-gnuplot")
  lu.assertStrContains(page, "3 tokens: a &lt;b&gt;")
  local many = {}
  for k = 1, 65 do many[k] = maps[1] end
  lu.assertErrorMsgContains("65 maps are too many for a page", maps_of.page, many, { "a" }, "t")
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
