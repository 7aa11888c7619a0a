#!/usr/bin/env bats
# experiments/capacity_gap.lua, small: from text to page; a second run changes nothing; the plan; what is refused.

bats_require_minimum_version 1.5.0

load "$abs_srcdir/tests/harness/helpers"

setup() {
  cd "$BATS_TEST_TMPDIR"
  book 300 > text.txt
}

# In the place of its shell: $! of a background job is the program's, and a kill ends the program.
in_place() {
  exec "$SONDE" run "$abs_srcdir/experiments/capacity_gap.lua" --set corpus=text.txt --set text.vocab=300 \
    --set text.cache=cache --set text.validation=0.3 --set context=16 --set eval_tokens=512 \
    --set calibration_tokens=512 --set train.batch=4 --set train.eval_tokens=256 --set "teacher_tokens=[4000]" \
    --set "tokens=[2000]" --set "teachers=[{depth: 2, width: 8, heads: 1, ffn_hidden: 16},
      {depth: 3, width: 16, heads: 2, ffn_hidden: 32}, {depth: 3, width: 24, heads: 3, ffn_hidden: 64}]" \
    --set "students=[{depth: 2, width: 8, heads: 1, ffn_hidden: 16}, {depth: 2, width: 16, heads: 2, ffn_hidden: 32}]" \
    --set "seed=[1]" "$@"
}

experiment() { (in_place "$@"); }

@test "students of each teacher, beside those without one" {
  run --separate-stderr experiment --set recommend=9000
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [[ "$output" == *"capacity-gap-demo: Which teacher?"*"cannot be told from these arms"* ]]
  [[ "$output" == *"a student of 9000 parameters: cannot be told from these arms: 0 of 2 students"* ]]
  page=runs/capacity-gap-demo/report.html
  grep -q "The best teacher" $page
  grep -q "Frontier of compute" $page
  for figure in "Students by their teacher" "The quadratics" "What it costs"; do grep -q "$figure" $page; done
  cat > check.lua <<'LUA'
local core = require "sonde.core"
local found = core.json_load "runs/capacity-gap-demo/capacity_gap.json"
local arms = {}
for _, condition in ipairs(found.conditions) do arms[condition.arm] = condition end
local function points(arm) return #arms[arm].curves[1].points, #arms[arm].curves[2].points end
local a, b = points "distilled"
assert(a == 3 and b == 2, "a teacher that is smaller has no pruned student")
a, b = points "random"
assert(a == 3 and b == 3, "any teacher teaches a random student")
assert(not arms.scratch and #found.frontier >= 2)
LUA
  "$SONDE" run check.lua
  [ "$(ls -d runs/capacity-gap-demo/arm=scratch,* | wc -l)" -eq 2 ]
  cp $page first.html
  run --separate-stderr experiment --set recommend=9000
  [[ $stderr == *"capacity-gap-demo: "*" done"* ]]
  cmp first.html $page
}

@test "a teacher of the student's size teaches it, pruned of nothing; tokens of the arms" {
  run --separate-stderr experiment --set "arms=[pruned, scratch, scratch_total]" --set "teachers=[{depth: 2, width: 8, \
    heads: 1, ffn_hidden: 16}]" --set "students=[{depth: 2, width: 8, heads: 1, ffn_hidden: 16}]"
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  cat > check.lua <<'LUA'
local core = require "sonde.core"
local function of(arm, what)
  for line in io.popen("ls -d runs/capacity-gap-demo/arm=" .. arm .. ",*"):lines() do
    return core.json_load(line .. "/run.json").results[what]
  end
end
local teacher
for line in io.popen "ls -d runs/capacity-gap-demo-teachers/*seed=1":lines() do
  teacher = core.json_load(line .. "/run.json").results.loss
end
assert(math.abs(of("pruned", "loss_before") - teacher) < 1e-5)
assert(of("scratch", "loss_before") > teacher)
local ratio = of("scratch_total", "flops") / of("scratch", "flops")
assert(math.abs(ratio - 3) < 0.1, ratio)      -- 2000 and 2000 + 4000 tokens, in whole updates
assert(of("pruned", "flops_with_teacher") > of("pruned", "flops"))
LUA
  "$SONDE" run check.lua
}

@test "the plan of the paper's size runs nothing; models that do not go together are refused" {
  run --separate-stderr "$SONDE" run "$abs_srcdir/experiments/capacity_gap.lua" --set scale=paper
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [[ "$output" == *"teacher="*"student="* && ! -e runs ]]
  run --separate-stderr experiment --set "students=[{depth: 2, width: 16, heads: 1, ffn_hidden: 16}]"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"pruning keeps a head whole"* ]]
  run --separate-stderr experiment --set "students=[{depth: 2, width: 8, heads: 1}]"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"ffn_hidden is missing"* ]]
}

