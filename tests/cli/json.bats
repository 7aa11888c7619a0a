#!/usr/bin/env bats
# --json and --csv mean one thing in every command: the result on standard output, nothing else there.

bats_require_minimum_version 1.5.0

setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  seq 60 | sed 's/.*/in the beginning there was a small text, and line & said little of itself/' > book.txt
  printf '%s\n' 'model: {width: 16, depth: 2, heads: 2, context: 24}' 'corpus: {source: book.txt, vocab: 270}' \
    'train: {steps: 2, batch: 2}' > a.yaml
  echo '{"prompt": "text", "response": "small"}' > rows.jsonl
  "$SONDE" train a.yaml --dir runs/a/0 > train.out 2>&1
}

setup() {
  cd "$BATS_FILE_TMPDIR" || exit 1
}

# Parsers that are not ours.
parses() {
  if command -v python3 > /dev/null; then
    python3 -c 'import json, sys
def refuse(word): raise ValueError(word + " is no JSON")
json.load(open(sys.argv[1], encoding="utf-8"), parse_constant=refuse)' "$1"
  elif command -v jq > /dev/null; then
    jq empty "$1"
  else
    skip "neither python3 nor jq is installed"
  fi
}

# Each command that has --json, as words for the program, by its name.
cases() {
  cat <<'CASES'
version|version
eval|eval --model runs/a/0/model --text book.txt
generate|generate --model runs/a/0/model --prompt in --prompt größer --tokens 3
graph|graph a.yaml
probe|probe --model runs/a/0/model --text book.txt --probes variance,causal
attention|attention --model runs/a/0/model --prompt beginning
prune|prune --model runs/a/0/model --strategy last --remove 1 --text book.txt --out pruned
export|export --model runs/a/0/model --out exported
finetune|finetune --model runs/a/0/model --data rows.jsonl --template {prompt}: --epochs 1 --save tuned
sparsify|sparsify --model runs/a/0/model --method magnitude --sparsity 0.5 --out sparse
train|train a.yaml --dir runs/b/0
teach|teach --model runs/a/0/model --config a.yaml --out teacher.cache
teach|teach --model runs/a/0/model --config a.yaml --sequences 3 --out teacher.tok
clips make|clips make --out made --clips 7 --seconds 1 --width 64 --height 36 --rate 5
bench video|bench video --video VIDEO --seconds 0.1
query|query SELECT(1)
runs list|runs list
runs show|runs show a/0
runs compare|runs compare a b
plugin list|plugin list
plugin ops|plugin ops
plugin info|plugin info rmsnorm
plugin test|plugin test PLUGIN --only schema
bench peak|bench peak
bench gemm|bench gemm --steps 1
bench attention|bench attention --steps 1
bench norm|bench norm --steps 1
bench tokenize|bench tokenize --text book.txt --steps 1
bench distill|bench distill --config a --teacher a --steps 1
bench moe|bench moe --width 32 --hidden 32 --tokens 64 --steps 1
bench train|bench train --config a --steps 1
bench choices|bench choices --config a --documents 3 --steps 1
bench generate|bench generate --config a --tokens 4
CASES
}

@test "every command that has --json prints that alone, and another parser takes it" {
  cases | while IFS='|' read -r name words; do
    words=${words/PLUGIN/$(find "$abs_builddir/plugins/norm" -name 'rmsnorm.so' | head -1)}
    case $name in *clips*|*video*) grep -q 'define HAVE_FFMPEG' "$abs_builddir/config.h" || continue ;; esac
    words=${words/VIDEO/$(find made/clips -name '*.mp4' 2> /dev/null | head -1)}
    # shellcheck disable=SC2086
    "$SONDE" $words --json > out.json 2> err || { echo "$name: $(cat err)"; exit 1; }
    parses out.json || { echo "$name"; head -5 out.json; exit 1; }
  done
}

@test "no command that has --json is left out above" {
  "$SONDE" --help | sed -n '/^commands:/,/^$/s/^  \([a-z]*\) .*/\1/p' | while read -r name; do
    if "$SONDE" "$name" --help | grep -q '^commands:'; then
      "$SONDE" "$name" --help | sed -n "/^commands:/,/^\$/s/^  \\([a-z]*\\) .*/$name \\1/p"
    else
      echo "$name"
    fi
  done > names
  while read -r name; do
    # shellcheck disable=SC2086
    line=$("$SONDE" $name --help | grep -e '^  --json' || true)
    [ -n "$line" ] || continue
    # watch needs a model of clips: tests/video/watch.bats
    [ "$name" = watch ] || cases | grep -q "^$name|" || { echo "$name is not tried"; return 1; }
    [[ "$line" == "  --json "*"print the result as JSON on standard output, nothing else" ]] || {
      echo "$name: $line"
      return 1
    }
  done < names
  [ "$(wc -l < names)" -ge 20 ]
}

