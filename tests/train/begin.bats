#!/usr/bin/env bats
# A training that begins with the weights of a model folder: in a configuration (from, of the model or of the training),
# and what it refuses or tells.

bats_require_minimum_version 1.5.0

setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  export SONDE_CACHE="$PWD/cache"
  seq 300 | awk '{
    printf "the ship and its %d sails went to the north and said unto them %d words\n", $1, $1 * 7 % 13
  }' > text.txt
  cat > first.yaml <<'YAML'
model: {width: 32, depth: 2, heads: 2, context: 32, rope_theta: 500, norm_eps: 1e-4, seed: 5}
corpus: {source: text.txt, vocab: 300}
train: {steps: 12, batch: 4}
YAML
  "$SONDE" train first.yaml
}

setup() {
  cd "$BATS_FILE_TMPDIR" || exit 1
}

config() {   # config MODEL TRAIN: writes c.yaml
  printf 'model: {%s}\ncorpus: {source: text.txt}\ntrain: {steps: 2, batch: 4, lr: 1e-9, weight_decay: 0%s}\n' "$1" \
    "$2" > c.yaml
}

loss() {
  "$SONDE" eval --model "$1" --text text.txt --json 2> /dev/null | sed -n 's/.*"loss": \([0-9.]*\).*/\1/p' | cut -c1-6
}

@test "the folder's model, weights and tokenizer, at a rate that moves nothing" {
  config "from: runs/first/0/model, dropout: 0.1"
  "$SONDE" train c.yaml --dir runs/same/0
  [ "$(loss runs/same/0/model)" = "$(loss runs/first/0/model)" ]
  cmp runs/same/0/model/tokenizer.json runs/first/0/model/tokenizer.json
  grep -q "from: runs/first/0/model" runs/same/0/config.yaml
  grep -q "dropout: 0.1" runs/same/0/config.yaml
  run "$SONDE" graph c.yaml
  [[ $status -eq 0 && "$output" == *"parameters "* ]]
}

@test "an option beside it changes the model, and that is told" {
  config "from: runs/first/0/model, rope_theta: 50, placement: lns"
  run --separate-stderr "$SONDE" train c.yaml --dir runs/other/0
  [ "$status" -eq 0 ]
  [[ "$stderr" == *"note: runs/first/0/model: the model that begins with these weights computes something else: "* ]]
  [[ "$stderr" == *"else: attention.rope_theta 50.0, not 500.0, placement lns, not pre_ln"* ]]
  grep -q "rope_theta: 50" runs/other/0/config.yaml
}

refuses() {   # TEXT MODEL [TRAIN]
  config "$2" "${3:-}"
  refused=$((refused + 1))
  run --separate-stderr "$SONDE" train c.yaml --dir "runs/no$refused/0"
  echo "status $status: $stderr"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"$1"* ]]
}

@test "what does not fit is refused, with the name of what differs" {
  refuses "runs/first/0: contains no config.json, so it is no model folder; there is one in runs/first/0/model" \
    "from: runs/first/0"
  refuses "c.yaml:1: runs/first/0/modle: there is no such folder; did you mean 'runs/first/0/model'?" \
    "from: runs/first/0/modle"
  refuses "both the model and the training are 'from' something" "from: runs/first/0/model" ", from: runs/first/0/model"
  refuses "'from' must be the path of a model folder" "from: 3"
  refuses "the weights have no 'model.layers.2.input_layernorm.weight'" "from: runs/first/0/model, depth: 3"
  refuses "the weights have 'model.layers.1." "from: runs/first/0/model, depth: 1"
  refuses "tensor 'model.layers.0.mlp.gate_proj.weight' is f32" "from: runs/first/0/model, ffn_hidden: 40"
}
