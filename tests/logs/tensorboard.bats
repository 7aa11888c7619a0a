#!/usr/bin/env bats
# Event files of TensorBoard: read by a reader that shares nothing with the writer, and compared with metrics.jsonl.

bats_require_minimum_version 1.5.0

load "$abs_srcdir/tests/harness/helpers"

setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  seq 60 | sed 's/.*/in the beginning there was a small text, and line & said little of itself/' > book.txt
  printf '%s\n' 'model: {width: 16, depth: 3, heads: 2, context: 24}' 'corpus: {source: book.txt, vocab: 270}' \
    'train: {steps: 30, batch: 2, log: [tensorboard], log_every: 1, eval_every: 7, checkpoint_every: 10}' > a.yaml
}

setup() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  command -v python3 > /dev/null || skip "there is no python3"
  events=events.out.tfevents.sonde
}

read_events() { python3 "$abs_srcdir/tests/logs/read_events.py" "$1/$events"; }

# What the event file of a run should hold, from its metrics.jsonl.
expected() {
  python3 - "$1/metrics.jsonl" <<'END'
import json, struct, sys
for line in open(sys.argv[1]):
    values = json.loads(line)
    step = values.pop("step")
    for key in sorted(values):
        many = values[key] if isinstance(values[key], list) else None
        for tag, value in [("%s/%d" % (key, k), v) for k, v in enumerate(many)] if many else [(key, values[key])]:
            if value is not None:
                print(step, tag, "%.9g" % struct.unpack("f", struct.pack("f", value))[0])
END
}

same() {   # the event file of a run is what its metrics are
  expected "$1" > expected.txt
  read_events "$1" > read.txt
  [ "$(wc -l < read.txt)" -gt 100 ]
  diff expected.txt read.txt
}

@test "a training writes its metrics, each line once" {
  "$SONDE" train a.yaml --dir runs/a > out 2>&1
  same runs/a
  grep -q '^30 block/grad_norm/2 ' read.txt
  grep -q '^28 val/loss ' read.txt
}

@test "a run that was killed is continued without duplicates" {
  local tries=0 killed=0
  sed 's/steps: 30/steps: 400/' a.yaml > long.yaml
  while [ "$tries" -lt 6 ]; do
    if [ -e runs/killed/DONE ]; then              # where it was quicker than every signal, once more
      [ "$killed" -eq 0 ] || break
      rm -r runs/killed
    fi
    "$SONDE" train long.yaml --dir runs/killed > out 2>&1 3>&- &
    pid=$!
    awaits "$pid" more_lines $((60 * (tries + 1))) runs/killed/metrics.jsonl || true
    if kill -9 "$pid" 2> /dev/null; then killed=$((killed + 1)); fi
    wait "$pid" || true
    tries=$((tries + 1))
  done
  "$SONDE" train long.yaml --dir runs/killed > out 2>&1
  [ "$killed" -ge 1 ]
  same runs/killed
}

@test "a run that was stopped is continued, also after a session without the option" {
  sed 's/steps: 30/steps: 20/' a.yaml > short.yaml
  "$SONDE" train short.yaml --dir runs/b > out 2>&1
  sed 's/steps: 30/steps: 30/; s/log: .tensorboard., //' a.yaml > without.yaml
  "$SONDE" train without.yaml --dir runs/b --accept-changes > out 2>&1
  [ "$(read_events runs/b | tail -n 1 | cut -d ' ' -f 1)" = 20 ]
  sed 's/steps: 30/steps: 40/' a.yaml > longer.yaml
  "$SONDE" train longer.yaml --dir runs/b --accept-changes > out 2>&1
  same runs/b
}

@test "runs that were trained without it get their event files, damaged ends are cut" {
  sed 's/log: .tensorboard., //' a.yaml > without.yaml
  "$SONDE" train without.yaml --dir runs/c/1 > out 2>&1
  [ ! -e "runs/c/1/$events" ]
  run --separate-stderr "$SONDE" runs tensorboard c
  [ "$output" = "runs/c/1/$events" ]
  same runs/c/1
  cp "runs/c/1/$events" whole
  head -c -5 whole > "runs/c/1/$events"
  "$SONDE" runs tensorboard c
  same runs/c/1
  printf 'x%.0s' $(seq 100) > "runs/c/1/$events"
  run --separate-stderr "$SONDE" runs tensorboard c
  [[ "$status" -eq 1 && "$stderr" == *"is no event file; remove it"* ]]
  rm "runs/c/1/$events"
}

@test "the event file changes no result, and needs a run folder" {
  sed 's/log: .tensorboard., //' a.yaml > without.yaml
  "$SONDE" train without.yaml --dir runs/d > out 2>&1
  hash() { sed -n 's/.*"state_sha256": "\(.*\)".*/\1/p' "$1/run.json"; }
  [ -n "$(hash runs/a)" ]
  [ "$(hash runs/a)" = "$(hash runs/d)" ]
  cat > none.lua <<'END'
local sonde = require "sonde"
local corpus = sonde.corpus("book.txt", { vocab = 270 })
local model = sonde.transformer { vocab = corpus.vocab, width = 16, depth = 1, heads = 2, context = 24 }
sonde.train(model, corpus, { steps = 1, batch = 1, log = { "tensorboard" } })
END
  run --separate-stderr "$SONDE" run none.lua
  [[ "$status" -eq 1 && "$stderr" == *"none.lua:4: option 'log' of train writes into the run folder"* ]]
}

@test "TensorBoard's own reader takes the file, where it is installed" {
  python3 -c 'import tensorboard' 2> /dev/null || skip "there is no tensorboard module"
  python3 - "runs/a/$events" > own.txt <<'END'
import sys
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader
for event in LegacyEventFileLoader(sys.argv[1]).Load():
    for value in event.summary.value:
        print(event.step, value.tag, "%.9g" % value.simple_value)
END
  read_events runs/a | diff - own.txt
}
