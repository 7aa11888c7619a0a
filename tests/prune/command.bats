#!/usr/bin/env bats
# sonde prune: from a model folder to a smaller one that every other command opens; and what it refuses, in
# one line.

bats_require_minimum_version 1.5.0

setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  seq 120 | awk '{
    printf "in the beginning there was a small text of %d words, and it said little of %d\n", $1 % 17, $1 * 7 % 11
  }' > text.txt
  cat > make.lua <<'LUA'
local sonde, core = require "sonde", require "sonde.core"
local tokenizer = core.tokenizer_train({ core.read_file "text.txt" }, { vocab = 280 })
for _, placement in ipairs { "pre_ln", "lns" } do
  local model = sonde.transformer { vocab = tokenizer:vocab(), width = 16, depth = 5, heads = 2, context = 24,
    init_std = 0.2, placement = placement }
  model:init()
  for _, name in ipairs { "self_attn.o_proj", "mlp.down_proj" } do
    model:params():find("model.layers.2." .. name .. ".weight"):fill(0)
  end
  model:save(placement, { tokenizer = tokenizer })
end
LUA
  "$SONDE" run make.lua
}

setup() {
  cd "$BATS_FILE_TMPDIR" || exit 1
}

loss() { "$SONDE" eval --model "$1" --text text.txt --json 2> /dev/null | sed -n 's/.*"loss": \([0-9.]*\).*/\1/p'; }

field() {   # field FILE EXPRESSION: of a JSON file, in Lua
  echo "local f = require('sonde.core').json_load(arg[1]) print($2)" > field.lua
  "$SONDE" run field.lua "$1"
}

