#!/usr/bin/env bats
# Plugins of every kind that were built with the headers of earlier releases: this Sonde loads them, they pass the kit,
# and a training with them has the bits of one with the same sources and today's header.

setup_file() {
  cd "$abs_srcdir/tests/plugin/old_header"
  for version in */ now; do
    version=${version%/}
    headers=$version
    [ "$version" != now ] || headers="$abs_srcdir/src"
    mkdir -p "$BATS_FILE_TMPDIR/$version"
    for kind in norm attention ffn optimizer; do
      $CC -O2 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -I"$headers" -I. \
        -o "$BATS_FILE_TMPDIR/$version/$kind.so" $kind.c -lm
    done
  done
}

setup() {
  cd "$BATS_TEST_TMPDIR"
}

@test "the headers that are kept are of different interfaces, older than this one" {
  cd "$abs_srcdir/tests/plugin/old_header"
  for version in */; do
    grep -q "#define SONDE_ABI_MINOR ${version#*.}" <(sed 's|$|/|' $version/sonde_plugin.h)
  done
  [ "$(ls -d */ | wc -l)" -ge 3 ]
}

@test "a training has the same bits, whatever header its plugins were built with" {
  for version in now "$abs_srcdir"/tests/plugin/old_header/*/; do
    version=$(basename "$version")
    mkdir "$version"
    (cd "$version" && SONDE_PLUGIN_PATH="$BATS_FILE_TMPDIR/$version:$SONDE_PLUGIN_PATH" \
      "$SONDE" run "$abs_srcdir/tests/plugin/old_header/train.lua" > bits 2> said) || { cat "$version/said"; return 1; }
    [ "$(grep -cE '^(f32|bf16)	[0-9a-f]{64}$' "$version/bits")" -eq 2 ]
    cmp now/bits "$version/bits"
  done
}

@test "plugins of the first release pass the kit" {
  for kind in norm attention ffn optimizer; do
    run "$SONDE" plugin test "$BATS_FILE_TMPDIR/1.0/$kind.so"
    echo "$output"
    [ "$status" -eq 0 ]
  done
}

@test "a plugin of two files calls the host from both, and shows nothing but its entry" {
  $CC -O2 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -I"$abs_srcdir/src" -o two_files.so \
    "$abs_srcdir"/tests/plugin/two_files/*.c
  run "$SONDE" plugin test ./two_files.so
  echo "$output"
  [ "$status" -eq 0 ]
  [ "$(nm -D --defined-only two_files.so | grep -c sonde)" -eq 1 ]
}
