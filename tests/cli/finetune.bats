#!/usr/bin/env bats
# sonde finetune: from a model folder and a file of prompts and responses to a folder; its configuration; what it
# refuses.

bats_require_minimum_version 1.5.0

setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  seq 30 | awk '{
    printf "{\"instruction\": \"say %d\", \"input\": \"\", \"output\": \"the number is %d\"}\n", $1 % 5, $1 % 5
  }' > rows.jsonl
  gzip -k rows.jsonl
  cat > make.lua <<'LUA'
local sonde, core = require "sonde", require "sonde.core"
local tokenizer = core.tokenizer_train({ core.read_file "rows.jsonl" }, { vocab = 280 })
sonde.transformer({ vocab = tokenizer:vocab(), width = 16, depth = 2, heads = 2, context = 64 }):save("base",
  { tokenizer = tokenizer })
LUA
  "$SONDE" run make.lua
}

setup() {
  cd "$BATS_FILE_TMPDIR" || exit 1
}

field() {   # field FILE EXPRESSION: of a JSON file, in Lua
  echo "local f = require('sonde.core').json_load(arg[1]) print($2)" > field.lua
  "$SONDE" run field.lua "$1"
}

@test "a folder is tuned, by options or by a configuration alike" {
  "$SONDE" finetune --model base --data rows.jsonl.gz --epochs 4 --lr 5e-3 --batch 4 --template "{prompt} = " \
    --validation 0.1 --save tuned --json > facts.json 2> err
  [ "$(field facts.json "f.examples .. ' ' .. f.validation .. ' ' .. tostring(f.training.validated)")" = "27 3 true" ]
  cat > tune.yaml <<'YAML'
model: base
data: rows.jsonl
template: "{prompt} = "
epochs: 4
lr: 5.0e-3
batch: 4
validation: 0.1
train: {log_every: 1}
YAML
  run --separate-stderr "$SONDE" finetune tune.yaml --save again
  [ "$status" -eq 0 ]
  pattern="^27 examples in [0-9]+ rows of 64 tokens; the loss is on [0-9]+ of [0-9]+ tokens$"
  [[ "${lines[0]}" =~ $pattern ]]
  [ "${lines[-1]}" = "model: again" ]
  cmp tuned/model.safetensors again/model.safetensors
  "$SONDE" generate --model tuned --prompt "say 3 = " --tokens 4 2> /dev/null
}

@test "a run folder goes on where it was stopped" {
  "$SONDE" finetune --model base --data rows.jsonl --epochs 2 --dir run --save first 2> /dev/null
  "$SONDE" finetune --model base --data rows.jsonl --epochs 2 --dir run --save second 2> /dev/null
  cmp first/model.safetensors second/model.safetensors
}

@test "what cannot be is refused in one line" {
  echo "epoch: 3" > tune2.yaml
  refused() {
    local text="$1"
    shift
    run --separate-stderr "$SONDE" finetune "$@"
    echo "$stderr"
    [ "$status" -ne 0 ]
    [[ "$stderr" == *"$text"* ]]
  }
  refused "option --data is missing" --model base --save out
  refused "tune2.yaml:1: unknown option 'epoch' of finetune; did you mean 'epochs'?" tune2.yaml
  refused "there is something already" --model base --data rows.jsonl --save base
  refused "Jinja" --model base --data rows.jsonl --save out --template "{{ messages }}"
  refused "the row has no prompt as a text: question_text" --model base --data rows.jsonl --save out \
    --prompt question_text
  [ ! -e out ]
}
