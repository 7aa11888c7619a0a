-- GGUF files say what the opened model is, however its folder spells it: with keys left to the defaults of their class
-- or written out, and by their other names.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"
local arch = require "sonde.io.arch"

local REFERENCE = os.getenv "abs_srcdir" .. "/tests/reference/"
local scratch = os.tmpname()
os.remove(scratch)
core.mkdirs(scratch)

local made = 0

-- A folder with the weights of a reference folder and with these keys.
local function folder_of(from, tree)
  made = made + 1
  local dir = scratch .. "/" .. made
  core.mkdirs(dir)
  core.json_save(dir .. "/config.json", tree)
  core.write_file(dir .. "/model.safetensors", core.read_file(REFERENCE .. from .. "/model.safetensors"))
  return dir
end

-- The keys of a reference folder, changed; core.list {} for a key takes it away.
local NONE = core.list {}
local function keys_of(from, change)
  local tree = core.json_load(REFERENCE .. from .. "/config.json", true)
  for key, value in pairs(change or {}) do
    if value == NONE then tree[key] = nil else tree[key] = value end
  end
  return tree
end

-- The bytes of the file of a model, or why there is none. All files have one name, which is in them.
local function written(model)
  made = made + 1
  local dir = scratch .. "/" .. made
  core.mkdirs(dir)
  local path = dir .. "/model.gguf"
  local ok, message = pcall(sonde.export, model, path, { vocabulary = false })
  if ok then return core.read_file(path) end
  lu.assertFalse(core.exists(path))
  return nil, (message:gsub("^.*: this model is not written as GGUF: ", "REFUSED: "))
end

local function file_of(from, change)
  local bytes, why = written(sonde.load(folder_of(from, keys_of(from, change))))
  return bytes or why
end

-- What folders are changed by so that GGUF has a word for their model.
local changes = {
  ["llamas/mistral"] = { sliding_window = core.null }, ["llamas/qwen2"] = { use_sliding_window = false },
  ["llamas/gemma"] = { hidden_act = NONE }, ["llamas/gemma_defaults"] = { hidden_act = NONE },
  ["llamas/gemma2"] = { query_pre_attn_scalar = 8 }, ["llamas/llama_rope"] = { rope_scaling = { rope_type = "llama3",
    factor = 4, low_freq_factor = 1, high_freq_factor = 4 } },
}

