--- attention.lua - over how many tokens attention spreads, and how often bounded norms are at their bounds.
--
-- Both are computed from what modules publish: attention layers what their heads give, norms with a tanh what it is
-- taken of (doc/plugins.md). No step of a training computes them.

local core = require "sonde.core"
local weights = require "sonde.probe.attention_weights"
local norms = require "sonde.probe.norms"
local registry = require "sonde.probe.registry"

-- Thresholds (a, r): weights below a + r / n, n the number of keys that a query sees. The paper's are not public; these
-- are our choice: two absolute ones, and two that follow the even share 1 / n.
local THRESHOLDS = { { 1e-3, 0 }, { 1e-2, 0 }, { 0, 0.1 }, { 0, 0.01 } }

-- What measure(spread) gives of each block that has attention.
local function by_block(trace, session, name, measure)
  local nodes = {}
  session.heads = {}
  for i, part in ipairs(trace.parts) do
    session.heads[i] = 0
    if part:lookup "attn.branch" then
      nodes[#nodes + 1] = measure(weights.spread(trace, part, THRESHOLDS, "probe " .. name))
      session.heads[i] = nodes[#nodes]:dims()[2]
    end
  end
  if #nodes == 0 then error(core.where() .. "probe " .. name .. ": the blocks have no attention", 0) end
  return nodes
end

-- A probe of each head: measure(spread) gives a node [B, H], whose mean over windows is the value, or that over the
-- mean of over(spread): so that windows count by the queries that are eligible; without any the value is missing
-- (NaN). The scalar is the mean over all heads that have a value.
local function of_heads(name, info, measure, over)
  info.axes = { "block", "head" }
  info.jobs = function(session)
    local jobs = {}
    for k, each in ipairs { measure, over } do
      jobs[k] = { nodes = function(trace) return by_block(trace, session, name, each) end }
    end
    return jobs
  end
  info.value = function(mean, session)      -- NaN for heads that a block does not have
    local values, widest, sum, count = {}, 0, 0, 0
    for k, value in ipairs(mean[1]) do
      if over then value = mean[2][k] > 0 and value / mean[2][k] or 0 / 0 end
      values[k] = value
      if value == value then sum, count = sum + value, count + 1 end
    end
    local rows = registry.rows(values, session.heads)
    for _, heads in ipairs(session.heads) do widest = math.max(widest, heads) end
    for _, row in ipairs(rows) do
      for head = #row + 1, widest do row[head] = 0 / 0 end
    end
    return rows, { mean = sum / count }
  end
  registry.register(name, info)
end

local function by_head(x)
  local d = x:dims()
  return x:mean(3):reshape { d[1], d[2] }
end

of_heads("attention_entropy", {
  title = "Attention entropy of each head", axis = "entropy (nats)",
  definition = "entropy of the attention weights of a query; mean over tokens, for each head",
  unit = "nats", source = "Zhai et al., 2023",
}, function(spread) return by_head(spread.entropy) end)

of_heads("attention_entropy_normalised", {
  title = "Attention entropy of each head, of the largest possible", axis = "share of the largest entropy",
  definition = "entropy of the attention weights of a query over the logarithm of the number of keys that it sees: 0 "
    .. "where it looks at one key, 1 where at all alike; mean over tokens that see more than one, for each head",
  source = "Sparsity and the Curse of Depth",
}, function(spread) return by_head(spread.relative) end, function(spread) return by_head(spread.keys:greater(1.5)) end)

for k, each in ipairs {
  { "milli", "0.001" }, { "centi", "0.01" },
  { "tenth", "a tenth of the even share, 0.1 / n of n keys" },
  { "hundredth", "a hundredth of the even share, 0.01 / n of n keys" },
} do
  of_heads("attention_sparsity_" .. each[1], {
    title = "Attention sparsity of each head, below " .. each[2], axis = "share of keys",
    definition = "share of the keys that a query sees whose attention weight is less than " .. each[2]
      .. "; mean over tokens, for each head",
    source = "Sparsity and the Curse of Depth; the thresholds are ours",
  }, function(spread)
    local d = spread.entropy:dims()
    return spread.below:slice(4, k, k):mean(3):reshape { d[1], d[2] }
  end)
end

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
