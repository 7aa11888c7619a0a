# Tests of sweeps, statistics and the report page.
lua_tests += %D%/stats.lua %D%/report.lua %D%/panels.lua %D%/sweep.lua %D%/odd_sweeps.lua %D%/config.lua
lua_tests += %D%/comparison.lua %D%/search.lua
bats_tests += %D%/bench.bats %D%/comparisons.bats %D%/changes.bats %D%/experiment.bats %D%/jobs.bats
EXTRA_DIST += %D%/fixture.lua
