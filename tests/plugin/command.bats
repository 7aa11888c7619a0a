#!/usr/bin/env bats
# `sonde plugin`: list, info, new, test; and a new plugin built out of tree against an installed Sonde.

setup_file() {
  STAGE="$BATS_FILE_TMPDIR/stage"
  export STAGE
  env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -C "$abs_builddir" install DESTDIR="$STAGE" \
    > "$BATS_FILE_TMPDIR/install.log" 2>&1 \
    || { cat "$BATS_FILE_TMPDIR/install.log"; return 1; }
  PREFIX=$(dirname "$(dirname "$(find "$STAGE" -name sonde.pc)")")
  PREFIX=$(dirname "$PREFIX")
  export PREFIX
}

setup() {
  cd "$BATS_TEST_TMPDIR"
}

# What an author types, with the stage in place of /.
author() {
  env -u SONDE_PLUGIN_PATH -u SONDE_LUA_PATH -u MAKEFLAGS -u MAKELEVEL PATH="$PREFIX/bin:$PATH" \
    PKG_CONFIG_PATH="$(dirname "$(find "$STAGE" -name sonde.pc)")" PKG_CONFIG_SYSROOT_DIR="$STAGE" "$@"
}

@test "list names every plugin with its summary" {
  run "$SONDE" plugin list
  [ "$status" -eq 0 ]
  [[ "$output" == *"norm       rmsnorm          1.0  y = weight x / sqrt(mean(x^2) + eps)"* ]]
  [[ "$output" == *"optimizer  adamw "* ]]
  [[ "$output" != *"skipped"* ]]
}

@test "list --json is a list of objects with the option schema" {
  "$SONDE" plugin list --json > list.json
  cat > check.lua <<'LUA'
    local core = require "sonde.core"
    local found = {}
    for _, entry in ipairs(core.json_load("list.json")) do found[entry.kind .. "/" .. entry.name] = entry end
    assert(found["norm/rmsnorm"].options[1].name == "eps")
    assert(found["norm/rmsnorm"].options[1].min == 1e-12)
    assert(found["ffn/mlp"].options[2].choices:find("^silu|gelu|"))
    assert(found["attention/causal"].status == "loaded")
LUA
  run "$SONDE" run check.lua
  echo "$output"
  [ "$status" -eq 0 ]
}

@test "a file on the path that cannot be used is listed with its reason, and asked for by name too" {
  mkdir path
  cp "$abs_builddir/tests/plugin/broken/wrong_major.so" path/
  SONDE_PLUGIN_PATH="$PWD/path:$SONDE_PLUGIN_PATH" run "$SONDE" plugin list
  [ "$status" -eq 0 ]
  [[ "$output" == *"skipped: $PWD/path/wrong_major.so: speaks plugin interface 2.0, this Sonde 1.4"* ]]
  SONDE_PLUGIN_PATH="$PWD/path:$SONDE_PLUGIN_PATH" run "$SONDE" plugin info wrong_major
  [ "$status" -eq 1 ]
  [[ "$output" == "sonde: there is no plugin 'wrong_major'; a file of that name was skipped: "* ]]
}

@test "the current folder is never searched" {
  cp "$abs_builddir/tests/plugin/broken/idle_option.so" .
  run "$SONDE" plugin list
  [[ "$output" != *"idle_option"* ]]
}

@test "info shows options with ranges and defaults, and hints at near names" {
  run "$SONDE" plugin info causal
  [ "$status" -eq 0 ]
  [[ "$output" == *"kv_heads "*"integer, 0 to 1024; default 0"* ]]
  run "$SONDE" plugin info casual
  [ "$status" -eq 1 ]
  [ "$output" = "sonde: unknown plugin 'casual'; did you mean 'causal'?" ]
}

@test "test prints TAP, names the check that fails, and its exit status says so" {
  run "$SONDE" plugin test "$abs_builddir/tests/plugin/broken/overrun.so"
  [ "$status" -eq 1 ]
  [[ "${lines[0]}" == "1..18" ]]
  [[ "$output" == *"not ok 14 - guards"* ]]
  [[ "$output" == *"# op 'overrun.twice' writes 20 bytes past the end of output 0"* ]]
  [[ "$output" == *"# norm/overrun: 15 passed, 1 failed, 2 skipped"* ]]
}

@test "a plugin that crashes is one line" {
  run "$SONDE" plugin test "$abs_builddir/tests/plugin/broken/crash_in_run.so" --json
  [ "$status" -eq 1 ]
  [[ "$output" == *'"it crashed: Segmentation fault'* ]]
  [[ "$output" == *'"failed": 1'* ]]
}

@test "test refuses what is no file, no option and no check" {
  run "$SONDE" plugin test nothing.so
  [ "$status" -eq 1 ]
  [ "$output" = "sonde: nothing.so: there is no such file" ]
  echo "no ELF" > text.so
  run "$SONDE" plugin test ./text.so
  [ "$status" -eq 1 ]
  [[ "$output" == *"not ok 1 - load"* ]]
  run "$SONDE" plugin test "$abs_builddir/tests/plugin/broken/idle_option.so" strenght=2
  [ "$status" -eq 1 ]
  [[ "$output" == *"unknown option 'strenght'; did you mean 'strength'?"* ]]
  run "$SONDE" plugin test "$abs_builddir/tests/plugin/broken/idle_option.so" --only gradeint
  [ "$status" -eq 1 ]
  [[ "$output" == "sonde: there is no check 'gradeint' for this kind; did you mean 'gradient'?" ]]
}

