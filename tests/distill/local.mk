# Tests of distillation: losses, trainings, teachers' caches.
lua_tests += %D%/reference.lua %D%/train.lua
bats_tests += %D%/command.bats
