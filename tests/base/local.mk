# Tests of src/base.
base_tests = %D%/error_test %D%/file_test %D%/log_test %D%/mem_test %D%/paths_test %D%/pool_test \
  %D%/process_test %D%/rng_test %D%/sha256_test
c_tests += $(base_tests)
%C%_error_test_SOURCES = %D%/error_test.c %D%/testing.h
%C%_file_test_SOURCES = %D%/file_test.c %D%/testing.h
%C%_log_test_SOURCES = %D%/log_test.c %D%/testing.h
%C%_mem_test_SOURCES = %D%/mem_test.c %D%/testing.h
%C%_paths_test_SOURCES = %D%/paths_test.c %D%/testing.h
%C%_pool_test_SOURCES = %D%/pool_test.c %D%/testing.h
%C%_process_test_SOURCES = %D%/process_test.c %D%/testing.h
%C%_rng_test_SOURCES = %D%/rng_test.c %D%/testing.h
%C%_sha256_test_SOURCES = %D%/sha256_test.c %D%/testing.h
