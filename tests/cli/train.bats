#!/usr/bin/env bats
# sonde train: a configuration from text to a saved model, and its mistakes. Stopping, killing and going on are in
# tests/train.

bats_require_minimum_version 1.5.0

setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  seq 60 | awk '{
    printf "chapter %d of a book that has many chapters, and each says that it is number %d of them\n", $1, $1
    printf "it goes on a little, as chapters do, and then it ends where the next one, %d, begins\n", $1 + 1
    print "<|endoftext|>"
  }' > book.txt
  cat > book.yaml <<'YAML'
model:
  width: 16
  depth: 2
  heads: 2
  context: 32
  seed: 7
corpus:
  source: book.txt
  vocab: 300
  validation: 0.2
  cache: cache
train:
  steps: 60
  batch: 4
  lr: 0.01
  eval_tokens: 256
  progress: false
YAML
}

setup() {
  cd "$BATS_FILE_TMPDIR" || exit 1
}

hash_of() {
  sed -n 's/.*"state_sha256": "\([0-9a-f]*\)".*/\1/p' "$1"
}

@test "a configuration is trained, saved and evaluated" {
  "$SONDE" train book.yaml --dir runs/a/0 --json > a.json
  grep -q '"steps": 60' a.json
  [ -s runs/a/0/metrics.jsonl ]
  "$SONDE" eval --model runs/a/0/model --text book.txt --json > eval.json
  cat a.json eval.json
  cat > learnt.lua <<'LUA'
local core = require "sonde.core"
local trained, evaluated = core.json_load "a.json", core.json_load "eval.json"
assert(trained.loss < 4.5, "the loss is " .. trained.loss)
assert(math.abs(trained.perplexity - math.exp(trained.loss)) < 1e-6 * trained.perplexity)
assert(evaluated.loss < 4.5 and evaluated.bytes > 10000)
LUA
  "$SONDE" run learnt.lua
}

@test "the same bits with other threads" {
  "$SONDE" train book.yaml --dir runs/one/0 --json --threads 1 > one.json
  [ "$(hash_of one.json)" != "" ]
  [ "$(hash_of one.json)" = "$(hash_of a.json)" ]
}

refuses() {   # TEXT COMMAND...
  local text=$1
  shift
  run --separate-stderr "$@"
  echo "status $status: $stderr"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"$text"* ]]
}

@test "mistakes name file and line" {
  sed 's/batch: 4/btach: 4/' book.yaml > wrong.yaml
  refuses "wrong.yaml:14: unknown option 'btach' of train; did you mean 'batch'?" "$SONDE" train wrong.yaml \
    --dir runs/w/0
  sed 's/vocab: 300/vocab: 30/' book.yaml > wrong.yaml
  refuses "wrong.yaml:9: option 'vocab' of corpus must be at least 257, not 30" "$SONDE" train wrong.yaml --dir runs/w/0
  sed 's/source: book.txt/source: nobook.txt/' book.yaml > wrong.yaml
  refuses "nobook.txt" "$SONDE" train wrong.yaml --dir runs/w/0
  sed 's/lr: 0.01/lr: fast/' book.yaml > wrong.yaml
  refuses "wrong.yaml:15: option 'lr' of train must be a number, not 'fast'" "$SONDE" train wrong.yaml --dir runs/w/0
  sed 's/  steps: 60//' book.yaml > wrong.yaml
  refuses "train needs how long: give either tokens or steps" "$SONDE" train wrong.yaml --dir runs/w/0
  refuses "cannot write the folder 'book.txt/model': Not a directory" "$SONDE" train book.yaml --dir runs/w/0 \
    --save book.txt/model
  [ ! -e runs/w ]
}
