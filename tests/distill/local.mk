# Tests of distillation: losses, trainings, teachers' caches.
lua_tests += %D%/hidden.lua %D%/reference.lua %D%/train.lua
bats_tests += %D%/command.bats %D%/experiment.bats
