--- format.lua - numbers and words as people read them: durations, columns of a width, words of a command line.

local format = {}

--- Whether a value is a number, and neither infinite nor NaN.
---@param v any
---@return boolean
function format.finite(v)
  return type(v) == "number" and v - v == 0
end

--- "38 s", "2 min 05 s", "1 h 20 min"; "" for nil.
---@param seconds number|nil
---@return string
function format.duration(seconds)
  if not seconds then return "" end
  if seconds < 59.5 then return string.format(seconds < 9.95 and "%.1f s" or "%.0f s", seconds) end
  if seconds < 3600 then
    return string.format("%d min %02d s", math.floor(seconds / 60), math.floor(seconds % 60))
  end
  return string.format("%d h %02d min", math.floor(seconds / 3600), math.floor(seconds % 3600 / 60))
end

--- A number of parameters in three digits: "28.3 k", "1.79 M", "7 B".
---@param n number
---@return string
function format.size(n)
  if n >= 999.5e6 then return string.format("%.3g B", n / 1e9) end
  return n >= 999.5e3 and string.format("%.3g M", n / 1e6) or string.format("%.3g k", n / 1e3)
end

--- How many columns a text takes: bytes that continue a UTF-8 sequence take none.
---@param s string
---@return integer
function format.width(s)
  return #(string.gsub(s, "[\128-\191]", ""))
end

--- A text with blanks behind it, or in front of it, up to a width.
---@param s string
---@param width integer
---@param right? boolean     the blanks are in front
---@return string
function format.padded(s, width, right)
  local blanks = string.rep(" ", width - format.width(s))
  return right and blanks .. s or s .. blanks
end

--- Rows of texts as lines of aligned columns, two blanks between them and none at the end.
---@param rows string[][]
---@param left? integer      so many columns have their texts at the left, the others at the right; default: all
---@return string[]
function format.columns(rows, left)
  local widths, lines = {}, {}
  for _, row in ipairs(rows) do
    for k, cell in ipairs(row) do widths[k] = math.max(widths[k] or 0, format.width(cell)) end
  end
  for r, row in ipairs(rows) do
    local cells = {}
    for k, cell in ipairs(row) do cells[k] = format.padded(cell, widths[k], left and k > left) end
    lines[r] = string.gsub(table.concat(cells, "  "), "%s+$", "")
  end
  return lines
end

--- The same with two blanks in front of each line.
---@param rows string[][]
---@param left? integer
---@return string[]
function format.indented(rows, left)
  local lines = format.columns(rows, left)
  for k, line in ipairs(lines) do lines[k] = "  " .. line end
  return lines
end

--- A word as a shell takes it.
---@param word string
---@return string
function format.shell_word(word)
  if string.find(word, "^[%w_./=:,+@%-]+$") then return word end
  return "'" .. string.gsub(word, "'", "'\\''") .. "'"
end

local SAID, CUT = 300, "..."

--- What an error says, of any value that a script may raise: of a table without a __tostring that gives a text its
--- fields that are numbers, texts or booleans, by name, and "..." for others.
---@param raised any
---@return string
function format.reason(raised)
  local kind, meta = type(raised), getmetatable(raised)
  if kind == "string" or kind == "number" then return tostring(raised) end
  if type(meta) == "table" and meta.__tostring then
    local ok, text = pcall(tostring, raised)        -- the value is a script's, and may raise again
    if ok and type(text) == "string" then return text end
  end
  local fields, left_out = {}, false
  for key, value in next, kind == "table" and raised or {} do
    local simple = type(value) == "string" or type(value) == "number" or type(value) == "boolean"
    simple = simple and (type(key) == "string" or type(key) == "number")
    if simple then fields[#fields + 1] = tostring(key) .. " = " .. tostring(value) end
    left_out = left_out or not simple
  end
  table.sort(fields)
  if left_out then fields[#fields + 1] = CUT end
  local text = string.gsub(table.concat(fields, ", "), "%c", " ")
  if #text > SAID then text = string.sub(text, 1, SAID) .. CUT end
  return "an error that is " .. (kind == "nil" and "nil" or "a " .. kind) .. ", not a text"
    .. (#fields > 0 and ": " .. text or "")
end

return format
