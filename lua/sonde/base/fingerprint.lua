--- fingerprint.lua - what a function of a script computes with, as named parts that can be compared with those of
-- another day: its code, the values and functions around it that it uses, and the corpora among them.
--
-- Comments, blanks and line numbers are no part of it. Handles and objects of the library are not looked into,
-- functions of the library and of C are taken as they are: their version stands in the run's record.

local core = require "sonde.core"
local sorted_keys = require "sonde.base.sorted_keys"

local fingerprint = {}

local MAX_DEPTH, MAX_PARTS, MAX_OF_VARIABLE, LONGEST = 8, 20000, 500, 60

local list_mark = getmetatable(core.list())     -- of lists that come from YAML and JSON

-- What every script finds: not its own.
local given = {}
for name in pairs(_G) do given[name] = true end

local function is_library(f)
  local source = debug.getinfo(f, "S").source
  return source == "=[C]" or string.sub(source, 2, #core.lua_dir() + 1) == core.lua_dir()
end

-- ---- code
-- ---------------------------------------------------------------------------------------------------------------

-- A reader of what string.dump writes (Lua 5.4, ldump.c).
local reader = {}
reader.__index = reader

function reader:byte()
  self.at = self.at + 1
  return string.byte(self.code, self.at - 1)
end

-- Seven bits a byte, the highest first; the last byte has its eighth set.
function reader:size()
  local value = 0
  repeat
    local b = self:byte()
    value = value * 128 + b % 128
  until b >= 128
  return value
end

function reader:skip(n)
  self.at = self.at + n
end

function reader:text()
  local n = self:size()
  if n > 0 then self:skip(n - 1) end
  return n > 0 and string.sub(self.code, self.at - n + 1, self.at - 1) or nil
end

-- integers and floats; strings are read, nil, true and false have none
local CONSTANT_BYTES = { [0x03] = 8, [0x13] = 8 }

function reader:constants(names)
  for _ = 1, self:size() do
    local kind = self:byte()
    if kind == 0x04 or kind == 0x14 then names[self:text()] = true else self:skip(CONSTANT_BYTES[kind] or 0) end
  end
end

-- One function and those inside it: adds its bytes but for the lines where it stands, and the strings among its
-- constants.
function reader:add_function(pieces, names)
  self:text()
  self:size()
  self:size()
  local from = self.at
  self:skip(3)
  self:skip(4 * self:size())
  self:constants(names)
  self:skip(3 * self:size())
  local inner = self:size()
  pieces[#pieces + 1] = string.sub(self.code, from, self.at - 1)
  for _ = 1, inner do self:add_function(pieces, names) end
  self:skip(4)                                         -- four empty lists: what is known of lines and names
end

local HEADER = 32

-- A function's code without the lines where it stands, and the set of strings that it names.
local function code_of(f)
  local pieces, names = {}, {}
  setmetatable({ code = string.dump(f, true), at = HEADER + 1 }, reader):add_function(pieces, names)
  return table.concat(pieces), names
end

-- ---- values
-- -------------------------------------------------------------------------------------------------------------

-- "model.depth", "[3]"; a key of another kind has no place in a comparison.
local function extended(path, key)
  if type(key) == "number" then return string.format("%s[%.14g]", path, key) end
  return path == "" and key or path .. "." .. key
end

local function comparable_keys(t)
  local keys = {}
  for key in next, t do
    if type(key) == "string" or type(key) == "number" then keys[#keys + 1] = key end
  end
  table.sort(keys, function(a, b)
    if type(a) ~= type(b) then return type(a) == "number" end
    return a < b
  end)
  return keys
end

local function shown(value)
  local text = tostring(value)
  if type(value) == "number" then
    text = string.format("%.14g", value)
    if tonumber(text) ~= value then text = string.format("%.17g", value) end
  end
  return #text <= LONGEST and text or core.sha256(text)
end

local add       -- (state, path, value, depth)

-- Global values and required modules of the script that the code names.
local function add_globals(state, names, depth)
  for _, name in ipairs(sorted_keys(names)) do
    if not given[name] then
      local module = package.loaded[name]
      if rawget(_G, name) ~= nil then add(state, "global " .. name, rawget(_G, name), depth) end
      if module ~= nil and not string.find(name, "^sonde%f[.%z]") then add(state, "module " .. name, module, depth) end
    end
  end
end

-- A variable around a function. One that holds very many values (a table of results, say) is not compared: only that it
-- is one.
local function add_variable(state, path, value, depth)
  local before = state.count
  add(state, path, value, depth)
  if state.count - before <= MAX_OF_VARIABLE then return end
  for name in pairs(state.parts) do
    if string.sub(name, 1, #path) == path and not string.find(name, "^[%w_]", #path + 1) then
      state.parts[name] = nil
    end
  end
  state.parts[path] = "more than " .. MAX_OF_VARIABLE .. " values"
end

local function add_function(state, path, f, depth)
  if debug.getinfo(f, "S").what == "C" then
    state.parts[path] = "a function of C"
    return
  end
  local code, names = code_of(f)
  state.parts[path] = core.sha256(code)
  for k = 1, 255 do
    local name, value = debug.getupvalue(f, k)
    if not name then break end
    if name ~= "_ENV" then add_variable(state, path == "function" and name or path .. "/" .. name, value, depth + 1) end
  end
  add_globals(state, names, depth + 1)
end

local function add_table(state, path, t, depth)
  if rawget(t, "hash") and rawget(t, "spec") then      -- a corpus, a feed, a set of clips
    state.parts[path] = "data " .. tostring(t.hash)
    return
  end
  if getmetatable(t) ~= nil and getmetatable(t) ~= list_mark then return end
  for _, key in ipairs(comparable_keys(t)) do add(state, extended(path, key), rawget(t, key), depth + 1) end
end

function add(state, path, value, depth)
  local kind = type(value)
  if state.count > MAX_PARTS or depth > MAX_DEPTH then return end
  if kind == "table" or kind == "function" then
    if state.seen[value] then return end
    state.seen[value] = true
    if state.library[value] or (kind == "table" and state.leaves_out(value)) then return end
  end
  state.count = state.count + 1
  if kind == "function" then
    if not is_library(value) then add_function(state, path, value, depth) end
  elseif kind == "table" then
    add_table(state, path, value, depth)
  elseif kind == "number" or kind == "string" or kind == "boolean" then
    state.parts[path] = shown(value)
  end
end

-- The modules of Lua and of the library, which scripts hold in their variables.
local function library_tables()
  local set = { [_G] = true }
  for name, module in pairs(package.loaded) do
    if given[name] or string.find(name, "^sonde%f[.%z]") then set[module] = true end
  end
  return set
end

--- The parts of a function: name -> its value, or the SHA-256 of code and long texts. "function" is the function
-- itself, the others are called as the script calls them.
---@param f function
---@param leaves_out? fun(t: table): boolean   of a table: that it says nothing about what f computes
---@return table<string, string>
function fingerprint.parts(f, leaves_out)
  local state = {
    parts = {}, seen = { [f] = true }, library = library_tables(), count = 0,
    leaves_out = leaves_out or function() return false end,
  }
  add_function(state, "function", f, 0)
  return state.parts
end

--- The parts as one SHA-256.
---@param f function
---@return string
function fingerprint.of(f)
  local parts, lines = fingerprint.parts(f), {}
  for k, name in ipairs(sorted_keys(parts)) do lines[k] = name .. "=" .. parts[name] end
  return core.sha256(table.concat(lines, "\n"))
end

local function variable_of(part)
  return string.match(part, "^[^.%[]+")
end

--- The variables whose values differ between the parts before and after a call: what the function keeps for itself
-- between calls, and not what it computes with.
---@param before table<string, string>
---@param after table<string, string>
---@return table<string, boolean>
function fingerprint.variables(before, after)
  local set = {}
  for _, pair in ipairs { { before, after }, { after, before } } do
    for name, value in pairs(pair[1]) do
      if pair[2][name] ~= value then set[variable_of(name)] = true end
    end
  end
  return set
end

--- What differs between the parts of two days, for a message: "lr (was 0.003, now 0.0001), its code"; nil where nothing
--- does.
---@param old table<string, string>
---@param now table<string, string>
---@param left_out? table<string, boolean>    variables (of fingerprint.variables) that are not compared
---@return string|nil
function fingerprint.difference(old, now, left_out)
  local names, texts = {}, {}
  for name in pairs(old) do names[name] = true end
  for name in pairs(now) do names[name] = true end
  local function brief(text)
    if text == nil then return "absent" end
    return (#text == 64 and string.find(text, "^%x+$")) and string.sub(text, 1, 12) or text
  end
  for _, name in ipairs(sorted_keys(names)) do
    local a, b = old[name], now[name]
    if a ~= b and not (left_out and left_out[variable_of(name)]) then
      texts[#texts + 1] = name == "function" and "its code" or string.format("%s (was %s, now %s)", name, brief(a),
        brief(b))
    end
  end
  local n = #texts
  if n > 5 then texts = { texts[1], texts[2], texts[3], texts[4], string.format("and %d more", n - 4) } end
  return n > 0 and table.concat(texts, ", ") or nil
end

return fingerprint
