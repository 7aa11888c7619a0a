#!/usr/bin/env bats
# Headers: each stands alone, the public ones also in C++ and under strict warnings, and LuaJIT can read sonde.h.

compile() {   # LANGUAGE HEADER FLAGS...
  local language=$1 header=$2
  shift 2
  # shellcheck disable=SC2086
  printf '#include "%s"\n#include "%s"\n' "$header" "$header" |
    $CC -x "$language" -fsyntax-only -Wall -Wextra -Werror "$@" -I"$abs_srcdir/src" -I"$abs_builddir" $LUA_CFLAGS -
}

@test "every header compiles alone, twice" {
  local header bad=""
  cd "$abs_srcdir/src"
  for header in $(find . -name '*.h' | sort); do
    # -Wno-psabi: the kernels' vector types are wider than the registers that are allowed here.
    compile c "${header#./}" -std=gnu11 -DSONDE_INSIDE -Wno-psabi || bad="$bad $header"
  done
  echo "not self-contained:$bad"
  [ -z "$bad" ]
}

@test "the public headers are plain C11" {
  compile c sonde.h -std=c11 -Wpedantic
  compile c sonde_plugin.h -std=c11 -Wno-unused-variable
}

@test "sonde.h is C++" {
  command -v c++ > /dev/null || skip "no C++ compiler"
  printf '#include "sonde.h"\n' | c++ -x c++ -fsyntax-only -Wall -Wextra -Werror -I"$abs_srcdir/src" -
}

@test "LuaJIT's ffi.cdef takes sonde.h" {
  [ -n "$LUAJIT" ] || skip "no LuaJIT"
  run grep -c '^#' "$abs_builddir/sonde.cdef"
  [ "$output" = 0 ]
  cat > "$BATS_TEST_TMPDIR/cdef.lua" <<'LUA'
local ffi = require "ffi"
local f = assert(io.open(arg[1]))
ffi.cdef(f:read "*a")
assert(ffi.sizeof "sonde_error" == 1004)
assert(ffi.sizeof "sonde_shape" == 48)
assert(ffi.C.SONDE_EBUG == -13)
LUA
  "$LUAJIT" "$BATS_TEST_TMPDIR/cdef.lua" "$abs_builddir/sonde.cdef"
}
