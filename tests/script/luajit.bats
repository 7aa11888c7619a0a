#!/usr/bin/env bats
# The library without the program: a plain luajit process that loads libsonde.so through its FFI.

setup() {
  LIBRARY="$abs_builddir/.libs/libsonde.so"
  if [ -z "$LUAJIT" ]; then skip "luajit is not installed"; fi
}

@test "luajit traces, differentiates and runs a graph through the public header" {
  preload=$(ldd "$LIBRARY" | awk '/libasan/ { print $3 }')
  run env LD_PRELOAD="$preload" ASAN_OPTIONS=detect_leaks=0 "$LUAJIT" "$abs_srcdir/tests/script/luajit_ffi.lua" \
    "$LIBRARY" "$abs_builddir/sonde.cdef"
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" == *"1..9" ]]
  [[ "$output" != *"not ok"* ]]
}

@test "libsonde links no Lua" {
  ! ldd "$LIBRARY" | grep -i lua
}

@test "the Lua library keeps to what LuaJIT and Lua 5.4 share" {
  for file in $(find "$abs_srcdir/lua/sonde" -name "*.lua"); do
    "$LUAJIT" -bl "$file" > /dev/null || { echo "$file"; return 1; }
  done
}
