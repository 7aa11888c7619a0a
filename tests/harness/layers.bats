#!/usr/bin/env bats
# The layers: a folder of src/ includes only from folders above it, and only the program knows Lua.

ORDER="base tensor cpu graph ops io text drive video plugin record train serve script main"

@test "no folder includes from below" {
  local folder other seen="" bad=""
  cd "$abs_srcdir/src"
  for folder in $ORDER; do
    for other in $ORDER; do
      case " $seen $folder " in *" $other "*) continue ;; esac
      bad="$bad$(grep -l "#include \"$other/" "$folder"/*.[ch] 2> /dev/null | sed "s,\$, includes $other/,")"
    done
    seen="$seen $folder"
  done
  echo "$bad"
  [ -z "$bad" ]
}

# The objects of a folder of src/. A build keeps those of sources that are gone: these do not count.
objects() {   # FOLDER
  local o source
  for o in "$abs_builddir/src/$1"/.libs/*.o "$abs_builddir/src/$1"/*.o; do
    source="${o##*-}"
    [ ! -f "$abs_srcdir/src/$1/${source%.o}.c" ] || [ ! -f "$o" ] || echo "$o"
  done
}

# What they define (--defined-only) or use (--undefined-only).
symbols() {   # FOLDER OPTION
  objects "$1" | xargs -r nm -g "$2" | awk 'NF > 1 { print $NF }' | sort -u
}

@test "no folder uses a symbol from below" {   # an include is not needed for that: a table may be declared above
  local folder other seen="" bad=""
  cd "$BATS_TEST_TMPDIR"
  for folder in $ORDER; do
    symbols "$folder" --defined-only > "$folder.defined"
    symbols "$folder" --undefined-only > "$folder.used"
    [ -s "$folder.defined" ] ||
      { [ "$folder" = serve ] && ! grep -q 'define HAVE_MICROHTTPD' "$abs_builddir/config.h"; }
  done
  for folder in $ORDER; do
    for other in $ORDER; do
      case " $seen $folder " in *" $other "*) continue ;; esac
      bad="$bad$(comm -12 "$folder.used" "$other.defined" | sed "s,^,$folder uses of $other: ,")"
    done
    seen="$seen $folder"
  done
  echo "$bad"
  [ -z "$bad" ]
  [ "$(comm -12 ops.used graph.defined | wc -l)" -gt 10 ]   # upwards there are many: the lists are what they should be
}

# Everything else asks the device that a plan runs on, which need not be the CPU. Who may call it, and why: the kernels
# (ops, and plugins, which have the host's table), and those named here, whose data are in the host's memory whatever
# the device is.
cpu_callers() {   # FILE FUNCTIONS -- why
  cat << 'END'
graph/ctx sonde_cpu_backend -- the device that is always there; it runs the ops that another does not have
graph/ctx sonde_simd_get -- takes the CPU's kernels of the elementwise ops, which come with the op's definition
io/item sonde_simd_get -- rounds what is written to a file
io/safetensors_read sonde_simd_get -- rounds and widens what is read from a file
train/sample sonde_simd_get -- draws a token from logits that were copied to the host
plugin/host sonde_simd_get sonde_gemm_tile sonde_inverse_factor -- the table that kernels of plugins compute with
script/bind_bench sonde_cpu_peak sonde_cpu_read_rate sonde_simd_get sonde_gemm_kernels -- measures and names the CPU
script/bind_linalg sonde_singular_values sonde_lstsq_new sonde_lstsq_free sonde_lstsq_add sonde_lstsq_merge -- probes
script/bind_linalg sonde_lstsq_solve sonde_lstsq_bytes sonde_lstsq_in sonde_lstsq_out sonde_lstsq_rows -- by LAPACK
END
}

@test "only kernels call the CPU" {
  local folder o source
  cd "$BATS_TEST_TMPDIR"
  symbols cpu --defined-only > cpu.defined
  for folder in $ORDER; do
    case $folder in cpu | ops) continue ;; esac
    for o in $(objects "$folder"); do
      source="${o##*-}"
      nm -g --undefined-only "$o" | awk '{ print $NF }' | sort -u | comm -12 - cpu.defined |
        sed "s,^,$folder/${source%.o} ,"
    done
  done | sort -u > found
  cpu_callers | awk '{ for (i = 2; $i != "--"; i++) print $1, $i }' | sort -u > known
  echo "calls the CPU, and is not listed:"
  comm -23 found known
  echo "listed, and calls it no more:"
  comm -13 found known
  cmp found known
}

@test "the graph knows no op by its name" {
  cd "$abs_srcdir/src"
  sed -nE \
    's/.*\.name = "([a-z0-9_]+)".*/\1/p; s/^ *DEF(_OF_FORM)?\(([a-z0-9_]+),.*/\2/p' ops/*.c |
    sort -u > "$BATS_TEST_TMPDIR/ops"
  [ "$(wc -l < "$BATS_TEST_TMPDIR/ops")" -gt 60 ]
  run sh -c "grep -ohE '\"[a-z0-9_]+\"' graph/*.[ch] | tr -d '\"' | sort -u | comm -12 - '$BATS_TEST_TMPDIR/ops'"
  echo "$output"
  [ -z "$output" ]
  run grep -nE '(def|op)->name, *"' */*.c   # nor does anybody else ask which op it is
  echo "$output"
  [ -z "$output" ]
}

@test "the library knows no Lua" {
  cd "$abs_srcdir/src"
  run grep -slE '#include *[<"](lua|lauxlib|lualib)' base/*.[ch] tensor/*.[ch] cpu/*.[ch] graph/*.[ch] ops/*.[ch] \
    io/*.[ch] text/*.[ch] drive/*.[ch] video/*.[ch] plugin/*.[ch] record/*.[ch] train/*.[ch]
  echo "$output"
  [ -z "$output" ]
  run sh -c "ldd '$abs_builddir/.libs/libsonde.so' | grep -i lua"
  [ -z "$output" ]
}

@test "the library exports its public interface and nothing else" {
  local extra
  nm -D --defined-only "$abs_builddir/.libs/libsonde.so" | awk '$2 ~ /[TDBR]/ { sub(/@.*/, "", $3); print $3 }' | sort \
    > "$BATS_TEST_TMPDIR/exported"
  tr -c 'a-z0-9_' '\n' < "$abs_builddir/sonde.cdef" | sort -u > "$BATS_TEST_TMPDIR/declared"
  extra=$(comm -23 "$BATS_TEST_TMPDIR/exported" "$BATS_TEST_TMPDIR/declared")
  echo "exported but not in sonde.h: $extra"
  [ -z "$extra" ]
  [ "$(wc -l < "$BATS_TEST_TMPDIR/exported")" -gt 20 ]
}

