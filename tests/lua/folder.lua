-- What a model folder holds goes with the model: through loading and saving, pruning, folding, healing and training,
-- dtype by dtype and key by key; and Hugging Face's keys count before what Sonde wrote beside them.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"

local scratch = os.tmpname()
os.remove(scratch)
core.mkdirs(scratch)

local made = 0
local function fresh(name)
  made = made + 1
  return scratch .. "/" .. (name or "folder") .. made
end

local TEXT = string.rep("a foreign folder says more than its weights do, and all of it is somebody's. ", 12)
core.write_file(scratch .. "/text.txt", TEXT)
local tokenizer = core.tokenizer_train({ TEXT }, { vocab = 280, special = { "<|endoftext|>", "<|turn|>" } })
local VOCAB = tokenizer:vocab() + 5      -- padded, as foreign ones are

-- Files of a foreign folder that nobody here reads, and those that must stay behind.
local carried = {
  ["generation_config.json"] = '{"eos_token_id": [3, 7], "temperature": 0.6}',
  ["tokenizer_config.json"] = '{"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|turn|>", '
    .. '"extra": {"deep": [1, null]}}',
  ["special_tokens_map.json"] = '{"eos_token": "<|turn|>"}', ["chat_template.jinja"] = "{{ messages }}",
  ["added_tokens.json"] = "{}", ["README.md"] = "# a card\n", ["LICENSE"] = "do as you like\0with zeros\n",
  ["additional_chat_templates/tools.jinja"] = "{{ tools }}", ["tokenizer.model"] = "\1\2\3",
}
local dropped = {
  ["pytorch_model.bin"] = "pickle", ["model.safetensors.index.json"] = '{"weight_map": {}}', ["optimizer.pt"] = "state",
  ["training_args.bin"] = "args", ["trainer_state.json"] = "{}", ["model-00001-of-00002.gguf"] = "weights",
  ["quantize_config.json"] = "{}", [".hidden"] = "x", ["original/consolidated.pth"] = "weights",
}
-- Keys of config.json: what Sonde has no use for, with nulls, lists, objects, large and small numbers.
local keys = {
  bos_token_id = 3, eos_token_id = core.list { 3, 7 }, pad_token_id = core.null, pretraining_tp = 1, use_cache = false,
  transformers_version = "5.8.1", custom_note = { list = core.list { 1, core.null, "x" }, empty = {} }, big = 2 ^ 53,
  initializer_range = 0.041, attention_dropout = 0.25, small = 1e-300, empty_list = core.list {},
}

local function config_of(dtype, changes)
  local tree = {
    architectures = { "LlamaForCausalLM" }, model_type = "llama", vocab_size = VOCAB, hidden_size = 16,
    num_hidden_layers = 3,
    num_attention_heads = 4, num_key_value_heads = 2, intermediate_size = 24, rms_norm_eps = 1e-5, rope_theta = 500,
    max_position_embeddings = 32, hidden_act = "silu", tie_word_embeddings = false, torch_dtype = dtype,
  }
  for key, value in pairs(keys) do tree[key] = value end
  for key, value in pairs(changes or {}) do tree[key] = value end
  return tree
end

local torch = { f32 = "float32", bf16 = "bfloat16", f16 = "float16" }

-- A folder as others make them: weights in that dtype, and everything above beside them.
local function foreign(dtype, changes, bare)
  local dir, source = fresh "foreign", fresh "source"
  local options = { vocab = VOCAB, width = 16, depth = 3, heads = 4, kv_heads = 2, ffn_hidden = 24, norm_eps = 1e-5,
    rope_theta = 500, context = 32, init_std = 0.3, seed = 4 }
  sonde.transformer(options):save(source, { dtype = dtype })
  core.mkdirs(dir .. "/original")
  core.mkdirs(dir .. "/additional_chat_templates")
  core.json_save(dir .. "/config.json", config_of(torch[dtype], changes))
  core.write_file(dir .. "/model.safetensors", core.read_file(source .. "/model.safetensors"))
  tokenizer:save(dir .. "/tokenizer.json")
  for name, bytes in pairs(bare and {} or carried) do core.write_file(dir .. "/" .. name, bytes) end
  for name, bytes in pairs(bare and {} or dropped) do core.write_file(dir .. "/" .. name, bytes) end
  return dir
end

local function losses(model)
  return sonde.evaluate(model, tokenizer:encode(TEXT), { context = 16 }).loss
end

