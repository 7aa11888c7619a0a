--- experts.lua - what the experts of mixtures do: how tokens are shared out among them, how sure the router is, and
-- what the model loses without one of them.
--
-- Computed from what the module publishes (plugins/ffn/moe.c).

local core = require "sonde.core"
local registry = require "sonde.probe.registry"

-- What a block publishes under a name; refuses a model without any.
local function each_mixture(trace, probe, what, f)
  local nodes = {}
  for i = 1, trace.model.config.depth do
    local part = trace.parts[i]
    local node = part and part:lookup("router." .. what)
    if node then nodes[#nodes + 1] = f(node, i) end
  end
  if #nodes == 0 then error(core.where() .. "probe " .. probe .. ": the model has no mixture of experts", 0) end
  return nodes
end

-- How many experts each block of the model has; 0 without a mixture.
local function counts_of(model)
  local counts = {}
  for i, layer in ipairs(model.layers) do
    counts[i] = layer.without ~= "ffn" and layer.ffn.name == "moe" and layer.ffn.options.experts or 0
  end
  return counts
end

-- Values of the blocks that have experts as rows by block; NaN for experts that a block does not have.
local function by_block(values, counts)
  local rows, widest = registry.rows(values, counts), 0
  for _, count in ipairs(counts) do widest = math.max(widest, count) end
  for _, row in ipairs(rows) do
    for e = #row + 1, widest do row[e] = 0 / 0 end
  end
  return rows
end

-- The share of the choices in each window that are of each expert, [B, E].
local function load(trace, probe)
  return each_mixture(trace, probe, "experts", function(chosen, i)
    local k, experts = chosen:dims()[2], trace.model.layers[i].ffn.options.experts
    local ones = trace.graph:constant(1 / k, chosen:dims())
    return ones:put_along(chosen, experts):reshape({ trace.batch, trace.context, experts }):mean(2)
      :reshape { trace.batch, experts }
  end)
end

local function load_jobs(probe)
  return function() return { { nodes = function(trace) return load(trace, probe) end } } end
end

registry.register("expert_load", {
  definition = "share of a block's choices that are of each expert; 1/E where the load is even",
  source = "Fedus et al., Switch Transformers, 2022, eq. 5", axes = { "block", "expert" },
  title = "How tokens are shared out among experts", log = false,
  look = "An even row means that all experts of the block are used; a row with a few high values, that the router "
    .. "has collapsed.",
  jobs = load_jobs "expert_load",
  value = function(mean, session) return by_block(mean[1], counts_of(session.model)) end,
})

-- 1 - standard deviation / mean; NaN without experts.
local function balance(row, count)
  local mean, squares = 0, 0
  for e = 1, count do mean = mean + row[e] / count end
  for e = 1, count do squares = squares + (row[e] - mean) ^ 2 / count end
  return count > 0 and 1 - math.sqrt(squares) / mean or 0 / 0
end

registry.register("expert_balance", {
  definition = "1 - CV of the load over the experts of a block (standard deviation over mean, divisor E): 1 where it "
    .. "is even, 1 - sqrt(E - 1) where one expert has all",
  source = "Sparsity and the Curse of Depth", title = "How even the load of experts is", log = false,
  axis = "1 - CV of the load", jobs = load_jobs "expert_balance",
  value = function(mean, session)
    local counts, list = counts_of(session.model), core.list()
    for i, row in ipairs(by_block(mean[1], counts)) do list[i] = balance(row, counts[i]) end
    return list
  end,
})

registry.register("router_entropy", {
  definition = "entropy of the router's probabilities of a token, mean over tokens; ln E where all are equal",
  unit = "nats", title = "How unsure routers are", log = false, axis = "entropy (nats)",
  jobs = function()
    return { { nodes = function(trace)
      return each_mixture(trace, "router_entropy", "entropy", function(node)
        return node:reshape({ trace.batch, trace.context }):mean(2)
      end)
    end } }
  end,
  value = function(mean, session)
    local list, at = core.list(), 0
    for i, count in ipairs(counts_of(session.model)) do
      if count > 0 then at = at + 1 end
      list[i] = count > 0 and mean[1][at] or 0 / 0
    end
    return list
  end,
})

-- The model as it is, then with each expert of each block giving 0.
local function removal_jobs(probe)
  return function(session)
    local function loss(trace) return { session.window_loss(trace) } end
    local jobs = { { scored = true, nodes = loss } }
    for i, count in ipairs(counts_of(session.model)) do
      for e = 0, count - 1 do
        local edit = session:edit("expert " .. i - 1 .. " " .. e, { mute = { [i - 1] = { e } } })
        jobs[#jobs + 1] = { scored = true, edit = edit, nodes = function(_, edited) return loss(edited) end }
      end
    end
    if #jobs == 1 then error(core.where() .. "probe " .. probe .. ": the model has no mixture of experts", 0) end
    return jobs
  end
end

-- f(loss without an expert, loss) for each, by block.
local function removed(f)
  return function(mean, session)
    local values = {}
    for k = 2, #mean do values[k - 1] = f(mean[k][1], mean[1][1]) end
    return by_block(values, counts_of(session.model))
  end
end

registry.register("expert_removal", {
  definition = "rise of the mean loss when an expert gives 0 (its tokens get no other, weights stay), one at a time",
  unit = "nats", axes = { "block", "expert" }, log = false, title = "What removing one expert costs",
  jobs = removal_jobs "expert_removal", value = removed(function(without, loss) return without - loss end),
})

registry.register("expert_importance", {
  definition = "min((L - L0) / (10 L0), 1), L the mean loss when an expert gives 0 and L0 as it is; below 0 where the "
    .. "loss falls",
  source = "Sparsity and the Curse of Depth", axes = { "block", "expert" }, log = false,
  jobs = removal_jobs "expert_importance",
  value = removed(function(without, loss) return math.min((without - loss) / (10 * loss), 1) end),
})
