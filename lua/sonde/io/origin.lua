--- origin.lua - what a model folder holds beside the model: the keys of its config.json that Sonde has no use for,
-- its tokenizer and how it is used, the dtype of each tensor. It goes with the model into every folder made of it.
--
-- All of it is read when the model is, so that what is saved depends neither on what was called in between nor on what
-- became of the folder.

local core = require "sonde.core"
local tokens = require "sonde.io.arch.parts.tokens"

local origin = {}

local LARGEST, ALL = 64 * 1024 ^ 2, 256 * 1024 ^ 2      -- bytes of one file, and of all

---@class sonde.origin
---@field dir string
---@field config table                 its config.json, nulls as core.null
---@field files table<string, string>  name -> bytes of what is carried along
---@field left table<string, string>   name -> why it is not, where that may surprise

-- Endings of files that hold weights, or the state of a training, which are not the new model's.
local weights = {
  "safetensors", "bin", "pt", "pth", "ckpt", "h5", "msgpack", "gguf", "ggml", "onnx", "onnx_data", "npz", "npy", "pkl",
  "pickle", "tflite", "ot", "mlmodel", "index.json",
}
-- Files that describe such weights.
local described = {
  ["config.json"] = true, ["trainer_state.json"] = true, ["training_args.json"] = true, ["adapter_config.json"] = true,
  ["quantize_config.json"] = true, ["quant_config.json"] = true, ["hf_quant_config.json"] = true,
}
-- Code that Sonde writes for one model.
local code = { ["modeling_sonde.py"] = true, ["norms_sonde.py"] = true, ["configuration_sonde.py"] = true }

-- Files that belong to one tokenizer, beside generation_config.json: they go when another one comes.
local of_tokenizer = {
  "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
  "vocab.json",
  "vocab.txt", "merges.txt", "chat_template.jinja", "chat_template.json", "generation_config.json",
}

--- Whether a file is the code for transformers that Sonde writes.
---@param name string
---@return boolean
function origin.is_code(name)
  return code[name] == true
end

