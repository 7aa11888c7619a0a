#!/usr/bin/env bats
# The experiments, as a user runs them but small: from text to report; going on after a kill; the plan without a run.

bats_require_minimum_version 1.5.0

load "$abs_srcdir/tests/harness/helpers"

settings() {
  book 400 > text.txt
  small=(--set corpus=text.txt --set text.vocab=300 --set text.cache=cache --set context=16 --set "seed=[1, 2]"
    --set "models=[{depth: 2, width: 16, heads: 2, ffn_hidden: 32}, {depth: 4, width: 16, heads: 2, ffn_hidden: 32}]"
    --set train.batch=4 --set train.tokens=2000)
}

# A whole sweep, that several tests look at.
setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  settings
  sweep > out.txt 2> err.txt || { cat err.txt; return 1; }
}

setup() {
  cd "$BATS_TEST_TMPDIR" || exit 1
  settings
}

sweep() {
  "$SONDE" run "$abs_srcdir/experiments/depth_sweep.lua" "${small[@]}" "$@"
}

@test "the depth sweep trains every placement and writes its page" {
  cd "$BATS_FILE_TMPDIR"
  [ "$(head -1 out.txt)" = "depth-demo: perplexity, mean ± sd over 2 seeds" ]
  for name in pre_ln post_ln deepnorm mix_ln lns; do
    grep -q "$name" out.txt
  done
  page=runs/depth-demo/report.html
  grep -q "20 trials: 20 done" $page
  grep -q "Residual variance along the depth" $page
  grep -q "Difference from pre_ln" $page
  grep -q "sha256 $(sed -n 's/^  sha256: "\(.*\)"/\1/p' "runs/depth-demo/depth=4,placement=lns,seed=2/config.yaml")" \
    $page
}

@test "a second run trains nothing and writes the same page" {
  cd "$BATS_FILE_TMPDIR"
  cp runs/depth-demo/report.html first.html
  run --separate-stderr sweep
  [ "$status" -eq 0 ]
  echo "$stderr"
  [[ $stderr == *"depth-demo: 20 done"* ]]
  cmp first.html runs/depth-demo/report.html
  run --separate-stderr sweep --set flops_per_s=1e9      # of plans, no setting of the trials
  [ "$status" -eq 0 ]
  [[ $stderr == *"depth-demo: 20 done"* ]]
}

@test "a sweep killed in the middle ends in the bits of one that was not" {
  sweep --set "placement=[lns]" --set train.tokens=20000 > /dev/null 2>&1
  mv runs whole
  trained() { more_lines "$1" runs/depth-demo/*/metrics.jsonl; }
  for lines in 20 300; do
    "$SONDE" run "$abs_srcdir/experiments/depth_sweep.lua" "${small[@]}" --set "placement=[lns]" \
      --set train.tokens=20000 > /dev/null 2>&1 3>&- &
    awaits $! trained $lines || true
    kill -KILL $! 2> /dev/null || true
    wait $! || true            # until it is gone and holds no run any more
  done
  sweep --set "placement=[lns]" --set train.tokens=20000 > /dev/null 2>&1
  for trial in whole/depth-demo/*/; do
    name=$(basename "$trial")
    hash=$(grep state_sha256 "$trial/run.json")
    [ -n "$hash" ]
    [ "$hash" = "$(grep state_sha256 "runs/depth-demo/$name/run.json")" ]
  done
}

@test "plan_only says what is needed and runs nothing" {
  run --separate-stderr sweep --set plan_only=true
  [ "$status" -eq 0 ]
  [[ $output == *"depth=4,placement=lns"*GiB* ]]
  [[ $output == *"all: 20 trials"*"at the measured peak of this machine's"*" FLOP/s in f32"* ]]
  [ ! -e runs ]
}

@test "hours of a plan are FLOP over the rate that is stated" {
  hours() { sed -n 's/^all: 20 trials; \([^ ]*\) hours .* at \(.*\)$/\1 at \2/p'; }
  sweep --set plan_only=true --set flops_per_s=1e9 > slow
  sweep --set plan_only=true --set flops_per_s=1e6 > slower
  flop=$(awk '$2 == 2 && $NF > 0 {sum += $2 * $6} END {print sum}' slow)
  read -r slow _ rate < <(hours < slow)
  read -r slower _ < <(hours < slower)
  echo "$flop FLOP: $slow and $slower hours, $rate"
  [[ $rate == "1e+09 FLOP/s, the rate that is stated" ]]
  awk "BEGIN {exit !($slow > 0.98 * $flop / 1e9 / 3600 && $slow < 1.02 * $flop / 1e9 / 3600)}"
  awk "BEGIN {exit !($slower > 990 * $slow && $slower < 1010 * $slow)}"
  run sweep --set plan_only=true --set flops_per_s=fast
  [ "$status" -eq 1 ]
  [[ $output == *"flops_per_s"*"must be a number"* ]]
}

@test "the scale of the paper is planned without its text" {
  for experiment in depth_sweep curse_of_depth layer_pruning bhyt sparsity_weight_decay sparsity_context sparsity_gqa \
    sparsity_moe sparsity_pruned depth_scaling recipe; do
    case $experiment in      # a part of the many models of these: each is planned alike
      bhyt) few=(--set "depth=[16]") ;;
      curse_of_depth) few=(--set "placement=[pre_ln, layerscale]") ;;
      *) few=() ;;
    esac
    run --separate-stderr "$SONDE" run "$abs_srcdir/experiments/$experiment.lua" \
      --set scale=paper --set corpus=there-is-no-such-text --set "seed=[1]" "${few[@]}"
    echo "$experiment: $output $stderr"
    [ "$status" -eq 0 ]
    [[ $output == *"trials; "*" hours is what they take at least"* ]]
    [ ! -e runs ]
  done
}

