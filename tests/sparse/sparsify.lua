-- One-shot sparsity: which weights are out, calibration block by block, and what stays through saving, training,
-- pruning and adapters.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"
local method = require "sonde.sparse.method"
local sparsify = require "sonde.sparse.sparsify"

local UP, DOWN = "model.layers.0.mlp.up_proj.weight", "model.layers.1.mlp.down_proj.weight"

local ids = {}
for i = 1, 1600 do ids[i] = (i * i + 3 * i + (i % 7 == 0 and i or 0)) % 23 end
local corpus = { vocab = 23, handle = sonde.tensor("i32", { #ids }, ids), spec = "made", hash = "made" }

local function model_of(options)
  local all = { vocab = 23, width = 16, depth = 2, heads = 2, context = 12, init_std = 0.2, seed = 5 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

local function sparse_of(model, options)
  local all = { method = "magnitude", sparsity = 0.5, windows = 8 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.sparsify(model, all)
end

local function loss(model) return sonde.evaluate(model, ids).loss end

local function train(model, options)
  local all = { batch = 4, steps = 6, lr = 3e-3, progress = false, probe_every = 0, eval_every = 0 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.train(model, corpus, all)
end

local function folder()
  local dir = os.tmpname()
  os.remove(dir)
  return dir
end

-- Which weights of a matrix are 0, as text.
local function zeros(model, name)
  local text = {}
  for k, value in ipairs(model:params():read(name):values()) do text[k] = value == 0 and "0" or "1" end
  return table.concat(text)
end

-- Whether each group of four neighbours has two weights, or fewer.
local function check_groups(model, facts)
  for _, each in ipairs(facts.matrices) do
    local values = model:params():read(each.name):values()
    for first = 1, #values, 4 do
      local n = 0
      for k = first, first + 3 do n = n + (values[k] ~= 0 and 1 or 0) end
      lu.assertTrue(n <= 2, each.name)
    end
  end
end

TestOneShot = {}

function TestOneShot:test_models_of_frames()
  local model = sonde.transformer { features = 6, objective = { "weighted_classifier", classes = 2 }, width = 16,
    depth = 2, heads = 2, context = 12, init_std = 0.2, seed = 5 }:init()
  local sparse, facts = sparse_of(model)
  lu.assertEquals(facts.sparsity, 0.5)
  local speed = require("sonde.sparse.sparsify").speed(model, sparse, { context = 12, batch = 2, rounds = 1 })
  lu.assertTrue(speed.dense > 0 and speed.sparse > 0)
  local ok, message = pcall(sparse_of, model, { method = "wanda", text = ids })
  lu.assertFalse(ok)
  lu.assertStrContains(message, "reads features")
end

-- Inputs that are always 0 cost nothing, but no more weights go for that.
function TestOneShot:test_the_share_is_kept_where_inputs_are_always_0()
  local model = model_of { ffn = { "mlp", hidden = 64, top_k = 1, activation = "relu2" } }
  for pattern, share in pairs { [0.1] = 0.1, ["7:8"] = 0.125 } do
    local sparse = sparse_of(model, { method = "sparsegpt", sparsity = pattern, text = ids,
      matrices = { "*down_proj*" } })
    local out = 0
    for _, value in ipairs(sparse:params():read(DOWN):values()) do out = out + (value == 0 and 1 or 0) end
    lu.assertAlmostEquals(out / (16 * 64), share, 1 / 64, pattern)
  end
end

function TestOneShot:test_every_method_takes_half_out_and_leaves_the_model_alone()
  local model = model_of()
  local before = model:params():sha256()
  for _, name in ipairs(method.names()) do
    local sparse, facts = sparse_of(model, { method = name, text = ids })
    lu.assertAlmostEquals(facts.sparsity, 0.5, 0.01, name)
    lu.assertEquals(#facts.matrices, 14)
    lu.assertAlmostEquals(facts.loss.after, sonde.evaluate(sparse, ids, { context = 12, tokens = 97 }).loss, 1e-6)
    local again = sparse_of(model, { method = name, text = ids })
    lu.assertEquals(again:params():sha256(), sparse:params():sha256(), name)
    for _, each in ipairs(facts.matrices) do
      local _, out = zeros(sparse, each.name):gsub("0", "")
      lu.assertEquals(out, each.zeros)
    end
  end
  lu.assertEquals(model:params():sha256(), before)
end

function TestOneShot:test_groups_hold_exactly()
  for _, name in ipairs { "magnitude", "wanda", "sparsegpt" } do
    local sparse, facts = sparse_of(model_of(), { method = name, sparsity = "2:4", text = ids })
    lu.assertEquals(facts.sparsity, 0.5)
    check_groups(sparse, facts)
  end
end

function TestOneShot:test_a_choice_of_matrices_and_blocks()
  local _, facts = sparse_of(model_of(), { matrices = { "*.mlp.*" }, layers = { 1 } })
  lu.assertEquals(#facts.matrices, 3)
  for _, each in ipairs(facts.matrices) do lu.assertEquals(each.block, 1) end
  local sparse = sparse_of(model_of(), { scope = "model", sparsity = 0.7, matrices = { "*_proj.weight" } })
  lu.assertNotEquals(select(2, zeros(sparse, UP):gsub("0", "")), select(2, zeros(sparse, DOWN):gsub("0", "")))
end

-- The inputs of the second block's matrices come from the first block as it is by then.
function TestOneShot:test_calibration_goes_block_by_block()
  local model = model_of()
  local both = sparse_of(model, { method = "wanda", text = ids, sparsity = 0.6 })
  local first = sparse_of(model, { method = "wanda", text = ids, sparsity = 0.6, layers = { 0 } })
  local then_second = sparse_of(first, { method = "wanda", text = ids, sparsity = 0.6, layers = { 1 } })
  local second = sparse_of(model, { method = "wanda", text = ids, sparsity = 0.6, layers = { 1 } })
  local gate = "model.layers.1.mlp.gate_proj.weight"
  lu.assertEquals(zeros(then_second, gate), zeros(both, gate))
  lu.assertNotEquals(zeros(second, gate), zeros(both, gate))
end

-- The norms by hand: the inputs of the first block's queries are its norm's outputs.
function TestOneShot:test_norms_are_those_of_the_inputs()
  local model, q = model_of(), "model.layers.0.self_attn.q_proj.weight"
  local sparse = sparse_of(model, { method = "wanda", text = ids, windows = 1, context = 12, matrices = { q } })
  local all = math.floor((#ids - 1) / 12)
  local place, tokens = math.floor(all / 2), {}      -- the window in the middle
  for i = 1, 12 do tokens[i] = ids[place * 12 + i] end
  local trace = model:trace { batch = 1, context = 12 }
  local x = sonde.value(trace.parts[1].norms[1].output:reshape({ 12, 16 }):square():sum({ 1 }):sqrt():reshape { 16 },
    { tokens = tokens }):values()
  local weight, text = model:params():find(q):values(), {}
  for row = 0, 15 do
    local order = {}
    for k = 1, 16 do order[k] = k end
    table.sort(order, function(a, b)
      return math.abs(weight[row * 16 + a]) * x[a] < math.abs(weight[row * 16 + b]) * x[b]
    end)
    for k = 1, 16 do text[row * 16 + order[k]] = k <= 8 and "0" or "1" end
  end
  lu.assertEquals(zeros(sparse, q), table.concat(text))
end

-- The norms are the roots of the diagonal of X^T X: with both, a method does as with the norms alone.
function TestOneShot:test_a_method_that_reads_norms_and_products()
  sonde.sparsity("reads_both", { summary = "as wanda, of both", needs = { "gram", "norm" }, scope = "row" },
    function(matrix) return matrix.weight:abs() * (matrix.norm + 0 * matrix.gram:sum()) end)
  local options = { method = "wanda", text = ids, context = 12 }
  local wanda = sparse_of(model_of(), options)
  options.method = "reads_both"
  lu.assertEquals(zeros(sparse_of(model_of(), options), UP), zeros(wanda, UP))
end

function TestOneShot:test_sparsegpt_is_closer_on_the_calibration_text()
  local model = model_of { depth = 3 }
  train(model, { steps = 60 })
  local of = {}
  for _, name in ipairs { "random", "magnitude", "sparsegpt" } do
    of[name] = select(2, sparse_of(model, { method = name, sparsity = 0.6, text = ids, windows = 100 })).loss.after
  end
  lu.assertTrue(of.sparsegpt < of.magnitude, of.sparsegpt .. " " .. of.magnitude)
  lu.assertTrue(of.magnitude < of.random)
end

function TestOneShot:test_shared_weights_are_pruned_once()
  local model = model_of { depth = 3, layers = { [2] = { share = 1 } } }
  local sparse, facts = sparse_of(model, { method = "sparsegpt", text = ids })
  lu.assertEquals(#facts.matrices, 14)
  lu.assertEquals(zeros(sparse, "model.layers.2.mlp.up_proj.weight"),
    zeros(sparse, "model.layers.1.mlp.up_proj.weight"))
end

function TestOneShot:test_mistakes()
  local function refuses(text, options)
    lu.assertErrorMsgContains(text, sparse_of, model_of(), options)
  end
  refuses("measures the model on text; give one with the option text", { method = "wanda" })
  refuses("no effect with method 'sparsegpt'", { method = "sparsegpt", text = ids, scope = "row" })
  refuses("no effect with N:M", { sparsity = "2:4", scope = "row" })
  refuses("compares scores within a row or a matrix", { method = "wanda", text = ids, scope = "model" })
  refuses("is called '*.nothing'", { matrices = { "*.nothing" } })
  refuses("there is no block 2; blocks are 0..1", { layers = { 2 } })
  refuses("no whole groups of 7", { sparsity = "3:7" })
  refuses("hold no whole window of 12", { method = "wanda", text = { 1, 2, 3 }, context = 12 })
  refuses("did you mean 'wanda'", { method = "wander" })
end

TestKept = {}

function TestKept:test_in_folders()
  for _, given in ipairs { 0.5, "2:4", 0.3 } do
    for _, dtype in ipairs { "f32", "bf16" } do
      local sparse, dir, dense = sparse_of(model_of(), { sparsity = given }), folder(), folder()
      sparse:save(dir, { dtype = dtype })
      sparse:save(dense, { dtype = dtype, dense = true })
      local file = core.weights_open(dir)
      lu.assertNil(file:find(UP))
      lu.assertEquals(file:find(UP .. ".bitmask").dtype, "U8")
      lu.assertEquals(#file:find(UP .. ".values").dims, given == "2:4" and 2 or file:find(UP .. ".values").dims[2] and 2
        or 1)
      local again, plain = sonde.load(dir), sonde.load(dense)
      lu.assertEquals(loss(again), loss(plain))
      lu.assertEquals(again:params():find(UP .. ".mask"):values(), sparse:params():find(UP .. ".mask"):values())
      lu.assertNil(plain:params():find(UP .. ".mask"))
      lu.assertEquals(core.json_load(dir .. "/config.json").quantization_config.quant_method, "sonde_sparse")
      lu.assertNil(core.json_load(dense .. "/config.json").quantization_config)
      again:save(dense, { dense = true })             -- over what was there
      lu.assertNil(core.json_load(dense .. "/config.json").quantization_config)
      lu.assertEquals(again.stored[UP], dtype)
    end
  end
end

-- The index of shards says how many bytes their tensors have, which are fewer than a dense model's.
function TestKept:test_the_index_of_shards_counts_what_is_stored()
  local dir, sizes = folder(), { F32 = 4, U8 = 1 }
  sparse_of(model_of(), { sparsity = 0.7 }):save(dir, { shard_size = "4KB" })
  local bytes, shards = 0, 0
  for _, name in ipairs(core.list_dir(dir)) do
    local file = string.find(name, "%.safetensors$") and core.weights_open(dir .. "/" .. name)
    for _, tensor in ipairs(file and file:names() or {}) do
      local found = file:find(tensor)
      local size = sizes[found.dtype]
      for _, dim in ipairs(found.dims) do size = size * dim end
      bytes = bytes + size
    end
    if file then shards = shards + 1 end
  end
  lu.assertTrue(shards > 1)
  lu.assertEquals(core.json_load(dir .. "/model.safetensors.index.json").metadata.total_size, bytes)
end

function TestKept:test_in_folders_of_other_architectures()
  local gpt = { norm = "layernorm", ffn = { "mlp", bias = true, activation = "gelu_tanh" }, positions = "learned",
    attention = { "causal", rope_theta = 0, bias = "all" }, tie = true }
  local phi = { ffn = { "swiglu", hidden = 24 } }
  for name, options in pairs { gpt2 = gpt, phi3 = phi } do
    local model, dir = model_of(options), folder()
    model.origin = { config = { model_type = name }, files = {}, left = {} }
    local sparse = sparse_of(model, { sparsity = 0.4 })
    sparse.origin = model.origin
    sparse:save(dir)
    lu.assertEquals(core.json_load(dir .. "/config.json").model_type, name)
    local again = sonde.load(dir)
    lu.assertEquals(zeros(again, DOWN), zeros(sparse, DOWN))
    lu.assertEquals(again:params():find(UP .. ".mask"):values(), sparse:params():find(UP .. ".mask"):values())
    lu.assertEquals(loss(again), loss(sparse))
  end
end

function TestKept:test_through_training()
  local sparse, facts = sparse_of(model_of(), { sparsity = "2:4" })
  local before, weights = zeros(sparse, DOWN), sparse:params():read(DOWN):values()
  train(sparse, { weight_decay = 0.5, steps = 10 })
  lu.assertEquals(zeros(sparse, DOWN), before)
  lu.assertNotEquals(sparse:params():read(DOWN):values(), weights)
  check_groups(sparse, facts)
end

function TestKept:test_through_training_that_begins_with_a_folder_or_a_run()
  local sparse, dir, run = sparse_of(model_of(), { sparsity = 0.6 }), folder(), folder()
  sparse:save(dir)
  local tuned = model_of()
  train(tuned, { from = dir, dir = run })
  lu.assertEquals(zeros(tuned, DOWN), zeros(sparse, DOWN))
  local further = model_of()
  train(further, { from = run, steps = 3 })
  lu.assertEquals(zeros(further, DOWN), zeros(sparse, DOWN))
  local again = model_of()
  lu.assertEquals(train(again, { from = dir, dir = run }).steps, 6)       -- the run is there already
  lu.assertEquals(again:params():sha256(), tuned:params():sha256())
end

function TestKept:test_in_pruned_models_and_with_adapters()
  local sparse = sparse_of(model_of { depth = 3 }, { sparsity = 0.6 })
  local smaller = sonde.prune(sparse, { blocks = { 0 } })
  lu.assertEquals(zeros(smaller, "model.layers.0.mlp.up_proj.weight"),
    zeros(sparse, "model.layers.1.mlp.up_proj.weight"))
  sonde.heal(smaller, corpus, { steps = 4, batch = 4, lora = 2, progress = false, eval_every = 0 }, { 0, 1 })
  lu.assertEquals(zeros(smaller, "model.layers.0.mlp.up_proj.weight"),
    zeros(sparse, "model.layers.1.mlp.up_proj.weight"))
  lu.assertNotEquals(smaller:params():read("model.layers.0.mlp.up_proj.weight"):values(),
    sparse:params():read("model.layers.1.mlp.up_proj.weight"):values())
end

function TestKept:test_more_can_go_later()
  local first = sparse_of(model_of(), { sparsity = 0.3 })
  local second, facts = sparse_of(first, { method = "sparsegpt", sparsity = 0.6, text = ids })
  lu.assertAlmostEquals(facts.sparsity, 0.6, 0.01)
  for k, value in ipairs(first:params():find(UP .. ".mask"):values()) do
    if value == 0 then lu.assertEquals(second:params():find(UP .. ".mask"):get(k), 0) end
  end
end

function TestKept:test_exports_are_dense()
  local sparse, dir = sparse_of(model_of()), folder()
  sonde.export(sparse, dir)
  lu.assertNotNil(core.weights_open(dir):find(UP))
  lu.assertEquals(zeros(sonde.load(dir), UP), zeros(sparse, UP))
end

TestHostile = {}

-- A folder whose sparse tensors are written anew.
local function changed(change)
  local sparse, dir = sparse_of(model_of { depth = 1 }, { matrices = { "*.up_proj.weight" } }), folder()
  sparse:save(dir)
  local path = dir .. "/model.safetensors"
  local bytes = core.read_file(path)
  local length = string.unpack("<I8", bytes)
  local header, data = bytes:sub(9, 8 + length), bytes:sub(9 + length)
  local text, more = change(header, data)
  text = text .. string.rep(" ", (8 - #text % 8) % 8)
  core.write_file(path, string.pack("<I8", #text) .. text .. (more or data))
  return dir
end

function TestHostile:test_what_does_not_fit_is_refused()
  local function refuses(text, change)
    lu.assertErrorMsgContains(text, sonde.load, changed(change))
  end
  local bits = UP:gsub("%p", "%%%0") .. "%.bitmask"
  refuses("must be U8, a bit for each weight", function(header)
    return (header:gsub('("' .. bits .. '":{"dtype":"U8","shape":%[)(%d+),(%d+)', function(head, rows, bytes)
      return head .. math.floor(rows / 2) .. "," .. 2 * bytes
    end))
  end)
  refuses("must be U8", function(header) return (header:gsub('("' .. bits .. '":{"dtype":")U8', "%1I8")) end)
  refuses("both make the matrix", function(header) return (header:gsub("%.bitmask", ".bitmosk")) end)
  refuses("'model.norm.weight.values' is not there, but 'model.norm.weight.bitmask' is", function(header)
    return (header:gsub("model%.norm%.weight", "model.norm.weight.bitmask"))
  end)
  refuses("bits, and '", function(header, data)       -- the bits are the last bytes of the file
    return header, data:sub(1, -2) .. "\0"
  end)
end

TestSpeed = {}

function TestSpeed:test_both_models_are_timed()
  local model = model_of()
  local speed = sparsify.speed(model, (sparse_of(model)), { context = 12, batch = 2, rounds = 3 })
  lu.assertTrue(speed.dense > 0 and speed.sparse > 0)
  lu.assertAlmostEquals(speed.ratio, speed.sparse / speed.dense, 1e-9)
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
