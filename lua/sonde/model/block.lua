--- block.lua - a block of a transformer while it is traced: what placements build with.

local core = require "sonde.core"
local args = require "sonde.base.args"
local names = require "sonde.model.names"

---@class sonde.block
---@field layer integer     l = 1..L; of the stack it was trained in, for a pruned model
---@field depth integer     L, likewise
---@field index integer     its place in this model, from 0, as in the names "blocks.0.out"
---@field width integer     D
---@field batch integer     B
---@field context integer   T
---@field options table     the placement's own options
---@field norms table[]     its norms in the order they were built: slot, input, output
local block = {}
block.__index = block

-- The site of one module of the block.
local function site_of(self, slot, name)
  local trace = self.trace
  return core.site {
    graph = trace.graph, params = trace.params, block = self.shared,
    policy = trace.model:policy(self.layer, self.depth, self.options),
    layer = self.layer, depth = self.depth, number = self.index + 1, slot = slot, prefix = self.prefix .. name .. ".",
    width = self.width, batch = self.batch, context = self.context, trained_context = trace.model.config.context,
  }
end

-- 1 for each expert of the block, 0 for those that the trace mutes, [E].
local function kept_experts(self, muted)
  local experts, kept = self.modules.ffn.options.experts, {}
  for _, expert in ipairs(muted) do
    if expert >= (self.modules.without ~= "ffn" and experts or 0) then
      error(core.where() .. ("mute: block %d has no expert %d"):format(self.index, expert), 0)
    end
    kept[expert + 1] = 0
  end
  for e = 1, experts do kept[e] = self.trace.graph:constant(kept[e] or 1, { 1 }) end
  return require("sonde.graph").concat(kept, 1)
end

---@private
--- The block at `index` (from 0) of a trace, with the parameters of the block at `source`: the same names and shapes.
---@param trace table     the trace under way: graph, params, model, batch, context
---@param index integer
---@param source integer
---@return sonde.block
function block.new(trace, index, source)
  local model = trace.model
  local place = model.layers[index + 1]
  local self = setmetatable({
    layer = place.layer, index = index, depth = place.depth, width = model.config.width, batch = trace.batch,
    context = trace.context, options = place.placement.options, trace = trace,
    modules = place, prefix = names.block(source),
    scope = string.format("blocks.%d", index), shared = core.block(), norms = {},
  }, block)
  if trace.starts then site_of(self, "placement", "placement"):publish("documents.starts", trace.starts) end
  if trace.positions then site_of(self, "placement", "placement"):publish("documents.positions", trace.positions) end
  if trace.mute[index] and #trace.mute[index] > 0 then
    site_of(self, "placement", "placement"):publish("router.kept", kept_experts(self, trace.mute[index]))
  end
  return self
end

local function build(self, kind, module, slot, name, scope, x)
  local graph = self.trace.graph
  graph:scope(self.scope .. "." .. scope, self.index)
  local y = core.module_build(kind, module.name, site_of(self, slot, name), x, module.options)
  graph:scope(self.scope, self.index)
  return y
end

-- Modules that reckon with what a norm gives find the factor under "<slot>.norm_factor" [1].
local function scaled(self, slot, y, factor)
  local graph = self.trace.graph
  site_of(self, slot, names.norms[slot]):publish(slot .. ".norm_factor", graph:constant(factor, { 1 }))
  graph:scope(self.scope .. "." .. slot .. "_norm", self.index)
  y = y * factor
  graph:scope(self.scope, self.index)
  return y
end

