--- shown.lua - a value as text to look at: nested tables and tensors, laid out by what fits a line.

local WIDTH, ENTRIES, DEPTH, CELLS = 78, 16, 6, 8

local show

local function number_text(value)
  if value ~= value then return "nan" end
  if value % 1 == 0 and math.abs(value) < 1e15 then return ("%d"):format(value) end
  return ("%.6g"):format(value)
end

-- Of n places in a row the last one shown at the head, and the first one at the tail.
local function places(n)
  if n <= CELLS then return n, n + 1 end
  return CELLS / 2, n - CELLS / 2 + 1
end

local function row_of(values, offset, n)
  local words = {}
  local head, tail = places(n)
  for k = 1, n do
    if k <= head or k >= tail then words[#words + 1] = number_text(values[offset + k])
    elseif k == head + 1 then words[#words + 1] = "..." end
  end
  return words
end

-- Rows of the last dimension as lists of words, with lines between them; `axis` counts the dimensions before it.
local function rows(out, values, dims, axis, offset, stride)
  if axis >= #dims then
    out[#out + 1] = row_of(values, offset, dims[axis] or 1)
    return
  end
  local n = dims[axis]
  local head, tail = places(n)
  local below = stride / n
  for k = 1, n do
    if k <= head or k >= tail then
      if axis < #dims - 1 then out[#out + 1] = ("  %d:"):format(k) end
      rows(out, values, dims, axis + 1, offset + (k - 1) * below, below)
    elseif k == head + 1 then
      out[#out + 1] = "  ..."
    end
  end
end

-- Words of all rows in columns of one width.
local function aligned(lines)
  local widest = 0
  for _, line in ipairs(lines) do
    for _, word in ipairs(type(line) == "table" and line or {}) do widest = math.max(widest, #word) end
  end
  for k, line in ipairs(lines) do
    if type(line) == "table" then
      for j, word in ipairs(line) do line[j] = (" "):rep(widest - #word) .. word end
      lines[k] = "  " .. table.concat(line, " ")
    end
  end
  return lines
end

local function show_tensor(tensor)
  local dims = tensor:dims()
  local out, count = {}, tensor:count()
  if count > 0 then rows(out, tensor:values(), dims, 1, 0, count) end
  local head = ("tensor %s [%s]"):format(tensor:dtype(), table.concat(dims, ", "))
  return table.concat({ head, #out > 0 and table.concat(aligned(out), "\n") or nil }, "\n")
end

local function key_text(key)
  if type(key) == "string" and key:find "^[%a_][%w_]*$" then return key end
  return "[" .. show(key, "", {}, DEPTH) .. "]"
end

-- Keys may be of any kinds at once.
local function before(a, b)
  if type(a) ~= type(b) then return type(a) < type(b) end
  if type(a) == "number" or type(a) == "string" then return a < b end
  return tostring(a) < tostring(b)
end

local function keys_of(value)
  local keys = {}
  for key in next, value do keys[#keys + 1] = key end
  table.sort(keys, before)
  return keys
end

local function entries_of(value, indent, seen, depth)
  local parts, more = {}, 0
  local length = #value
  local function add(key, entry)
    if #parts == ENTRIES then more = more + 1 return end
    local text = show(entry, indent .. "  ", seen, depth + 1)
    parts[#parts + 1] = key and key_text(key) .. " = " .. text or text
  end
  for k = 1, length do add(nil, rawget(value, k)) end
  for _, key in ipairs(keys_of(value)) do
    local listed = type(key) == "number" and key >= 1 and key <= length and key % 1 == 0
    if not listed then add(key, rawget(value, key)) end
  end
  if more > 0 then parts[#parts + 1] = ("... %d more"):format(more) end
  return parts
end

local function show_table(value, indent, seen, depth)
  if seen[value] then return "{ ... itself }" end
  if next(value) == nil then return "{}" end
  if depth == DEPTH then return "{ ... }" end
  seen[value] = true
  local parts = entries_of(value, indent, seen, depth)
  seen[value] = nil
  local line = "{ " .. table.concat(parts, ", ") .. " }"
  if #indent + #line <= WIDTH and not line:find("\n", 1, true) then return line end
  return "{\n" .. indent .. "  " .. table.concat(parts, ",\n" .. indent .. "  ") .. "\n" .. indent .. "}"
end

local names = { ["\n"] = "\\n", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\" }
local function escaped(letter) return names[letter] or ("\\%d"):format(letter:byte()) end

function show(value, indent, seen, depth)
  local kind = type(value)
  if kind == "string" then
    return depth == 0 and value or '"' .. value:gsub('[%c"\\]', escaped) .. '"'
  end
  if kind == "table" and not (getmetatable(value) or {}).__tostring then
    return show_table(value, indent, seen, depth)
  end
  if kind == "userdata" and tostring(value):find "^tensor" then
    return (show_tensor(value):gsub("\n", "\n" .. indent))
  end
  return tostring(value)
end

---@param value any
---@return string
return function(value) return show(value, "", {}, 0) end
