# Tests of src/cpu.
c_tests += %D%/gemm_test %D%/simd_test
%C%_gemm_test_SOURCES = %D%/gemm_test.c %D%/naive.h
%C%_simd_test_SOURCES = %D%/simd_test.c %D%/naive.h
