--- answer.lua - how a completion is written: as one JSON object, or in parts as server-sent events.

local core = require "sonde.core"
local clean = require("sonde.eval.pieces").clean

local answers = {}

-- Tokens that the tokenizer has: a model's vocabulary may be padded beyond it.
local function known(service, ids)
  local list = {}
  for _, id in ipairs(ids) do
    if id < service.tokenizer:vocab() then list[#list + 1] = id end
  end
  return list
end

--- The text of some tokens, special ones included.
---@param service sonde.service
---@param ids integer[]
---@param inside? boolean     they continue a text
---@return string
function answers.text_of(service, ids, inside)
  return service.tokenizer:decode(known(service, ids), false, inside)
end

-- The text of a token behind another: at the beginning of a text it may have lost a blank.
local function text_behind(service, before, id)
  return answers.text_of(service, { id }, before ~= nil)
end

-- The likeliest tokens and the token itself: text -> log-probability. Of equal texts the likelier counts.
local function top_of(service, before, id, mark, top)
  local texts = {}
  local function put(token, value)
    local text = clean(text_behind(service, before, token))
    if not texts[text] or texts[text] < value then texts[text] = value end
  end
  for j = 1, top do put(mark.tokens[j], mark.logprobs[j]) end
  put(id, mark.logprob)
  return texts
end

-- Characters of a text: bytes that continue one are none.
local function characters(text)
  return #(string.gsub(text, "[\128-\191]", ""))
end

-- What gives how many characters of a prompt's text each of its tokens is, called with them and their texts in turn.
-- Tokenizers put tokens around a text and a blank before a word that the text does not have. From where the text
-- differs otherwise, as a tokenizer may normalise it, the tokens' own characters count.
local function widths_in(service, given)
  local at = 1
  local function begins_with(text) return string.sub(given, at, at + #text - 1) == text end
  return function(id, text)
    local without_blank = string.match(text, "^ (.*)")
    local own = at and (begins_with(text) and text or without_blank and begins_with(without_blank) and without_blank
      or service.tokenizer:decode(known(service, { id }), true, true) == "" and "")
    at = own and at + #own
    return characters(own or text)
  end
end

-- Entries {token, mark} as the lists that OpenAI's API has, behind the token `before` and `offset` characters. The
-- first `n` of them are those of a prompt with the text `given`.
local function logprobs_of(service, entries, top, before, offset, n, given)
  local lists = { tokens = core.list(), token_logprobs = core.list(), top_logprobs = core.list(),
    text_offset = core.list() }
  local width_of = widths_in(service, given)
  for k, entry in ipairs(entries) do
    local id, mark = entry[1], entry[2]
    local text = id and text_behind(service, before, id) or ""
    lists.tokens[k], lists.text_offset[k] = clean(text), offset
    lists.token_logprobs[k] = mark and mark.logprob or core.null
    lists.top_logprobs[k] = mark and top_of(service, before, id, mark, top) or core.null
    offset = offset + (k <= n and width_of(id, text) or characters(text))
    if k == n then offset = characters(given) end
    before = id
  end
  return lists, offset
end

---@class sonde.answer_writer
local writer = {}
writer.__index = writer

--- What writes the answer to a request: begin, for each new token part, for each choice last, then finish. It writes
--- nothing before begin, so that a failure up to there has a status of its own.
---@param service sonde.service
---@param request userdata
---@param o table                  the fields of the request
---@param choices sonde.choice[]
---@return sonde.answer_writer
function answers.writer(service, request, o, choices)
  return setmetatable({
    service = service, request = request, o = o, choices = choices, list = core.list(), offsets = {},
    frame = { id = string.format("cmpl-%x-%d", os.time(), service.number), object = "text_completion",
      created = os.time(), model = service.name },
  }, writer)
end

local function usage_of(choices)
  local prompt, new, seen = 0, 0, {}
  for _, choice in ipairs(choices) do
    new = new + choice.count
    if not seen[choice.prompt] then prompt, seen[choice.prompt] = prompt + #choice.ids, true end
  end
  return { prompt_tokens = prompt, completion_tokens = new, total_tokens = prompt + new }
end

local function event(self, choices, usage)
  local frame = { choices = core.list(choices), usage = usage }
  for key, value in pairs(self.frame) do frame[key] = value end
  self.request:send("data: " .. core.json_encode(frame) .. "\n\n")
end

-- One choice of a part: text and entries that the parts before it did not have; the first `n` entries are the prompt's.
local function part_of(self, number, text, entries, before, finish, n)
  local o, logprobs = self.o, core.null
  if o.logprobs then
    logprobs, self.offsets[number] = logprobs_of(self.service, entries, o.logprobs, before, self.offsets[number] or 0,
      n or 0, self.choices[number].prompt_text)
  end
  return { index = number - 1, text = clean(text), logprobs = logprobs, finish_reason = finish or core.null }
end

--- The answer begins: in parts with the prompts, if they are wanted.
function writer:begin()
  if not self.o.stream then return end
  self.request:begin(200, "text/event-stream")
  for k, choice in ipairs(self.choices) do
    if self.o.echo then
      event(self, { part_of(self, k, choice.prompt_text, choice.before, nil, nil, #choice.before) })
    end
  end
end

-- The entries of a choice that no part has had, and the token before them.
local function fresh(choice)
  local first = (choice.written or 0) + 1
  local list, before = {}, choice.entries[first - 1] and choice.entries[first - 1][1] or choice.ids[#choice.ids]
  for k = first, #choice.entries do list[#list + 1] = choice.entries[k] end
  choice.written = #choice.entries
  return list, before
end

--- A new token of a choice.
---@param choice sonde.choice
---@param number integer
---@param piece string
function writer:part(choice, number, piece)
  if not self.o.stream or piece == "" and not self.o.logprobs then return end
  local entries, before = fresh(choice)
  event(self, { part_of(self, number, piece, entries, before) })
end

--- A choice is complete.
---@param choice sonde.choice
---@param number integer
---@param rest string        text that no part has had
function writer:last(choice, number, rest)
  local finish = choice.finish or "length"
  if self.o.stream then
    local entries, before = fresh(choice)
    event(self, { part_of(self, number, rest, entries, before, finish) })
    return
  end
  local entries, text, before, n = {}, choice.text, choice.ids[#choice.ids], 0
  if self.o.echo then
    text, before, n = choice.prompt_text .. text, nil, #choice.before
    for _, entry in ipairs(choice.before) do entries[#entries + 1] = entry end
  end
  for _, entry in ipairs(choice.entries) do entries[#entries + 1] = entry end
  self.list[number] = part_of(self, number, text, entries, before, finish, n)
end

--- The end of the answer.
function writer:finish()
  local usage = usage_of(self.choices)
  self.request:note(string.format("%d prompts, %d + %d tokens", #self.choices / self.o.n, usage.prompt_tokens,
    usage.completion_tokens))
  if not self.o.stream then
    self.frame.choices, self.frame.usage = self.list, usage
    return self.request:answer(200, "application/json", core.json_encode(self.frame) .. "\n")
  end
  if self.o.stream_options.include_usage then event(self, {}, usage) end
  self.request:send "data: [DONE]\n\n"
end

return answers
