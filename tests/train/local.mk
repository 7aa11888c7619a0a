# Tests of src/train.
c_tests += %D%/schedule_test %D%/sample_test %D%/optimizer_test %D%/reference_test %D%/trainer_test \
  %D%/checkpoint_test %D%/kill_test %D%/tree_test %D%/device_test
%C%_schedule_test_SOURCES = %D%/schedule_test.c
%C%_sample_test_SOURCES = %D%/sample_test.c
%C%_optimizer_test_SOURCES = %D%/optimizer_test.c
%C%_reference_test_SOURCES = %D%/reference_test.c %D%/tiny.h
%C%_trainer_test_SOURCES = %D%/trainer_test.c %D%/tiny.h
%C%_checkpoint_test_SOURCES = %D%/checkpoint_test.c %D%/tiny.h tests/base/root.h tests/base/testing.h
%C%_kill_test_SOURCES = %D%/kill_test.c %D%/tiny.h
%C%_tree_test_SOURCES = %D%/tree_test.c %D%/tiny.h
%C%_device_test_SOURCES = %D%/device_test.c %D%/tiny.h tests/graph/guarded.c tests/graph/guarded.h
bats_tests += %D%/begin.bats %D%/train.bats %D%/goes_on.bats
EXTRA_DIST += %D%/fixture.lua
lua_tests += %D%/beginnings.lua %D%/finetune.lua %D%/forecast.lua %D%/hooks.lua %D%/objectives.lua %D%/options.lua \
  %D%/update_ratio.lua
