--- ends - blocks at both ends of the stack, as MiniMA's conversion drops them: half of them from the first on, half of
-- them from the last; of an odd number one more of the last.

local strategy = require "sonde.sparse.strategy"

strategy.register("ends", function(task)
  local chosen, first = {}, math.floor(task.count / 2)
  for i = 1, task.count do
    chosen[i] = task.blocks[i <= first and i or #task.blocks - task.count + i]
  end
  return chosen
end, { branches = true, doc = "the first and the last blocks, as many of each (MiniMA)" })
