#!/usr/bin/env bats
# experiments/curse_in_families.lua: the depth probes on model folders of any kind, on one page.

bats_require_minimum_version 1.5.0

setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  seq 60 | awk '{
    printf "In the beginning of line %d was the word, and it was %d times there.\n", $1, $1 * 7 % 31
  }' > text.txt
  cat > make.lua <<'LUA'
local sonde, core = require "sonde", require "sonde.core"
local text = core.read_file "text.txt"
-- Tokenizers of their own: losses are compared by byte.
for name, options in pairs { llama = { depth = 3 }, lns = { depth = 2, placement = "lns" },
  ["other/llama"] = { depth = 2, norm = "bhyt", placement = "post_ln" } } do
  local tokenizer = core.tokenizer_train({ text }, { vocab = 256 + 4 * #name })
  local all = { vocab = tokenizer:vocab(), width = 16, heads = 2, context = 32, init_std = 0.3 }
  for key, value in pairs(options) do all[key] = value end
  sonde.transformer(all):save("models/" .. name, { tokenizer = tokenizer })
end
LUA
  "$SONDE" run make.lua
}

setup() {
  cd "$BATS_FILE_TMPDIR" || exit 1
}

families() {
  "$SONDE" run "$abs_srcdir/experiments/curse_in_families.lua" --set text=text.txt --set tokens=320 \
    --set loss_tokens=400 "$@"
}

@test "all probes of several folders are on one page, and a second run measures nothing again" {
  models=(--set "models=[models/llama/, models/lns, models/other/llama]")
  families "${models[@]}" > out.txt
  page=runs/families/report.html
  grep -q "3 trials: 3 done" $page
  for text in "What removing one block costs" "Residual variance along the depth" "Angular distance between" \
    "usefulness_held_out" "other-llama"; do
    grep -q "$text" $page
  done
  ! grep -q "no figures" $page || skip "gnuplot is not installed"
  ! which xmllint > /dev/null || xmllint --noout $page
  cat > check.lua <<'LUA'
local core, sonde = require "sonde.core", require "sonde"
local function probe(trial, name)
  return core.json_load("runs/families/model=" .. trial .. "/probes/" .. name .. ".json")
end
for trial, depth in pairs { llama = 3, lns = 2, ["other-llama"] = 2 } do
  for _, name in ipairs { "layer_removal", "variance", "angular_distance", "block_influence", "lens_loss" } do
    assert(#probe(trial, name) == depth, trial .. " " .. name)
  end
  local results = core.json_load("runs/families/model=" .. trial .. "/run.json").results
  local dir = "models/" .. trial:gsub("-", "/")
  local model = sonde.load(dir)
  local tokens, bytes = require("sonde.data.windows").read(model, "text.txt", {})
  local loss = sonde.evaluate(model, tokens, { context = 32, tokens = 400 }).loss
  assert(math.abs(results.loss - loss) < 1e-9)
  assert(math.abs(results.bits_per_byte - loss / math.log(2) * tokens:count() / bytes) < 1e-9)
end
LUA
  "$SONDE" run check.lua
  run families "${models[@]}"
  [ "$status" -eq 0 ]
  [[ "$output" != *"model=llama done after"* ]]
}

@test "what is missing is said" {
  run families --set name=none
  [ "$status" -ne 0 ]
  [[ "$output" == *"--set models=[DIR,DIR,..] is missing"* ]]
  run families --set name=none --set models=[models/llama] --set 'text=""'
  [ "$status" -ne 0 ]
  [[ "$output" == *"--set text=FILE is missing"* ]]
  run families --set name=gone --set models=[models/gone]
  [ "$status" -ne 0 ]
  [[ "$output" == *"models/gone: there is no such folder"* ]]
}
