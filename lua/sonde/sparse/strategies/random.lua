--- random - blocks drawn by the seed.

local strategy = require "sonde.sparse.strategy"

-- Uniformly, by Fisher and Yates; Park and Miller's numbers are exact in doubles, on both fronts of Lua.
strategy.register("random", function(task)
  local state = (task.seed * 2654435 + 12345) % 2147483646 + 1
  local blocks, chosen = {}, {}
  for i, block in ipairs(task.blocks) do blocks[i] = block end
  for _ = 1, 8 do state = state * 16807 % 2147483647 end
  for i = 1, task.count do
    state = state * 16807 % 2147483647
    chosen[i] = table.remove(blocks, state % #blocks + 1)
  end
  return chosen
end, { branches = true, doc = "blocks drawn by the seed" })
