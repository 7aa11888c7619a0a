--- text.lua - strings as Python takes them: what the prompts of published results are made with.

local core = require "sonde.core"

local text = {}

-- Python's white space beyond ASCII.
local wide = { ["\194\133"] = true, ["\194\160"] = true, ["\225\154\128"] = true, ["\226\128\168"] = true,
  ["\226\128\169"] = true, ["\226\128\175"] = true, ["\226\129\159"] = true, ["\227\128\128"] = true }
for last = 128, 138 do wide["\226\128" .. string.char(last)] = true end

local ASCII = "[\t-\r\28-\31 ]"

-- Bytes of white space at byte `at`, or that end there.
local function space_from(s, at)
  if string.find(s, "^" .. ASCII, at) then return 1 end
  for n = 2, 3 do
    if wide[string.sub(s, at, at + n - 1)] then return n end
  end
end

local function space_to(s, at)
  if string.find(string.sub(s, at, at), ASCII) then return 1 end
  for n = 2, 3 do
    if at >= n and wide[string.sub(s, at - n + 1, at)] then return n end
  end
end

--- str.lstrip(): without white space at the start.
---@param s string
---@return string
function text.lstrip(s)
  local at = 1
  while at <= #s do
    local n = space_from(s, at)
    if not n then break end
    at = at + n
  end
  return string.sub(s, at)
end

--- str.rstrip(), and what it leaves out.
---@param s string
---@return string, string
function text.rstrip(s)
  local at = #s
  while at > 0 do
    local n = space_to(s, at)
    if not n then break end
    at = at - n
  end
  return string.sub(s, 1, at), string.sub(s, at + 1)
end

--- str.strip(): without white space at both ends.
---@param s string
---@return string
function text.strip(s)
  return (text.rstrip(text.lstrip(s)))
end

--- len(str): code points.
---@param s string
---@return integer
function text.length(s)
  local _, n = string.gsub(s, "[^\128-\191]", "")
  return n
end

--- Pieces of re.split(r"\s+"): empty ones at both ends count.
---@param s string
---@return integer
function text.words(s)
  local n, at, inside = 1, 1, false
  while at <= #s do
    local space = space_from(s, at)
    if space and not inside then n = n + 1 end
    inside, at = space ~= nil, at + (space or 1)
  end
  return n
end

--- str.replace: every occurrence, from the left.
---@param s string
---@param old string
---@param new string
---@return string
function text.replace(s, old, new)
  local parts, at = {}, 1
  while true do
    local first, last = string.find(s, old, at, true)
    if not first then break end
    parts[#parts + 1] = string.sub(s, at, first - 1)
    parts[#parts + 1] = new
    at = last + 1
  end
  parts[#parts + 1] = string.sub(s, at)
  return table.concat(parts)
end

-- Of each stretch from `open` to the next `close`, what is between them without white space at its ends.
local function tighten(s, open, close)
  local parts, at = {}, 1
  while true do
    local first = string.find(s, open, at, true)
    local last = first and string.find(s, close, first + 1, true)
    if not last then break end
    parts[#parts + 1] = string.sub(s, at, first)
    parts[#parts + 1] = text.strip(string.sub(s, first + 1, last - 1))
    parts[#parts + 1], at = close, last + 1
  end
  parts[#parts + 1] = string.sub(s, at)
  return table.concat(parts)
end

--- What is done to a whole text, by its name in a task file.
---@type table<string, fun(s: string): string>
text.cleaners = {}

--- HellaSwag's texts of wikiHow carry marks in brackets.
function text.cleaners.hellaswag(s)
  s = text.replace(text.strip(s), " [title]", ". ")
  s = string.gsub(s, "%[[^%]\n]*%]", "")
  return text.replace(s, "  ", " ")
end

--- WikiText's tokens as plain text.
function text.cleaners.wikitext(s)
  local function each(list)
    for k = 1, #list, 2 do s = text.replace(s, list[k], list[k + 1]) end
  end
  each { "s '", "s'" }
  s = string.gsub(s, "/' [0-9]/", "/'[0-9]/")
  each { " @-@ ", "-", " @,@ ", ",", " @.@ ", ".", " : ", ": ", " ; ", "; ", " . ", ". ", " ! ", "! ", " ? ", "? ",
    " , ", ", " }
  for _, pair in ipairs { "()", "[]", "{}", "\"\"", "''" } do s = tighten(s, pair:sub(1, 1), pair:sub(2)) end
  each { "= = = =", "====", "= = =", "===", "= =", "==", " \194\176 ", "\194\176", " \n", "\n", "\n ", "\n",
    " N ", " 1 ", " 's", "'s" }
  return s
end

local connectives = { cause = "because", effect = "therefore" }

--- Filters of a column's text, {column|name}.
---@type table<string, fun(s: string): string|nil>
text.filters = {
  strip = text.strip, lstrip = text.lstrip, capitalize = core.capitalize,
  drop_last = function(s) return (string.gsub(s, "[^\128-\191][\128-\191]*$", "")) end,
  lower_first = function(s)
    local first, rest = string.match(s, "^(.[\128-\191]*)(.*)$")
    return first and core.lower(first) .. rest or s
  end,
  words = function(s) return (string.gsub(s, "_", " ")) end,
  connective = function(s) return connectives[s] end,
  before_blank = function(s) return string.match(s, "^(.-)_") end,
  after_blank = function(s) return string.match(s, "^.-_(.*)$") end,
  but_last_word = function(s) return string.match(s, "^(.*) [^ ]*$") or "" end,
  last_word = function(s) return string.match(s, "([^ ]*)$") end,
}

return text
