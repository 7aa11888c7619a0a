--- sweep_grid.lua - the points of a sweep: every combination of the grid's values, each with a name made of them.
--
-- A trial's name depends on its own parameters only, so it is the same in any order and in any larger grid.

local grid = {}

local NAME = "^[%a_][%w_]*$"
local LONGEST = 120

local function value_text(value)
  if type(value) == "number" then return string.format("%.14g", value) end
  return tostring(value)
end

--- Twelve hex digits that depend on every byte of a text: two polynomials modulo 2^24, which doubles hold exactly.
---@param text string
---@return string
function grid.fingerprint(text)
  local low, high = 0x811c9d, 0xc59d1c
  for k = 1, #text do
    local byte = text:byte(k)
    low = (low * 251 + byte) % 0x1000000
    high = (high * 241 + byte * 7 + low % 251) % 0x1000000
  end
  return string.format("%06x%06x", high, low)
end

--- The name of a trial: "depth=4,placement=lns,seed=1". Characters that do not belong into a file name become "-",
--- and a fingerprint is added then, so that two trials never share a name.
---@param axes table[] { { name = .. }, .. } in the order of the name
---@param params table<string, any>
---@return string
function grid.id(axes, params)
  local parts, plain = {}, {}
  for k, axis in ipairs(axes) do
    local text = value_text(params[axis.name])
    plain[k] = axis.name .. "=" .. text
    parts[k] = axis.name .. "=" .. text:gsub("[^%w%.%+_-]", "-")
  end
  local name, exact = table.concat(parts, ","), table.concat(plain, ",")
  if name == exact and #name <= LONGEST then return name end
  return name:sub(1, LONGEST) .. "~" .. grid.fingerprint(exact)
end

local function check_values(name, values)
  local seen = {}
  if type(values) ~= "table" or #values == 0 then
    error(("sweep: grid.%s must be a list of values, such as { 1, 2, 3 }"):format(name), 0)
  end
  for _, value in ipairs(values) do
    local kind = type(value)
    if (kind ~= "number" and kind ~= "string" and kind ~= "boolean") or value ~= value then
      error(("sweep: grid.%s holds a %s; values are numbers, strings or booleans"):format(name, kind), 0)
    end
    local key = kind .. value_text(value)
    if seen[key] then error(("sweep: grid.%s has the value %s twice"):format(name, value_text(value)), 0) end
    seen[key] = true
  end
end

--- The axes of a grid: sorted by name, the one that trials repeat over (`over`, the seed) last.
---@param lists table<string, any[]>
---@param over string
---@return table[] axes { { name = .., values = {..} }, .. }
function grid.axes(lists, over)
  local axes = {}
  for name, values in pairs(lists) do
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
