#!/usr/bin/env bats
# The definitions for editors: they parse, name only types that there are, and have all of the library.

@test "every annotation parses, every type is known, every function is there" {
  "$SONDE" run "$abs_srcdir/doc/gen-luacats.lua" > "$BATS_TEST_TMPDIR/sonde.lua"
  run "$SONDE" run "$abs_srcdir/tests/logs/luacats_check.lua" "$BATS_TEST_TMPDIR/sonde.lua"
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" =~ ^([0-9]+)" annotations"$ && ${BASH_REMATCH[1]} -gt 700 ]]
  diff "$BATS_TEST_TMPDIR/sonde.lua" "$abs_builddir/luacats/sonde.lua"
}

@test "lua-language-server finds nothing to say, where it is installed" {
  command -v lua-language-server > /dev/null || skip "there is no lua-language-server"
  mkdir "$BATS_TEST_TMPDIR/w"
  "$SONDE" run "$abs_srcdir/doc/gen-luacats.lua" > "$BATS_TEST_TMPDIR/w/sonde.lua"
  run lua-language-server --check "$BATS_TEST_TMPDIR/w" --checklevel=Warning --logpath="$BATS_TEST_TMPDIR"
  echo "$output"
  [[ "$output" == *"no problems found"* ]]
}