@test "results come back as they were reported, and so do settings" {
  cat > types.lua <<'LUA'
local sonde = require "sonde"
sonde.sweep { name = "types", grid = { n = { 1 } } }:run(function(trial)
  trial:report { yes = true, no = false, big = 9007199254740993, least = math.mininteger, tenth = 0.1, small = 5e-324,
    whole = 1.0, word = "true", none = 0 / 0, list = { 1, 0 / 0, 2.5 }, matrix = { { 1 }, { 2, 3 } } }
end)
LUA
  "$SONDE" run types.lua 2> /dev/null
  "$SONDE" runs show types/n=1 --json > shown.json
  run "$SONDE" runs show types/n=1              # and numbers that are none
  [[ "$output" == *" [1,null,2.5]"* && "$output" =~ $'\n'"  none "\ +"-"$'\n' ]]
  "$SONDE" runs show a/0 --json > trained.json
  command -v python3 > /dev/null || skip "python3 is not installed"
  python3 - <<'PYTHON'
import json
r = json.load(open("shown.json"))["results"]
expected = dict(yes=True, no=False, big=9007199254740993, least=-2**63, tenth=0.1, small=5e-324, whole=1.0, word="true",
                none=None, list=[1, None, 2.5], matrix=[[1], [2, 3]])
for name, value in expected.items():
    assert r[name] == value and type(r[name]) is type(value), (name, r[name])
t = json.load(open("trained.json"))
assert t["parameters"]["model.tie"] is False and t["parameters"]["train.steps"] == 2, t["parameters"]
PYTHON
}

@test "runs export: tables that another reader takes" {
  printf '{"step":1,"tokens":48,"train/loss":2.5,"block/variance":[1,2,3]}\n{"step":2,"tok' > metrics.tail
  mkdir -p runs/cut/0 && cp runs/a/0/run.json runs/a/0/config.yaml runs/cut/0 &&
    cp metrics.tail runs/cut/0/metrics.jsonl
  run --separate-stderr "$SONDE" runs export cut --table metrics
  [ "$status" -eq 0 ]
  [ "$stderr" = "sonde: note: runs/cut/0/metrics.jsonl: the last line is not whole and is left out" ]
  [ "${lines[0]}" = "run,step,tokens,block/variance.0,block/variance.1,block/variance.2,train/loss" ]
  [ "${lines[1]}" = "cut/0,1,48,1,2,3,2.5" ]
  "$SONDE" probe --model runs/a/0/model --text book.txt --probes variance > /dev/null 2>&1
  for table in runs metrics lists; do "$SONDE" runs export --table $table > "$table.csv"; done
  run "$SONDE" runs export --table run
  [ "$status" -eq 2 ]
  [[ "${lines[0]}" == *"did you mean 'runs'?" ]]
  command -v python3 > /dev/null || skip "python3 is not installed"
  python3 - <<'PYTHON'
import csv
for name in ["runs", "metrics", "lists"]:
    rows = list(csv.reader(open(name + ".csv", newline=""), strict=True))
    assert len(set(rows[0])) == len(rows[0]) and len(rows) > 2, rows[0]
    assert all(len(row) == len(rows[0]) for row in rows), name
runs = {row["run"]: row for row in csv.DictReader(open("runs.csv"))}
assert float(runs["a/0"]["loss"]) > 0 and runs["a/0"]["model.depth"] == "2", runs["a/0"]
lists = [row for row in csv.DictReader(open("lists.csv")) if row["run"] == "a/0" and row["list"] == "variance"]
assert len(lists) == 2 and float(lists[0]["low"]) <= float(lists[0]["value"]) <= float(lists[0]["high"]), lists
PYTHON
}

@test "damaged runs are told and left out; what is whole is shown" {
  for kind in empty text list null number deep bytes; do mkdir -p "hurt/$kind/0"; done
  : > hurt/empty/0/run.json
  echo '{"status": "done", "resu' > hurt/text/0/run.json
  echo '[1, 2]' > hurt/list/0/run.json
  echo '{"status": null}' > hurt/null/0/run.json
  echo '{"status": "done", "results": {"loss": NaN}}' > hurt/number/0/run.json
  { printf '%0.s[' $(seq 100000); } > hurt/deep/0/run.json
  printf '{"status": "\xff\xfe"}' > hurt/bytes/0/run.json
  mkdir -p hurt/good/0 hurt/odd/0
  echo '{"status": "done", "results": {"loss": "low", "perplexity": [1], "tokens_per_s": true},
    "plugins": [1, {"kind": 2}], "threads": "many", "corpus": 7, "started": 5, "reason": {
    "a": 1}}' > hurt/odd/0/run.json
  echo '{"status": "done", "results": {"loss": 1.5}}' > hurt/good/0/run.json
  for words in "list" "show good/0" "compare good odd" "show odd/0" "export" "export --table metrics" \
    "export --table lists"; do
    for json in "" --json; do
      [[ "$words" == export* && -n "$json" ]] && continue
      rm -f hurt/sonde.db*
      # shellcheck disable=SC2086
      "$SONDE" runs $words $json --root hurt > out 2> err || { echo "runs $words $json"; cat err; return 1; }
      ! grep -q "attempt to" err || { cat err; return 1; }
      [ "$(grep -c 'it is left out' err)" -eq 7 ] || { cat err; return 1; }
      [ -z "$json" ] || parses out
    done
  done
}

@test "a trial's place in the grid is among its parameters, training or not" {
  printf '%s\n' 'local s = require("sonde").sweep { name = "g",' \
    '  grid = { frac = { 0.5 }, ffn = { { name = "swiglu", hidden = 8 } } } }' \
    's:run(function(trial, p) trial:report { x = p.frac } end)' > g.lua
  "$SONDE" run g.lua 2> /dev/null
  run --separate-stderr "$SONDE" runs list g --json
  [[ $output == *'"frac": 0.5'* && $output == *'"ffn.hidden": 8'* ]]
  [[ $("$SONDE" runs export g | head -1) == *",ffn.hidden,ffn.name,frac,"* ]]
}
