#!/usr/bin/env bats
# A kind of plugins that is one row in one file, and one template: the program with it lists, describes, starts and
# tests them.

setup_file() {
  cp -r "$abs_srcdir/lua" "$BATS_FILE_TMPDIR/lua"
  mkdir -p "$BATS_FILE_TMPDIR/plugins"
  cp -r "$abs_srcdir/plugins/template" "$abs_srcdir"/tests/plugin/kind/template "$BATS_FILE_TMPDIR/plugins/"
}

setup() {
  cd "$BATS_TEST_TMPDIR"
  export SONDE_LUA_PATH="$BATS_FILE_TMPDIR/lua"
  SONDE="$abs_builddir/tests/plugin/kind/sonde_activation"
}

# compile NAME SOURCE [FLAGS]
compile() {
  $CC -O2 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -I"$abs_srcdir/src" \
    -I"$abs_srcdir/tests/plugin/kind" "${@:3}" -o "$1.so" "$2" -lm
}

@test "new makes one from its template, and knows which forms there are" {
  run "$SONDE" plugin new activation mine
  echo "$output"
  [ "$status" -eq 0 ]
  grep -q '.name = "mine"' mine/mine.c
  run "$SONDE" plugin new activation other --lua
  [ "$status" -eq 1 ]
  [ "$output" = "sonde: a plugin of the kind 'activation' is written in C: leave out --lua" ]
  run "$SONDE" plugin new activation other --primitive
  [ "$output" = "sonde: a plugin of the kind 'activation' brings no ops: leave out --primitive" ]
  run "$SONDE" plugin new --help
  [[ "$output" == *"norm, attention, ffn, optimizer, distill, sparsity, activation"* ]]
  run "$abs_builddir/sonde" plugin new activation other
  [ "$status" -eq 2 ]
}

@test "new says which form of a kind has no template" {
  cp -r "$BATS_FILE_TMPDIR/lua" "$BATS_FILE_TMPDIR/plugins" .
  rm plugins/template/norm.lua plugins/template/norm_primitive.c plugins/template/activation.c
  export SONDE_LUA_PATH="$PWD/lua"
  for form in lua primitive; do
    run "$SONDE" plugin new norm mine --$form
    echo "$output"
    [ "$status" -eq 1 ]
    [[ "$output" == "sonde: there is no template of the kind 'norm' for --$form: "*"is not there; leave out --$form" ]]
  done
  run "$SONDE" plugin new activation mine
  [[ "$output" == "sonde: there is no template of the kind 'activation': "*"activation.c is not there; is Sonde"* ]]
  [ ! -e mine ]
}

@test "list and info show one; the program without the row skips it" {
  mkdir path
  sed 's/"template"/"softplus"/' "$abs_srcdir/tests/plugin/kind/template/activation.c" > softplus.c
  compile path/softplus softplus.c
  export SONDE_PLUGIN_PATH="$PWD/path"
  run "$SONDE" plugin list
  echo "$output"
  [ "$output" = "activation  softplus  0.1  ln(1 + e^(beta x)) / beta" ]
  run "$SONDE" plugin info activation/softplus
  [[ "$output" == *"beta  number, 0.01 to 100; default 1  how sharp the bend is"* ]]
  run "$abs_builddir/sonde" plugin list
  kinds="norm, attention, ffn, optimizer, distill and sparsity"
  [[ "$output" == *"'softplus' is of unknown kind 'activation'; kinds are $kinds"* ]]
  run "$SONDE" plugin info softplos
  [[ "$output" == *"did you mean 'softplus'?"* ]]
}

@test "test runs the checks of its row, with other options and at its places, beside its default" {
  "$SONDE" plugin new activation mine > /dev/null
  mkdir path
  sed 's/"template"/"softplus"/' "$abs_srcdir/tests/plugin/kind/template/activation.c" > softplus.c
  compile path/softplus softplus.c
  export SONDE_PLUGIN_PATH="$PWD/path"
  compile mine mine/mine.c
  run "$SONDE" plugin test ./mine.so
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" == *"ok 6 - slope"* ]]
  [[ "$output" == *"for 2^20 values on one thread; softplus: "* ]]
  [[ "$output" == *"# activation/mine: 7 passed, 0 failed, 0 skipped"* ]]

  sed -i 's/1 \/ (1 + exp(-opt\[0\].f \* x))/x < -50 ? 1 : 1 \/ (1 + exp(-opt[0].f * x))/' mine/mine.c
  compile mine mine/mine.c
  run "$SONDE" plugin test ./mine.so
  echo "$output"
  [ "$status" -eq 1 ]
  [[ "$output" == *"with x from -100 to 100: the slope at -100 is "* ]]
  run "$SONDE" plugin test ./mine.so --only slop
  [[ "$output" == *"there is no check 'slop' for this kind; did you mean 'slope'?"* ]]
}

@test "functions of the first release are enough, less is refused" {
  "$SONDE" plugin new activation mine > /dev/null
  compile mine mine/mine.c -DFIRST_RELEASE
  run "$SONDE" plugin test ./mine.so
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" == *"ok 6 - slope # SKIP it has no slope"* ]]
  sed -i 's/offsetof(test_activation, slope), value/8, value/' mine/mine.c
  compile mine mine/mine.c -DFIRST_RELEASE
  run "$SONDE" plugin test ./mine.so
  [[ "$output" == *"its functions have 8 bytes, a test_activation has 16 at least; set .size = sizeof("* ]]
  sed -i 's/functions = {sizeof functions, value, slope}/functions = {sizeof functions, NULL, slope}/
    s/^static double value/double value/' mine/mine.c
  compile mine mine/mine.c -Wno-missing-prototypes
  run "$SONDE" plugin test ./mine.so
  [[ "$output" == *"activation 'mine': its test_activation has no value function"* ]]
}
