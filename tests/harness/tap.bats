#!/usr/bin/env bats
# The TAP driver that counts every other test must itself see what an exit status hides.

setup() {
  cd "$BATS_TEST_TMPDIR"
}

# Runs the driver on a shell script read from standard input; the results are in trial.trs.
drive() {
  cat > trial.sh
  env AM_TAP_AWK=awk sh "$abs_srcdir/build-aux/tap-driver.sh" --test-name trial --log-file trial.log \
    --trs-file trial.trs --color-tests no -- sh trial.sh > output
}

results() {
  sed -n 's/^:test-result: \([A-Z]*\).*/\1/p' trial.trs | tr '\n' ' '
}

@test "good results pass, a skip is a skip" {
  drive <<< 'echo 1..3; echo "ok 1 - a"; echo "ok 2 - b # SKIP no such device"; echo "ok 3"'
  [ "$(results)" = "PASS SKIP PASS " ]
}

@test "a failure fails although the exit status is 0" {
  drive <<< 'echo 1..2; echo "ok 1"; echo "not ok 2"; exit 0'
  [ "$(results)" = "PASS FAIL " ]
}

@test "too few results are an error" {
  drive <<< 'echo 1..3; echo "ok 1"; echo "ok 2"'
  [ "$(results)" = "PASS PASS ERROR " ]
}

@test "a missing plan is an error" {
  drive <<< 'echo "ok 1"'
  [[ "$(results)" == *ERROR* ]]
}

@test "no output at all is an error" {
  drive <<< 'true'
  [[ "$(results)" == *ERROR* ]]
}

@test "a crash after the last result is an error" {
  drive <<< 'echo 1..1; echo "ok 1"; kill -SEGV $$'
  [[ "$(results)" == *ERROR* ]]
}

@test "an exit status that is not 0 is an error" {
  drive <<< 'echo 1..1; echo "ok 1"; exit 3'
  [[ "$(results)" == *ERROR* ]]
}
