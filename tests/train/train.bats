#!/usr/bin/env bats
# train.bats - trainings from the command line: stopped, killed, locked out, refused; and what `sonde runs` says of
# them.

load "$abs_srcdir/tests/harness/helpers"

setup() {
  cd "$BATS_TEST_TMPDIR"
  # A second thread makes so small a model no faster, and waits at full speed.
  fixture="$abs_srcdir/tests/train/fixture.lua" one="--threads 1"
  root="$PWD/runs"
}

train() {   # train NAME [key=value ...]
  local name=$1 words=()
  shift
  for setting in "$@"; do words+=(--set "$setting"); done
  "$SONDE" run "$fixture" $one --set "dir=$root/$name" "${words[@]}"
}

start() {   # the same in the background, so that $! is the program itself
  local name=$1 words=()
  shift
  for setting in "$@"; do words+=(--set "$setting"); done
  "$SONDE" run "$fixture" $one --set "dir=$root/$name" "${words[@]}" >>log 2>&1 3>&- &
  child=$!
}

until_lines() {   # until_lines NAME N: waits for so many lines of metrics, or the end
  awaits "$child" more_lines $(($2 - 1)) "$root/$1/metrics.jsonl" || ! kill -0 "$child" 2> /dev/null
}

steps_of() { sed 's/^{"step":\([0-9]*\),.*}$/\1/' "$root/$1/metrics.jsonl"; }

@test "SIGINT saves, ends with 3, and the same command goes on to the same bits" {
  whole=$(train e/whole steps=3000 log_every=10)
  for _ in 1 2 3 4 5; do
    rm -rf "$root/e/stopped" log
    start e/stopped steps=3000 log_every=10
    until_lines e/stopped 5
    kill -INT "$child" || true
    status=0
    wait "$child" || status=$?
    [ "$status" -eq 0 ] || break        # else it was done before the signal came
  done
  [ "$status" -eq 3 ]
  grep -q 'stopped at step [0-9]* of 3000; the same command resumes it' log
  grep -q '"status": "interrupted"' "$root/e/stopped/run.json"
  [ -e "$root/e/stopped/checkpoint/state.json" ]
  [ "$(train e/stopped steps=3000 log_every=10)" = "$whole" ]
  [ "$(steps_of e/stopped)" = "$(seq 10 10 3000)" ]
  [ -e "$root/e/stopped/DONE" ]
}

@test "kill -9 again and again, and the run ends in the same bits" {
  whole=$(train e/whole steps=1500 log_every=10 probe_every=50 checkpoint_every=50)
  for lines in 3 20 21 60 90; do
    start e/killed steps=1500 log_every=10 probe_every=50 checkpoint_every=50
    until_lines e/killed "$lines"
    kill -9 "$child" || true
    wait "$child" || true
  done
  [ "$(train e/killed steps=1500 log_every=10 probe_every=50 checkpoint_every=50)" = "$whole" ]
  [ "$(steps_of e/killed)" = "$(seq 10 10 1500)" ]
}

@test "an optimizer of whole matrices: the same bits at any number of threads, and killed in between" {
  whole=$("$SONDE" run "$fixture" --threads 1 --set steps=400 --set optimizer=muon)
  [ "$("$SONDE" run "$fixture" --threads 3 --set steps=400 --set optimizer=muon)" = "$whole" ]
  [ "$(train e/plain steps=400)" != "$whole" ]
  for lines in 3 20; do
    start e/killed steps=400 log_every=10 checkpoint_every=50 optimizer=muon
    until_lines e/killed "$lines"
    kill -9 "$child" || true
    wait "$child" || true
  done
  [ "$(train e/killed steps=400 log_every=10 checkpoint_every=50 optimizer=muon)" = "$whole" ]
}

@test "a second process on a run is refused with the first one's number" {
  start e/t steps=200000
  until_lines e/t 1
  run train e/t steps=200000
  kill -9 "$child"
  wait "$child" || true
  [ "$status" -eq 1 ]
  [[ "$output" == *"process $child is at work in this folder"* ]]
}

@test "another configuration is refused with the keys that differ" {
  train e/t steps=20
  run train e/t steps=20 lr=0.5
  [ "$status" -eq 1 ]
  [[ "$output" == *"train.lr (was 0.003, now 0.5)"* ]]
  run train e/t steps=20
  [ "$status" -eq 0 ]
}

@test "a loss that diverges is a result with its reason" {
  run train e/t steps=50 lr=1e9
  [ "$status" -eq 0 ]
  [[ "$output" == *" at step "* ]]
  run "$SONDE" runs --root "$root"
  [[ "$output" == *"e/t"*"diverged"*"at step"* ]]
}

@test "a full disk names the file, keeps the last checkpoint, and the run can go on" {
  whole=$(train e/whole steps=60 checkpoint_every=20)
  run bash -c "ulimit -f 40; '$SONDE' run '$fixture' --set dir=$root/e/full --set steps=60 --set checkpoint_every=20"
  [ "$status" -eq 1 ]
  [[ "$output" == *"File too large"* ]]
  [ ! -e "$root/e/full/checkpoint-20" ]
  [ "$(train e/full steps=60 checkpoint_every=20)" = "$whole" ]
}

@test "a folder that cannot be made is named" {
  touch file
  root="$PWD/file"
  run train e/t steps=5
  [ "$status" -eq 1 ]
  [[ "$output" == *"$PWD/file"* ]]
}

@test "options are checked with a hint" {
  run train e/t steps=5 warmupp=3
  [ "$status" -eq 1 ]
  [[ "$output" == *"unknown option 'warmupp' of train; did you mean 'warmup'?"* ]]
  run train e/t steps=5 memory_budget=8Gip
  [[ "$output" == *"memory_budget cannot be '8Gip'"* ]]
  run train e/t steps=5 tokens=100
  [[ "$output" == *"takes either tokens or steps, not both"* ]]
  [ ! -e "$root" ]
}

@test "what does not fit the memory budget is refused before the first step" {
  run train e/t steps=5 memory_budget=100KiB
  [ "$status" -eq 1 ]
  [[ "$output" == *"memory_budget"* ]]
  run train e/u steps=5 memory_budget=500KiB
  [ "$status" -eq 1 ]
  [[ "$output" == *"iB"* ]]
}

@test "sonde runs lists, shows, compares and rebuilds" {
  train e/a steps=10
  train e/b steps=10 lr=0.01
  run "$SONDE" runs list e --root "$root"
  [ "${#lines[@]}" -eq 3 ]
  [[ "${lines[1]}" == e/a*done* ]]
  run "$SONDE" runs show e/a --root "$root"
  [[ "$output" == *"optimizer/adamw"* && "$output" == *"train.lr"*"0.003"* ]]
  run "$SONDE" runs compare e --root "$root"
  [[ "$output" == *"train.lr"*"0.003"*"0.01"* && "$output" != *"train.batch"* ]]
  before=$("$SONDE" runs list --json --root "$root")
  rm "$root"/sonde.db*
  run "$SONDE" runs rebuild --root "$root"
  [[ "$output" == *"2 runs"* ]]
  [ "$("$SONDE" runs list --json --root "$root")" = "$before" ]
  run "$SONDE" runs show e/c --root "$root"
  [ "$status" -eq 1 ]
  [[ "$output" == *"did you mean"* ]]
  run "$SONDE" runs --root nowhere
  [ "$status" -eq 1 ]
  [[ "$output" == *"there is no folder 'nowhere'"* ]]
}
