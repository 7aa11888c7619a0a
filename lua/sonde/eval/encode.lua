--- encode.lua - texts to score as token ids: where a context ends and what stands in front of a text, as
-- lm-evaluation-harness has it for models of transformers.

local core = require "sonde.core"
local text = require "sonde.eval.text"

local encode = {}
local class = {}
class.__index = class

-- The token in front of a text that has none: what begins a text, else what ends one.
local function find_prefix(model, tokenizer)
  local begins = require("sonde.io.arch.parts.tokens").begins(model.origin or { dir = "", config = {}, files = {} },
    tokenizer)
  if begins then return begins end
  local origin = require "sonde.io.origin"
  return origin.end_tokens(model)[1] or tokenizer:eot()
end

--- How texts become ids.
---@param model sonde.model
---@param options {tokenizer: sonde.tokenizer|nil, add_bos: boolean|nil, prefix: integer|nil}   add_bos: nil is what the
---  tokenizer does by itself
---@return table encoder
function encode.new(model, options)
  local vocab = model.config and model.config.vocab
  if options.prefix and vocab and options.prefix >= vocab then
    error(core.where() .. string.format("the prefix token %.0f is outside the model's vocabulary of %d", options.prefix,
      vocab), 0)
  end
  local tokenizer = options.tokenizer or model:tokenizer()
  local self = setmetatable({ tokenizer = tokenizer, add_bos = options.add_bos }, class)
  self.prefix = options.prefix or find_prefix(model, tokenizer)
  self.prefix_text = self.prefix and tokenizer:decode { self.prefix } or ""
  return self
end

-- A text with what the tokenizer puts around it; one that spells the prefix already gets none.
local function ids_of(self, s)
  local bare = self.add_bos == false
    or self.prefix_text ~= "" and string.sub(s, 1, #self.prefix_text) == self.prefix_text
  local ids = self.tokenizer:encode(s, { bare = bare }):values()
  if self.add_bos and not bare and ids[1] ~= self.prefix then table.insert(ids, 1, self.prefix) end
  return ids
end

local function need_prefix(self, where)
  if self.prefix then return end
  error(where .. "the context is empty, and neither the tokenizer nor the model's files name a token that begins or "
    .. "ends a text; give --prefix-token", 0)
end

local function tail(ids, first)
  local list = {}
  for k = first, #ids do list[k - first + 1] = ids[k] end
  return list
end

--- Texts to score: {context, continuation} each. White space at the end of a context goes to the continuation, whose
--- ids are those of both behind as many as the context has alone.
---@param pairs_of string[][]
---@param where string           "FILE:LINE: "
---@return sonde.request[]
function class:pairs(pairs_of, where)
  local requests, contexts = {}, {}
  for k, pair in ipairs(pairs_of) do
    local context, continuation = pair[1], pair[2]
    local request
    if context == "" then
      need_prefix(self, where)
      local ids = self.tokenizer:encode(continuation, { bare = true }):values()
      request = { context = { self.prefix }, continuation = ids[1] == self.prefix and tail(ids, 2) or ids }
    else
      local kept, blank = text.rstrip(context)
      contexts[kept] = contexts[kept] or ids_of(self, kept)
      local whole = ids_of(self, kept .. blank .. continuation)
      request = { context = contexts[kept], continuation = tail(whole, #contexts[kept] + 1) }
    end
    if #request.context == 0 then error(where .. "the context has no tokens", 0) end
    if #request.continuation == 0 then
      error(where .. "'" .. continuation .. "' has no tokens of its own behind its context", 0)
    end
    requests[k] = request
  end
  return requests
end

--- A text cut into windows in which every token is predicted once: behind the prefix first, then behind the token
--- before the window; the last window is filled up with tokens before it.
---@param s string
---@param longest integer    tokens that the model takes
---@param where string
---@return sonde.request[]
function class:windows(s, longest, where)
  local requests = {}
  if s == "" then return requests end
  need_prefix(self, where)
  local ids = ids_of(self, s)
  for first = 1, #ids, longest do
    local last = math.min(#ids, first + longest - 1)
    local context, continuation = {}, {}
    if first == 1 then
      context[1] = self.prefix
    else
      for k = last - longest, first - 1 do context[#context + 1] = ids[k] end
    end
    for k = first, last do continuation[#continuation + 1] = ids[k] end
    requests[#requests + 1] = { context = context, continuation = continuation }
  end
  return requests
end

return encode
