#!/usr/bin/env bats
# Completion in bash: the words that may come next, by the function that readline calls.

setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  mkdir -p models/one models/two
  touch a.yaml b.lua
}

setup() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  # shellcheck source=/dev/null
  source "$abs_srcdir/doc/completion.bash"
}

completes() {   # WORDS... EXPECTED...: what is behind "--" must be among the completions of the words before
  local words=()
  while [ "$1" != = ]; do
    words+=("$1")
    shift
  done
  shift
  COMP_WORDS=("$SONDE" "${words[@]}") COMP_CWORD=${#words[@]}
  _sonde
  echo "${words[*]}: ${COMPREPLY[*]}"
  for word in "$@"; do
    [[ " ${COMPREPLY[*]} " == *" $word "* ]] || { echo "no $word"; return 1; }
  done
  for word in "${COMPREPLY[@]}"; do
    [[ "$word" == "${words[-1]/#=/}"* ]] || { echo "$word does not begin so"; return 1; }
  done
  [ $# -gt 0 ] || [ ${#COMPREPLY[@]} -eq 0 ]
}

@test "commands, subcommands and options" {
  completes "" = train run eval serve query --help
  completes tr = train
  completes zz =
  completes runs "" = list show export tensorboard
  completes bench no = norm
  completes train -- = --dir --save --json --threads
  completes serve --po = --port
  completes runs list --j = --json
  completes runs --r = --root
  completes nonsense "" =
}

@test "values of options: norms, placements, probes, dtypes" {
  completes bench norm --norm "" = rmsnorm layernorm bhyt dyt
  completes bench train --placement l = lns
  completes eval --placement m = mix_ln
  completes probe --probes va = variance
  completes probe --probes variance,la = variance,layer_removal
  completes eval --dtype "" = f32 bf16
  COMP_WORDS=("$SONDE" eval --dtype = b) COMP_CWORD=4
  _sonde
  [ "${COMPREPLY[*]}" = bf16 ]
  COMP_WORDS=("$SONDE" eval --dtype =) COMP_CWORD=3
  _sonde
  [ "${COMPREPLY[*]}" = "bf16 f32" ]
  completes plugin info rms = rmsnorm
  completes plugin new "" = norm attention ffn
}

@test "files and folders" {
  completes train a = a.yaml
  completes run b = b.lua
  completes eval --model models/ = models/one models/two
  completes eval --model a =
  completes eval --text a = a.yaml
}

@test "recorded runs" {
  mkdir -p runs/depth/a
  printf '%s\n' '{"status": "done", "results": {"loss": 1}}' > runs/depth/a/run.json
  completes runs show d = depth depth/a
  completes runs compare depth/a depth/ = depth/a
}
