--- attention.lua - over how many tokens attention spreads, and how often bounded norms are at their bounds.
--
-- Both are computed from what modules publish: attention layers their queries, keys and window, norms with a
-- tanh what it is taken of (doc/plugins.md). No step of a training computes them.

local core = require "sonde.core"
local weights = require "sonde.probe.attention_weights"
local norms = require "sonde.probe.norms"
local registry = require "sonde.probe.registry"

-- Entropy of each query's weights, mean over queries: [B, H].
local function entropy(trace, part)
  local logs = weights.logs(trace, part, "probe attention_entropy")
  local d = logs:dims()
  return (logs:exp() * logs):sum(-1):mean(3):reshape { d[1], d[2] } * -1
end

registry.register("attention_entropy", {
  definition = "entropy of the attention weights of a query; mean over tokens, for each head",
  unit = "nats", source = "Zhai et al., 2023", axes = { "block", "head" },
  jobs = function(session)
    return { { nodes = function(trace)
      local nodes = {}
      session.heads = {}
      for i, part in ipairs(trace.parts) do
        session.heads[i] = 0
        if part:lookup "attn.branch" then
          nodes[#nodes + 1] = entropy(trace, part)
          session.heads[i] = nodes[#nodes]:dims()[2]
        end
      end
      if #nodes == 0 then error(core.where() .. "probe attention_entropy: the blocks have no attention", 0) end
      return nodes
    end } }
  end,
  value = function(mean, session)      -- NaN for heads that a block does not have
    local rows, widest = registry.rows(mean[1], session.heads), 0
    for _, heads in ipairs(session.heads) do widest = math.max(widest, heads) end
    for _, row in ipairs(rows) do
      for head = #row + 1, widest do row[head] = 0 / 0 end
    end
    return rows
  end,
})

local SATURATED = 0.95

registry.register("tanh_saturation", {
  definition = "share of values with |tanh| > 0.95 in each norm of a block that has a tanh (DyT, BHyT), or erf (Derf)",
  source = "what BHyT's training logs", axes = { "block", "norm" },
  jobs = function(session)
    return { { nodes = function(trace)
      local nodes = {}
      session.saturated = norms.new()
      for i, part in ipairs(trace.parts) do
        for _, norm in ipairs(part.norms) do
          local x, z = part:lookup(norm.slot .. ".tanh_input"), part:lookup(norm.slot .. ".erf_input")
          local y = x and x:tanh() or z and z:erf()
          if y then
            nodes[#nodes + 1] = y:abs():greater(SATURATED):mean { 2, 3 }
            session.saturated:add(i, norm.slot)
          end
        end
      end
      if #nodes == 0 then
        error(core.where() .. "probe tanh_saturation: norm '" .. session.model.layers[1].norm.name
          .. "' has no tanh; dyt, bhyt and derf have", 0)
      end
      return nodes
    end } }
  end,
  value = function(mean, session) return session.saturated:rows(mean[1], session.depth) end,
  labels = function(session) return session.saturated.labels end,
})
