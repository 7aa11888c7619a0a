# Tests of the Lua library. lua_tests += %D%/x.lua
