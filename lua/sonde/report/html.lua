--- html.lua - builds HTML from Lua values. It is well-formed XML too, so that a parser can check it.

local sorted_keys = require "sonde.base.sorted_keys"

local html = {}

local ENTITY = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ["\""] = "&quot;", ["'"] = "&#39;" }

-- Lengths of UTF-8 sequences by their first byte, 0 where none begins.
local function sequence_length(byte)
  if byte < 0x80 then return 1 end
  if byte >= 0xC2 and byte < 0xE0 then return 2 end
  if byte >= 0xE0 and byte < 0xF0 then return 3 end
  if byte >= 0xF0 and byte < 0xF5 then return 4 end
  return 0
end

--- Text that XML allows: a control character, and every byte that is no part of UTF-8, becomes U+FFFD.
---@param text any
---@return string
function html.clean(text)
  text = tostring(text):gsub("[%z\1-\8\11\12\14-\31\127]", "\239\191\189")
  if not text:find("[\128-\255]") then return text end
  local out, k = {}, 1
  while k <= #text do
    local length = sequence_length(text:byte(k))
    local piece = text:sub(k, k + length - 1)
    if length > 0 and #piece == length and not piece:find("[^\128-\191]", 2) then
      out[#out + 1] = piece
      k = k + length
    else
      out[#out + 1] = "\239\191\189"
      k = k + 1
    end
  end
  return table.concat(out)
end

--- Escapes text for a place between tags or inside a quoted attribute.
---@param text any
---@return string
function html.escape(text)
  return (html.clean(text):gsub("[&<>\"']", ENTITY))
end

local VOID = { meta = true, br = true, hr = true, img = true, link = true }

--- An element. Strings among the children are taken as markup (escape them first); attributes are escaped and
--- written in the order of their names.
---@param tag string
---@param attributes table<string, any>|nil
---@param ... string|string[] children
---@return string
function html.element(tag, attributes, ...)
  local out = { "<", tag }
  for _, name in ipairs(sorted_keys(attributes)) do
    out[#out + 1] = (" %s=\"%s\""):format(name, html.escape(attributes[name]))
  end
  if VOID[tag] then return table.concat(out) .. "/>" end
  out[#out + 1] = ">"
  for k = 1, select("#", ...) do
    local child = select(k, ...)
    out[#out + 1] = type(child) == "table" and table.concat(child) or child
  end
  out[#out + 1] = "</" .. tag .. ">"
  return table.concat(out)
end

-- Whether a column holds words: no text in it begins with a number, and there is any.
local function is_of_words(rows, k)
  local any = false
  for _, row in ipairs(rows) do
    local text = row[k] or ""
    if text:find "^[+-]?%d" or text:find "^−%d" then return false end
    any = any or text:find "%a" ~= nil
  end
  return any
end

--- A table of texts; the first of a row is its heading. Columns of words are of the class words.
---@param class string
---@param head string[]
---@param rows string[][]
---@return string
function html.table(class, head, rows)
  local top, body = {}, {}
  local kind = {}
  for k, title in ipairs(head) do
    kind[k] = is_of_words(rows, k) and "words" or nil
    top[k] = html.element("th", { scope = "col", class = kind[k] }, html.escape(title))
  end
  for r, row in ipairs(rows) do
    local cells = { html.element("th", { scope = "row" }, html.escape(row[1])) }
    for k = 2, #row do cells[k] = html.element("td", kind[k] and { class = kind[k] }, html.escape(row[k])) end
    body[r] = html.element("tr", nil, cells) .. "\n"
  end
  return html.element("div", { class = "scroll" }, html.element("table", { class = class }, html.element("thead", nil,
    html.element("tr", nil, top)),
    html.element("tbody", nil, body)))
end

--- A path as a relative address: every byte that has a meaning in addresses is written as %XX.
---@param path string
---@return string
function html.path(path)
  return (path:gsub("[^A-Za-z0-9%-%._~/=,]", function(c) return ("%%%02X"):format(c:byte()) end))
end

--- A `data:` address that holds the text itself, to be downloaded without a network.
---@param kind string media type
---@param text string
---@return string
function html.data_uri(kind, text)
  local body = text:gsub("[^A-Za-z0-9%-%._~,]", function(c) return ("%%%02X"):format(c:byte()) end)
  return "data:" .. kind .. ";charset=utf-8," .. body
end

return html