local function all_of(group)
  local list = {}
  for _, name in ipairs(core.list_dir(REFERENCE .. group)) do
    if core.exists(REFERENCE .. group .. "/" .. name .. "/config.json") then list[#list + 1] = group .. "/" .. name end
  end
  return list
end

local folders = all_of "llamas"
for _, from in ipairs(all_of "gpts") do folders[#folders + 1] = from end

-- Keys with every key of the architecture in place of those that are there.
local function written_out(tree, model)
  local of, full = arch.registry:get(tree.model_type), {}
  for key, value in pairs(tree) do
    if not of.owns(key) then full[key] = value end
  end
  of.write(model, full, {})
  return full
end

-- Checks that a folder and the same one with all keys written out give the same file, or are refused alike; gives
-- whether the folder opens, and whether there is a file.
local function check_without(from, tree, what)
  local opened, model = pcall(sonde.load, folder_of(from, tree))
  if not opened then return false end      -- its default is another size than that of the weights
  local short, why = written(model)
  local full, why_not = written(sonde.load(folder_of(from, written_out(tree, model))))
  lu.assertEquals(why, why_not, what)
  lu.assertTrue(short == full, what .. ": other bytes than where all keys are written out")
  lu.assertTrue(short ~= nil or why:find("^REFUSED: ") ~= nil, what .. ": " .. tostring(why))
  return true, short ~= nil
end

TestDefaults = {}

local by_name = {}      -- architectures of which a file was written

for _, from in ipairs(folders) do
  TestDefaults["test_" .. from:gsub("/", "_")] = function()
    local tree, left, count = keys_of(from, changes[from]), keys_of(from, changes[from]), 0
    local _, exported = check_without(from, tree, from)
    if exported then by_name[tree.model_type] = true end
    local of = arch.registry:get(tree.model_type)
    for key, value in pairs(keys_of(from, changes[from])) do
      if of.owns(key) then
        tree[key], left[key] = nil, nil
        if check_without(from, tree, from .. " without " .. key) then count = count + 1 end
        if not pcall(sonde.load, folder_of(from, left)) then left[key] = value end
        tree[key] = value
      end
    end
    lu.assertTrue(count > 0, from)
    lu.assertTrue(check_without(from, left, from .. " without all that can be left out"))
  end
end

-- The test above compares files only where there are some.
function TestDefaults:test_z_files_of_every_architecture_were_compared()
  local names = {}
  for name in pairs(by_name) do names[#names + 1] = name end
  table.sort(names)
  lu.assertEquals(names, { "gemma", "gemma2", "gpt2", "granite", "llama", "mistral", "olmo", "olmo2", "qwen2", "qwen3",
    "smollm3" })
end

-- ---- values --------------------------------------------------------------------------------------------------------

TestValues = {}

local U32, F32 = 4, 6
local formats = { [U32] = "<s8I4I4", [F32] = "<s8I4f" }

local function assert_has(bytes, kind, key, value)
  lu.assertTrue(bytes:find(string.pack(formats[kind], key, kind, value), 1, true) ~= nil, key .. " is not " .. value
    .. ": " .. (bytes:find("^GGUF") and "" or bytes))
end

function TestValues:test_defaults_of_the_classes()
  local smollm3 = file_of("llamas/smollm3", { rope_theta = NONE, rms_norm_eps = NONE })
  assert_has(smollm3, F32, "smollm3.rope.freq_base", 2e6)
  assert_has(smollm3, F32, "smollm3.attention.layer_norm_rms_epsilon", 1e-6)
  local gemma2 = file_of("llamas/gemma2", { sliding_window = NONE, max_position_embeddings = 8192,
    query_pre_attn_scalar = 8, attn_logit_softcapping = NONE, final_logit_softcapping = NONE })
  assert_has(gemma2, U32, "gemma2.attention.sliding_window", 4096)
  assert_has(gemma2, F32, "gemma2.attn_logit_softcapping", 50)
  assert_has(gemma2, F32, "gemma2.final_logit_softcapping", 30)
  for name, width in pairs { qwen3 = 128, gemma = 256 } do
    local file = file_of("llamas/" .. name .. "_defaults", { hidden_act = NONE })
    assert_has(file, U32, name .. ".attention.key_length", width)
    assert_has(file, U32, name .. ".attention.value_length", width)
    assert_has(file, U32, name .. ".rope.dimension_count", width)
  end
  local llama = file_of("llamas/llama", { rms_norm_eps = NONE, rope_theta = NONE })
  assert_has(llama, F32, "llama.attention.layer_norm_rms_epsilon", 1e-6)
  assert_has(llama, F32, "llama.rope.freq_base", 1e4)
  assert_has(file_of "llamas/llama", F32, "llama.attention.layer_norm_rms_epsilon", 1e-3)
  assert_has(file_of "llamas/olmo", F32, "olmo.attention.layer_norm_epsilon", 1e-5)
  assert_has(file_of("llamas/olmo2", { rms_norm_eps = NONE }), F32, "olmo2.attention.layer_norm_rms_epsilon", 1e-5)
  local gpt2 = file_of("gpts/gpt2_tiny", { layer_norm_epsilon = NONE })
  assert_has(gpt2, F32, "gpt2.attention.layer_norm_epsilon", 1e-5)
  assert_has(gpt2, U32, "gpt2.feed_forward_length", 48)
  local granite = file_of("llamas/granite", { attention_multiplier = NONE, embedding_multiplier = NONE,
    residual_multiplier = NONE, logits_scaling = NONE })
  for _, key in ipairs { "attention.scale", "embedding_scale", "residual_scale", "logit_scale" } do
    assert_has(granite, F32, "granite." .. key, 1)
  end
end

function TestValues:test_windows()
  lu.assertEquals(file_of("llamas/mistral", { sliding_window = NONE, max_position_embeddings = 8192 }),
    "REFUSED: its attention has a window ('sliding_window' 4096), which llama.cpp does not read there")
  assert_has(file_of("llamas/mistral", { sliding_window = NONE, max_position_embeddings = 4096 }), U32,
    "llama.context_length", 4096)      -- none is shorter than the context
  lu.assertStrContains(file_of "llamas/qwen2", "'sliding_window' 3")
  -- Keys of windows that do not count.
  assert_has(file_of("llamas/qwen2", { use_sliding_window = NONE }), U32, "qwen2.context_length", 64)
  local gemma2 = { sliding_window = core.null, query_pre_attn_scalar = 8, max_position_embeddings = 50 }
  assert_has(file_of("llamas/gemma2", gemma2), U32, "gemma2.attention.sliding_window", 50)
  gemma2.sliding_window, gemma2.layer_types = 4, core.list { "full_attention", "sliding_attention", "full_attention" }
  lu.assertStrContains(file_of("llamas/gemma2", gemma2), "other blocks than every second have a window")
end

function TestValues:test_what_its_programs_do_not_have()
  for message, case in pairs {
    ["'query_pre_attn_scalar' is 256, not 8"] = { "llamas/gemma2", { query_pre_attn_scalar = NONE } },
    ["there is no soft-cap ('attn_logit_softcapping')"] = { "llamas/gemma2", { query_pre_attn_scalar = 8,
      attn_logit_softcapping = core.null } },
    ["its activation is 'gelu'"] = { "llamas/gemma" },
    ["its scores are scaled in another way"] = { "gpts/gpt2_tiny", { scale_attn_weights = false } },
    ["it has the tensor 'model.layers.0.self_attn.q_proj.bias'"] = { "llamas/qwen3" },
    ["other blocks than every fourth have no positions"] = { "llamas/smollm3", { no_rope_layer_interval = 2 } },
    ["its rotary positions are scaled by 'dynamic'"] = { "llamas/llama_rope", { rope_scaling = { type = "dynamic",
      factor = 2 } } },
  } do
    lu.assertStrContains(file_of(case[1], case[2]), "REFUSED: ")
    lu.assertStrContains(file_of(case[1], case[2]), message)
  end
  local model = sonde.transformer { vocab = 19, width = 16, depth = 2, heads = 2, context = 8, embed_scale = "fixed",
    norm = { "rmsnorm", unit_offset = true }, ffn = { "swiglu", activation = "gelu_tanh" } }
  local _, why = written(model)
  lu.assertStrContains(why, "its head is not tied ('tie_word_embeddings')")
end

-- ---- spelling ------------------------------------------------------------------------------------------------------

TestSpelling = {}

function TestSpelling:test_other_names_of_keys()
  local gpt2 = keys_of "gpts/gpt2_tiny"
  local plain = file_of "gpts/gpt2_tiny"
  assert_has(plain, U32, "gpt2.embedding_length", 12)
  lu.assertTrue(plain == file_of("gpts/gpt2_tiny", { n_embd = NONE, n_layer = NONE, n_head = NONE, n_positions = NONE,
    hidden_size = gpt2.n_embd, num_hidden_layers = gpt2.n_layer, num_attention_heads = gpt2.n_head,
    max_position_embeddings = gpt2.n_positions }))
  local scaled = { rope_type = "llama3", factor = 4, low_freq_factor = 1, high_freq_factor = 4 }
  local rope = file_of("llamas/llama_rope", { rope_scaling = scaled })
  assert_has(rope, F32, "llama.rope.freq_base", 500)
  scaled.rope_theta, scaled.original_max_position_embeddings = 500, 64
  lu.assertTrue(rope == file_of("llamas/llama_rope", { rope_parameters = scaled, rope_theta = NONE }))
  lu.assertTrue(file_of "llamas/llama" == file_of("llamas/llama", { hidden_act = "swish", sliding_window = NONE }))
end

local result = lu.LuaUnit.run("-o", "tap")
core.remove_tree(scratch)
os.exit(result, true)
