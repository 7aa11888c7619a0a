#!/usr/bin/env bats
# goes_on.bats - runs that go on under other circumstances: another configuration or code, past their planned end, from
# another run's checkpoint, after signals; that end early; and whose folder or index is lost meanwhile.

bats_require_minimum_version 1.5.0

load "$abs_srcdir/tests/harness/helpers"

setup() {
  cd "$BATS_TEST_TMPDIR" || exit 1
  # A second thread makes so small a model no faster, and waits at full speed.
  fixture="$abs_srcdir/tests/train/fixture.lua" one="--threads 1"
}

train() {   # train NAME [key=value ...] [-- flags]
  local name=$1 words=() one=$one
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do words+=(--set "$1"); shift; done
  [ $# -eq 0 ] || shift
  [[ " $* " != *" --threads "* ]] || one=
  "$SONDE" run "$fixture" $one --set "dir=runs/e/$name" "${words[@]}" "$@" 2> err
}

refuses() {   # refuses TEXT train ARGUMENTS
  local text=$1
  shift
  run "$@"
  cat err
  [ "$status" -eq 1 ]
  [ "$(grep -c '^sonde: ' err)" -eq 1 ]
  grep -qF -- "$text" err
}

@test "a run goes on past its planned end, with the bits of one that was longer from the start" {
  whole=$(train whole steps=60 schedule=constant warmup=0)
  train short steps=40 schedule=constant warmup=0
  refuses "train.steps (was 40, now 60)" train short steps=60 schedule=constant warmup=0
  grep -qF -- "--redo computes it anew, or --accept-changes goes on with it from step 40" err
  [ "$(train short steps=60 schedule=constant warmup=0 -- --accept-changes)" = "$whole" ]
  grep -qF "planned end of 40 updates to 60; the rate follows the schedule of 60, which at update 41 is 0.003" err
  grep -q '"step": 40' runs/e/short/run.json
  [ "$(train short steps=60 schedule=constant warmup=0)" = "$whole" ]
}

@test "redo computes a run anew, and only one that was made with something else" {
  other=$(train other steps=20 lr=0.01)
  train a steps=20
  mark=$(stat -c %i runs/e/a/metrics.jsonl)
  train a steps=20 -- --redo
  [ "$(stat -c %i runs/e/a/metrics.jsonl)" = "$mark" ]
  [ "$(train a steps=20 lr=0.01 -- --redo)" = "$other" ]
  grep -q 'computed here before is removed' runs/e/a/log.txt
  refuses "batch was 4 and cannot become 8 within a run" train a steps=20 lr=0.01 batch=8 -- --accept-changes
}

@test "what is done stays as it was recorded, whatever it is shown with" {
  train a steps=20 -- --threads 2
  cp runs/e/a/run.json runs/e/a/config.yaml .
  train a steps=20 -- --threads 1
  train a steps=20 -- --redo
  grep -qF "runs/e/a: nothing differs from what it was made with: it is kept" err
  for flag in --accept-changes ""; do
    refuses "train.lr (was 0.003, now 0.01); all of its 20 updates are done" train a steps=20 lr=0.01 -- $flag
  done
  ! grep -q -e "--accept-changes" err
  cmp run.json runs/e/a/run.json
  cmp config.yaml runs/e/a/config.yaml
}

@test "a norm, a placement and what they use are compared, and kept with their steps" {
  cat > own.lua <<'LUA'
local sonde = require "sonde"
local power = 1
local function scaled(x) return x * power end
sonde.norm("own", { summary = "s" }, function(site, o, x)
  return scaled(x) * (x:square():mean(-1) + 1e-6):rsqrt() * site:param("weight", { site.width }, "gain")
end)
local function place(block, x)
  x = x + block:attention(block:norm_in "attn" (x))
  return x + block:ffn(block:norm_in "ffn" (x))
end
local values = {}
for i = 1, 400 do values[i] = i * i % 61 end
local corpus = { vocab = 61, spec = "made", hash = "made", handle = sonde.tensor("i32", { #values }, values) }
local model = sonde.transformer { vocab = 61, width = 16, depth = 2, heads = 1, context = 8, norm = "own",
  placement = place, seed = 1 }
print(sonde.train(model, corpus, { steps = sonde.settings.steps, batch = 2, dir = "runs/own/a" }).state_sha256)
LUA
  "$SONDE" run own.lua --set steps=8
  sed -i 's/^local power/\n-- a comment\nlocal power/' own.lua            # other lines are no other code
  "$SONDE" run own.lua --set steps=8
  sed -i 's/power = 1/power = 1.5/' own.lua
  run --separate-stderr "$SONDE" run own.lua --set steps=8
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"runs/own/a: was made with another code: norm/own (was "* ]]
  [[ "$stderr" == *", or --accept-changes keeps it as it is, with all its updates done"* ]]
  sed -i 's/power = 1.5/power = 1/; s/return x + block:ffn/return x - block:ffn/' own.lua
  run --separate-stderr "$SONDE" run own.lua --set steps=8
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"placement/custom (was "* ]]
  run --separate-stderr "$SONDE" run own.lua --set steps=12 --accept-changes
  [ "$status" -eq 0 ]
  "$SONDE" run own.lua --set steps=12
  cat > record.lua <<'LUA'
local core, seen = require "sonde.core", {}
for _, entry in ipairs(core.json_load "runs/own/a/run.json".plugins) do
  if entry.kind == "placement" then
    seen[#seen + 1] = string.format("%s %d-%s", entry.name, entry.from, tostring(entry.to))
  end
end
print(table.concat(seen, ", "))
LUA
  [ "$("$SONDE" run record.lua)" = "custom 0-8, custom 8-nil" ]
  run "$SONDE" runs show own/a                   # each state of a module has its hash
  [ "$(grep -c '^  placement/custom' <<< "$output")" -eq 2 ]
  [[ "$output" == *"placement/custom (2)"* ]]
}

@test "a training begins with another run's weights, optimizer and place in the text" {
  whole=$(train whole steps=60 schedule=constant warmup=0)
  train base steps=40 schedule=constant warmup=0
  branch=$(train branch steps=20 schedule=constant warmup=0 from=runs/e/base)
  [ "$branch" = "$whole" ]                       # the same text, the optimizer as it was: the same bits
  [ "$(train cold steps=20 schedule=constant warmup=0 from=runs/e/base from_optimizer=false)" != "$whole" ]
  [ "$(train again steps=20 schedule=constant warmup=0 from=runs/e/base from_text=false)" != "$whole" ]
  grep -q '"dir": "runs/e/base"' runs/e/branch/run.json
  grep -q '"step": 40' runs/e/branch/run.json
  rm -r runs/e/base                               # it has a checkpoint of its own now
  [ "$(train branch steps=20 schedule=constant warmup=0 from=runs/e/base)" = "$whole" ]
  refuses "runs/e/base: there is no such folder" train new steps=20 from=runs/e/base
  refuses "is another one there (7, here 8)" train new steps=20 from=runs/e/whole seed=8
  refuses "option 'from_text' of train has no effect without the option 'from'" train new steps=20 from_text=true
}

# signalled PID SIGNALS LINES FILE: sends signals when the file has so many lines, and waits for the process; its status
signalled() {
  local pid=$1 signal
  awaits "$pid" more_lines "$3" "$4" || true
  for signal in $2; do kill -s "$signal" "$pid" 2> /dev/null || true; done
  status=0
  wait "$pid" || status=$?
}

@test "a branch that decays is interrupted and goes on to the same bits" {
  train base steps=40 schedule=wsd decay=0
  whole=$(train whole steps=1500 schedule=wsd warmup=0 decay=1500 from=runs/e/base log_every=10)
  for _ in 1 2 3 4 5; do
    rm -rf runs/e/cut
    "$SONDE" run "$fixture" $one --set dir=runs/e/cut --set steps=1500 --set schedule=wsd --set warmup=0 \
      --set decay=1500 --set from=runs/e/base --set log_every=10 > log 2>&1 3>&- &
    signalled $! USR1 5 runs/e/cut/metrics.jsonl
    [ "$status" -eq 0 ] || break        # else it was done before the signal came
  done
  [ "$status" -eq 3 ]
  [ "$(train cut steps=1500 schedule=wsd warmup=0 decay=1500 from=runs/e/base log_every=10)" = "$whole" ]
}

@test "job managers' signals save and end with 3, however often they come" {
  whole=$(train whole steps=3000 log_every=10)
  for signal in USR2 XCPU; do
    for _ in 1 2 3 4 5; do
      lines=$(cat runs/e/stopped/metrics.jsonl 2> /dev/null | wc -l)
      "$SONDE" run "$fixture" $one --set dir=runs/e/stopped --set steps=3000 --set log_every=10 > log 2>&1 3>&- &
      signalled $! "$signal $signal $signal" $((lines + 5)) runs/e/stopped/metrics.jsonl
      [ "$status" -eq 0 ] || break      # else it was done before the signal came
      rm -r runs/e/stopped
    done
    [ "$status" -eq 3 ]
    grep -q 'the same command resumes it' log
  done
  [ "$(train stopped steps=3000 log_every=10)" = "$whole" ]
}

@test "a run whose configuration was removed is not taken for one of this configuration" {
  train a steps=20
  rm runs/e/a/config.yaml
  refuses "was made with another configuration: config.yaml, which said with what, is missing" train a steps=20 lr=1e-5
  train a steps=20 -- --redo
  train a steps=20
}

@test "nohup has HUP ignored: the run goes on" {
  (trap '' HUP; exec "$SONDE" run "$fixture" $one --set dir=runs/e/nohup --set steps=3000 --set log_every=10) \
    > log 2>&1 3>&- &
  signalled $! HUP 5 runs/e/nohup/metrics.jsonl
  [ "$status" -eq 0 ]
}

@test "a warm-up and a decay that do not fit are refused" {
  refuses "option 'warmup' of train: 30 updates do not fit into the 20 that there are" train a steps=20 warmup=30
  refuses "option 'decay' of train: 15 updates do not fit into the 10 that the warm-up leaves" \
    train a steps=20 warmup=10 schedule=wsd decay=15
  refuses "option 'decay' of train" train a steps=20 warmup=0.9 schedule=wsd decay=0.2
  refuses "option 'warmup' of train: 9223372036854775808 updates" train a steps=20 warmup=9223372036854775807
  [ ! -e runs ]
}

@test "a run folder that is removed meanwhile ends the training with status 1" {
  "$SONDE" run "$fixture" $one --set dir=runs/e/gone --set steps=2000000 --set log_every=10 > log 2>&1 3>&- &
  child=$!
  awaits "$child" more_lines 5 runs/e/gone/metrics.jsonl
  awaits "$child" rm -rf runs/e/gone             # the training may be making a checkpoint in it
  status=0
  wait "$child" || status=$?
  cat log
  [ "$status" -eq 1 ]
  grep -q "runs/e/gone: the run folder was removed or replaced while it was being written" log
  [ ! -e runs/e/gone/run.json ]
}

@test "an index that cannot be used, or lies above the folder of runs, stops no training" {
  mkdir runs
  head -c 5000 /dev/zero | tr '\0' x > runs/sonde.db
  train a steps=20
  grep -q "sonde.db: file is not a database.*the run continues without the index" err
  [ -e runs/e/a/DONE ]
  run --separate-stderr "$SONDE" runs list
  [ "$status" -eq 0 ]
  [[ "$output" == *"e/a"*"done"* ]]
  "$SONDE" runs rebuild
  run --separate-stderr "$SONDE" runs list
  [[ "$output" == *"e/a"*"done"* && "$stderr" == "" ]]
  mkdir -p above/below
  printf x > above/sonde.db
  "$SONDE" run "$fixture" $one --set dir=above/below/run --set steps=5 2> err
  [ ! -s err ] || ! grep -q sonde.db err
  [ "$(cat above/sonde.db)" = x ]
  [ -e above/below/sonde.db ]
}

@test "the second training of a trial has a folder of its own" {
  cat > two.lua <<'LUA'
local sonde = require "sonde"
local values = {}
for i = 1, 400 do values[i] = i * i % 61 end
local corpus = { vocab = 61, spec = "made", hash = "made", handle = sonde.tensor("i32", { #values }, values) }
local sweep = sonde.sweep { name = "two", grid = { seed = { 1 } } }
sweep:run(function(trial, p)
  local model = sonde.transformer { vocab = 61, width = 16, depth = 1, heads = 1, context = 8, seed = 1 }
  local first = sonde.train(model, corpus, { steps = 4, batch = 2 })
  local second = sonde.train(model, corpus, { steps = 6, batch = 2, lr = 1e-4 })
  trial:report { first = first.steps, second = second.steps, apart = first.run_dir ~= second.run_dir }
  if sonde.settings.fails then error("not yet", 0) end
end)
LUA
  run "$SONDE" run two.lua --set fails=true
  [ "$status" -eq 1 ]
  "$SONDE" run two.lua --set retry=true
  grep -q '"second": 6' runs/two/seed=1/run.json
  grep -q '"steps": 4' runs/two/seed=1/run.json
  grep -q '"steps": 6' runs/two/seed=1/train-2/run.json
  [ ! -e runs/two/seed=1/sonde.db ]
  [ "$("$SONDE" runs list 2> /dev/null | wc -l)" -eq 2 ]
}

small() {   # small OPTIONS: a configuration of a small model, with validation text
  [ -e text.jsonl ] ||
    seq 200 | sed 's/.*/{"text":"once upon a time there was a cat number & who sat on a mat"}/' > text.jsonl
  cat > small.yaml <<YAML
model: {width: 16, depth: 1, heads: 2, context: 16}
corpus: {source: text.jsonl, vocab: 300, cache: cache}
train: {batch: 2, lr: 3e-3, eval_tokens: 512, progress: false, $1}
YAML
}

@test "patience and time end a training as done, and the same command says so again" {
  small 'steps: 40, eval_every: 5, patience: 2, schedule: [[1, 1], [5, 0]], dir: runs/p/0'
  run --separate-stderr "$SONDE" train small.yaml
  [ "$status" -eq 0 ]
  [[ "$output" == *"15 steps"*"ended early: no lower validation loss than "*" in 2 evaluations, at step 15 of 40"* ]]
  grep -q '"stopped": "no lower validation loss' runs/p/0/run.json
  first=$output
  run --separate-stderr "$SONDE" train small.yaml
  [ "$output" = "$first" ]
  small 'steps: 40, eval_every: 5, patience: 9, schedule: [[1, 1], [5, 0]], dir: runs/p/0'
  run --separate-stderr "$SONDE" train small.yaml --accept-changes
  [[ "$output" == *"40 steps"* && "$output" != *"ended early"* ]]
  small 'steps: 1000000, max_minutes: 0.005, dir: runs/p/1'
  run --separate-stderr "$SONDE" train small.yaml
  [ "$status" -eq 0 ]
  [[ "$output" == *"validation loss"*"ended early: the 0.005 minutes it may take are over"* ]]
  small 'steps: 40, eval_every: 0, patience: 2, dir: runs/p/2'
  run --separate-stderr "$SONDE" train small.yaml
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"it needs eval_every, not 0"* ]]
}

@test "patience is counted over sessions" {
  small 'steps: 4000, eval_every: 400, patience: 3, schedule: [[1, 1], [300, 0]], dir: runs/q/0, log_every: 20'
  "$SONDE" train small.yaml > whole
  sed -i 's#runs/q/0#runs/q/1#' small.yaml
  "$SONDE" train small.yaml > log 2>&1 3>&- &
  child=$!
  awaits "$child" grep -q '"val/loss"' runs/q/1/metrics.jsonl
  kill -TERM "$child" 2> /dev/null || true
  wait "$child" || true
  "$SONDE" train small.yaml > parts
  grep 'ended early' whole
  [ "$(grep 'ended early' whole)" = "$(grep 'ended early' parts)" ]
}

@test "a configuration begins with a run's checkpoint or a model folder" {
  small 'steps: 20, schedule: constant, warmup: 0, dir: runs/y/base'
  "$SONDE" train small.yaml > base
  small 'steps: 5, from: runs/y/base, schedule: wsd, warmup: 0, decay: 5, dir: runs/y/branch'
  "$SONDE" train small.yaml --json > branch
  small 'steps: 5, from: runs/y/base/model, schedule: wsd, warmup: 0, decay: 5, dir: runs/y/warm'
  "$SONDE" train small.yaml --json > warm
  small 'steps: 5, schedule: wsd, warmup: 0, decay: 5, dir: runs/y/cold'
  "$SONDE" train small.yaml --json > cold
  cat > losses.lua <<'LUA'
local core = require "sonde.core"
local branch, warm, cold = core.json_load("branch").loss, core.json_load("warm").loss, core.json_load("cold").loss
assert(branch < cold - 0.05 and warm < cold - 0.05 and branch ~= warm, branch .. " " .. warm .. " " .. cold)
LUA
  "$SONDE" run losses.lua
  sed -i 's/width: 16/width: 32/; s#y/cold#y/other#; s/steps: 5,/steps: 5, from: runs\/y\/base\/model,/' small.yaml
  run --separate-stderr "$SONDE" train small.yaml
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"runs/y/base/model/model.safetensors: tensor '"*"' is f32 ["*"], the model has f32 ["* ]]
}

