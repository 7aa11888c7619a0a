#!/usr/bin/env bats
# sonde probe: the command, what it writes, and the commands of its page.

bats_require_minimum_version 1.5.0

setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  seq 60 | sed 's/.*/in the beginning there was a small text, and line & said little of itself/' > book.txt
  cat > make.lua <<'LUA'
local sonde, core = require "sonde", require "sonde.core"
local text = core.read_file "book.txt"
local tokenizer = core.tokenizer_train({ text }, { vocab = 270 })
local model = sonde.transformer {
  vocab = tokenizer:vocab(), width = 16, depth = 3, heads = 2, context = 24, init_std = 0.3,
}
model:save("model", { tokenizer = tokenizer })
LUA
  "$SONDE" run make.lua
}

setup() {
  cd "$BATS_FILE_TMPDIR" || exit 1
}

@test "help says what there is" {
  run "$SONDE" probe --help
  [ "$status" -eq 0 ]
  [[ "$output" == *"--probes A,B"* && "$output" == *"block_influence"*"1 - cos(h, h') of the stream"* ]]
  for line in "${lines[@]}"; do [ "${#line}" -le 120 ]; done
  "$SONDE" run /dev/stdin <<< 'for _, name in ipairs(require("sonde").probes.names()) do print(name) end' > names.txt
  while read -r name; do [[ "$output" == *$'\n'"  $name  "* ]]; done < names.txt
}

