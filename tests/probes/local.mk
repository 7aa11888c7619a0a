# Tests of the probes.
lua_tests += %D%/analytic.lua %D%/attention_maps.lua
lua_tests += %D%/reference.lua %D%/session.lua
bats_tests += %D%/command.bats %D%/families.bats
