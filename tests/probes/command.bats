#!/usr/bin/env bats
# sonde probe: the command, what it writes, and the commands of its page.

bats_require_minimum_version 1.5.0

setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  for k in $(seq 60); do echo "in the beginning there was a small text, and line $k said little of itself"; done > book.txt
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
  [[ "$output" == *"--probes A,B"* && "$output" == *"layer_removal"* ]]
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
  "$SONDE" probe --model model --text book.txt --probes layer_removal --json got.json
  cat > compare.lua <<'LUA'
local sonde, core = require "sonde", require "sonde.core"
local got = core.json_load "got.json"
assert(got.tokens == got.windows * 24 and got.context == 24 and got.model == "model" and got.passes == 4)
local entry = got.probes.layer_removal
assert(#entry.values == 3 and #entry.ci == 3 and entry.unit == "nats" and #entry.definition > 0)
local model = sonde.load "model"
local ids = require("sonde.windows").read(model, "book.txt")
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
  run --separate-stderr "$SONDE" probe --model model --text book.txt --probes variance --tokens 250 --json rounded.json
  [ "$status" -eq 0 ]
  [[ "$stderr" == *"note: measured on 240 tokens, not 250: 10 whole windows of 24"* ]]
  grep -q '"tokens": 240,' rounded.json
  run --separate-stderr "$SONDE" probe --model model --text book.txt --probes variance --tokens 240
  [[ "$stderr" != *note* ]]
}

@test "the same bits at any number of threads and in any company" {
  "$SONDE" probe --model model --text book.txt --probes causal,usefulness --json one.json --threads 1
  "$SONDE" probe --model model --text book.txt --probes causal,usefulness --json two.json --threads 2
  cmp one.json two.json
}

@test "the page has its figures inside and is well-formed" {
  command -v gnuplot > /dev/null || skip "gnuplot is not installed"
  "$SONDE" probe --model model --text book.txt --probes variance,causal,jacobian --html page.html
  [ "$(grep -o "<svg" page.html | wc -l)" -eq 8 ]
  ! grep -qE '(src|href)="?http' page.html
  if command -v xmllint > /dev/null; then xmllint --noout page.html; fi
}

@test "JSON on standard output, alone there" {
  "$SONDE" probe --model model --text book.txt --probes variance --json file.json
  "$SONDE" probe --model model --text book.txt --probes variance --json - > stdout.json 2> err
  cmp file.json stdout.json
  [ ! -e ./- ]
}

@test "places that cannot be written are refused before anything is measured" {
  for option in --json --html; do
    for place in /no/such/x "$PWD" book.txt/x ""; do
      run "$SONDE" probe --model no-model --text book.txt $option "$place"
      [ "$status" -eq 1 ]
      [ "${#lines[@]}" -eq 1 ]
      [[ "$output" == "sonde: cannot write '$place'"* ]]
    done
  done
}

@test "mistakes are one line that helps" {
  run "$SONDE" probe --model model --text book.txt --probes varience
  [ "$status" -eq 2 ]
  [[ "${lines[0]}" == *"did you mean 'variance'"* ]]
  run "$SONDE" probe --model model --text book.txt --probes tanh_saturation
  [ "$status" -eq 1 ]
  [[ "${lines[-1]}" == *"norm 'rmsnorm' has no tanh"* ]]
  run "$SONDE" probe --model model --text book.txt --probes usefulness --tokens 16 --context 8
  [ "$status" -eq 1 ]
  [[ "${lines[-1]}" == *"more than 17 tokens in each half, here on 8; give more tokens"* ]]
  run "$SONDE" probe --model model --text book.txt --tokens 5
  [ "$status" -eq 1 ]
  [[ "$output" == "sonde: probe: 5 tokens are less than one window of 24; give more tokens, or a smaller context" ]]
  head -c 4 book.txt > short.txt
  run "$SONDE" probe --model model --text short.txt --probes variance
  [ "$status" -eq 1 ]
  [[ "${lines[-1]}" == *"hold no whole window of 24"* ]]
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
    grep -qE "^\|.*\`${name%_uncentred}\`|^\|.*\`${name%_all}\`" "$abs_srcdir/doc/probes.md" || { echo "$name"; return 1; }
  done < names.txt
}
