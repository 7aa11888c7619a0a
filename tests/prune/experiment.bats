#!/usr/bin/env bats
# experiments/layer_pruning.lua, small: from text to page; going on after a kill; a second run changes nothing; the
# plan.

bats_require_minimum_version 1.5.0

load "$abs_srcdir/tests/harness/helpers"

setup() {
  cd "$BATS_TEST_TMPDIR"
  book 400 > text.txt
  small=(--set corpus=text.txt --set text.vocab=300 --set text.cache=cache --set text.validation=0.3 --set context=16 \
    --set "seed=[1, 2]"
    --set "model={depth: 4, width: 16, heads: 2, ffn_hidden: 32}" --set "share=[0.25, 0.5]" --set eval_tokens=512
    --set calibration_tokens=512 --set train.batch=4 --set train.tokens=4000 --set train.eval_tokens=256
    --set heal.batch=4 --set heal.tokens=640 --set heal.eval_tokens=256 --set probe.tokens=256)
}

experiment() {
  "$SONDE" run "$abs_srcdir/experiments/layer_pruning.lua" "${small[@]}" "$@"
}

@test "every strategy prunes every model, and the page says what it cost; a second run changes nothing" {
  run --separate-stderr experiment
  echo "$stderr"
  [ "$status" -eq 0 ]
  [[ ${lines[0]} == "layer-pruning-demo: rise, placement pre_ln, mean ± sd over 2 seeds" ]]
  page=runs/layer-pruning-demo/report.html
  grep -q "52 trials: 52 done" $page          # (6 strategies x 2 shares + the whole model) x 2 placements x 2 seeds
  grep -q "4 trials: 4 done" $page            # the whole models
  for text in "What removal costs" "Loss after healing" "placement lns" "Difference from pre_ln" \
    "What removing one block costs"; do
    grep -q "$text" $page
  done
  [ "$(grep -c '"removed"\|removed' runs/layer-pruning-demo/*/probes/removed.json | wc -l)" -eq 48 ]
  [ "$(cat "runs/layer-pruning-demo/placement=lns,share=0.5,strategy=last,seed=2/probes/removed.json")" = "[2,3]" ]
  ! which xmllint > /dev/null || xmllint --noout $page
  cp $page first.html
  run --separate-stderr experiment
  [[ $stderr == *"layer-pruning-demo: 52 done"* ]]
  cmp first.html $page
}

@test "killed in the middle it ends in the bits of one that was not; maps and adapters" {
  more=(--set "strategy=[last]" --set "share=[0.5]" --set replace=linear --set heal.lora=2 --set heal.tokens=6400)
  experiment "${more[@]}" > /dev/null 2>&1
  mv runs whole
  trained() { more_lines "$2" runs/"$1"/*/metrics.jsonl; }
  for when in "layer-pruning-demo-whole 100" "layer-pruning-demo 20" "layer-pruning-demo 250"; do
    "$SONDE" run "$abs_srcdir/experiments/layer_pruning.lua" "${small[@]}" "${more[@]}" > /dev/null 2>&1 3>&- &
    # shellcheck disable=SC2086
    awaits $! trained $when || true
    kill -KILL $! 2> /dev/null || true
    wait $! || true            # until it is gone and holds no run any more
  done
  run experiment "${more[@]}"
  echo "$output"
  [ "$status" -eq 0 ]
  for trial in whole/layer-pruning-demo/*/; do
    name=$(basename "$trial")
    hash=$(grep '"loss_healed"' "$trial/run.json")
    [ -n "$hash" ]
    [ "$hash" = "$(grep '"loss_healed"' "runs/layer-pruning-demo/$name/run.json")" ]
  done
}

@test "other settings are told how to be another sweep, of the same whole models" {
  few=(--set "strategy=[last]" --set "share=[0.5]" --set "placement=[lns]" --set "seed=[1]")
  experiment "${few[@]}" > /dev/null 2>&1
  other=(--set replace=linear --set heal.lora=2)
  run --separate-stderr experiment "${few[@]}" "${other[@]}"
  echo "$stderr"
  [ "$status" -ne 0 ]
  [[ $stderr == *"replace was drop, is now linear; give the sweep another name (--set name=NAME), or"* ]]
  [[ $stderr == *", or --redo runs them again"* ]]
  run --separate-stderr experiment "${few[@]}" "${other[@]}" --set name=pruned-linear
  echo "$stderr"
  [ "$status" -eq 0 ]
  [[ $stderr == *"layer-pruning-demo-whole: 1 done"* ]]
  [ -e runs/pruned-linear/report.html ]
  # Settings of a sweep that was run are compared before more whole models are trained.
  run --separate-stderr experiment "${few[@]}" "${other[@]}" --set name=pruned-linear --set heal.lora=1 \
    --set whole_name=others
  [ "$status" -ne 0 ]
  [[ $stderr == *"was run with other settings"* ]]
  [ ! -e runs/others ]
}

@test "mistakes in the settings of pruning are found before anything is trained" {
  wrong() {   # TEXT SETTING
    run --separate-stderr experiment --set "$2"
    echo "$stderr"
    [ "$status" -ne 0 ]
    [[ $stderr == *"$1"* ]]
    [ ! -e runs ]
  }
  wrong "cannot be 'nope'; known: angular" "strategy=[nope]"
  wrong "a share of the blocks lies between 0 and 1, unlike 2" "share=[2]"
  wrong "a share of the blocks lies between 0 and 1, unlike half" "share=[half]"
  wrong "of 4 blocks 4 cannot be removed" "share=[0.99]"
  wrong "0.3 of 4 blocks are no whole number of them; 0.25 are 1" "share=[0.25, 0.3]"
  wrong "the training text has" "calibration_tokens=100000000"
  wrong "replace" "replace=linearly"
  wrong "unknown option 'looraa' of train" "heal.looraa=4"
  wrong "cannot be 'nope'" "placement=[pre_ln,nope]"
  wrong "the name 'a/b' must be a word" "name=a/b"
  wrong "is the name of the whole models' sweep" "name=layer-pruning-demo-whole"
}

@test "at the paper's scale it says what is needed and runs nothing" {
  run --separate-stderr experiment --set scale=paper --set "model={depth: 4, width: 16, heads: 2, ffn_hidden: 32}"
  [ "$status" -eq 0 ]
  [[ $output == *"placement=lns"*GiB* ]]
  [[ $output == *"all: 4 trials"* ]]
  [ ! -e runs ]
}
