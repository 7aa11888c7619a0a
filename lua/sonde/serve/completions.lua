--- completions.lua - POST /v1/completions: what a request asks, and the computation.
--
-- Prompts are texts or token ids, one or several. A prompt whose log-probabilities are wanted (echo and logprobs) takes
-- one forward pass, whose last logits choose the one new token that scoring clients ask for; else prompts are continued
-- by sonde.generate.

local rotation = require "sonde.model.rotation"
local answers = require "sonde.serve.answer"
local generate = require "sonde.eval.generate"
local generate_check = require "sonde.eval.generate_check"
local pieces = require "sonde.eval.pieces"
local refusal = require "sonde.serve.refusal"
local tokens = require "sonde.serve.tokens"

local completions = {}

local MOST_LOGPROBS, MOST_STOPS = 100, 16

local anything = { name = "entry", type = "any", doc = "" }

--- The fields of a request, as OpenAI's API names them; top_k, stop_token_ids, ignore_eos and add_special_tokens as
--- vLLM does.
---@type sonde.schema
completions.schema = {
  { name = "model", type = "string", doc = "the model's name" },
  { name = "prompt", type = "string|list", required = true, of = anything,
    doc = "a text, a list of texts, a list of token ids, or a list of those" },
  { name = "max_tokens", type = "integer", min = 0, max = 2 ^ 30, preset = 16, doc = "new tokens, at most" },
  { name = "temperature", type = "number", min = 0, max = 1e6, preset = 1, doc = "0: always the likeliest token" },
  { name = "top_p", type = "number", min = 0, max = 1, preset = 1, doc = "as of sonde generate" },
  { name = "top_k", type = "integer", min = -1, preset = 0, doc = "as of sonde generate; -1: all" },
  { name = "seed", type = "integer", doc = "of the choices; default: another one for each request" },
  { name = "n", type = "integer", min = 1, max = 128, preset = 1, doc = "continuations of each prompt" },
  { name = "best_of", type = "integer", doc = "must be n" },
  { name = "echo", type = "boolean", preset = false, doc = "give the prompt, too" },
  { name = "logprobs", type = "integer", min = 0, max = MOST_LOGPROBS,
    doc = "give log-probabilities, and those of the so many likeliest tokens" },
  { name = "stop", type = "string|list", of = { name = "stop", type = "string", doc = "" },
    doc = "texts that end a continuation" },
  { name = "stop_token_ids", type = "list", preset = {}, of = { name = "token", type = "integer", min = 0, doc = "" },
    doc = "tokens that end it, beside the model's" },
  { name = "ignore_eos", type = "boolean", preset = false, doc = "the model's end tokens end nothing" },
  { name = "add_special_tokens", type = "boolean", preset = true,
    doc = "texts get what the tokenizer puts around them" },
  { name = "stream", type = "boolean", preset = false, doc = "answer in parts (server-sent events)" },
  { name = "stream_options", type = "table", preset = {}, doc = "of stream", fields = {
    { name = "include_usage", type = "boolean", preset = false, doc = "a last part with the numbers of tokens" },
  } },
  { name = "user", type = "string", doc = "not used" },
  { name = "suffix", type = "string", doc = "not supported" },
  { name = "presence_penalty", type = "number", preset = 0, doc = "must be 0" },
  { name = "frequency_penalty", type = "number", preset = 0, doc = "must be 0" },
  { name = "logit_bias", type = "table", preset = {}, doc = "must be empty" },
}

-- ---- what is asked
-- -------------------------------------------------------------------------------------------------------

-- Fields of OpenAI's that would change the answer.
local function refuse_unsupported(o)
  local function refuse(name, why) refusal.raise(400, "'" .. name .. "' " .. why, name) end
  for _, name in ipairs { "presence_penalty", "frequency_penalty" } do
    if o[name] ~= 0 then refuse(name, "is not supported here: it must be 0") end
  end
  if next(o.logit_bias) then refuse("logit_bias", "is not supported here: it must be empty") end
  if o.suffix and o.suffix ~= "" then refuse("suffix", "is not supported here: leave it out") end
  if o.best_of and o.best_of ~= o.n then refuse("best_of", "must be n here, or left out") end
end

local function is_ids(list)
  for _, id in ipairs(list) do
    if type(id) ~= "number" or id ~= math.floor(id) then return false end
  end
  return #list > 0
