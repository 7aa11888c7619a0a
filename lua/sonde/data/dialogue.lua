--- dialogue.lua - rows of prompts and responses as text to learn from: which parts of it a model is to produce.
--
-- A row is one of
--   { prompt =, response = }, under several usual names
--   { messages = { { role =, content = }, .. } }, roles system, user, assistant (or ShareGPT's conversations)
-- A template makes text of it: a string that a prompt is put into, behind which the response comes, or a function of
-- the row that gives the parts.

local core = require "sonde.core"

local dialogue = {}

--- The prompt where no template is given (Alpaca's; Taori et al., 2023).
dialogue.TEMPLATE = "### Instruction:\n{prompt}\n\n### Response:\n"

---@class sonde.part
---@field text string
---@field learn boolean      whether the model is to produce it
---@field literal boolean    whether special tokens that it spells are tokens: it is the template's

local prompts = { "prompt", "instruction", "question", "query" }
local responses = { "response", "output", "completion", "answer" }
local roles = { system = "system", user = "user", human = "user", assistant = "assistant", gpt = "assistant" }

-- The first of some fields of a row that is a text.
local function field_of(row, names)
  for _, name in ipairs(names) do
    if type(row[name]) == "string" then return row[name], name end
  end
end

-- A list of turns { role, text } of a row of messages.
local function turns_of_messages(list, where)
  local turns = {}
  for k, message in ipairs(list) do
    local said = type(message) == "table" and message or {}
    local role, text = roles[said.role or said.from], said.content or said.value
    if not role or type(text) ~= "string" then
      error(where .. string.format("message %d is not {role, content} of system, user or assistant", k), 0)
    end
    turns[k] = { role, text }
  end
  return turns
end

local function turns_of(row, options, where)
  local list = row.messages or row.conversations
  if type(list) == "table" and not options.prompt then return turns_of_messages(list, where) end
  local prompt, name = field_of(row, options.prompt and { options.prompt } or prompts)
  local response = field_of(row, options.response and { options.response } or responses)
  if not prompt or not response then
    error(where .. string.format("the row has no %s as a text: %s; name the fields with prompt and response, or give a "
      .. "template that is a function", prompt and "response" or "prompt", table.concat(prompt
      and (options.response and { options.response } or responses) or (options.prompt and { options.prompt }
      or prompts), ", ")), 0)
  end
  local more = name == "instruction" and row.input
  if type(more) == "string" and more ~= "" then prompt = prompt .. "\n\n" .. more end
  return { { "user", prompt }, { "assistant", response } }
end

-- The parts of a string template: its own text, and what fields put into it.
local function filled(template, prompt, row, where)
  local parts, at = {}, 1
  local function add(text, literal)
    if text ~= "" then parts[#parts + 1] = { text = text, learn = false, literal = literal } end
  end
  for first, name, after in string.gmatch(template, "(){([%a_][%w_]*)}()") do
    local value = name == "prompt" and prompt or row[name]
    if type(value) ~= "string" then
      error(where .. "the template has {" .. name .. "}, which is no text of the row", 0)
    end
    add(string.sub(template, at, first - 1), true)
    add(value, false)
    at = after
  end
  add(string.sub(template, at), true)
  return parts
end

-- Parts by a string template: each prompt in it, each response behind it.
local function by_string(template, row, options, where)
  local parts, before = {}, ""
  for _, turn in ipairs(turns_of(row, options, where)) do
    local role, text = turn[1], turn[2]
    if role == "assistant" then
      parts[#parts + 1] = { text = text, learn = true, literal = false, ends = true }
    elseif role == "system" then
      before = before .. text .. "\n\n"
    else
      for _, part in ipairs(filled(template, before .. text, row, where)) do parts[#parts + 1] = part end
      before = ""
    end
  end
  return parts
end

-- Parts by a function of the row: a list of { text =, learn = }, or a prompt and a response.
local function by_function(template, row, where)
  local first, second = template(row)
  if type(first) == "string" and type(second) == "string" then
    return { { text = first, learn = false, literal = true }, { text = second, learn = true, literal = false,
      ends = true } }
  end
  local parts = {}
  for k, part in ipairs(type(first) == "table" and first or { false }) do
    if type(part) ~= "table" or type(part.text) ~= "string" then
      error(where .. "the template gives " .. type(first) .. "; it gives a prompt and a response, or a list of "
        .. "{ text =, learn = }", 0)
    end
    parts[k] = { text = part.text, learn = part.learn == true, literal = not part.learn, ends = part.learn == true }
  end
  return parts
end

--- Refuses a template that cannot be used, before anything is read.
---@param template string|function
function dialogue.check(template)
  if type(template) == "function" then return end
  if string.find(template, "{{", 1, true) or string.find(template, "{%", 1, true) then
    error(core.where() .. "the template is Jinja, which is not read; give a text with {prompt}, or in Lua a function "
      .. "of the row", 0)
  end
  if not string.find(template, "{[%a_][%w_]*}") then
    error(core.where() .. "the template has no {prompt}, so every prompt would be the same", 0)
  end
end

--- The parts of a row, in their order. A part that `ends` is followed by the token that ends a text.
---@param row table
---@param options {template: string|function, prompt: string|nil, response: string|nil}   prompt, response: fields
---@param where string       "FILE:LINE: "
---@return sonde.part[]
function dialogue.parts(row, options, where)
  if type(row) ~= "table" then error(where .. "the row is no object", 0) end
  local parts
  if type(options.template) == "function" then
    parts = by_function(options.template, row, where)
  else
    parts = by_string(options.template, row, options, where)
  end
  for _, part in ipairs(parts) do
    if part.learn and part.text ~= "" then return parts end
  end
  error(where .. "there is no response to learn", 0)
end

-- The first special token that a text spells from a byte on: where it begins and ends, and its id.
local function special_in(tokenizer, text, from)
  for first in string.gmatch(string.sub(text, from), "()[<%[]") do
    local at = from + first - 1
    local stop = string.find(text, string.sub(text, at, at) == "<" and ">" or "]", at, true)
    local id = stop and tokenizer:special(string.sub(text, at, stop))
    if id then return at, stop, id end
  end
end

-- Appends the ids of a stretch of text without special tokens. A token belongs to the part that it begins to differ in
-- from the text in front of it.
local function add_stretch(tokenizer, stretch, ids, learns)
  local text = table.concat(stretch.texts)
  if text == "" then return end
  local whole, taken, so_far = tokenizer:encode(text, { plain = true, bare = true }):values(), 0, ""
  for k, part in ipairs(stretch.texts) do
    so_far = so_far .. part
    local upto = #whole
    if k < #stretch.texts then
      local before = tokenizer:encode(so_far, { plain = true, bare = true }):values()
      upto = 0
      while before[upto + 1] ~= nil and before[upto + 1] == whole[upto + 1] do upto = upto + 1 end
    end
    for i = taken + 1, upto do ids[#ids + 1], learns[#learns + 1] = whole[i], stretch.learns[k] end
    taken = math.max(taken, upto)
  end
end

--- The ids of some parts, and whether each is to be learned. Special tokens that the template spells are tokens; those
-- that a row spells are text.
---@param tokenizer sonde.tokenizer
---@param parts sonde.part[]
---@param ending integer        the token that ends a text
---@return integer[] ids, boolean[] learns
function dialogue.encode(tokenizer, parts, ending)
  local ids, learns, stretch = {}, {}, { texts = {}, learns = {} }
  local function close()
    add_stretch(tokenizer, stretch, ids, learns)
    stretch = { texts = {}, learns = {} }
  end
  local function add_text(text, learn)
    if text == "" then return end
    local n = #stretch.texts
    if n > 0 and stretch.learns[n] == learn then
      stretch.texts[n] = stretch.texts[n] .. text
    else
      stretch.texts[n + 1], stretch.learns[n + 1] = text, learn
    end
  end
  local function add_token(id, learn)
    close()
    ids[#ids + 1], learns[#learns + 1] = id, learn
  end
  for _, part in ipairs(parts) do
    local from = 1
    while part.literal do
      local first, last, id = special_in(tokenizer, part.text, from)
      if not first then break end
      add_text(string.sub(part.text, from, first - 1), part.learn)
      add_token(id, part.learn)
      from = last + 1
    end
    add_text(string.sub(part.text, from), part.learn)
    if part.ends then add_token(ending, true) end
  end
  close()
  return ids, learns
end

return dialogue
