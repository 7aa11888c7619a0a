--- variance.lua - how large the stream and what the branches add to it are, and how much of its space it
-- fills.

local core = require "sonde.core"
local register = require("sonde.probe.registry").register

local function stream(trace) return trace.blocks end

-- A block without the branch (the placement "linear") adds nothing by it.
local function branch(name)
  return function(trace)
    local nodes = {}
    for i = 1, #trace.blocks do
      nodes[i] = trace.graph:find("blocks." .. (i - 1) .. "." .. name .. ".out") or trace.blocks[i] * 0
    end
    return nodes
  end
end

local function each(of, measure)
  return function(trace)
    local nodes = {}
    for i, node in ipairs(of(trace)) do nodes[i] = measure(node):mean(2) end
    return nodes
  end
end

local function variance(x) return x:variance(-1) end
local function square(x) return x:square():mean(-1) end

for _, part in ipairs {
  { "", stream, "the stream after each block, before the final norm" },
  { "attn_", branch "attn", "what each attention branch adds" },
  { "ffn_", branch "ffn", "what each feed-forward branch adds" },
} do
  register(part[1] .. "variance", {
    definition = "variance over the features of a token (mean subtracted, divisor D - 1) of " .. part[3]
      .. "; mean over tokens",
    source = "Sun et al., The Curse of Depth, 2025", outputs = each(part[2], variance),
  })
  register(part[1] .. "variance_uncentred", {
    definition = "mean square over the features of a token of " .. part[3] .. "; mean over tokens",
    source = "what RMSNorm divides by", outputs = each(part[2], square),
  })
end

-- exp of the entropy of the singular values' shares.
local function effective_rank(values, first, n)
  local sum, entropy = 0, 0
  for i = first, first + n - 1 do sum = sum + values[i] end
  for i = first, first + n - 1 do
    local share = values[i] / sum
    if share > 0 then entropy = entropy - share * math.log(share) end
  end
  return math.exp(entropy)
end

register("effective_rank", {
  definition = "exp of the entropy of the shares of the singular values of a window's stream [T, D] after each block "
    .. "(no mean subtracted, before the final norm); mean over windows; at most min(T, D)",
  unit = "dimensions", source = "Roy and Vetterli, 2007",
  jobs = function(session)
    return { {
      nodes = stream,
      each = function(tensors)
        local ranks = core.tensor("f32", { session.batch, #tensors })
        for block, tensor in ipairs(tensors) do
          local singular = core.singular_values(tensor)
          local n, values = singular:dims()[2], singular:values()
          for row = 0, session.batch - 1 do
            ranks:set(row * #tensors + block, effective_rank(values, row * n + 1, n))
          end
        end
        return ranks
      end,
    } }
  end,
})
