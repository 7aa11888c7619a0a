# Tests of sparse matrices: methods, one shot, schedules, folders.
lua_tests += %D%/gradual.lua %D%/methods.lua %D%/sparsify.lua
bats_tests += %D%/command.bats