local function norm(self, slot, factor)
  if not names.norms[slot] then
    error(core.where() .. "a block has no norm '" .. tostring(slot) .. "'; known: attn, ffn", 0)
  end
  return function(x)
    local y = build(self, "norm", self.modules.norm, slot, names.norms[slot], slot .. "_norm", x)
    if factor then y = scaled(self, slot, y, factor) end
    self.norms[#self.norms + 1] = { slot = slot, input = x, output = y }
    return y
  end
end

--- The norm in front of a branch, as a function of x.
---@param slot "attn"|"ffn"
---@param factor? number   multiplies the norm's result
---@return fun(x: sonde.node): sonde.node
function block:norm_in(slot, factor)
  return norm(self, slot, factor)
end

--- The norm behind a branch or behind its residual sum, as a function of x.
---@param slot "attn"|"ffn"
---@param factor? number   multiplies the norm's result
---@return fun(x: sonde.node): sonde.node
function block:norm_out(slot, factor)
  return norm(self, tostring(slot) .. "_out", factor)
end

local function gate_of(self, slot)
  local gates = self.trace.gate[self.index]
  return gates and gates[slot]
end

-- A branch's output: dropout, the trace's gate for it, and its name, as a tap and ("attn.branch") for other modules.
local function branch(self, y, slot)
  y = self.trace:dropout(y)
  local gate = gate_of(self, slot)
  if type(gate) == "function" then
    y = gate(y, self)
  elseif gate then
    y = y * gate
  end
  y = self.trace:tap(y, self.scope .. "." .. slot .. ".out")
  return site_of(self, slot, slot):publish(slot .. ".branch", y)
end

-- Whether the block does not have the branch (option `without`), or its gate is 0: that is the model pruned of it, in
-- which other modules find nothing of the branch either, such as the estimate of a norm.
local function lacks(self, slot)
  return self.modules.without == slot or gate_of(self, slot) == 0
end

-- What a branch gives that the block lacks: zeros, which whatever stands behind it takes as ever.
local function nothing(self)
  return self.trace.graph:constant(0, { self.batch, self.context, self.width })
end

-- Whether y was made with `wanted`, looking no further back than x.
local function made_with(y, wanted, x)
  local oldest, seen, stack = core.node_id(x), {}, { y }
  while #stack > 0 do
    local node = table.remove(stack)
    local id = core.node_id(node)
    if node == wanted then return true end
    if id > oldest and not seen[id] then
      for _, input in ipairs(node:inputs()) do stack[#stack + 1] = input end
    end
    seen[id] = true
  end
  return false
end

--- The block's attention layer.
---@param x sonde.node
---@return sonde.node
function block:attention(x)
  if lacks(self, "attn") then return nothing(self) end
  local y = build(self, "attention", self.modules.attention, "attention", names.attention, "attn", x)
  if self.trace.starts and not made_with(y, self.trace.starts, x) then
    error(core.where() .. ("block %d: attention '%s' does not keep documents apart (it looks up no "
      .. "\"documents.starts\"); "
      .. "use another, or no document mask"):format(self.index, self.modules.attention.name), 0)
  end
  return branch(self, y, "attn")
end

--- The block's feed-forward layer.
---@param x sonde.node
---@return sonde.node
function block:ffn(x)
  if lacks(self, "ffn") then return nothing(self) end
  return branch(self, build(self, "ffn", self.modules.ffn, "ffn", names.ffn, "ffn", x), "ffn")
end

--- What a module of the block has published under a name (site:publish), or nil.
---@param name string
---@return sonde.node|nil
function block:lookup(name)
  return site_of(self, "placement", "placement"):lookup(name)
end

--- A parameter of the placement itself, such as a learnable scale of a branch.
---@param name string
---@param dims integer[]
---@param role string     "gain", "bias" or "other"
---@param value? number   first value of a gain or bias
---@return sonde.node
function block:param(name, dims, role, value)
  return site_of(self, "placement", "placement"):param(name, dims, role, value)
end

args.class("block", block)

local self, x = { name = "self", type = "block", required = true }, { name = "x", type = "node", required = true }
local slot, factor = { name = "slot", type = "string", required = true }, { name = "factor", type = "number" }
local name = { name = "name", type = "string", required = true }

return args.declare(block, "block:", {
  norm_in = { self, slot, factor }, norm_out = { self, slot, factor }, attention = { self, x }, ffn = { self, x },
  lookup = { self, name },
  param = {
    self, name, { name = "dims", type = "list", required = true, of = { name = "dim", type = "integer" } },
    { name = "role", type = "string", required = true }, { name = "value", type = "number" },
  },
})
