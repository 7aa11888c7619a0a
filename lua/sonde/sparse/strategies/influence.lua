--- influence - Men et al. (ShortGPT, 2024).

local strategy = require "sonde.sparse.strategy"

strategy.register_lowest("influence", "block_influence", "the blocks of lowest influence, 1 - cos(in, out)")
