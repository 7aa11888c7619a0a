#!/usr/bin/env bats
# sonde sparsify, sparsity in configurations, and runs that are killed while the masks change.

bats_require_minimum_version 1.5.0

setup_file() {
  cd "$BATS_FILE_TMPDIR"
  seq 60 | awk '{
    printf "line %d of the text says %d and %d, then %d.\n", $1, $1 * 7 % 13, $1 * $1 % 17, $1 % 5
  }' > text.txt
  cat > small.yaml <<'END'
model: {depth: 2, width: 32, heads: 2, context: 16}
corpus: {source: text.txt, vocab: 300}
train: {steps: 20, batch: 4, lr: 3.0e-3, eval_every: 0}
END
  "$SONDE" train small.yaml > /dev/null 2> err || { cat err; return 1; }
}

setup() {
  cd "$BATS_TEST_TMPDIR"
  model="$BATS_FILE_TMPDIR/runs/small/0/model"
  text="$BATS_FILE_TMPDIR/text.txt"
}

field() {   # field FILE EXPRESSION: of a JSON file
  printf 'print((%s)(require("sonde.core").json_load("%s")))' "function(j) return $2 end" "$1" > field.lua
  "$SONDE" run field.lua 2> /dev/null
}

@test "a sparse folder is smaller, opens, and trains on with its zeros; a dense one is what others open" {
  "$SONDE" sparsify --model "$model" --method sparsegpt,damp=0.02 --sparsity 2:4 --calibrate "$text" --windows 20 \
    --out half --json > facts.json 2> err || { cat err; return 1; }
  [ "$(field facts.json j.sparsity)" = 0.5 ]
  [ "$(field facts.json j.options.damp)" = 0.02 ]
  [ "$(field facts.json 'j.bytes.saved < 0.8 * j.bytes.dense and j.loss.after == j.loss.saved')" = true ]
  "$SONDE" sparsify --model "$model" --method sparsegpt,damp=0.02 --sparsity 2:4 --calibrate "$text" --windows 20 \
    --dense --out dense > said
  cat said
  grep -q '^sparsegpt, 2:4: 50.00 % of 14 matrices' said
  grep -qE '^forward pass: dense .* tokens/s, sparse .* so it is not faster' said
  "$SONDE" eval --model half --text "$text" > a
  "$SONDE" eval --model dense --text "$text" > b
  cmp a b
  grep -q sonde_sparse half/config.json
  ! grep -q sonde_sparse dense/config.json
  cat > tune.yaml <<END
model: {from: half}
corpus: {source: $text}
train: {steps: 6, batch: 4, lr: 1.0e-3, eval_every: 0}
END
  "$SONDE" train tune.yaml > /dev/null
  cat > same.lua <<'END'
local core = require "sonde.core"
local a, b = core.weights_open "half", core.weights_open "runs/tune/0/model"
local n = 0
for _, name in ipairs(a:names()) do
  if name:find "bitmask" then assert(b:find(name)); n = n + 1 end
  if name:find "values" then
    assert(#b:find(name).dims == 2 and b:find(name).dims[2] == a:find(name).dims[2])
    assert(not a:equal(name, name) == false)
  end
end
print(n)
END
  [ "$("$SONDE" run same.lua 2> /dev/null)" = 14 ]
}

@test "what the command line lacks is said before anything is computed" {
  run "$SONDE" sparsify --model "$model" --method wanda --sparsity 0.5 --out x
  [[ $status -eq 1 && "$output" == *"measures the model on text; give --calibrate FILE"* && ! -e x ]]
  run "$SONDE" sparsify --model "$model" --method wnda --sparsity 0.5 --calibrate "$text" --out x
  [[ "$output" == *"did you mean 'wanda'?"* ]]
  run "$SONDE" sparsify --model "$model" --method magnitude --sparsity 1.5 --out x
  [[ "$output" == *"'1.5' is neither a share from 0 to below 1 nor a pattern such as 2:4"* ]]
  run "$SONDE" sparsify --model "$model" --method magnitude --sparsity 0.5 --out "$model/inside"
  [[ "$output" == *"is inside the folder of the model"* ]]
  run "$SONDE" sparsify --help
  [[ "$output" == *"wanda"*"||X_j||_2"* ]]
}

@test "a configuration's schedule; its mistakes have their line" {
  cat > rising.yaml <<END
model: {depth: 2, width: 32, heads: 2, context: 16}
corpus: {source: $text, vocab: 300}
train:
  steps: 20
  batch: 4
  eval_every: 0
  sparsity: {method: movement, sparsity: "2:4", begin: 2, end: 12, every: 2}
END
  "$SONDE" train rising.yaml > /dev/null
  grep -q 'method: {name: movement}\|name: movement' runs/rising/0/config.yaml
  grep -q '"kind": "sparsity"' runs/rising/0/run.json
  sed 's/every: 2/evry: 2/' rising.yaml > wrong.yaml
  run "$SONDE" train wrong.yaml
  [[ $status -ne 0 && "$output" == *"wrong.yaml:7"*"did you mean 'every'?"* ]]
}

# A hook behind the masks' own kills the process: the masks have changed, and no checkpoint holds them yet.
@test "killed between a change of the masks and its checkpoint, a run ends in the bits of one that was not" {
  cat > killed.lua <<'END'
local sonde = require "sonde"
local ids = {}
for i = 1, 1600 do ids[i] = (i * i + 3 * i + (i % 7 == 0 and i or 0)) % 23 end
local corpus = { vocab = 23, handle = sonde.tensor("i32", { #ids }, ids), spec = "made", hash = "made" }
local method, dir, deadly = sonde.settings.method, sonde.settings.dir, sonde.settings.deadly
local model = sonde.transformer { vocab = 23, width = 16, depth = 2, heads = 2, context = 12, seed = 5 }
local function kill(state)
  local mark = io.open(dir .. "." .. state.step)
  if not deadly or mark then return end
  io.open(dir .. "." .. state.step, "w"):close()
  os.execute("kill -9 " .. math.floor(io.open("/proc/self/stat"):read "n"))
end
print(sonde.train(model, corpus, { batch = 4, steps = 30, lr = 3e-3, progress = false, eval_every = 0, dir = dir,
  checkpoint_every = 4, hooks = { { name = "kill", every = 6, call = kill } },
  sparsity = { method = method, sparsity = 0.8, ["end"] = 24, every = 3 } }).state_sha256)
END
  for method in magnitude movement; do
    whole=$("$SONDE" run killed.lua --set method=$method --set dir=$PWD/whole-$method 2> /dev/null)
    [ ${#whole} -eq 64 ]
    for round in 1 2 3 4 5; do
      run -137 --separate-stderr "$SONDE" run killed.lua --set method=$method --set dir=$PWD/$method --set deadly=true
    done
    [ -e $PWD/$method.30 ]
    last=$("$SONDE" run killed.lua --set method=$method --set dir=$PWD/$method --set deadly=true 2> /dev/null)
    [ "$last" = "$whole" ]
  done
}
