# Tests of norms and placements, as plugins and Lua make models of them.
lua_tests += %D%/reference.lua %D%/table.lua %D%/norms.lua %D%/fold.lua %D%/taps.lua
EXTRA_DIST += %D%/made.lua
