-- A model folder as others make them, with a tokenizer and with files and keys that Sonde has no use for: for tests
-- of what is read from a folder and of what goes on with it.

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

return {
  scratch = scratch, fresh = fresh, text = TEXT, tokenizer = tokenizer, vocab = VOCAB, carried = carried,
  dropped = dropped, keys = keys, foreign = foreign, losses = losses, torch = torch,
}