-- Every key of the foreign config.json but for those that follow from the model.
local function check_keys(dir, dtype)
  local tree = core.json_load(dir .. "/config.json", true)
  for key, value in pairs(keys) do
    lu.assertEquals(core.json_encode { tree[key] }, core.json_encode { value }, key .. " of " .. dir)
  end
  lu.assertEquals(tree.torch_dtype, torch[dtype])
  return tree
end

local function check_files(dir)
  for name, bytes in pairs(carried) do
    lu.assertEquals(core.exists(dir .. "/" .. name), "file", name .. " of " .. dir)
    lu.assertEquals(core.read_file(dir .. "/" .. name), bytes, name)
  end
  lu.assertEquals(core.tokenizer(dir .. "/tokenizer.json"):hash(), tokenizer:hash())
  for name in pairs(dropped) do lu.assertFalse(core.exists(dir .. "/" .. name), name .. " of " .. dir) end
end

local function check_dtypes(dir, dtype)
  local weights = core.weights_open(dir)
  for _, name in ipairs(weights:names()) do lu.assertEquals(weights:find(name).dtype, dtype:upper(), name) end
  weights:close()
end

-- The ways from a folder to another one. Each gives the model that is saved.
local corpus = { vocab = VOCAB, handle = tokenizer:encode(TEXT), spec = "text", hash = tokenizer:hash() }
local short = { steps = 2, batch = 1, context = 16, lr = 1e-4, progress = false, eval_every = 0, probe_every = 0 }
local ways = {
  load = function(dir) return sonde.load(dir) end,
  ["asked for its tokenizer"] = function(dir)
    local model = sonde.load(dir)
    model:tokenizer()
    return model
  end,
  prune = function(dir) return (sonde.prune(sonde.load(dir), { strategy = "last", remove = 1 })) end,
  ["linear maps"] = function(dir)
    return (sonde.prune(sonde.load(dir),
      { strategy = "last", remove = 2, replace = "linear", text = corpus.handle, context = 16 }))
  end,
  fold = function(dir) return sonde.load(dir):fold() end,
  train = function(dir)
    local model = sonde.load(dir)
    sonde.train(model, corpus, short)
    return model
  end,
  ["prune and heal"] = function(dir)
    local heal = { lora = 2 }
    for key, value in pairs(short) do heal[key] = value end
    return (sonde.prune(sonde.load(dir), { strategy = "last", remove = 1, heal = heal, heal_text = corpus }))
  end,
  ["prune of a pruned one"] = function(dir)
    local once = sonde.prune(sonde.load(dir), { strategy = "last", remove = 1 })
    return (sonde.prune(once, { strategy = "last", remove = 1 }))
  end,
  ["the folder is gone"] = function(dir)
    local copy = fresh "gone"
    os.execute("cp -r '" .. dir .. "' '" .. copy .. "'")
    local model = sonde.load(copy)
    core.remove_tree(copy)
    return model
  end,
}

TestKept = {}

for _, dtype in ipairs { "f32", "bf16", "f16" } do
  for name, way in pairs(ways) do
    TestKept["test_" .. dtype .. "_" .. name:gsub(" ", "_")] = function()
      local dir, to = foreign(dtype), fresh "saved"
      way(dir):save(to)
      check_files(to)
      check_keys(to, dtype)
      check_dtypes(to, dtype)
      lu.assertEquals(sonde.load(to):end_tokens(), { 3, 7 })
      -- Once more: nothing gets lost on the second way either.
      local again = fresh "again"
      sonde.load(to):save(again)
      check_files(again)
      check_keys(again, dtype)
      lu.assertEquals(core.read_file(again .. "/model.safetensors"), core.read_file(to .. "/model.safetensors"))
      lu.assertEquals(core.read_file(again .. "/config.json"), core.read_file(to .. "/config.json"))
    end
  end
end

