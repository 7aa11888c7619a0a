# CPU kernels: GEMM dispatch and the inner loops, the latter compiled once per instruction set.
#
# One source, three archives; -march=native must not reach them, so they take SONDE_CFLAGS instead of AM_CFLAGS.
libsonde_la_SOURCES += %D%/backend.c %D%/backend.h %D%/formulas.h %D%/fused.c %D%/fused.h %D%/gemm.c %D%/gemm.h \
  %D%/gemm_pack.c %D%/gemm_thin.c %D%/gemm_thin.h %D%/gemm_tiles.h \
  %D%/micro.h %D%/micro_words.h %D%/simd.c %D%/simd.h %D%/simd_isa.h %D%/simd_vector.h
SIMD_SOURCES = %D%/simd_blocks.c %D%/simd_kernels.c %D%/simd_vec.c
# -Wno-psabi: 64-byte vectors pass between inlined functions only, so there is no ABI to keep.
# Not instrumented for fuzzing: clang takes minutes for the products' many compiled blocks, and the tests under the
# sanitizers run these kernels.
if FUZZING
SIMD_SANITIZE_FLAGS =
else
SIMD_SANITIZE_FLAGS = $(SANITIZE_FLAGS)
endif
SIMD_CFLAGS = $(SONDE_CFLAGS) $(SIMD_SANITIZE_FLAGS) -Wno-psabi

noinst_LTLIBRARIES += libsonde_simd_base.la
libsonde_simd_base_la_SOURCES = $(SIMD_SOURCES) %D%/micro_vec.c
libsonde_simd_base_la_CPPFLAGS = $(AM_CPPFLAGS) -DSONDE_ISA=base
libsonde_simd_base_la_CFLAGS = $(SIMD_CFLAGS) $(ISA_BASE_CFLAGS)
libsonde_la_LIBADD += libsonde_simd_base.la

if ISA_AVX2
noinst_LTLIBRARIES += libsonde_simd_avx2.la
libsonde_simd_avx2_la_SOURCES = $(SIMD_SOURCES) %D%/micro_vec.c
libsonde_simd_avx2_la_CPPFLAGS = $(AM_CPPFLAGS) -DSONDE_ISA=avx2
libsonde_simd_avx2_la_CFLAGS = $(SIMD_CFLAGS) $(ISA_AVX2_CFLAGS)
libsonde_la_LIBADD += libsonde_simd_avx2.la
endif

if ISA_AVX512
noinst_LTLIBRARIES += libsonde_simd_avx512.la
libsonde_simd_avx512_la_SOURCES = $(SIMD_SOURCES) %D%/micro_avx512.c
libsonde_simd_avx512_la_CPPFLAGS = $(AM_CPPFLAGS) -DSONDE_ISA=avx512
libsonde_simd_avx512_la_CFLAGS = $(SIMD_CFLAGS) $(ISA_AVX512_CFLAGS)
libsonde_la_LIBADD += libsonde_simd_avx512.la
endif

if ISA_AMX
noinst_LTLIBRARIES += libsonde_simd_amx.la
libsonde_simd_amx_la_SOURCES = %D%/micro_amx.c
libsonde_simd_amx_la_CPPFLAGS = $(AM_CPPFLAGS)
libsonde_simd_amx_la_CFLAGS = $(SIMD_CFLAGS) $(ISA_AMX_CFLAGS)
libsonde_la_LIBADD += libsonde_simd_amx.la
endif

# How fast the CPU could be: for benchmarks.
libsonde_la_SOURCES += %D%/peak.c %D%/peak.h

# Least squares and singular values, by LAPACK: for probes.
libsonde_la_SOURCES += %D%/linalg.c %D%/linalg.h
