# Tests of src/cpu.
c_tests += %D%/gemm_test %D%/simd_test
%C%_gemm_test_SOURCES = %D%/gemm_test.c %D%/naive.h
%C%_simd_test_SOURCES = %D%/simd_test.c %D%/naive.h
c_tests += %D%/attention_test
%C%_attention_test_SOURCES = %D%/attention_test.c %D%/kernel.h %D%/naive.h
c_tests += %D%/kernels_test
%C%_kernels_test_SOURCES = %D%/kernels_test.c %D%/kernel.h %D%/naive.h
c_tests += %D%/linalg_test
%C%_linalg_test_SOURCES = %D%/linalg_test.c
c_tests += %D%/range_test
%C%_range_test_SOURCES = %D%/range_test.c %D%/naive.h
