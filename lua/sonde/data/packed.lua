--- packed.lua - examples of any length in rows of one length, without one seeing another: a feed for training.
--
-- Its inputs are "tokens", "targets" (-1 where the next token is not to be learned) and "document_ends" (1 at the last
-- token of each example), from which the trace makes where each token's example starts and its position there.

local core = require "sonde.core"
local feeds = require "sonde.data.feed"

local packed = {}

---@class sonde.example
---@field ids integer[]
---@field learns boolean[]      whether each token is to be learned

-- Which examples share a row: the longest first, each into the fullest row that still takes it.
local function rows_of(examples, context)
  local order, rows, with_room = {}, {}, {}
  for k = 1, #examples do order[k] = k end
  table.sort(order, function(a, b)
    if #examples[a].ids ~= #examples[b].ids then return #examples[a].ids > #examples[b].ids end
    return a < b
  end)
  for room = 0, context do with_room[room] = {} end
  for _, k in ipairs(order) do
    local n, room = #examples[k].ids, nil
    for r = n, context do
      if #with_room[r] > 0 then
        room = r
        break
      end
    end
    local row = room and table.remove(with_room[room])
    if not row then
      row, room = {}, context
      rows[#rows + 1] = row
    end
    row[#row + 1] = k
    table.insert(with_room[room - n], row)
  end
  return rows
end

-- Writes an example into a row's place in the tensors.
local function write(arrays, at, example)
  local ids, learns = example.ids, example.learns
  for k, id in ipairs(ids) do
    arrays.tokens:set(at + k, id)
    arrays.targets:set(at + k, learns[k + 1] and ids[k + 1] or -1)
  end
  arrays.document_ends:set(at + #ids, 1)
end

local function tensors_of(examples, context, filler)
  local rows = rows_of(examples, context)
  local dims = { #rows, context }
  local arrays = {
    tokens = core.tensor("i32", dims, filler), targets = core.tensor("i32", dims, -1),
    document_ends = core.tensor("i32", dims),
  }
  for r, row in ipairs(rows) do
    local at = (r - 1) * context
    for _, k in ipairs(row) do
      write(arrays, at, examples[k])
      at = at + #examples[k].ids
    end
  end
  return arrays, #rows
end

--- A feed of examples, each at most `context` tokens.
---@param train sonde.example[]
---@param validation sonde.example[]     may be empty
---@param context integer
---@param filler integer                 token behind the last example of a row
---@return sonde.feed feed, integer rows   rows: of training
function packed.feed(train, validation, context, filler)
  local arrays, rows = tensors_of(train, context, filler)
  local others = #validation > 0 and tensors_of(validation, context, filler) or nil
  return feeds.arrays { train = arrays, validation = others }, rows
end

return packed
