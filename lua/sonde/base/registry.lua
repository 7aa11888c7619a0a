--- registry.lua - things that are known by name: placements, initialisations, modules, probes, strategies, quantities.
--
-- A registry holds the things of one kind. Each is a table that fits the kind's schema; which of its fields says in a
-- line what it is, is known too, so that help and documentation list all kinds alike. Sonde's own things of a kind may
-- lie in a folder of the library, whose files register them; it is read when a name is first looked for.

local core = require "sonde.core"
local args = require "sonde.base.args"
local listed = require("sonde.base").listed
local sorted_keys = require "sonde.base.sorted_keys"
local format = require "sonde.base.format"

---@class sonde.registry
---@field kind string      what one of the things is called
local registry = {}
registry.__index = registry

local NAME = "^%a[%w_-]*$"

---@class sonde.registry_options
---@field kind string              "placement", for messages
---@field schema sonde.schema      what the table of a thing holds
---@field doc? string              the field of that table that says in a line what the thing is; default: "doc"
---@field folder? string           of the library ("sonde/probe/measures"): its files register things of the kind
---@field others? fun(): string[]  names that are taken elsewhere, by plugins
---@field origin? fun(name: string): string   where one of these comes from

--- A registry without things.
---@param options sonde.registry_options
---@return sonde.registry
function registry.new(options)
  return setmetatable({
    kind = options.kind, schema = options.schema, doc = options.doc or "doc", folder = options.folder,
    others = options.others or function() return {} end, origin = options.origin, things = {}, from = {},
  }, registry)
end

-- Loads the folder of the kind's own things once; its files register them, which must not load it again.
local function load(self)
  local folder = self.folder
  if not folder then return end
  self.folder = nil
  for _, name in ipairs(listed(folder)) do require(string.gsub(folder, "/", ".") .. "." .. name) end
end

local function taken(names, name)
  for _, each in ipairs(names) do
    if each == name then return true end
  end
  return false
end

-- Whether the functions of a thing are the library's own.
local function is_sondes(thing)
  local inside = "@" .. core.lua_dir()
  for _, value in pairs(thing) do
    if type(value) == "function" and string.sub(debug.getinfo(value, "S").source, 1, #inside) == inside then
      return true
    end
  end
  return false
end

--- Registers a thing. Raises where the name is none or is taken, and where the table does not fit the schema.
---@param name string
---@param info table
---@return table thing     a checked copy with the schema's defaults, and its `name`
function registry:add(name, info)
  if not string.find(name, NAME) then
    error(core.where() .. "'" .. name .. "' cannot name a thing of the kind " .. self.kind
      .. "; names are letters, digits, _ and -, after a letter", 0)
  end
  load(self)
  local others = not self.things[name] and taken(self.others(), name)
  if self.things[name] or others then
    local from = others and self.origin and self.origin(name) or self.from[name]
    error(("%sthe %s '%s' exists already%s; give one of them another name"):format(core.where(), self.kind, name,
      from and ", from " .. from or ""), 0)
  end
  local thing = args.check(self.schema, info, self.kind .. " '" .. name .. "'")
  thing.name = name
  self.things[name] = thing
  self.from[name] = is_sondes(thing) and "Sonde" or string.match(core.where(), "^(.+): $")
  return thing
end

--- Frees the name of a thing that is gone.
---@param name string
function registry:forget(name)
  self.things[name] = nil
end

--- The names of all things of the kind, in order.
---@return string[]
function registry:names()
  load(self)
  local names = {}
  for name in pairs(self.things) do names[name] = true end
  for _, name in ipairs(self.others()) do names[name] = true end
  return sorted_keys(names)
end

--- The thing of that name, or nil.
---@param name any
---@return table|nil
function registry:get(name)
  load(self)
  return self.things[name]
end

--- The thing of that name; raises where there is none, with the name that may be meant.
---@param name any
---@param where? fun(): string     the place of the name, for the message
---@return table
function registry:find(name, where)
  local thing = self:get(name)
  if not thing then
    error(args.place(where) .. "unknown " .. self.kind .. " '" .. tostring(name) .. "'"
      .. args.hint(name, self:names()), 0)
  end
  return thing
end

--- What each thing is: { name, line } in the order of the names.
---@return string[][]
function registry:described()
  load(self)
  local rows = {}
  for k, name in ipairs(sorted_keys(self.things)) do rows[k] = { name, self.things[name][self.doc] } end
  return rows
end

--- The same as lines for help, each cut to a width.
---@param width integer
---@return string[]
function registry:lines(width)
  local rows, widest = self:described(), 0
  for _, row in ipairs(rows) do widest = math.max(widest, #row[1]) end
  local room = width - widest - 4
  for _, row in ipairs(rows) do
    if #row[2] > room then row[2] = string.gsub(string.sub(row[2], 1, room - 3), "%s+%S*$", "") .. "..." end
  end
  return format.indented(rows)
end

return registry
