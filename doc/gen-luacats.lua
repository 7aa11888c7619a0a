-- gen-luacats.lua - writes a definition file for editors (LuaCATS, as lua-language-server reads it) of what
-- `require "sonde"` gives: its functions, its classes, and for each table of options its fields, from the doc comments
-- of lua/sonde and the schemas that the program itself checks options by.

local core = require "sonde.core"
require "sonde"
local api = dofile(debug.getinfo(1, "S").source:match "^@(.*/)" .. "api.lua")

local out = {}
local function emit(...)
  out[#out + 1] = table.concat { ... }
end

-- ---- types of schemas -----------------------------------------------------------------------------------------

local plain = { integer = "integer", number = "number", boolean = "boolean", ["function"] = "function", any = "any" }
local objects = { model = true, corpus = true, feed = true, tensor = true, graph = true, node = true, params = true,
  plan = true, trace = true, experiment = true, sweep = true, trial = true, site = true, block = true }

local type_of

local function fields_of(fields)
  local parts = {}
  for k, field in ipairs(fields) do
    parts[k] = field.name .. (field.required and "" or "?") .. ": " .. type_of(field)
  end
  return "{" .. table.concat(parts, ", ") .. "}"
end

-- What is suggested for a text. Names that plugins and scripts may add to are suggestions only.
local function string_type(field)
  local open = type(field.choices) == "function"
  local choices, words = open and field.choices() or field.choices, {}
  for k, choice in ipairs(choices or {}) do words[k] = "\"" .. choice .. "\"" end
  if open or not choices then words[#words + 1] = "string" end
  return table.concat(words, "|")
end

local function kind_type(kind, field)
  if kind == "string" then return string_type(field) end
  if kind == "list" then
    local of = field.of and type_of(field.of) or "any"
    return (of:find "[|(]" and "(" .. of .. ")" or of) .. "[]"
  end
  if kind == "table" then
    return field.fields and fields_of(field.fields) or field.each and "table<any, " .. type_of(field.each) .. ">"
      or "table"
  end
  return plain[kind] or objects[kind] and "sonde." .. kind or "any"
end

function type_of(field)
  local kinds = {}
  for kind in field.type:gmatch "[^|]+" do kinds[#kinds + 1] = kind_type(kind, field) end
  return table.concat(kinds, "|")
end

-- ---- what there is ---------------------------------------------------------------------------------------------

local classes, aliases = {}, {}      -- of the whole library, by name

local function collect(folder)
  for _, name in ipairs(core.list_dir(folder)) do
    local path = folder .. "/" .. name
    if core.exists(path) == "folder" then
      collect(path)
    elseif name:find "%.lua$" then
      for _, doc in ipairs(api.read(path)) do
        local class = doc.class and doc.class:match "^%S+"
        if class then classes[class] = doc end
      end
      for line in io.lines(path) do
        local alias, text = line:match "^%-%-%-@alias (%S+) (.*)$"
        if alias then aliases[alias] = text end
      end
    end
  end
end

-- The library's types that a line names, each put into `wanted`.
local function refer(wanted, line)
  for name in line:gmatch "sonde%.[%w_.]*[%w_]" do
    if (classes[name] or aliases[name]) and not wanted[name] then
      wanted[name], wanted[#wanted + 1] = true, name
    end
  end
end

-- ---- writing -----------------------------------------------------------------------------------------------------

local wanted = {}

local function line_of(tag, text)
  refer(wanted, text)
  emit("---@", tag, " ", text)
end

local function put_text(lines)
  local last = #lines
  while last > 0 and lines[last]:match "^%s*$" do last = last - 1 end
  for k = 1, last do emit("--- ", lines[k]) end
end

-- The class of a table of options: its name.
local function put_options(name, schema, lines)
  local class = "sonde." .. name .. "_options"
  put_text(lines)
  emit("---@class ", class)
  for _, field in ipairs(schema) do
    if not field.hidden then
      line_of("field", field.name .. (field.required and "" or "?") .. " " .. type_of(field) .. " " .. field.doc)
    end
  end
  emit ""
  return class
end

-- A parameter line with the class of the options in the place of "table".
local function with_options(param, class)
  local name, kind, text = api.split(param)
  if class and name:match "^[%w_]+" == "options" and kind:match "^table" then
    return name .. " " .. class .. (text ~= "" and " " .. text or "")
  end
  return param
end

local function put_function(doc, name, class)
  put_text(doc.lines)
  for _, param in ipairs(doc.params) do line_of("param", with_options(param, class)) end
  for _, text in ipairs(doc.returns) do line_of("return", text) end
  emit("function ", name, "(", doc.arguments, ") end\n")
end

-- The functions of one file that the page shows.
local function put_file(file, prefix, names)
  local module, schemas, methods = nil, {}, {}
  for _, doc in ipairs(api.read(api.library .. file .. ".lua")) do
    if doc.schema then
      module = module or require(api.module_of(file))
      schemas[doc.schema] = { doc.lines, module[doc.schema] }
    elseif doc.name and not doc.private and (not names or names[doc.name]) then
      methods[#methods + 1] = { doc, (prefix or doc.owner .. doc.separator) .. (names and names[doc.name] or doc.name) }
    end
  end
  local made = {}
  for _, each in ipairs(methods) do
    local doc, name = each[1], each[2]
    local key = schemas[doc.name .. "_schema"] and doc.name .. "_schema" or "schema"
    if schemas[key] and not made[key] then
      local of = name:gsub("^sonde%.", ""):gsub("[:.]", "_")
      for _, param in ipairs(doc.params) do
        if with_options(param, "x") ~= param then made[key] = put_options(of, schemas[key][2], schemas[key][1]) end
      end
    end
    put_function(doc, name, made[key])
  end
end

local function put_class(name, owners)
  local doc = classes[name]
  put_text(doc.lines)
  emit("---@class ", name)
  for _, field in ipairs(doc.fields) do line_of("field", field) end
  for _, operator in ipairs(doc.operators) do line_of("operator", operator) end
  local short = name:match "[^.]*$"
  if owners[short] then emit("local ", short, " = {}") end
  emit ""
end

collect(core.lua_dir() .. "/sonde")
local body = out
for _, page in ipairs(api.pages) do
  for k = 3, #page do put_file(page[k][1], page[k][2], page[k][3]) end
end

-- The classes whose methods there are, and then those that anything names, come before.
local owners = {}
for _, line in ipairs(body) do
  local owner = line:match "^function ([%w_]+)[:.]"
  if owner and owner ~= "sonde" and not owners[owner] then
    owners[owner] = true
    refer(wanted, "sonde." .. owner)
  end
end
out = {}
emit "---@meta sonde"
emit "-- Made by doc/gen-luacats.lua from the comments in lua/sonde; nothing here is run.\n"
emit "---@class sonde"
emit "---@field version string"
emit "---@field settings table what `sonde run --set key=value` was given"
emit "local sonde = { clip_metrics = {}, objectives = {}, probes = {} }\n"
local k = 1
while wanted[k] do
  local name = wanted[k]
  if name ~= "sonde" then
    if classes[name] then put_class(name, owners) else line_of("alias", name .. " " .. aliases[name] .. "\n") end
  end
  k = k + 1
end
io.stdout:write(table.concat(out, "\n"), "\n", table.concat(body, "\n"), "\nreturn sonde\n")
