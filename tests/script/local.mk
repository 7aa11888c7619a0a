# Tests of the library from another Lua.
bats_tests += %D%/luajit.bats %D%/surface.bats
lua_tests += %D%/handles.lua
EXTRA_DIST += %D%/luajit_ffi.lua %D%/surface.lua
