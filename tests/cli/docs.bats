#!/usr/bin/env bats
# The page of the Lua API is what the comments in lua/sonde say now.

words() { seq 200 | awk '{ printf "In the beginning was word %d, and %d words were with it.\n", $1, $1 * $1 }'; }

@test "doc/lua-api.md is current" {
  "$SONDE" run "$abs_srcdir/doc/gen-lua-api.lua" > "$BATS_TEST_TMPDIR/lua-api.md"
  diff "$abs_srcdir/doc/lua-api.md" "$BATS_TEST_TMPDIR/lua-api.md" || { echo "run: make lua-api"; return 1; }
}

@test "every function of the library that the page shows has a sentence" {
  run awk '/^### `.*\(.*\)`$/ { name = $0; getline; getline; if ($0 ~ /^(- |### |Returns |$)/) print name }' \
    "$abs_srcdir/doc/lua-api.md"
  echo "$output"
  [ "$output" = "" ]
}

@test "the README's first script is experiments/first.lua, and runs" {
  sed -n '/^```lua$/,/^```$/ { /^```/d; p }' "$abs_srcdir/README.md" > "$BATS_TEST_TMPDIR/first.lua"
  diff "$abs_srcdir/experiments/first.lua" "$BATS_TEST_TMPDIR/first.lua"
  cd "$BATS_TEST_TMPDIR"
  words | sed 'a <|endoftext|>' > text.txt
  sed -i 's/"default", { vocab = 2048 }/"text.txt", { vocab = 300 }/; s/50000/1000/; s/{ 1, 2 }/{ 1 }/' first.lua
  run env SONDE_CACHE="$BATS_TEST_TMPDIR" "$SONDE" run first.lua
  echo "$output"
  [ "$status" -eq 0 ]
  [[ "$output" == *"both_sides"* ]]
  [ -s runs/first/report.html ]
}

@test "the script of doc/training.md runs: feeds, an objective of its own, hooks, views" {
  cd "$BATS_TEST_TMPDIR"
  sed -n '/^```lua$/,/^```$/ { /^```/d; p }' "$abs_srcdir/doc/training.md" > training.lua
  run --separate-stderr "$SONDE" run training.lua
  echo "$output" "$stderr"
  [ "$status" -eq 0 ]
  [[ "${lines[0]}" =~ ^"validation: loss 0."[0-9]+", accuracy 0."[789] ]]
  [[ "$output" == *"ended at update "[123]* && "$output" == *"hook 'good enough' at update "*": off by 0."* ]]
  [[ "$output" == *"9 weights are those of another block"* ]]
}

@test "the README's configuration trains, and the model it leaves continues a prompt" {
  cd "$BATS_TEST_TMPDIR"
  sed -n '/^```yaml$/,/^```$/ { /^```/d; p }' "$abs_srcdir/README.md" > small.yaml
  words > text.txt
  sed -i 's/source: default, vocab: 2048/source: text.txt, vocab: 300/; s/50000/1000/' small.yaml
  export SONDE_CACHE="$BATS_TEST_TMPDIR"
  "$SONDE" graph small.yaml
  "$SONDE" train small.yaml
  "$SONDE" generate --model runs/small/0/model --prompt "In the beginning" --tokens 5
}

@test "the README's plugin commands work against a build that is not installed" {
  mkdir "$BATS_TEST_TMPDIR/plugin" && cd "$BATS_TEST_TMPDIR/plugin"
  ln -s "$abs_srcdir/src" src
  "$SONDE" plugin new norm mine
  make=$(grep '^make -C mine check' "$abs_srcdir/README.md" | sed 's/ *#.*//; s|\$PWD/build/sonde|$SONDE|')
  eval "$make"
}

@test "the README and doc/models.md name every architecture whose folders open" {
  cat > "$BATS_TEST_TMPDIR/names.lua" <<'LUA'
require "sonde"
local registry = require("sonde.io.arch").registry
for _, name in ipairs(registry:names()) do
  local spec = registry:find(name)
  if not spec.whole then print(name, (spec.doc:gsub("[ ,].*", ""))) end
end
LUA
  "$SONDE" run "$BATS_TEST_TMPDIR/names.lua" > "$BATS_TEST_TMPDIR/names"
  [ "$(wc -l < "$BATS_TEST_TMPDIR/names")" -ge 15 ]
  sed -n '/^Models are folders/,/^$/p' "$abs_srcdir/README.md" > "$BATS_TEST_TMPDIR/paragraph"
  while IFS=$'\t' read -r name called; do
    grep -qw -- "$called" "$BATS_TEST_TMPDIR/paragraph" || { echo "README.md: $called"; return 1; }
    grep -q -- "^| \`$name\` |" "$abs_srcdir/doc/models.md" || { echo "doc/models.md: $name"; return 1; }
  done < "$BATS_TEST_TMPDIR/names"
}
