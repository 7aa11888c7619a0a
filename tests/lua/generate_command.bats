#!/usr/bin/env bats
# sonde generate: one prompt as it comes, several below each other, JSON; and what it refuses before anything is
# printed.

bats_require_minimum_version 1.5.0

setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  seq 120 | awk '{
    printf "im Anfang war ein größerer Text von %d Wörtern — und mehr nicht: %d\n", $1 % 17, $1 * 7 % 11
  }' > text.txt
  cat > make.lua <<'LUA'
local sonde, core = require "sonde", require "sonde.core"
local tokenizer = core.tokenizer_train({ core.read_file "text.txt" }, { vocab = 270 })
local model = sonde.transformer { vocab = tokenizer:vocab(), width = 16, depth = 2, heads = 2, context = 24,
  init_std = 0.4 }
model:init():save("model", { tokenizer = tokenizer })
LUA
  "$SONDE" run make.lua
}

setup() {
  cd "$BATS_FILE_TMPDIR" || exit 1
}

generate() { "$SONDE" generate --model model --tokens 12 --seed 3 "$@"; }

field() {   # FILE EXPRESSION: of a JSON file, in Lua
  echo "local f = require('sonde.core').json_load(arg[1]) io.write(tostring($2))" > field.lua
  "$SONDE" run field.lua "$1"
}

@test "what is printed as it comes is the text of all tokens, byte for byte" {
  cat > decode.lua <<'LUA'
local f = require("sonde.core").json_load "json"
print(f.prompt .. require("sonde").load("model"):tokenizer():decode(f.tokens, true))
LUA
  for seed in 1 2 3 4 5 6; do
    generate --prompt "größer" --seed $seed --temperature 3 > printed
    generate --prompt "größer" --seed $seed --temperature 3 --json > json
    "$SONDE" run decode.lua | cmp - printed
  done
}

@test "several prompts, of the command line and of a file, are printed each with its text" {
  printf 'im Anfang\n\nund\n' > prompts.txt
  generate --prompt "ein" --prompt "im Anfang" --prompts prompts.txt > all 2> err
  [ "$(grep -c '^$' all)" -ge 3 ]
  [ "$(head -1 all)" = "$(generate --prompt ein 2> /dev/null | head -1)" ]
  grep -q "^und" all
  generate --prompt "ein" --prompt "im Anfang" --prompts prompts.txt --json > json 2> err
  [ "$(field json "#f.prompts .. f.prompts[2].prompt .. #f.prompts[4].tokens")" = "4im Anfang12" ]
  [ "$(field json "f.prompts[2].text == f.prompts[3].text")" = false ]      # each draws for itself
}

refuses() {   # TEXT OPTIONS...
  local text=$1
  shift
  run --separate-stderr generate "$@"
  echo "$output / $stderr"
  [ "$status" -ne 0 ]
  [ -z "$output" ]
  [[ $stderr == *"$text"* ]]
}

@test "what cannot be is refused, and nothing stands on standard output" {
  refuses "there is no prompt; give --prompt TEXT"
  refuses "prompt 1 is empty; a prompt needs at least one token" --prompt ""
  refuses "prompt 2 is not UTF-8, as JSON must be; leave out --json" --prompt a --prompt $'b\xff' --json
  refuses "absent.txt" --prompts absent.txt
  generate --prompt $'b\xff' > printed
  grep -q "^b" printed
}

@test "a text longer than the model's context is noted" {
  run --separate-stderr generate --prompt ein --tokens 8
  [[ $stderr != *"note:"* ]]
  run --separate-stderr generate --prompt ein --tokens 40
  [ "$status" -eq 0 ]
  [[ $stderr =~ "sonde: note: texts of "4[1-9]" tokens are longer than the 24 the model was made for" ]]
}

# A model whose next token is known: its blocks add nothing, its embeddings are one-hot, and its head sends each token
# on.
@test "more tokens than any cache counts are refused by the option's name" {
  for n in 4294967297 9223372036854775807; do
    run generate --prompt ein --tokens "$n"
    [ "$status" -eq 2 ]
    [[ $output == *"--tokens"*"1073741824"* ]]
  done
}

@test "a text ends at the folder's end tokens, and at those of --stop" {
  cat > chain.lua <<'LUA'
local sonde, core = require "sonde", require "sonde.core"
local tokenizer = core.tokenizer_train({ core.read_file "text.txt" },
  { vocab = 270, special = { "<|endoftext|>", "<|turn|>" } })
local V = tokenizer:vocab() + 3      -- padded: three ids without a token
local model = sonde.transformer { vocab = V, width = V, depth = 1, heads = 1, head_dim = 2, ffn_hidden = 2,
  context = 64 }
local params = model:init():params()
for _, param in ipairs(params:list()) do
  if not param.name:find "norm" then params:find(param.name):fill(0) end
end
local function id(text) return tokenizer:special(text) or tokenizer:encode(text):values()[1] end
local chain = { "q", "w", "<|turn|>", "y", 271, "z", "<|endoftext|>", "j", "x" }
for k, word in ipairs(chain) do chain[k] = type(word) == "number" and V - 1 or id(word) end
for k = 1, V do params:find("model.embed_tokens.weight"):set((k - 1) * V + k, 1) end
for k = 1, #chain - 1 do params:find("lm_head.weight"):set(chain[k + 1] * V + chain[k] + 1, 9) end
model:save("chain", { tokenizer = tokenizer })
LUA
  "$SONDE" run chain.lua
  text() { "$SONDE" generate --model chain --prompt q --temperature 0 --tokens 8 "$@" 2> /dev/null; }
  ids() { sed -i "s/\"eos_token_id\": [^,]*,/\"eos_token_id\": $1,/" chain/config.json; }
  turn=$(field chain/tokenizer.json \
    "(function() for _, t in ipairs(f.added_tokens) do if t.content == '<|turn|>' then return t.id end end end)()")
  [ "$(text)" = qwyz ]                       # what has no token is no text
  [ "$(text --stop "<|turn|>")" = qw ]
  [ "$(text --stop "$turn")" = qw ]
  [ "$(text --stop y)" = qw ]
  [ "$(text --stop yz)" = qw ]
  [ "$(text --stop zz --stop wy)" = q ]
  [ "$(text --stop yq)" = qwyz ]             # what only might have been its beginning is printed in the end
  [ "$(text --prompt w --stop yz | head -1)" = "$(printf 'qw\n' | head -1)" ]
  ids "$turn"
  [ "$(text)" = qw ]
  ids -1
  [ "$(text)" = qwyzjx ] || [[ "$(text)" == qwyzjx* ]]
  echo "{\"eos_token_id\": [$turn, 5]}" > chain/generation_config.json
  [ "$(text)" = qw ]
  [ "$(text --json | sed -n 's/^ *"text": "\(.*\)".*/\1/p')" = w ]
  rm chain/generation_config.json
  run text --stop ""
  [ "$status" -ne 0 ]
}
