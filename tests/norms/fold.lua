-- Models for inference: the gains of the norms in front of the branches in the weights behind them.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"

package.path = os.getenv("abs_srcdir") .. "/tests/norms/?.lua;" .. package.path
local made = require "made"

local function model_of(norm, placement)
  return made.fill(sonde.transformer {
    vocab = 13, width = 8, depth = 3, heads = 4, kv_heads = 2, ffn_hidden = 12, context = 6, norm = norm,
    placement = placement or "pre_ln",
  })
end

local function losses(model)
  local trace = model:trace { batch = 2, context = 5 }
  local tokens, targets = {}, {}
  for i = 1, 10 do tokens[i], targets[i] = i * 7 % 13, (i * 5 + 3) % 13 end
  local plan = sonde.plan { trace.loss }
  plan:run { tokens = tokens, targets = targets }
  return plan:output(1):values()
end

local function names(model)
  local found = {}
  for _, param in ipairs(model:params():list()) do found[param.name] = true end
  return found
end

local function assert_same(a, b, what)
  for i, loss in ipairs(losses(a)) do lu.assertAlmostEquals(losses(b)[i], loss, 2e-5, what) end
end

TestFold = {}

function TestFold:test_the_model_stays_the_same_function()
  local placements = { "pre_ln", "lns", "sandwich", "lns_sandwich", "parallel", { "parallel", shared = false },
    { "mix_ln", a = 0.34 }, "skipinit", "post_ln" }
  for _, norm in ipairs { "rmsnorm", "dyt", "bhyt", "bhyt_star" } do
    for _, placement in ipairs(placements) do
      local what = norm .. " under " .. core.json_encode(placement)
      local model = model_of(norm, placement)
      local before = model:params():sha256()
      local folded = model:fold()
      assert_same(model, folded, what)
      lu.assertEquals(model:params():sha256(), before)      -- the model itself is left alone
      lu.assertNil(names(folded)["model.layers.2.input_layernorm.weight"], what)
      lu.assertTrue(names(folded)["model.norm.weight"])     -- before the head there is nothing to fold it into
    end
  end
end

function TestFold:test_a_model_of_features()
  local model = made.fill(sonde.transformer { features = 3, objective = { "classifier", classes = 4 }, width = 8,
    depth = 2, heads = 2, context = 6 })
  local folded, finals = model:fold(), {}
  lu.assertNil(names(folded)["model.layers.1.input_layernorm.weight"])
  for k, each in ipairs { model, folded } do
    local plan, x = sonde.plan { each:trace({ batch = 1, context = 2 }).final }, { 0.5, -1, 2, 0.25, 3, -0.75 }
    plan:run { features = x }
    finals[k] = plan:output(1):values()
  end
  for i, value in ipairs(finals[1]) do lu.assertAlmostEquals(finals[2][i], value, 2e-5) end
end

function TestFold:test_bhyt_keeps_the_estimate_of_its_own_weights()
  local model = model_of "bhyt"
  local name = "model.layers.1.post_attention_layernorm.attention_variance"
  local c = model:params():find(name):get(1)
  local folded = model:fold()
  lu.assertEquals(folded:params():find(name):get(1), c)
  lu.assertEquals(folded:refresh():params():find(name):get(1), c)
end

function TestFold:test_a_folded_model_is_saved_and_opened()
  local dir = os.tmpname()
  os.remove(dir)
  local folded = model_of("rmsnorm"):fold()
  folded:save(dir)
  lu.assertEquals(core.json_load(dir .. "/config.json").model_type, "sonde")
  lu.assertEquals(losses(sonde.load(dir)), losses(folded))
  core.remove_tree(dir)
end

local function assert_fails(text, f, ...)
  local ok, message = pcall(f, ...)
  lu.assertFalse(ok)
  lu.assertStrContains(message, text)
end

function TestFold:test_what_cannot_be_folded_is_refused()
  local layernorm, folded = model_of "layernorm", model_of("rmsnorm"):fold()
  assert_fails("norm 'layernorm' cannot be folded", layernorm.fold, layernorm)
  assert_fails("folded already", folded.fold, folded)
  sonde.placement("norm_on_the_stream", function(block, x)
    local y = block:norm_in "attn" (x)
    return y + block:attention(y)
  end)
  local odd = model_of("rmsnorm", "norm_on_the_stream")
  assert_fails("cannot be folded under placement 'norm_on_the_stream'", odd.fold, odd)
end

-- BHyT's c would stay that of the weights before the training.
function TestFold:test_a_folded_model_is_not_trained()
  local corpus = { vocab = 13, handle = sonde.tensor("i32", { 40 }), spec = "made", hash = "made" }
  for _, norm in ipairs { "rmsnorm", "bhyt" } do
    assert_fails("is for inference and cannot be trained", sonde.train, model_of(norm):fold(), corpus, { steps = 1 })
  end
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
