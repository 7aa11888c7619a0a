--- tokens.lua - what the files of a folder say of its tokenizer: which tokens begin and end a text, and how programs
-- are to take it.

local core = require "sonde.core"

local tokens = {}

--- Whether a key of config.json belongs to the tokenizer.
---@param name string
---@return boolean
function tokens.owns(name)
  return string.find(name, "_token_ids?$") ~= nil
end

local function tokens_of(value, where)
  local list = {}
  for i, token in ipairs(type(value) == "table" and value or { value }) do
    if type(token) ~= "number" or token ~= math.floor(token) then
      error(core.where() .. where .. ": 'eos_token_id' must be a token or a list of tokens, not " .. tostring(token), 0)
    end
    list[i] = math.floor(token)
  end
  return list
end

local function decoded(o, name)
  local tree = o.files[name] and core.json_decode(o.files[name], o.dir .. "/" .. name)
  return type(tree) == "table" and tree or {}
end

--- The token that begins a text, by the files of a folder: bos_token of tokenizer_config.json, else of
--- special_tokens_map.json, else bos_token_id of config.json; nil where they say nothing.
---@param o sonde.origin
---@param tokenizer sonde.tokenizer
---@return integer|nil
function tokens.begins(o, tokenizer)
  local text = decoded(o, "tokenizer_config.json").bos_token or decoded(o, "special_tokens_map.json").bos_token
  if type(text) == "table" then text = text.content end
  local id = o.config.bos_token_id
  return type(text) == "string" and tokenizer:special(text) or type(id) == "number" and math.floor(id) or nil
end

--- The tokens that end a text, by the files of a folder: eos_token_id of generation_config.json, else of config.json,
--- each a token or a list of them; else the text that is eos_token of tokenizer_config.json, else of
--- special_tokens_map.json. nil where they say nothing.
---@param o sonde.origin
---@return integer[]|nil ids, string|nil text
function tokens.ends(o)
  local value = decoded(o, "generation_config.json").eos_token_id
  if value ~= nil then return tokens_of(value, o.dir .. "/generation_config.json") end
  value = o.config.eos_token_id
  if value ~= nil and value ~= core.null then return tokens_of(value, o.dir .. "/config.json") end
  local text = decoded(o, "tokenizer_config.json").eos_token or decoded(o, "special_tokens_map.json").eos_token
  if type(text) == "table" then text = text.content end
  return nil, type(text) == "string" and text or nil
end

--- The token that begins a text, by config.json; nil where it names none.
---@param o sonde.origin
---@return integer|nil
function tokens.first(o)
  local id = o.config.bos_token_id
  return type(id) == "number" and id >= 0 and id or nil
end

-- The token of an id, as tokenizer_config.json has it.
local function spelled(tokenizer, id)
  if type(id) == "table" then id = id[1] end
  if type(id) ~= "number" then return nil end
  local ok, text = pcall(tokenizer.decode, tokenizer, { id })
  return ok and text ~= "" and tokenizer:special(text) == id and text or nil
end

--- What tokenizer_config.json says. Without it transformers takes a Llama's tokenizer for one of another kind, and
--- gives other ids.
---@param model sonde.model
---@param tokenizer sonde.tokenizer
---@param keys table     of config.json
---@return table
function tokens.tokenizer_config(model, tokenizer, keys)
  return {
    tokenizer_class = "PreTrainedTokenizerFast", clean_up_tokenization_spaces = false,
    model_max_length = model.config.context, bos_token = spelled(tokenizer, keys.bos_token_id),
    eos_token = spelled(tokenizer, keys.eos_token_id),
  }
end

local torch_names = { f32 = "float32", bf16 = "bfloat16", f16 = "float16" }

--- Puts the dtype of a folder's weights, and the tokens of its tokenizer where none are carried along, into the keys of
--- its config.json. A model without such tokens must say so, or transformers takes 1 and 2; but one whose folder left
--- that to transformers leaves it as it was.
---@param keys table
---@param dtype string
---@param tokenizer sonde.tokenizer|nil
---@param carried boolean     whether the keys are those of the folder that the model came from
function tokens.describe(keys, dtype, tokenizer, carried)
  if keys.dtype ~= nil then keys.dtype = torch_names[dtype] end
  if keys.torch_dtype ~= nil or keys.dtype == nil then keys.torch_dtype = torch_names[dtype] end
  if keys.eos_token_id == nil and keys.bos_token_id == nil then
    local last = tokenizer and tokenizer:eot() or not carried and core.null or nil
    local first = tokenizer and tokenizer:encode(""):values()[1]      -- what it puts in front of every text
    keys.bos_token_id, keys.eos_token_id = first or last, last
  end
end

return tokens