end

-- One prompt as {ids, text}; the text of ids is left to who needs it.
local function prompt_of(service, given, o, number)
  local function refuse(why) refusal.raise(400, string.format("prompt %d %s", number, why), "prompt") end
  if type(given) == "string" then
    local ids = service.tokenizer:encode(given, { bare = not o.add_special_tokens }):values()
    if #ids == 0 then refuse "has no token; a prompt needs at least one" end
    return { ids = ids, text = given }
  end
  if type(given) ~= "table" or not is_ids(given) then refuse "is neither a text nor a list of token ids" end
  local ids = {}
  for k, id in ipairs(given) do ids[k] = math.floor(id) end
  tokens.check_ids(service, ids, "prompt")
  return { ids = ids }
end

local function prompts_of(service, o)
  local given = o.prompt
  if type(given) == "string" or is_ids(given) then given = { given } end
  if #given == 0 then refusal.raise(400, "'prompt' is an empty list", "prompt") end
  if #given * o.n > service.max_prompts then
    refusal.raise(400, string.format("%d prompts, n = %d: a request has at most %d continuations here", #given, o.n,
      service.max_prompts), "prompt")
  end
  local prompts = {}
  for k, each in ipairs(given) do prompts[k] = prompt_of(service, each, o, k) end
  return prompts
end

