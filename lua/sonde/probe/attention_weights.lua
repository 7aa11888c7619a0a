--- attention_weights.lua - the attention weights of a block as nodes, out of what its attention layer publishes:
-- queries, keys, scale, soft-cap, slopes and window (doc/plugins.md). No step of a training computes them.

local core = require "sonde.core"

local weights = {}

local FORBIDDEN = -1e9            -- added to scores of tokens that must not be seen

-- How far key j is back from query i, [T, T].
local function age_of(trace)
  local n, ages = trace.context, {}
  for i = 0, n - 1 do
    for j = 0, n - 1 do ages[#ages + 1] = i - j end
  end
  return trace.graph:find("probe.age") or trace.graph:leaf("probe.age", core.tensor("f32", { n, n }, ages))
end

-- 1 where query i may see key j, [T, T], or with documents [B, 1, T, T].
local function visible(trace, window)
  local n, age = trace.context, age_of(trace)
  local seen = age:greater(-0.5)
  if window then seen = seen * (window - age):greater(0.5) end
  if not trace.starts then return seen end
  local positions = {}
  for j = 0, n - 1 do positions[j + 1] = j end
  local key = trace.graph:find("probe.key") or trace.graph:leaf("probe.key", core.tensor("f32", { n }, positions))
  return seen * key:greater(trace.starts:cast("f32"):reshape { trace.batch, 1, n, 1 } - 0.5)
end

--- The logarithms of the weights of a block: [B, H, T, T], by query and key.
---@param trace sonde.trace
---@param part sonde.block
---@param what string     who asks, for messages
---@return sonde.node
function weights.logs(trace, part, what)
  local q, k = part:lookup "attn.queries", part:lookup "attn.keys"
  if not q or not k then
    error(core.where() .. what .. ": attention '" .. part.modules.attention.name .. "' publishes no "
      .. "\"attn.queries\" and \"attn.keys\"", 0)
  end
  local d, kv = q:dims(), k:dims()[3]
  local batch, tokens, heads, width = d[1], d[2], d[3], d[4]
  k = k:permute({ 1, 3, 2, 4 }):reshape({ batch, kv, 1, tokens, width })
    :expand({ batch, kv, heads / kv, tokens, width }):reshape { batch, heads, tokens, width }
  local scores = q:permute({ 1, 3, 2, 4 }):matmul(k, { transpose_b = true })
    * (part:lookup "attn.scale" or 1 / math.sqrt(width))
  local cap, slopes = part:lookup "attn.softcap", part:lookup "attn.slopes"
  if cap then scores = (scores / cap):tanh() * cap end
  if slopes then scores = scores - slopes:reshape { heads, 1, 1 } * age_of(trace) end
  local hidden = visible(trace, part:lookup "attn.window"):affine(-FORBIDDEN, FORBIDDEN)
  return (scores + hidden):log_softmax()
end

return weights
