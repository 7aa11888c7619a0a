#!/usr/bin/env bats
# changes.bats - a sweep's script that was edited, run again: what its trials computed before is not shown as if it were
# new.

bats_require_minimum_version 1.5.0

setup() {
  cd "$BATS_TEST_TMPDIR" || exit 1
  cat > sweep.lua <<'LUA'
local sonde = require "sonde"
local lr, noise, calls = 3e-3, { scale = 2 }, 0
local function score(n) return n * lr * noise.scale end
local sweep = sonde.sweep { name = "s", grid = { n = sonde.settings.n or { 1, 2 }, seed = { 1 } } }
sweep:run(function(trial, p)
  calls = calls + 1
  trial:report { score = score(p.n) }
end)
sweep:summary { by = { "n" }, metric = "score" }
LUA
  "$SONDE" run sweep.lua > first 2>&1
}

again() { run --separate-stderr "$SONDE" run sweep.lua "$@"; echo "$status: $output $stderr"; }

@test "the same script keeps its trials, also in a larger grid and with other comments" {
  sed -i '1i -- a comment\n' sweep.lua
  sed -i 's/metric = "score"/metric = "score", where = {}/' sweep.lua
  again --set 'n=[1,2,3]'
  [ "$status" -eq 0 ]
  [[ "$stderr" == *"sweep.lua has changed since 2 of 3 trials of 's' were run, but not what they compute; --redo"* ]]
  [ "$(grep -l '"score": ' runs/s/*/run.json | wc -l)" -eq 3 ]
}

@test "a value, a function and a table that trials use are compared, and named" {
  sed 's/3e-3/1e-4/' sweep.lua > other; mv other sweep.lua
  again
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"2 of 2 trials were run by another version of sweep.lua: the trial's function: score/lr "* ]]
  [[ "$stderr" == *"score/lr (was 0.003, now 0.0001); --redo runs them again, --accept-changes keeps"* ]]
  [[ "$output" != *"score"* ]]
  sed 's/1e-4/3e-3/; s/scale = 2/scale = 4/' sweep.lua > other; mv other sweep.lua
  again
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"score/noise.scale (was 2, now 4)"* ]]
  sed 's/scale = 4/scale = 2/; s/return n \* lr/return n + lr/' sweep.lua > other; mv other sweep.lua
  again
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"the trial's function: score (was "* ]]
}

@test "redo runs what has changed again, and accept keeps it and asks no more" {
  sed 's/3e-3/1/' sweep.lua > other; mv other sweep.lua
  again --accept-changes
  [ "$status" -eq 0 ]
  [[ "$stderr" == *"they are kept"* ]]
  grep -q '"score": 0.006' 'runs/s/n=1,seed=1/run.json'
  grep -q "score/lr (was 0.003, now 1)" 'runs/s/n=1,seed=1/run.json'
  again
  [ "$status" -eq 0 ]
  [[ "$stderr" != *"another version"* ]]
  again --redo
  [ "$status" -eq 0 ]
  [[ "$stderr" != *"going on where it stopped"* ]]
  grep -q '"score": 2' 'runs/s/n=1,seed=1/run.json'
  started=$(grep started 'runs/s/n=1,seed=1/run.json')
  again --redo
  [ "$status" -eq 0 ]
  [ "$(grep started 'runs/s/n=1,seed=1/run.json')" = "$started" ]
  again --redo --accept-changes
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"give one of them"* ]]
}

@test "globals and required files that trials use are compared" {
  cat > mine.lua <<'LUA'
return { factor = 2 }
LUA
  cat > sweep.lua <<'LUA'
local sonde = require "sonde"
package.path = "./?.lua;" .. package.path
local mine = require "mine"
function Scaled(n) return n * mine.factor end
local sweep = sonde.sweep { name = "t", grid = { n = { 1 } } }
sweep:run(function(trial, p) trial:report { score = Scaled(p.n) } end)
LUA
  again
  [ "$status" -eq 0 ]
  again
  [ "$status" -eq 0 ]
  sed -i 's/2/3/' mine.lua
  again
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"mine.factor (was 2, now 3)"* ]]
  sed -i 's/3/2/' mine.lua
  sed -i 's/n \* mine/1 + n * mine/' sweep.lua
  again
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"global Scaled (was "* ]]
}

@test "a norm that has changed is noticed by a sweep whose trials used it" {
  cat > sweep.lua <<'LUA'
local sonde = require "sonde"
sonde.norm("ours", { summary = "s" }, function(site, o, x) return x * site:param("weight", { site.width }, "gain") end)
local corpus = { vocab = 61, spec = "made", hash = "made" }
local values = {}
for i = 1, 400 do values[i] = i * i % 61 end
corpus.handle = sonde.tensor("i32", { #values }, values)
local sweep = sonde.sweep { name = "p", grid = { seed = { 1 } } }
sweep:run(function(trial, p)
  local model = sonde.transformer { vocab = 61, width = 16, depth = 1, heads = 1, context = 8, norm = "ours" }
  local result = sonde.train(model, corpus, { steps = 3, batch = 2 })
  trial:report { score = result.loss }
end)
LUA
  again
  [ "$status" -eq 0 ]
  again
  [ "$status" -eq 0 ]
  sed -i 's/return x \*/return 2 * x */' sweep.lua
  again
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"norm/ours (was "* ]]
}

@test "other settings are refused, and redo runs the trials again with them" {
  sed -i 's/seed = { 1 } }/seed = { 1 } }, settings = { size = sonde.settings.size or 1 }/' sweep.lua
  rm -r runs
  again
  again --set size=2
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"was run with other settings: size was 1, is now 2; give the sweep another name, or --redo "* ]]
  again --set size=2 --redo
  [ "$status" -eq 0 ]
  again --set size=2
  [ "$status" -eq 0 ]
}
