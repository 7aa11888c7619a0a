#!/usr/bin/env bats
# sonde eval --tasks: the table, the files, conversion, examples, tasks of one's own, and what is refused.

bats_require_minimum_version 1.5.0

setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  mkdir data
  for k in $(seq 0 19); do
    printf '{"id":%d,"context":"Question: how much is %d and one?\\nAnswer:",' $k $k
    printf '"choices":["it is %d","it is é %d","none"],"answer":%d}\n' $((k + 1)) $k $((k % 3))
  done | gzip > data/piqa.jsonl.gz
  zcat data/piqa.jsonl.gz > data/piqa_train.jsonl
  for k in $(seq 0 5); do echo "{\"text\":\"one two $k\"}"; done > data/lambada_openai.jsonl
  printf '{"page":" a page , of words \\n with = = marks = = "}\n{"page":""}\n' > data/wikitext.jsonl
  for s in anatomy sociology virology; do
    echo "{\"subject\":\"$s\",\"question\":\"what? \",\"choices\":[\"1\",\"2\",\"3\",\"4\"],\"answer\":2}"
    echo "{\"subject\":\"$s\",\"question\":\"who?\",\"choices\":[\"5\",\"6\",\"7\",\"8\"],\"answer\":0}"
  done > data/mmlu_test.jsonl
  cp data/mmlu_test.jsonl data/mmlu_dev.jsonl
  cat > make.lua <<'LUA'
local sonde, core = require "sonde", require "sonde.core"
local text = string.rep("Question: how much is 12 and one? Answer: it is 13, none, one two 345 67890 page. ", 9)
local tokenizer = core.tokenizer_train({ text }, { vocab = 290 })
sonde.transformer { vocab = tokenizer:vocab(), width = 32, depth = 2, heads = 2, context = 48, init_std = 0.3 }
  :save("model", { tokenizer = tokenizer })
LUA
  "$SONDE" run make.lua
}

setup() {
  cd "$BATS_FILE_TMPDIR" || exit 1
}

evaluate() { "$SONDE" eval --model model --data data "$@"; }

@test "a table, the same in JSON, and in any batch" {
  run --separate-stderr evaluate --tasks piqa,lambada_openai,wikitext --bootstrap 100
  [ "$status" -eq 0 ]
  [[ "${lines[0]}" == "sonde (pretrained=model,dtype=f32), gen_kwargs: (None), limit: None, num_fewshot: 0, "* ]]
  [[ "${lines[1]}" == "|"*"Tasks"*"|Version|Filter|n-shot|"* ]]
  [[ "$output" == *"|piqa "*"|acc_norm "* ]]
  evaluate --tasks piqa,lambada_openai,wikitext --bootstrap 100 --json > whole.json
  evaluate --tasks wikitext,lambada_openai,piqa --bootstrap 100 --json --batch 2 > small.json
  cat > compare.lua <<'LUA'
local core = require "sonde.core"
local a, b = core.json_load "whole.json", core.json_load "small.json"
local n = 0
for task, of in pairs(a.results) do
  for key, value in pairs(of) do
    n = n + 1
    local other = b.results[task][key]
    assert(value == other or math.abs(value - other) < 1e-5 * math.abs(value), task .. " " .. key)
  end
end
assert(n >= 20, n)
assert(a["n-samples"].piqa.effective == 20 and a.versions.wikitext == 2 and a.results.piqa["acc_stderr,none"] > 0)
assert(a.results.wikitext["word_perplexity_stderr,none"] == "N/A")
LUA
  "$SONDE" run compare.lua
}