-- A prompt that is only scored may be one token longer: nothing is computed from its last token.
local function check_lengths(service, prompts, o)
  local scoring = o.max_tokens == 0 or o.max_tokens == 1 and o.echo and o.logprobs and o.temperature == 0
  for k, prompt in ipairs(prompts) do
    local most = scoring and service.context + 1 or service.context - o.max_tokens
    if #prompt.ids > most then
      refusal.raise(400, string.format("prompt %d has %d tokens, and max_tokens is %d; the model reads %d tokens "
        .. "together", k, #prompt.ids, o.max_tokens, service.context), "prompt", "context_length_exceeded")
    end
    local limit = rotation.between(service.model, #prompt.ids, #prompt.ids + o.max_tokens - 1)
    if limit then
      refusal.raise(400, string.format("prompt %d has %d tokens, and with max_tokens %d it passes %d, from where the "
        .. "model rotates positions in another way", k, #prompt.ids, o.max_tokens, limit), "prompt",
        "context_length_exceeded")
    end
  end
end

local function stops_of(service, o)
  local texts, list, set = type(o.stop) == "string" and { o.stop } or o.stop or {}, {}, {}
  if #texts > MOST_STOPS then
    refusal.raise(400, "'stop' has " .. #texts .. " texts; at most " .. MOST_STOPS .. " are possible", "stop")
  end
  for _, text in ipairs(texts) do
    if text == "" then refusal.raise(400, "'stop' has an empty text", "stop") end
  end
  local function add(token)
    if token >= 0 and not set[token] then set[token], list[#list + 1] = true, token end
  end
  for _, token in ipairs(o.ignore_eos and {} or service.model:end_tokens()) do add(token) end
  tokens.check_ids(service, o.stop_token_ids, "stop_token_ids")
  for _, token in ipairs(o.stop_token_ids) do add(token) end
  return texts, list, set
end

local function parse(service, body)
  local o = tokens.check(completions.schema, body)
  tokens.check_model(service, o.model)
  refuse_unsupported(o)
  local prompts = prompts_of(service, o)
  check_lengths(service, prompts, o)
  return o, prompts
end

-- ---- the computation
-- -----------------------------------------------------------------------------------------------------

---@class sonde.choice
---@field ids integer[]         the prompt
---@field prompt_text string
---@field before table[]        {token, its log-probabilities or false} of the prompt, with echo and logprobs
---@field stream sonde.text_stream
---@field text string           what came behind the prompt
---@field entries table[]       {token, its log-probabilities}
---@field count integer         new tokens
---@field finish string|nil     "stop" or "length", when it is complete

local function choices_of(service, prompts, o, stop_texts)
  local choices = {}
  for _, prompt in ipairs(prompts) do
    prompt.text = prompt.text or o.echo and answers.text_of(service, prompt.ids) or ""
    for _ = 1, o.n do
      choices[#choices + 1] = {
        ids = prompt.ids, prompt_text = prompt.text, prompt = prompt, text = "", entries = {}, before = {}, count = 0,
        stream = pieces.stream(service.tokenizer, prompt.ids, stop_texts),
      }
    end
  end
  return choices
end

-- Takes a new token of a choice; `piece` is the text that it settles.
local function take(choice, token, piece, mark, stops)
  choice.count = choice.count + 1
  choice.text = choice.text .. piece
  if mark then choice.entries[#choice.entries + 1] = { token, mark } end
  if stops[token] or choice.stream.ended then choice.finish = "stop" end
end

-- The log-probabilities of the prompts, and with one greedy token to come that token.
local function score(service, request, prompts, choices, o, stops)
  local sequences, marks = {}, {}
  for k, prompt in ipairs(prompts) do sequences[k] = prompt.ids end
  local scored = service.scorer:score(sequences, math.max(1, o.logprobs), function() return request:gone() end)
  refusal.check_client(request)
  for k, each in ipairs(scored) do marks[prompts[k]] = each end
  for _, choice in ipairs(choices) do
    local known = marks[choice.prompt]
    for i, id in ipairs(choice.ids) do choice.before[i] = { id, known[i] } end
    if o.max_tokens == 1 and o.temperature == 0 then
      local last = known[#choice.ids + 1]
      if last then
        local token = last.tokens[1]
        local piece = stops[token] and "" or choice.stream:add(token)
        take(choice, token, piece, { logprob = last.logprobs[1], tokens = last.tokens, logprobs = last.logprobs },
          stops)
        choice.finish = choice.finish or "length"
      elseif #choice.ids > service.context then
        choice.entries[1] = { nil, false }      -- the model does not read that far; the client drops this entry
        choice.finish = "length"
      end                                       -- else the last token was not read, and it is continued
    end
  end
end

-- Continues the choices that are not finished while there is a client; `sink` gets each with its new text and entry.
local function continue(service, request, choices, o, stops, list, sink)
  local sequences, open, new = {}, {}, {}
  for k, choice in ipairs(choices) do
    if not choice.finish then
      open[#open + 1], sequences[#open + 1] = k, choice.ids
    end
  end
  if #open == 0 then return end
  if o.max_tokens > 1 and not service.checked then      -- once: the weights stay as they are
    generate_check.run(service.model, math.min(service.context, generate_check.TOKENS))
    service.checked = true
  end
  generate.tokens(service.model, sequences, {
    tokens = o.max_tokens, temperature = o.temperature, top_p = o.top_p, top_k = math.max(0, o.top_k),
    seed = o.seed or os.time() % 2 ^ 31 * 65536 + service.number % 65536, stop = list, dtype = service.dtype,
    logprobs = o.logprobs, checked = true,
    ends = function(place, token)
      local number = open[place]
      new[number] = choices[number].stream:add(token)
      return choices[number].stream.ended
    end,
    each = function(tokens_of, group, marks)
      for r, place in ipairs(group) do
        local number = open[place]
        local choice = choices[number]
        if not choice.finish then
          take(choice, tokens_of[r], new[number] or "", marks and marks[r], stops)
          sink(choice, number, new[number] or "")
          new[number] = nil
        end
      end
      return request:gone()
    end,
  })
  refusal.check_client(request)
end

--- The answer to POST /v1/completions.
---@param service sonde.service
---@param request userdata
---@param body table
function completions.answer(service, request, body)
  local o, prompts = parse(service, body)
  if o.seed and (o.seed < 0 or o.seed >= 2 ^ 53) then
    refusal.raise(400, "'seed' must be between 0 and 2^53", "seed")
  end
  local stop_texts, list, stops = stops_of(service, o)
  local choices = choices_of(service, prompts, o, stop_texts)
  local writer = answers.writer(service, request, o, choices)
  if o.echo and o.logprobs then score(service, request, prompts, choices, o, stops) end
  writer:begin()
  if o.max_tokens > 0 then
    continue(service, request, choices, o, stops, list, function(choice, number, piece)
      writer:part(choice, number, piece)
    end)
  end
  for k, choice in ipairs(choices) do
    local rest = choice.stream:finish()
    choice.text = choice.text .. rest
    if choice.stream.ended then choice.finish = "stop" end
    writer:last(choice, k, rest)
  end
  writer:finish()
end

return completions
