--- folder.lua - a model as a folder: model.safetensors, config.json, tokenizer.json.
--
-- What Llama can express is saved as Hugging Face's Llama; such folders made elsewhere open here. What it cannot (other
-- norms, placements, ...) is saved under architectures "SondeForCausalLM". In both cases the key "sonde" of config.json
-- holds the model's options.

local core = require "sonde.core"

local folder = {}

-- ---- config.json ------------------------------------------------------------------------------------------

-- Why a model is no Llama; nil if it is one.
local function not_llama(model)
  local eps = model.final.options.eps
  if model.config.embed_scale ~= "none" then return "the embedding is scaled" end
  if model.final.name ~= "rmsnorm" then return "its final norm is '" .. model.final.name .. "'" end
  for index, layer in ipairs(model.layers) do
    local at = " in block " .. (index - 1)
    if layer.placement.name ~= "pre_ln" then return "the placement is '" .. layer.placement.name .. "'" .. at end
    if layer.norm.name ~= "rmsnorm" then return "the norm is '" .. layer.norm.name .. "'" .. at end
    if layer.norm.options.folded then return "the norms' gains are folded" .. at end
    if layer.norm.options.eps ~= eps then return "the norms' eps differs" .. at end
    if layer.attention.name ~= "causal" then return "the attention is '" .. layer.attention.name .. "'" .. at end
    if layer.attention.options.window ~= 0 then return "the attention has a window" .. at end
    if layer.attention.options.qk_norm then return "queries and keys are normalised" .. at end
    if layer.attention.options.rope_theta == 0 then return "the attention has no positions" .. at end
    if layer.ffn.name ~= "swiglu" then return "the feed-forward layer is '" .. layer.ffn.name .. "'" .. at end
    for name, value in pairs(layer.attention.options) do
      if value ~= model.layers[1].attention.options[name] then return "the attention's " .. name .. " differs" .. at end
    end
    if layer.ffn.options.hidden ~= model.layers[1].ffn.options.hidden then return "the inner width differs" .. at end
  end
end

-- The options of the model as plain values, with every module's options in place.
local function plain(model)
  local options = {}
  for key, value in pairs(model.config) do options[key] = value end
  local function flat(module)
    local t = { name = module.name }
    for key, value in pairs(module.options) do t[key] = value end
    return t
  end
  local first = model.layers[1]
  options.norm, options.attention, options.ffn = flat(first.norm), flat(first.attention), flat(first.ffn)
  options.placement, options.final_norm, options.layers = flat(first.placement), flat(model.final), {}
  for index, layer in ipairs(model.layers) do
    local own = {}
    if layer.layer ~= index then own.layer = layer.layer end
    if layer.depth ~= model.config.depth then own.depth = layer.depth end
    for _, kind in ipairs { "norm", "attention", "ffn", "placement" } do
      local this = flat(layer[kind])
      if core.json_encode(this) ~= core.json_encode(flat(first[kind])) then own[kind] = this end
    end
    if next(own) then options.layers[tostring(index - 1)] = own end
  end
  -- Those that stand in the modules' own options now.
  options.rope_theta, options.norm_eps, options.ffn_hidden = nil, nil, nil
  return options
end

local function llama_config(model, tokenizer)
  local config, attention = model.config, model.layers[1].attention.options
  local gate = model:params():find("model.layers.0.mlp.gate_proj.weight")
  local eot = tokenizer and tokenizer:eot()
  return {
    architectures = { "LlamaForCausalLM" }, model_type = "llama", torch_dtype = "float32", vocab_size = config.vocab,
    hidden_size = config.width, num_hidden_layers = config.depth, num_attention_heads = config.heads,
    num_key_value_heads = config.kv_heads, head_dim = config.head_dim, intermediate_size = gate:dims()[1],
    rms_norm_eps = model.final.options.eps, rope_theta = attention.rope_theta, max_position_embeddings = config.context,
    tie_word_embeddings = config.tie, hidden_act = "silu", attention_bias = false, mlp_bias = false,
    attention_dropout = 0, initializer_range = config.init_std, bos_token_id = eot, eos_token_id = eot,
  }