@test "from a script: without a search, what is refused before anything runs, and the operations of samples" {
  cat > gap.lua <<'LUA'
local sonde, lu = require "sonde", require "luaunit"
local size = { depth = 1, width = 8, heads = 1, ffn_hidden = 8 }
local function gap(options)
  local all = { name = "gap", vocab = 300, context = 16, teachers = { size }, students = { size },
    teacher_tokens = { 512 }, tokens = { 512 }, plan_only = true }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.capacity_gap(all)
end
gap()
gap { search = {} }
local function refused(text, options) lu.assertErrorMsgContains(text, gap, options) end
refused("'weight[1]' of capacity_gap must be between 0 and 1, not 2", { weight = { 2 } })
refused("'temperature[1]' of capacity_gap must be between 0.01 and 1000, not 0", { temperature = { 0 } })
refused("'tokens[1]' of capacity_gap must be between 1", { tokens = { 0 } })
refused("'teacher_tokens[1]' of capacity_gap must be between 1", { teacher_tokens = { 0 } })
refused("option 'distill.weight' of capacity_gap: the option 'weight'", { distill = { weight = 1 } })
refused("option 'train.tokens' of capacity_gap: the option 'teacher_tokens'", { train = { tokens = 9 } })
refused("unknown option 'squares' of distill of capacity_gap", { distill = { squares = true } })
refused("do not fit rows of 16 tokens", { distill = { on_policy = { prompt = 20 } } })
local wide = { depth = 2, width = 16, heads = 2, ffn_hidden = 8 }
refused("heads of teacher 1 must be a whole number of at least 1, not a list", { teachers = { { depth = 1, width = 8,
  heads = { 1 }, ffn_hidden = 8 } } })
refused("depth of student 1 must be a whole number of at least 1, not '1'", { students = { { depth = "1", width = 8,
  heads = 1, ffn_hidden = 8 } } })
refused("2 query heads of one model read each key and value head, 1 of another", { teachers = { { depth = 1, width = 16,
  heads = 2, kv_heads = 1, ffn_hidden = 8 } } })
refused("tie of student 1 differs from that of the first teacher", { students = { { depth = 1, width = 8, heads = 1,
  ffn_hidden = 8, tie = true } } })
gap { arms = { "random" }, students = { { depth = 1, width = 8, heads = 1, ffn_hidden = 8, tie = true } } }
refused("calibration_tokens is 8, less than one window of 16", { calibration_tokens = 8 })
gap { calibration_tokens = 8, arms = { "random" } }
refused("cannot be 'x'; known: mse, cosine", { distill = { hidden = { loss = "x" } } })
refused("pair 1 must be {block of the student's 1, block of the teacher's 1}", { teachers = { wide, size },
  distill = { hidden = { map = { { 0, 1 } } } } })
refused("a student has 1 heads (1 of keys and values) and a teacher 2", { teachers = { wide },
  distill = { relations = {} } })
refused("distill 'jsd': option 'beta' is 9", { distill = { loss = { "jsd", beta = 9 } } })
refused("option 'train.dir' of capacity_gap: each trial has its own", { train = { dir = "x" } })
refused("option 'tune.save' of capacity_gap: each trial has its own", { tune = { save = "x" } })
refused("option 'train.context' of capacity_gap: the option 'context'", { train = { context = 8 } })
refused("unknown option 'lrr' of tune", { tune = { lrr = 1 } })
local corpus = sonde.corpus("text.txt", { vocab = 300, cache = "cache", validation = 0.3 })
refused("vocab is 100, but the corpus has 300 tokens", { corpus = corpus, vocab = 100 })
local function run(name, distill, lr, tune)
  return gap { name = name, corpus = corpus, plan_only = false, arms = { "random" }, eval_tokens = 64,
    calibration_tokens = 64, train = { batch = 4, eval_tokens = 64, progress = false, lr = lr }, distill = distill,
    tune = tune }
end
lu.assertErrorMsgContains("this teacher is diverged (the loss is NaN at step", run, "teacher", nil, 1e30)
local lost = run("students", nil, nil, { lr = 1e30 })
lu.assertStrContains(lost.recommend(5272).why, "seeds diverged, by the teacher's parameters: 5272 (1 of 1)")
assert(io.open "runs/students/report.html")
local text, samples = run "text", run("samples", { on_policy = { lambda = 0.5, prompt = 4 } })
local function flops(found) return found.conditions[1].curves[1].points[1].flops end
-- Teacher and student are of one size: a step, the teacher's forward pass, and half of a pass that samples.
size.vocab, size.context = 300, 16
local step, forward = require("sonde.train.forecast").flops_per_token(sonde.transformer(size), 16)
lu.assertAlmostEquals(flops(samples) / flops(text), (step + 1.5 * forward) / (step + forward), 1e-9)
lu.assertErrorMsgContains("found.recommend: argument 'student' must be a number, not 'x'", text.recommend, "x")
lu.assertErrorMsgContains("must be at least 1, not -1", text.recommend, -1)
lu.assertErrorMsgContains("must be a finite number, not NaN", text.recommend, 0 / 0)
LUA
  run --separate-stderr "$SONDE" run gap.lua
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  run --separate-stderr experiment --set recommend=-1
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"recommend is the parameters of a student"* && ! -e runs/capacity-gap-demo ]]
}

