--- csv.lua - reads comma-separated values: quotes, CRLF, a byte-order mark; refuses what is damaged, with its line.

local core = require "sonde.core"

local csv = {}

local LARGEST = 256 * 1024 * 1024

local function fail(name, line, text)
  error(core.where() .. name .. ", line " .. string.format("%d", line) .. ": " .. text, 0)
end

-- One field from `at`: its text, where the next begins, and the separator behind it ("," or "\n", "" at the end).
local function field(text, at, name, line)
  if string.sub(text, at, at) ~= '"' then
    local stop = string.find(text, "[,\r\n]", at) or #text + 1
    local value = string.sub(text, at, stop - 1)
    if string.find(value, '"', 1, true) then
      fail(name, line, "a quote inside of a field that does not begin with one")
    end
    return value, stop
  end
  local parts, from = {}, at + 1
  while true do
    local quote = string.find(text, '"', from, true)
    if not quote then fail(name, line, "a quoted field has no end") end
    parts[#parts + 1] = string.sub(text, from, quote - 1)
    if string.sub(text, quote + 1, quote + 1) ~= '"' then
      local after = string.sub(text, quote + 1, quote + 1)
      if not string.find(after, "^[,\r\n]?$") then fail(name, line, "letters behind a quoted field") end
      return table.concat(parts), quote + 1
    end
    parts[#parts + 1], from = '"', quote + 2
  end
end

-- One record from `at`: its fields, where the next begins, and how many line ends it has.
local function record(text, at, name, line)
  local fields, lines = {}, 0
  while true do
    local value, stop = field(text, at, name, line)
    fields[#fields + 1] = value
    local _, ends = string.gsub(value, "\n", "")
    lines = lines + ends
    if string.sub(text, stop, stop) == "," then
      at = stop + 1
    else
      if string.sub(text, stop, stop) == "\r" then stop = stop + 1 end
      return fields, stop + 1, lines + 1
    end
  end
end

--- Records of a text, each a list of fields with the number of its line in `line`. Empty lines are passed over.
---@param text string
---@param name string      of the file, for messages
---@return {line: integer}[]
function csv.records(text, name)
  local list, at, line = {}, 1, 1
  if string.sub(text, 1, 3) == "\239\187\191" then at = 4 end
  if string.find(text, "%z") then fail(name, 1, "zero bytes: this is no text") end
  while at <= #text do
    local fields, after, lines = record(text, at, name, line)
    fields.line = line
    if #fields > 1 or string.find(fields[1], "%S") then list[#list + 1] = fields end
    at, line = after, line + lines
  end
  return list
end

local function trimmed(s) return (string.gsub(string.gsub(s, "^%s+", ""), "%s+$", "")) end

--- The rows of a file whose first line names the columns: each a table by column, with `line`. Rows with more or fewer
--- fields than there are columns, and columns of the same name, are refused.
---@param path string
---@return table[] rows, string[] columns
function csv.read(path)
  local records = csv.records(core.read_file(path, LARGEST), path)
  if #records == 0 then error(core.where() .. path .. ": is empty; the first line names the columns", 0) end
  local columns, seen, rows = {}, {}, {}
  for k, name in ipairs(records[1]) do
    columns[k] = trimmed(name)
    if seen[columns[k]] then fail(path, records[1].line, "two columns are called '" .. columns[k] .. "'") end
    seen[columns[k]] = true
  end
  for r = 2, #records do
    local from, row = records[r], { line = records[r].line }
    if #from ~= #columns then
      fail(path, from.line, #from .. " fields, but there are " .. #columns .. " columns")
    end
    for k, name in ipairs(columns) do row[name] = trimmed(from[k]) end
    rows[r - 1] = row
  end
  return rows, columns
end

--- A number of a row, nil where the field is empty; anything else is refused.
---@param path string
---@param row table
---@param column string
---@return number|nil
function csv.number(path, row, column)
  local text = row[column]
  if text == nil or text == "" then return nil end
  local value = string.find(text, "^[%d%.eE+-]+$") and tonumber(text)
  if not value or value ~= value or math.abs(value) == math.huge then
    fail(path, row.line, "'" .. column .. "' is '" .. text .. "', which is no number")
  end
  return value
end

--- Refuses a row.
---@param path string
---@param row table
---@param text string
function csv.refuse(path, row, text) fail(path, row.line, text) end

--- The columns that a format needs, or an error that names those missing.
---@param path string
---@param columns string[]
---@param needed string[]
function csv.need(path, columns, needed)
  local there, missing = {}, {}
  for _, name in ipairs(columns) do there[name] = true end
  for _, name in ipairs(needed) do
    if not there[name] then missing[#missing + 1] = name end
  end
  if #missing > 0 then error(core.where() .. path .. ": has no column " .. table.concat(missing, ", "), 0) end
end

return csv