@test "a flipped bit anywhere in a run folder: the same bits, or a line that says what is damaged" {
  whole=$(train a steps=12)
  cp -a runs kept
  cat > flip.lua <<'LUA'
local path, at = arg[1], tonumber(arg[2])
local file = assert(io.open(path, "rb"))
local text = file:read "a"
file:close()
at = #text > 0 and at * 7919 % #text + 1 or 1
file = assert(io.open(path, "wb"))
file:write(text:sub(1, at - 1), string.char((text:byte(at) or 0) ~ 1 << at % 7), text:sub(at + 1))
file:close()
LUA
  (cd kept && find . -type f -not -name 'sonde.db-*') > files
  [ "$(wc -l < files)" -ge 10 ]
  same=0 refused=0 places="1 2"
  ! grep -q '^SANITIZE_FLAGS = *-' "$abs_builddir/Makefile" || places=1       # a process takes ten times as long there
  while read -r file; do
    for at in $places; do
      rm -r runs
      cp -a kept runs
      "$SONDE" run flip.lua "runs/$file" "$at"
      status=0
      result=$(train a steps=12) || status=$?
      echo "$file $at: $status $result"
      cat err
      if [ "$status" -eq 0 ]; then
        [ "$result" = "$whole" ]
        same=$((same + 1))
      else
        [ "$status" -eq 1 ]
        [ "$(grep -c '^sonde: ' err)" -eq "$((1 + $(grep -c '^sonde: warning' err || true)))" ]
        refused=$((refused + 1))
      fi
      [[ "$file" != */checkpoint-* ]] || [ "$status" -eq 1 ]
    done
  done < files
  [ "$same" -gt 0 ] && [ "$refused" -ge 4 ]
}
