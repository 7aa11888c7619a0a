#!/usr/bin/env bats
# The experiments that compare arms with a paper's, small: every trial, both tables, the verdicts, the page.

bats_require_minimum_version 1.5.0

load "$abs_srcdir/tests/harness/helpers"

setup() {
  cd "$BATS_TEST_TMPDIR"
  book 400 > text.txt
  small=(--set corpus=text.txt --set text.vocab=300 --set text.cache=cache --set text.validation=0.3 --set context=16
    --set "seed=[1]" --set model.width=16 --set model.heads=2 --set model.ffn_hidden=32 --set train.batch=4
    --set train.tokens=640 --set train.eval_tokens=256 --set probe.tokens=256
    --set "probes=[variance, usefulness, weight_sparsity]")
}

# compare NAME TRIALS SETTING..: runs an experiment at its demo scale, smaller
compare() {
  local name=$1 trials=$2
  shift 2
  run --separate-stderr "$SONDE" run "$abs_srcdir/experiments/$name.lua" "${small[@]}" "$@"
  echo "$output"
  echo "$stderr"
  [ "$status" -eq 0 ]
  page=$(ls runs/*/report.html)
  grep -q "$trials trials: $trials done" "$page"
  grep -q "${heading:-This sweep and the paper}" "$page"
  grep -q "cannot be told\|the paper's direction\|the paper&#39;s direction" "$page"
  [[ $output == *": this sweep and the paper"*"usefulness"*"paper"* || -n ${heading:-} ]]
  ! which xmllint > /dev/null || xmllint --noout "$page"
}

@test "weight decay: a higher rate gives sparser weights; the paper's rows" {
  compare sparsity_weight_decay 4 --set model.depth=2 --set "weight_decay=[0, 30]" --set train.lr=0.02 \
    --set "seed=[1, 2]"
  [[ $output == *"773.42"* ]]
  grep -q "\"weight_decay\"\|weight_decay" runs/*/weight_decay=30,seed=1/config.yaml
  sparser=$(cat > sparser.lua <<'LUA'
local function total(rate)
  local file = io.open("runs/sparsity-weight-decay-demo/weight_decay=" .. rate .. ",seed=1/run.json"):read "a"
  return tonumber(file:match '"weight_sparsity_total_1e%-2":%s*([%d.e+-]+)')
end
print(total(30) > total(0) + 0.1)
LUA
  "$SONDE" run sparser.lua)
  [ "$sparser" = true ]
}

@test "context: as many updates and tokens at every length" {
  compare sparsity_context 3 --set model.depth=2 --set "contexts=[8, 16, 32]" \
    --set "probes=[variance, usefulness, attention_sparsity_milli, attention_sparsity_tenth]"
  for trial in runs/*/context=*; do
    grep -q '"steps": *10[,}]' "$trial/run.json" || { cat "$trial/run.json"; false; }
  done
  [[ $output == *"attention sparsity (< a tenth of an even share) is higher where context is higher"* ]]
  [[ $output == *"8192"*"16.3"* ]]
}

@test "grouped queries: key and value heads by group size; a size that does not divide the heads is refused" {
  compare sparsity_gqa 2 --set model.depth=2 --set "group_sizes=[1, 2]"
  grep -q 'kv_heads: 1' runs/*/group_size=2,seed=1/config.yaml
  run "$SONDE" run "$abs_srcdir/experiments/sparsity_gqa.lua" "${small[@]}" --set model.depth=2 \
    --set "group_sizes=[3]" --set name=other
  [ "$status" -eq 1 ]
  [[ $output == *"group_size=3"*"heads 2"* ]]
}

@test "depth scaling: every score at every depth" {
  compare depth_scaling 2 --set "depth=[2, 3]" \
    --set "probes=[variance, usefulness, causal, permutation, jacobian_estimate]"
  [[ $output == *"causal score is lower with 3 than with 2"*"paper −0.0960"* ]]
}

@test "experts: a dense model and one of experts as wide as what a token takes" {
  compare sparsity_moe 2 --set model.depth=2 --set "sizes=[{name: small, width: 16, heads: 2, ffn_hidden: 32}]" \
    --set experts=4
  grep -q 'hidden: 16' runs/*/ffn=experts_small,seed=1/config.yaml
  grep -q '"idle_experts": *0.5' runs/*/ffn=experts_small,seed=1/run.json
}

@test "recipe: steps add up but for rejected ones, and tasks give an accuracy" {
  for i in 1 2 3 4; do
    echo "{\"context\": \"In the beginning of line $i was\", \"choices\": [\" the word\", \" page\"], \"answer\": 0}"
  done > hellaswag.jsonl
  compare recipe 5 --set "steps=[{value: shallow, model: {depth: 1}}, {value: deep, model: {depth: 2}},
    {value: decay, train: {weight_decay: 0.3}, rejected: true}, {value: groups, model: {kv_heads: 1}},
    {value: experts, model: {ffn: {name: moe, experts: 2, top_k: 1, hidden: 32}}}]" \
    --set "eval={tasks: [hellaswag], data: ., limit: 4}"
  [[ $output == *"decay (rejected)"* && $output == *"accuracy is higher with experts than with deep"* ]]
  grep -q 'weight_decay: 0.1' runs/*/step=groups,seed=1/config.yaml
  grep -q 'kv_heads: 1' runs/*/step=experts,seed=1/config.yaml
}

@test "pruning: masks leave out as much as the arm says" {
  heading="The arms of this sweep" compare sparsity_pruned 2 --set model.depth=2 --set "pruned=[0, 0.5]"
  [[ $output != *paper* ]]
  ! grep -q "the paper" "$page"
  grep -q 'weight_sparsity_total_1e-3": *0\.[5-6]' "runs/sparsity-pruned-demo/pruned=0.5,seed=1/run.json"
}
