--- grid.lua - the points of a sweep: every combination of the grid's values, each with a name made of them.
--
-- A trial's name depends on its own parameters only, so it is the same in any order and in any larger grid. A value may
-- be a table, such as a module with its options; it is then known by what it holds.

local core = require "sonde.core"
local sorted_keys = require "sonde.base.sorted_keys"

local grid = {}

local NAME = "^[%a_][%w_]*$"
local LONGEST = 120
local DEEPEST = 8       -- tables in tables: one that holds itself is deeper than any

-- ---- values ---------------------------------------------------------------------------------------------------------

local function number_of_keys(t)
  local n = 0
  for _ in next, t do n = n + 1 end
  return n
end

--- A value as JSON can hold it, every table copied: {"swiglu", hidden = 8} is { name = "swiglu", hidden = 8 }.
---@param value any
---@param refuse fun(why: string)     called for what is no value; does not return
---@param depth? integer
---@return any
function grid.plain(value, refuse, depth)
  local kind = type(value)
  if kind == "number" and value - value ~= 0 then refuse "a number that is not finite" end
  if kind == "string" and value:find "%z" then refuse "a text with a zero byte" end
  if kind == "number" or kind == "string" or kind == "boolean" then return value end
  if kind ~= "table" then refuse("a " .. kind) end
  depth = depth or 1
  if depth > DEEPEST then refuse "tables nested too deeply" end
  local copy, count = {}, number_of_keys(value)
  local is_list, is_spec = #value == count, #value == 1 and value.name == nil and type(value[1]) == "string"
  for key, entry in next, value do
    if type(key) ~= "string" and not is_list and not (is_spec and key == 1) then
      refuse "a table that mixes a list with names"
    end
    copy[key == 1 and not is_list and "name" or key] = grid.plain(entry, refuse, depth + 1)
  end
  return copy
end

local function is_list_of_scalars(t)
  for _, entry in ipairs(t) do
    if type(entry) == "table" then return false end
  end
  return #t > 0
end