@test "baselines of clips are planned as regressions, and the other domain's trainings are counted" {
  run --separate-stderr "$SONDE" run "$abs_srcdir/experiments/near_miss.lua" --set scale=paper --set "seed=[1]" \
    --set "features=[background]" --set "tune=[all]" --set "model.depth=1" --set flops_per_s=1e12
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [ "$(grep -c '^all: ' <<< "$output")" -eq 2 ]
  [[ $output == *"features=background "*"all: 1 trials"*"arm=background_tuned_all "*"all: 4 trials"* ]]
  million() { awk -v arm="$1" '$1 == arm {print $3}' <<< "$output"; }
  awk "BEGIN {exit !($(million arm=background) > 0.1 && $(million arm=mean_features) < 0.1)}"
  [ ! -e runs ]
}

@test "other settings for the same sweep are refused" {
  cd "$BATS_FILE_TMPDIR"
  run sweep --set train.lr=1e-4
  [ "$status" -eq 1 ]
  [[ $output == *"train.lr was 0.003, is now 0.0001"* ]]
}

@test "curse_of_depth: perplexity, removal and angles of every placement, and mistakes are told first" {
  few=("${small[@]}" --set text.validation=0.3 --set "placement=[pre_ln, lns]" --set probe.tokens=256 \
    --set train.eval_tokens=256)
  run --separate-stderr "$SONDE" run "$abs_srcdir/experiments/curse_of_depth.lua" "${few[@]}" \
    --set "placement=[pre_ln, nope]"
  [ "$status" -eq 1 ]
  [[ $stderr == *"placement=nope"*"'nope'"* ]]
  [ -z "$(ls runs/curse-demo/*/run.json 2> /dev/null)" ]
  run --separate-stderr "$SONDE" run "$abs_srcdir/experiments/curse_of_depth.lua" "${few[@]}"
  echo "$stderr"
  [ "$status" -eq 0 ]
  page=runs/curse-demo/report.html
  grep -q "8 trials: 8 done" $page
  for text in "What removing one block costs" "Angular distance" "Residual variance along the depth"; do
    grep -q "$text" $page
  done
  ! which xmllint > /dev/null || xmllint --noout $page
}

@test "bhyt: every method at depth, then its speed in training and generation; mistakes are told first" {
  few=(--set corpus=text.txt --set text.vocab=300 --set text.cache=cache --set context=16 --set "seed=[1]" \
    --set "depth=[2]"
    --set "size={width: 16, heads: 2, kv_heads: 1, ffn_hidden: 32}" --set train.batch=4 --set train.tokens=2000
    --set train.eval_tokens=256 --set speed.repeats=2 --set speed.steps=2 --set speed.batch=2 --set speed.tokens=4)
  size='{depth: 2, width: 16, heads: 2, kv_heads: 1, ffn_hidden: 32}'
  run --separate-stderr "$SONDE" run "$abs_srcdir/experiments/bhyt.lua" "${few[@]}" \
    --set "speed.size={depth: 2, width: 15, heads: 2}"
  [ "$status" -eq 1 ]
  [[ $stderr == *"pass=training"*"15"* ]]
  [ -z "$(ls runs/*/*/run.json 2> /dev/null)" ]
  run --separate-stderr "$SONDE" run "$abs_srcdir/experiments/bhyt.lua" "${few[@]}" --set "speed.size=$size"
  echo "$stderr"
  [ "$status" -eq 0 ]
  grep -q "6 trials: 6 done" runs/bhyt-demo/report.html
  grep -q "36 trials: 36 done" runs/bhyt-demo-speed/report.html
  grep -q "norms_time_share" runs/bhyt-demo-speed/report.html
  ! which xmllint > /dev/null || xmllint --noout runs/bhyt-demo-speed/report.html
}

@test "settings that a script does not read are named" {
  echo 'print(1)' > none.lua
  run --separate-stderr "$SONDE" run none.lua --set lr=3 --set scale=demo
  [ "$status" -eq 0 ]
  want="sonde: note: the script reads no settings, so --set lr, scale changes nothing; "
  [ "$stderr" = "${want}a script finds them in sonde.settings, or by sonde.config" ]
  echo 'print(require("sonde").settings.depth)' > one.lua
  run --separate-stderr "$SONDE" run one.lua --set dept=3
  [ "$status" -eq 0 ]
  want="sonde: note: no setting 'dept' is read by the script, so --set changed nothing there"
  [ "$stderr" = "$want; did you mean 'depth'?" ]
  run --separate-stderr "$SONDE" run one.lua --set depth=3
  [ "$output$stderr" = 3 ]
  echo 'for key, value in pairs(require("sonde").settings) do print(key, value) end' > all.lua
  run --separate-stderr "$SONDE" run all.lua --set depth=3
  [ "$output$stderr" = $'depth\t3' ]
  cat > early.lua <<'LUA'
require("sonde").sweep { name = "early", grid = { n = { 1 } } }:run(function() io.stderr:write("at work\n") end)
LUA
  run --separate-stderr "$SONDE" run early.lua --set lr=3
  [[ "$stderr" == *"note: the script reads no settings"*"at work"* ]]
  [ "$(grep -c note <<< "$stderr")" -eq 1 ]
}
