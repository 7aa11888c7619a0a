#!/usr/bin/env bats
# sonde serve, over HTTP: likelihoods, generation, bad requests, limits, many connections, the stop.

bats_require_minimum_version 1.5.0

load "$abs_srcdir/tests/harness/helpers"

setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  command -v curl > /dev/null || { touch skipped; return 0; }
  seq 80 | sed 's/.*/In the beginning there was a small text, and line & said little of itself: größer, 語./' > book.txt
  printf '%s\n' 'model: {width: 32, depth: 2, heads: 2, context: 40}' 'corpus: {source: book.txt, vocab: 300}' \
    'train: {steps: 60, batch: 4, lr: 1e-2}' > a.yaml
  "$SONDE" train a.yaml --dir run > train.out 2>&1
  start main --max-mib 0.05 --max-prompts 40
}

teardown_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  for f in *.pid; do
    if [ -f "$f" ]; then kill "$(cat "$f")" 2> /dev/null || true; fi
  done
}

setup() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  [ ! -f skipped ] || skip "there is no curl"
  ! grep -q "without libmicrohttpd" ./*.err || skip "this build has no server"
  at="http://127.0.0.1:$(port main)"
}

# start NAME OPTIONS...: a server; waits until it listens.
start() {
  local name=$1
  shift
  rm -f "$name.out" "$name.err"                 # an earlier server's would be taken for this one's
  "$SONDE" serve --port 0 --model run/model "$@" > "$name.out" 2> "$name.err" 3>&- &
  echo $! > "$name.pid"
  awaits $! test -s "$name.out" || true         # a build without a server says so, and setup skips
}

port() { sed -n 's,.*http://127[.]0[.]0[.]1:\([0-9]*\)/v1/completions$,\1,p' "$1.out"; }

ask() {   # PATH [BODY]: the answer, and in `status` of the file its status
  curl -s -m 300 -o "$BATS_TEST_TMPDIR/answer" -w '%{http_code}' ${2+-d "$2"} "$at$1" > "$BATS_TEST_TMPDIR/status"
  cat "$BATS_TEST_TMPDIR/answer"
}

gives() {   # STATUS PATH [BODY]: the request has that status, and an error's fields where it is one
  local wanted=$1
  shift
  ask "$@"
  echo "status $(cat "$BATS_TEST_TMPDIR/status")"
  [ "$(cat "$BATS_TEST_TMPDIR/status")" = "$wanted" ] || return 1
  [ "$wanted" = 200 ] || grep -q '"error": *{.*"message":' "$BATS_TEST_TMPDIR/answer"
}

value() {   # EXPRESSION of `a`, the decoded answer on standard input
  cat > "$BATS_TEST_TMPDIR/value.json"
  echo "local a = require('sonde.core').json_decode(io.open(arg[1]):read('a')); print($1)" > "$BATS_TEST_TMPDIR/v.lua"
  "$SONDE" run "$BATS_TEST_TMPDIR/v.lua" "$BATS_TEST_TMPDIR/value.json"
}

ids_of() {   # TEXT: its ids, as JSON
  ask /tokenize "{\"prompt\": \"$1\"}" | sed 's/.*"tokens":\(\[[^]]*\]\).*/\1/'
}

