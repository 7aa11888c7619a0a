--- last - the deepest blocks: what other strategies must beat.

local strategy = require "sonde.sparse.strategy"

strategy.register("last", function(task)
  return strategy.range(task.depth - task.count, task.count)
end, { doc = "the last blocks" })