end

-- Adapters are parameters that the options say nothing of: a model is written down without them.
local function refuse_adapters(model)
  for _, param in ipairs(model:params():list()) do
    if string.find(param.name, ".lora_a", 1, true) then
      error(core.where() .. "'" .. param.name .. "' is an adapter; add it into its weight before the model is saved or "
        .. "copied (sonde.heal does)", 0)
    end
  end
end

--- The options that make the same model again, every one of them and as plain values: for records and folders.
---@param model sonde.model
---@return table
function folder.options(model)
  refuse_adapters(model)
  return plain(model)
end

-- ---- saving -----------------------------------------------------------------------------------------------

local function write_files(model, dir, tokenizer, dtype)
  local names, tensors, params = {}, {}, model:params()
  for i, param in ipairs(params:list()) do
    names[i], tensors[i] = param.name, params:find(param.name)
  end
  local config
  if not_llama(model) then
    config = { architectures = { "SondeForCausalLM" }, model_type = "sonde", vocab_size = model.config.vocab }
  else
    config = llama_config(model, tokenizer)
    if dtype == "bf16" then config.torch_dtype = "bfloat16" end
  end
  config.sonde = { version = core.version, model = plain(model) }
  core.json_save(dir .. "/config.json", config)
  if tokenizer then tokenizer:save(dir .. "/tokenizer.json") end
  core.weights_save(dir .. "/model.safetensors", names, tensors, dtype)
end

