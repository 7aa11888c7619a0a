#!/usr/bin/env bats
# The program in the build tree runs from any folder, by any name, with nothing in the environment, and takes nothing
# from the folder it happens to stand in.

setup() {
  unset SONDE_LUA_PATH SONDE_PLUGIN_PATH LUA_PATH LUA_PATH_5_4
  cd "$BATS_TEST_TMPDIR"
}

@test "from an empty folder" {
  run "$SONDE" --version
  echo "$output"
  [ "$status" = 0 ]
  [[ "$output" == sonde\ [0-9]* ]]
}

@test "through a link" {
  ln -s "$SONDE" my-sonde
  run ./my-sonde plugin list
  echo "$output"
  [ "$status" = 0 ]
  [[ "$output" == *rmsnorm* ]]
}

@test "Lua files of the current folder are not taken for Sonde's" {
  mkdir -p sonde/cmd lua/sonde/cmd
  echo 'error "wrong file"' | tee sonde/init.lua sonde/cmd/init.lua lua/sonde/cmd/init.lua sonde.lua > /dev/null
  run "$SONDE" --version
  echo "$output"
  [ "$status" = 0 ]
}

@test "plugins of the current folder are not loaded" {
  mkdir -p plugins
  cp "$abs_builddir"/plugins/norm/.libs/rmsnorm.so ./mine.so
  cp mine.so plugins/
  SONDE_PLUGIN_PATH=: run "$SONDE" plugin list
  echo "$output"
  [ "$status" = 0 ]
  [[ "$output" != *mine.so* && "$output" != *twice* && "$output" != *duplicate* ]]
}
