#!/usr/bin/env bats
# The layers: a folder of src/ includes only from folders above it, and only the program knows Lua.

ORDER="base tensor cpu graph ops io text plugin record train script main"

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

@test "the library knows no Lua" {
  cd "$abs_srcdir/src"
  run grep -slE '#include *[<"](lua|lauxlib|lualib)' base/*.[ch] tensor/*.[ch] cpu/*.[ch] graph/*.[ch] ops/*.[ch] \
    io/*.[ch] text/*.[ch] plugin/*.[ch] record/*.[ch] train/*.[ch]
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

# Keys of config.json and names of tensors: what other programs call things is known in lua/sonde/io/arch. Parameters have
# names of their own, in model/names.lua, that a Llama's tensors share.
@test "only io/arch knows Hugging Face's names" {
  local keys="vocab_size|hidden_size|num_hidden_layers|num_attention_heads|num_key_value_heads|intermediate_size"
  keys="$keys|max_position_embeddings|rms_norm_eps|layer_norm_eps|hidden_act|tie_word_embeddings|torch_dtype|rope_parameters"
  keys="$keys|bos_token_id|eos_token_id|[A-Za-z0-9]+ForCausalLM|PreTrainedTokenizer"
  local tensors="embed_tokens|input_layernorm|post_attention_layernorm|self_attn|lm_head|model\.(layers|embed|norm)|[a-z]+_proj\.weight"
  cd "$abs_srcdir/lua/sonde"
  run grep -rnE "\b($keys)\b" --include=*.lua --exclude-dir=arch .
  echo "$output"
  [ "$status" -eq 1 ]
  run sh -c "grep -rnE '[\"'\''\`]($tensors)' --include=*.lua --exclude-dir=arch . | grep -v '^\./model/names\.lua:'"
  echo "$output"
  [ -z "$output" ]
  grep -qE "$keys" io/arch/llama.lua
}