--- Saves a model as a folder. A new folder appears whole or not at all; in one that is there each file is replaced
--- whole.
---@param model sonde.model
---@param dir string
---@param options? {tokenizer: userdata, dtype: "f32"|"bf16"}
function folder.save(model, dir, options)
  options = require("sonde.args").check({
    { name = "tokenizer", type = "any", doc = "the tokenizer to put beside the weights; default: the model's own" },
    { name = "dtype", type = "string", choices = { "f32", "bf16" }, preset = "f32", doc = "of the saved weights" },
  }, options, "save")
  refuse_adapters(model)
  dir = #dir > 1 and string.gsub(dir, "/+$", "") or dir
  if dir == "" then error(core.where() .. "save: the model needs the name of a folder", 0) end
  local tokenizer = options.tokenizer or model.own_tokenizer
  local there = core.exists(dir)
  if there == "file" or (there and #core.list_dir(dir) > 0) then return write_files(model, dir, tokenizer, options.dtype) end
  require("sonde.whole_folder")(dir, function(part) write_files(model, part, tokenizer, options.dtype) end)
end

-- ---- loading ----------------------------------------------------------------------------------------------

local function refuse(path, text)
  error(core.where() .. path .. ": " .. text, 0)
end

-- A key of a foreign config.json, of the type it must have.
local function key_of(config, path, name, kind, preset)
  local value = config[name]
  if value == nil then value = preset end
  if value == nil then refuse(path, "there is no '" .. name .. "'") end
  if type(value) ~= kind then
    local got = type(value) == "table" and "a list or an object" or tostring(value)
    refuse(path, "'" .. name .. "' must be a " .. kind .. ", not " .. got)
  end
  return value
end

-- A key of a foreign config.json that counts something.
local function count_of(config, path, name, preset)
  local value = key_of(config, path, name, "number", preset)
  if value ~= math.floor(value) or value < 1 or value > 2147483647 then
    refuse(path, "'" .. name .. "' must be a whole number from 1 to 2147483647, not " .. string.format("%.14g", value))
  end
  return math.floor(value)
end

-- The base of the rotary angles, in the old place or the new one; scaled positions are refused.
local function rope_theta(config, path)
  local scaling = config.rope_scaling
  local rope = type(config.rope_parameters) == "table" and config.rope_parameters or {}
  local kind = rope.rope_type or (type(scaling) == "table" and (scaling.rope_type or scaling.type)) or scaling or "default"
  if kind ~= "default" then
    refuse(path, "the rope scaling '" .. tostring(kind) .. "' is not supported; only plain positions are")
  end
  return key_of({ rope_theta = rope.rope_theta or config.rope_theta }, path, "rope_theta", "number", 10000)
end

-- The options of a Llama folder made elsewhere; everything that this cannot be is refused by name.
local function from_llama(config, path)
  local kind = key_of(config, path, "model_type", "string")
  if kind ~= "llama" then refuse(path, "model_type '" .. kind .. "' is not supported; known: llama") end
  for _, name in ipairs { "attention_bias", "mlp_bias" } do
    if config[name] then refuse(path, "'" .. name .. "' is not supported: layers have no biases") end
  end
  local act = key_of(config, path, "hidden_act", "string", "silu")
  if act ~= "silu" then refuse(path, "hidden_act '" .. act .. "' is not supported; known: silu") end
  local heads = count_of(config, path, "num_attention_heads")
  return {
    vocab = count_of(config, path, "vocab_size"), width = count_of(config, path, "hidden_size"),
    depth = count_of(config, path, "num_hidden_layers"), heads = heads,
    kv_heads = count_of(config, path, "num_key_value_heads", heads),
    head_dim = config.head_dim and count_of(config, path, "head_dim"),
    ffn_hidden = count_of(config, path, "intermediate_size"),
    norm_eps = key_of(config, path, "rms_norm_eps", "number", 1e-6), rope_theta = rope_theta(config, path),
    context = count_of(config, path, "max_position_embeddings", 2048),
    tie = key_of(config, path, "tie_word_embeddings", "boolean", false),
    norm = "rmsnorm", placement = "pre_ln", attention = "causal", ffn = "swiglu",
  }
end

local function read_weights(model, dir)
  local weights, params, wanted = core.weights_open(dir), model:params(), {}
  for _, param in ipairs(params:list()) do
    local found = weights:find(param.name)
    if not found and param.role ~= "buffer" then
      local hint = param.name == "lm_head.weight" and "; are embedding and head tied (tie_word_embeddings)?" or ""
      refuse(dir, "the weights have no '" .. param.name .. "'" .. hint)
    end
    wanted[param.name] = true
    if found then
      weights:read(param.name, params:find(param.name))
      params:loaded(param.name)
    end
  end
  for _, name in ipairs(weights:names()) do
    local harmless = string.find(name, "rotary_emb.inv_freq", 1, true)
      or (model.config.tie and name == "lm_head.weight")
    if not wanted[name] and not harmless then
      refuse(dir, "the weights have '" .. name .. "', which a model of this config has no place for")
    end
  end
  weights:close()
end

--- Opens a model folder, of Sonde or of Hugging Face's Llama (single or sharded safetensors, f32, f16 or bf16).
---@param dir string
---@return sonde.model
function folder.load(dir)
  if type(dir) ~= "string" then error(core.where() .. "load takes the path of a folder, not " .. tostring(dir), 0) end
  local there = core.exists(dir)
  if there ~= "folder" then
    error(core.where() .. dir .. (there and ": is a file; a model is a folder" or ": there is no such folder"), 0)
  end
  local path = dir .. "/config.json"
  local config = core.json_load(path)
  if type(config) ~= "table" then refuse(path, "this is no object") end
  local own = type(config.sonde) == "table" and config.sonde.model
  if type(own) == "table" and type(own.placement) == "table" and own.placement.name == "custom" then
    refuse(path, "the placement was a function without a name; register it with sonde.placement to open such models")
  end
  local options = own or from_llama(config, path)
  local model = require("sonde.transformer").new(options, function() return core.where() .. path .. ": " end)
  read_weights(model, dir)
  model.folder = dir
  return model:init()   -- buffers that the file did not have
end

return folder
