--- quantity.lua - what is known by its name of a number that trials have or report, so that a report can say it: what
-- it is, what to look for, how its axis is called and scaled.
--
-- A probe brings all of that itself (probe/registry.lua). Other quantities are registered: those of Sonde by the files
-- of quantities/, those of a script by sonde.quantity. Of a name that nobody knows the report says only that.

local args = require "sonde.base.args"
local probes = require "sonde.probe.registry"
local registry = require "sonde.base.registry"

local quantity = {}

local text = "string"

-- What a report says of a curve over the training.
local curve = {
  { name = "title", type = text, required = true, doc = "of its figure" },
  { name = "axis", type = text, required = true, doc = "its axis" },
  { name = "log", type = "boolean", preset = false, doc = "whether that is a log axis" },
  { name = "doc", type = text, required = true, doc = "what the numbers are, in a sentence" },
  { name = "look", type = text, required = true, doc = "what to look for" },
  { name = "pick", type = text, choices = { "first", "last", "mean" }, doc = "which block's, of a list by block" },
  { name = "place", type = "integer", preset = 99, doc = "its place among the curves" },
}

local schema = {
  { name = "title", type = text, doc = "of figures and sections" },
  { name = "short", type = text, doc = "what a column of a table or a sentence calls it; default: its name" },
  { name = "axis", type = text, doc = "what an axis of it is called; none: only its curve is described" },
  { name = "log", type = "boolean|string", choices = { "auto" }, preset = "auto",
    doc = "a log axis: true, false, or 'auto' where its values span a factor of five" },
  { name = "doc", type = text, preset = "", doc = "what the number is, in a sentence" },
  { name = "look", type = text, preset = "", doc = "what to look for in a figure of it" },
  { name = "of_text", type = "boolean", preset = false,
    doc = "whether it is measured on a text: %s in axis and doc becomes 'validation ' or 'training '" },
  { name = "place", type = "integer", preset = 99, doc = "its place among the figures by block" },
  { name = "figure", type = "boolean", preset = true, doc = "whether a report draws its lists" },
  { name = "ranked", type = "boolean", preset = true, doc = "whether one of its ends is the better one" },
  { name = "axes", type = "list", doc = "of a matrix: what its rows and its columns are" },
  { name = "over_training", type = "table", doc = "of its curve over the training, where it has one" },
}

local quantities = registry.new { kind = "quantity", folder = "sonde/report/quantities", schema = schema }
quantity.registry = quantities

--- Registers what a report says of a quantity.
---@param name string
---@param info {title: string, axis: string, log: boolean|"auto", doc: string, look: string, of_text: boolean}
function quantity.register(name, info)
  local added = quantities:add(name, info)
  if added.over_training then
    added.over_training = args.check(curve, added.over_training, "quantity '" .. name .. "', over_training")
  end
end

local function filled(said, of)
  return said and (string.gsub(said, "%%s", of or ""))
end

local function sentence(said)
  return (string.gsub(said, "^%l+%f[%s]", function(word) return (string.gsub(word, "^%l", string.upper)) end)) .. "."
end

-- The probe whose column a list is: "weight_sparsity_1e-2" is that of weight_sparsity.
local function of_column(name)
  for _, each in ipairs(probes.names()) do
    for _, column in ipairs(name:sub(1, #each) == each and probes.find(each).columns or {}) do
      if name == each .. "_" .. column then return probes.find(each), column end
    end
  end
end

--- What is known of a quantity: title (or nil), axis, log, doc, look and place. Of a list that nobody knows only the
--- places are known: `along` says so.
---@param name string
---@param of? string     the text that it is of: "validation "
---@return table
function quantity.of(name, of)
  local known, probe = quantities:get(name), probes.find(name)
  if known and known.axis then
    return { title = known.title, axis = filled(known.axis, of) or name, log = known.log, doc = filled(known.doc, of),
      look = known.look, place = known.place, hidden = not known.figure, axes = known.axes }
  end
  local column
  if not probe then probe, column = of_column(name) end
  if column then
    return { title = (probe.title or probe.name) .. ", " .. column, axis = probe.axis or column, log = probe.log,
      doc = sentence(probe.definition), look = probe.look, place = probe.place }
  end
  if probe then
    return { title = probe.title or name, axis = probe.axis or probe.unit ~= "" and probe.unit or name, log = probe.log,
      doc = sentence(probe.definition), look = probe.look, place = probe.place }
  end
  return { title = name, axis = name, log = "auto", along = "place in the list, from 0", look = "", place = 99,
    doc = ("Reported by the trials as '%s', averaged over them."):format(name) }
end

--- What an axis of the values of a parameter is called.
---@param name string
---@return string
function quantity.label(name)
  local known = quantities:get(name)
  return known and known.axis or name
end

--- What a column of a table or a sentence calls a quantity.
---@param name string
---@return string
function quantity.short(name)
  local known = quantities:get(name)
  return known and known.short or name
end

--- Whether more or less of a quantity is better, so that arms have an order.
---@param name string
---@return boolean
function quantity.is_ranked(name)
  local known = quantities:get(name)
  return known == nil or known.ranked
end

--- Whether a quantity is measured on a text, of validation or of training.
---@param name string
---@return boolean
function quantity.of_text(name)
  local known = quantities:get(name)
  return known ~= nil and known.of_text
end

--- The curves over the training, in their order: { field, title, axis, log, doc, look, pick }.
---@return table[]
function quantity.curves()
  local list = {}
  for _, name in ipairs(quantities:names()) do
    local over = quantities:find(name).over_training
    if over then
      local copy = { field = name }
      for key, value in pairs(over) do copy[key] = value end
      list[#list + 1] = copy
    end
  end
  table.sort(list, function(a, b)
    if a.place ~= b.place then return a.place < b.place end
    return a.field < b.field
  end)
  return list
end

--- Whether values are shown on a log axis: as a quantity wants it, and with "auto" where they are positive and span
--- more than a factor of five.
---@param log boolean|"auto"
---@param series table[]     each with its values y and, where it has them, the lower ends lo of intervals
---@return boolean
function quantity.wants_log(log, series)
  if log ~= "auto" then return log end
  local low, high
  for _, s in ipairs(series) do
    for _, list in ipairs { s.y, s.lo or {} } do
      for _, y in pairs(list) do
        if y - y == 0 then low, high = math.min(low or y, y), math.max(high or y, y) end
      end
    end
  end
  return low ~= nil and low > 0 and high / low > 5
end

return args.declare(quantity, "sonde.quantity.", {
  register = {
    as = "sonde.quantity",
    { name = "name", type = "string", required = true }, { name = "info", type = "table", required = true },
  },
})
