--- last - the deepest blocks: what other strategies must beat.

local strategy = require "sonde.sparse.strategy"

strategy.register("last", function(task)
  local chosen = {}
  for i = 1, task.count do chosen[i] = task.blocks[#task.blocks - task.count + i] end
  return chosen
end, { branches = true, doc = "the last blocks" })
