-- luacats_check.lua FILE: what lua-language-server would say of a definition file, as far as its grammar goes: each
-- annotation parses, each type is known, each parameter is one of the function's, and all of `sonde` is there.
local sonde = require "sonde"

local known = { any = true, ["nil"] = true, boolean = true, string = true, number = true, integer = true, table = true,
  userdata = true, thread = true, self = true, ["function"] = true, unknown = true, lightuserdata = true,
  ["true"] = true, ["false"] = true }
local lines = {}
for line in io.lines(arg[1]) do
  lines[#lines + 1] = line
  local name = line:match "^%-%-%-@class (%S+)" or line:match "^%-%-%-@alias (%S+)"
  if name then
    assert(not known[name], "twice: " .. name)
    known[name] = true
  end
end

local function fail(k, what) error(("%s:%d: %s: %s"):format(arg[1], k, what, lines[k]), 0) end

-- A type at the beginning of a text; gives what follows it. depth: of the brackets around it.
local parse
local depth = 0

local function sequence(k, text, close, entry)
  text = text:match "^%s*(.*)$"
  if text:sub(1, 1) == close then return text:sub(2) end
  while true do
    depth = depth + 1
    text = entry(text:match "^%s*(.*)$"):match "^%s*(.*)$"
    depth = depth - 1
    if text:sub(1, 1) == close then return text:sub(2) end
    if text:sub(1, 1) ~= "," then fail(k, "no '" .. close .. "' at '" .. text .. "'") end
    text = text:sub(2)
  end
end

local function named(k, text)      -- name: type
  local rest = text:match "^[%w_.]+%??%s*:%s*(.*)$"
  if rest then return parse(k, rest) end
  return text:match "^[%w_.]+%s*(.*)$" or fail(k, "no name at '" .. text .. "'")
end

local function atom(k, text)
  local rest = text:match "^\"[^\"]*\"(.*)$" or text:match "^%d+(.*)$"
  if rest then return rest end
  rest = text:match "^fun%((.*)$"
  if rest then
    rest = sequence(k, rest, ")", function(t) return named(k, t) end)
    if not rest:match "^%s*:" then return rest end
    rest = parse(k, rest:match "^%s*:%s*(.*)$")
    while depth == 0 and rest:match "^,%s" do rest = parse(k, rest:match "^,%s*(.*)$") end      -- several results
    return rest
  end
  rest = text:match "^table<(.*)$"
  if rest then return sequence(k, rest, ">", function(t) return parse(k, t) end) end
  rest = text:match "^{(.*)$"
  if rest then return sequence(k, rest, "}", function(t) return named(k, t) end) end
  rest = text:match "^%((.*)$"
  if rest then return sequence(k, rest, ")", function(t) return parse(k, t) end) end
  local name = text:match "^[%a_][%w_.]*"
  if not name then fail(k, "no type at '" .. text .. "'") end
  if not known[name] then fail(k, "unknown type '" .. name .. "'") end
  return text:sub(#name + 1)
end

function parse(k, text)
  text = atom(k, text)
  while text:match "^%[%]" or text:match "^%?" do text = text:match "^%[%](.*)$" or text:sub(2) end
  if text:sub(1, 1) == "|" then return parse(k, text:sub(2)) end
  return text
end

local params, functions, annotations = {}, {}, 0
for k, line in ipairs(lines) do
  local tag, text = line:match "^%-%-%-@(%a+) (.*)$"
  if tag then annotations = annotations + 1 end
  if tag == "param" then
    local name, rest = text:match "^([%w_.]+)%??%s+(.*)$"
    if not name then fail(k, "no parameter") end
    local behind = parse(k, rest)
    if behind ~= "" and not behind:match "^%s" then fail(k, "what is '" .. behind .. "'") end
    params[#params + 1] = name
  elseif tag == "field" then
    local rest = text:match "^[%w_.]+%??%s+(.*)$" or text:match "^%[.-%]%s+(.*)$"
    local behind = parse(k, rest or fail(k, "no field"))
    if behind ~= "" and not behind:match "^%s" then fail(k, "what is '" .. behind .. "'") end
  elseif tag == "return" then
    parse(k, text)
  elseif tag == "alias" then
    parse(k, text:match "^%S+%s+(.*)$")
  elseif tag == "operator" then
    local rest = text:match "^%a+(.*)$"
    rest = rest:match "^%(" and sequence(k, rest:sub(2), ")", function(t) return parse(k, t) end) or rest
    parse(k, rest:match "^%s*:%s*(.*)$" or fail(k, "no result"))
  elseif tag and tag ~= "class" and tag ~= "meta" then
    fail(k, "unknown annotation")
  end
  local name, arguments = line:match "^function ([%w_.:]+)%((.-)%) end$"
  if name then
    local list = {}
    for argument in arguments:gmatch "[%w_.]+" do list[#list + 1] = argument end
    if table.concat(list, " ") ~= table.concat(params, " ") then
      fail(k, "parameters are documented as (" .. table.concat(params, ", ") .. ")")
    end
    if functions[name] then fail(k, "defined twice") end
    functions[name] = true
  end
  if not line:match "^%-%-" then params = {} end
end

local made = dofile(arg[1])
for _, name in ipairs(getmetatable(sonde).__names()) do
  if type(sonde[name]) == "function" and type(made[name]) ~= "function" then
    error("sonde." .. name .. " is missing", 0)
  end
end
print(annotations .. " annotations")
