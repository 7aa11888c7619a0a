--- variance.lua - how large the stream and what the branches add to it are, and how much of its space it
-- fills.

local core = require "sonde.core"
local added = require "sonde.probe.added"
local register = require("sonde.probe.registry").register

local function stream(trace) return trace.blocks end

local function each(nodes, measure)
  local list = {}
  for i, node in ipairs(nodes) do list[i] = measure(node):mean(2) end
  return list
end

-- What a branch adds in each block; blocks that it adds nothing to because they have no sum are remembered.
local function branch(slot)
  return function(trace, session)
    local nodes, without = {}, {}
    for i, x in ipairs(trace.blocks) do
      local node, replaced = added.node(trace, i, slot)
      nodes[i] = node or x * (replaced and 0 / 0 or 0)
      if replaced then without[#without + 1] = i - 1 end
    end
    session.without_sum = session.without_sum or {}
    session.without_sum[slot] = without
    return nodes
  end
end

local function note_of(slot)
  return function(session)
    local without = session.without_sum[slot]
    return #without > 0 and "the " .. slot .. " branch is not added to anything in block"
      .. (#without > 1 and "s " or " ") .. table.concat(without, ", ") or nil
  end
end

local function variance(x) return x:variance(-1) end
local function square(x) return x:square():mean(-1) end

-- What a report says of the stream's variance, which a training reports too.
local in_reports = {
  place = 1, title = "Residual variance along the depth", axis = "variance of the residual stream", log = true,
  look = "On this log axis a straight rise is exponential growth, under which deep blocks add little to what is "
    .. "there; a flat line means that every block can still change the stream.",
}

local function register_part(name, definition, info, nodes, note)
  for _, each_of in ipairs { { "variance", "variance over the features of a token (mean subtracted, divisor D - 1) of ",
    variance, "Sun et al., The Curse of Depth, 2025" },
    { "variance_uncentred", "mean square over the features of a token of ", square, "what RMSNorm divides by" } } do
    local said = name .. each_of[1] == "variance" and in_reports or {}
    register(name .. each_of[1], {
      title = said.title, axis = said.axis, log = said.log, look = said.look, place = said.place,
      definition = each_of[2] .. definition .. "; mean over tokens" .. info, source = each_of[4], note = note,
      jobs = function(session)
        return { { nodes = function(trace) return each(nodes(trace, session), each_of[3]) end } }
      end,
    })
  end
end

local at_a_sum = " (through what stands behind the branch, such as a norm or a factor; at a sum with the stream)"
register_part("", "the stream after each block, before the final norm", "", stream)
register_part("attn_", "what each attention branch adds", at_a_sum, branch "attn", note_of "attn")
register_part("ffn_", "what each feed-forward branch adds", at_a_sum, branch "ffn", note_of "ffn")

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
