# Tests of distillation: losses, trainings, teachers' caches.
lua_tests += %D%/capacity.lua %D%/gap_figures.lua %D%/hidden.lua %D%/law.lua \
  %D%/on_policy.lua %D%/reference.lua %D%/train.lua
bats_tests += %D%/capacity_gap.bats %D%/command.bats %D%/experiment.bats %D%/sequences.bats
