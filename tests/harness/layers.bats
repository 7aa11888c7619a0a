#!/usr/bin/env bats
# The layers: a folder of src/ includes only from folders above it, and only the program knows Lua.

ORDER="base tensor cpu graph ops io text plugin record train script main"

@test "no folder includes from below" {
  local folder other seen="" bad=""
  cd "$abs_srcdir/src"
  for folder in $ORDER; do
    for other in $ORDER; do
      case " $seen $folder " in *" $other "*) continue ;; esac
      bad="$bad$(grep -l "#include \"$other/" "$folder"/*.[ch] 2> /dev/null | sed "s,\$, includes $other/,")"
    done
    seen="$seen $folder"
  done
  echo "$bad"
  [ -z "$bad" ]
}

@test "the library knows no Lua" {
  cd "$abs_srcdir/src"
  run grep -slE '#include *[<"](lua|lauxlib|lualib)' base/*.[ch] tensor/*.[ch] cpu/*.[ch] graph/*.[ch] ops/*.[ch] \
    io/*.[ch] text/*.[ch] plugin/*.[ch] record/*.[ch] train/*.[ch]
  echo "$output"
  [ -z "$output" ]
  run sh -c "ldd '$abs_builddir/.libs/libsonde.so' | grep -i lua"
  [ -z "$output" ]
}

@test "the library exports its public interface and nothing else" {
  local extra
  nm -D --defined-only "$abs_builddir/.libs/libsonde.so" | awk '$2 ~ /[TDBR]/ { sub(/@.*/, "", $3); print $3 }' | sort \
    > "$BATS_TEST_TMPDIR/exported"
  tr -c 'a-z0-9_' '\n' < "$abs_builddir/sonde.cdef" | sort -u > "$BATS_TEST_TMPDIR/declared"
  extra=$(comm -23 "$BATS_TEST_TMPDIR/exported" "$BATS_TEST_TMPDIR/declared")
  echo "exported but not in sonde.h: $extra"
  [ -z "$extra" ]
  [ "$(wc -l < "$BATS_TEST_TMPDIR/exported")" -gt 20 ]
}

@test "the library neither exits nor prints" {   # _exit is for the forked child of the conformance kit
  run sh -c "nm -D --undefined-only '$abs_builddir/.libs/libsonde.so' | sed 's/@.*//' |
    grep -wE 'exit|abort|printf|puts|putchar|longjmp|__assert_fail'"
  echo "$output"
  [ -z "$output" ]
}
