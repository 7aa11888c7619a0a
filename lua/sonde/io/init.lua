--- sonde.io - a model as a folder: model.safetensors, config.json, tokenizer.json, tokenizer_config.json.
--
-- What Llama can express is saved as Hugging Face's Llama; such folders made elsewhere open here. What it cannot (other
-- norms, placements, ...) is saved under architectures "SondeForCausalLM". What the keys mean is in io/config.lua,
-- what else a folder holds and is carried along in io/origin.lua.

local core = require "sonde.core"
local config = require "sonde.io.config"
local origin = require "sonde.io.origin"
local args = require "sonde.base.args"

local folder = {}

--- The options that make the same model again, every one of them and as plain values: for records and folders.
---@param model sonde.model
---@return table
function folder.options(model)
  return config.plain(model)
end

-- ---- saving -----------------------------------------------------------------------------------------------

local torch_names = { f32 = "float32", bf16 = "bfloat16", f16 = "float16" }

-- The weights that a folder holds: what modules read, so that other programs compute the same. Views are in the numbers
-- (masked, low-rank factors added), but for what the options say too: there the folder has a shared value once.
local function saved(model)
  local list, shared = {}, model:shared()
  for _, param in ipairs(model:params():weights()) do
    if not shared[param.name] then list[#list + 1] = param end
  end
  return list
end

-- The dtype of each weight, what was asked for or what it was read as (f32 where it was not), and that of most numbers.
local function dtypes_of(model, asked)
  local list, counts, main = {}, {}, "f32"
  for i, param in ipairs(saved(model)) do
    local dtype, count = asked or (model.stored and model.stored[param.name]), 1
    for _, dim in ipairs(param.dims) do count = count * dim end
    list[i] = dtype or false
    if dtype then counts[dtype] = (counts[dtype] or 0) + count end
  end
  for _, dtype in ipairs { "f32", "f16", "bf16" } do
    if (counts[dtype] or 0) > (counts[main] or 0) then main = dtype end
  end
  for i, dtype in ipairs(list) do list[i] = dtype or main end
  return list, main
end

--- The dtype that most of a model's weights are saved in.
---@param model sonde.model
---@param asked? string
---@return string
function folder.dtype(model, asked)
  local _, main = dtypes_of(model, asked)
  return main
end

-- What the folder of a model holds beside its weights: what it brought, unless another tokenizer takes its place.
local function belongings(model, tokenizer)
  local from = model.origin or { config = {}, files = {}, left = {} }
  local ours = tokenizer and from.files["tokenizer.json"]
  if tokenizer and (not ours or core.tokenizer("tokenizer.json", ours):hash() ~= tokenizer:hash()) then
    return origin.without_tokenizer(from), true
  end
  return from, false
end

-- The token of an id, as tokenizer_config.json has it.
local function spelled(tokenizer, id)
  if type(id) == "table" then id = id[1] end
  if type(id) ~= "number" then return nil end
  local ok, text = pcall(tokenizer.decode, tokenizer, { id })
  return ok and text ~= "" and tokenizer:special(text) == id and text or nil
end

-- Without it transformers takes a Llama's tokenizer for one of another kind, and gives other ids.
local function tokenizer_config(model, tokenizer, keys)
  return {
    tokenizer_class = "PreTrainedTokenizerFast", clean_up_tokenization_spaces = false,
    model_max_length = model.config.context, bos_token = spelled(tokenizer, keys.bos_token_id),
    eos_token = spelled(tokenizer, keys.eos_token_id),
  }
end

-- The keys of the model's config.json. A Llama without such tokens must say so, or transformers takes 1 and 2.
local function keys_of(model, belonging, tokenizer, main)
  local keys = config.write(model, belonging.config)
  if keys.dtype ~= nil then keys.dtype = torch_names[main] end
  if keys.torch_dtype ~= nil or keys.dtype == nil then keys.torch_dtype = torch_names[main] end
  if keys.eos_token_id == nil and keys.bos_token_id == nil then
    local token = tokenizer and tokenizer:eot() or core.null
    keys.bos_token_id, keys.eos_token_id = token, token
  end
  return keys
end

-- The ids of another tokenizer are other texts to the model: that may be meant, but not without a word.
local function note_tokenizer(model, tokenizer, dir)
  local corpus = require "sonde.data"
  local known = corpus.known(model)
  if corpus.same_ids(tokenizer:hash(), tokenizer, known) then return end
  io.stderr:write(string.format("sonde: note: %s: the tokenizer saved there (%.8s..) is another than %s (%.8s..), so the same ids "
    .. "are other texts\n", dir, tokenizer:hash(), known.of, known.hash))
end

local function write_files(model, dir, tokenizer, dtype)
  local names, tensors, params = {}, {}, model:params()
  for i, param in ipairs(saved(model)) do
    names[i], tensors[i] = param.name, params:read(param.name)
  end
  local dtypes, main = dtypes_of(model, dtype)
  local belonging, other = belongings(model, tokenizer)
  local lacks = not tokenizer and origin.lacks(belonging)
  if lacks then error(core.where() .. "the folder would lack its tokenizer: " .. lacks, 0) end
  if other or not tokenizer then tokenizer = tokenizer or (model:has_tokenizer() and model:tokenizer()) end
  local keys = keys_of(model, belonging, tokenizer, main)
  for name, bytes in pairs(belonging.files) do
    core.mkdirs((dir .. "/" .. name):match "^(.*)/")
    core.write_file(dir .. "/" .. name, bytes)
  end
  if tokenizer then
    tokenizer:save(dir .. "/tokenizer.json")
    if not belonging.files["tokenizer_config.json"] then
      core.json_save(dir .. "/tokenizer_config.json", tokenizer_config(model, tokenizer, keys))
    end
  end
  core.json_save(dir .. "/config.json", keys)
  core.weights_save(dir .. "/model.safetensors", names, tensors, dtypes)
  for name, reason in pairs(belonging.left) do
    io.stderr:write(string.format("sonde: note: %s is not carried along to %s: %s\n", name, dir, reason))
  end
end

-- Takes away the shards that model.safetensors has replaced, and their index: some programs read all there are.
local function remove_shards(dir)
  local index = dir .. "/model.safetensors.index.json"
  if not core.exists(index) then return end
  os.remove(index)
  for _, name in ipairs(core.list_dir(dir)) do
    if string.find(name, "^model%-%d+%-of%-%d+%.safetensors$") then os.remove(dir .. "/" .. name) end
  end
end

--- Saves a model as a folder. A new folder appears whole or not at all; in one that is there each file is replaced
--- whole. What the folder that the model came from holds beside it is carried along (io/origin.lua).
---@param model sonde.model
---@param dir string
---@param options? {tokenizer: userdata, dtype: "f32"|"bf16"|"f16"}
function folder.save(model, dir, options)
  options = require("sonde.base.args").check({
    { name = "tokenizer", type = "any", doc = "the tokenizer to put beside the weights; default: the model's own" },
    { name = "dtype", type = "string", choices = { "f32", "bf16", "f16" },
      doc = "of the saved weights; default: what they were read as, else f32" },
  }, options, "save")
  if type(dir) ~= "string" then error(core.where() .. "save: the model needs the name of a folder", 0) end
  dir = #dir > 1 and string.gsub(dir, "/+$", "") or dir
  if dir == "" then error(core.where() .. "save: the model needs the name of a folder", 0) end
  if options.tokenizer then note_tokenizer(model, options.tokenizer, dir) end
  local there = core.exists(dir)
  if there == "file" or (there and #core.list_dir(dir) > 0) then
    write_files(model, dir, options.tokenizer, options.dtype)
    return remove_shards(dir)
  end
  require("sonde.base.whole_folder")(dir, function(part) write_files(model, part, options.tokenizer, options.dtype) end)
end

-- ---- weights ----------------------------------------------------------------------------------------------

local function refuse(path, text)
  error(core.where() .. path .. ": " .. text, 0)
end

local HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"

-- Reads a tensor of the file by a parameter's name: the same, or without "model." in files of the bare model; one that is
-- shared with the head stands under either name, or both.
local function names_in(weights, tied, dir)
  local bare = true
  for _, name in ipairs(weights:names()) do bare = bare and string.sub(name, 1, 6) ~= "model." end
  local embedding = bare and string.sub(EMBEDDING, 7) or EMBEDDING
  if tied and weights:find(HEAD) and weights:find(embedding) and not weights:equal(HEAD, embedding) then
    refuse(dir, "'" .. HEAD .. "' and '" .. embedding .. "' differ, but are one by the config (tie_word_embeddings)")
  end
  return function(name)
    if bare then name = string.gsub(name, "^model%.", "") end
    if tied and name == embedding and not weights:find(name) then return HEAD end
    return name
  end
end

local dtype_names = { F32 = "f32", BF16 = "bf16", F16 = "f16" }

-- What a model of this config has no place for, but for what every program passes over.
local function check_rest(weights, wanted, model, dir)
  for _, name in ipairs(weights:names()) do
    local harmless = string.find(name, "rotary_emb.inv_freq", 1, true) or (model.config.tie and name == HEAD)
    if not wanted[name] and not harmless then
      refuse(dir, "the weights have '" .. name .. "', which a model of this config has no place for")
    end
  end
end

--- Reads the weights of a folder into a model that is there. Every parameter of the model must be in the folder with its
--- shape, and every tensor of the folder in the model.
---@param model sonde.model
---@param dir string
---@return sonde.model
function folder.read_weights(model, dir)
  local weights, params, wanted = core.weights_open(dir), model:params(), {}
  local name_of, stored = names_in(weights, model.config.tie, dir), {}
  for _, param in ipairs(params:list()) do
    local name = name_of(param.name)
    local found = weights:find(name)
    if not found and param.role ~= "buffer" then
      local hint = param.name == HEAD and "; are embedding and head tied (tie_word_embeddings)?" or ""
      refuse(dir, "the weights have no '" .. param.name .. "'" .. hint)
    end
    wanted[name] = true
    if found then
      weights:read(name, params:find(param.name))
      params:loaded(param.name)
      stored[param.name] = dtype_names[found.dtype]
    end
  end
  check_rest(weights, wanted, model, dir)
  weights:close()
  model.stored = stored
  return model:init()   -- buffers that the file did not have
end

-- ---- loading ----------------------------------------------------------------------------------------------

-- The folders inside `dir` that hold a config.json, up to two levels down.
local function models_below(dir, levels, found)
  for _, name in ipairs(core.list_dir(dir)) do
    local path = dir .. "/" .. name
    if #found < 2 and core.exists(path) == "folder" then
      if core.exists(path .. "/config.json") then
        found[#found + 1] = path
      elseif levels > 1 then
        pcall(models_below, path, levels - 1, found)
      end
    end
  end
  return found
end

-- What a folder without a config.json is, and where the model may be.
local function hint_inside(dir)
  local ok, found = pcall(models_below, dir, 2, {})
  if ok and #found > 0 then return "; there is one in " .. found[1] .. (#found > 1 and ", and in others" or "") end
  if core.exists(dir .. "/run.json") then
    return "; it is a run that has saved none yet: the model is saved when its training is done"
  end
  return ""
end

-- Names near one that is not there.
local function hint_beside(dir)
  local parent, name = string.match(dir, "^(.*)/([^/]+)$")
  if not parent then parent, name = ".", dir end
  local ok, names = pcall(core.list_dir, parent == "" and "/" or parent)
  local near = ok and core.nearest(name, names)
  return near and "; did you mean '" .. (string.find(dir, "/", 1, true) and parent .. "/" or "") .. near .. "'?" or ""
end

--- Refuses what is no model folder, with where the model may be instead; gives the path without a slash at its end.
---@param dir string
---@return string
function folder.check(dir)
  if type(dir) ~= "string" or dir == "" then
    error(core.where() .. "load takes the path of a folder, not " .. (dir == "" and "an empty name" or tostring(dir)), 0)
  end
  dir = #dir > 1 and string.gsub(dir, "/+$", "") or dir
  local there = core.exists(dir)
  if not there then refuse(dir, "there is no such folder" .. hint_beside(dir)) end
  if there == "file" then
    local parent = string.match(dir, "^(.*)/[^/]+$") or "."
    refuse(dir, "is a file; a model is a folder"
      .. (core.exists(parent .. "/config.json") and "; that of this file is " .. parent or ""))
  end
  if not core.exists(dir .. "/config.json") then
    refuse(dir, "holds no config.json, so it is no model folder" .. hint_inside(dir))
  end
  return dir
end

-- The path, config.json and options of a model folder, and what makes a model of options.
local function described(dir)
  dir = folder.check(dir)
  local path = dir .. "/config.json"
  local tree = core.json_load(path)
  if type(tree) ~= "table" then refuse(path, "this is no object") end
  local function make(options)
    return require("sonde.model.transformer").new(options, function() return core.where() .. path .. ": " end)
  end
  local options, note = config.options(tree, path, make)
  if note then io.stderr:write("sonde: note: ", path, ": ", note, "\n") end
  return dir, make(options)
end

--- The options of the model in a folder, as plain values.
---@param dir string
---@return table
function folder.describe(dir)
  local _, model = described(dir)
  return config.plain(model)
end

--- Gives a model the weights of a model folder, with what that holds beside them. Parameters must be the same, by name
--- and shape; how they are used may be another: that is told.
---@param model sonde.model
---@param dir string
---@return sonde.model
function folder.begin(model, dir)
  local there
  dir, there = described(dir)
  local list = config.differences(model, there)
  if #list > 0 then
    io.stderr:write(string.format("sonde: note: %s: the model that begins with these weights computes something else: %s\n",
      dir, table.concat(list, ", ")))
  end
  folder.read_weights(model, dir)
  model.origin = origin.read(dir)
  return model
end

--- Opens a model folder, of Sonde or of Hugging Face's Llama (single or sharded safetensors, f32, f16 or bf16).
---@param dir string
---@return sonde.model
function folder.load(dir)
  local model
  dir, model = described(dir)
  model.folder, model.origin = dir, origin.read(dir)
  return folder.read_weights(model, dir)
end

return args.declare(folder, "sonde.", { load = { { name = "dir", type = "string", required = true } } })
