#!/usr/bin/env bats
# jobs.bats - trials of a sweep in several processes at a time: the results of one process, crashes that are failures of
# their trials, a sweep that is killed or stopped, locks and threads, searches that decide alike.

bats_require_minimum_version 1.5.0

load "$abs_srcdir/tests/harness/helpers"

setup() {
  cd "$BATS_TEST_TMPDIR" || exit 1
  for i in $(seq 200); do
    echo "In the beginning of line $i was the word, and the word stood $((i * 7 % 31)) times on the page."
  done > text.txt
  cat > train.lua <<'LUA'
local sonde = require "sonde"
local settings = sonde.settings
local corpus = sonde.corpus("text.txt", { vocab = 300, cache = "cache" })
local sweep = sonde.sweep { name = "s", grid = { width = { 8, 16 }, seed = { 1, 2 } }, jobs = settings.script_jobs }
sweep:run(function(trial, p)
  local model = sonde.transformer { vocab = corpus.vocab, width = p.width, depth = 2, heads = 2, context = 16,
    seed = p.seed }
  if settings.mark then io.open(settings.mark, "a"):write(io.open("/proc/self/stat"):read "n", "\n"):close() end
  local result = sonde.train(model, corpus, { tokens = settings.tokens or 2048, batch = 4, eval_every = 0,
    eval_tokens = 256, checkpoint_every = 8 })
  trial:report { perplexity = result.perplexity }
  trial:report(sonde.probe(model, corpus, { "variance" }))
end)
sweep:summary { by = { "width" }, metric = "perplexity" }
LUA
  cat > results.lua <<'LUA'
local record = require("sonde.core").json_load(arg[1])
local names = {}
for name in pairs(record.results) do
  if not (name:find "seconds" or name:find "per_s" or name:find "mfu") then names[#names + 1] = name end
end
table.sort(names)
for _, name in ipairs(names) do
  local value = record.results[name]
  print(name, type(value) == "number" and ("%.17g"):format(value) or value)
end
assert(record.results.state_sha256)
LUA
  cat > crash.lua <<'LUA'
local sonde = require "sonde"
local how = sonde.settings.how
local sweep = sonde.sweep { name = "c", grid = { a = { 1, 2, 3, 4 }, seed = { 1 } } }
sweep:run(function(trial, p)
  if p.a == 2 and math.type(how) == "integer" then os.exit(how) end
  if p.a == 2 and how then os.execute("kill -" .. how .. " $PPID") end
  trial:report { x = p.a }
end)
sweep:summary { by = { "a" }, metric = "x" }
LUA
}

# What trials computed: name, weights' hash and results of each.
computed() {
  for trial in "$1"/s/*/; do
    basename "$trial"
    "$SONDE" run results.lua "$trial/run.json"
    cat "$trial/probes/variance.json"
  done
}

ended() {   # ended PID: whether it is there no more, or only in the list of its parent's children
  ! kill -0 "$1" 2> /dev/null || grep -q '^State:.*zombie' "/proc/$1/status"
}

@test "several processes compute and print what one does, and share the threads" {
  "$SONDE" run train.lua --threads 1 > one
  mv runs one.runs
  "$SONDE" run train.lua --jobs 3 > three 2> err
  cat err
  cmp one three
  diff <(computed one.runs) <(computed runs)
  grep -q "s: 4 queued, 3 at a time" err
  grep -q "4 of 4" err
  "$SONDE" runs list s > list
  [ "$(grep -c ' done ' list)" -eq 4 ]
  mv runs three.runs
  "$SONDE" run train.lua --set script_jobs=2 --threads 1 > two 2> err
  grep -q "2 at a time" err
  cmp one two
  "$SONDE" run train.lua --set script_jobs=2 --jobs 4 > again 2> err
  grep -q "s: 4 done$" err
  cmp one again
}

@test "a crash is the failure of its trial, and the others go on" {
  export ASAN_OPTIONS="${ASAN_OPTIONS-}:handle_segv=0"    # which would make a status of the signal
  for how in SEGV KILL ABRT 0 3 7 75; do
    rm -rf runs
    run --separate-stderr "$SONDE" run crash.lua --jobs 2 --set "how=$how"
    echo "$how: $status: $output $stderr"
    [ "$status" -eq 1 ]
    [ "$(grep -l '"status": "done"' runs/c/*/run.json | wc -l)" -eq 3 ]
    grep -q '"status": "failed"' 'runs/c/a=2,seed=1/run.json'
    case $how in
      SEGV) [[ $stderr == *"a=2,seed=1 failed"*"its process crashed (signal 11): segmentation fault"* ]] ;;
      KILL) [[ $stderr == *"its process was killed (signal 9): by the system where memory ran out"* ]] ;;
      ABRT) [[ $stderr == *"its process crashed (signal 6): abort"* ]] ;;
      *) [[ $stderr == *"a=2,seed=1 failed"*"its process ended with status $how before the trial did"* ]] ;;
    esac
    [[ $stderr != *"resumes"* ]]
  done
  run --separate-stderr "$SONDE" run crash.lua --jobs 2 --set retry=true
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  grep -q '"status": "done"' 'runs/c/a=2,seed=1/run.json'
}

