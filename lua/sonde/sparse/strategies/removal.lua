--- removal - the blocks that the loss misses least.

local strategy = require "sonde.sparse.strategy"

local probes = { block = "layer_removal", attn = "attn_removal", ffn = "ffn_removal" }

strategy.register("removal", function(task)
  local scores = task.measure(probes[task.what])
  return strategy.lowest(scores, task.count, task.blocks), scores
end, { text = true, branches = true, doc = "the blocks whose removal, one at a time, costs least loss" })
