#!/usr/bin/env bats
# `sonde teach`, trainings with its caches from the command line, and divergences of one's own in the conformance kit.

setup_file() {
  cd "$BATS_FILE_TMPDIR"
  export SONDE="$abs_builddir/sonde"
  seq 60 | awk '{ printf "The %d of the days, and the waters of day %d over the face.\n", $1, $1 * 7 % 60 }' > text.txt
  cat > teacher.yaml <<END
model: {width: 16, depth: 2, heads: 2, context: 16}
corpus: {source: text.txt, vocab: 300}
train: {steps: 8, batch: 4, lr: 1e-2, eval_every: 0}
END
  "$SONDE" train teacher.yaml --threads 1 > /dev/null 2>&1
  sed 's/width: 16, depth: 2/width: 8, depth: 1/; s/steps: 8/steps: 4/' teacher.yaml > student.yaml
}

setup() { cd "$BATS_FILE_TMPDIR"; }

# with_teacher NAME TEACHER DISTILL: the student's configuration with these
with_teacher() { sed "s|lr: 1e-2|lr: 1e-2, teacher: $2, distill: $3|" student.yaml > "$1.yaml"; }

sha_of() { "$SONDE" train "$@" --json 2> /dev/null | sed -n 's/.*"state_sha256": "\([0-9a-f]*\)".*/\1/p'; }

@test "a training with a live teacher and one with its cache; the same bits on one thread and on two" {
  with_teacher live runs/teacher/0/model "{loss: {name: jsd, beta: 0.3}, top_k: 20}"
  one=$(sha_of live.yaml --threads 1)
  two=$(sha_of live.yaml --threads 2 --dir runs/live/2)
  [ -n "$one" ]
  [ "$one" = "$two" ]
  with_teacher hidden runs/teacher/0/model "{hidden: {map: searched}}"
  run "$SONDE" graph hidden.yaml                    # with the projections that a training has
  echo "$output"
  [ "$status" -eq 0 ]
  run "$SONDE" teach --model runs/teacher/0/model --config student.yaml --top-k 20 --out a.teach --json
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" == *'"rows": 16'* ]]
  with_teacher cached a.teach "{loss: {name: jsd, beta: 0.3}}"
  run "$SONDE" train cached.yaml --threads 1
  echo "$output"
  [ "$status" -eq 0 ]
  "$SONDE" teach --model runs/teacher/0/model --config student.yaml --top-k 20 --out b.teach --threads 1 > /dev/null
  cmp a.teach b.teach
  run "$SONDE" train cached.yaml --threads 2 --dir runs/cached/2
  [ "$status" -eq 0 ]
  cmp runs/cached/0/model/model.safetensors runs/cached/2/model/model.safetensors
}

teach() {
  exec "$SONDE" teach --model runs/teacher/0/model --corpus text.txt --top-k 30 --tokens 16000 --batch 1 --out "$1"
}

# teach_until BYTES: teach, killed as soon as the unfinished cache has more bytes than these (or, on a machine that was
# quicker, when it is done).
teach_until() {
  teach killed.teach > /dev/null 2>&1 3>&- &
  pid=$!
  while kill -0 $pid 2> /dev/null && [ "$(stat -c %s killed.teach.part 2> /dev/null || echo 0)" -le "$1" ]; do :; done
  kill -9 $pid 2> /dev/null || true
  wait $pid || true
}

@test "killed at any instant, teach goes on and gives the same bytes" {
  (teach whole.teach > /dev/null)
  size=$(stat -c %s whole.teach)
  for share in 0 20 55; do
    # A finished cache would be made anew, and the kill leave its unfinished successor beside it.
    [ -f killed.teach ] || teach_until $((size * share / 100))
  done
  [ -f killed.teach ] || (teach killed.teach > /dev/null)
  cmp whole.teach killed.teach
  [ ! -f killed.teach.part ]
}

@test "an unfinished cache is not gone on with in another dtype" {
  cat > stop.lua <<END
local sonde = require "sonde"
local corpus = sonde.corpus("text.txt", { tokenizer = "runs/teacher/0/model" })
local options = { out = "dtype.teach", top_k = 8, tokens = 320, batch = 4, dtype = sonde.settings.dtype }
sonde.teach(sonde.load "runs/teacher/0/model", corpus, options, function(done)
  if sonde.settings.kill and done >= 8 then os.execute "kill -9 \$PPID" end
end)
END
  "$SONDE" run stop.lua --set kill=true || true
  [ -f dtype.teach.part ]
  run "$SONDE" run stop.lua --set dtype=bf16
  echo "$output"
  [ "$status" -eq 1 ]
  [[ "$output" == *"is a cache of another teacher, text or options that was not finished"* ]]
  run "$SONDE" run stop.lua
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" == *"goes on at row"* ]]
}

@test "what does not fit is refused in a line" {
  run "$SONDE" teach --model runs/teacher/0/model --out x.teach
  echo "$output"
  [ "$status" -eq 1 ]
  [[ "$output" == *"teach takes either --corpus, the text, or --config"* ]]
  run "$SONDE" teach --model runs/teacher/0/model --corpus text.txt --top-k 4000 --out x.teach
  [[ "$output" == *"option 'top_k' of teach must be at most the vocabulary of"* ]]
  [ ! -f x.teach.part ]
  sed 's/vocab: 300/vocab: 290/' student.yaml > other.yaml
  sed -i "s|lr: 1e-2|lr: 1e-2, teacher: runs/teacher/0/model|" other.yaml
  run "$SONDE" train other.yaml
  echo "$output"
  [ "$status" -eq 1 ]
  [[ "$output" == *"has a vocabulary of"* ]]
}

@test "the templates of a divergence pass the kit, in C and in Lua" {
  run "$SONDE" plugin new distill mine
  [ "$status" -eq 0 ]
  $CC -O2 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -I"$abs_srcdir/src" -o mine.so mine/mine.c
  run "$SONDE" plugin test ./mine.so
  echo "$output"
  [ "$status" -eq 0 ]
  "$SONDE" plugin new distill other --lua > /dev/null
  run "$SONDE" plugin test other/other.lua
  echo "$output"
  [ "$status" -eq 0 ]
}

# broken NAME TERMS: a script whose terms are wrong
broken() {
  cat > "$1.lua" <<END
local sonde = require "sonde"
sonde.distill("$1", { summary = "of a test" }, function(site, _, log_q)
  local p, q, log_p = site:lookup "p", site:lookup "q", site:lookup "log_p"
  return $2
end)
END
  run "$SONDE" plugin test "$1.lua"
  echo "$output"
  [ "$status" -eq 1 ]
}

@test "divergences that are none fail the kit" {
  broken cut_off "p * (log_p - log_q:detach()) + 0 * log_q"
  [[ "$output" == *"not ok"*"gradient"*"its slope is wrong"* ]]
  broken no_minimum "p * (log_p - log_q) * 1 + q * 0.5 * q"
  [[ "$output" == *"not ok"*"equal"*"of a student like its teacher"* ]]
  broken overflows "p * ((log_p - log_q) * 10):exp()"
  [[ "$output" == *"not ok"*"run"* ]]
  broken reads_all "p * (log_p - log_q:softmax())"
  [[ "$output" == *"op 'softmax' is not elementwise"* ]]
}
