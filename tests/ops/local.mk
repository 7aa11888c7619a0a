# Tests of src/ops: the cases of tests/reference/ops.json, run in several ways, and what those cannot show.
c_tests += %D%/reference_test %D%/gradients_test %D%/threads_test %D%/refusals_test %D%/dropout_test %D%/cast_test \
  %D%/moves_test %D%/extremes_test %D%/grouped_test
%C%_extremes_test_SOURCES = %D%/extremes_test.c
OPS_CASES = %D%/cases.c %D%/cases.h
%C%_reference_test_SOURCES = %D%/reference_test.c $(OPS_CASES)
%C%_gradients_test_SOURCES = %D%/gradients_test.c $(OPS_CASES)
%C%_threads_test_SOURCES = %D%/threads_test.c $(OPS_CASES)
%C%_refusals_test_SOURCES = %D%/refusals_test.c $(OPS_CASES)
%C%_grouped_test_SOURCES = %D%/grouped_test.c $(OPS_CASES)
%C%_dropout_test_SOURCES = %D%/dropout_test.c $(OPS_CASES)
%C%_cast_test_SOURCES = %D%/cast_test.c $(OPS_CASES)
%C%_moves_test_SOURCES = %D%/moves_test.c $(OPS_CASES)
