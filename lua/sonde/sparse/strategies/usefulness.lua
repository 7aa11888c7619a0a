--- usefulness - the blocks whose nonlinearities the loss misses least.

local strategy = require "sonde.sparse.strategy"

strategy.register_lowest("usefulness", "usefulness", "the blocks that a linear map replaces at least loss")
