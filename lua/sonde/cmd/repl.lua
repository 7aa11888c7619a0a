--- repl - a prompt with the library at hand.

local core = require "sonde.core"

-- Names that a word such as "sonde.tr" or "model:par" may go on with.
local function completions(word)
  local path, separator, start = string.match(word, "^(.-)([.:]?)([%a_]?[%w_]*)$")
  local value = _G
  for name in string.gmatch(path, "[^.:]+") do
    value = type(value) == "table" and rawget(value, name)
    if value == nil then return {} end
  end
  local names, seen = {}, {}
  local function offer(name)
    if type(name) == "string" and string.sub(name, 1, #start) == start and not seen[name] then
      seen[name] = true
      names[#names + 1] = path .. separator .. name
    end
  end
  if type(value) == "table" then
    for name in pairs(value) do offer(name) end
  end
  local meta = debug.getmetatable(value)
  local index = meta and meta.__index
  if type(index) == "table" then
    for name in pairs(index) do offer(name) end
  end
  if meta and type(meta.__names) == "function" then
    for _, name in ipairs(meta.__names()) do offer(name) end
  end
  table.sort(names)
  return names
end

-- $XDG_STATE_HOME/sonde/history, or under ~/.local/state; none without either.
local function history_path()
  local state, home = os.getenv "XDG_STATE_HOME" or "", os.getenv "HOME" or ""
  if state == "" and home ~= "" then state = home .. "/.local/state" end
  if state == "" or not core.is_terminal "stdin" then return nil end
  return pcall(core.mkdirs, state .. "/sonde") and state .. "/sonde/history" or nil
end

-- A short look at a result: tables by their first entries.
local function shown(value)
  if type(value) ~= "table" or (getmetatable(value) or {}).__tostring then return tostring(value) end
  local parts, more = {}, 0
  for key, entry in pairs(value) do
    if #parts < 12 then
      local text = type(entry) == "string" and string.format("%q", entry) or tostring(entry)
      parts[#parts + 1] = type(key) == "number" and text or tostring(key) .. " = " .. text
    else
      more = more + 1
    end
  end
  return "{ " .. table.concat(parts, ", ") .. (more > 0 and ", ... " .. more .. " more" or "") .. " }"
end

local function is_open(message)
  return string.find(message, "<eof>", 1, true) ~= nil
end

-- Reads lines until they are a whole chunk. Nil at the end of the input; else the chunk, or nil and what is wrong.
local function read_chunk()
  local line = core.read_line("> ", completions)
  if not line then return nil end
  local text = line
  while true do
    local chunk, unfinished = load("return " .. text, "=repl")
    if chunk then return text, chunk end
    local statement, message = load(text, "=repl")
    if statement or not (is_open(message) or is_open(unfinished)) then return text, statement, message end
    line = core.read_line(">> ", completions)
    if not line then return text, nil, message end
    text = text .. "\n" .. line
  end
end

local function evaluate(text, chunk, message)
  if string.find(text, "%S") then core.add_history((string.gsub(text, "\n", " "))) end
  if not chunk then
    io.stderr:write(message, "\n")
    return
  end
  local results = { n = 0 }
  local function keep(ok, ...)
    results = { n = select("#", ...), ... }
    return ok
  end
  if not keep(pcall(chunk)) then
    io.stderr:write(tostring(results[1]), "\n")
    return
  end
  local words = {}
  for i = 1, results.n do
    local ok, word = pcall(shown, results[i])
    words[i] = ok and word or "(cannot be shown: " .. tostring(word) .. ")"
  end
  if #words > 0 then print(table.concat(words, "\t")) end
end

return {
  summary = "a Lua prompt with the library loaded",
  usage = "[options]",
  details = "`sonde` holds the library. A line that is an expression shows its value; Tab completes; an end of input\n"
    .. "(Ctrl-D) leaves; Ctrl-C stops what is computing.",
  options = {},
  example = "sonde repl",
  run = function()
    rawset(_G, "sonde", require "sonde")
    local path = history_path()
    if path then core.history(path, "load") end
    if core.is_terminal "stdin" then print("sonde " .. core.version .. ", " .. _VERSION .. ". Ctrl-D leaves.") end
    while true do
      local ok, text, chunk, message = pcall(read_chunk)
      if ok and not text then break end
      if ok then
        evaluate(text, chunk, message)
      else
        io.stderr:write(tostring(text), "\n")
      end
      if core.interrupted() then core.go_on() end
    end
    if path then core.history(path, "save") end
  end,
}