--- Whether a file of a model folder stays true of another model made of it, and is carried along.
---@param name string
---@return boolean
function origin.carried(name)
  if described[name] or code[name] or name:sub(1, 1) == "." then return false end
  for _, ending in ipairs(weights) do
    if name:lower():sub(-#ending - 1) == "." .. ending then return false end
  end
  return true
end

local function read_into(o, path, name, room)
  if core.exists(path) ~= "file" then return 0 end
  local ok, bytes = pcall(core.read_file, path, math.max(1, math.floor(math.min(LARGEST, room))))
  if not ok then
    o.left[name] = bytes
    return 0
  end
  o.files[name] = bytes
  return #bytes
end

-- The files that make a tokenizer, the first that there is, and what the others are called in core.tokenizer.
local makes_tokenizer = { "tokenizer.json", "tokenizer.model", "vocab.json" }
local beside_tokenizer = {
  merges = "merges.txt", config = "tokenizer_config.json", special = "special_tokens_map.json",
  added = "added_tokens.json",
}

--- The file of a folder that its tokenizer is read from; nil if there is none, or the first of them could not be read.
---@param o sonde.origin
---@return string|nil
function origin.tokenizer_file(o)
  for _, name in ipairs(makes_tokenizer) do
    if o.files[name] or o.left[name] then return o.files[name] and name end
  end
end

--- The path of the file that the tokenizer of the folder `dir` is read from; nil if it has none.
---@param dir string
---@return string|nil
function origin.tokenizer_path(dir)
  for _, name in ipairs(makes_tokenizer) do
    if core.exists(dir .. "/" .. name) then return dir .. "/" .. name end
  end
end

--- The tokenizer of a folder, by its files alone; nil if it has none.
---@param o sonde.origin
---@return sonde.tokenizer|nil
function origin.own_tokenizer(o)
  local name = origin.tokenizer_file(o)
  if not name then return nil end
  local files = { data = o.files[name] }
  for key, other in pairs(beside_tokenizer) do files[key] = o.files[other] end
  return core.tokenizer(o.dir .. "/" .. name, files)
end

-- The one folder inside a model's that belongs to its tokenizer.
local TEMPLATES = "additional_chat_templates"

--- What the model folder `dir` holds beside weights.
---@param dir string
---@return sonde.origin
function origin.read(dir)
  local o, room = { dir = dir, config = core.json_load(dir .. "/config.json", true), files = {}, left = {} }, ALL
  for _, name in ipairs(core.list_dir(dir)) do
    if origin.carried(name) then room = room - read_into(o, dir .. "/" .. name, name, room) end
  end
  if core.exists(dir .. "/" .. TEMPLATES) == "folder" then
    for _, name in ipairs(core.list_dir(dir .. "/" .. TEMPLATES)) do
      local inside = TEMPLATES .. "/" .. name
      room = room - read_into(o, dir .. "/" .. inside, inside, room)
    end
  end
  return o
end

--- The same without what belongs to its tokenizer.
---@param o sonde.origin
---@return sonde.origin
function origin.without_tokenizer(o)
  local bare = { dir = o.dir, config = {}, files = {}, left = o.left }
  for name, value in pairs(o.config) do
    if not tokens.owns(name) then bare.config[name] = value end
  end
  for name, bytes in pairs(o.files) do
    if name:sub(1, #TEMPLATES + 1) ~= TEMPLATES .. "/" then bare.files[name] = bytes end
  end
  for _, name in ipairs(of_tokenizer) do bare.files[name] = nil end
  return bare
end

--- Why a folder made of this one would lack its tokenizer: a file of it is there and could not be read.
---@param o sonde.origin
---@return string|nil
function origin.lacks(o)
  for _, name in ipairs(of_tokenizer) do
    if o.left[name] then return o.left[name] end
  end
end

--- Gives a model made of another one what that one's folder held: name_of gives for each of its parameters the one that
--- it was.
---@param from sonde.model
---@param to sonde.model
---@param name_of? fun(name: string): string|nil
function origin.inherit(from, to, name_of)
  to.origin, to.own_tokenizer, to.read_with = from.origin, from.own_tokenizer, from.read_with
  if not from.stored then return end
  to.stored = {}
  for _, param in ipairs(to:params():list()) do
    local was = param.name
    if name_of then was = name_of(param.name) end
    to.stored[param.name] = was and from.stored[was]
  end
end

-- ---- end tokens ----------------------------------------------------------------------------------------------

--- The tokens that end a text of the model: those that the files of its folder name (arch/parts/tokens.lua), else the
--- tokenizer's end of text.
---@param model sonde.model
---@return integer[]
function origin.end_tokens(model)
  local list, text = tokens.ends(model.origin or { dir = "", config = {}, files = {} })
  if list then return list end
  local tokenizer = model:has_tokenizer() and model:tokenizer()
  if not tokenizer then return {} end
  local token = text and tokenizer:special(text) or tokenizer:eot()
  return token and { token } or {}
end

-- What ends a document, of the tokens that end a text by the files of a folder: the one that tokenizers usually have
-- for it, else the first that is a special token; nil where they say nothing of use.
local function document_end(o, tokenizer)
  local list, text = tokens.ends(o)
  if text then return tokenizer:special(text) and text or nil end
  local usual, first = tokenizer:eot(), nil
  for _, id in ipairs(list or {}) do
    if id == usual then return nil end
    local spelling = id >= 0 and id < tokenizer:vocab() and tokenizer:decode { id } or ""
    if not first and spelling ~= "" and tokenizer:special(spelling) == id then first = spelling end
  end
  return first
end

-- Of the files beside a tokenizer's, or in its folder, those that say what ends a text.
local function beside(path)
  local dir = core.exists(path) == "folder" and path or string.match(path, "^(.*)/[^/]*$") or "."
  local o, config = { dir = dir, config = {}, files = {}, left = {} }, dir .. "/config.json"
  for _, name in ipairs { "generation_config.json", "tokenizer_config.json", "special_tokens_map.json" } do
    read_into(o, dir .. "/" .. name, name, LARGEST)
  end
  if core.exists(config) == "file" then o.config = core.json_load(config, true) end
  return o
end

--- A tokenizer of a file, or of a folder that holds one, with what the folder says of where a text ends: a
--- tokenizer.json itself has no word for it.
---@param path string
---@param o? sonde.origin     that folder, where it has been read
---@return sonde.tokenizer tokenizer, string|nil end_of_text   the token, where it is not the usual one
function origin.tokenizer(path, o)
  local tokenizer = o and origin.own_tokenizer(o) or core.tokenizer(path)
  local text = document_end(o or beside(path), tokenizer)
  if text then tokenizer:end_with(text) end
  return tokenizer, text
end

return origin
