#!/usr/bin/env bats
# experiments/minima.lua, small: from text to page; a second run changes nothing; the plan.

bats_require_minimum_version 1.5.0

load "$abs_srcdir/tests/harness/helpers"

setup() {
  cd "$BATS_TEST_TMPDIR"
  book 300 > text.txt
}

experiment() {
  "$SONDE" run "$abs_srcdir/experiments/minima.lua" --set corpus=text.txt --set text.vocab=300 --set text.cache=cache \
    --set text.validation=0.3 --set context=16 --set "seed=[1]" --set eval_tokens=512 --set calibration_tokens=512 \
    --set "teacher={depth: 4, width: 32, heads: 4, ffn_hidden: 64}" \
    --set "student={depth: 2, width: 24, heads: 2, head_dim: 8, ffn_hidden: 40}" \
    --set train.batch=4 --set train.tokens=4000 --set train.eval_tokens=256 --set tokens=4000 "$@"
}

@test "students of one size begin in four ways and take the same compute" {
  run --separate-stderr experiment
  echo "$stderr"
  [ "$status" -eq 0 ]
  page=runs/minima-demo/report.html
  grep -q "8 trials: 8 done" $page
  grep -q "The students at equal compute" $page
  cat > check.lua <<'LUA'
local core = require "sonde.core"
local function of(loss, start, what)
  return core.json_load(("runs/minima-demo/loss=%s,start=%s,seed=1/run.json"):format(loss, start)).results[what]
end
local size = of("text", "scratch", "parameters")
assert(of("text", "minima", "parameters") == size)
assert(of("text", "gate", "parameters") <= size)
for _, start in ipairs { "minima", "gate", "shortgpt", "scratch" } do
  assert(of("distilled", start, "trained_tokens") < of("text", start, "trained_tokens"), start)
  assert(of("distilled", start, "student_loss") < 5.7, start)      -- ln 300
end
assert(of("text", "minima", "trained_tokens") < of("text", "scratch", "trained_tokens"))
LUA
  "$SONDE" run check.lua
  grep -q "Student_loss; lower is better" $page
  run ! grep -qE "([Pp]arameters|[Tt]okens trained on); (lower|higher) is better" $page      # neither is
  cp $page first.html
  run --separate-stderr experiment
  [[ $stderr == *"minima-demo: 8 done"* ]]
  cmp first.html $page
}

@test "students are evaluated on tasks" {
  mkdir data
  for i in $(seq 4); do
    echo "{\"goal\": \"the word $i\", \"sol1\": \"was the word\", \"sol2\": \"page\", \"label\": 0}"
  done > data/piqa_validation.jsonl
  run --separate-stderr experiment --set "tune.eval={tasks: [piqa], data: data}" --set "start=[minima, scratch]"
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [[ "$output" == *"minima-demo: tasks/piqa/acc, loss distilled"* ]]
  grep -q "Tasks/piqa/acc; higher is better" runs/minima-demo/report.html
}

@test "the plan of the paper's size runs nothing" {
  run --separate-stderr "$SONDE" run "$abs_srcdir/experiments/minima.lua" --set scale=paper
  [ "$status" -eq 0 ]
  [[ "$output" == *"6879.4 M"* && ! -e runs ]]
}
