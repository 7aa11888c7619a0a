--- feed.lua - training data from arrays: a feed names the inputs of the model and gives the rows of each. (A corpus is
-- the feed of the inputs "tokens" and "targets".)

local core = require "sonde.core"
local args = require "sonde.base.args"
local sorted_keys = require "sonde.base.sorted_keys"

local feed = {}
local class = args.class("feed", { __name = "sonde.feed" })
class.__index = class

local rows = {
  type = "table", each = { name = "array", type = "tensor", doc = "f32 or i32 [rows, ...]" },
}

--- The arrays of a feed.
---@type sonde.schema
feed.schema = {
  { name = "train", type = rows.type, each = rows.each, required = true,
    doc = "input -> tensor [rows, ...], of all as many rows: \"features\" [N, T, F], \"labels\" [N, T]" },
  { name = "validation", type = rows.type, each = rows.each, doc = "the same inputs, for evaluation" },
}

---@class sonde.feed
---@field spec string           "arrays"
---@field hash string           SHA-256 of the inputs' names, shapes and values, hex
---@field inputs string[]       the inputs that it fills
---@field train {rows: integer}
---@field validation {rows: integer}

local function rows_of(arrays)
  local _, tensor = next(arrays or {})
  return tensor and tensor:dims()[1] or 0
end

local function hash_of(names, parts)
  local texts = {}
  for _, name in ipairs(names) do
    for _, part in ipairs(parts) do
      texts[#texts + 1] = name .. " " .. (part[name] and part[name]:sha256() or "none")
    end
  end
  return core.sha256(table.concat(texts, "\n"))
end

--- A feed of arrays: sonde.feed { train = { features = x, labels = y }, validation = { features = v, labels = w } }. An
--- epoch takes every training row once, in an order that follows from the training's seed. The feed reads the tensors
--- as they are when a row is filled in.
---@param arrays table        see feed.schema
---@return sonde.feed
function feed.arrays(arrays)
  arrays = args.check(feed.schema, arrays, "feed")
  local names = sorted_keys(arrays.train)
  for _, name in ipairs(sorted_keys(arrays.validation or {})) do
    if not arrays.train[name] then
      error(core.where() .. "feed: validation has '" .. name .. "', which train has not", 0)
    end
  end
  if #names == 0 then error(core.where() .. "feed: train holds no array", 0) end
  local self = setmetatable({
    spec = "arrays", hash = hash_of(names, { arrays.train, arrays.validation or {} }), inputs = names,
    train = { rows = rows_of(arrays.train) }, validation = { rows = rows_of(arrays.validation) }, parts = {},
  }, class)
  for i, name in ipairs(names) do
    self.parts[i] = { name = name, train = arrays.train[name], valid = arrays.validation and arrays.validation[name] }
  end
  core.feed_arrays(self.parts, 0):close()      -- says what does not fit
  return self
end

--- Whether a value is a feed of arrays.
---@param source any
---@return boolean
function feed.is(source)
  return type(source) == "table" and getmetatable(source) == class
end

--- Whether the rows of a feed are of several documents, by its input "document_ends" (trace option document_ends).
---@param source any
---@return boolean
function feed.has_documents(source)
  for _, name in ipairs(feed.is(source) and source.inputs or {}) do
    if name == "document_ends" then return true end
  end
  return false
end

--- What the core's trainer reads rows from.
---@param source sonde.corpus|sonde.feed
---@param context integer
---@param seed integer      of the order of the rows
---@param caches? table[]   {cache =, ids =, logs =}: of teachers, of a corpus's rows; the inputs that they fill
---@return userdata
function feed.open(source, context, seed, caches)
  if feed.is(source) then return core.feed_arrays(source.parts, seed) end
  return core.feed_tokens(source.handle, context, seed, caches)
end

-- Whether two shapes of one row are the same. An input of another rank than the data counts by its numbers: it may be
-- the same row, flattened.
local function same_row(a, b)
  if #a == #b then return table.concat(a, " ") == table.concat(b, " ") end
  local n, m = 1, 1
  for _, dim in ipairs(a) do n = n * dim end
  for _, dim in ipairs(b) do m = m * dim end
  return n == m
end

-- The shape of one row of a trace's input [B, ...] or [B T, ...].
local function row_of(dims, batch)
  local row = { table.unpack(dims, 2) }
  if dims[1] ~= batch then table.insert(row, 1, math.floor(dims[1] / batch)) end
  return row
end

--- Tensors for the inputs of a feed's rows; those that a plan reads are set in it.
---@param plan userdata
---@param trace table          of the model; its batch is the number of rows
---@param source table         the feed
---@return table<string, userdata> tensors    what source:train and source:valid fill
function feed.bind(plan, trace, source)
  local tensors = {}
  for _, input in ipairs(source:inputs()) do
    local read, count = plan:reads(input.name), trace.batch
    for _, dim in ipairs(input.dims) do count = count * dim end
    tensors[input.name] = core.tensor(input.dtype, read and trace.graph:find(input.name):dims() or { count })
    if read then plan:set(input.name, tensors[input.name]) end
  end
  return tensors
end

-- Refuses an array of a feed that nothing reads.
local function check_read(source, trace)
  local read, known = trace.graph:inputs(), { "document_ends" }
  for _, name in ipairs(read) do known[#known + 1], known[name] = name, true end
  for _, name in ipairs(feed.is(source) and source.inputs or {}) do
    if not known[name] then
      local near = core.nearest(name, known)
      error(core.where() .. "the model does not read the feed's array '" .. name .. "'; it reads "
        .. table.concat(read, ", ") .. (near and "; did you mean '" .. near .. "'?" or ": leave it out"), 0)
    end
  end
end

--- Refuses data whose rows are not those that the model was traced for, which would be joined or cut, and arrays that
--- it does not read.
---@param handle userdata    of feed.open
---@param trace sonde.trace
---@param source sonde.corpus|sonde.feed
function feed.check_rows(handle, trace, source)
  check_read(source, trace)
  for _, input in ipairs(handle:inputs()) do
    local node = trace.graph:find(input.name)
    local row = node and #node:dims() > 0 and row_of(node:dims(), trace.batch)
    if row and not same_row(row, input.dims) then
      error(core.where() .. string.format("the rows of '%s' are [%s], but the model reads rows of [%s] at a "
        .. "context of %d; context must be the length of a row, and the other axes alike", input.name,
        table.concat(input.dims, ", "), table.concat(row, ", "), trace.context), 0)
    end
  end
end

--- Refuses a feed with a validation array that holds NaN or an infinite value: it gives no loss.
---@param source sonde.corpus|sonde.feed
---@param what string      who asks, for the message
function feed.refuse_not_finite(source, what)
  for _, part in ipairs(feed.is(source) and source.parts or {}) do
    for i = 1, part.valid and part.valid:dtype() == "f32" and part.valid:count() or 0 do
      local value = part.valid:get(i)
      if value - value ~= 0 then
        error(core.where() .. string.format("%s: the feed's validation array '%s' holds NaN or an infinite value, the "
          .. "first at element %d", what, part.name, i), 0)
      end
    end
  end
end

--- Whether there is something to evaluate on.
---@param source sonde.corpus|sonde.feed
---@return boolean
function feed.validates(source)
  if feed.is(source) then return source.validation.rows > 0 end
  return source.validation ~= nil and source.validation.tokens > 1
end

return args.declare(feed, "sonde.", {
  arrays = { as = "sonde.feed", { name = "arrays", type = "table", required = true } },
})
