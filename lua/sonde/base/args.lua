--- args.lua - one checker for every set of options: command lines, YAML files, Lua tables, plugin schemas.
--
-- A schema is a list of fields in the order that help shows them. The same schema checks a table (unknown key, type,
-- range, choice; each message with its place) and parses a command line, and --help is generated from it.

local core = require "sonde.core"
local format = require "sonde.base.format"

local args = {}
local unpack = table.unpack or unpack    -- luacheck: ignore

---@class sonde.field
---@field name string            key of the table, --name on the command line (with - for _)
---@field type string            integer number boolean string list table function any; alternatives: "string|table"
---@field preset? any            value when absent; absent too: the option has none
---@field required? boolean
---@field min? number            inclusive range of a number
---@field max? number
---@field choices? string[]|fun(): string[]   what a string may be
---@field of? sonde.field        what the entries of a list are
---@field each? sonde.field      what the values of a table with free keys are
---@field fields? sonde.schema   what a table with known keys holds
---@field doc string             one line
---@field value? string          what help calls the value: "N", "DIR"
---@field some? boolean          a list must have an entry, a text a character
---@field infinite? boolean      a number may be infinite or NaN
---@field repeated? boolean      a list that the command line gives one entry at a time
---@field hidden? boolean        not shown by help
---@field suggest? fun(): string[]   what completion offers where there are no choices

---@alias sonde.schema sonde.field[]
---@alias sonde.where fun(path: table): string   the place of a key, as "file:line: " or ""

local function here()
  return core.where()
end

local list_mark = getmetatable(core.list())     -- of lists that come from YAML and JSON

-- A place is a text, whoever gives it.
local function placed(where)
  if not where then return here end
  return function(path)
    local ok, at = pcall(where, path)
    return ok and type(at) == "string" and at or ""
  end
end

local function find(schema, name)
  for _, field in ipairs(schema) do
    if field.name == name then return field end
  end
end

--- What a message begins with: the text of a function that a script may have given, or the user's line.
---@param where? fun(): string
---@return string
function args.place(where)
  local at = (where or core.where)()
  return type(at) == "string" and at or ""
end

--- "; did you mean 'x'?" or "; known: a, b, c" for a word that is none of the names.
---@param word string
---@param names string[]
---@return string
function args.hint(word, names)
  word = string.gsub(tostring(word), "%z", "?")
  local near = core.nearest(word, names)
  for _, name in ipairs(names) do      -- "memory" is far from "memory_budget", but its beginning
    if not near and #word > 2 and string.sub(name, 1, #word) == word then near = name end
  end
  if near then return "; did you mean '" .. near .. "'?" end
  if #names == 0 then return "" end
  return "; known: " .. table.concat(names, ", ")
end

--- What a command line says as NAME,option=value,..: {name =, option = value}.
---@param words string[]
---@param flag string      for messages
---@return table
function args.words(words, flag)
  local made = { name = words[1] }
  for i = 2, #words do
    local key, value = string.match(words[i], "^([%w_]+)=(.+)$")
    if not key then error(flag .. " takes NAME,option=value,.., not '" .. words[i] .. "'", 0) end
    made[key] = tonumber(value) or (value == "true" or value ~= "false" and value)
  end
  return made
end

