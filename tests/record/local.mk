# Tests of src/record.
c_tests += %D%/metrics_test %D%/run_test
%C%_metrics_test_SOURCES = %D%/metrics_test.c
%C%_run_test_SOURCES = %D%/run_test.c tests/base/root.h tests/base/testing.h