@test "a search along the teachers: its cost beside every student, whether it found their optimum, after a kill too" {
  small=(--set "arms=[random, scratch]" --set "seed=[1]"
    --set "students=[{depth: 2, width: 8, heads: 1, ffn_hidden: 16}]"
    --set "teachers=[{depth: 1, width: 8, heads: 1, ffn_hidden: 8}, {depth: 1, width: 16, heads: 2, ffn_hidden: 8},
      {depth: 1, width: 24, heads: 3, ffn_hidden: 8}, {depth: 1, width: 32, heads: 4, ffn_hidden: 8}]"
    --set "teacher_tokens=[512]" --set "tokens=[64, 1024]" --set search.policy=asha
    --set search.eta=4 --set search.most=0.6)
  run --separate-stderr experiment "${small[@]}"
  echo "$output $stderr"
  [ "$status" -eq 0 ]
  [ "$(ls -d runs/capacity-gap-demo/*/ | wc -l)" -eq 6 ]      # four at 64 tokens, one at 1024; one from scratch
  [[ "$output" == *"5, of 4 teachers"*"not known: not every teacher has a student"* ]]
  grep -o '"share":[^,]*' runs/capacity-gap-demo/capacity_gap.json > share
  cp runs/capacity-gap-demo/search.json first.json
  mv runs/capacity-gap-demo whole
  in_place "${small[@]}" > again 2>&1 3>&- &
  for _ in $(seq 200); do
    [ -d runs/capacity-gap-demo ] && [ "$(ls -d runs/capacity-gap-demo/*/ 2> /dev/null | wc -l)" -ge 3 ] && break
    sleep 0.02
  done
  kill -KILL $! || true
  wait $! || true
  experiment "${small[@]}" --jobs 2 > second 2> /dev/null
  cmp first.json runs/capacity-gap-demo/search.json
  diff <(echo "$output") second
  diff share <(grep -o '"share":[^,]*' runs/capacity-gap-demo/capacity_gap.json)
  ! grep -q '"optimum"' runs/capacity-gap-demo/capacity_gap.json
  experiment "${small[@]}" --set search.policy=grid > grid 2> /dev/null      # every student: their optimum is known
  for policy in golden bayes random asha; do
    experiment "${small[@]}" --set "search.policy=$policy" > out 2> /dev/null
    grep -A5 "the best of all teachers" out
    grep -q "in [01] of 1 cases\|in [012] of 2 cases" out
    grep -q '"optimum"' runs/capacity-gap-demo/capacity_gap.json
  done
}
