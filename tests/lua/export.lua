-- A model for other programs: what folds is folded and computes the same, the code for transformers is there where it
-- computes the model, weights lie in shards, checkpoints of llama2.c open, and what cannot be read is refused by name.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"
local remote = require "sonde.io.arch.parts.remote"

local scratch = os.tmpname()
os.remove(scratch)
core.mkdirs(scratch)

local made = 0
local function fresh()
  made = made + 1
  return scratch .. "/" .. made
end

local TOKENS = { { 1, 5, 2, 9, 0, 3, 7, 10 } }

local function model_of(options)
  local all = { vocab = 13, width = 16, depth = 4, heads = 4, kv_heads = 2, ffn_hidden = 24, context = 8, seed = 5,
    init_std = 0.3 }
  for key, value in pairs(options or {}) do all[key] = value end
  local model = sonde.transformer(all):init()
  -- Gains and factors that are not what they start as.
  for _, param in ipairs(model:params():list()) do
    if param.role == "gain" or param.role == "bias" then
      local tensor = model:params():find(param.name)
      for i = 1, tensor:count() do tensor:set(i, tensor:get(i) + 0.3 * math.sin(7 * i + #param.name)) end
    end
  end
  return model:refresh()
end

local function logits(model)
  local trace = model:trace { batch = 1, context = #TOKENS[1] }
  return sonde.value(trace:logits(), { tokens = TOKENS }):values()
end

local function config_of(dir) return core.json_load(dir .. "/config.json", true) end

local function assert_close(a, b, bound, text)
  local off, size = 0, 0
  lu.assertEquals(#a, #b, text)
  for i, value in ipairs(a) do
    off, size = math.max(off, math.abs(value - b[i])), math.max(size, math.abs(value))
  end
  lu.assertTrue(off <= bound * size, (text or "") .. ": off by " .. off .. " of " .. size)
end

-- ---- folding ---------------------------------------------------------------------------------------------------

TestFold = {}

local folding = {
  lns = { placement = "lns" }, ["lns of pruned blocks"] = { placement = "lns", prune = true },
  layerscale = { placement = { "layerscale", scale = 0.5 } }, skipinit = { placement = { "skipinit", scale = 0.7 } },
  ["another initialisation"] = { placement = "pre_ln_scaled" }, ["mix_ln without its first"] = { placement = { "mix_ln",
    a = 0 } },
  ["a scaled embedding"] = { embed_scale = "fixed" }, ["a learned scale"] = { embed_scale = "learned" },
  ["folded gains"] = { fold = true }, ["a tied head"] = { placement = "lns", tie = true },
  ["a block without attention"] = { layers = { [1] = { without = "attn" }, [2] = { without = "ffn" } } },
  ["shared weights"] = { layers = { [2] = { share = 1 } }, placement = "lns" },
  ["the first blocks"] = { placement = { "pre_post", first = 4 } },
}

for name, case in pairs(folding) do
  TestFold["test_" .. name:gsub(" ", "_")] = function()
    local options = {}
    for key, value in pairs(case) do options[key] = value end
    options.fold, options.prune = nil, nil
    local model = model_of(options)
    if case.fold then model = model:fold() end
    if case.prune then model = sonde.prune(model, { blocks = { 1 } }) end
    local dir = fresh()
    local facts = sonde.export(model, dir)
    lu.assertEquals(facts.architecture, "llama", name)
    lu.assertTrue(#facts.folded > 0, name)
    local tree = config_of(dir)
    lu.assertEquals({ tree.model_type, tree.architectures[1], tree.auto_map }, { "llama", "LlamaForCausalLM" }, name)
    lu.assertFalse(core.exists(dir .. "/modeling_sonde.py"), name)
    assert_close(logits(model), logits(sonde.load(dir)), 2e-6, name)
    -- Without the section that only Sonde reads it is the same model.
    tree.sonde = nil
    core.json_save(dir .. "/config.json", tree)
    assert_close(logits(model), logits(sonde.load(dir)), 2e-6, name)
  end
end

-- What architectures of other programs may have words for too.
function TestFold:test_factors_go_into_the_weights()
  for said, options in pairs {
    ["the factors of the branches are in the weights at their ends"] = { placement = { "pre_ln", branch_scale = 0.3 } },
    ["the embedding's factor is in its weights"] = { embed_scale = 3 },
    ["the logits' factor is in the head"] = { logit_scale = 0.5, logit_softcap = 4 },
    ["the factor of the scores is in the queries' weights"] = {
      attention = { "causal", score_scale = 0.9, bias = "qkv" }, layers = { [1] = { attention = { "causal",
        score_scale = 0.7, qk_norm = true, qk_norm_over = "all" } } } },
    ["gains are not less 1"] = { norm = { "rmsnorm", unit_offset = true }, placement = "lns" },
  } do
    local model = model_of(options)
    local plainer, list = require("sonde.model.plain").of(model)
    lu.assertTableContains(list, said)
    assert_close(logits(model), logits(plainer), 2e-6, said)
    local again, nothing = require("sonde.model.plain").of(plainer)
    lu.assertEquals({ again, nothing }, { plainer, {} })
  end
end

function TestFold:test_what_does_not_fold_stays_what_it_is()
  for _, options in ipairs { { placement = "post_ln" }, { placement = { "mix_ln", a = 0.5 } }, { norm = "bhyt" },
    { norm = "dyt" }, { placement = "lns", norm = "bhyt_star" }, { placement = "lns_sandwich" },
    { placement = "norm_after" } } do
    local dir, model = fresh(), model_of(options)
    local facts = sonde.export(model, dir)
    lu.assertEquals({ facts.architecture, #facts.folded, facts.opens },
      { "sonde", 0, "transformers with trust_remote_code=True" })
    lu.assertEquals(sonde.load(dir):params():sha256(), model:params():sha256())
  end
  local dir, model = fresh(), model_of { placement = "lns" }
  lu.assertEquals(sonde.export(model, dir, { fold = false }).architecture, "sonde")
  lu.assertEquals(sonde.load(dir):params():sha256(), model:params():sha256())
  lu.assertEquals(sonde.export(model_of(), fresh()).folded, {})      -- a Llama is one
end

-- ---- code for transformers ------------------------------------------------------------------------------------------

TestCode = {}

local norms, placements = core.modules "norm", require("sonde.model.placement").names()      -- before others come

-- Every norm and every placement that Sonde has is known to the code, with all of their options.
function TestCode:test_every_norm_and_placement_has_it()
  for _, norm in ipairs(norms) do
    for _, placement in ipairs(placements) do
      local model = sonde.transformer { vocab = 5, width = 8, depth = 2, norm = norm, placement = placement }
      lu.assertNil(remote.why_not(model), norm .. " under " .. placement)
    end
    for _, option in ipairs(core.module("norm", norm).options) do
      local changed = { b = option.default ~= "true", f = 0.5, i = 1 }
      local value = changed[option.type]
      if value == nil then value = option.choices and string.match(option.choices, "|([^|]+)") or "0" end
      local model = sonde.transformer { vocab = 5, width = 8, depth = 2, norm = { norm, [option.name] = value },
        final_norm = "rmsnorm" }
      lu.assertNil(remote.why_not(model), norm .. " with " .. option.name)
    end
  end
end

function TestCode:test_a_folder_with_it_opens_as_what_it_was()
  local model, dir, again = model_of { norm = "bhyt", placement = "lns" }, fresh(), fresh()
  model:save(dir)
  local tree = config_of(dir)
  lu.assertEquals(tree.auto_map, remote.auto_map)
  lu.assertEquals({ tree.model_type, tree.architectures[1] }, { "sonde", "SondeForCausalLM" })
  for _, name in ipairs { "modeling_sonde.py", "norms_sonde.py", "configuration_sonde.py" } do
    lu.assertEquals(core.exists(dir .. "/" .. name), "file", name)
  end
  sonde.load(dir):save(again)
  lu.assertEquals(core.read_file(again .. "/config.json"), core.read_file(dir .. "/config.json"))
  -- As transformers writes it again: with the attributes of its configuration, and code of a folder elsewhere.
  tree.hidden_size, tree.num_hidden_layers, tree.head_dim, tree.transformers_version = 16, 4, 4, "5.8"
  tree.auto_map = { AutoConfig = "lab/model--configuration_sonde.SondeConfig",
    AutoModelForCausalLM = "lab/model--modeling_sonde.SondeForCausalLM" }
  core.json_save(dir .. "/config.json", tree)
  lu.assertEquals(sonde.load(dir):params():sha256(), model:params():sha256())
  tree.auto_map = { AutoModelForCausalLM = "modeling_other.Other" }
  core.json_save(dir .. "/config.json", tree)
  lu.assertErrorMsgContains("'auto_map'", sonde.load, dir)
end

function TestCode:test_a_model_that_it_does_not_compute_goes_without()
  local function twice(block, x) return x + block:attention(block:norm_in "attn" (x)) * 2 end
  sonde.placement("twice", twice)
  sonde.norm("halved", function(_, _, x) return x * 0.5 end)
  local models = { ["placement 'twice'"] = { placement = "twice" }, ["norm 'halved'"] = { norm = "halved" } }
  for what, options in pairs(models) do
    local dir = fresh()
    local facts = sonde.export(model_of(options), dir)
    lu.assertEquals(facts.opens, "Sonde only: the code for transformers does not know " .. what)
    lu.assertFalse(core.exists(dir .. "/modeling_sonde.py"))
    lu.assertNil(config_of(dir).auto_map)
  end
end

-- transformers builds all blocks of a Llama alike, whatever per_layer_config says.
function TestCode:test_a_llama_whose_blocks_differ_has_it()
  local model, dir, again = model_of { layers = { [3] = { ffn = { "swiglu", hidden = 40 } } } }, fresh(), fresh()
  local facts = sonde.export(model, dir)
  lu.assertEquals({ facts.architecture, facts.opens }, { "llama", "transformers with trust_remote_code=True" })
  local tree = config_of(dir)
  lu.assertEquals({ tree.model_type, tree.auto_map }, { "llama", remote.auto_map })
  lu.assertEquals(core.exists(dir .. "/modeling_sonde.py"), "file")
  lu.assertEquals(sonde.load(dir):params():sha256(), model:params():sha256())
  sonde.prune(sonde.load(dir), { blocks = { 3 } }):save(again)      -- alike again
  lu.assertNil(config_of(again).auto_map)
  for _, name in ipairs { "modeling_sonde.py", "norms_sonde.py", "configuration_sonde.py" } do
    lu.assertFalse(core.exists(again .. "/" .. name), name)
  end
end

function TestCode:test_a_folder_that_becomes_a_llama_loses_it()
  local dir = fresh()
  model_of({ placement = "post_ln" }):save(dir)
  lu.assertEquals(core.exists(dir .. "/modeling_sonde.py"), "file")
  model_of():save(dir)
  lu.assertFalse(core.exists(dir .. "/modeling_sonde.py"))
  lu.assertEquals(config_of(dir).model_type, "llama")
end

-- ---- weights -------------------------------------------------------------------------------------------------------

TestWeights = {}

local function safetensors_in(dir)
  local list = {}
  for _, name in ipairs(core.list_dir(dir)) do
    if name:find "safetensors" then list[#list + 1] = name end
  end
  return list
end

function TestWeights:test_shards()
  local model, dir, single = model_of(), fresh(), fresh()
  model:save(single)
  model:save(dir, { shard_size = "4KB" })
  local index = core.json_load(dir .. "/model.safetensors.index.json")
  local total, files = 0, {}
  for _, param in ipairs(model:params():list()) do
    lu.assertEquals(core.exists(dir .. "/" .. index.weight_map[param.name]), "file", param.name)
    files[index.weight_map[param.name]] = true
    total = total + 4 * model:params():find(param.name):count()
  end
  lu.assertEquals(index.metadata.total_size, total)
  local n = #safetensors_in(dir) - 1
  lu.assertTrue(n > 3)
  for k = 1, n do
    local name = ("model-%05d-of-%05d.safetensors"):format(k, n)
    lu.assertTrue(files[name])
    local file = core.weights_open(dir .. "/" .. name)
    lu.assertEquals(file:meta "format", "pt")
    local bytes, count = 0, 0
    for _, tensor in ipairs(file:names()) do
      local size = 4
      for _, dim in ipairs(file:find(tensor).dims) do size = size * dim end
      bytes, count = bytes + size, count + 1
    end
    lu.assertTrue(bytes <= 4000 or count == 1, name)
    file:close()
  end
  lu.assertEquals(sonde.load(dir):params():sha256(), model:params():sha256())
  -- Each replaces the other.
  sonde.load(dir):save(dir)
  lu.assertEquals(safetensors_in(dir), { "model.safetensors" })
  lu.assertEquals(core.file_sha256(dir .. "/model.safetensors"), core.file_sha256(single .. "/model.safetensors"))
  model:save(dir, { shard_size = "8KiB", dtype = "bf16" })
  lu.assertFalse(core.exists(dir .. "/model.safetensors"))
  lu.assertEquals(core.json_load(dir .. "/model.safetensors.index.json").metadata.total_size, total / 2)
  model:save(dir, { shard_size = "6KB" })      -- other numbers of shards
  lu.assertEquals(#safetensors_in(dir) - 1, tonumber(safetensors_in(dir)[1]:match "of%-(%d+)"))
  lu.assertEquals(sonde.load(dir):params():sha256(), model:params():sha256())
  model:save(dir, { shard_size = "1GB" })
  lu.assertEquals(safetensors_in(dir), { "model.safetensors" })
end

function TestWeights:test_sizes_of_shards()
  local bytes = require("sonde.io").bytes
  lu.assertEquals({ bytes "5GB", bytes "200MiB", bytes "1000", bytes "1.5KB" }, { 5e9, 200 * 2 ^ 20, 1000, 1500 })
end

function TestWeights:test_mistakes_in_sizes_of_shards()
  for _, text in ipairs { "", "GB", "0", "-1GB", "5 apples", "1e9" } do
    lu.assertErrorMsgContains("shard_size takes a number of bytes such as 5GB", model_of().save, model_of(), fresh(),
      { shard_size = text })
  end
end

function TestWeights:test_what_is_not_read_is_refused_by_name()
  local function folder(change)
    local dir = fresh()
    model_of():save(dir)
    change(dir)
    return dir
  end
  for _, name in ipairs { "pytorch_model.bin", "pytorch_model.bin.index.json" } do
    lu.assertErrorMsgContains("has its weights in " .. name .. ", a format that is not read", sonde.load,
      folder(function(dir)
        os.rename(dir .. "/model.safetensors", dir .. "/" .. name)
      end))
  end
  local pickle = fresh() .. ".bin"
  core.write_file(pickle, "PK\3\4" .. string.rep("\0", 60))
  lu.assertErrorMsgContains("weights of PyTorch, a zip of pickles", sonde.load, pickle)
  local function with(name)
    return folder(function(dir)
      local file, names, tensors = core.weights_open(dir), {}, {}
      for k, tensor in ipairs(file:names()) do
        names[k], tensors[k] = tensor, core.tensor("f32", file:find(tensor).dims)
        file:read(tensor, tensors[k])
      end
      file:close()
      names[#names + 1], tensors[#tensors + 1] = name, core.tensor("i32", { 2 })
      core.weights_save(dir .. "/model.safetensors", names, tensors)
    end)
  end
  for _, ending in ipairs { "qweight", "weight_scale", "weight_scale_inv", "SCB" } do
    local name = "model.layers.0.mlp.up_proj." .. ending
    lu.assertErrorMsgContains("the weights are quantised ('" .. name .. "')", sonde.load, with(name))
  end
  lu.assertErrorMsgContains("which a model of this config has no place for", sonde.load, with "model.layers.0.extra")
  sonde.load(with "model.layers.0.self_attn.rotary_emb.inv_freq")
end

function TestWeights:test_the_folder_of_the_hubs_cache()
  local dir, model = fresh(), model_of()
  model:save(dir .. "/models--lab--small/snapshots/0123abcd")
  lu.assertEquals(sonde.load(dir .. "/models--lab--small"):params():sha256(), model:params():sha256())
  local other = model_of { seed = 6 }
  other:save(dir .. "/models--lab--small/snapshots/77ff")
  lu.assertErrorMsgContains("there is one in", sonde.load, dir .. "/models--lab--small")      -- which of the two?
  core.mkdirs(dir .. "/models--lab--small/refs")
  core.write_file(dir .. "/models--lab--small/refs/main", "77ff\n")
  lu.assertEquals(sonde.load(dir .. "/models--lab--small/"):params():sha256(), other:params():sha256())
end

-- ---- llama2.c ------------------------------------------------------------------------------------------------------

TestLlama2c = {}

-- The checkpoint of a model, written by the definition of its program (version 0).
local function checkpoint(model, changes)
  local c, out, params = model.config, {}, model:params()
  local header = { c.width, 24, c.depth, c.heads, c.kv_heads, c.tie and c.vocab or -c.vocab, c.context }
  for k, value in pairs(changes or {}) do header[k] = value end
  for _, value in ipairs(header) do out[#out + 1] = string.pack("<i4", value) end
  local function put(values)
    for _, value in ipairs(values) do out[#out + 1] = string.pack("<f", value) end
  end
  local function each(name, heads)
    for layer = 0, c.depth - 1 do
      local tensor = params:find("model.layers." .. layer .. "." .. name .. ".weight")
      local values, width = tensor:values(), tensor:dims()[2]
      if heads then      -- features of a head in pairs: 0, Dh / 2, 1, Dh / 2 + 1, ..
        local list, size = {}, c.head_dim
        for row = 0, heads * size - 1 do
          local from = row - row % size + row % 2 * size // 2 + row % size // 2
          table.move(values, from * width + 1, (from + 1) * width, #list + 1, list)
        end
        values = list
      end
      put(values)
    end
  end
  put(params:find("model.embed_tokens.weight"):values())
  each "input_layernorm"
  each("self_attn.q_proj", c.heads)
  each("self_attn.k_proj", c.kv_heads)
  each "self_attn.v_proj"
  each "self_attn.o_proj"
  each "post_attention_layernorm"
  each "mlp.gate_proj"
  each "mlp.down_proj"
  each "mlp.up_proj"
  put(params:find("model.norm.weight"):values())
  for _ = 1, c.context * c.head_dim do put { 0.5 } end      -- the tables of rotations
  if not c.tie then put(params:find("lm_head.weight"):values()) end
  local path = fresh() .. ".bin"
  core.write_file(path, table.concat(out))
  return path
end

function TestLlama2c:test_a_checkpoint_is_the_model()
  for _, tie in ipairs { true, false } do
    local model = model_of { tie = tie, norm_eps = 1e-5 }
    local read = sonde.load(checkpoint(model))
    lu.assertEquals(read:params():sha256(), model:params():sha256())
    lu.assertEquals(logits(read), logits(model))
    local dir = fresh()
    lu.assertEquals(sonde.export(read, dir).architecture, "llama")
    lu.assertEquals(logits(sonde.load(dir)), logits(model))
  end
end

function TestLlama2c:test_mistakes()
  local model = model_of { tie = true, norm_eps = 1e-5 }
  local path = checkpoint(model)
  local bytes = core.read_file(path)
  local function refused(message, text)
    core.write_file(path, text)
    lu.assertErrorMsgContains(message, sonde.load, path)
  end
  refused("cut short", bytes:sub(1, 20))
  refused("cut short", bytes:sub(1, 200))
  refused("cut short", bytes:sub(1, -5))
  refused("4 bytes at the end", bytes .. "\0\0\0\0")
  refused("a later version", "24ka" .. bytes:sub(5))
  lu.assertErrorMsgContains("n_layers is 0", sonde.load, checkpoint(model, { [3] = 0 }))
  lu.assertErrorMsgContains("n_heads is -4", sonde.load, checkpoint(model, { [4] = -4 }))
  lu.assertErrorMsgContains("do not fit", sonde.load, checkpoint(model, { [4] = 3 }))
  lu.assertErrorMsgContains("cut short", sonde.load, checkpoint(model, { [3] = 2147483647 }))
  lu.assertErrorMsgContains("cut short", sonde.load, checkpoint(model, { [2] = 2147483647 }))
end

TestVocabulary = {}

-- A folder whose own tokenizer has more ids than its model: a GGUF file would lose tokens.
function TestVocabulary:test_a_tokenizer_larger_than_the_model()
  local text = string.rep("the tokens of a folder and the rows of its table are of one number. ", 8)
  local few = core.tokenizer_train({ text }, { vocab = 262 })
  local model = sonde.transformer { vocab = few:vocab(), width = 16, depth = 1, heads = 2, context = 16 }
  local dir, file = scratch .. "/larger", scratch .. "/larger.gguf"
  model:save(dir, { tokenizer = few })
  sonde.export(sonde.load(dir), scratch .. "/equal.gguf")
  core.tokenizer_train({ text }, { vocab = 280 }):save(dir .. "/tokenizer.json")
  lu.assertErrorMsgContains("and the model reads ids up to " .. few:vocab() - 1, sonde.export, sonde.load(dir), file)
  lu.assertFalse(core.exists(file))
end

local result = lu.LuaUnit.run("-o", "tap")
core.remove_tree(scratch)
os.exit(result, true)