-- An export keeps all of it too, and what is folded into the weights is in the dtype that they were read in.
function TestKept:test_an_export()
  for _, dtype in ipairs { "f32", "bf16", "f16" } do
    local dir, to, folded = foreign(dtype), fresh "exported", fresh "folded"
    sonde.export(sonde.load(dir), to)
    lu.assertEquals(core.file_sha256(to .. "/model.safetensors"), core.file_sha256(dir .. "/model.safetensors"))
    local lns = sonde.load(dir, { placement = "lns" })
    lu.assertEquals(#sonde.export(lns, folded).folded, 1)
    for _, each in ipairs { to, folded } do
      check_files(each)
      check_dtypes(each, dtype)
      lu.assertEquals(check_keys(each, dtype).model_type, "llama")
    end
    lu.assertAlmostEquals(losses(sonde.load(folded)), losses(lns), 1e-2)
  end
end

function TestKept:test_weights_are_those_of_the_file()
  for _, dtype in ipairs { "f32", "bf16", "f16" } do
    local dir, to = foreign(dtype), fresh "saved"
    sonde.load(dir):save(to)
    lu.assertEquals(core.file_sha256(to .. "/model.safetensors"), core.file_sha256(dir .. "/model.safetensors"))
    sonde.load(dir):save(to, { dtype = "f32" })
    check_dtypes(to, "f32")
    lu.assertEquals(core.json_load(to .. "/config.json").torch_dtype, "float32")
    lu.assertEquals(losses(sonde.load(to)), losses(sonde.load(dir)))
  end
end

function TestKept:test_each_tensor_keeps_its_own_dtype()
  local dir, to = foreign "bf16", fresh "saved"
  local model, names, tensors, dtypes = sonde.load(dir), {}, {}, {}
  for i, param in ipairs(model:params():list()) do
    names[i], tensors[i], dtypes[i] = param.name, model:params():find(param.name), #param.dims == 1 and "f32" or "bf16"
  end
  core.weights_save(dir .. "/model.safetensors", names, tensors, dtypes)
  sonde.prune(sonde.load(dir), { strategy = "last", remove = 1 }):save(to)
  local weights = core.weights_open(to)
  for _, name in ipairs(weights:names()) do
    local info = weights:find(name)
    lu.assertEquals(info.dtype, #info.dims == 1 and "F32" or "BF16", name)
  end
  lu.assertEquals(core.json_load(to .. "/config.json").torch_dtype, "bfloat16")
end

function TestKept:test_a_number_that_a_dtype_cannot_hold_is_refused()
  local model = sonde.load(foreign "f16")
  model:params():find("model.norm.weight"):set(3, 1e5)
  local to = fresh "saved"
  lu.assertErrorMsgContains("'model.norm.weight' holds 100000, which is too large for F16", model.save, model, to)
  lu.assertFalse(core.exists(to))
  model:save(to, { dtype = "bf16" })
  check_dtypes(to, "bf16")
end

-- A file of the tokenizer that cannot be read (too large here, a failing disk there) leaves no folder without one
-- behind.
function TestKept:test_a_tokenizer_that_cannot_be_read_is_not_lost()
  local dir, to = foreign "f32", fresh "saved"
  local file = io.open(dir .. "/tokenizer.json", "r+")
  file:seek("end", 65 * 1024 ^ 2)
  file:write "\n"
  file:close()
  local model = sonde.load(dir)
  lu.assertErrorMsgContains("would lack its tokenizer", model.save, model, to)
  lu.assertFalse(core.exists(to))
  model:save(to, { tokenizer = tokenizer })
  lu.assertEquals(core.exists(to .. "/tokenizer.json"), "file")
end

function TestKept:test_another_tokenizer_takes_its_own_files_along()
  local other = core.tokenizer_train({ TEXT }, { vocab = 270 })
  local model, to = sonde.load(foreign "f32"), fresh "saved"
  model:save(to, { tokenizer = other })
  for _, name in ipairs { "special_tokens_map.json", "generation_config.json", "chat_template.jinja", "tokenizer.model",
    "additional_chat_templates" } do
    lu.assertFalse(core.exists(to .. "/" .. name), name)
  end
  lu.assertEquals(core.read_file(to .. "/LICENSE"), carried.LICENSE)
  local tree = core.json_load(to .. "/config.json")
  lu.assertEquals({ tree.bos_token_id, tree.eos_token_id, tree.pretraining_tp }, { other:eot(), other:eot(), 1 })
  lu.assertEquals(core.json_load(to .. "/tokenizer_config.json").eos_token, "<|endoftext|>")
  -- The same one by another handle takes nothing away.
  model:save(fresh "same", { tokenizer = core.tokenizer(model.folder .. "/tokenizer.json") })
  check_files(scratch .. "/same" .. made)
end

function TestKept:test_saving_over_a_folder_leaves_no_shards_of_the_old_model()
  local dir = foreign "bf16"
  core.write_file(dir .. "/model.safetensors.index.json", '{"weight_map": {"a": "model-00001-of-00001.safetensors"}}')
  core.write_file(dir .. "/model-00001-of-00001.safetensors", "old")
  core.write_file(dir .. "/mine.safetensors", "not ours")
  sonde.load(dir):save(dir)
  lu.assertFalse(core.exists(dir .. "/model.safetensors.index.json"))
  lu.assertFalse(core.exists(dir .. "/model-00001-of-00001.safetensors"))
  lu.assertEquals(core.read_file(dir .. "/mine.safetensors"), "not ours")
  check_dtypes(dir, "bf16")
end

-- ---- folders of Sonde's own -----------------------------------------------------------------------------------

TestOwn = {}

local function small(options)
  local all = { vocab = tokenizer:vocab(), width = 16, depth = 2, heads = 2, context = 24, init_std = 0.3, seed = 2 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all)
end

function TestOwn:test_a_new_folder_says_how_its_tokenizer_is_used()
  for _, placement in ipairs { "pre_ln", "lns" } do
    local dir = fresh()
    small({ placement = placement }):save(dir, { tokenizer = tokenizer })
    local said = core.json_load(dir .. "/tokenizer_config.json")
    lu.assertEquals(said.tokenizer_class, "PreTrainedTokenizerFast")
    lu.assertEquals({ said.bos_token, said.eos_token }, { "<|endoftext|>", "<|endoftext|>" })
    lu.assertEquals({ said.model_max_length, said.clean_up_tokenization_spaces }, { 24, false })
    lu.assertEquals(sonde.load(dir):end_tokens(), { tokenizer:eot() })
  end
end

function TestOwn:test_without_a_tokenizer_there_are_no_token_ids()
  local dir = fresh()
  small():save(dir)
  local tree = core.json_load(dir .. "/config.json", true)      -- or Hugging Face's Llama would take 1 and 2
  lu.assertEquals({ tree.bos_token_id, tree.eos_token_id }, { core.null, core.null })
  lu.assertFalse(core.exists(dir .. "/tokenizer_config.json"))
  lu.assertEquals(sonde.load(dir):end_tokens(), {})
end

-- ---- end tokens -----------------------------------------------------------------------------------------------

TestEnds = {}

local function ends(changes, generation, usage)
  local dir = foreign("f32", changes, true)
  if generation then core.write_file(dir .. "/generation_config.json", generation) end
  if usage then core.write_file(dir .. "/tokenizer_config.json", usage) end
  return sonde.load(dir):end_tokens()
end

function TestEnds:test_where_they_come_from()
  lu.assertEquals(ends { eos_token_id = 9 }, { 9 })
  lu.assertEquals(ends { eos_token_id = core.list { 9, 4 } }, { 9, 4 })
  lu.assertEquals(ends({ eos_token_id = 9 }, '{"eos_token_id": [5, 6]}'), { 5, 6 })
  lu.assertEquals(ends({ eos_token_id = 9 }, '{"eos_token_id": 5}'), { 5 })
  lu.assertEquals(ends({ eos_token_id = 9 }, '{"temperature": 1}'), { 9 })
  lu.assertEquals(ends({ eos_token_id = core.null }, nil, '{"eos_token": "<|turn|>"}'),
    { tokenizer:special "<|turn|>" })
  lu.assertEquals(ends({ eos_token_id = core.null }, nil, '{"eos_token": {"content": "<|turn|>"}}'),
    { tokenizer:special "<|turn|>" })
  lu.assertEquals(ends { eos_token_id = core.null }, { tokenizer:eot() })
  lu.assertErrorMsgContains("config.json: 'eos_token_id' must be a token or a list of tokens, not </s>", ends,
    { eos_token_id = "</s>" })
end

function TestEnds:test_each_of_them_ends_a_text()
  local model = sonde.load(foreign "f32")
  local head = model:params():find "lm_head.weight"
  head:fill(0)
  local all = sonde.generate(model, { { 1, 2 } }, { tokens = 20, seed = 5 })[1]
  lu.assertEquals(#all, 20)
  for _, k in ipairs { 4, 9, 15 } do
    local first = k
    for i = k, 1, -1 do
      if all[i] == all[k] then first = i end
    end
    local got = sonde.generate(model, { { 1, 2 } }, { tokens = 20, seed = 5, stop = { 279, all[k] } })[1]
    lu.assertEquals(#got, first - 1)
    lu.assertEquals(#sonde.generate(model, { { 1, 2 } }, { tokens = 20, seed = 5, stop = all[k] })[1], first - 1)
  end
  local got = sonde.generate(model, { { 1, 2 } }, { tokens = 20, seed = 5, ends = function(number, token)
    return number == 1 and token == all[3]
  end })[1]
  lu.assertEquals(got[#got], all[3])
end

-- What ends a document, in a text that the model reads and in a corpus of its tokenizer, is what the folder says.
function TestEnds:test_they_end_documents_too()
  local turned = core.tokenizer_train({ TEXT }, { vocab = 280, special = { "<|start|>", "<|turn|>", "<|over|>" } })
  core.write_file(scratch .. "/two.jsonl", '{"text": "a folder"}\n{"text": "and more"}\n')
  local function ids(changes, usage, options)
    local dir = foreign("f32", changes, true)
    turned:save(dir .. "/tokenizer.json")
    if usage then core.write_file(dir .. "/" .. usage, '{"eos_token": "<|over|>"}') end
    options = options or {}
    options.tokenizer, options.validation, options.cache = dir .. "/tokenizer.json", 0, scratch .. "/cache"
    local corpus = sonde.corpus(scratch .. "/two.jsonl", options)
    local list = corpus.handle:tokens("train", 0, corpus.train.tokens):values()
    lu.assertEquals(list[#list], corpus.tokenizer:eot())
    if not options.end_of_text then
      local loaded = sonde.load(dir):tokenizer()
      lu.assertEquals({ loaded:read(scratch .. "/two.jsonl"):values(), loaded:eot() }, { list, list[#list] })
    end
    return { list[#list], #list - turned:encode("a folder"):count() - turned:encode("and more"):count() }
  end
  local turn, over = turned:special "<|turn|>", turned:special "<|over|>"
  lu.assertEquals(ids { eos_token_id = turn }, { turn, 2 })
  lu.assertEquals(ids { eos_token_id = core.list { over, turn } }, { over, 2 })
  lu.assertEquals(ids({ eos_token_id = core.null }, "tokenizer_config.json"), { over, 2 })
  lu.assertEquals(ids({ eos_token_id = core.null }, "special_tokens_map.json"), { over, 2 })
  lu.assertEquals(ids({ eos_token_id = turn }, nil, { end_of_text = "<|over|>" }), { over, 2 })
  lu.assertErrorMsgContains("name one with the option end_of_text", ids, { eos_token_id = core.null })
  lu.assertErrorMsgContains("no added token '<|end|>'", ids, { eos_token_id = turn }, nil, { end_of_text = "<|end|>" })
  lu.assertErrorMsgContains("end_of_text names a token of the option tokenizer", sonde.corpus, scratch .. "/two.jsonl",
    { end_of_text = "<|over|>", vocab = 280 })
end

-- ---- which keys count -----------------------------------------------------------------------------------------

TestKeys = {}

-- A change of each key that says something of a Llama, and weights that fit it where shapes follow.
local changed = {
  rope_theta = 12.5, rms_norm_eps = 0.25, max_position_embeddings = 48,
  rope_scaling = { rope_type = "linear", factor = 3 },
  num_attention_heads = 4, head_dim = 8,
}

-- Sonde's own folder, with a key changed as Python would change it, is what it is without Sonde's section.
function TestKeys:test_a_changed_key_counts_in_a_folder_of_sondes()
  local plain = fresh()
  small({ heads = 2, kv_heads = 2, head_dim = 8 }):save(plain, { tokenizer = tokenizer })
  local before = losses(sonde.load(plain))
  for key, value in pairs(changed) do
    local tree = core.json_load(plain .. "/config.json", true)
    tree[key] = value
    if key == "num_attention_heads" then tree.num_key_value_heads, tree.head_dim = 4, 4 end
    core.json_save(plain .. "/config.json", tree)
    local with = sonde.load(plain)
    local loss = losses(with)
    tree.sonde = nil
    core.json_save(plain .. "/config.json", tree)
    lu.assertEquals(loss, losses(sonde.load(plain)), key)
    if key ~= "max_position_embeddings" and key ~= "head_dim" then lu.assertNotEquals(loss, before, key) end
    lu.assertEquals(with.config.context, tree.max_position_embeddings)
    small({ heads = 2, kv_heads = 2, head_dim = 8 }):save(plain, { tokenizer = tokenizer })
  end
end

function TestKeys:test_what_the_keys_cannot_say_stays_with_the_section()
  local dir = fresh()
  small({ dropout = 0.25, init_std = 0.3, seed = 11 }):save(dir)
  local tree = core.json_load(dir .. "/config.json", true)
  tree.rope_theta = 77
  core.json_save(dir .. "/config.json", tree)
  local c = sonde.load(dir).config
  lu.assertEquals({ c.dropout, c.init_std, c.seed }, { 0.25, 0.3, 11 })
end

-- What a section of a model that is no Llama says, against keys that say otherwise.
function TestKeys:test_contradictions_are_refused()
  local function check(placement, change, message)
    local dir = fresh()
    small({ placement = placement }):save(dir)
    local tree = core.json_load(dir .. "/config.json", true)
    change(tree)
    core.json_save(dir .. "/config.json", tree)
    lu.assertErrorMsgContains(message, sonde.load, dir)
  end
  check("lns", function(t) t.vocab_size = 7 end,
    "'vocab_size' is 7, but the section 'sonde' describes " .. tokenizer:vocab())
  check("lns", function(t) t.rope_theta = 10 end, "'rope_theta' is 10, but the section 'sonde' describes 10000")
  check("lns", function(t) t.num_hidden_layers = 5 end, "'num_hidden_layers' is 5, but the section")
  check("lns", function(t) t.rope_scaling = { rope_type = "linear", factor = 2 } end,
    "'rope_scaling' is a list or an object, but")
  check("lns", function(t) t.sliding_window = 4 end, "'sliding_window' (4) changes what the model computes")
  check("pre_ln", function(t) t.sonde.model.placement = { name = "lns" } end,
    "model_type is 'llama', but in the section 'sonde' the placement is 'lns' in block 0")
  check("pre_ln", function(t) t.sonde.model.norm = { name = "layernorm" } end, "the norm is 'layernorm' in block 0")
end

function TestKeys:test_what_would_change_the_model_is_refused_by_name()
  for key, value in pairs {
    use_qkv_bias = true, sliding_window = 8, partial_rotary_factor = 0.5,
    final_logit_softcapping = 30,
    attn_logit_softcapping = 50, logits_scaling = 8, embedding_multiplier = 12, residual_multiplier = 0.2, clip_qkv = 8,
    attention_multiplier = 1, query_pre_attn_scalar = 16, quantization_config = { bits = 4 }, no_rope_layers = { 1, 0 },
    num_experts = 4, auto_map = { AutoModel = "x.Y" }, per_layer_config = { ["0"] = { spin = 1 } },
    hidden_act = "snake",
    layer_types = { "full_attention", "sliding_attention", "full_attention" }, pruned_heads = { ["1"] = { 0 } },
  } do
    lu.assertErrorMsgContains(key == "layer_types" and "sliding_attention" or key, sonde.load,
      foreign("f32", { [key] = value }))
  end
  -- And with the value that changes nothing they are kept.
  local neutral = {
    attention_bias = false, sliding_window = core.null, partial_rotary_factor = 1.0, logits_scaling = 1,
    pruned_heads = {},
    layer_types = core.list { "full_attention", "full_attention", "full_attention" }, is_encoder_decoder = false,
  }
  local to = fresh "saved"
  sonde.load(foreign("f32", neutral)):save(to)
  local tree = core.json_load(to .. "/config.json", true)
  for key, value in pairs(neutral) do
    lu.assertEquals(core.json_encode { tree[key] }, core.json_encode { value }, key)
  end
  sonde.prune(sonde.load(to), { strategy = "last", remove = 1 }):save(to .. "-pruned")
  lu.assertNil(core.json_load(to .. "-pruned/config.json").layer_types)      -- one entry a block, of other blocks
end

-- ---- rotary positions -----------------------------------------------------------------------------------------

local llama3 = { rope_type = "llama3", factor = 8, low_freq_factor = 1, high_freq_factor = 4,
  original_max_position_embeddings = 16 }

local function attention_of(changes)
  local found = sonde.load(foreign("f32", changes)).layers[1].attention.options
  return { found.rope_theta, found.rope_scaling, found.rope_scaling ~= "none" and found.rope_factor or nil }
end

function TestKeys:test_which_rotary_key_counts()
  lu.assertEquals(attention_of {}, { 500, "none" })
  lu.assertEquals(attention_of { rope_parameters = { rope_type = "default", rope_theta = 40 } }, { 40, "none" })
  lu.assertEquals(attention_of { rope_parameters = { rope_type = "default" } }, { 500, "none" })
  lu.assertEquals(attention_of { rope_scaling = llama3 }, { 500, "llama3", 8 })
  lu.assertEquals(attention_of { rope_scaling = { type = "linear", factor = 2 } }, { 500, "linear", 2 })
  lu.assertEquals(attention_of { rope_parameters = { rope_type = "linear", factor = 2, rope_theta = 9 } },
    { 9, "linear", 2 })
  lu.assertEquals(attention_of { rope_scaling = llama3, rope_parameters = { rope_type = "default", rope_theta = 40 } },
    { 500, "llama3", 8 })
  lu.assertEquals(attention_of { rope_scaling = {}, rope_parameters = { rope_theta = 40 } }, { 40, "none" })
  lu.assertEquals(attention_of { rope_scaling = { rope_type = "default", rope_theta = 41 }, rope_parameters = llama3 },
    { 41, "none" })
  local open = { rope_type = "llama3", factor = 8, low_freq_factor = 1, high_freq_factor = 4 }
  lu.assertEquals(sonde.load(foreign("f32", { rope_scaling = open })).layers[1].attention.options.rope_original_context,
    32)
end

function TestKeys:test_other_rotary_schemes_are_refused_by_name()
  for _, case in ipairs {
    { { rope_type = "proportional", factor = 4 }, "'proportional' is not supported; known: default, linear, dynamic, "
      .. "llama3, yarn, longrope" },
    { { type = "longrope" }, "'rope_parameters.short_factor' must be a list of numbers" },
    { { type = "longrope", short_factor = { 1, 1 }, long_factor = { 1, "2" } },
      "'rope_parameters.long_factor' must be a number, not 2" },
    { { type = "longrope", short_factor = { 1, 1 }, long_factor = { 1, 2, 3 } }, "needs 2 rope_long_factors over 0" },
    { { rope_type = "yarn", factor = 4, beta_fast = 1, beta_slow = 2 }, "rope_beta_fast 1 must be at least" },
    { { full_attention = { rope_theta = 1 } }, "differs by kind of layer ('full_attention')" },
    { { rope_type = "linear" }, "'linear' of 'rope_parameters' has no 'factor'" },
    { { rope_type = "linear", factor = "8" }, "'rope_parameters.factor' must be a number, not 8" },
    { { rope_type = "linear", factor = 0.5 }, "rope_factor" },
    { { rope_type = "default", partial_rotary_factor = 0.5 },
      "'rope_parameters.partial_rotary_factor' is not supported" },
    { { rope_type = "default", spin = 2 }, "'rope_parameters' has the key 'spin', which is not known" },
    { { rope_type = "llama3", factor = 8, low_freq_factor = 4, high_freq_factor = 4 },
      "must be over rope_low_freq_factor" },
  } do
    lu.assertErrorMsgContains(case[2], sonde.load, foreign("f32", { rope_parameters = case[1] }))
  end
  lu.assertErrorMsgContains("'rope_theta' must be over 0, not 0", sonde.load, foreign("f32", { rope_theta = 0 }))
  lu.assertErrorMsgContains("'rope_theta' must be over 0, not -1", sonde.load,
    foreign("f32", { rope_parameters = { rope_theta = -1 } }))
end

-- Both spellings give the same model, which saved and opened again is the same: folded, pruned, by the keys alone.
function TestKeys:test_scaled_positions_survive()
  local model = sonde.load(foreign("f32", { rope_scaling = llama3 }))
  local loss, to = losses(model), fresh "saved"
  lu.assertNotEquals(loss, losses(sonde.load(foreign "f32")))
  lu.assertEquals(losses(sonde.load(foreign("f32", { rope_parameters = llama3 }))), loss)
  model:save(to)
  lu.assertEquals(losses(sonde.load(to)), loss)
  lu.assertEquals(core.json_load(to .. "/config.json").rope_scaling, llama3)
  model:fold():save(to .. "-folded")
  lu.assertAlmostEquals(losses(sonde.load(to .. "-folded")), loss, 1e-4)
  -- A model made here says it in words that others know.
  small({ attention = { "causal", rope_scaling = "llama3", rope_factor = 4, rope_original_context = 32 } }):save(to
    .. "-own")
  local tree = core.json_load(to .. "-own/config.json")
  lu.assertEquals({ tree.rope_scaling.rope_type, tree.rope_scaling.factor,
    tree.rope_scaling.original_max_position_embeddings },
    { "llama3", 4, 32 })
  lu.assertEquals(tree.rope_theta, 10000)
  local own = losses(sonde.load(to .. "-own"))
  tree.sonde = nil
  core.json_save(to .. "-own/config.json", tree)
  lu.assertEquals(losses(sonde.load(to .. "-own")), own)
end

-- ---- weights under other names --------------------------------------------------------------------------------

TestNames = {}

-- The folder with its tensors renamed or dropped by a function of the name, and keys changed.
local function renamed(changes, rename, extra)
  local dir = foreign("f32", changes)
  local model, names, tensors = sonde.load(foreign "f32"), {}, {}
  for _, param in ipairs(model:params():list()) do
    local name = rename(param.name)
    if name then names[#names + 1], tensors[#tensors + 1] = name, model:params():find(param.name) end
  end
  for name, like in pairs(extra or {}) do
    names[#names + 1], tensors[#tensors + 1] = name, model:params():find(like)
  end
  core.weights_save(dir .. "/model.safetensors", names, tensors)
  return dir
end

function TestNames:test_tied_weights_stand_under_either_name()
  local tied = { tie_word_embeddings = true }
  local embedding, head = "model.embed_tokens.weight", "lm_head.weight"
  local function without(name) return function(given) return given ~= name and given or nil end end
  local under_one = losses(sonde.load(renamed(tied, without(head))))
  lu.assertEquals(losses(sonde.load(renamed(tied, without(head), { [head] = embedding }))), under_one)
  local other = renamed(tied, function(name)
    if name == head then return nil end
    return name == embedding and head or name
  end)
  lu.assertEquals(losses(sonde.load(other)), under_one)
  lu.assertEquals(losses(sonde.load(renamed(tied, function(name)
    return name ~= embedding and name ~= head and (name:gsub("^model%.", "")) or nil
  end, { [head] = embedding }))), under_one)
  lu.assertErrorMsgContains("'lm_head.weight' and 'embed_tokens.weight' differ", sonde.load,
    renamed(tied, function(name) return (name:gsub("^model%.", "")) end))
  sonde.load(other):save(other .. "-saved")
  lu.assertEquals(losses(sonde.load(other .. "-saved")), under_one)
  lu.assertErrorMsgContains("'lm_head.weight' and 'model.embed_tokens.weight' differ, but are one by the config",
    sonde.load,
    renamed(tied, function(name) return name end))
  lu.assertErrorMsgContains("the weights have no 'lm_head.weight'; are embedding and head tied", sonde.load,
    renamed({}, without(head)))
end

function TestNames:test_a_bare_model_and_tensors_without_effect()
  local whole = losses(sonde.load(foreign "f32"))
  lu.assertEquals(losses(sonde.load(renamed({}, function(name) return (name:gsub("^model%.", "")) end))), whole)
  lu.assertEquals(losses(sonde.load(renamed({}, function(name) return name end,
    { ["model.layers.0.self_attn.rotary_emb.inv_freq"] = "model.norm.weight" }))), whole)
  lu.assertErrorMsgContains("the weights have 'model.layers.0.extra.weight', which", sonde.load,
    renamed({}, function(name) return name end, { ["model.layers.0.extra.weight"] = "model.norm.weight" }))
end

-- More shards than the reader has room for at first, each tensor in its own.
function TestNames:test_a_shard_for_each_tensor()
  local dir, map = foreign("bf16", {}, true), {}
  local model = sonde.load(dir)
  local whole, list = losses(model), model:params():list()
  os.remove(dir .. "/model.safetensors")
  for i, param in ipairs(list) do
    map[param.name] = string.format("model-%05d-of-%05d.safetensors", i, #list)
    core.weights_save(dir .. "/" .. map[param.name], { param.name }, { model:params():find(param.name) }, { "bf16" })
  end
  lu.assertTrue(#list > 20)
  core.json_save(dir .. "/model.safetensors.index.json", { metadata = { total_size = 1 }, weight_map = map })
  lu.assertEquals(losses(sonde.load(dir)), whole)
  sonde.load(dir):save(dir)
  for _, file in pairs(map) do lu.assertFalse(core.exists(dir .. "/" .. file)) end
  lu.assertEquals(losses(sonde.load(dir)), whole)
end

-- ---- what is no model folder ----------------------------------------------------------------------------------

TestHints = {}

function TestHints:test_what_was_probably_meant_is_named()
  local run = scratch .. "/runs/small/0"
  core.mkdirs(run)
  core.json_save(run .. "/run.json", {})
  lu.assertErrorMsgContains("/0: contains no config.json, so it is no model folder; it is a run that has saved none "
    .. "yet", sonde.load, run)
  small():save(run .. "/model")
  for _, slash in ipairs { "", "/" } do
    lu.assertErrorMsgContains("/0: contains no config.json, so it is no model folder; there is one in " .. run
      .. "/model",
      sonde.load, run .. slash)
  end
  lu.assertErrorMsgContains("there is one in " .. run .. "/model", sonde.load, scratch .. "/runs/small")
  lu.assertErrorMsgContains("is a file; a model is a folder; that of this file is " .. run .. "/model", sonde.load,
    run .. "/model/model.safetensors")
  lu.assertErrorMsgContains("there is no such folder; did you mean '" .. run .. "/model'?", sonde.load,
    run .. "/modell")
  lu.assertErrorMsgContains("an empty name", sonde.load, "")
  lu.assertErrorMsgContains("argument 'dir' must be a string, not nil", sonde.load)
end

local status = lu.LuaUnit.run("-o", "tap")
core.remove_tree(scratch)
os.exit(status, true)
