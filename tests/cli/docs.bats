#!/usr/bin/env bats
# The page of the Lua API is what the comments in lua/sonde say now.

@test "doc/lua-api.md is current" {
  "$SONDE" run "$abs_srcdir/doc/gen-lua-api.lua" > "$BATS_TEST_TMPDIR/lua-api.md"
  diff "$abs_srcdir/doc/lua-api.md" "$BATS_TEST_TMPDIR/lua-api.md" || { echo "run: make lua-api"; return 1; }
}

@test "every function of the library that the page shows has a sentence" {
  run awk '/^### `.*\(.*\)`$/ { name = $0; getline; getline; if ($0 ~ /^(- |### |Returns |$)/) print name }' "$abs_srcdir/doc/lua-api.md"
  echo "$output"
  [ "$output" = "" ]
}
