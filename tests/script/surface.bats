#!/usr/bin/env bats
# Whatever a script does with the functions it can reach, the program goes on: surface.lua calls them all, at fixed
# seeds. By hand, for longer: sonde run tests/script/surface.lua --set seed=N --set calls=100000, in an empty folder.

setup() {
  cd "$BATS_TEST_TMPDIR" || return
  export HOME="$PWD" XDG_CACHE_HOME="$PWD"
  export ASAN_OPTIONS="max_allocation_size_mb=256:allocator_may_return_null=1:detect_leaks=0:$ASAN_OPTIONS"
}

calls() {
  run timeout 600 "$SONDE" run "$abs_srcdir/tests/script/surface.lua" --set seed="$1" --set calls=4000 < /dev/null
  if [ "$status" -ne 0 ]; then
    echo "status $status at seed $1, in the call"
    head -c 400 trace | tr -d '\000'
    echo "$output" | tail -40
    return 1
  fi
}

@test "any call with any argument ends in a result or in one line: seed 1" { calls 1; }
@test "any call with any argument ends in a result or in one line: seed 2" { calls 2; }
@test "any call with any argument ends in a result or in one line: seed 3" { calls 3; }
