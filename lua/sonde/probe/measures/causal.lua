--- causal.lua - how much later blocks change what they add when an earlier block is left out.

local core = require "sonde.core"
local register = require("sonde.probe.registry").register

-- Mean over tokens of ||x||, [B, 1, 1].
local function norm(x)
  return x:square():sum(-1):sqrt():mean(2)
end

-- What block `index` (from 0) adds.
local function added(trace, index)
  return trace.blocks[index + 1] - (index == 0 and trace.embedding or trace.blocks[index])
end

register("causal", {
  title = "Effect of each block on later ones", axis = "relative change",
  definition = "E[s, l] = mean ||D'_l - D_l|| / mean ||D_l|| over tokens, D_l what block l adds to the stream and "
    .. "D' the same without block s; 0 for l <= s. Score: mean over l > s",
  source = "Csordas et al., 2025; the code of Sparsity and the Curse of Depth", axes = { "block left out", "block" },
  jobs = function(session)
    local jobs = { { nodes = function(base)
      local nodes = {}
      for l = 0, session.depth - 1 do nodes[l + 1] = norm(added(base, l)) end
      return nodes
    end } }
    for s = 0, session.depth - 2 do
      jobs[s + 2] = {
        edit = session:skip(s), compares = true,
        nodes = function(base, edited)
          local nodes = {}
          for l = s + 1, session.depth - 1 do nodes[#nodes + 1] = norm(added(edited, l) - added(base, l)) end
          return nodes
        end,
      }
    end
    return jobs
  end,
  value = function(mean, session)
    local rows, sum, count = core.list(), 0, 0
    for s = 1, session.depth do
      rows[s] = core.list()
      for l = 1, session.depth do
        local effect = 0
        if l > s then
          local size = mean[1][l]
          effect = size > 1e-8 and mean[s + 1][l - s] / size or 0
          sum, count = sum + effect, count + 1
        end
        rows[s][l] = effect
      end
    end
    return rows, { score = count > 0 and sum / count or 0 }
  end,
})
