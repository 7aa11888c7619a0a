--- model - sizes of a model that sweeps vary.

local register = require("sonde.report.quantity").register

register("depth", { axis = "depth L (blocks)", doc = "The number of blocks." })
register("context", { axis = "context T (tokens)", doc = "Tokens of a sequence, in training and in evaluation." })
register("group_size", { short = "group size", axis = "query heads for each key-value head G",
  doc = "Query heads over key-value heads." })
