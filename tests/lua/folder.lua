-- What a model folder holds goes with the model: through loading and saving, pruning, folding, healing and training,
-- dtype by dtype and key by key; and Hugging Face's keys count before what Sonde wrote beside them.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"
local folders = dofile(os.getenv "abs_srcdir" .. "/tests/lua/foreign_folder.lua")
local scratch, fresh, foreign, losses = folders.scratch, folders.fresh, folders.foreign, folders.losses
local tokenizer, TEXT, VOCAB = folders.tokenizer, folders.text, folders.vocab
local carried, dropped, keys, torch = folders.carried, folders.dropped, folders.keys, folders.torch

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

function TestKept:test_a_tokenizer_has_no_ids_that_the_model_does_not_read()
  local small = sonde.transformer { vocab = tokenizer:vocab() - 1, width = 16, depth = 1, heads = 1, context = 8 }
  local to = os.tmpname()
  os.remove(to)
  local want = string.format("the tokenizer has %d tokens, and the model's vocabulary %d", tokenizer:vocab(),
    tokenizer:vocab() - 1)
  lu.assertErrorMsgContains(want, small.save, small, to, { tokenizer = tokenizer })
  lu.assertErrorMsgContains(want, sonde.export, small, to, { tokenizer = tokenizer })
  lu.assertErrorMsgContains(want, sonde.export, small, to .. ".gguf", { tokenizer = tokenizer })
  lu.assertNil(core.exists(to) or core.exists(to .. ".gguf") or nil)
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
  local same = fresh "same"
  model:save(same, { tokenizer = core.tokenizer(model.folder .. "/tokenizer.json") })
  check_files(same)
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

function TestOwn:test_a_folder_that_names_no_tokens_stays_one_that_does_not()
  local dir, again = fresh(), fresh()
  small():save(dir)
  local tree = core.json_load(dir .. "/config.json", true)
  tree.bos_token_id, tree.eos_token_id = nil, nil
  core.json_save(dir .. "/config.json", tree)
  sonde.export(sonde.load(dir), again)
  tree = core.json_load(again .. "/config.json", true)
  lu.assertEquals({ tree.bos_token_id or "none", tree.eos_token_id or "none" }, { "none", "none" })
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

local status = lu.LuaUnit.run("-o", "tap")
core.remove_tree(scratch)
os.exit(status, true)
