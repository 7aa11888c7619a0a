#!/usr/bin/env bats
# The source as text: line and file lengths, functions without a caller, the decisions' index, the README's folders.

sources() {   # names of the files that people write
  cd "$abs_srcdir" || return
  find src lua plugins experiments tests bench doc -name old_header -prune -o -type f \( -name '*.[ch]' \
    -o -name '*.lua' -o -name '*.bats' -o -name '*.bash' -o -name '*.sh' -o -name '*.py' -o -name '*.js' \
    -o -name '*.mk' \) -print
  printf '%s\n' quickstart .ci/run bench/compare Makefile.am configure.ac
}

@test "lines have at most 120 columns" {
  sources > "$BATS_TEST_TMPDIR/files"
  [ "$(wc -l < "$BATS_TEST_TMPDIR/files")" -gt 400 ]
  run env LC_ALL=C.UTF-8 xargs grep -snE '^.{121,}' < "$BATS_TEST_TMPDIR/files"
  echo "$output"
  [ -z "$output" ]
}

@test "source files have about 600 lines at most" {
  sources | grep -E '[.](c|h|lua)$' > "$BATS_TEST_TMPDIR/files"
  cd "$abs_srcdir"
  run sh -c "xargs wc -l < '$BATS_TEST_TMPDIR/files' | awk '\$1 > 640 && \$2 != \"total\"'"
  echo "$output"
  [ -z "$output" ]
}

# Functions that only tests call; any other function of src/ is static, has a caller in another file, or is public.
HOOKS="sonde_alloc_fail_at sonde_ctx_new_on sonde_corpus_cached sonde_doc_line sonde_file_open
  sonde_kind_add sonde_log_level
  sonde_optim_decayed sonde_path_moved sonde_refresh_every sonde_registry_load_folder sonde_rng_block sonde_simd_level
  sonde_simd_use sonde_st_open_memory sonde_st_read_f32 sonde_db_trials sonde_db_view sonde_tokenizer_bytes"

@test "every function that is not static has a caller in another file" {
  local objects
  cd "$abs_builddir"
  # An object of a source that is gone may be left in a build tree.
  objects=$(find src -path '*/.libs/libsonde*.o' -o -name 'sonde-*.o' | while read -r object; do
    source=$(echo "$object" | sed 's,/\.libs/,/,; s,/[a-z0-9_]*-\([a-z0-9_]*\)\.o$,/\1.c,')
    if [ -f "$abs_srcdir/$source" ]; then echo "$object"; fi
  done)
  # shellcheck disable=SC2086
  nm $objects | awk '$2 ~ /^[TDBR]$/ && $3 !~ /^__odr_asan/ { print $3 }' | sort -u > "$BATS_TEST_TMPDIR/defined"
  # The server, which is not built everywhere, is the only caller of some.
  grep -q '^#define HAVE_MICROHTTPD 1' config.h || HOOKS="$HOOKS sonde_lua_serving"
  # shellcheck disable=SC2086
  { nm -u $objects | awk 'NF == 2 { print $2 }'; tr -c 'a-z0-9_' '\n' < sonde.cdef; printf '%s\n' main $HOOKS; } |
    sort -u > "$BATS_TEST_TMPDIR/called"
  [ "$(wc -l < "$BATS_TEST_TMPDIR/defined")" -gt 300 ]
  run comm -23 "$BATS_TEST_TMPDIR/defined" "$BATS_TEST_TMPDIR/called"
  echo "make them static, or remove them: $output"
  [ -z "$output" ]
}

@test "the functions that only tests call are called by tests" {
  cd "$abs_srcdir"
  for name in $HOOKS; do grep -rqw "$name" tests || { echo "$name"; return 1; }; done
}

@test "every function of the binding has a caller in lua/" {   # but tokenizer_train, with which tests make tokenizers
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
  local page="$abs_srcdir/doc/decisions.md"
  sed -n 's/^- \(2[0-9-]*\) \[\(.*\)\](#.*/\1 \2/p' "$page" > "$BATS_TEST_TMPDIR/index"
  awk '/^## / { title = substr($0, 4) } /^\*2[0-9-]*\*$/ { print substr($0, 2, 10), title }' "$page" \
    > "$BATS_TEST_TMPDIR/sections"
  [ -s "$BATS_TEST_TMPDIR/index" ]
  diff "$BATS_TEST_TMPDIR/index" "$BATS_TEST_TMPDIR/sections"
  [ "$(grep -c '^## ' "$page")" = "$(wc -l < "$BATS_TEST_TMPDIR/index")" ]
  cut -d' ' -f1 "$BATS_TEST_TMPDIR/index" | sort -rc
}

@test "the README names the folders of src/ and lua/sonde/, the former in the order of the layers" {
  local order
  order=$(sed -n 's/^ORDER="\(.*\)"$/\1/p' "$abs_srcdir/tests/harness/layers.bats")
  named() { sed -n "/^| \`$1\/\` /p" "$abs_srcdir/README.md" | grep -o '`[a-z]*`' | tr -d '`'; }
  [ "$(named src | tr '\n' ' ')" = "$order " ]
  (cd "$abs_srcdir/lua/sonde" && ls -d -- */) | tr -d / | sort > "$BATS_TEST_TMPDIR/folders"
  named 'lua\/sonde' | sort > "$BATS_TEST_TMPDIR/named"
  diff "$BATS_TEST_TMPDIR/folders" "$BATS_TEST_TMPDIR/named"
}

# A job that a test kills must be the program itself: a function's job is a shell, whose death leaves it running.
@test "jobs of tests in the background are programs, or functions that become one" {
  cd "$abs_srcdir"
  cat > "$BATS_TEST_TMPDIR/jobs.awk" <<'END'
FNR == 1 { split("", body); name = "" }
match($0, /^ *[a-z_]+\(\) [{(]/) { name = $1; sub(/\(.*/, "", name); body[name] = "" }
name != "" { body[name] = body[name] $0 "\n" }
/^ *}$/ || /[)] [{(] .*[})]$/ { name = "" }
{ line = line $0 }
/\\$/ { sub(/\\$/, "", line); next }
line ~ /[^&]&$/ {
  split(line, word, " ")
  if (word[1] in body && body[word[1]] !~ /exec /) print FILENAME ":" FNR ": " word[1]
  jobs++
}
{ line = "" }
END { if (jobs < 20) print "only " jobs " jobs were found" }
END
  run sh -c "find tests -name '*.bats' | xargs awk -f '$BATS_TEST_TMPDIR/jobs.awk'"
  echo "$output"
  [ -z "$output" ]
}
