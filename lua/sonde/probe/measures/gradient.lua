--- gradient.lua - how large gradients are on their way down the stack.

local core = require "sonde.core"
local norms = require "sonde.probe.norms"
local register = require("sonde.probe.registry").register

-- The sum over windows of their mean losses: its gradient is every window's own.
local function total(trace)
  return trace.loss:sum() * (1 / trace.context)
end

-- ||g|| over all tokens and features of each window, [B, 1, 1]
local function norm(g)
  return g:square():sum({ 2, 3 }):sqrt()
end

register("gradient_norm", {
  definition = "L2 norm, over all tokens and features of a window, of the gradient of its mean loss by the "
    .. "input of each block; mean over windows",
  unit = "nats per unit of the stream", source = "Li et al., Mix-LN, 2024",
  jobs = function()
    return { { scored = true, nodes = function(trace)
      local inputs = { trace.embedding }
      for i = 1, #trace.blocks - 1 do inputs[i + 1] = trace.blocks[i] end
      local nodes = total(trace):grad(inputs)
      for i, g in ipairs(nodes) do nodes[i] = norm(g) end
      return nodes
    end } }
  end,
})

register("norm_gradient", {
  definition = "L2 norm, over all tokens and features of a window, of the gradient of its mean loss by the input of "
    .. "each norm of a block, through that norm alone (not by the residual path beside it); mean over windows",
  unit = "nats per unit of the stream", source = "what BHyT's training logs", axes = { "block", "norm" },
  jobs = function(session)
    return { { scored = true, nodes = function(trace)
      local outputs, inputs, nodes = {}, {}, {}
      session.norms = norms.new()
      for i, part in ipairs(trace.parts) do
        for _, each in ipairs(part.norms) do
          session.norms:add(i, each.slot)
          outputs[#outputs + 1], inputs[#inputs + 1] = each.output, each.input
        end
      end
      if #outputs == 0 then error(core.where() .. "probe norm_gradient: the blocks have no norms", 0) end
      for i, upstream in ipairs(total(trace):grad(outputs)) do
        nodes[i] = norm(outputs[i]:grad({ inputs[i] }, upstream)[1])
      end
      return nodes
    end } }
  end,
  value = function(mean, session) return session.norms:rows(mean[1], session.depth) end,
  labels = function(session) return session.norms.labels end,
})
