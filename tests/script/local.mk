# Tests of the library from another Lua.
bats_tests += %D%/luajit.bats
EXTRA_DIST += %D%/luajit_ffi.lua
