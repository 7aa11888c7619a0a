#!/usr/bin/env bats
# experiments/distill_losses.lua, small: from text to page; a second run changes nothing; the plan.

bats_require_minimum_version 1.5.0

load "$abs_srcdir/tests/harness/helpers"

setup() {
  cd "$BATS_TEST_TMPDIR"
  book 200 > text.txt
  small=(--set corpus=text.txt --set text.vocab=300 --set text.cache=cache --set context=16
    --set "teacher={depth: 2, width: 16, heads: 2}" --set "student={depth: 1, width: 8, heads: 2}" --set "seed=[1, 2]"
    --set train.tokens=512 --set train.batch=4 --set teacher_train.tokens=1024 --set teacher_train.batch=4
    --set "arms=[{name: none}, {name: jsd, loss: {name: jsd, beta: 0.2}}, {name: top_16, loss: forward_kl, top_k: 16},
      {name: own, loss: reverse_kl, on_policy: {lambda: 1}}, {name: read, sequences: 40, temperature: 1}]")
}

study() { "$SONDE" run "$abs_srcdir/experiments/distill_losses.lua" "${small[@]}" "$@"; }

@test "each loss beside the student without a teacher; a second run gives the same page" {
  run --separate-stderr study
  echo "$output" "$stderr"
  [ "$status" -eq 0 ]
  [[ $output == *"teacher: perplexity"* ]]
  for name in none jsd top_16 own read; do [[ $output == *"$name"* ]]; done
  page=runs/distill-losses-demo/report.html
  grep -q "10 trials: 10 done" $page
  cp $page first.html
  run --separate-stderr study
  [ "$status" -eq 0 ]
  cmp first.html $page
  tok=runs/distill-losses-demo-teacher/read.tok
  cp $tok first.tok
  sed -i 's/"temperature": 1/"temperature": 3/' $tok.json    # made by other options: not read, made again
  printf 'x' > $tok
  rm -r runs/distill-losses-demo/loss=read*
  run --separate-stderr study --jobs 2
  echo "$output" "$stderr"
  [ "$status" -eq 0 ]
  cmp first.tok $tok
  grep -q "10 trials: 10 done" $page
}

@test "the paper's scale is planned and not run" {
  run --separate-stderr "$SONDE" run "$abs_srcdir/experiments/distill_losses.lua" --set scale=paper
  echo "$output" "$stderr"
  [ "$status" -eq 0 ]
  [ ! -d runs ]
}
