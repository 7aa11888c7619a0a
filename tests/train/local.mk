# Tests of src/train.
c_tests += %D%/schedule_test %D%/optimizer_test
%C%_schedule_test_SOURCES = %D%/schedule_test.c
%C%_optimizer_test_SOURCES = %D%/optimizer_test.c
