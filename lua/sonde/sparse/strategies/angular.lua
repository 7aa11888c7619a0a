--- angular - Gromov et al. (2024): the n blocks in a row over which the stream turns least, the i of least d(i, n).

local strategy = require "sonde.sparse.strategy"

strategy.register("angular", function(task)
  local distances = task.measure("angular_distances")[task.count]
  return strategy.range(strategy.lowest(distances, 1)[1], task.count), distances
end, { text = true, doc = "the blocks in a row over which the stream turns least" })
