--- added.lua - what a branch adds to the stream: not its module's output where a norm or a factor stands behind it.
--
-- A placement is any function, so the sum is looked for in the graph: the first one at which something that follows
-- from the branch meets something that follows from the block's input without it.

local core = require "sonde.core"

local added = {}

-- All values of a block that its output follows from, without those before its input, in the order they were traced.
local function values_of(output, input)
  local seen, list, stack = {}, {}, { output }
  while #stack > 0 do
    local node = table.remove(stack)
    local id = core.node_id(node)
    if not seen[id] then
      seen[id] = true
      list[#list + 1] = { id = id, node = node, inputs = node == input and {} or node:inputs() }
      for _, x in ipairs(list[#list].inputs) do stack[#stack + 1] = x end
    end
  end
  table.sort(list, function(a, b) return a.id < b.id end)
  return list
end

local sums = { add = true, sub = true }

--- What the branch of block i (from 1) adds, or nil where it adds nothing; then, true if the block's output follows
-- from the branch all the same.
---@param trace sonde.trace
---@param i integer
---@param slot "attn"|"ffn"
---@return sonde.node|nil, boolean
function added.node(trace, i, slot)
  local part = trace.parts[i]
  local branch = part and part:lookup(slot .. ".branch")
  if not branch then return nil, false end
  local input, output = i == 1 and trace.embedding or trace.blocks[i - 1], trace.blocks[i]
  local by_branch, by_stream = {}, {}
  for _, value in ipairs(values_of(output, input)) do
    by_branch[value.id], by_stream[value.id] = value.node == branch, value.node == input
    for _, x in ipairs(value.inputs) do
      by_branch[value.id] = by_branch[value.id] or by_branch[core.node_id(x)]
      by_stream[value.id] = by_stream[value.id] or by_stream[core.node_id(x)]
    end
    if value.node == branch then by_stream[value.id] = false end
    if sums[value.node:op()] and value.node ~= input then
      local a, b = core.node_id(value.inputs[1]), core.node_id(value.inputs[2])
      if by_branch[a] and by_stream[b] and not by_branch[b] then return value.inputs[1], false end
      if by_branch[b] and by_stream[a] and not by_branch[a] then return value.inputs[2], false end
    end
  end
  return nil, by_branch[core.node_id(output)]
end

return added
