# Tests of pruning, and of what it needs: layer numbers that stay, adapters, parameters that keep their
# values.
lua_tests += %D%/branches.lua %D%/cut.lua %D%/strategies.lua %D%/heal.lua %D%/width.lua
bats_tests += %D%/command.bats %D%/experiment.bats %D%/minima.bats
EXTRA_DIST += %D%/made.lua