local function names_of(schema)
  local names = {}
  for _, field in ipairs(schema) do
    if not field.hidden then names[#names + 1] = field.name end
  end
  return names
end

local function dotted(path)
  local parts = {}
  for i, key in ipairs(path) do
    if type(key) == "number" then
      parts[i] = "[" .. string.format("%d", key) .. "]"
    else
      parts[i] = (i > 1 and "." or "") .. tostring(key)
    end
  end
  return table.concat(parts)
end

-- A number as people write it: 1000000000, not 1000000000.0.
local function digits(value)
  return (string.gsub(tostring(value), "%.0$", ""))
end

local classes = {}     -- of the library's objects: name -> metatable

local function shown(value)
  if type(value) == "string" then return "'" .. value .. "'" end
  for name, class in pairs(type(value) == "table" and classes or {}) do
    if rawequal(getmetatable(value), class) then return string.find(name, "^e") and "an " .. name or "a " .. name end
  end
  if type(value) == "table" then return "a table" end
  if type(value) == "function" then return "a function" end
  if type(value) == "userdata" then return "a " .. string.match(tostring(value), "^[^:(]*[^:( ]") end
  return type(value) == "number" and digits(value) or tostring(value)
end

local type_names = {
  integer = "a whole number", number = "a number", boolean = "true or false", string = "a string",
  list = "a list", table = "a table", ["function"] = "a function",
}

local function is_list(value)
  if type(value) ~= "table" then return false end
  local n = 0
  for _ in next, value do n = n + 1 end
  for i = 1, n do
    if rawget(value, i) == nil then return false end
  end
  return true
end

local fits = {
  integer = function(v) return type(v) == "number" and v == math.floor(v) and math.abs(v) < 2 ^ 63 end,
  number = function(v) return type(v) == "number" end,
  boolean = function(v) return type(v) == "boolean" end,
  string = function(v) return type(v) == "string" end,
  list = is_list,
  table = function(v) return type(v) == "table" end,
  ["function"] = function(v) return type(v) == "function" end,
  any = function() return true end,
}

--- Makes a kind of object a type of fields: "model", say.
---@param name string
---@param words string                    "a model (of sonde.transformer or sonde.load)"
---@param is fun(value: any): boolean
function args.kind(name, words, is)
  type_names[name], fits[name] = words, is
end

-- The handles of the core, and lists of token ids as they are taken everywhere.
for name, words in pairs { tensor = "a tensor", graph = "a graph", plan = "a plan", params = "parameters",
  site = "a site" } do
  args.kind(name, words, function(v) return type(v) == "userdata" and getmetatable(v) == name end)
end
args.kind("node", "a node", core.is_node)

-- Objects of the library: a table is one if it has the class's metatable.
for name, words in pairs {
  model = "a model (of sonde.transformer or sonde.load)", corpus = "a corpus (of sonde.corpus)",
  feed = "a feed (of sonde.feed)",
  experiment = "an experiment (of sonde.experiment)", sweep = "a sweep (of sonde.sweep)",
  trial = "a trial, which sweep:run gives its function",
  block = "the block that a placement is given", trace = "a trace (of model:trace)",
} do
  args.kind(name, words, function(v)
    return type(v) == "table" and classes[name] ~= nil and rawequal(getmetatable(v), classes[name])
  end)
end

-- Tokens in a tensor are a text without validation, {handle = tensor, vocab = V}.
local opened = fits.corpus
function fits.corpus(v)
  return opened(v) or type(v) == "table" and getmetatable(v) == nil and fits.tensor(v.handle) and fits.integer(v.vocab)
end

--- Says what the metatable of a kind of object is. Returns it.
---@param name string
---@param class table
---@return table
function args.class(name, class)
  classes[name] = class
  return class
end

args.kind("results", "what sweep:results gives with the options of a summary", function(v)
  return type(v) == "table" and type(rawget(v, "trials")) == "table" and type(rawget(v, "by")) == "table"
    and rawget(v, "metric") ~= nil
end)

local function kinds_of(field)
  local kinds = {}
  for kind in string.gmatch(field.type, "[^|]+") do kinds[#kinds + 1] = kind end
  return kinds
end

local function expected(field)
  local words = {}
  for i, kind in ipairs(kinds_of(field)) do words[i] = type_names[kind] or kind end
  return table.concat(words, " or ")
end

local function choices_of(field)
  if type(field.choices) == "function" then return field.choices() end
  return field.choices
end

local check_value

local function check_range(field, value, refuse)
  if type(value) ~= "number" then return end
  local low, high = field.min, field.max
  if value - value ~= 0 and not field.infinite and field.type ~= "any" then
    refuse("must be a finite number, not " .. (value == value and digits(value) or "NaN"))
  end
  if (low and value < low) or (high and value > high) then
    if low and high then
      refuse("must be between " .. digits(low) .. " and " .. digits(high) .. ", not " .. digits(value))
    end
    if low then refuse("must be at least " .. digits(low) .. ", not " .. digits(value)) end
    refuse("must be at most " .. digits(high) .. ", not " .. digits(value))
  end
end

local function check_choice(field, value, refuse)
  local choices = type(value) == "string" and choices_of(field)
  if not choices then return end
  for _, choice in ipairs(choices) do
    if choice == value then return end
  end
  refuse("cannot be '" .. value .. "'" .. args.hint(value, choices))
end

local function extended(path, key)
  local longer = {}
  for i, part in ipairs(path) do longer[i] = part end
  longer[#longer + 1] = key
  longer.argument = path.argument
  return longer
end

local function check_table(schema, given, what, where, path)
  for key in next, given do
    if not find(schema, key) then
      local at = extended(path, key)
      error(where(at) .. "unknown option '" .. dotted(at) .. "' of " .. what .. args.hint(key, names_of(schema)), 0)
    end
  end
  local result = {}
  for _, field in ipairs(schema) do
    local value = given[field.name]
    local at = extended(path, field.name)
    if value == nil then
      if field.required then
        error(where(path) .. "option '" .. dotted(at) .. "' of " .. what .. " is missing: " .. field.doc, 0)
      end
      if field.fields then value = {} else value = field.preset end
    end
    if value ~= nil then result[field.name] = check_value(field, value, what, where, at) end
  end
  return result
end

function check_value(field, value, what, where, path)
  local function refuse(text)
    local name = "'" .. dotted(path) .. "'"
    name = path.argument and what .. ": argument " .. name or "option " .. name .. " of " .. what
    error(where(path) .. name .. " " .. text, 0)
  end
  local fit
  for _, kind in ipairs(kinds_of(field)) do
    if fits[kind](value) then
      fit = kind
      break
    end
  end
  if not fit then refuse("must be " .. expected(field) .. ", not " .. shown(value)) end
  if type(value) == "string" and string.find(value, "%z") then refuse("must be a text without zero bytes") end
  if value == "" and field.some then refuse "must not be empty" end
  check_range(field, value, refuse)
  check_choice(field, value, refuse)
  if fit == "integer" then return math.floor(value) end
  if fit == "list" and field.some and rawget(value, 1) == nil then refuse("must have at least one entry") end
  if fit == "list" and field.of then
    local list, i = {}, 1
    while rawget(value, i) ~= nil do
      list[i], i = check_value(field.of, rawget(value, i), what, where, extended(path, i)), i + 1
    end
    return list
  end
  if fit == "table" and field.fields then return check_table(field.fields, value, what, where, path) end
  if fit == "table" and field.each then
    if getmetatable(value) == list_mark and rawget(value, 1) ~= nil then
      refuse("is a list without keys; give each entry its key (" .. field.doc .. ")")
    end
    local copy = {}
    for key, entry in next, value do copy[key] = check_value(field.each, entry, what, where, extended(path, key)) end
    return copy
  end
  return value
end

--- Checks `given` against a schema and returns a copy with the defaults filled in. Raises on the first mistake.
---@param schema sonde.schema
---@param given table|nil
---@param what string           whose options they are, for messages: "transformer"
---@param where? sonde.where    the place of a key; default: the user's line in the script
---@return table
function args.check(schema, given, what, where)
  where = placed(where)
  if given == nil then given = {} end
  if type(given) ~= "table" then
    error(where({}) .. "the options of " .. what .. " must be a table, not " .. shown(given), 0)
  end
  return check_table(schema, given, what, where, {})
end

--- Checks one value against a field; for positional arguments of Lua functions.
---@param field sonde.field
---@param value any
---@param what string
---@param where? sonde.where
---@return any
function args.value(field, value, what, where)
  if value == nil then value = field.preset end
  if value == nil and not field.required then return nil end
  return check_value(field, value, what, placed(where), { field.name })
end

--- Declares what functions of a table take: each becomes one that checks its arguments, by position, and says at the
--- caller's line what is wrong with which. A list with `of` arrives as a checked copy. takes[name].as: another name.
---@param t table
---@param prefix string                       of the functions' names in messages: "sonde.", "model:"
---@param takes table<string, sonde.schema>
---@return table t
function args.declare(t, prefix, takes)
  for name, fields in pairs(takes) do
    local f, what = t[name], fields.as or prefix .. name
    local paths = {}
    for i, field in ipairs(fields) do paths[i] = { field.name, argument = true } end
    t[name] = function(...)
      local given, n = { ... }, math.max(select("#", ...), #fields)
      for i, field in ipairs(fields) do
        if given[i] ~= nil or field.required then given[i] = check_value(field, given[i], what, here, paths[i]) end
      end
      return f(unpack(given, 1, n))
    end
  end
  return t
end

-- ---- command lines ---------------------------------------------------------------------------------------

local function option_name(field)
  return "--" .. string.gsub(field.name, "_", "-")
end

--- A word of the command line as the value of a field: the number it spells, true or false, or the word.
local function from_text(field, text)
  for _, kind in ipairs(kinds_of(field)) do
    if kind == "integer" or kind == "number" then
      local number = tonumber(text)
      if number then return number end
    elseif kind == "boolean" then
      if text == "true" or text == "yes" then return true end
      if text == "false" or text == "no" then return false end
    elseif kind == "list" then
      local list = {}
      for word in string.gmatch(text, "[^,]+") do list[#list + 1] = from_text(field.of, word) end
      return list
    end
  end
  return text
end

-- A hint for those who give --json or --csv a file.
local function no_file(given)
  local name = given.json == true and "--json" or given.csv == true and "--csv"
  return name and "; " .. name .. " prints on standard output, > FILE keeps it" or ""
end

--- Takes "--name value", "--name=value", "--flag" and "--no-flag" off the words.
local function take_option(schema, words, i, given)
  local word = words[i]
  local name, text = string.match(word, "^%-%-([^=]+)=?(.*)$")
  local has_text = string.find(word, "=", 1, true) ~= nil
  name = string.gsub(name or "", "-", "_")
  local field, negated = find(schema, name), false
  if not field and string.sub(name, 1, 3) == "no_" then
    field, negated = find(schema, string.sub(name, 4)), true
    if field and field.type ~= "boolean" then field = nil end
  end
  if not field then
    local known = {}
    for k, each in ipairs(schema) do known[k] = option_name(each) end
    local near = core.nearest(string.match(word, "^[^=]+"), known)
    return nil, "unknown option " .. string.match(word, "^[^=]*") .. (near and "; did you mean " .. near .. "?" or "")
  end
  if field.type == "boolean" and not has_text then
    given[field.name] = not negated
    return i + 1
  end
  if not has_text then
    i = i + 1
    text = words[i]
    if text == nil then return nil, "option " .. option_name(field) .. " needs a value: " .. field.doc end
  end
  if field.repeated then
    given[field.name] = given[field.name] or {}
    table.insert(given[field.name], from_text(field.of, text))
  else
    local value = from_text(field, text)
    if field.type == "boolean" and type(value) ~= "boolean" then
      return nil, ("option %s takes no value, not '%s'%s"):format(option_name(field), text,
        no_file { [field.name] = true })
    end
    given[field.name] = value
  end
  return i + 1
end

--- Parses the words of a command line. Returns the checked options, or nil and what is wrong with them.
---@param schema sonde.schema
---@param positional sonde.field[]    taken in order; the last may be `repeated` and takes the rest
---@param words string[]
---@param before? fun(value: fun(field: sonde.field): any)   called before the check, with what gives an option
---@return table|nil options, string|nil message
function args.parse(schema, positional, words, before)
  local given, place, only_words = {}, 1, false
  local i = 1
  while i <= #words do
    local word = words[i]
    if not only_words and word == "--" then
      only_words, i = true, i + 1
    elseif not only_words and #word > 2 and string.sub(word, 1, 2) == "--" then
      local after, message = take_option(schema, words, i, given)
      if not after then return nil, message end
      i = after
    elseif not only_words and #word > 1 and string.sub(word, 1, 1) == "-" and not tonumber(word) then
      return nil, "unknown option " .. word .. "; options are written --name"
    else
      local field = positional[place]
      if not field then return nil, "'" .. word .. "' is one argument too many" .. no_file(given) end
      if field.repeated then
        given[field.name] = given[field.name] or {}
        table.insert(given[field.name], word)
      else
        given[field.name] = word
        place = place + 1
      end
      i = i + 1
    end
  end
  local all = {}
  for _, field in ipairs(positional) do all[#all + 1] = field end
  for _, field in ipairs(schema) do all[#all + 1] = field end
  local what, nowhere = "the command line", function() return "" end
  local ok, result = pcall(function()
    if before then before(function(field) return args.value(field, given[field.name], what, nowhere) end) end
    return args.check(all, given, what, nowhere)
  end)
  if not ok then
    local text = string.gsub(result, "^option '([%w_]+)' of the command line", function(name)
      if find(positional, name) then return string.upper(name) end
      return "option --" .. string.gsub(name, "_", "-")
    end)
    return nil, text
  end
  return result
end

-- ---- help -------------------------------------------------------------------------------------------------

local function value_word(field)
  if field.value then return field.value end
  if field.type == "boolean" then return nil end
  if field.choices then return "NAME" end
  if string.find(field.type, "integer", 1, true) then return "N" end
  if string.find(field.type, "number", 1, true) then return "X" end
  return "TEXT"
end

local function described(field)
  local text = field.doc
  local choices = choices_of(field)
  if choices then text = text .. ": " .. table.concat(choices, ", ") end
  if field.required then
    text = text .. " (required)"
  elseif field.preset ~= nil and field.preset ~= false and type(field.preset) ~= "table" then
    text = text .. " (default: " .. tostring(field.preset) .. ")"
  end
  return text
end

--- What help says of a schema: a row {option and its value, what it does} for each word and each option.
---@param schema sonde.schema
---@param positional? sonde.field[]
---@return string[][]
function args.rows(schema, positional)
  local rows = {}
  local function add(left, field) rows[#rows + 1] = { left, described(field) } end
  for _, field in ipairs(positional or {}) do
    add(string.upper(field.name) .. (field.repeated and " ..." or ""), field)
  end
  for _, field in ipairs(schema) do
    if not field.hidden then
      local word = value_word(field)
      add(option_name(field) .. (word and " " .. word or "") .. (field.repeated and " ..." or ""), field)
    end
  end
  return rows
end

--- The same as aligned lines.
---@param schema sonde.schema
---@param positional? sonde.field[]
---@return string[]
function args.describe(schema, positional)
  return format.indented(args.rows(schema, positional))
end

--- What a field may be, as far as it can be listed: its choices, else what it suggests; nil where neither is known.
---@param field sonde.field
---@return string[]|nil
function args.values(field)
  local ok, list = pcall(function()
    return choices_of(field) or field.suggest and field.suggest() or field.of and args.values(field.of)
  end)
  return ok and list or nil
end

return args
