#!/usr/bin/env bats
# The source as text: line and file lengths, functions without a caller, the index of the decisions.

sources() {   # names of the files that people write, relative to the source tree
  cd "$abs_srcdir" || return
  find src lua plugins experiments tests bench doc -name old_header -prune -o -type f \( -name '*.[ch]' -o -name '*.lua' \
    -o -name '*.bats' -o -name '*.sh' -o -name '*.py' -o -name '*.js' -o -name '*.mk' \) -print
  printf '%s\n' quickstart .ci/run bench/compare Makefile.am configure.ac
}

@test "lines have at most 120 columns" {
  run sh -c "$(declare -f sources); sources | LC_ALL=C.UTF-8 xargs grep -nE '^.{121,}'"
  echo "$output"
  [ -z "$output" ]
}

@test "source files have at most 600 lines" {
  run sh -c "$(declare -f sources); sources | grep -E '[.](c|h|lua)\$' | xargs wc -l | awk '\$1 > 600 && \$2 != \"total\"'"
  echo "$output"
  [ -z "$output" ]
}

# For tests alone; each other function of src/ that is not static has a caller in another file, or is in a public header.
HOOKS="main sonde_alloc_fail_at sonde_corpus_cached sonde_log_level sonde_optim_decayed sonde_simd_level sonde_simd_use
  sonde_st_open_memory"

@test "every exported function has a caller in another file" {
  local objects
  cd "$abs_builddir"
  objects=$(find src -path '*/.libs/libsonde*.o' -o -name 'sonde-*.o')
  # shellcheck disable=SC2086
  nm $objects | awk '$2 ~ /^[TDBR]$/ { print $3 }' | sort -u > "$BATS_TEST_TMPDIR/defined"
  # shellcheck disable=SC2086
  { nm -u $objects | awk 'NF == 2 { print $2 }'; tr -c 'a-z0-9_' '\n' < sonde.cdef; echo "$HOOKS" | tr ' ' '\n'; } |
    sort -u > "$BATS_TEST_TMPDIR/called"
  [ "$(wc -l < "$BATS_TEST_TMPDIR/defined")" -gt 300 ]
  run comm -23 "$BATS_TEST_TMPDIR/defined" "$BATS_TEST_TMPDIR/called"
  echo "make them static, or remove them: $output"
  [ -z "$output" ]
}

@test "every function of the binding has a caller in lua/" {   # tokenizer_train makes the tokenizers of tests
  cat > "$BATS_TEST_TMPDIR/names.lua" <<'END'
for name, value in pairs(require "sonde.core") do
  if type(value) == "function" then print(name) end
end
END
  cd "$abs_srcdir"
  "$SONDE" run "$BATS_TEST_TMPDIR/names.lua" > "$BATS_TEST_TMPDIR/names"
  [ "$(wc -l < "$BATS_TEST_TMPDIR/names")" -gt 80 ]
  while read -r name; do
    [ "$name" = tokenizer_train ] || grep -rqE "core\.$name\b" lua || echo "$name"
  done < "$BATS_TEST_TMPDIR/names" > "$BATS_TEST_TMPDIR/unused"
  cat "$BATS_TEST_TMPDIR/unused"
  [ ! -s "$BATS_TEST_TMPDIR/unused" ]
}

@test "the index of doc/decisions.md lists its sections, with dates, newest first" {
  sed -n 's/^- \(2[0-9-]*\) \[\(.*\)\](#.*/\1 \2/p' "$abs_srcdir/doc/decisions.md" > "$BATS_TEST_TMPDIR/index"
  awk '/^## / { title = substr($0, 4) } /^\*2[0-9-]*\*$/ { print substr($0, 2, 10), title }' "$abs_srcdir/doc/decisions.md" \
    > "$BATS_TEST_TMPDIR/sections"
  [ -s "$BATS_TEST_TMPDIR/index" ]
  diff "$BATS_TEST_TMPDIR/index" "$BATS_TEST_TMPDIR/sections"
  [ "$(grep -c '^## ' "$abs_srcdir/doc/decisions.md")" = "$(wc -l < "$BATS_TEST_TMPDIR/index")" ]
  cut -d' ' -f1 "$BATS_TEST_TMPDIR/index" | sort -rc
}

@test "the README names the folders of src/ and lua/sonde/ in their order" {
  local order
  order=$(sed -n 's/^ORDER="\(.*\)"$/\1/p' "$abs_srcdir/tests/harness/layers.bats")
  [ "$(sed -n '/^| `src\/` /s/[^`]*`\([a-z/]*\)`[^`]*/\1 /gp' "$abs_srcdir/README.md" | sed 's/|//; s/ *$//')" = "src/ $order" ]
  (cd "$abs_srcdir/lua/sonde" && ls -d -- */) | tr -d / | sort > "$BATS_TEST_TMPDIR/folders"
  sed -n '/^| `lua\/sonde\/` /p' "$abs_srcdir/README.md" | grep -o '`[a-z]*`' | tr -d '`' | sort > "$BATS_TEST_TMPDIR/named"
  diff "$BATS_TEST_TMPDIR/folders" "$BATS_TEST_TMPDIR/named"
}
