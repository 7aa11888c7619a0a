#!/usr/bin/env bats
# sonde eval: figures of a model folder on a text file, and what it refuses.

bats_require_minimum_version 1.5.0

# A model folder with a tokenizer of its own, and what the library says of it on the same text.
setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  for _ in $(seq 40); do echo "in the beginning there was a small text, and it said little of itself"; done > text.txt
  cat > make.lua <<'LUA'
local sonde, core = require "sonde", require "sonde.core"
local text = core.read_file "text.txt"
local tokenizer = core.tokenizer_train({ text }, { vocab = 270 })
local model = sonde.transformer { vocab = tokenizer:vocab(), width = 16, depth = 2, heads = 2, context = 24,
  init_std = 0.3 }
model:save("model", { tokenizer = tokenizer })
local ids = tokenizer:encode(text)
local all = ids:values()
local sum = 0
for first = 1, #all - 1, 24 do
  local part = {}
  for i = first, math.min(first + 24, #all) do part[#part + 1] = all[i] end
  local result = sonde.evaluate(model, part, { context = #part - 1 })
  sum = sum + result.loss * result.tokens
end
core.json_save("expected.json", { loss = sum / (#all - 1), tokens = #all - 1, bytes = #text })
LUA
  "$SONDE" run make.lua
}

setup() {
  cd "$BATS_FILE_TMPDIR" || exit 1
}

@test "the figures are those of each window by itself" {
  "$SONDE" eval --model model --text text.txt --json > got.json
  cat > compare.lua <<'LUA'
local core = require "sonde.core"
local got, expected = core.json_load "got.json", core.json_load "expected.json"
assert(got.tokens == expected.tokens, got.tokens .. " tokens for " .. expected.tokens)
assert(got.bytes == expected.bytes)
local function close(a, b) assert(math.abs(a - b) < 1e-5 * b, a .. " for " .. b) end
close(got.loss, expected.loss)
close(got.perplexity, math.exp(expected.loss))
close(got.bits_per_byte, expected.loss * expected.tokens / math.log(2) / expected.bytes)
LUA
  "$SONDE" run compare.lua
}

@test "a pipe in the place of a model's file is refused, and not waited for" {
  for file in model.safetensors config.json tokenizer.json; do
    rm -rf piped
    cp -r model piped
    rm "piped/$file"
    mkfifo "piped/$file"
    run timeout -k 1 300 "$SONDE" eval --model piped --text text.txt
    [ "$status" -eq 1 ]
    [[ "$output" == *"cannot read 'piped/$file': it is a pipe, not a file"* ]]
  done
  run timeout -k 1 300 "$SONDE" eval --model model --text <(cat text.txt)
  [ "$status" -eq 0 ]
}

@test "names in a foreign file are shown without their control characters" {
  mkdir -p steering
  cp model/config.json model/tokenizer.json steering/
  cat > steer.lua <<'LUA'
local core = require "sonde.core"
local header = '{"a\\n\\u001b[2Jb":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}'
core.write_file("steering/model.safetensors", string.pack("<s8", header) .. "1234")
LUA
  "$SONDE" run steer.lua
  run --separate-stderr "$SONDE" eval --model steering --text text.txt
  echo "$stderr"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"a??[2Jb"* ]]
}

@test "a context of one's own, threads that change nothing, and a line for people" {
  "$SONDE" eval --model model --text text.txt --json --threads 1 > one.json
  "$SONDE" eval --model model --text text.txt --json --threads 2 --batch 16 > two.json
  "$SONDE" eval --model model --text text.txt --json --threads 1 --batch 16 > three.json
  cmp two.json three.json
  "$SONDE" eval --model model --text text.txt --json --context 8 > eight.json
  ! cmp -s one.json eight.json
  run --separate-stderr "$SONDE" eval --model model --text text.txt --threads 2
  [[ "$output" =~ ^loss\ [0-9.]+\ +perplexity ]]
  [ "$stderr" = "threads: 2" ]
}

refuses() {   # TEXT COMMAND...
  local text=$1
  shift
  run --separate-stderr "$@"
  echo "status $status: $stderr"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"$text"* ]]
  [ "$(printf '%s\n' "$stderr" | wc -l)" -eq 1 ]
}

@test "what cannot be evaluated is refused in one line" {
  refuses "nowhere: there is no such folder" "$SONDE" eval --model nowhere --text text.txt
  refuses "--placement: unknown placement 'foo'; known: " "$SONDE" eval --model model --placement foo --text text.txt
  refuses "absent.txt" "$SONDE" eval --model model --text absent.txt
  : > empty.txt
  refuses "empty.txt: a text of 0 tokens has nothing to predict" "$SONDE" eval --model model --text empty.txt
  cp -r model bare && rm bare/tokenizer.json
  refuses "bare/tokenizer.json: there is no such file; a tokenizer is needed to read text" "$SONDE" eval --model bare \
    --text text.txt
  cp -r model cut && head -c 1000 model/model.safetensors > cut/model.safetensors
  refuses "cut/model.safetensors" "$SONDE" eval --model cut --text text.txt
  cp -r model bad && echo '{"model_type": ' > bad/config.json
  refuses "bad/config.json" "$SONDE" eval --model bad --text text.txt
}

@test "a text is read the same by its name, packed, through a pipe, and as a corpus reads it" {
  "$SONDE" eval --model model --text text.txt --json > plain.json
  gzip -k text.txt
  "$SONDE" eval --model model --text text.txt.gz --json | cmp - plain.json
  "$SONDE" eval --model model --text - --json < text.txt | cmp - plain.json
  "$SONDE" eval --model model --text - --json < text.txt.gz | cmp - plain.json
  printf '%s\n' '{"text": "in the beginning <|endoftext|>"}' '{"text": null}' '{"n": NaN, "text": "and it said"}' \
    > two.jsonl
  cat > same.lua <<'LUA'
local sonde, core = require "sonde", require "sonde.core"
for _, special in ipairs { false, true } do
  local corpus = sonde.corpus("two.jsonl",
    { tokenizer = "model/tokenizer.json", validation = 0, special = special, cache = "cache" })
  local tokens, bytes = sonde.load("model"):tokenizer():read("two.jsonl", { special = special })
  assert(table.concat(tokens:values(),
    " ") == table.concat(corpus.handle:tokens("train", 0, corpus.train.tokens):values(), " "))
  assert(bytes == corpus.train.bytes)
  local name = special and "special.json" or "letters.json"
  os.execute(os.getenv "SONDE" .. " eval --model model --text two.jsonl --json " .. (special and "--special" or "")
    .. " > " .. name)
  assert(core.json_load(name).tokens == corpus.train.tokens - 1)
end
LUA
  "$SONDE" run same.lua
  ! cmp -s special.json letters.json
  "$SONDE" eval --model model --text - --json < two.jsonl | cmp - letters.json
  "$SONDE" eval --model model --text <(cat two.jsonl) --json | cmp - letters.json
  cat > piped.lua <<'LUA'
local sonde = require "sonde"
local corpus = sonde.corpus("-", { tokenizer = "model/tokenizer.json", validation = 0, cache = "cache" })
assert(corpus.train.documents == 2, corpus.train.documents)
LUA
  "$SONDE" run piped.lua < two.jsonl
}

@test "a text with bytes of another encoding is not read without a word, and the case of a name says nothing" {
  { cat text.txt; printf 'caf\351\n'; } > latin.txt
  run --separate-stderr "$SONDE" eval --model model --text latin.txt
  [ "$status" -eq 0 ]
  first=$(($(stat -c %s text.txt) + 3))
  [[ $stderr == *"latin.txt: 1 bytes are no UTF-8 and are taken as they are, the first is byte $first"* ]]
  run --separate-stderr "$SONDE" eval --model model --text text.txt
  [[ $stderr != *UTF-8* ]]
  for _ in 1 2 3; do echo '{"text": "in the beginning"}'; done > small.jsonl
  gzip -c small.jsonl > BIG.JSONL.GZ
  "$SONDE" eval --model model --text BIG.JSONL.GZ --json |
    cmp - <("$SONDE" eval --model model --text small.jsonl --json)
  cat > big.lua <<'LUA'
local corpus = require("sonde").corpus("BIG.JSONL.GZ",
  { tokenizer = "model/tokenizer.json", validation = 0, cache = "cache" })
assert(corpus.train.documents == 3, corpus.train.documents)
LUA
  "$SONDE" run big.lua
}

@test "options for JSON lines that meet none of them do not pass without a word" {
  for option in "--field body" "--skip"; do
    # shellcheck disable=SC2086
    run --separate-stderr "$SONDE" eval --model model --text text.txt $option
    [ "$status" -eq 0 ]
    word=${option%% *}
    [[ $stderr == *"text.txt is no .jsonl, so the option ${word#--} changes nothing there"* ]]
  done
  run --separate-stderr "$SONDE" eval --model model --text text.txt
  [[ $stderr != *jsonl* ]]
  run --separate-stderr "$SONDE" eval --model model --text - --field body < text.txt
  [ "$status" -eq 1 ]
  [[ $stderr == *"standard input:1: not JSON"* ]]
  cat > idle.lua <<'LUA'
local sonde = require "sonde"
for _, options in ipairs { { field = "body" }, { skip = true } } do
  options.cache = "cache"
  local ok, message = pcall(sonde.corpus, "text.txt", options)
  assert(not ok and message:find("contains no .jsonl: the option " .. (options.field and "field" or "skip"), 1, true),
    message)
end
LUA
  "$SONDE" run idle.lua
}

@test "what is no text is refused by name, by every command that reads one" {
  head -c 3000 model/model.safetensors > binary.txt
  printf 'BZh91AY&SY' > b.txt
  for command in eval "probe --probes variance" "prune --strategy angular --remove 1 --out never"; do
    refuses "binary.txt: not a text" "$SONDE" $command --model model --text binary.txt
    refuses "b.txt: packed by bzip2" "$SONDE" $command --model model --text b.txt
  done
  refuses "binary.txt: not a text" "$SONDE" generate --model model --prompts binary.txt
  [ ! -e never ]
}

@test "the window is told, and bounded where the model was made for long texts" {
  sed 's/"max_position_embeddings": [0-9]*/"max_position_embeddings": 131072/; s/"context": 24/"context": 131072/' \
    model/config.json > long.json
  cp -r model long && mv long.json long/config.json
  for _ in $(seq 60); do cat text.txt; done > long.txt
  "$SONDE" eval --model long --text long.txt --json > got.json
  grep -q '"context": 4096' got.json
  run --separate-stderr "$SONDE" eval --model model --text text.txt
  [[ "$output" == *"in windows of 24"* ]]
}

@test "weights that are not finite are told, by eval and by generate" {
  cat > nan.lua <<'LUA'
local sonde = require "sonde"
local model = sonde.load "model"
local head = model:params():find "lm_head.weight"
for name, value in pairs { nan = 0 / 0, large = 3e38 } do
  for i = 1, head:count() do head:set(i, value) end
  model:save(name, { tokenizer = model:tokenizer() })
end
LUA
  rm -rf nan large
  "$SONDE" run nan.lua
  for command in "eval --text text.txt" "generate --prompt in"; do
    run "$SONDE" $command --model nan
    [ "$status" -eq 1 ]
    [ "$output" = "sonde: nan: the weights are not finite: 'lm_head.weight' holds NaN or infinite values" ]
  done
  run "$SONDE" eval --model large --text text.txt
  [ "$status" -eq 1 ]
  [[ "$output" == *"large: the loss is not finite"* ]]
  run "$SONDE" generate --model large --prompt "in the" --temperature 0
  [ "$status" -eq 1 ]
  [[ "$output" == *"the logits are not finite"* ]]
  run "$SONDE" eval --model nan.lua --text text.txt
  [[ "$output" == *"nan.lua: is a file; a model is a folder" ]]
}

@test "a foreign config.json is refused by its own keys" {
  reject() {   # SED-SCRIPT TEXT
    rm -rf foreign
    cp -r "$abs_srcdir/tests/reference/llama_gqa" foreign
    sed -i "$1" foreign/config.json
    run "$SONDE" eval --model foreign --text text.txt
    echo "$output"
    [ "$status" -eq 1 ]
    [[ "$output" == *"foreign/config.json: $2"* ]]
  }
  reject 's/"hidden_size": [0-9]*/"hidden_size": 0/' "'hidden_size' must be a whole number from 1 to 2147483647, not 0"
  reject 's/"num_key_value_heads": [0-9]*/"num_key_value_heads": 1e300/' "'num_key_value_heads' must be a whole number"
  reject 's/"vocab_size": [0-9]*/"vocab_size": [1]/' "'vocab_size' must be a number, not a list or an object"
  reject 's/"rope_scaling": null/"rope_scaling": "x"/' "the rope scaling 'x' is not supported"
}
