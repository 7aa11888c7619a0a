--- norms.lua - figures of the norms of blocks as a matrix: rows are blocks, columns the places of norms in a block, as
-- block:norm_in and block:norm_out know them: "attn", "ffn", "attn_out", "ffn_out".

local core = require "sonde.core"

---@class sonde.probe.norms
---@field labels string[]      the places that were met
local norms = {}
norms.__index = norms

---@return sonde.probe.norms
function norms.new()
  return setmetatable({ labels = core.list(), columns = {}, taken = {}, cells = {} }, norms)
end

--- Says that the next figure is of a block's norm at a place; a second norm of the same name has a column of its own.
---@param block integer     from 1
---@param slot string
function norms:add(block, slot)
  local label, nth = slot, 1
  while self.taken[block .. label] do
    nth = nth + 1
    label = slot .. " " .. nth
  end
  self.taken[block .. label] = true
  if not self.columns[label] then
    self.labels[#self.labels + 1] = label
    self.columns[label] = #self.labels
  end
  self.cells[#self.cells + 1] = { block, self.columns[label] }
end

--- The figures as rows, NaN where a block has no such norm.
---@param list number[]
---@param depth integer
---@return number[][]
function norms:rows(list, depth)
  local rows = core.list()
  for block = 1, depth do
    rows[block] = core.list()
    for k = 1, #self.labels do rows[block][k] = 0 / 0 end
  end
  for i, cell in ipairs(self.cells) do rows[cell[1]][cell[2]] = list[i] end
  return rows
end

return norms
