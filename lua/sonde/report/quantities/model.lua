--- model - sizes of a model that sweeps vary.

local register = require("sonde.report.quantity").register

register("depth", { axis = "depth L (blocks)", doc = "The number of blocks." })
