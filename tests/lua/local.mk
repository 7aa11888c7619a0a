# Tests of the Lua library.
lua_tests += %D%/graph.lua %D%/model.lua
