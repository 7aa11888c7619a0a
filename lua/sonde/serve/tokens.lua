--- tokens.lua - what a client asks of the tokenizer: /tokenizer_info, /tokenize, /detokenize.

local core = require "sonde.core"
local args = require "sonde.base.args"
local clean = require("sonde.eval.pieces").clean
local refusal = require "sonde.serve.refusal"
local special = require "sonde.io.arch.parts.tokens"

local tokens = {}

local JSON = "application/json"
local SHOWN = { "bos_token", "eos_token", "pad_token", "unk_token" }

local ids = { name = "tokens", type = "list", required = true, doc = "token ids",
  of = { name = "token", type = "integer", min = 0, doc = "" } }
local model_field = { name = "model", type = "string", doc = "the model's name" }

local takes = {
  tokenize = {
    model_field, { name = "prompt", type = "string", required = true, doc = "the text" },
    { name = "add_special_tokens", type = "boolean", preset = true,
      doc = "with what the tokenizer puts around a text" },
  },
  detokenize = { model_field, ids },
}

--- Checks the body of a request against a schema.
---@param schema sonde.schema
---@param body table
---@return table
function tokens.check(schema, body)
  local ok, result = pcall(args.check, schema, body, "the request", function() return "" end)
  if ok then return result end
  local text = tostring(result)
  refusal.raise(400, text, string.match(text, "option '([%w_]+)"))
end

--- Refuses a request for another model.
---@param service sonde.service
---@param name string|nil
function tokens.check_model(service, name)
  if name == nil or name == service.name or name == service.dir then return end
  refusal.raise(404, "there is no model '" .. name .. "' here; this server has '" .. service.name .. "'", "model",
    "model_not_found")
end

--- Refuses ids that are no tokens of the model.
---@param service sonde.service
---@param list integer[]
---@param param string
function tokens.check_ids(service, list, param)
  for _, id in ipairs(list) do
    if id < 0 or id >= service.model.config.vocab then
      refusal.raise(400, string.format("token %.0f is outside the vocabulary of %d", id, service.model.config.vocab),
        param)
    end
  end
end

--- What /tokenizer_info gives: the special tokens' texts and the chat template, as tokenizer_config.json has them.
---@param service sonde.service
---@return table
function tokens.info(service)
  local files = service.model.origin and service.model.origin.files or {}
  local function decoded(name)
    local ok, tree = pcall(core.json_decode, files[name] or "{}", name)
    return ok and type(tree) == "table" and tree or {}
  end
  local config, map = decoded "tokenizer_config.json", decoded "special_tokens_map.json"
  local info = { model_max_length = service.context }
  for _, name in ipairs(SHOWN) do
    local value = config[name] or map[name]
    if type(value) == "table" then value = value.content end
    info[name] = type(value) == "string" and value or nil
  end
  local ends = service.model:end_tokens()
  if not info.eos_token and ends[1] and ends[1] >= 0 then
    info.eos_token = clean(service.tokenizer:decode { ends[1] })
  end
  local first = special.first(service.model.origin or { dir = "", config = {}, files = {} })
  if not info.bos_token and first then info.bos_token = clean(service.tokenizer:decode { first }) end
  info.eos_token = info.eos_token or core.null
  if type(config.chat_template) == "string" then info.chat_template = config.chat_template end
  return info
end

--- The answer to POST /tokenize.
function tokens.tokenize(service, request, body)
  local o = tokens.check(takes.tokenize, body)
  tokens.check_model(service, o.model)
  local list = service.tokenizer:encode(o.prompt, { bare = not o.add_special_tokens }):values()
  request:note(#list .. " tokens")
  request:answer(200, JSON, core.json_encode { count = #list, max_model_len = service.context,
    tokens = core.list(list) } .. "\n")
end

--- The answer to POST /detokenize.
function tokens.detokenize(service, request, body)
  local o = tokens.check(takes.detokenize, body)
  tokens.check_model(service, o.model)
  tokens.check_ids(service, o.tokens, "tokens")
  request:note(#o.tokens .. " tokens")
  request:answer(200, JSON, core.json_encode { prompt = clean(service.tokenizer:decode(o.tokens)) } .. "\n")
end

return tokens
