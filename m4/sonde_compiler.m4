# sonde_compiler.m4 - warnings, optimisation and sanitizer options, and the flags of each instruction set.

# SONDE_TRY_FLAG(VARIABLE, FLAG): appends FLAG to VARIABLE if the C compiler takes it without a warning.
AC_DEFUN([SONDE_TRY_FLAG], [
  AC_MSG_CHECKING([whether $CC takes $2])
  sonde_save_cflags=$CFLAGS
  CFLAGS="$CFLAGS -Werror $2"
  AC_COMPILE_IFELSE([AC_LANG_PROGRAM()], [sonde_flag=yes], [sonde_flag=no])
  CFLAGS=$sonde_save_cflags
  AC_MSG_RESULT([$sonde_flag])
  AS_IF([test $sonde_flag = yes], [$1="$$1 $2"])
])

# Sets SONDE_CFLAGS (every file), NATIVE_CFLAGS (every file that is not compiled per instruction set) and
# SANITIZE_FLAGS (compiling and linking). Fast-math is out of the question: in a link line it changes the
# floating-point mode of the whole process, and isnan() folds to 0.
AC_DEFUN([SONDE_COMPILER_OPTIONS], [
  AC_ARG_ENABLE([native], [AS_HELP_STRING([--disable-native],
    [build for any CPU of this architecture, not for the one at hand])], [], [enable_native=yes])
  AC_ARG_ENABLE([sanitizers], [AS_HELP_STRING([--enable-sanitizers],
    [build with AddressSanitizer and UndefinedBehaviorSanitizer])], [], [enable_sanitizers=no])
  AC_ARG_ENABLE([werror], [AS_HELP_STRING([--enable-werror], [turn warnings into errors])],
    [], [enable_werror=no])

  SONDE_CFLAGS= NATIVE_CFLAGS= SANITIZE_FLAGS=
  SONDE_TRY_FLAG([SONDE_CFLAGS], [-std=gnu11])
  SONDE_TRY_FLAG([SONDE_CFLAGS], [-Wall])
  SONDE_TRY_FLAG([SONDE_CFLAGS], [-Wextra])
  SONDE_TRY_FLAG([SONDE_CFLAGS], [-Wstrict-prototypes])
  SONDE_TRY_FLAG([SONDE_CFLAGS], [-fvisibility=hidden])
  SONDE_TRY_FLAG([SONDE_CFLAGS], [-fno-math-errno])
  SONDE_TRY_FLAG([SONDE_CFLAGS], [-fno-trapping-math])
  SONDE_TRY_FLAG([SONDE_CFLAGS], [-pthread])
  # The loops speak to gcc's vectoriser; clang reads past what it does not know.
  AC_COMPILE_IFELSE([AC_LANG_SOURCE([[
    #ifndef __clang__
    #error not clang
    #endif
    ]])], [SONDE_CFLAGS="$SONDE_CFLAGS -Wno-unknown-attributes -Wno-unknown-pragmas"])
  AS_IF([test "$enable_werror" = yes], [SONDE_CFLAGS="$SONDE_CFLAGS -Werror"])
  AS_IF([test "$enable_native" = yes], [SONDE_TRY_FLAG([NATIVE_CFLAGS], [-march=native])])
  # gcc 12 on AVX-512: behind a loop of unaligned 512-bit stores to an array on the stack, the 256-bit loop for the
  # rest takes the array for aligned and crashes. Without that second loop the rest is done one by one.
  SONDE_TRY_FLAG([SONDE_CFLAGS], [--param=vect-epilogues-nomask=0])
  AS_IF([test "$enable_sanitizers" = yes], [
    SANITIZE_FLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer"
    AC_MSG_CHECKING([whether $CC links with the sanitizers])
    sonde_save_cflags=$CFLAGS
    CFLAGS="$CFLAGS $SANITIZE_FLAGS"
    AC_LINK_IFELSE([AC_LANG_PROGRAM()], [AC_MSG_RESULT([yes])],
      [AC_MSG_RESULT([no])
       AC_MSG_ERROR([--enable-sanitizers: the compiler has no libasan and libubsan; install them or leave it out])])
    CFLAGS=$sonde_save_cflags])
  AM_CONDITIONAL([SANITIZERS], [test "$enable_sanitizers" = yes])

  AC_ARG_ENABLE([fuzzing], [AS_HELP_STRING([--enable-fuzzing],
    [make the fuzz targets libFuzzer programs, with sanitizers (needs clang)])], [], [enable_fuzzing=no])
  AS_IF([test "$enable_fuzzing" = yes], [
    SANITIZE_FLAGS="-fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all -fno-omit-frame-pointer"
    AC_MSG_CHECKING([whether $CC has libFuzzer])
    sonde_save_cflags=$CFLAGS
    CFLAGS="$CFLAGS -fsanitize=fuzzer,address,undefined"
    AC_LINK_IFELSE([AC_LANG_SOURCE([[#include <stddef.h>
      int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);
      int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) { return data && size > 99; }]])],
      [AC_MSG_RESULT([yes])],
      [AC_MSG_RESULT([no])
       AC_MSG_ERROR([--enable-fuzzing: use clang with its runtime library (CC=clang)])])
    CFLAGS=$sonde_save_cflags])
  AM_CONDITIONAL([FUZZING], [test "$enable_fuzzing" = yes])
  AC_SUBST([SONDE_CFLAGS])
  AC_SUBST([NATIVE_CFLAGS])
  AC_SUBST([SANITIZE_FLAGS])
])

