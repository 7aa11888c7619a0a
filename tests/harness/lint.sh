#!/bin/sh
# lint.sh SRCDIR BUILDDIR - rules of style and the installed checkers; `make lint` runs it.
set -u
srcdir=$1 builddir=$(cd "$2" && pwd) bad=0
cd "$srcdir" || exit

complain() {
  echo "lint: $*" >&2
  bad=1
}

have() {
  command -v "$1" > /dev/null || { echo "lint: $1 is not installed: skipped"; return 1; }
}

sources=$(find src plugins tests bench -name '*.c' -o -name '*.h' | sort)
scripts=$(find lua experiments plugins tests -name '*.lua' | sort)

# shellcheck disable=SC2086
grep -nE '\b(TODO|FIXME|XXX|HACK)\b' $sources $scripts && complain "unfinished work in the lines above"
# shellcheck disable=SC2086
grep -nP '\t| +$' $sources $scripts && complain "tabs or trailing blanks in the lines above"
grep -rnE '\b(malloc|calloc|realloc|strdup) *\(' src/base src/tensor src/cpu src/graph src/ops src/io src/text \
  src/plugin src/record src/train --include='*.c' | grep -vE 'src/base/mem.c|/\*.*alloc' &&
  complain "allocation that does not go through base/mem.h in the lines above"

if have shellcheck; then
  # shellcheck disable=SC2046
  shellcheck quickstart .ci/run $(find tests bench -name '*.sh') || bad=1
fi
if have luacheck; then
  # shellcheck disable=SC2086
  luacheck -q --no-color $scripts || bad=1
fi
# The suppressed checks take sonde_fail for a success, or a pointer from a function for a temporary.
if have cppcheck; then
  cppcheck -q --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,portability -Isrc -I"$builddir" \
    -DSONDE_INSIDE -DSONDE_ISA=base --suppress=missingIncludeSystem --suppress=invalidFunctionArg \
    --suppress=nullPointerRedundantCheck --suppress=uninitvar --suppress=danglingTemporaryLifetime \
    --suppress=danglingTempReference -j "$(nproc)" src plugins || bad=1
fi

# tidy FLAGS < FILES (each ended by a NUL)
tidy() {
  flags="-std=gnu11 -Isrc -I'$builddir' $LUA_CFLAGS $*"
  xargs -0 -P "$(nproc)" -n 4 sh -c "clang-tidy --quiet \"\$@\" -- $flags 2> /dev/null" tidy || bad=1
}

if have clang-tidy; then   # the kernels that need instruction sets of their own are left out
  dirs=
  for dir in BINDIR LIBDIR LUADIR PLUGINDIR; do dirs="$dirs -DSONDE_$dir='\"\"'"; done
  find src -name '*.c' ! -path 'src/cpu/simd_*' ! -path 'src/cpu/micro_*' -print0 | tidy -DSONDE_INSIDE "$dirs"
  find plugins -name '*.c' ! -path '*/template/*' -print0 | tidy
fi
exit $bad