@test "the library neither exits nor prints" {   # _exit is for the forked child of the conformance kit
  run sh -c "nm -D --undefined-only '$abs_builddir/.libs/libsonde.so' | sed 's/@.*//' |
    grep -wE 'exit|abort|printf|puts|putchar|longjmp|__assert_fail'"
  echo "$output"
  [ -z "$output" ]
}

# Keys of config.json and names of tensors: other programs' names are used in lua/sonde/io/arch only. Parameters have
# their own names, in model/names.lua, which a Llama's tensors share.
@test "only io/arch knows Hugging Face's names" {
  local keys="vocab_size|hidden_size|num_hidden_layers|num_attention_heads|num_key_value_heads|intermediate_size"
  keys="$keys|max_position_embeddings|rms_norm_eps|layer_norm_eps|hidden_act|tie_word_embeddings|torch_dtype"
  keys="$keys|rope_parameters"
  keys="$keys|bos_token_id|eos_token_id|[A-Za-z0-9]+ForCausalLM|PreTrainedTokenizer"
  local tensors="embed_tokens|input_layernorm|post_attention_layernorm|self_attn|lm_head|model\.(layers|embed|norm)"
  tensors="$tensors|[a-z]+_proj\.weight"
  cd "$abs_srcdir/lua/sonde"
  run grep -rnE "\b($keys)\b" --include=*.lua --exclude-dir=arch .
  echo "$output"
  [ "$status" -eq 1 ]
  run sh -c "grep -rnE '[\"'\''\`]($tensors)' --include=*.lua --exclude-dir=arch . | grep -v '^\./model/names\.lua:'"
  echo "$output"
  [ -z "$output" ]
  grep -qE "$keys" io/arch/llama.lua
}

@test "the report knows no quantity by name" {   # probes and quantities/ bring what it says of them
  cd "$abs_srcdir/lua/sonde/report"
  local names="perplexity|loss|variance|grad_norm|layer_removal|angular_distances?|rise|depth|share"
  run grep -nE "^[^-]*\"($names)\"" ./*.lua
  echo "$output"
  [ "$status" -eq 1 ]
}