@test "samples say what was scored; examples stand in front; the prefix of a limit is the same" {
  evaluate --tasks piqa --fewshot 2 --log-samples --out out 2> err
  grep -q "wrote out/model/results_" err
  evaluate --tasks piqa --fewshot 2 --limit 3 --log-samples --json > three.json
  cat > look.lua <<'LUA'
local core = require "sonde.core"
local file
for _, name in ipairs(core.list_dir "out/model") do if name:find "^samples_piqa_.*jsonl$" then file = name end end
local lines = core.text_lines("out/model/" .. file)
assert(#lines == 20)
local three = core.json_load("three.json").samples.piqa
assert(#three == 3)
for k, sample in ipairs(three) do
  local whole = core.json_decode(lines[k])
  assert(core.json_encode(whole) == core.json_encode(sample), k)
  local context = whole.arguments.gen_args_0.arg_0
  local _, shots = context:gsub("\n\n", "")
  assert(shots == 2, context)
  assert(not context:sub(1, -#whole.doc.context - 1):find(whole.doc.context, 1, true), "its own example")
  assert(whole.arguments.gen_args_1.arg_1 == " " .. whole.doc.choices[2])
  assert(whole.prompt_hash == core.sha256(context) and whole.target_hash == core.sha256(tostring(whole.doc.answer)))
  assert(#whole.resps == 3 and tonumber(whole.resps[1][1][1]) < 0 and whole.resps[1][1][2] == "False")
  local best = 1
  for c = 2, 3 do if tonumber(whole.resps[c][1][1]) > tonumber(whole.resps[best][1][1]) then best = c end end
  assert(whole.acc == (best - 1 == whole.doc.answer and 1 or 0))
end
LUA
  "$SONDE" run look.lua
}

@test "subjects are averaged over their groups" {
  cat > data/mmlu.yaml <<'YAML'
task: "small_{subject}"
version: 1.0
group: small
file: mmlu
kind: multiple_choice
split: test
shots: {split: dev, first: true}
context: "{question|strip}"
choices: choices
answer: "{answer}"
metrics: [acc]
family: {of: subject, alias: "{subject}", members: {bodies: [anatomy, virology], people: [sociology]}}
YAML
  evaluate --tasks small --task-files data/mmlu.yaml --fewshot 1 --json > got.json
  cat > look.lua <<'LUA'
local r = require("sonde.core").json_load "got.json"
local function acc(name) return r.results[name]["acc,none"] end
assert(acc "small" == (acc "small_anatomy" + acc "small_virology" + acc "small_sociology") / 3)
assert(acc "small_people" == acc "small_sociology")
assert(r.results.small.sample_len == 6 and r.groups.small and #r.group_subtasks.small == 2)
LUA
  "$SONDE" run look.lua
  run --separate-stderr evaluate --tasks small --task-files data/mmlu.yaml
  [[ "$output" == *"|small "* && "$output" == *"| - bodies "* && "$output" == *"|  - virology "* ]]
  [[ "$output" == *"|Groups"* || "$output" == *" Groups "* ]]
}

@test "rows of the hub become the documented form, with the same results" {
  local one='{"goal":"open it","sol1":"pull","sol2":"push","label":1}'
  local two='{"goal":"shut it","sol1":"a","sol2":"b","label":0}'
  echo "[$one,$two]" > rows.json
  echo "{\"rows\":[{\"row\":$one},{\"row\":$two}]}" > page.json
  mkdir -p hub made
  "$SONDE" eval --convert rows.json --tasks piqa --out made/piqa.jsonl
  "$SONDE" eval --convert page.json --tasks piqa --out page.jsonl
  cmp made/piqa.jsonl page.jsonl
  local want='{"answer":1,"choices":["pull","push"],"context":"Question: open it\nAnswer:","id":0}'
  [ "$(head -1 made/piqa.jsonl)" = "$want" ]
  cp rows.json hub/piqa_validation.json
  "$SONDE" eval --model model --tasks piqa --data hub > a
  "$SONDE" eval --model model --tasks piqa --data made > b
  cmp a b
  "$SONDE" eval --convert data/mmlu_test.jsonl --tasks mmlu --out mmlu.jsonl
  [ "$(wc -l < mmlu.jsonl)" -eq 6 ]
  grep -q '"subject":"virology"' mmlu.jsonl
}

refused() {
  local want=$1
  shift
  run --separate-stderr "$@"
  [ "$status" -ne 0 ] || { echo "not refused: $*"; return 1; }
  [ "$(wc -l <<< "$stderr")" -le 2 ] && [[ "$stderr" == *"$want"* ]] || { echo "got: $stderr"; return 1; }
}

@test "what is wrong is named, with file and line" {
  refused "there is no task 'piqua'; did you mean 'piqa'?" evaluate --tasks piqua
  refused "there is no data of the task 'boolq' (validation split): boolq_validation.jsonl" evaluate --tasks boolq
  refused "nowhere: there is no such folder" "$SONDE" eval --model model --tasks piqa --data nowhere
  refused "give --text FILE, or --tasks" "$SONDE" eval --model model
  refused "--tasks needs --data" "$SONDE" eval --model model --tasks piqa
  refused "--fewshot has no effect without --tasks" "$SONDE" eval --model model --text make.lua --fewshot 1
  refused "--convert needs --out" "$SONDE" eval --convert rows.json --tasks piqa
  refused "22 examples are to be drawn, and data/piqa_train.jsonl has 20 rows" evaluate --tasks piqa --fewshot 21
  mkdir -p bad
  bad() { printf '%s\n' '{"context":"c","choices":["a","b"],"answer":0}' "$2" > bad/piqa.jsonl
    refused "bad/piqa.jsonl:2: $1" "$SONDE" eval --model model --tasks piqa --data bad; }
  bad "column 'goal' is missing" '{"question":"x"}'
  bad "a choice is among at least two, not 1" '{"context":"c","choices":["a"],"answer":0}'
  bad "the answer must be from 0 to 1, not 2" '{"context":"c","choices":["a","b"],"answer":2}'
  bad "choice 1 is empty" '{"context":"c","choices":["a",""],"answer":0}'
  printf '%s\n' '{"context":"c"' > bad/piqa.jsonl
  refused "bad/piqa.jsonl:1" "$SONDE" eval --model model --tasks piqa --data bad
  : > bad/piqa.jsonl
  refused "bad/piqa.jsonl: holds no rows" "$SONDE" eval --model model --tasks piqa --data bad
  long=$(printf 'word %.0s' $(seq 60))
  printf '%s\n' "{\"context\":\"c\",\"choices\":[\"a\",\"$long\"],\"answer\":0}" > bad/piqa.jsonl
  refused "the model takes 48" "$SONDE" eval --model model --tasks piqa --data bad
  printf 'task: x\nkind: multiple_choice\nmetrics: [acc]\n' > bad/x.yaml
  refused "bad/x.yaml" evaluate --tasks x --task-files bad/x.yaml
  printf 'task: x\nkind: cloze\ncontext: "{a}"\ntarget: "{b}"\nmetrics: [acc_norm]\n' > bad/x.yaml
  refused "bad/x.yaml:5: 'acc_norm' is no metric of the kind cloze" evaluate --tasks x --task-files bad/x.yaml
  printf 'task: piqa\nkind: cloze\ncontext: "{a}"\ntarget: "{b}"\nmetrics: [acc]\n' > bad/x.yaml
  refused "there is a task 'piqa' already" evaluate --tasks piqa --task-files bad/x.yaml
}

@test "an empty context stands behind the prefix token" {
  mkdir -p empty
  printf '%s\n' '{"context":"","choices":["one","two"],"answer":0}' > empty/piqa.jsonl
  "$SONDE" eval --model model --tasks piqa --data empty --log-samples --json > e.json
  "$SONDE" eval --model model --tasks piqa --data empty --log-samples --json --prefix-token 65 > f.json
  ! cmp -s e.json f.json
  refused "the prefix token 290 is outside the model's vocabulary of 290" \
    "$SONDE" eval --model model --tasks piqa --data empty --prefix-token 290
}

@test "the subjects' continuations are scored of the shared files of MMLU, if their rows are the hub's" {
  evaluate --tasks mmlu_anatomy_continuation --fewshot 1 --log-samples --json > shared.json
  cat > look.lua <<'LUA'
local samples = require("sonde.core").json_load("shared.json").samples.mmlu_anatomy_continuation
assert(#samples == 2)
assert(samples[1].arguments.gen_args_0.arg_0 == "The following are questions (with answers) about anatomy.\n\n"
  .. "Question: what?\nAnswer: 3\n\nQuestion: what?\nAnswer:", samples[1].arguments.gen_args_0.arg_0)
assert(samples[1].arguments.gen_args_1.arg_1 == " 2")
LUA
  "$SONDE" run look.lua
  mkdir -p shared
  "$SONDE" eval --convert data/mmlu_test.jsonl --tasks mmlu --out shared/mmlu_test.jsonl
  refused "shared/mmlu_test.jsonl:1: the row has the prompt of 'mmlu', which is not that of \
'mmlu_anatomy_continuation'" "$SONDE" eval --model model --tasks mmlu_anatomy_continuation --data shared
  "$SONDE" eval --convert data/mmlu_test.jsonl --tasks mmlu_continuation --out shared/mmlu_continuation_test.jsonl
  "$SONDE" eval --model model --tasks mmlu_anatomy_continuation --data shared --bootstrap 0 > a
  evaluate --tasks mmlu_anatomy_continuation --bootstrap 0 > b
  cmp a b
  refused "mmlu_anatomy_continuation_test.jsonl or mmlu_continuation_test.jsonl or mmlu_test.jsonl" \
    "$SONDE" eval --model model --tasks mmlu_anatomy_continuation --data empty
}