@test "the block that does nothing goes, and nothing changes" {
  for model in pre_ln lns; do
    for strategy in angular influence; do
      "$SONDE" prune --model $model --strategy $strategy --remove 1 --text text.txt --out "$model-$strategy" \
        --json > facts.json 2> err
      [ "$(field facts.json "#f.removed .. ' ' .. f.removed[1]")" = "1 2" ]
      [ "$(field facts.json "f.depth.before .. ' ' .. f.depth.pruned")" = "5 4" ]
      [ "$(field facts.json "math.abs(f.loss.before - f.loss.pruned) < 1e-6")" = true ]
      [ "$(loss $model | cut -c1-8)" = "$(loss $model-$strategy | cut -c1-8)" ]
    done
  done
  [ "$(field pre_ln-angular/config.json "f.architectures[1] .. ' ' .. f.num_hidden_layers")" = "LlamaForCausalLM 4" ]
  [ "$(field lns-angular/config.json "f.sonde.model.layers['2'].layer")" = 4 ]
  [ -z "$(ls -d *.part* 2> /dev/null)" ]
}

@test "the pruned folder generates and can be pruned again" {
  "$SONDE" prune --model lns --strategy last --remove 2 --out twice-a
  "$SONDE" generate --model twice-a --prompt "in the" --tokens 5 2> /dev/null
  run --separate-stderr "$SONDE" prune --model twice-a --strategy random --seed 3 --remove 1 --text text.txt \
    --out twice-b
  [ "$status" -eq 0 ]
  [[ "${lines[0]}" =~ ^removed\ block\ [0-2]\ \(blocks\ 0\ to\ 2\)\ by\ random:\ 2\ blocks\ are\ left ]]
  [[ "${lines[1]}" =~ ^loss\ before\ [0-9.]+,\ pruned\ [0-9.]+\ \(nats,\ [0-9]+\ windows\ of\ [0-9]+\ tokens\)$ ]]
  [ "${lines[2]}" = "model: twice-b" ]
}

@test "heads, neurons and features go by their importance, over all blocks or as many in each" {
  "$SONDE" prune --model pre_ln --method gate --ratio 0.5 --text text.txt --out narrow --json > facts.json 2> err
  # Block 2 gives nothing: it loses both branches.
  [ "$(field facts.json "f.widths.hidden .. ' ' .. #f.widths.heads .. ' ' .. f.removed[1]")" = "8 4 2" ]
  [ "$(field facts.json "f.parameters.pruned < f.parameters.before")" = true ]
  [ "$(loss narrow | cut -c1-6)" = "$(field facts.json "f.loss.pruned" | cut -c1-6)" ]
  "$SONDE" generate --model narrow --prompt "in the" --tokens 5 2> /dev/null
  run --separate-stderr "$SONDE" prune --model lns --method activation --heads 1 --ffn 24 --hidden 8 --strategy ends \
    --remove 2 --text text.txt --heal 400 --lora 2 --out minima
  [ "$status" -eq 0 ]
  [[ "${lines[0]}" == "removed blocks 0, 4 (blocks 0 to 4) by ends: 3 blocks are left,"* ]]
  [[ "${lines[1]}" == "widths by activation: stream 8, heads 1 1 1, feed-forward layers 24 24 24:"* ]]
  [ "$(field minima/config.json "f.sonde.model.layers['0'].layer .. ' ' .. f.sonde.model.width")" = "2 8" ]
}

@test "linear maps and healing, all of it or by adapters" {
  "$SONDE" prune --model lns --strategy last --remove 2 --replace linear --text text.txt --out maps --json > facts.json
  [ "$(field facts.json "f.maps[1].first .. ' ' .. f.maps[1].last .. ' ' .. f.depth.pruned")" = "3 4 4" ]
  [ "$(field maps/config.json "f.sonde.model.layers['3'].placement.name")" = linear ]
  [ "$(loss maps | cut -c1-6)" = "$(field facts.json "f.loss.pruned" | cut -c1-6)" ]
  for lora in "" "--lora 2"; do
    rm -rf healed
    "$SONDE" prune --model lns --strategy random --remove 2 --text text.txt --heal 6000 --lr 3e-3 --batch 4 $lora \
      --out healed --json > facts.json 2> err
    [ "$(field facts.json "f.loss.healed < f.loss.pruned - 0.01")" = true ]
    [ "$(field healed/config.json "f.sonde.model.depth")" = 3 ]
    [ "$(loss healed | cut -c1-4)" = "$(field facts.json "f.loss.healed" | cut -c1-4)" ]
  done
}

@test "an empty folder is filled, bf16 halves the file, and the same command gives the same bytes" {
  mkdir empty
  "$SONDE" prune --model pre_ln --strategy random --seed 1 --remove 2 --out empty --dtype bf16
  "$SONDE" prune --model pre_ln --strategy random --seed 1 --remove 2 --out again --threads 1
  "$SONDE" prune --model pre_ln --strategy random --seed 1 --remove 2 --out once-more --threads 2
  cmp again/model.safetensors once-more/model.safetensors
  cmp again/config.json once-more/config.json
  [ "$(stat -c %s empty/model.safetensors)" -lt "$(($(stat -c %s again/model.safetensors) * 6 / 10))" ]
}

@test "a write that fails leaves nothing, and nobody's folder is taken for a half-written one" {
  mkdir own.part full && echo mine > own.part/precious
  "$SONDE" prune --model pre_ln --strategy last --remove 1 --out own
  [ "$(cat own.part/precious)" = mine ]
  for out in full new; do
    run bash -c "ulimit -f 8; '$SONDE' prune --model pre_ln --strategy last --remove 1 --out $out"
    [ "$status" -eq 1 ]
    [[ "$output" == *"cannot write"* ]]
  done
  [ -d full ] && [ ! -e new ] && [ "$(ls -d full* new* own.*)" = "$(printf 'full\nown.part')" ]
  "$SONDE" prune --model pre_ln --strategy last --remove 1 --out full
  cmp full/model.safetensors own/model.safetensors
}

# Of a head whose weights are all near 64, bf16 keeps no difference between tokens.
@test "the loss that is told is that of the folder, rounded weights and all" {
  cat > fragile.lua <<'LUA'
local sonde = require "sonde"
local model = sonde.load "pre_ln"
local head = model:params():find "lm_head.weight"
for i = 1, head:count() do head:set(i, 64 + head:get(i)) end
model:save("fragile", { tokenizer = model:tokenizer() })
LUA
  "$SONDE" run fragile.lua
  for dtype in f32 bf16; do
    "$SONDE" prune --model fragile --strategy last --remove 1 --text text.txt --dtype $dtype --out "saved-$dtype" \
      --json > facts.json
    [ "$(loss saved-$dtype | cut -c1-6)" = "$(field facts.json "f.loss.saved" | cut -c1-6)" ]
  done
  [ "$(field facts.json "math.abs(f.loss.saved - f.loss.pruned) > 0.1")" = true ]
  run --separate-stderr "$SONDE" prune --model fragile --strategy last --remove 1 --text text.txt --dtype bf16 \
    --out saved
  [ "${lines[2]}" = "loss as saved in bf16 $(field facts.json "string.format('%.4f', f.loss.saved)")" ]
}

refuses() {   # TEXT OPTIONS...
  local text=$1
  shift
  run --separate-stderr "$SONDE" prune --model pre_ln --out refused "$@"
  echo "status $status: $stderr"
  [ "$status" -ne 0 ]
  [[ "$(printf '%s\n' "$stderr" | grep -v '^threads:\|^try:')" == *"$text"* ]]
  [ "$(printf '%s\n' "$stderr" | grep -vc '^threads:\|^try:')" -eq 1 ]
  [ ! -e refused ]
}

@test "what cannot be done is refused in one line, and nothing is written" {
  refuses "of 5 blocks 5 cannot be removed; at least one must stay" --strategy last --remove 5
  refuses "did you mean 'removal'?" --strategy removel --remove 1
  run "$SONDE" prune --model pre_ln/ --strategy last --remove 1 --out pre_ln/smaller
  [[ $status -ne 0 && "$output" == *"is inside the folder of the model"* && ! -e pre_ln/smaller ]]
  refuses "strategy 'influence' measures the model on text; give --text FILE" --strategy influence --remove 1
  refuses "--method gate measures on text; give --text FILE" --method gate --ratio 0.5
  refuses "option 'ratio' needs method" --ratio 0.5 --strategy last --remove 1 --text text.txt
  refuses "give ratio, or some of heads, ffn and hidden" --method gate --text text.txt
  refuses "did you mean 'gate'?" --method gates --ratio 0.5 --text text.txt
  refuses "--replace linear fits its maps on text; give --text FILE" --strategy last --remove 1 --replace linear
  refuses "--heal trains on text; give --heal-text FILE (or --text)" --strategy last --remove 1 --heal 100
  refuses "--lora belongs to healing; give --heal TOKENS too" --strategy last --remove 1 --lora 2
  refuses "absent.txt" --strategy influence --remove 1 --text absent.txt
  refuses "at least 1" --strategy last --remove 0
  refuses "--remove must be a whole number, not 1e+20" --strategy last --remove 99999999999999999999
  echo "a few words" > short.txt
  refuses "short.txt" --strategy last --remove 1 --heal 100 --heal-text short.txt --context 24
  for strategy in last influence; do
    refuses "are less than one window of 24; give a longer text, or a smaller context (--context)" \
      --strategy $strategy \
      --remove 1 --text short.txt --context 24
    refuses "5 tokens are less than one window of 24; give more tokens, or a smaller context (--context)" \
      --strategy $strategy --remove 1 --text text.txt --tokens 5 --context 24
  done
  run "$SONDE" prune --model pre_ln --strategy last --remove 1 --out lns
  [ "$status" -eq 1 ]
  [[ "$output" == "sonde: lns: there is something in this folder"* ]]
  run "$SONDE" prune --model pre_ln --strategy last --remove 1 --out text.txt
  [[ "$output" == "sonde: text.txt: is a file"* ]]
  run "$SONDE" prune --model nowhere --strategy last --remove 1 --out text.txt/below
  [[ "$output" == "sonde: cannot write the folder 'text.txt/below': Not a directory" ]]
  run "$SONDE" prune --model nowhere --strategy last --remove 1 --out refused
  [[ "$output" == *"nowhere: there is no such folder"* ]]
}

@test "the sample is whole windows, and windows longer than the model's context are noted" {
  for strategy in last influence; do
    rm -rf sample
    run --separate-stderr "$SONDE" prune --model pre_ln --strategy $strategy --remove 1 --text text.txt --tokens 70 \
      --out sample
    [ "$status" -eq 0 ]
    [[ $stderr == *"sonde: note: measured on 48 tokens, not 70: 2 whole windows of 24"* ]]
    rm -rf sample
    run --separate-stderr "$SONDE" prune --model pre_ln --strategy $strategy --remove 1 --text text.txt --context 30 \
      --out sample
    [ "$status" -eq 0 ]
    [[ $stderr == *"sonde: note: windows of 30 tokens are longer than the 24 the model was made for"* ]]
    [[ $stderr != *"measured on"* ]]
    run --separate-stderr "$SONDE" prune --model pre_ln --strategy $strategy --remove 1 --text text.txt \
      --context 100000 --out absent
    [ "$status" -eq 1 ]
    [[ $stderr == *"less than one window of 100000; give a longer text, or a smaller context (--context)"* ]]
    [ ! -e absent ]
  done
}

@test "windows that nobody asked for are no longer than the text, and are told" {
  head -c 60 text.txt > short.txt
  sed 's/"max_position_embeddings": 24/"max_position_embeddings": 131072/; s/"context": 24/"context": 131072/' \
    pre_ln/config.json > long.json
  cp -r pre_ln long
  mv long.json long/config.json
  for text in short.txt text.txt; do
    rm -rf within
    run --separate-stderr "$SONDE" prune --model long --strategy influence --remove 1 --text $text --out within \
      --heal 40 --batch 1
    [ "$status" -eq 0 ]
    [[ "$output" =~ \(nats,\ 1\ windows\ of\ ([0-9]+)\ tokens\) ]]
    tokens=${BASH_REMATCH[1]}
    context=$("$SONDE" eval --model long --text $text --json 2> /dev/null | sed -n 's/.*"context": \([0-9]*\).*/\1/p')
    [ "$tokens" = "$context" ]
  done
  [ "$tokens" -le 4096 ]
  [ "$(field within/config.json f.max_position_embeddings)" = 131072 ]
}

@test "weights that are no numbers are refused, and named" {
  cat > broken.lua <<'LUA'
local model = require("sonde").load "pre_ln"
model:params():find("model.layers.1.mlp.up_proj.weight"):set(3, tonumber(arg[1]) or 0 / 0)
model:save("broken", { tokenizer = model:tokenizer() })
LUA
  for value in nan 1e999 -1e999; do
    "$SONDE" run broken.lua -- $value
    for options in "--strategy last" "--strategy influence --text text.txt"; do
      run --separate-stderr "$SONDE" prune --model broken --remove 1 --out refused $options
      [ "$status" -eq 1 ]
      [[ "$stderr" == "sonde: broken: the weights are not finite: "*".1.mlp.up_proj.weight' holds NaN or infinite"* ]]
      [ ! -e refused ]
    done
  done
}

@test "the commands of doc/pruning.md work as they stand, and its script too" {
  mkdir walk && cd walk
  seq 300 | awk '{
    printf "In the year %d a man of the city said to %d others: come, and see line %d.\n", $1 * 37 % 91, $1 % 7, $1
  }' > book.txt
  sed -n '/^```sh$/,/^```$/ { /^```/d; s/^\$ //; p }' "$abs_srcdir/doc/pruning.md" > walk.sh
  sed -n '/^```lua$/,/^```$/ { /^```/d; p }' "$abs_srcdir/doc/pruning.md" > own.lua
  [ "$(grep -c "^sonde prune" walk.sh)" -eq 10 ]
  mkdir bin && ln -s "$SONDE" bin/sonde
  PATH="$PWD/bin:$PATH" bash -e walk.sh > out 2> err || { cat out err; return 1; }
  [ "$(grep -c "^removed " out)" -eq 8 ]
  [ "$(grep -c "^widths by " out)" -eq 3 ]
  run --separate-stderr "$SONDE" run own.lua
  echo "$output $stderr"
  [[ "$output" =~ ^[0-5]\ [0-5] ]]
  [ "$(ls -d smaller mapped healed adapted narrow minima slim smallest | wc -l)" -eq 8 ]
}

@test "a branch of blocks, and blocks that are named" {
  "$SONDE" prune --model pre_ln --what attn --strategy removal --remove 2 --text text.txt --out quiet \
    --json > facts.json
  [ "$(field facts.json "f.what .. ' ' .. #f.removed .. ' ' .. f.depth.pruned")" = "attn 2 5" ]
  [ "$(field quiet/config.json "f.architectures[1]")" = SondeForCausalLM ]
  [ "$(loss quiet | cut -c1-6)" = "$(field facts.json "f.loss.pruned" | cut -c1-6)" ]
  run "$SONDE" prune --model pre_ln --blocks 3,1 --out named
  [ "$status" = 0 ]
  [[ "${lines[0]}" =~ ^removed\ blocks\ 1,\ 3\ \(blocks\ 0\ to\ 4\):\ 3\ blocks\ are\ left ]]
  [ "$(field named/config.json "f.architectures[1]")" = LlamaForCausalLM ]
  for wrong in "--blocks 3 --strategy last" "--strategy last" "--what heads --blocks 1" "--blocks 9" \
    "--what ffn --strategy influence --remove 1 --text text.txt"; do
    run "$SONDE" prune --model pre_ln $wrong --out wrong
    [ "$status" != 0 ]
    [ ! -e wrong ]
  done
}
