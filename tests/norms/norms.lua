-- What norms and placements do beside their formulas: first values, the embedding's scale, factors that go into gains,
-- BHyT's buffer from the first weights to a saved folder, options by place.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"

local function model_of(options)
  local all = { vocab = 13, width = 8, depth = 2, heads = 4, kv_heads = 2, ffn_hidden = 12, context = 6, seed = 5 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all)
end

local function roles(model)
  local found = {}
  for _, param in ipairs(model:params():list()) do found[param.name] = param.role end
  return found
end

local function loss_of(model, context)
  local trace = model:trace { batch = 1, context = context or 4 }
  local tokens, targets = {}, {}
  for i = 1, context or 4 do tokens[i], targets[i] = i, i + 1 end
  return sonde.value(trace:mean_loss(), { tokens = tokens, targets = targets })
end

-- ---- first values -----------------------------------------------------------------------------------------------

TestInit = {}

local WIDTH, HIDDEN, DEPTH = 96, 160, 4

-- Standard deviation and largest size of a parameter's first values.
local function spread(model, name)
  local values, square, most = model:params():find(name):values(), 0, 0
  for _, value in ipairs(values) do
    square, most = square + value * value, math.max(most, math.abs(value))
  end
  return math.sqrt(square / #values), most
end

local function check_init(init, cut, expected)
  local model = sonde.transformer {
    vocab = 300, width = WIDTH, depth = DEPTH, ffn_hidden = HIDDEN, heads = 4, init = init,
  }:init()
  for name, std in pairs(expected) do
    local got, most = spread(model, name)
    lu.assertTrue(math.abs(got / std - 1) < 0.04, init .. ", " .. name .. ": " .. got .. " for " .. std)
    if cut then lu.assertTrue(most <= 3 * std and most > 2.5 * std, name) end
  end
end

function TestInit:test_mitchell_is_by_width_and_block()
  check_init("mitchell", true, {
    ["model.embed_tokens.weight"] = WIDTH ^ -0.5, ["lm_head.weight"] = WIDTH ^ -0.5,
    ["model.layers.0.self_attn.q_proj.weight"] = WIDTH ^ -0.5, ["model.layers.3.mlp.up_proj.weight"] = WIDTH ^ -0.5,
    ["model.layers.0.self_attn.o_proj.weight"] = (2 * WIDTH) ^ -0.5,
    ["model.layers.3.self_attn.o_proj.weight"] = (2 * WIDTH * 4) ^ -0.5,
    ["model.layers.0.mlp.down_proj.weight"] = (2 * HIDDEN) ^ -0.5,
    ["model.layers.3.mlp.down_proj.weight"] = (2 * HIDDEN * 4) ^ -0.5,
  })
end

function TestInit:test_megatron_is_by_depth()
  check_init("megatron", true, {
    ["model.embed_tokens.weight"] = 0.02, ["lm_head.weight"] = WIDTH ^ -0.5,
    ["model.layers.3.self_attn.v_proj.weight"] = 0.02,
    ["model.layers.0.self_attn.o_proj.weight"] = 0.02 / math.sqrt(2 * DEPTH),
    ["model.layers.3.mlp.down_proj.weight"] = 0.02 / math.sqrt(2 * DEPTH),
  })
end

function TestInit:test_xavier()
  local square, wide = math.sqrt(1 / WIDTH), math.sqrt(2 / (WIDTH + HIDDEN))
  check_init("xavier", false, {
    ["model.layers.1.self_attn.q_proj.weight"] = square, ["model.layers.2.self_attn.o_proj.weight"] = square,
    ["model.layers.1.mlp.gate_proj.weight"] = wide, ["model.layers.3.mlp.down_proj.weight"] = wide,
    ["lm_head.weight"] = math.sqrt(2 / (WIDTH + 300)), ["model.embed_tokens.weight"] = 0.02,
  })
end

-- Four blocks, of which the first floor(0.5 * 4) are Post-LN.
function TestInit:test_scaled_pre_is_by_what_a_block_is()
  local function check(placement, scaled)
    local model = sonde.transformer {
      vocab = 300, width = WIDTH, depth = DEPTH, ffn_hidden = HIDDEN, heads = 4, placement = placement,
      init = "scaled_pre",
    }:init()
    for block, is_scaled in ipairs(scaled) do
      local std = is_scaled and 0.02 / math.sqrt(2 * DEPTH) or 0.02
      for _, name in ipairs { "self_attn.o_proj", "mlp.down_proj" } do
        local got = spread(model, "model.layers." .. block - 1 .. "." .. name .. ".weight")
        lu.assertTrue(math.abs(got / std - 1) < 0.04, name .. " " .. block)
      end
      lu.assertTrue(math.abs(spread(model, "model.layers." .. block - 1 .. ".mlp.up_proj.weight") / 0.02 - 1) < 0.04)
    end
  end
  check({ "scale_post_pre", a = 0.5 }, { false, false, true, true })
  check({ "mix_ln" }, { false, true, true, true })
  check("pre_ln", { true, true, true, true })
end

function TestInit:test_the_embedding_has_a_std_of_its_own()
  local function of(options)
    local all = { vocab = 300, width = WIDTH, depth = 1, heads = 4, embed_std = 0.632 }
    for key, value in pairs(options) do all[key] = value end
    local model = sonde.transformer(all):init()
    local other = spread(model, "model.layers.0.self_attn.q_proj.weight")
    lu.assertTrue(math.abs(other - 0.02) < 1e-3 or options.init == "mitchell")
    return spread(model, "model.embed_tokens.weight")
  end
  lu.assertTrue(math.abs(of {} / 0.632 - 1) < 0.02)
  lu.assertTrue(math.abs(of { tie = true } / 0.632 - 1) < 0.02)
  local std, most = of { init = "mitchell" }                 -- cut off, as that initialisation's are
  lu.assertTrue(math.abs(std / 0.632 - 1) < 0.03 and most <= 3 * 0.632)
  local model = model_of { embed_std = 0.5 }:init()
  local dir = os.tmpname()
  os.remove(dir)
  model:save(dir)
  lu.assertEquals(sonde.load(dir).config.embed_std, 0.5)
  core.remove_tree(dir)
  local ok, message = pcall(model_of, { embed_std = -1 })
  lu.assertFalse(ok)
  lu.assertStrContains(message, "option 'embed_std' of transformer must be at least 0")
end

function TestInit:test_deepnorm_and_its_inverse()
  for init, beta in pairs { deepnorm = (8 * DEPTH) ^ -0.25, deepnorm_paper = (8 * DEPTH) ^ 0.25 } do
    local square, wide = math.sqrt(1 / WIDTH), math.sqrt(2 / (WIDTH + HIDDEN))
    check_init(init, false, {
      ["model.layers.1.self_attn.q_proj.weight"] = square, ["model.layers.1.self_attn.v_proj.weight"] = beta * square,
      ["model.layers.1.self_attn.o_proj.weight"] = beta * square, ["model.layers.1.mlp.gate_proj.weight"] = beta * wide,
      ["model.layers.1.mlp.down_proj.weight"] = beta * wide, ["model.embed_tokens.weight"] = 0.02,
    })
  end
end

function TestInit:test_placements_bring_theirs()
  for name, init in pairs { pre_ln_scaled = "scaled", pre_ln_mitchell = "mitchell", pre_ln_megatron = "megatron",
    deepnorm = "deepnorm", deepnorm_paper = "deepnorm_paper", lns = "normal",
    scale_post_pre = "scaled_pre", keel = "normal", norm_after = "normal" } do
    lu.assertEquals(model_of({ placement = name }).config.init, init)
    lu.assertEquals(model_of({ placement = name, init = "normal" }).config.init, "normal")
  end
end

function TestInit:test_learned_scales_start_where_asked()
  local function first(options)
    return model_of(options):init():params():find "model.layers.0.placement.attn_scale":values()
  end
  lu.assertAlmostEquals(first({ placement = "skipinit" })[1], 1e-3, 1e-9)
  lu.assertEquals(#first { placement = "skipinit" }, 1)
  lu.assertEquals(#first { placement = "layerscale" }, 8)
  lu.assertAlmostEquals(first({ placement = "layerscale" })[8], 0.1, 1e-7)
  lu.assertAlmostEquals(first({ placement = "layerscale", depth = 19 })[8], 1e-5, 1e-12)
  lu.assertAlmostEquals(first({ placement = "layerscale", depth = 25 })[8], 1e-6, 1e-12)
  lu.assertAlmostEquals(first({ placement = { "layerscale", scale = 0.5 } })[8], 0.5, 1e-7)
end

-- ---- placements -----------------------------------------------------------------------------------------------

TestKeel = {}

function TestKeel:test_alpha_is_the_number_of_branches()
  local function loss(alpha) return loss_of(model_of { depth = 3, placement = { "keel", alpha = alpha } }:init()) end
  lu.assertEquals(loss(nil), loss(6))
  lu.assertNotEquals(loss(nil), loss(3))
  lu.assertErrorMsgContains("'alpha' of placement 'keel' must be at least 0", model_of,
    { placement = { "keel", alpha = -1 } })
end

-- The first branch of all has no norm behind it; every other one has.
function TestKeel:test_its_norms()
  local found = roles(model_of { placement = "keel" })
  lu.assertNil(found["model.layers.0.post_self_attn_layernorm.weight"])
  for _, name in ipairs { "0.input_layernorm", "0.post_attention_layernorm", "0.post_mlp_layernorm",
      "1.input_layernorm",
    "1.post_self_attn_layernorm", "1.post_attention_layernorm", "1.post_mlp_layernorm" } do
    lu.assertEquals(found["model.layers." .. name .. ".weight"], "gain", name)
  end
end

function TestKeel:test_which_blocks_are_post_ln()
  local function post(placement)
    local found, list = roles(model_of { depth = 8, placement = placement }), {}
    for block = 0, 7 do
      list[#list + 1] = found["model.layers." .. block .. ".post_self_attn_layernorm.weight"] and "post" or "pre"
    end
    return table.concat(list, " ")
  end
  lu.assertEquals(post "pre_post_pre_post", "pre pre pre post pre pre pre post")
  lu.assertEquals(post "post_pre_post_pre", "post post post pre post post post pre")
  lu.assertEquals(post { "pre_post_pre_post", every = 2 }, "pre post pre post pre post pre post")
  lu.assertEquals(post { "scale_post_pre", a = 0.5 }, "post post post post pre pre pre pre")
end

-- ---- DyT ----------------------------------------------------------------------------------------------------------

TestDyt = {}

function TestDyt:test_the_embedding_is_scaled_unless_told_otherwise()
  local model = model_of({ norm = "dyt" }):init()
  lu.assertAlmostEquals(model:params():find "model.embed_scale":get(1), math.sqrt(8), 1e-6)
  lu.assertEquals(roles(model)["model.embed_scale"], "gain")
  lu.assertNil(roles(model_of { norm = "dyt", embed_scale = "none" })["model.embed_scale"])
  lu.assertNil(roles(model_of())["model.embed_scale"])
  -- Fixed or learned, it starts as the same function.
  local learned, fixed = loss_of(model), loss_of(model_of({ norm = "dyt", embed_scale = "fixed" }):init())
  lu.assertAlmostEquals(learned, fixed, 1e-6)
end

function TestDyt:test_a_norm_in_lua_suggests_too()
  sonde.norm("with_scale", { suggests = "embed_scale=fixed tie=true" }, function(_, _, x) return x end)
  local config = model_of({ norm = "with_scale" }).config
  lu.assertEquals(config.embed_scale, "fixed")
  lu.assertFalse(config.tie)   -- has a preset of its own
  sonde.norm("with_typo", { suggests = "embed_scal=fixed" }, function(_, _, x) return x end)
  local ok, message = pcall(model_of, { norm = "with_typo" })
  lu.assertFalse(ok)
  lu.assertStrContains(message, "norm 'with_typo' suggests an option 'embed_scal' that models do not have")
end

function TestDyt:test_a_bias()
  local model = model_of({ norm = { "dyt", bias = true } }):init()
  for _, norm in ipairs { "layers.0.input_layernorm", "layers.1.post_attention_layernorm", "norm" } do
    lu.assertEquals(roles(model)["model." .. norm .. ".bias"], "bias")
  end
  lu.assertNil(roles(model_of { norm = "dyt" })["model.norm.bias"])
  lu.assertAlmostEquals(loss_of(model), loss_of(model_of({ norm = "dyt" }):init()), 1e-6)
  lu.assertErrorMsgContains("a gain cannot be folded past a bias", model.fold, model)
end

TestDerf = {}

function TestDerf:test_first_values_by_place()
  local options = { "derf", alpha_attn = 0.8, alpha_ffn = 0.25, alpha_final = 0.125, shift = 0.5 }
  local params = model_of({ norm = options }):init():params()
  for name, value in pairs { ["layers.1.input_layernorm.alpha"] = 0.8,
    ["layers.0.post_attention_layernorm.alpha"] = 0.25, ["norm.alpha"] = 0.125, ["norm.shift"] = 0.5, ["norm.bias"] = 0,
    ["norm.weight"] = 1 } do
    lu.assertAlmostEquals(params:find("model." .. name):get(1), value, 1e-6, name)
  end
  params = model_of({ norm = "derf" }):init():params()
  lu.assertEquals({ params:find "model.norm.alpha":get(1), params:find "model.norm.shift":get(1) }, { 0.5, 0 })
  lu.assertErrorMsgContains("alpha_attn", model_of, { norm = { "derf", alpha_attn = 0 } })
  lu.assertErrorMsgContains("cannot be folded", function() model_of({ norm = "derf" }):init():fold() end)
end

function TestDerf:test_it_is_saved_and_loaded()
  local dir, options = os.tmpname(), { norm = { "derf", shift = 0.25 }, placement = { "keel", alpha = 3 } }
  local model = model_of(options):init()
  os.remove(dir)
  model:save(dir)
  lu.assertEquals(loss_of(sonde.load(dir)), loss_of(model))
  lu.assertEquals(sonde.load(dir).layers[1].norm.options.shift, 0.25)
  core.remove_tree(dir)
end

function TestDyt:test_alpha_starts_by_place()
  local params = model_of({ norm = { "dyt", alpha_attn = 0.8, alpha_ffn = 0.2, alpha_final = 0.1 } }):init():params()
  lu.assertAlmostEquals(params:find "model.layers.1.input_layernorm.alpha":get(1), 0.8, 1e-6)
  lu.assertAlmostEquals(params:find "model.layers.1.post_attention_layernorm.alpha":get(1), 0.2, 1e-6)
  lu.assertAlmostEquals(params:find "model.norm.alpha":get(1), 0.1, 1e-6)
end

-- ---- factors ------------------------------------------------------------------------------------------------------

TestFactor = {}

function TestFactor:test_a_factor_of_a_norm()
  local g = sonde.graph()
  local x, gain = g:input("x", "f32", { 2, 3 }), g:input("gain", "f32", { 3 })
  local y, z = x:rmsnorm(gain) * 0.25, 0.25 * (x:rmsnorm(gain) + 0)
  local plan = sonde.plan { y, x:rmsnorm(gain), z }
  plan:run { x = { 1, 2, 3, -4, 5, 6 }, gain = { 1, 0.5, -2 } }
  for i, value in ipairs(plan:output(2):values()) do
    lu.assertAlmostEquals(plan:output(1):get(i), 0.25 * value, 1e-7)
    lu.assertAlmostEquals(plan:output(3):get(i), 0.25 * value, 1e-7)
  end
end

function TestFactor:test_scaled_layers_cost_no_more_than_plain_ones()
  local function bytes(name)
    local trace = model_of({ placement = name, width = 64 }):trace { batch = 4, context = 6 }
    return sonde.plan({ trace:mean_loss() }):info().bytes
  end
  lu.assertTrue(bytes "lns" < bytes "pre_ln" + 2 * 64 * 4 * 4 * 2)   -- the gains of both norms of two blocks
end

-- ---- BHyT ---------------------------------------------------------------------------------------------------------

TestBhyt = {}

local C = "model.layers.1.post_attention_layernorm.attention_variance"

-- |W_V W_O|_F^2 / (T D) with W_V repeated for the two query heads of each of the two groups.
local function naive(model, context)
  local v = model:params():find "model.layers.1.self_attn.v_proj.weight":values()
  local o = model:params():find "model.layers.1.self_attn.o_proj.weight":values()
  local sum = 0
  for i = 0, 7 do
    for j = 0, 7 do
      local entry = 0
      for head = 0, 3 do
        for k = 0, 1 do
          entry = entry + o[i * 8 + head * 2 + k + 1] * v[(math.floor(head / 2) * 2 + k) * 8 + j + 1]
        end
      end
      sum = sum + entry * entry
    end
  end
  return sum / (context * 8)
end

local function c_of(model)
  return model:params():find(C):get(1)
end

local function assert_near(got, expected)
  lu.assertTrue(math.abs(got / expected - 1) < 1e-5, got .. " for " .. expected)
end

function TestBhyt:test_the_buffer_starts_from_the_initialised_weights()
  local a, b = model_of({ norm = "bhyt" }):init(), model_of({ norm = "bhyt", seed = 6 }):init()
  assert_near(c_of(a), naive(a, 6))
  assert_near(c_of(b), naive(b, 6))
  lu.assertNotEquals(c_of(a), c_of(b))
  lu.assertEquals(roles(a)[C], "buffer")
  lu.assertEquals(a:count().total, model_of({ norm = "bhyt_star" }):count().total)
end

function TestBhyt:test_it_does_not_depend_on_what_is_traced()
  local model = model_of({ norm = "bhyt" }):init()
  local before, short = c_of(model), loss_of(model, 2)
  loss_of(model, 6)
  lu.assertEquals(c_of(model), before)
  lu.assertEquals(loss_of(model, 2), short)
end

function TestBhyt:test_training_refreshes_it()
  local values = {}
  for i = 1, 400 do values[i] = i * i % 13 end
  local corpus = { vocab = 13, handle = sonde.tensor("i32", { #values }, values), spec = "made", hash = "made" }
  local model = model_of { norm = "bhyt" }
  local options = { steps = 20, batch = 2, lr = 0.05, progress = false, eval_every = 0, probe_every = 0 }
  local first = naive(model:init(), 6)
  sonde.train(model, corpus, options)
  assert_near(c_of(model), naive(model, 6))       -- of 20 updates: after each
  lu.assertTrue(math.abs(c_of(model) / first - 1) > 1e-3)
end

function TestBhyt:test_folders_keep_it_and_get_one_where_they_have_none()
  local dir = os.tmpname()
  os.remove(dir)
  local model = model_of({ norm = "bhyt" }):init()
  model:params():find(C):fill(0.5)
  model:save(dir)
  lu.assertEquals(c_of(sonde.load(dir)), 0.5)     -- what it was trained with, not what the weights now give
  local names, tensors = {}, {}
  for _, param in ipairs(model:params():list()) do
    if param.role ~= "buffer" then
      names[#names + 1], tensors[#tensors + 1] = param.name, model:params():find(param.name)
    end
  end
  core.weights_save(dir .. "/model.safetensors", names, tensors)
  local loaded = sonde.load(dir)
  assert_near(c_of(loaded), naive(model, 6))
  core.remove_tree(dir)
end

function TestBhyt:test_weights_changed_by_hand_are_followed_when_asked()
  local model = model_of({ norm = "bhyt" }):init()
  model:params():find "model.layers.1.self_attn.v_proj.weight":fill(0.1)
  model:refresh()
  assert_near(c_of(model), naive(model, 6))
end

-- A placement's factor goes into the gain; the mean square that the second norm reads comes from the same pass.
function TestBhyt:test_a_scaled_norm_is_one_pass()
  local path = os.tmpname()
  for _, placement in ipairs { "pre_ln", "lns" } do
    local trace = sonde.transformer { vocab = 11, width = 8, depth = 3, heads = 2, context = 8, norm = "bhyt",
      placement = placement }:trace { batch = 1, context = 8 }
    local plan, count = core.plan { trace.loss:sum() }, 0
    plan:dump(path)
    for line in io.lines(path) do count = count + (line:find("bhyt.forward", 1, true) and 1 or 0) end
    lu.assertEquals(count, 6, placement)
    plan:close()
  end
  os.remove(path)
end


function TestBhyt:test_the_estimate_stands_only_where_it_holds()
  for _, name in ipairs { "post_ln", "sandwich", "parallel", "skipinit" } do
    lu.assertNil(roles(model_of { norm = "bhyt", placement = name })[C], name)
  end
  lu.assertEquals(roles(model_of { norm = "bhyt", placement = "lns" })[C], "buffer")
  lu.assertNil(roles(model_of { norm = "bhyt_star" })[C])
end

function TestBhyt:test_the_learned_numbers_of_the_estimate()
  local function learned(variance)
    local model, list = model_of { norm = { "bhyt", variance = variance } }:init(), {}
    for _, param in ipairs(model:params():list()) do
      local name = param.name:match "^model%.layers%.1%.post_attention_layernorm%.(%a+_%a+)$"
      if name and param.role == "gain" then list[#list + 1] = name .. " " .. model:params():find(param.name):get(1) end
    end
    table.sort(list)
    return table.concat(list, ", "), loss_of(model)
  end
  local _, plain = learned "plain"
  local text, loss = learned "beta"
  lu.assertEquals(text, "variance_beta 1.0")
  lu.assertAlmostEquals(loss, plain, 1e-6)                   -- they start where they change nothing
  text, loss = learned "residual_aware"
  lu.assertEquals(text, "variance_alpha 1.0, variance_beta 0.0")
  lu.assertAlmostEquals(loss, plain, 1e-6)
  lu.assertEquals((learned "eta"), "variance_eta 0.0")
end

-- Where a block measures, it is bhyt_star's, and has no buffer.
function TestBhyt:test_blocks_that_measure()
  local function buffers(options)
    options[1] = "bhyt"
    local model = model_of { depth = 4, norm = options }:init()
    local list = {}
    for _, param in ipairs(model:params():list()) do
      if param.role == "buffer" then list[#list + 1] = param.name:match "layers%.(%d)" end
    end
    return table.concat(list, " "), loss_of(model)
  end
  lu.assertEquals((buffers {}), "0 1 2 3")
  lu.assertEquals((buffers { exact_first = 2 }), "2 3")
  lu.assertEquals((buffers { exact_blocks = "1,3" }), "0 2")
  lu.assertEquals((buffers { exact_first = 1, exact_blocks = "2" }), "1 3")
  local none, loss = buffers { exact_first = 4 }
  lu.assertEquals(none, "")
  lu.assertEquals(loss, loss_of(model_of { depth = 4, norm = "bhyt_star" }:init()))
  for _, text in ipairs { "a", "1,", ",1", "1 2", "-1", "1;2" } do
    lu.assertErrorMsgContains("exact_blocks must be numbers of blocks with commas between, such as 0,8, not '" .. text
      .. "'", buffers, { exact_blocks = text })
  end
  lu.assertErrorMsgContains("exact_first: there are no 5 blocks; give 0..4", buffers, { exact_first = 5 })
  lu.assertErrorMsgContains("exact_blocks: there is no block 4; blocks are 0..3", buffers, { exact_blocks = "0,4" })
  lu.assertErrorMsgContains("variance", buffers, { variance = "gamma" })
  lu.assertErrorMsgContains("kappa_schedule", buffers, { kappa_schedule = "shrink" })
end

function TestBhyt:test_lambdas_by_place()
  local model = model_of({ norm = { "bhyt", lambda_attn = 2, lambda_ffn = 3 } }):init()
  lu.assertEquals(model:params():find "model.layers.0.input_layernorm.lambda":get(1), 2)
  lu.assertEquals(model:params():find "model.layers.0.post_attention_layernorm.lambda":get(1), 3)
  lu.assertNil(roles(model)["model.norm.lambda"])          -- RMSNorm before the head
  local final = model_of { norm = { "bhyt", lambda_final = 2 } }
  lu.assertEquals(roles(final)["model.norm.lambda"], "gain")
  local fixed = model_of({ norm = { "bhyt", learn_lambda = false, lambda_attn = 2, lambda_ffn = 3 } }):init()
  lu.assertNil(roles(fixed)["model.layers.0.input_layernorm.lambda"])
  lu.assertAlmostEquals(loss_of(fixed), loss_of(model), 1e-6)
end

-- ---- queries and keys ---------------------------------------------------------------------------------------------

TestQkNorm = {}

function TestQkNorm:test_it_has_gains_and_is_a_qwen3()
  local model, dir = model_of({ attention = { "causal", qk_norm = true } }):init(), os.tmpname()
  os.remove(dir)
  lu.assertEquals(model:params():find "model.layers.0.self_attn.q_norm.weight":values(), { 1, 1 })
  model:save(dir)
  lu.assertEquals(core.json_load(dir .. "/config.json").model_type, "qwen3")
  lu.assertEquals(loss_of(sonde.load(dir)), loss_of(model))
  core.remove_tree(dir)
end

-- ---- options of placements -----------------------------------------------------------------------------------------

TestPlaces = {}

function TestPlaces:test_options_are_finite()
  for shown, value in pairs { inf = 1 / 0, ["-inf"] = -1 / 0, NaN = 0 / 0 } do
    local cases = {
      ["norm 'bhyt': option 'lambda_attn' must be a finite number"] = { norm = { "bhyt", lambda_attn = value } },
      ["'scale' of placement 'skipinit' must be a finite number, not " .. shown] = {
        placement = { "skipinit", scale = value },
      },
      ["'init_std' of transformer must be a finite number, not " .. shown] = { init_std = value },
    }
    for text, options in pairs(cases) do lu.assertErrorMsgContains(text, model_of, options) end
  end
  lu.assertErrorMsgContains("'depth' of transformer must be a whole number, not 1e+20", model_of, { depth = 1e20 })
end

-- The first floor(a L) blocks are Post-LN, as decimals have it.
function TestPlaces:test_the_share_of_mix_ln()
  local mix = require("sonde.model.placement").find("mix_ln").build
  local function post_blocks(a, depth)
    local count, norm = 0, function() return function(x) return x end end
    for layer = 1, depth do
      local block = { layer = layer, depth = depth, options = { a = a } }
      block.norm_in = norm
      block.norm_out = function(_, slot)
        if slot == "attn" then count = count + 1 end
        return norm()
      end
      block.attention = function(_, x) return x end
      block.ffn = block.attention
      mix(block, 0)
    end
    return count
  end
  lu.assertEquals(post_blocks(0.25, 12), 3)
  lu.assertEquals(post_blocks(0.25, 11), 2)
  lu.assertEquals(post_blocks(0.29, 100), 29)
  lu.assertEquals(post_blocks(0.2899, 100), 28)
  for percent = 0, 100 do lu.assertEquals(post_blocks(percent / 100, 100), percent) end
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