-- The entries of a table as "path=value" texts, in the order of their keys; a list of scalars is one entry, "a~b".
local function entries(t, path, scalar, out)
  if is_list_of_scalars(t) then
    local words = {}
    for k, entry in ipairs(t) do words[k] = scalar(entry) end
    out[#out + 1] = (path == "" and "" or path .. "=") .. table.concat(words, "~")
    return out
  end
  if next(t) == nil then out[#out + 1] = (path == "" and "" or path .. "=") .. scalar "{}" end
  for _, key in ipairs(sorted_keys(t)) do
    local entry, at = t[key], (path == "" and "" or path .. ".") .. scalar(key)
    if type(entry) == "table" then entries(entry, at, scalar, out) else out[#out + 1] = at .. "=" .. scalar(entry) end
  end
  return out
end

-- "swiglu+hidden=8": what a table is called, then the rest of it.
local function text_of(value, scalar)
  if type(value) ~= "table" then return scalar(value) end
  value = grid.plain(value, function(why) error("sweep: a value holds " .. why, 0) end)
  local out = {}
  if type(value.name) == "string" then
    out[1], value.name = scalar(value.name), nil
    if next(value) == nil then return out[1] end
  end
  return table.concat(entries(value, "", scalar, out), "+")
end

-- Whole numbers with all their digits, others with so many as `form` says.
local function scalar_text(value, form)
  local text = tostring(value)
  return type(value) == "number" and not text:find "^%-?%d+$" and string.format(form, value) or text
end

local function exact(value)
  return scalar_text(value, "%.14g")
end

--- A value of a parameter as people read it, on one line: "4", "pre_ln", "swiglu+hidden=8".
---@param value any
---@return string
function grid.text(value)
  return (text_of(value, function(v) return scalar_text(v, "%.10g") end):gsub("%c", "?"))
end

--- Whether two values of a parameter are the same; tables are when they hold the same.
---@param a any
---@param b any
---@return boolean
function grid.same(a, b)
  if type(a) ~= "table" or type(b) ~= "table" then return a == b end
  return text_of(a, exact) == text_of(b, exact)
end

-- ---- names of trials ------------------------------------------------------------------------------------------------

--- Twelve hex digits that depend on every byte of a text.
---@param text string
---@return string
function grid.hash(text)
  return core.sha256(text):sub(1, 12)
end

local function for_files(value)
  return (exact(value):gsub("[^%w%.%+_-]", "-"))
end

--- The name of a trial: "depth=4,placement=lns,seed=1". Characters that do not belong into a file name become "-",
--- and a hash is added then, so that two trials never share a name.
---@param axes table[] { { name = .. }, .. } in the order of the name
---@param params table<string, any>
---@return string
function grid.id(axes, params)
  local parts, plain = {}, {}
  for k, axis in ipairs(axes) do
    plain[k] = axis.name .. "=" .. text_of(params[axis.name], exact)
    parts[k] = axis.name .. "=" .. text_of(params[axis.name], for_files)
  end
  local name, full = table.concat(parts, ","), table.concat(plain, ",")
  if name == full and #name <= LONGEST then return name end
  return name:sub(1, LONGEST) .. "~" .. grid.hash(full)
end

-- ---- axes and points ------------------------------------------------------------------------------------------------

local function check_values(name, values)
  local seen = {}
  if type(values) ~= "table" or #values == 0 or #values ~= number_of_keys(values) then
    error(("sweep: grid.%s must be a list of values, such as { 1, 2, 3 }"):format(name), 0)
  end
  for _, value in ipairs(values) do
    grid.plain(value, function(why)
      error(("sweep: grid.%s holds %s; values are numbers, strings, booleans or tables of those"):format(name, why), 0)
    end)
    local key = type(value) .. text_of(value, exact)
    if seen[key] then error(("sweep: grid.%s has the value %s twice"):format(name, grid.text(value)), 0) end
    seen[key] = true
  end
end

--- The axes of a grid: sorted by name, the one that trials repeat over (`over`, the seed) last.
---@param lists table<string, any[]>
---@param over string
---@return table[] axes { { name = .., values = {..} }, .. }
function grid.axes(lists, over)
  local axes = {}
  for name, values in next, lists do
    if type(name) ~= "string" or not name:find(NAME) then
      error(("sweep: '%s' is no name for a parameter; names are words such as depth"):format(tostring(name)), 0)
    end
    check_values(name, values)
    axes[#axes + 1] = { name = name, values = values }
  end
  if #axes == 0 then error("sweep: the grid is empty; give it lists, such as grid = { depth = { 4, 8 } }", 0) end
  table.sort(axes, function(a, b)
    if (a.name == over) ~= (b.name == over) then return b.name == over end
    return a.name < b.name
  end)
  return axes
end

--- A copy with all that is in it: what a trial's function changes in its parameters changes no other's.
---@param value any
---@return any
function grid.copy(value)
  if type(value) ~= "table" then return value end
  local copy = {}
  for key, entry in next, value do copy[key] = grid.copy(entry) end
  return copy
end

--- Every combination. The last axis (the seed) varies slowest, so that a sweep that is stopped half-way has each
--- cell once rather than half of them twice; the others vary as written, the last of them fastest.
---@param axes table[] from grid.axes
---@return table[] points { { id = .., params = {..} }, .. }
function grid.points(axes)
  local order = { #axes }
  for k = 1, #axes - 1 do order[k + 1] = k end
  local points = { {} }
  for _, k in ipairs(order) do
    local longer = {}
    for _, params in ipairs(points) do
      for _, value in ipairs(axes[k].values) do
        local copy = {}
        for name, v in pairs(params) do copy[name] = v end
        copy[axes[k].name] = value
        longer[#longer + 1] = copy
      end
    end
    points = longer
  end
  local seen = {}
  for k, params in ipairs(points) do
    local id = grid.id(axes, params)
    if seen[id] then error(("sweep: two trials would both be named '%s'; change a value"):format(id), 0) end
    seen[id], points[k] = true, { id = id, params = params }
  end
  return points
end

return grid
