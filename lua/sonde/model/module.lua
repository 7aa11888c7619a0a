--- module.lua - norms, attentions and feed-forward layers by name: registered in Lua, or brought by plugins.

local core = require "sonde.core"
local args = require "sonde.base.args"
local registry = require "sonde.base.registry"

local module = {}

local option_schema = {
  { name = "name", type = "string", required = true, doc = "of the option" },
  { name = "type", type = "string", preset = "number", choices = { "integer", "number", "boolean", "string" },
    doc = "of its value" },
  { name = "preset", type = "number|boolean|string", doc = "value when it is not given" },
  { name = "min", type = "number", doc = "smallest value" },
  { name = "max", type = "number", doc = "largest value" },
  { name = "choices", type = "list", doc = "values of a string",
    of = { name = "choice", type = "string", doc = "a value" } },
  { name = "doc", type = "string", required = true, doc = "one line on what it does" },
}

local info_schema = {
  { name = "build", type = "function", required = true, doc = "the module's function" },
  { name = "options", type = "list", preset = {}, doc = "the module's options",
    of = { name = "option", type = "table", fields = option_schema, doc = "one option" } },
  { name = "summary", type = "string", preset = "", doc = "one line on what the module computes" },
  { name = "citation", type = "string", preset = "", doc = "paper and equation" },
  { name = "suggests", type = "string", doc = "\"option=value ...\": options of the model that belong to the method" },
}

-- What scripts have registered, by kind; what plugins bring is in the core's list, which has both.
local registries = {}

-- What the description of a kind's modules has beside the rest, and what their functions take where that is not
-- (site, options, x).
local more, takes = {}, {}

local function registry_of(kind)
  local schema = {}
  for _, fields in ipairs { info_schema, more[kind] or {} } do
    for _, field in ipairs(fields) do schema[#schema + 1] = field end
  end
  registries[kind] = registries[kind] or registry.new {
    kind = kind, schema = schema, doc = "summary", others = function() return core.modules(kind) end,
    origin = function(name) return core.module(kind, name).path end,
  }
  return registries[kind]
end

--- Gives the descriptions of a kind more fields, before the first is registered.
---@param kind string
---@param fields sonde.schema
---@param arguments? string     what a module's function takes, for messages; default: "(site, options, x)"
function module.extend(kind, fields, arguments)
  more[kind], takes[kind] = fields, arguments
end

--- What a script has registered; nil for modules of plugins.
---@param kind string
---@param name string
---@return table|nil
function module.find(kind, name)
  return registries[kind] and registries[kind]:get(name)
end

--- The function of a module that a script has registered; nil for those of plugins.
---@param kind string
---@param name string
---@return function|nil
function module.build(kind, name)
  local found = module.find(kind, name)
  return found and found.build
end

local function known(kind, name)
  for _, each in ipairs(core.modules(kind)) do
    if each == name then return true end
  end
  return false
end

--- Registers a module of a kind. It then stands beside those of plugins, for every model.
---@param kind string     one that scripts may write: core.kinds
---@param name string
---@param info? {options: sonde.field[], summary: string, citation: string, suggests: string}
---@param build fun(site: sonde.site, options: table, x: sonde.node): sonde.node
---@param wrap? fun(thing: table): function    what the core calls in place of build
function module.register(kind, name, info, build, wrap)
  if type(info) == "function" then info, build = {}, info end
  if type(build) ~= "function" then
    error(core.where() .. "sonde." .. kind .. "(name, [info,] function" .. (takes[kind] or "(site, options, x)")
      .. " ... end)", 0)
  end
  local described, all = { build = build }, registry_of(kind)
  for key, value in next, info do described[key] = value end
  -- The conformance kit has a runtime for each check: what the present one does not know is to be registered again.
  if all:get(name) and not known(kind, name) then all:forget(name) end
  local thing = all:add(name, described)
  core.module_register(kind, name, thing, wrap and wrap(thing) or build)
end

--- Splits "rmsnorm", {"rmsnorm", eps = 1e-5} or {name = "rmsnorm", eps = 1e-5} into a name and options.
---@param given string|table
---@param what string            for messages: "norm"
---@param where fun(): string
---@return string name, table options
function module.spec(given, what, where)
  if type(given) == "string" then return given, {} end
  local name = given.name or given[1]
  if type(name) ~= "string" then
    error(args.place(where) .. what .. " needs a name: \"NAME\" or {\"NAME\", option = value}", 0)
  end
  local options = {}
  for key, value in pairs(given) do
    if key ~= "name" and key ~= 1 then options[key] = value end
  end
  return name, options
end

-- Calls a function of the core whose error is about something that stands at `where`, in a file or in the script.
local function placed(where, f, ...)
  local ok, result = pcall(f, ...)
  if ok then return result end
  local here = core.where()
  if here ~= "" and string.sub(result, 1, #here) == here then result = string.sub(result, #here + 1) end
  error(args.place(where) .. result, 0)
end

-- The options that a module of the registry knows, as a set.
local function known_options(kind, name, where)
  local known = {}
  for _, option in ipairs(placed(where, core.module, kind, name).options) do known[option.name] = true end
  return known
end

--- Resolves a module of a model: every option has its value.
---@param kind string
---@param given string|table
---@param shared table<string, any>     options of the model that modules of this kind take when they know them
---@param asked table<string, string>   those the user has set: option of the module -> option of the model
---@param where fun(): string
---@return {name: string, options: table}
function module.resolve(kind, given, shared, asked, where)
  local name, options = module.spec(given, kind, where)
  local known = known_options(kind, name, where)
  for key, value in pairs(shared) do
    if options[key] == nil then
      if known[key] then
        options[key] = value
      elseif asked[key] then
        error(args.place(where) .. "option '" .. asked[key] .. "' of transformer has no effect: " .. kind .. " '"
          .. name
          .. "' has no option '" .. key .. "'", 0)
      end
    end
  end
  return { name = name, options = placed(where, core.module_values, kind, name, options) }
end

--- What a file of model/kind returns: the function that registers modules of its kind.
---@param kind table<string, function>
---@param name string
---@return table
function module.declare(kind, name)
  return args.declare(kind, "sonde.", {
    [name] = {
      { name = "name", type = "string", required = true }, { name = "info", type = "table|function", required = true },
      { name = "build", type = "function" },
    },
  })
end

return module
