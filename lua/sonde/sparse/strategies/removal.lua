--- removal - the blocks that the loss misses least.

local strategy = require "sonde.sparse.strategy"

strategy.register_lowest("removal", "layer_removal", "the blocks whose removal, one at a time, costs least loss")