@test "the same mistake in three trials ends the sweep; one in a trial is named as in one process" {
  cat > wrong.lua <<'LUA'
local sonde = require "sonde"
sonde.sweep { name = "w", grid = { a = { 1, 2, 3, 4, 5, 6, 7, 8 } } }:run(function() error("a typo", 0) end)
LUA
  run --separate-stderr "$SONDE" run wrong.lua --jobs 2
  echo "$stderr"
  [ "$status" -eq 1 ]
  [[ $stderr == *"3 trials in a row failed for the same reason: a typo"* ]]
  grep -q '"reason": "a typo"' 'runs/w/a=1/run.json'
}

@test "killed, its processes end at once, and the same command goes on to the same bits" {
  "$SONDE" run train.lua --set tokens=12000 > whole 2> /dev/null
  mv runs whole.runs
  "$SONDE" run train.lua --set tokens=12000 --jobs 2 --set mark=pids > /dev/null 2>&1 3>&- &
  parent=$!
  awaits $parent more_lines 1 pids
  kill -KILL $parent || true       # it may have ended
  wait $parent || true
  while read -r pid; do awaits $$ ended "$pid"; done < pids
  [ "$(wc -l < pids)" -ge 2 ]
  "$SONDE" run train.lua --set tokens=12000 --jobs 2 > again 2> err
  cat err
  cmp whole again
  diff <(computed whole.runs) <(computed runs)
}

@test "stopped by a signal, all trials write checkpoints, and the same command resumes them" {
  "$SONDE" run train.lua --set tokens=1200000 --jobs 2 --set mark=pids > /dev/null 2> err 3>&- &
  parent=$!
  saved() { [ "$(ls -d runs/s/*/checkpoint 2> /dev/null | wc -l)" -ge 2 ]; }
  awaits $parent saved
  kill -INT $parent
  status=0
  wait $parent || status=$?
  cat err
  [ "$status" -eq 3 ]
  while read -r pid; do awaits $$ ended "$pid"; done < pids
  [ "$(grep -l '"status": "interrupted"' runs/s/*/run.json | wc -l)" -eq 2 ]
  grep -q "interrupted" err
  ! grep -q "failed" err
}

