# Tests of src/ops: the cases of tests/reference/ops.json, run in several ways, and what those cannot show.
OPS_CASES = %D%/cases.c %D%/cases.h
c_tests += %D%/reference_test %D%/gradients_test %D%/threads_test
%C%_reference_test_SOURCES = %D%/reference_test.c $(OPS_CASES)
%C%_gradients_test_SOURCES = %D%/gradients_test.c $(OPS_CASES)
%C%_threads_test_SOURCES = %D%/threads_test.c $(OPS_CASES)