# Sets ISA_BASE_CFLAGS, ISA_AVX2_CFLAGS, ISA_AVX512_CFLAGS and ISA_AMX_CFLAGS, the flags that src/cpu compiles its
# inner loops with, and the conditionals ISA_AVX2, ISA_AVX512 and ISA_AMX, true where the compiler can make such code
# at all.
AC_DEFUN([SONDE_ISA_FLAGS], [
  AC_CANONICAL_HOST
  ISA_BASE_CFLAGS= ISA_AVX2_CFLAGS= ISA_AVX512_CFLAGS= ISA_AMX_CFLAGS= sonde_isas=base
  AS_CASE([$host_cpu], [x86_64|amd64], [
    SONDE_TRY_FLAG([ISA_BASE_CFLAGS], [-march=x86-64])
    SONDE_TRY_FLAG([ISA_AVX2_CFLAGS], [-march=x86-64 -mavx2 -mfma -mf16c -mbmi2])
    SONDE_TRY_FLAG([ISA_AVX512_CFLAGS], [-march=x86-64-v4 -mprefer-vector-width=512])
    AS_IF([test -n "$ISA_AVX512_CFLAGS"], [SONDE_TRY_FLAG([ISA_AVX512_CFLAGS], [-mavx512bf16])])
  ])
  AS_IF([test -n "$ISA_AVX2_CFLAGS"], [sonde_isas="$sonde_isas avx2"
    AC_DEFINE([HAVE_ISA_AVX2], [1], [The AVX2 and FMA kernels are built in])])
  AS_IF([test -n "$ISA_AVX512_CFLAGS"], [sonde_isas="$sonde_isas avx512"
    AC_DEFINE([HAVE_ISA_AVX512], [1], [The AVX-512 kernels are built in])])
  AS_CASE([$ISA_AVX512_CFLAGS], [*-mavx512bf16*], [AS_CASE([$host_os], [linux*], [
    SONDE_TRY_FLAG([ISA_AMX_CFLAGS], [$ISA_AVX512_CFLAGS -mamx-tile -mamx-bf16])])])
  AS_IF([test -n "$ISA_AMX_CFLAGS"], [sonde_isas="$sonde_isas amx"
    AC_DEFINE([HAVE_ISA_AMX], [1], [The AMX product is built in])])
  AM_CONDITIONAL([ISA_AMX], [test -n "$ISA_AMX_CFLAGS"])
  AM_CONDITIONAL([ISA_AVX2], [test -n "$ISA_AVX2_CFLAGS"])
  AM_CONDITIONAL([ISA_AVX512], [test -n "$ISA_AVX512_CFLAGS"])
  AC_SUBST([ISA_BASE_CFLAGS])
  AC_SUBST([ISA_AVX2_CFLAGS])
  AC_SUBST([ISA_AVX512_CFLAGS])
  AC_SUBST([ISA_AMX_CFLAGS])
])
