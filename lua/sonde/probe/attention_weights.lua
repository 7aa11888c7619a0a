--- attention_weights.lua - the attention weights of a block as nodes, and what they are like, out of the op attention
-- whose result its attention layer publishes as "attn.heads" (doc/plugins.md).

local core = require "sonde.core"

local weights = {}

-- The op attention of a block.
local function attention_of(part, what)
  local heads = part:lookup "attn.heads"
  if not heads or heads:op() ~= "attention" then
    error(core.where() .. what .. ": attention '" .. part.modules.attention.name .. "' publishes no \"attn.heads\", "
      .. "the result of the op attention", 0)
  end
  return heads
end

-- An op that measures the attention of a block: of q, k, the log-sum-exp and `more`, then what the attention has
-- behind its values.
local function measured(part, name, more, what)
  local heads = attention_of(part, what)
  local inputs = heads:inputs()
  local list = { inputs[1], inputs[2], heads:result(2) }
  list[#list + 1] = more
  for k = 4, #inputs do list[#list + 1] = inputs[k] end
  return core.op(name, list, core.node_attributes(heads))
end

--- The weights of a block: [B, H, T, T], by query and key.
---@param part sonde.block
---@param what string     who asks, for messages
---@return sonde.node
function weights.of(part, what)
  return measured(part, "attention_weights", nil, what)
end

---@class sonde.attention_spread
---@field entropy sonde.node      of the weights of each query, nats: [B, H, T]
---@field relative sonde.node     the same over the logarithm of the number of keys that it sees; 0 where that is 1
---@field below sonde.node        the share of keys that it sees whose weight is less than a threshold: [B, H, T, M]
---@field keys sonde.node         how many keys it sees: [B, H, T]

--- What the weights of a block are like, without a matrix T x T. A threshold is (a, r): a weight of a + r / n of n
--- keys.
---@param trace sonde.trace
---@param part sonde.block
---@param thresholds number[][]
---@param what string     who asks, for messages
---@return sonde.attention_spread
function weights.spread(trace, part, thresholds, what)
  local flat, name = {}, {}
  for k, each in ipairs(thresholds) do
    flat[2 * k - 1], flat[2 * k] = each[1], each[2]
    name[k] = each[1] .. "+" .. each[2]
  end
  name = "probe.thresholds." .. table.concat(name, ",")
  local leaf = trace.graph:find(name) or trace.graph:leaf(name, core.tensor("f32", { #thresholds, 2 }, flat))
  local below = measured(part, "attention_spread", leaf, what)
  local entropy, keys = attention_of(part, what):result(3), below:result(2)
  local largest = keys:max(2):log()          -- log 2 in place of log 1: the entropy there is 0
  return { entropy = entropy, relative = entropy / largest, below = below, keys = keys }
end

--- The entropy of each query of each block, nats: [B, H, T]; nil where a block's attention publishes no weights.
---@param trace sonde.trace
---@return sonde.node[]|nil
function weights.entropies(trace)
  local list = {}
  for i, part in ipairs(trace.parts) do
    local heads = part:lookup "attn.heads"
    if not heads or heads:op() ~= "attention" then return nil end
    list[i] = heads:result(3)
  end
  return #list == #trace.blocks and list or nil
end

return weights
