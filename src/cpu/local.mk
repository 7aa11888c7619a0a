# CPU kernels: GEMM dispatch and the inner loops, compiled once per instruction set.
#
# One source, three archives; -march=native must not reach them, so they take SONDE_CFLAGS instead of AM_CFLAGS:
#
#   noinst_LTLIBRARIES += libsonde_simd_base.la
#   libsonde_simd_base_la_SOURCES = %D%/simd_kernels.c
#   libsonde_simd_base_la_CPPFLAGS = $(AM_CPPFLAGS) -DSONDE_ISA=base
#   libsonde_simd_base_la_CFLAGS = $(SONDE_CFLAGS) $(SANITIZE_FLAGS) $(ISA_BASE_CFLAGS)
#   libsonde_la_LIBADD += libsonde_simd_base.la
#   if ISA_AVX2 ... $(ISA_AVX2_CFLAGS) ... endif     (HAVE_ISA_AVX2 in config.h)
#   if ISA_AVX512 ... $(ISA_AVX512_CFLAGS) ... endif (HAVE_ISA_AVX512 in config.h)
