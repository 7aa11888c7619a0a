# sonde_libraries.m4 - the libraries Sonde needs, those it can use, and the summary of what was found.

# SONDE_REQUIRE(VARIABLE, PKG-CONFIG NAMES, WHAT, DEBIAN PACKAGE): VARIABLE_CFLAGS and VARIABLE_LIBS from the first
# of the names that is there; an error that says what to install otherwise.
AC_DEFUN([SONDE_REQUIRE], [
  AC_ARG_VAR([$1_CFLAGS], [C compiler flags for $3])
  AC_ARG_VAR([$1_LIBS], [linker flags for $3])
  AC_MSG_CHECKING([for $3])
  sonde_found=
  AS_IF([test -n "$$1_LIBS"], [sonde_found="as given"], [
    for sonde_name in $2; do
      AS_IF([$PKG_CONFIG --exists $sonde_name], [
        $1_CFLAGS=`$PKG_CONFIG --cflags $sonde_name`
        $1_LIBS=`$PKG_CONFIG --libs $sonde_name`
        sonde_found=`$PKG_CONFIG --modversion $sonde_name`
        break])
    done])
  AS_IF([test -z "$sonde_found"], [AC_MSG_RESULT([no])
    AC_MSG_ERROR([$3 is missing: on Debian, apt install $4; elsewhere set $1_CFLAGS and $1_LIBS])])
  AC_MSG_RESULT([$sonde_found])
  sonde_required="$sonde_required
  $3: $sonde_found"
])

# SONDE_OPTIONAL_FOUND(NAME, FOUND OR EMPTY, WHAT IS LOST WITHOUT IT): a line of the summary.
AC_DEFUN([SONDE_OPTIONAL_FOUND], [
  AS_IF([test -n "$2"], [sonde_optional="$sonde_optional
  $1: $2"], [sonde_optional="$sonde_optional
  $1: absent ($3)"])
])

# --with-blas=NAME: a pkg-config name ("openblas", "blis", "mkl-dynamic-lp64-seq") or a library with the CBLAS
# interface ("cblas"); auto takes the first that works. Sets BLAS_CFLAGS, BLAS_LIBS, SONDE_BLAS_NAME.
AC_DEFUN([SONDE_BLAS], [
  AC_ARG_WITH([blas], [AS_HELP_STRING([--with-blas=NAME],
    [BLAS library with the CBLAS interface: openblas, blis, blas, ... @<:@auto@:>@])], [], [with_blas=auto])
  AS_CASE([$with_blas],
    [yes|auto], [sonde_candidates="openblas blis cblas blas"],
    [no], [AC_MSG_ERROR([Sonde cannot be built without a BLAS])],
    [sonde_candidates=$with_blas])
  AC_ARG_VAR([BLAS_CFLAGS], [C compiler flags for the BLAS])
  AC_ARG_VAR([BLAS_LIBS], [linker flags for the BLAS])
  sonde_blas= sonde_save_libs=$LIBS sonde_save_cppflags=$CPPFLAGS
  sonde_given_cflags=$BLAS_CFLAGS sonde_given_libs=$BLAS_LIBS
  for sonde_name in $sonde_candidates; do
    BLAS_CFLAGS=$sonde_given_cflags BLAS_LIBS=$sonde_given_libs
    AS_IF([test -n "$BLAS_LIBS"], [],
      [$PKG_CONFIG --exists $sonde_name], [
        BLAS_CFLAGS=`$PKG_CONFIG --cflags $sonde_name`
        BLAS_LIBS=`$PKG_CONFIG --libs $sonde_name`],
      [BLAS_LIBS=-l$sonde_name])
    AC_MSG_CHECKING([for cblas_sgemm in $sonde_name])
    CPPFLAGS="$sonde_save_cppflags $BLAS_CFLAGS" LIBS="$BLAS_LIBS $sonde_save_libs"
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <cblas.h>]],
      [[float x = 1, y = 0;
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, 1, 1, 1, 1, &x, 1, &x, 1, 0, &y, 1);]])],
      [sonde_blas=$sonde_name])
    CPPFLAGS=$sonde_save_cppflags LIBS=$sonde_save_libs
    AS_IF([test -n "$sonde_blas"], [AC_MSG_RESULT([yes]); break], [AC_MSG_RESULT([no])])
  done
  AS_IF([test -z "$sonde_blas"], [AC_MSG_ERROR(
    [no BLAS with cblas.h among: $sonde_candidates. On Debian: apt install libopenblas-dev; see also --with-blas])])
  AC_DEFINE_UNQUOTED([SONDE_BLAS_NAME], ["$sonde_blas"], [The BLAS that configure chose])
  sonde_required="$sonde_required
  BLAS: $sonde_blas ($BLAS_LIBS)"
])

