--- repl - a prompt with the library at hand.

local core = require "sonde.core"
local shown = require "sonde.base.shown"

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

-- Whether more lines may mend it: the end of the text is where it went wrong. (That the end was expected, "<eof>
-- expected near '='", no line mends; nor a string in quotes, unless its line ends with a backslash.)
local function is_open(text, message)
  if string.find(message, "unfinished string near <eof>$") then return string.sub(text, -1) == "\\" end
  return string.find(message, "near <eof>$") ~= nil
end

-- Reads lines until they are a whole chunk. Nil at the end of the input; else the chunk, or nil and what is wrong.
-- Ctrl-C drops the lines: "".
local function read_chunk()
  local text, problem
  while true do
    local line, dropped = core.read_line(text and ">> " or "> ", completions)
    if dropped then return "" end
    if not line then
      if text then io.stderr:write(problem, "\n") end
      return nil
    end
    text = text and text .. "\n" .. line or line
    local chunk, unfinished = load("return " .. text, "=repl")
    if chunk then return text, chunk end
    local statement, message = load(text, "=repl")
    if statement or not (is_open(text, message) or is_open(text, unfinished)) then return text, statement, message end
    problem = message
  end
end

local function evaluate(text, chunk, message)
  if string.find(text, "%S") then core.add_history((string.gsub(text, "\n", " "))) end
  if not chunk then
    if message then io.stderr:write(message, "\n") end
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
    -- A Ctrl-C while something is computed ends that; one that comes late ends nothing.
    local function step()
      local text, chunk, message = read_chunk()
      if text then evaluate(text, chunk, message) end
      return text ~= nil
    end
    local function session()
      while true do
        local ok, more = pcall(step)
        if core.interrupted() then core.go_on() end
        if not ok then io.stderr:write(tostring(more), "\n") elseif not more then return end
      end
    end
    while not pcall(session) do core.go_on() end
    if path then core.history(path, "save") end
  end,
}
