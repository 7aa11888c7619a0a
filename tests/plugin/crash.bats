#!/usr/bin/env bats
# What ends the program is named: a plugin that crashes, aborts, exits or loops, wherever it runs, and a file that is
# cut while it is mapped. And the program still ends by the signal.

setup() {
  cd "$BATS_TEST_TMPDIR"
  broken="$abs_builddir/tests/plugin/broken"
  ulimit -c 0
  export SONDE_CACHE="$PWD/cache"
  seq 4000 | awk '{ printf "word%d ", $1 * $1 % 97 }' > words.txt
  cat > train.lua <<'LUA'
    local sonde = require "sonde"
    local corpus = sonde.corpus("words.txt", { vocab = 300 })
    if sonde.settings.cut then io.open(sonde.settings.cut, "w"):close() end
    local model = sonde.transformer { vocab = corpus.vocab, width = 16, heads = 2, depth = 2, context = 16,
      norm = sonde.settings.norm }
    if sonde.settings.only == "evaluate" then return sonde.evaluate(model, { 1, 2, 3, 4, 5, 6 }) end
    sonde.train(model, corpus, { steps = 5, batch = 2, optimizer = sonde.settings.optimizer, dir = "run" })
LUA
}

# ended STATUS COMMAND...: by that signal (128 + N), or, where a sanitizer takes the signal over, in its way; the words.
ended() {
  local wanted=$1
  shift
  run --separate-stderr "$@"
  words=$(printf '%s\n' "$stderr" | grep -m 1 '^sonde: ')
  echo "status $status: $stderr"
  if grep -q '^SANITIZE_FLAGS = *-' "$abs_builddir/Makefile"; then
    [ "$status" -ne 0 ]
  else
    [ "$status" -eq "$wanted" ]
  fi
}

with() {   # PLUGIN COMMAND...: only this broken one is found
  mkdir -p found
  cp "$broken/$1.so" found/
  shift
  SONDE_PLUGIN_PATH="$PWD/found:$SONDE_PLUGIN_PATH" "$@"
}

bats_require_minimum_version 1.5.0

load "$abs_srcdir/tests/harness/helpers"

@test "a crash in a kernel names op, module and plugin" {
  for threads in 1 3; do
    ended 139 with crash_in_run "$SONDE" run train.lua --set norm=crash_in_run --set only=evaluate --threads $threads
    [[ "$words" == "sonde: segmentation fault in "*"crash_in_run.read' ("*") of the plugin "*/found/crash_in_run.so ]]
  done
}

@test "a kernel that needs more stack than there is, on any thread; and how to go on" {
  for threads in 1 3; do
    ended 139 with deep_stack "$SONDE" run train.lua --set norm=deep_stack --threads $threads
    [[ "$words" == "sonde: segmentation fault in the op 'deep_stack.run' ("*") of the plugin "*/deep_stack.so";"* ]]
    [[ "$words" == *"; the same command resumes from the last checkpoint in ./run" ]]
  done
}

@test "a crash in an optimizer's update" {
  ended 139 with crash_in_update "$SONDE" run train.lua --set optimizer=crash_in_update --threads 2
  [[ "$words" == "sonde: segmentation fault in the optimizer's update of the plugin $PWD/found/crash_in_update.so"* ]]
}

@test "a crash or an exit while a module is built names its place" {
  ended 139 with crash_in_build "$SONDE" run train.lua --set norm=crash_in_build
  [[ "$words" == "sonde: segmentation fault in the building of 'crash_in_build' (block 0, norm 'attn' "*") of "* ]]
  [[ "$words" == *" of the plugin "*/crash_in_build.so* ]]
  run --separate-stderr with exits "$SONDE" run train.lua --set norm=exits
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"the program was ended in the building of 'exits' ("*") of "*"/exits.so, which called exit"* ]]
}

@test "a plugin that crashes, aborts, exits or loops while it is loaded is named" {
  ended 139 with dies_at_load "$SONDE" plugin list
  [ "$words" = "sonde: segmentation fault in loading the plugin '$PWD/found/dies_at_load.so'" ]
  rm found/*
  ended 134 with aborts_at_load "$SONDE" plugin list
  [ "$words" = "sonde: abort in loading the plugin '$PWD/found/aborts_at_load.so'" ]
  rm found/*
  run --separate-stderr with exits_at_load "$SONDE" plugin list
  [ "$status" -eq 1 ]
  [ "$stderr" = "sonde: the program was ended in loading the plugin '$PWD/found/exits_at_load.so', which called exit" ]
  rm found/*
  SONDE_PLUGIN_SECONDS=1 run --separate-stderr with loops_at_entry timeout 60 "$SONDE" plugin list
  echo "status $status: $stderr"
  [ "$status" -eq 1 ]
  [[ "$stderr" == "sonde: the plugin '$PWD/found/loops_at_entry.so' did not finish loading;"* ]]
}

@test "seconds that are none are refused" {
  for seconds in x 0 -1 1x 86401 "" " 1" 99999999999999999999; do
    SONDE_PLUGIN_SECONDS="$seconds" run "$SONDE" plugin list
    echo "'$seconds': $output"
    [ "$status" -eq 1 ]
    [ "$output" = "sonde: SONDE_PLUGIN_SECONDS is '$seconds'; it takes a whole number of seconds, 1 to 86400" ]
  done
  SONDE_PLUGIN_SECONDS=86400 "$SONDE" plugin list
}

@test "a mapped file that is cut is named" {
  "$SONDE" run train.lua > out.txt 2>&1 || { cat out.txt; return 1; }
  shard=$(find "$PWD/cache" -name 'train*' -type f)
  rm -rf run
  ended 135 "$SONDE" run train.lua --set "cut=$shard"
  [[ "$words" == "sonde: bus error: '$shard' became shorter, or could not be read, while it was in use"* ]]
  [[ "$words" == *"; the same command resumes from the last checkpoint in ./run" ]]
  "$SONDE" run train.lua       # the damaged entry is built again
}

@test "a signal that somebody sends still ends the program" {
  printf 'io.stdout:write("started\\n") io.stdout:flush()\nwhile true do end\n' > forever.lua
  for signal in SEGV ABRT; do
    rm -f out.txt
    "$SONDE" run forever.lua > out.txt 2> err.txt 3>&- &
    pid=$!
    awaits "$pid" grep -q started out.txt
    kill -$signal "$pid"
    status=0
    wait "$pid" || status=$?
    cat err.txt
    [ "$status" -ne 0 ] && [ "$status" -ne 124 ]
    head -1 err.txt | grep -q '^sonde: [sa]'
  done
}