@test "a trial that another process is at is left to it" {
  cat > slow.lua <<'LUA'
local sonde = require "sonde"
local sweep = sonde.sweep { name = "s", grid = { a = { 1, 2, 3, 4 } } }
sweep:run(function(trial, p)
  io.open("count", "a"):write("x"):close()
  os.execute "sleep 0.2"
  trial:report { x = p.a, threads = require("sonde.core").threads() }
end)
LUA
  "$SONDE" run slow.lua --jobs 2 > /dev/null 2>&1 3>&- &
  "$SONDE" run slow.lua --jobs 2 > /dev/null 2>&1
  wait $!
  [ "$(cat count)" = xxxx ]
  [ "$("$SONDE" runs list s | grep -c ' done ')" -eq 4 ]
}

@test "a search decides alike in one process and in several, and after a kill" {
  cat > search.lua <<'LUA'
local sonde = require "sonde"
local settings = sonde.settings
local sweep = sonde.sweep { name = "s", grid = { lr = { 1, 2, 3, 4, 5, 6, 7, 8, 9 }, tokens = { 1, 3, 9 },
  kind = { "a", "b" } }, search = { policy = "asha", metric = "loss", budget = "tokens", each = { "kind" } } }
local done = 0
sweep:run(function(trial, p)
  if settings.kill and p.tokens == 3 then os.execute("kill -9 " .. io.open("parent"):read "n") end
  os.execute(("sleep 0.0%d"):format(p.lr * 7 % 5))
  trial:report { loss = (p.lr - (p.kind == "a" and 6.1 or 2.2)) ^ 2 + 1 / p.tokens }
end)
for _, kind in ipairs { "a", "b" } do
  for _, arm in ipairs(sweep:ranking { kind = kind }) do
    print(kind, arm.params.lr, arm.params.tokens, ("%.4f"):format(arm.value))
  end
end
LUA
  "$SONDE" run search.lua > one 2> err || cat err
  [ "$(head -1 one)" = $'a\t6\t9\t0.1211' ]
  cp runs/s/search.json one.json
  ls runs/s > one.ls
  rm -r runs
  "$SONDE" run search.lua --jobs 4 > four 2> err || cat err
  cmp one four
  cmp one.json runs/s/search.json
  diff one.ls <(ls runs/s)
  rm -r runs
  (echo $BASHPID > parent; exec "$SONDE" run search.lua --jobs 3 --set kill=true > /dev/null 2>&1 3>&-) || true
  [ ! -e runs/s/lr=6,tokens=9,kind=a ]
  "$SONDE" run search.lua --jobs 3 > again 2> err || cat err
  cmp one again
  cmp one.json runs/s/search.json
}

@test "searches with several seeds decide alike in one process and in several" {
  cat > seeds.lua <<'LUA'
local sonde = require "sonde"
for _, seeds in ipairs { { 1, 2 }, { 1, 2, 3 } } do
  for _, policy in ipairs { "grid", "random", "asha", "golden", "bayes" } do
    local search = { policy = policy, metric = "loss", batch = 2 }
    search[policy == "asha" and "budget" or "axis"] = "size"
    local sweep = sonde.sweep { name = policy .. #seeds, search = search,
      grid = { size = { 1, 4, 16, 64 }, lr = policy == "asha" and { 1, 2, 3, 4 } or { 1 }, seed = seeds } }
    sweep:run(function(trial, p)
      trial:report { loss = math.abs(p.size - 15) + p.lr + (p.seed * 7 % 3) / 10 }
    end)
    for _, arm in ipairs(sweep:ranking()) do print(policy, #seeds, arm.params.size, arm.params.lr, arm.value) end
  end
end
LUA
  "$SONDE" run seeds.lua > one 2> err || { cat err; false; }
  mv runs one.runs
  "$SONDE" run seeds.lua --jobs 3 > three 2> err || { cat err; false; }
  cmp one three
  [ "$(ls runs | grep -c '[23]$')" -eq 10 ]
  for search in grid2 random2 asha2 golden2 bayes2 grid3 random3 asha3 golden3 bayes3; do
    cmp "one.runs/$search/search.json" "runs/$search/search.json"
    diff <(ls "one.runs/$search") <(ls "runs/$search")
  done
}
