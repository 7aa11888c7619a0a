#!/usr/bin/env bats
# Sequence-level and on-policy distillation from the command line: a teacher's sequences as a corpus, and trainings on a
# student's samples; both killed and gone on with, at any number of threads.

setup_file() {
  cd "$BATS_FILE_TMPDIR"
  export SONDE="$abs_builddir/sonde"
  for i in $(seq 1 60); do
    echo "The $i of the days, and the waters of day $((i * 7 % 60)) over the face."
    [ $((i % 6)) -ne 0 ] || echo "<|endoftext|>"
  done > text.txt
  cat > teacher.yaml <<END
model: {width: 16, depth: 2, heads: 2, context: 16}
corpus: {source: text.txt, vocab: 300, cache: cache}
train: {steps: 30, batch: 4, lr: 1e-2, eval_every: 0}
END
  "$SONDE" train teacher.yaml --threads 1 > /dev/null 2>&1
}

setup() { cd "$BATS_FILE_TMPDIR"; }

teach() { "$SONDE" teach --model runs/teacher/0/model --config teacher.yaml "$@"; }

@test "a teacher's sequences are a corpus: the same bytes on one thread and on two, and a student learns from them" {
  run teach --sequences 30 --batch 4 --temperature 1 --out a.tok --json --threads 1
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" == *'"sequences": 30'* ]]
  [[ "$output" == *'"prompt": 4'* ]]
  [ "$(sed -n 's/.*"tokens": \([0-9]*\).*/\1/p' <<< "$output")" -le $((30 * 16)) ]      # nothing behind what was cut
  teach --sequences 30 --batch 4 --temperature 1 --out b.tok --threads 2
  cmp a.tok b.tok
  cmp a.tok.json b.tok.json
  [ "$(sha256sum < a.tok | cut -c 1-64)" = "$(sed -n 's/.*"sha256": "\([0-9a-f]*\)".*/\1/p' a.tok.json)" ]
  teach --sequences 30 --batch 4 --temperature 1 --seed 5 --out c.tok
  ! cmp a.tok c.tok
  cat > student.yaml <<END
model: {width: 8, depth: 1, heads: 2, context: 16}
corpus: {source: a.tok, tokenizer: runs/teacher/0/model, validation: 0.1}
train: {steps: 4, batch: 4, lr: 1e-2}
END
  run "$SONDE" train student.yaml
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" == *"validation loss"* ]]
  teach --sequences 9 --out a.jsonl
  [ "$(wc -l < a.jsonl)" -eq 9 ]
  run "$SONDE" eval --model runs/teacher/0/model --text a.jsonl
  echo "$output"
  [ "$status" -eq 0 ]
}

@test "what was written before a kill is gone on with, and gives the same bytes" {
  cat > part.lua <<END
-- Keeps what an unfinished file had: runs teach until so many sequences are there, then ends as a kill does.
local sonde, core = require "sonde", require "sonde.core"
local model = sonde.load "runs/teacher/0/model"
local corpus = sonde.corpus("text.txt", { tokenizer = "runs/teacher/0/model", cache = "cache" })
local options = { out = sonde.settings.out, sequences = 30, batch = 4, seed = 3, temperature = 0.7, top_p = 0.9 }
local facts = sonde.teach_sequences(model, corpus, options, function(done)
  if sonde.settings.kill and done >= sonde.settings.kill then os.execute "kill -9 \$PPID" end
end)
print(facts.sha256)
END
  whole=$("$SONDE" run part.lua --set out=whole.tok)
  [ -n "$whole" ]
  for kill in 4 16; do
    run "$SONDE" run part.lua --set out=part.tok --set kill=$kill
    [ "$status" -ne 0 ]
    [ "$(wc -l < part.tok.part)" -eq $((kill + 1)) ]
    [ ! -f part.tok ]
  done
  printf '[16,1,2' >> part.tok.part                 # a line that was cut
  run "$SONDE" run part.lua --set out=part.tok
  echo "$output"
  [[ "$output" == *"goes on at sequence 16 of 30"* ]]
  [[ "$output" == *"$whole"* ]]
  cmp whole.tok part.tok
  [ ! -f part.tok.part ]
}