@test "health, models, and what a client asks of the tokenizer" {
  [[ "$(ask /health)" == '{"status":"ok"}' ]]
  [[ "$(ask /v1/models | value 'a.data[1].id, a.data[1].max_model_len')" == $'model\t40' ]]
  [[ "$(ask /tokenizer_info | value 'a.eos_token')" == '<|endoftext|>' ]]
  [[ "$(ask /tokenize '{"prompt": "<|endoftext|>", "add_special_tokens": false}' | value '#a.tokens, a.count')" \
    == $'1\t1' ]]
  ids=$(ids_of 'In größer 語')
  [[ "$(ask /detokenize "{\"tokens\": $ids}" | value 'a.prompt')" == 'In größer 語' ]]
}

@test "echo with logprobs gives the likelihoods of sonde.evaluate, in prompt + 1 entries" {
  for ids in '[10]' '[10,20]' '[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18]' "$(ids_of 'In the beginning there was')"
  do
    echo "$ids"
    ask /v1/completions "{\"model\": \"model\", \"prompt\": [$ids], \"temperature\": 0, \"max_tokens\": 1,
      \"logprobs\": 1, \"seed\": 1234, \"echo\": true}"
  done > "$BATS_TEST_TMPDIR/answers"
  run --separate-stderr "$SONDE" run "$abs_srcdir/tests/serve/expected.lua" run/model "$BATS_TEST_TMPDIR/answers"
  echo "$output" "$stderr"
  [ "$output" = "4 answers" ]
}

@test "where positions are rotated by the length, a prompt is scored by the tokens before its last one" {
  cat > "$BATS_TEST_TMPDIR/long.lua" <<'LUA'
local sonde = require "sonde"
local tokenizer = sonde.load "run/model":tokenizer()
sonde.transformer { vocab = tokenizer:vocab(), width = 32, depth = 1, heads = 4, context = 40, init_std = 0.4,
  attention = { "causal", rope_scaling = "longrope", rope_original_context = 18, rope_short_factors = "1,2,3,4",
    rope_long_factors = "9,10,11,12" } }:save("long", { tokenizer = tokenizer })
LUA
  "$SONDE" run "$BATS_TEST_TMPDIR/long.lua"
  start long --model long
  at="http://127.0.0.1:$(port long)"
  for n in 17 18 19; do
    ids="[$(seq -s, "$n")]"
    echo "$ids"
    ask /v1/completions "{\"prompt\": [$ids], \"temperature\": 0, \"max_tokens\": 1, \"logprobs\": 1, \"echo\": true}"
  done > "$BATS_TEST_TMPDIR/answers"
  run --separate-stderr "$SONDE" run "$abs_srcdir/tests/serve/expected.lua" long "$BATS_TEST_TMPDIR/answers"
  echo "$output" "$stderr"
  [ "$output" = "3 answers" ]
  both="[$(seq -s, 19)], [$(seq -s, 12)]"      # the new token of the first comes from another pass than the second's
  ask /v1/completions "{\"prompt\": [$both], \"temperature\": 0, \"max_tokens\": 1, \"logprobs\": 1, \"echo\": true}" \
    | numbers 1 > "$BATS_TEST_TMPDIR/first"
  tail -n 1 "$BATS_TEST_TMPDIR/answers" | numbers 1 | diff - "$BATS_TEST_TMPDIR/first"
}

# numbers K: the log-probabilities of the K-th choice, after its number
numbers() { value "a.choices[$1].index == $1 - 1, require('sonde.core').json_encode(a.choices[$1].logprobs)"; }

@test "a batch gives each prompt the numbers that it has alone, to the last digit, in order" {
  local body='"temperature": 0, "max_tokens": 1, "logprobs": 3, "echo": true' all one
  prompts='[1,2,3] [4,5] [7,8,9,10,11,12,13,14,15,16,17,18,19,20] [3,2,1] [5] [6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6,6]'
  # shellcheck disable=SC2086
  all=$(ask /v1/completions "{\"prompt\": [$(echo $prompts | sed 's/ /,/g')], $body}")
  k=0
  for prompt in $prompts; do      # compared as numbers: how many digits are written depends on all of an answer
    one=$(ask /v1/completions "{\"prompt\": $prompt, $body}" | numbers 1)
    [ "${#one}" -gt 50 ]
    k=$((k + 1))
    [[ "$(numbers $k <<< "$all")" == "$one" ]] || { echo "$prompt"; echo "$one"; echo "$all"; return 1; }
  done
}

@test "max_tokens 0 gives the prompt alone, n the prompt and n" {
  count='#a.choices[1].logprobs.token_logprobs, a.choices[1].text'
  body='"prompt": "In the", "temperature": 0, "logprobs": 0, "echo": true, "ignore_eos": true'
  n=$(ask /tokenize '{"prompt": "In the"}' | value 'a.count')
  [[ "$(ask /v1/completions "{$body, \"max_tokens\": 0}" | value "$count")" == "$n"$'\tIn the' ]]
  [[ "$(ask /v1/completions "{$body, \"max_tokens\": 3}" | value "$count")" == $((n + 3))$'\tIn the'?* ]]
}

@test "text_offset counts the characters of the text, in which a BOS token and a blank before it are not" {
  cat > "$BATS_TEST_TMPDIR/bos.lua" <<'LUA'
local sonde, core = require "sonde", require "sonde.core"
local vocab, n = {}, 0
local function add(token) vocab[token], n = n, n + 1 end
for _, token in ipairs { "<unk>", "<s>", "</s>" } do add(token) end
for byte = 0, 255 do add(string.format("<0x%02X>", byte)) end
for _, token in ipairs { "▁", "O", "n", "c", "e", "u", "p", "o", "▁O" } do add(token) end
local space = { type = "Replace", pattern = { String = "▁" }, content = " " }
core.json_save("bos.json", {
  version = "1.0",
  added_tokens = { { id = 1, content = "<s>", special = true }, { id = 2, content = "</s>", special = true } },
  normalizer = { type = "Sequence", normalizers = { { type = "Prepend", prepend = "▁" },
    { type = "Replace", pattern = { String = " " }, content = "▁" } } },
  post_processor = { type = "TemplateProcessing",
    single = { { SpecialToken = { id = "<s>", type_id = 0 } }, { Sequence = { id = "A", type_id = 0 } } },
    pair = { { Sequence = { id = "A", type_id = 0 } }, { Sequence = { id = "B", type_id = 1 } } },
    special_tokens = { ["<s>"] = { id = "<s>", ids = { 1 }, tokens = { "<s>" } } } },
  decoder = { type = "Sequence", decoders = { space, { type = "ByteFallback" }, { type = "Fuse" },
    { type = "Strip", content = " ", start = 1, stop = 0 } } },
  model = { type = "BPE", byte_fallback = true, unk_token = "<unk>", vocab = vocab, merges = { "▁ O" } },
})
sonde.transformer { vocab = n, width = 32, depth = 1, heads = 2, context = 40 }
  :save("bos", { tokenizer = sonde.tokenizer "bos.json" })
LUA
  "$SONDE" run "$BATS_TEST_TMPDIR/bos.lua"
  start bos --model bos
  at="http://127.0.0.1:$(port bos)"
  offsets='table.concat(a.choices[1].logprobs.text_offset, " "), a.choices[1].text'
  body='"echo": true, "logprobs": 0, "max_tokens": 0'
  #                                       BOS O n c e   u p o n
  [[ "$(ask /v1/completions "{\"prompt\": \"Once upon\", $body}" | value "$offsets")" \
    == $'0 0 1 2 3 4 5 6 7 8\tOnce upon' ]]
  [[ "$(ask /v1/completions "{\"prompt\": \" One ö e\", $body}" | value "$offsets")" \
    == $'0 0 1 2 3 4 5 6 6 7\t One ö e' ]]
  [[ "$(ask /v1/completions "{\"prompt\": \"On\", $body, \"add_special_tokens\": false}" | value "$offsets")" \
    == $'0 1\tOn' ]]
  [[ "$(ask /v1/completions "{\"prompt\": [1, 267, 261], $body}" | value "$offsets")" == $'0 3 5\t<s> On' ]]
  # a new token begins behind the prompt, in one piece and in parts
  body='"prompt": "Once", "echo": true, "logprobs": 0, "max_tokens": 1, "temperature": 0, "ignore_eos": true'
  [[ "$(ask /v1/completions "{$body}" | value "$offsets")" == $'0 0 1 2 3 4\tOnce'* ]]
  ask /v1/completions "{$body, \"stream\": true}" > "$BATS_TEST_TMPDIR/parts"
  [[ "$(grep -o '"text_offset":[^]]*' "$BATS_TEST_TMPDIR/parts" | head -n 2)" \
    == $'"text_offset":[0,0,1,2,3\n"text_offset":[4' ]]
}

@test "a prompt that is scored may be one token longer than the model reads" {
  list() { seq -s, "$1"; }
  rest='"temperature": 0, "logprobs": 1, "echo": true'
  gives 200 /v1/completions "{\"prompt\": [$(list 41)], \"max_tokens\": 1, $rest}"
  [[ "$(value '#a.choices[1].logprobs.tokens, a.choices[1].logprobs.token_logprobs[41],
    a.choices[1].logprobs.token_logprobs[42]' < "$BATS_TEST_TMPDIR/answer")" == $'42\t-'*$'\tfalse' ]]
  gives 400 /v1/completions "{\"prompt\": [$(list 42)], \"max_tokens\": 1, $rest}"
  gives 400 /v1/completions "{\"prompt\": [$(list 41)], \"max_tokens\": 2, $rest}"
  gives 400 /v1/completions "{\"prompt\": [$(list 41)], \"max_tokens\": 1, \"temperature\": 0, \"echo\": true}"
  gives 400 /v1/completions "{\"prompt\": [$(list 38)], \"max_tokens\": 3}"
  [[ "$(cat "$BATS_TEST_TMPDIR/answer")" == *context_length_exceeded* ]]
}

@test "what is generated is what sonde generate gives, in one piece and in parts" {
  text=$("$SONDE" generate --model run/model --prompt "In the" --tokens 20 --temperature 0 --json 2> /dev/null |
    value 'a.text')
  [ -n "$text" ]
  body='"prompt": "In the", "max_tokens": 20, "temperature": 0'
  [[ "$(ask /v1/completions "{$body}" | value 'a.choices[1].text')" == "$text" ]]
  ask /v1/completions "{$body, \"stream\": true, \"logprobs\": 1, \"stream_options\": {\"include_usage\": true}}" \
    > "$BATS_TEST_TMPDIR/parts"
  [ "$(tail -n 2 "$BATS_TEST_TMPDIR/parts" | head -n 1)" = "data: [DONE]" ]
  grep '^data: {' "$BATS_TEST_TMPDIR/parts" | sed 's/^data: //; 1s/^/[/; 1!s/^/,/; $s/$/]/' > "$BATS_TEST_TMPDIR/list"
  [[ "$(value '(function() local t, n = "", 0 for _, p in ipairs(a) do local c = p.choices[1]
    if c then t = t .. c.text n = n + #c.logprobs.tokens end end
    return t .. " " .. n .. " " .. a[#a].usage.completion_tokens end)()' < "$BATS_TEST_TMPDIR/list")" \
    == "$text 20 20" ]]
}

@test "the same seed gives the same text; n gives several" {
  body='"prompt": ["In the", "and line"], "max_tokens": 12, "seed": 7, "n": 2'
  texts='a.choices[1].text, a.choices[2].text, a.choices[3].text, a.choices[4].text, #a.choices'
  first=$(ask /v1/completions "{$body}" | value "$texts")
  [ "$(ask /v1/completions "{$body}" | value "$texts")" = "$first" ]
  [ "$(ask /v1/completions "{${body/7/8}}" | value "$texts")" != "$first" ]
  [ "$(cut -f 1 <<< "$first")" != "$(cut -f 2 <<< "$first")" ]
}

@test "a stop ends the text before it, also where it comes in parts" {
  body='"prompt": "In the", "max_tokens": 30, "temperature": 0'
  text=$(ask /v1/completions "{$body}" | value 'a.choices[1].text')
  stop=${text:4:3}
  result='a.choices[1].text, a.choices[1].finish_reason'
  [[ "$(ask /v1/completions "{$body, \"stop\": [\"zzzz\", \"$stop\"]}" | value "$result")" \
    == "${text%%"$stop"*}"$'\tstop' ]]
  parts=$(ask /v1/completions "{$body, \"stop\": \"$stop\", \"stream\": true}" | sed -n 's/.*"text":"\([^"]*\)".*/\1/p')
  [[ "$(tr -d '\n' <<< "$parts")" == "${text%%"$stop"*}" ]]
}

@test "bad requests have the status and the words of an error" {
  gives 400 /v1/completions 'not JSON'
  gives 400 /v1/completions '[1, 2]'
  gives 400 /v1/completions '{}'
  gives 400 /v1/completions ''
  gives 400 /v1/completions '{"prompt": 7}'
  gives 400 /v1/completions '{"prompt": []}'
  gives 400 /v1/completions '{"prompt": ""}'
  gives 400 /v1/completions '{"prompt": [[]]}'
  gives 400 /v1/completions '{"prompt": ["a", 3]}'
  gives 400 /v1/completions '{"prompt": [[1.5]]}'
  gives 400 /v1/completions '{"prompt": [100000]}'
  gives 400 /v1/completions '{"prompt": [-1]}'
  gives 400 /v1/completions '{"prompt": "a", "max_tokens": -1}'
  gives 400 /v1/completions '{"prompt": "a", "max_tokens": "5"}'
  gives 400 /v1/completions '{"prompt": "a", "temperature": -1}'
  gives 400 /v1/completions '{"prompt": "a", "temperature": 1e999}'
  gives 400 /v1/completions '{"prompt": "a", "logprobs": 1000}'
  gives 400 /v1/completions '{"prompt": "a", "stop": ""}'
  gives 400 /v1/completions '{"prompt": "a", "logit_bias": {"5": 1}}'
  gives 400 /v1/completions '{"prompt": "a", "presence_penalty": 1}'
  gives 400 /v1/completions '{"prompt": "a", "n": 0}'
  gives 400 /v1/completions '{"prompt": "a", "max_token": 3}'
  grep -q "did you mean 'max_tokens'" "$BATS_TEST_TMPDIR/answer"
  gives 400 /v1/completions "$(printf '{"prompt": "\xff"}')"
  gives 404 /v1/completions '{"prompt": "a", "model": "gpt-5"}'
  grep -q model_not_found "$BATS_TEST_TMPDIR/answer"
  gives 404 /v1/chat/completions '{}'
  gives 404 /
  gives 405 /v1/completions
  gives 405 /health '{}'
  gives 400 /tokenize '{"prompt": 3}'
  gives 400 /detokenize '{"tokens": [9999999]}'
  gives 200 /v1/completions '{"prompt": "a", "max_tokens": 1, "user": "x", "logit_bias": {}, "suffix": null}'
}

@test "a body over the limit and too many prompts are refused" {
  printf '{"prompt": "%s"}' "$(head -c 60000 /dev/zero | tr '\0' a)" > "$BATS_TEST_TMPDIR/large"
  gives 413 /v1/completions "@$BATS_TEST_TMPDIR/large"
  [ "$(curl -s -m 300 -o /dev/null -w '%{http_code}' -H 'Transfer-Encoding: chunked' -d "@$BATS_TEST_TMPDIR/large" \
    "$at/v1/completions")" = 413 ]
  many=$(printf '"a",%.0s' $(seq 40))
  gives 400 /v1/completions "{\"prompt\": [$many \"a\"], \"max_tokens\": 1}"
  gives 200 /v1/completions "{\"prompt\": [${many%,}], \"max_tokens\": 1}"
}

@test "many connections at once get each its own answer" {
  body() {
    echo "{\"prompt\": [$1, 2, 3], \"temperature\": 0, \"max_tokens\": $(($1 % 3)), \"logprobs\": 1, \"echo\": true}"
  }
  for k in $(seq 24); do
    curl -s -m 300 -d "$(body "$k")" "$at/v1/completions" > "$BATS_TEST_TMPDIR/at-once.$k" 3>&- &
  done
  wait $(jobs -p)
  for k in $(seq 24); do
    ask /v1/completions "$(body "$k")" | sed 's/"created.*//' > "$BATS_TEST_TMPDIR/alone"
    sed 's/"created.*//' "$BATS_TEST_TMPDIR/at-once.$k" | diff - "$BATS_TEST_TMPDIR/alone"
    [ -s "$BATS_TEST_TMPDIR/alone" ]
  done
}

@test "a client that leaves in the middle of an answer is no harm" {
  for _ in 1 2 3; do
    curl -s -N -d '{"prompt": "a", "max_tokens": 39, "stream": true, "ignore_eos": true, "n": 40}' \
      "$at/v1/completions" > "$BATS_TEST_TMPDIR/parts" 3>&- &
    awaits $! grep -q '^data: ' "$BATS_TEST_TMPDIR/parts"
    kill $! 2> /dev/null || true
    wait $! || true
    rm "$BATS_TEST_TMPDIR/parts"
  done
  gives 200 /v1/completions '{"prompt": "a", "max_tokens": 2}'
}

@test "only this machine reaches the server, unless it is asked otherwise" {
  other=$(hostname -I 2> /dev/null | tr ' ' '\n' | grep -vE '^(127[.]|$|.*:)' | head -n 1)
  [ -n "$other" ] || skip "this machine has one address"
  run curl -s -m 5 "http://$other:$(port main)/health"
  [ "$status" -ne 0 ]
}

@test "a port in use, and an address that is none, are said" {
  run --separate-stderr "$SONDE" serve --model run/model --port "$(port main)"
  echo "$stderr"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"cannot listen at 127.0.0.1, port $(port main): Address already in use"* ]]
  run --separate-stderr "$SONDE" serve --model run/model --host nowhere
  [[ "$status" -eq 1 && "$stderr" == *"'nowhere' is no numeric address"* ]]
}

@test "TERM and INT finish the requests that have arrived, and end with status 0" {
  for signal in TERM INT; do
    rm -f at.*
    start stopped
    pid=$(cat stopped.pid) last="http://127.0.0.1:$(port stopped)"
    for k in $(seq 12); do
      curl -s -m 300 -d "{\"prompt\": [$k, 2], \"max_tokens\": 30, \"ignore_eos\": true, \"n\": 20}" \
        "$last/v1/completions" > "at.$k" 3>&- &
    done
    awaits "$pid" grep -q 'completions 200' stopped.err        # the first answer is there, others wait
    kill -s "$signal" "$pid"
    status=0
    wait "$pid" || status=$?
    wait
    [ "$status" -eq 0 ]
    rm stopped.pid
    done=0
    for k in $(seq 12); do
      # one that came after the signal found no listener, or was refused
      if [ ! -s "at.$k" ] || grep -q "is stopping" "at.$k"; then continue; fi
      grep -q '"total_tokens":602' "at.$k"
      done=$((done + 1))
    done
    [ "$done" -ge 1 ]
    run curl -s -m 5 "$last/health"
    [ "$status" -ne 0 ]
  done
}

# long [FIELDS]: a request of some seconds, in the background; its answer goes to $BATS_TEST_TMPDIR/long.
long() {
  prompts=$(for k in $(seq 1 20); do printf '[%s],' "$(seq -s, "$k")"; done)
  curl -s -m 300 -N -d "{\"prompt\": [${prompts%,}], \"n\": 51, \"ignore_eos\": true, \"max_tokens\": 20$1}" \
    "http://127.0.0.1:$(port patient)/v1/completions" > "$BATS_TEST_TMPDIR/long" 2> /dev/null 3>&- &
  client=$!
}

# leaves [FIELDS]: asks for what takes seconds, and goes away while it is computed.
leaves() {
  local before computed
  computed() { awk '{ print $14 }' "/proc/$(cat patient.pid)/stat"; }
  busy() { [ "$(computed)" -ge $((before + 10)) ]; }      # hundredths of a second
  before=$(computed)
  long "$1"
  awaits "$client" busy
  kill "$client"
}

# left N: whether the server has noticed N such clients
left() { [ "$(grep -c 'completions 499, .* s, the client closed the connection$' patient.err)" = "$1" ]; }

@test "what a client left is not computed to its end" {
  [ -f patient.pid ] || start patient
  pid=$(cat patient.pid)
  long ', "stream": true'
  awaits "$client" grep -q '^data: ' "$BATS_TEST_TMPDIR/long"
  kill "$client"
  awaits "$pid" grep -q 'completions 200, .* s, the client closed the connection$' patient.err
  leaves ''
  awaits "$pid" left 1
  leaves ', "echo": true, "logprobs": 100'
  awaits "$pid" left 2
  [ "$(curl -s -m 300 -o /dev/null -w '%{http_code}' -d '{"prompt": "a", "max_tokens": 1}' \
    "http://127.0.0.1:$(port patient)/v1/completions")" = 200 ]
}

@test "a request that arrives behind the signal, while another one is computed, is refused" {
  [ -f patient.pid ] || start patient
  long ', "stream": true'
  awaits "$client" grep -q '^data: ' "$BATS_TEST_TMPDIR/long"
  pid=$(cat patient.pid)
  kill -s INT "$pid"
  for path in /v1/completions /tokenize; do
    [ "$(curl -s -m 300 -o "$BATS_TEST_TMPDIR/late" -w '%{http_code}' -d '{"prompt": "a"}' \
      "http://127.0.0.1:$(port patient)$path")" = 503 ]
    grep -q '"message": "the server is stopping"' "$BATS_TEST_TMPDIR/late"
  done
  [ "$(curl -s -m 300 -o /dev/null -w '%{http_code}' "http://127.0.0.1:$(port patient)/health")" = 503 ]
  wait "$client"
  grep -q '^data: .DONE.' "$BATS_TEST_TMPDIR/long"
  rm patient.pid
  status=0
  wait "$pid" || status=$?
  # started by another test, it is no child of this one
  [ "$status" -eq 0 ] || [ "$status" -eq 127 ]
}

@test "an answer that the stop cuts off is logged as such" {
  start slow
  body=$(for k in $(seq 120); do printf '[%s],' "$(seq -s, "$k" $((k + 29)))"; done)      # some 10 MB are answered
  body="{\"prompt\": [${body%,}], \"echo\": true, \"logprobs\": 100, \"max_tokens\": 0}"
  exec {reader}<> "/dev/tcp/127.0.0.1/$(port slow)"
  printf 'POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s' ${#body} "$body" >&"$reader"
  read -r -t 300 line <&"$reader"
  [ "$line" = $'HTTP/1.1 200 OK\r' ]                         # and the rest is not read
  kill "$(cat slow.pid)"
  wait "$(cat slow.pid)"
  rm slow.pid
  exec {reader}>&-
  tail -n 1 slow.err
  why="cut off: the server stopped before the client had read it"
  [[ "$(tail -n 1 slow.err)" =~ ^"POST /v1/completions 200, "[0-9.]+" s, 120 prompts, 3600 + 0 tokens, $why"$ ]]
}

@test "the log has a line for each request" {
  gives 200 /v1/completions '{"prompt": [1, 2, 3], "max_tokens": 2, "ignore_eos": true}'
  ended() { tail -n 1 main.err | grep -q '^POST'; }
  awaits "$(cat main.pid)" ended
  [[ "$(tail -n 1 main.err)" =~ ^"POST /v1/completions 200, "[0-9.]+" s, 1 prompts, 3 + 2 tokens"$ ]]
}

@test "doc/serve.md names every field of a request" {
  cat > "$BATS_TEST_TMPDIR/fields.lua" <<'END'
require "sonde"
for _, field in ipairs(require("sonde.serve.completions").schema) do print(field.name) end
END
  "$SONDE" run "$BATS_TEST_TMPDIR/fields.lua" > "$BATS_TEST_TMPDIR/fields"
  [ "$(wc -l < "$BATS_TEST_TMPDIR/fields")" -gt 20 ]
  while read -r field; do
    grep -q "\`$field\`" "$abs_srcdir/doc/serve.md" || { echo "$field"; return 1; }
  done < "$BATS_TEST_TMPDIR/fields"
}
