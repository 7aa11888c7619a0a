# Tests of the probes.
lua_tests += %D%/analytic.lua