@test "a table for people, with intervals and passes" {
  run --separate-stderr "$SONDE" probe --model model --text book.txt --probes layer_removal,variance,causal
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" == *"windows of 24 tokens; 4 forward passes over them, 8 if each probe ran alone"* ]]
  [[ "$output" =~ "block 2"\ +-?[0-9.e-]+\ \[ ]]
  [[ "$output" == *"score 1."* ]]
}

@test "JSON: fields, and removal as the difference of two evaluations" {
  "$SONDE" probe --model model --text book.txt --probes layer_removal --json > got.json
  cat > compare.lua <<'LUA'
local sonde, core = require "sonde", require "sonde.core"
local got = core.json_load "got.json"
assert(got.tokens == got.windows * 24 and got.context == 24 and got.model == "model" and got.passes == 4)
local entry = got.probes.layer_removal
assert(#entry.values == 3 and #entry.ci == 3 and entry.unit == "nats" and #entry.definition > 0)
local model = sonde.load "model"
local ids = require("sonde.data.windows").read(model, "book.txt")
local all = { tokens = got.tokens + 1 }
local whole = sonde.evaluate(model, ids, all)
assert(whole.tokens == got.tokens and ids:count() - 1 - got.tokens < 24)
local params = model:params()            -- a block without its output projections is no block
for _, name in ipairs { "self_attn.o_proj.weight", "mlp.down_proj.weight" } do
  params:find("model.layers.1." .. name):fill(0)
end
local drop = sonde.evaluate(model, ids, all).loss - whole.loss
assert(math.abs(drop - entry.values[2]) < 1e-6, drop .. " for " .. entry.values[2])
LUA
  "$SONDE" run compare.lua
}

@test "tokens that are no whole number of windows are rounded down, and a note says so" {
  run --separate-stderr "$SONDE" probe --model model --text book.txt --probes variance --tokens 250 --json
  [ "$status" -eq 0 ]
  [[ "$stderr" == *"note: measured on 240 tokens, not 250: 10 whole windows of 24"* ]]
  [[ "$output" == *'"tokens": 240,'* ]]
  run --separate-stderr "$SONDE" probe --model model --text book.txt --probes variance --tokens 240
  [[ "$stderr" != *note* ]]
}

@test "the same bits at any number of threads and in any company" {
  "$SONDE" probe --model model --text book.txt --probes causal,usefulness --json --threads 1 > one.json
  "$SONDE" probe --model model --text book.txt --probes causal,usefulness --json --threads 2 > two.json
  cmp one.json two.json
}

@test "the page has its figures inside and is well-formed" {
  command -v gnuplot > /dev/null || skip "gnuplot is not installed"
  "$SONDE" probe --model model --text book.txt --probes variance,causal,jacobian --html page.html
  [ "$(grep -o "<svg" page.html | wc -l)" -eq 8 ]
  ! grep -qE '(src|href)="?http' page.html
  if command -v xmllint > /dev/null; then xmllint --noout page.html; fi
}

@test "one result has standard output, and --json takes no file" {
  for two in "--json --csv" "--json --html -" "--csv --html -"; do
    run "$SONDE" probe --model no-model --text book.txt $two
    [ "$status" -eq 1 ]
    [ "$output" = "sonde: two of --json, --csv and --html - are given: only one can have standard output" ]
  done
  for file in "--json out.json" "--json=out.json"; do
    run "$SONDE" probe --model model --text book.txt $file
    [ "$status" -eq 2 ]
    [[ "${lines[0]}" == "sonde: "*"out.json'"*"; --json prints on standard output, > FILE keeps it" ]]
    [ ! -e out.json ]
  done
}

@test "CSV: every entry with its interval" {
  "$SONDE" probe --model model --text book.txt --probes variance,causal,permutation --csv > got.csv
  "$SONDE" probe --model model --text book.txt --probes variance,causal,permutation --json > got.json
  cat > csv.lua <<'LUA'
local core = require "sonde.core"
local lines, got = {}, core.json_load "got.json"
for line in io.lines "got.csv" do lines[line] = true end
assert(lines["probe,row,column,value,low,high"])
local function line(name, row, column, value, ci)
  local text = ("%s,%s,%s,%.17g,%.17g,%.17g"):format(name, row, column, value, ci[1], ci[2])
  assert(lines[text], text)
end
for b = 1, 3 do line("variance", b - 1, 0, got.probes.variance.values[b], got.probes.variance.ci[b]) end
line("permutation", 0, 2, got.probes.permutation.values[1][3], got.probes.permutation.ci[1][3])
line("causal.score", "", "", got.probes.causal.scalars.score.value, got.probes.causal.scalars.score.ci)
LUA
  "$SONDE" run csv.lua
}

@test "places that cannot be written are refused before anything is measured" {
  for place in /no/such/x "$PWD" book.txt/x ""; do
    run "$SONDE" probe --model no-model --text book.txt --html "$place"
    [ "$status" -eq 1 ]
    [ "${#lines[@]}" -eq 1 ]
    [[ "$output" == "sonde: cannot write '$place'"* ]]
  done
}

@test "the result does not go over what is read" {
  cp book.txt kept.txt && ln -sf book.txt link.txt
  for place in book.txt ./book.txt link.txt model/config.json; do
    run "$SONDE" probe --model model --text book.txt --html "$place"
    [ "$status" -eq 1 ]
    [ "$output" = "sonde: $place: is read for this; name another file for the result" ]
  done
  cmp book.txt kept.txt
}

@test "weights that are not finite are refused by name, a model of zeros is measured" {
  cat > broken.lua <<'LUA'
local sonde = require "sonde"
for name, value in pairs { nan = 0 / 0, inf = 1 / 0 } do
  local model = sonde.load "model"
  model:params():find("model.layers.1.mlp.up_proj.weight"):set(7, value)
  model:save(name, { tokenizer = model:tokenizer() })
end
local model = sonde.load "model"
model:params():find("model.embed_tokens.weight"):fill(0)
model:save("zeros", { tokenizer = model:tokenizer() })
LUA
  "$SONDE" run broken.lua
  for name in nan inf; do
    run "$SONDE" probe --model $name --text book.txt
    [ "$status" -eq 1 ]
    [[ "$output" == "sonde: $name: the weights are not finite: "*".1.mlp.up_proj.weight' holds NaN or infinite"* ]]
  done
  "$SONDE" probe --model zeros --text book.txt --html zeros.html
  "$SONDE" probe --model zeros --text book.txt --probes angular_distance,block_influence,jacobian_estimate --json \
    > zeros.json
  ! grep null zeros.json
}

@test "a model of a run: the result is kept with it, and a run that cannot be written is no failure" {
  cat > run.yaml <<'YAML'
model: {width: 16, depth: 2, heads: 2, context: 24}
corpus: {source: book.txt, vocab: 270}
train: {steps: 2, batch: 2}
YAML
  "$SONDE" train run.yaml --dir runs/kept/0
  run --separate-stderr "$SONDE" probe --model runs/kept/0/model --text book.txt --probes causal
  [ "$status" -eq 0 ]
  runs=$(realpath runs)
  [[ "$stderr" == *"sonde: note: kept with the run: $runs/kept/0/probes.json, and in $runs/sonde.db" ]]
  (cd runs/kept/0 &&
    "$SONDE" probe --model ./model --text ../../../book.txt --probes variance --tokens 240 --json > own.json)
  cat > kept.lua <<'LUA'
local core = require "sonde.core"
local all, own = core.json_load "runs/kept/0/probes.json", core.json_load "runs/kept/0/own.json"
assert(all.model == "./model" and all.tokens == 240 and own.probes.causal == nil)
assert(core.json_encode(all.probes.variance) == core.json_encode(own.probes.variance))
assert(all.probes.causal.model == "runs/kept/0/model" and all.probes.causal.tokens > 240)
local trial = core.runs("runs")[1]
assert(trial.status == "done" and trial.results.loss)
assert(trial.results.causal_score == all.probes.causal.scalars.score.value)
assert(core.json_encode(trial.results.variance) == core.json_encode(all.probes.variance.values))
assert(core.json_encode(trial.results["variance.ci"]) == core.json_encode(all.probes.variance.ci))
LUA
  "$SONDE" run kept.lua
  if command -v sqlite3 > /dev/null; then
    sed -n "/^\`\`\`sql$/,/^\`\`\`$/ { /^\`\`\`/d; s/'curse-demo'/'kept'/; s/layer_removal/variance/; p }" \
      "$abs_srcdir/doc/probes.md" > page.sql
    [ "$(sqlite3 runs/sonde.db < page.sql | wc -l)" -eq 2 ]
  fi
  run "$SONDE" runs show kept/0
  [[ "$output" =~ variance\ +\[[0-9.,e-]+"..." ]]
  rm runs/kept/0/lock
  mkdir runs/kept/0/lock
  cp runs/kept/0/probes.json before.json
  run --separate-stderr "$SONDE" probe --model runs/kept/0/model --text book.txt --probes variance
  [ "$status" -eq 0 ]
  [[ "$output" == *"block 1"* ]]
  [[ "$stderr" == *"sonde: note: not kept with the run $(realpath runs/kept/0): "*"cannot make the lock"* ]]
  cmp before.json runs/kept/0/probes.json
  run --separate-stderr "$SONDE" probe --model model --text book.txt --probes variance
  [[ "$stderr" != *kept* ]]
}

@test "mistakes are one line that helps" {
  for none in "" ,; do
    run "$SONDE" probe --model model --text book.txt --probes "$none"
    [ "$status" -eq 1 ]
    [ "$output" = "sonde: --probes names no probe; sonde probe --help lists them" ]
  done
  run "$SONDE" probe --model model --text book.txt --probes varience
  [ "$status" -eq 2 ]
  [[ "${lines[0]}" == *"did you mean 'variance'"* ]]
  run "$SONDE" probe --model model --text book.txt --probes tanh_saturation
  [ "$status" -eq 1 ]
  [[ "${lines[-1]}" == *"norm 'rmsnorm' has no tanh"* ]]
  run "$SONDE" probe --model model --text book.txt --probes usefulness --tokens 16 --context 8
  [ "$status" -eq 1 ]
  [[ "${lines[-1]}" == *"more than 17 tokens, here on 16; give more tokens"* ]]
  run "$SONDE" probe --model model --text book.txt --probes usefulness_held_out --tokens 32 --context 8
  [ "$status" -eq 1 ]
  [[ "${lines[-1]}" == *"more than 17 tokens in each half, here on 16; give more tokens"* ]]
  "$SONDE" probe --model model --text book.txt --probes usefulness --tokens 32 --context 8
  run "$SONDE" probe --model model --text book.txt --tokens 5 --context 24
  [ "$status" -eq 1 ]
  [[ "$output" == "sonde: probe: 5 tokens are less than one window of 24; give more tokens, or a smaller context" ]]
  head -c 4 book.txt > short.txt
  run "$SONDE" probe --model model --text short.txt --probes variance --context 24
  [ "$status" -eq 1 ]
  [[ "${lines[-1]}" == *"hold no whole window of 24 and a target; give a longer text, or a smaller context"* ]]
  # Where no context is asked for it is what the text holds.
  head -c 60 book.txt > short.txt
  "$SONDE" probe --model model --text short.txt --probes variance --json > short.json
  run --separate-stderr "$SONDE" probe --model model --text book.txt --tokens 5 --probes variance --json
  [ "$status" -eq 0 ]
  [[ "$output" == *'"context": 5'* ]]
  cat > short.lua <<'LUA'
local core = require "sonde.core"
local facts, tokens = core.json_load "short.json", require("sonde").load("model"):tokenizer():read "short.txt"
assert(facts.windows >= 1 and facts.context == math.min(24, tokens:count() - 1),
  facts.context .. " of " .. tokens:count())
LUA
  "$SONDE" run short.lua
}

@test "the commands of doc/probes.md work as they stand" {
  sed -n '/^```sh$/,/^```$/ { /^```/d; p }' "$abs_srcdir/doc/probes.md" > walk.sh
  [ "$(grep -c "^sonde " walk.sh)" -ge 2 ]
  mkdir -p bin
  printf '#!/bin/sh\nexec "%s" "$@"\n' "$SONDE" > bin/sonde
  chmod +x bin/sonde
  PATH="$PWD/bin:$PATH" run sh -e walk.sh
  echo "$output"
  [ "$status" -eq 0 ]
  [ -s probes.json ] && [ -s probes.html ]
}

@test "every probe has its row in doc/probes.md" {
  "$SONDE" run /dev/stdin <<< 'for _, name in ipairs(require("sonde").probes.names()) do print(name) end' > names.txt
  [ "$(wc -l < names.txt)" -ge 20 ]
  while read -r name; do
    grep -qE "^\|.*\`${name%_uncentred}\`|^\|.*\`${name%_all}\`" "$abs_srcdir/doc/probes.md" || {
      echo "$name"
      return 1
    }
  done < names.txt
}
