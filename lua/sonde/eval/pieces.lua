--- pieces.lua - the text of tokens that come one by one: whole characters, and where a text that ends it begins.
--
-- What a token adds to a text may depend on the tokens before it, and a character may be spread over several tokens. So
-- a few tokens are decoded together, and what they had given before is taken away.

local clean = require("sonde.report.html").clean      -- bytes that are no character become U+FFFD

local pieces = {}

local REPLACEMENT = "\239\191\189"

--- A text as JSON takes it: UTF-8 without zero bytes. Other control characters stay.
---@param text string
---@return string
function pieces.clean(text)
  return (string.gsub(text, "[^\1-\8\11\12\14-\31\127]+", clean))
end

--- How many bytes of a text are whole characters, if there is a part of one at its end.
---@param text string
---@return integer
function pieces.whole(text)
  for k = 1, math.min(3, #text) do
    local byte = string.byte(text, -k)
    if byte < 0x80 then break end
    if byte >= 0xC0 then
      local length = byte >= 0xF0 and 4 or byte >= 0xE0 and 3 or 2
      return k < length and #text - k or #text
    end
  end
  return #text
end

--- Where a text ends, by the first of some texts in it: nil where none is.
---@param texts string[]
---@param text string
---@return integer|nil
function pieces.first_of(texts, text)
  local first
  for _, word in ipairs(texts) do
    local at = string.find(text, word, 1, true)
    if at and (not first or at < first) then first = at end
  end
  return first
end

-- How many bytes at the end of a text may be the beginning of one of some texts.
local function begun_at_end(texts, text)
  local most = 0
  for _, word in ipairs(texts) do
    for n = math.min(#word - 1, #text), most + 1, -1 do
      if string.sub(text, -n) == string.sub(word, 1, n) then
        most = n
        break
      end
    end
  end
  return most
end

--- The text of tokens that continue others, up to the first of some texts. What may be the beginning of such a text,
--- and an incomplete character, is kept back until what follows is known.
---@class sonde.text_stream
---@field ended boolean     one of the texts has been found
local stream = {}
stream.__index = stream

local CONTEXT, LONGEST = 4, 8      -- tokens that are decoded with the new ones; new ones that may be one character

--- A new one.
---@param tokenizer sonde.tokenizer
---@param prompt integer[]      the tokens that are continued
---@param stops string[]
---@return sonde.text_stream
function pieces.stream(tokenizer, prompt, stops)
  local before = {}
  for k = math.max(1, #prompt - CONTEXT + 1), #prompt do before[#before + 1] = prompt[k] end
  return setmetatable({ tokenizer = tokenizer, before = before, new = {}, stops = stops, waiting = "",
    ended = false }, stream)
end

-- The text of the new tokens behind those before them; nothing yet while they end within a character.
local function decoded(self, last)
  local all, tokenizer = {}, self.tokenizer
  for k, id in ipairs(self.before) do all[k] = id end
  for _, id in ipairs(self.new) do all[#all + 1] = id end
  local head, text = tokenizer:decode(self.before, true, true), tokenizer:decode(all, true, true)
  local open = pieces.whole(text) < #text or string.sub(text, -#REPLACEMENT) == REPLACEMENT
  if open and not last and #self.new < LONGEST then return "" end
  if string.sub(text, 1, #head) == head then text = string.sub(text, #head + 1)
  else text = tokenizer:decode(self.new, true, true) end
  self.before, self.new = self.new, {}
  return text
end

-- Adds text that is known; returns the part of it that no later token can take back.
local function settled(self, text, last)
  text = self.waiting .. text
  local stop = pieces.first_of(self.stops, text)
  local cut = stop and stop - 1 or last and #text or #text - begun_at_end(self.stops, text)
  self.ended, self.waiting = stop ~= nil, stop and "" or string.sub(text, cut + 1)
  return string.sub(text, 1, cut)
end

--- Takes the next token; returns the text that is now certain.
---@param token integer
---@return string
function stream:add(token)
  if self.ended then return "" end
  self.new[#self.new + 1] = token
  return settled(self, decoded(self, false), false)
end

--- What was kept back: no further token comes.
---@return string
function stream:finish()
  if self.ended then return "" end
  return settled(self, #self.new > 0 and decoded(self, true) or "", true)
end

return pieces