# LAPACK, as far as it is called: in the BLAS library itself (OpenBLAS, MKL) or beside it. Adds to BLAS_LIBS.
AC_DEFUN([SONDE_LAPACK], [
  sonde_lapack= sonde_save_libs=$LIBS
  for sonde_more in "" -llapack -lflame; do
    LIBS="$sonde_more $BLAS_LIBS $sonde_save_libs"
    AC_MSG_CHECKING([for LAPACK in ${sonde_more:-the BLAS}])
    AC_LINK_IFELSE([AC_LANG_PROGRAM([[char dtpqrt_ (void); char dgelsy_ (void); char dsyevd_ (void);]],
      [[return dtpqrt_ () + dgelsy_ () + dsyevd_ ();]])], [sonde_lapack=yes])
    LIBS=$sonde_save_libs
    AS_IF([test -n "$sonde_lapack"], [AC_MSG_RESULT([yes]); BLAS_LIBS="$sonde_more $BLAS_LIBS"; break],
      [AC_MSG_RESULT([no])])
  done
  AS_IF([test -z "$sonde_lapack"], [AC_MSG_ERROR(
    [no LAPACK (3.4 or newer) with or beside the BLAS. On Debian: apt install libopenblas-dev, or liblapack-dev])])
])

# SONDE_LIBRARY(VARIABLE, PKG-CONFIG MODULE, WHAT, WHAT IS LOST WITHOUT IT): an optional library: VARIABLE_CFLAGS and
# VARIABLE_LIBS, empty where it is absent; HAVE_VARIABLE for C and for make.
AC_DEFUN([SONDE_LIBRARY], [
  AC_MSG_CHECKING([for $3])
  $1_CFLAGS= $1_LIBS= sonde_found=
  AS_IF([$PKG_CONFIG --exists "$2"], [
    $1_CFLAGS=`$PKG_CONFIG --cflags "$2"`
    $1_LIBS=`$PKG_CONFIG --libs "$2"`
    sonde_found=`$PKG_CONFIG --modversion "$2" | sed 1q`
    AC_DEFINE([HAVE_$1], [1], [$3 is installed])])
  AC_MSG_RESULT([${sonde_found:-no}])
  AC_SUBST([$1_CFLAGS])
  AC_SUBST([$1_LIBS])
  AM_CONDITIONAL([HAVE_$1], [test -n "$sonde_found"])
  SONDE_OPTIONAL_FOUND([$3], [$sonde_found], [$4])
])

# SONDE_PROGRAM(VARIABLE, NAME, WHAT IS LOST WITHOUT IT)
AC_DEFUN([SONDE_PROGRAM], [
  AC_PATH_PROG([$1], [$2])
  AM_CONDITIONAL([HAVE_$1], [test -n "$$1"])
  SONDE_OPTIONAL_FOUND([$2], [$$1], [$3])
])

# What `make check` needs beyond the build: without it the build stands and `make check` says what to install.
AC_DEFUN([SONDE_TEST_TOOLS], [
  sonde_no_check=
  CMOCKA_CFLAGS= CMOCKA_LIBS=
  AC_MSG_CHECKING([for cmocka])
  AS_IF([$PKG_CONFIG --exists "cmocka >= 1.1"], [
    CMOCKA_CFLAGS=`$PKG_CONFIG --cflags cmocka`
    CMOCKA_LIBS=`$PKG_CONFIG --libs cmocka`
    AC_MSG_RESULT([yes])], [AC_MSG_RESULT([no])
    sonde_no_check="$sonde_no_check libcmocka-dev"])
  AC_PATH_PROG([BATS], [bats])
  AS_IF([test -z "$BATS"], [sonde_no_check="$sonde_no_check bats"])
  AC_MSG_CHECKING([for luaunit.lua])
  sonde_luaunit=
  for sonde_name in /usr/share/lua/5.4 /usr/local/share/lua/5.4; do
    AS_IF([test -r $sonde_name/luaunit.lua], [sonde_luaunit=$sonde_name])
  done
  AS_IF([test -n "$sonde_luaunit"], [AC_MSG_RESULT([$sonde_luaunit])], [AC_MSG_RESULT([no])
    sonde_no_check="$sonde_no_check lua-unit"])
  AC_SUBST([CMOCKA_CFLAGS])
  AC_SUBST([CMOCKA_LIBS])
  AC_SUBST([CHECK_MISSING], [$sonde_no_check])
  AM_CONDITIONAL([CAN_CHECK], [test -z "$sonde_no_check"])
])

# What was not found may be installed later: make asks again when Debian's list of packages has changed since.
AC_DEFUN([SONDE_ASK_AGAIN], [
  CONFIG_STATUS_DEPENDENCIES=
  AS_IF([test -n "$sonde_no_check" || test -z "$LUAJIT" || test -z "$GNUPLOT" ||
    test -z "$MICROHTTPD_LIBS" || test -z "$FFMPEG_LIBS" || test -z "$EXPAT_LIBS"],
    [AS_IF([test -r /var/lib/dpkg/status], [CONFIG_STATUS_DEPENDENCIES=/var/lib/dpkg/status])])
  AC_SUBST([CONFIG_STATUS_DEPENDENCIES])
])

AC_DEFUN([SONDE_SUMMARY], [
  AS_IF([test -n "$sonde_no_check"], [sonde_check="needs$sonde_no_check"], [sonde_check="ready"])
  AS_ECHO(["
Sonde $PACKAGE_VERSION
  compiler: $CC $CFLAGS$NATIVE_CFLAGS
  kernels for: $sonde_isas
  sanitizers: $enable_sanitizers
  prefix: $prefix
Required$sonde_required
Optional$sonde_optional
make check: $sonde_check
"])
])
