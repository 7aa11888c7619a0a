#!/usr/bin/env bats
# `sonde bench`: the objects it prints have the fields that others read; wrong options are refused. Nothing is timed.

has() {   # JSON KEY...: every key is in the object
  local json=$1 key
  shift
  for key in "$@"; do
    [[ $json == *"\"$key\":"* ]] || { echo "no $key in $json"; return 1; }
  done
}

setup() {
  ! grep -q '^SANITIZE_FLAGS = *-' "$abs_builddir/Makefile" || skip "nothing can be measured with sanitizers"
}

@test "bench peak prints one object" {
  run --separate-stderr "$SONDE" bench peak --dtype bf16 --threads 1 --json
  [ "$status" -eq 0 ]
  has "$output" dtype threads isa gflops
  [[ $output == *'"threads": 1'* ]]
}

@test "bench gemm and attention print one object" {
  run --separate-stderr "$SONDE" bench gemm --steps 1 --json
  [ "$status" -eq 0 ]
  has "$output" dtype threads library shapes gflops peak_gflops mfu
  run --separate-stderr "$SONDE" bench attention --steps 1 --json
  [ "$status" -eq 0 ]
  has "$output" dtype threads contexts ms peak_rss_mib cpu_ms forward_cpu_ms
  [[ $output != *full_over* ]]
  run --separate-stderr "$SONDE" bench attention --context 64,96 --batch 1 --kv_heads 2 --window 16 --sinks 2 \
    --blocks top --block_size 8 --full --steps 1 --json
  [ "$status" -eq 0 ]
  has "$output" forward_ms backward_ms forward_gflops backward_gflops planned_mib full_over full_over_cpu
  [[ $output == *'"context": 96'* ]]
  run "$SONDE" bench attention --heads 4 --kv_heads 3
  [ "$status" -eq 1 ]
  [[ $output == *"heads 4 is no multiple of kv_heads 3"* ]]
}

@test "bench moe puts a mixture beside the dense layer of as many active parameters" {
  run --separate-stderr "$SONDE" bench moe --experts 6 --top-k 2 --hidden 8 --width 16 --tokens 64 --steps 1 --json
  [ "$status" -eq 0 ]
  has "$output" dtype threads ms dense_ms over_dense over_dense_cpu
  [[ $output == *'"params": 2400'* && $output == *'"dense_params": 768'* ]]      # 6 * 16 + 6 * 3 * 16 * 8; 3 * 16 * 16
  run "$SONDE" bench moe --experts 2 --top-k 3
  [ "$status" -eq 1 ]
  [[ $output == *"top_k 3 is more than there are experts (2)"* ]]
}

@test "bench train tells what the time of a step goes into" {
  run --separate-stderr "$SONDE" bench train --config a --norm bhyt --placement lns --steps 1 --profile --json
  [ "$status" -eq 0 ]
  has "$output" tokens_per_s norm placement profile
  for op in matmul bhyt.forward bhyt.backward attention "the rest"; do
    [[ $output == *"\"op\": \"$op\""* ]] || { echo "no $op in $output"; return 1; }
  done
  run --separate-stderr "$SONDE" bench train --config a --steps 1 --json
  [[ $output != *profile* ]]
}

@test "options that ask the runtime what they may be leave the threads to be set" {
  run --separate-stderr "$SONDE" bench norm --norm dyt --steps 1 --threads 1 --json
  [ "$status" -eq 0 ]
  [[ $output == *'"threads": 1'* ]]
}

@test "bench generate tells its share of what the memory gives" {
  run --separate-stderr "$SONDE" bench generate --config a --tokens 4 --json
  [ "$status" -eq 0 ]
  has "$output" tokens_per_s weights_gb_s read_gb_s of_memory
}

@test "bench refuses an unknown dtype and an unknown measurement" {
  run "$SONDE" bench gemm --dtype f64
  [ "$status" -eq 2 ]
  [[ $output == *"dtype"*"f32, bf16"* ]]
  run "$SONDE" bench gem
  [ "$status" -eq 2 ]
  [[ $output == *"did you mean 'gemm'"* ]]
}