@test "new refuses a folder that is there, a bad name and an unknown kind" {
  mkdir taken
  run "$SONDE" plugin new norm taken
  [ "$status" -eq 1 ]
  [[ "$output" == "sonde: ./taken is there already"* ]]
  run "$SONDE" plugin new norm Mine
  [ "$status" -eq 1 ]
  [[ "$output" == "sonde: 'Mine' is no plugin name"* ]]
  run "$SONDE" plugin new nrom mine
  [ "$status" -eq 2 ]
  [[ "$output" == *"did you mean 'norm'?"* ]]
  [ ! -e mine ]
}

@test "a new plugin that could not be written whole is not there, and can be asked for again" {
  run bash -c "ulimit -f 1; '$SONDE' plugin new norm whole --primitive"
  [ "$status" -eq 1 ]
  [ -z "$(ls -d whole* 2> /dev/null)" ]
  "$SONDE" plugin new norm whole --primitive
  [ -s whole/whole.c ]
}

@test "a new plugin of each kind builds out of tree, passes every check and is installed" {
  for kind in norm attention ffn optimizer "norm --primitive" "attention --primitive" "ffn --primitive"; do
    rm -rf mine
    run author sonde plugin new ${kind%% *} mine ${kind#${kind%% *}}
    echo "$output"
    [ "$status" -eq 0 ]
    [ "$(wc -l < mine/mine.c)" -lt 100 ]
    run author make -C mine check
    echo "$kind: $output"
    [ "$status" -eq 0 ]
    [[ "$output" == *"mine: "*" passed, 0 failed"* ]]
  done
  run author make -C mine install DESTDIR="$STAGE"
  echo "$output"
  [ "$status" -eq 0 ]
  run author sonde plugin list
  [[ "$output" == *"ffn        mine "* ]]
}

@test "a new module in Lua passes every check that does not ask for kernels" {
  for kind in norm attention ffn; do
    rm -rf mine
    "$SONDE" plugin new $kind mine --lua
    run "$SONDE" plugin test mine/mine.lua
    echo "$kind: $output"
    [ "$status" -eq 0 ]
    [[ "$output" == *"# $kind/mine: 16 passed, 0 failed, 2 skipped"* ]]
  done
}

@test "a module in Lua that keeps state outside its parameters is caught" {
  cat > stale.lua <<'LUA'
local scale
require("sonde").norm("stale", function(site, options, x)
  scale = scale or 1 / math.sqrt(site.layer)
  return x:rmsnorm(site:param("weight", { site.width }, "gain", 1)) * scale
end)
LUA
  run "$SONDE" plugin test stale.lua --only reload
  echo "$output"
  [ "$status" -eq 1 ]
  [[ "$output" == *"not ok 2 - reload"* ]]
  [[ "$output" == *"something is kept outside the parameters"* ]]
}

@test "an error in a module in Lua is one line with the script's place" {
  printf 'require("sonde").ffn("wrong", function(site, options, x)\n  return x:matmull(x)\nend)\n' > wrong.lua
  run "$SONDE" plugin test wrong.lua
  echo "$output"
  [ "$status" -eq 1 ]
  [[ "$output" == *"not ok 4 - build"* ]]
  [[ "$output" == *"wrong.lua:2: "* ]]
  echo 'local x = )' > syntax.lua
  run "$SONDE" plugin test syntax.lua
  [ "$status" -eq 1 ]
  [[ "$output" == *"not ok 1 - load"* ]]
  [[ "$output" == *"syntax.lua:1: unexpected symbol near ')'"* ]]
}

@test "the commands of doc/plugins.md work as they stand" {
  sed -n '/^```sh$/,/^```$/ { /^```/d; s/^\$ //; p }' "$abs_srcdir/doc/plugins.md" > walk.sh
  [ "$(grep -c 'make check' walk.sh)" -eq 3 ]
  run author bash -e -x walk.sh
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" == *"not ok 8 - options"* ]]
  [[ "$output" == *"# norm/mine: 16 passed, 0 failed, 2 skipped"* ]]
  [[ "$output" == *"parameters: "* ]]
}

@test "sonde.pc says the prefix that make install is told" {
  env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s -C "$abs_builddir" install-pkgconfigDATA prefix=/else/where \
    DESTDIR="$PWD/other"
  env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make -s -C "$abs_builddir" sonde.pc
  run cat other/else/where/lib/pkgconfig/sonde.pc
  echo "$output"
  [ "${lines[0]}" = "prefix=/else/where" ]
  [[ "$output" == *"plugindir=/else/where/lib/sonde/plugins"* ]]
  ! grep -q /else/where "$abs_builddir/sonde.pc"
}