@test "a changed token of an unfinished file is noticed, and made again" {
  teach --sequences 12 --batch 4 --out whole12.tok
  cat > stop.lua <<END
local sonde = require "sonde"
local corpus = sonde.corpus("text.txt", { tokenizer = "runs/teacher/0/model", cache = "cache" })
sonde.teach_sequences(sonde.load "runs/teacher/0/model", corpus, { out = "changed.tok", sequences = 12, batch = 4 },
  function(done) if done == 8 then os.execute "kill -9 \$PPID" end end)
END
  "$SONDE" run stop.lua || true
  [ "$(wc -l < changed.tok.part)" -eq 9 ]
  sed -i '7s/\([0-9]\)\]$/\1\1]/' changed.tok.part      # the sixth sequence, of the second batch
  run teach --sequences 12 --batch 4 --out changed.tok
  echo "$output"
  [[ "$output" == *"goes on at sequence 4 of 12"* ]]
  cmp whole12.tok changed.tok
}

@test "a finished file is kept by the command that made it, and written over by another one" {
  teach --sequences 6 --batch 3 --out kept.tok
  first=$(stat -c %i kept.tok)
  run teach --sequences 6 --batch 3 --out kept.tok --json
  [ "$(stat -c %i kept.tok)" = "$first" ]
  [[ "$output" == *'"sequences": 6'*'"tokens": '* ]]
  teach --sequences 6 --batch 3 --temperature 2 --out kept.tok
  grep -q '"temperature": 2' kept.tok.json
  [ "$(sha256sum < kept.tok | cut -c 1-64)" = "$(sed -n 's/.*"sha256": "\([0-9a-f]*\)".*/\1/p' kept.tok.json)" ]
  cp kept.tok right.tok
  printf 'x' >> kept.tok                            # changed since
  teach --sequences 6 --batch 3 --temperature 2 --out kept.tok
  cmp right.tok kept.tok
}

@test "two processes do not write one file" {
  cat > two.lua <<END
local sonde = require "sonde"
local corpus = sonde.corpus("text.txt", { tokenizer = "runs/teacher/0/model", cache = "cache" })
local model, options = sonde.load "runs/teacher/0/model", { out = "two.tok", sequences = 8, batch = 4 }
local second
sonde.teach_sequences(model, corpus, options, function()
  second = second or { pcall(sonde.teach_sequences, model, corpus, options) }
end)
print(second[1], second[2])
END
  run "$SONDE" run two.lua
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" == *"false"*"two.tok.part: another process writes these sequences"* ]]
}

@test "what does not fit is refused in a line" {
  refuse() {
    local text=$1
    shift
    run teach "$@"
    echo "$output"
    [ "$status" -ne 0 ]
    [[ "$output" == *"$text"* ]]
    [ "$(grep -c "^sonde: " <<< "$output")" -eq 1 ]
  }
  refuse "--prompt needs --sequences" --prompt 4 --out x.teach
  refuse "--tokens does not go with --sequences" --sequences 4 --tokens 4 --out x.tok
  refuse "FILE.tok, a token shard, or FILE.jsonl" --sequences 4 --out x.txt
  refuse "a prompt of 16 tokens leaves nothing to generate" --sequences 4 --prompt 16 --out x.tok
  refuse "--sequences must be between 1" --sequences 0 --out x.tok
  printf '{"other": 1}\n[0,1]\n' > y.tok.part
  refuse "is of another teacher, text or options" --sequences 4 --out y.tok
  [ ! -f x.tok ] && [ ! -f x.tok.part ]
}

@test "a training on its own samples: the same bits on one thread, on two, and after kill -9" {
  cat > samples.lua <<END
local sonde = require "sonde"
local corpus = sonde.corpus("text.txt", { tokenizer = "runs/teacher/0/model", cache = "cache" })
local student = sonde.transformer { vocab = corpus.vocab, width = 8, depth = 1, heads = 2, context = 16, seed = 2 }
local result = sonde.train(student, corpus, {
  dir = sonde.settings.dir, steps = 10, batch = 4, accumulate = 2, lr = 1e-2, checkpoint_every = 2, eval_every = 0,
  progress = false, teacher = "runs/teacher/0/model",
  distill = { loss = { "jsd", beta = 0.9 }, on_policy = { lambda = 0.6, temperature = 0.8, top_k = 50 } },
  hooks = { { every = 7, call = function() if sonde.settings.kill then os.execute "kill -9 \$PPID" end end } },
})
print(result.state_sha256)
END
  one=$("$SONDE" run samples.lua --set dir=runs/one --threads 1)
  two=$("$SONDE" run samples.lua --set dir=runs/two --threads 2)
  [ -n "$one" ]
  [ "$one" = "$two" ]
  run "$SONDE" run samples.lua --set dir=runs/killed --set kill=true
  [ "$status" -ne 0 ]
  grep -q '"step": *6' runs/killed/checkpoint/state.json
  [ "$("$SONDE" run samples.lua --set dir=runs/killed --accept-changes)" = "$one" ]
  cat > samples.yaml <<END
model: {width: 8, depth: 1, heads: 2, context: 16}
corpus: {source: text.txt, tokenizer: runs/teacher/0/model, cache: cache}
train: {steps: 4, batch: 4, teacher: runs/teacher/0/model, distill: {on_policy: {lambda: 1, prompt: 4}}}
END
  run "$SONDE" graph samples.yaml
  echo "$output"
  [ "$status" -eq 0 ]
  run "$SONDE" train samples.yaml
  echo "$output"
  [ "$status" -eq 0 ]
  grep -q '"train/sampled":1[,.}]' runs/samples/0/metrics.jsonl
  sed -i 's/prompt: 4/prompt: 40/' samples.yaml
  run "$SONDE" train samples.yaml --dir runs/samples/1
  echo "$output"
  [ "$status" -eq 1 ]
  [[ "$output" == *"samples.yaml:3: "*"do not fit rows of 16 tokens"* ]]
}

@test "trials whose teacher's sequences, cache or folder were made anew are run again or refused, not kept silently" {
  cp -r runs/teacher/0/model copy
  cat > stale.lua <<'LUA'
local sonde = require "sonde"
local corpus = sonde.corpus("text.txt", { vocab = 300, cache = "cache" })
sonde.sweep { name = "stale", grid = { reads = { "model", "cache", "sequences" } } }:run(function(trial, p)
  if p.reads == "model" then sonde.load "copy" end
  if p.reads == "sequences" then sonde.corpus("s.tok", { tokenizer = "copy" }) end
  if p.reads == "cache" then
    local student = sonde.transformer { vocab = 300, width = 8, depth = 1, heads = 2, context = 16, seed = 0 }
    sonde.train(student, corpus, { steps = 2, batch = 4, teacher = "s.teach", eval_every = 0 })
  end
  trial:report { done = 1 }
end)
LUA
  sequences() { teach --sequences 8 --batch 4 --out s.tok "$@" > out 2>&1 || { cat out; false; }; }
  cache() { teach --seed 0 --out s.teach "$@" > out 2>&1 || { cat out; false; }; }
  again() { run "$SONDE" run stale.lua --threads 1 "$@"; echo "$output"; }
  sequences
  cache --top-k 8
  again
  [ "$status" -eq 0 ]
  again
  [ "$status" -eq 0 ]
  sequences --temperature 1
  again
  [ "$status" -eq 1 ]
  [[ "$output" == *"1 of 3 trials were run with a teacher's files that have changed since: sequences s.tok (was "* ]]
  sequences            # as they were
  again
  [ "$status" -eq 0 ]
  cache --top-k 4
  again
  [ "$status" -eq 1 ]
  [[ "$output" == *"changed since: cache s.teach (was "*"; --redo runs them again, --accept-changes keeps them"* ]]
  again --redo
  [ "$status" -eq 0 ]
  [ "$(grep -c "is removed" runs/stale/*/log.txt | grep -c ":1")" -eq 1 ]
  again
  [ "$status" -eq 0 ]
  printf 'x' >> copy/model.safetensors
  again
  [ "$status" -eq 1 ]
  [[ "$output" == *"changed since: model copy (was "* ]]
  again --accept-changes
  [ "$status" -eq 0 ]
  again
  [ "$status" -eq 0 ]
}

@test "a divergence of a script that was changed is noticed" {
  cat > mine.lua <<'LUA'
local sonde = require "sonde"
sonde.distill("mine", function(site, _, log_q) return (site:lookup "log_p" - log_q) * site:lookup "p" end)
local corpus = sonde.corpus("text.txt", { vocab = 300, cache = "cache" })
local student = sonde.transformer { vocab = 300, width = 8, depth = 1, heads = 2, context = 16, seed = 0 }
sonde.train(student, corpus, { steps = 2, batch = 4, eval_every = 0, dir = "runs/mine/0",
  teacher = "runs/teacher/0/model", distill = { loss = "mine" } })
LUA
  "$SONDE" run mine.lua --threads 1
  "$SONDE" run mine.lua --threads 1
  sed -i 's/site:lookup "p"/& * 2/' mine.lua
  run "$SONDE" run mine.lua --threads 1
  echo "$output"
  [ "$status" -eq 1 ]
  [[ "$output" == *"was made with another code: distill/mine (was "*"--accept-changes keeps it as it is"* ]]
}
