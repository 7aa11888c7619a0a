#!/usr/bin/env bats
# `sonde bench`: the objects it prints have the fields that others read; wrong options are refused. Nothing is timed.

has() {   # JSON KEY...: every key is in the object
  local json=$1 key
  shift
  for key in "$@"; do
    [[ $json == *"\"$key\":"* ]] || { echo "no $key in $json"; return 1; }
  done
}

@test "bench peak prints one object" {
  run --separate-stderr "$SONDE" bench peak --dtype bf16 --threads 1 --json
  [ "$status" -eq 0 ]
  [ "${#lines[@]}" -eq 1 ]
  has "$output" dtype threads isa gflops
  [[ $output == *'"threads":1'* ]]
}

@test "bench gemm and attention print one object" {
  run --separate-stderr "$SONDE" bench gemm --steps 1 --json
  [ "$status" -eq 0 ]
  has "$output" dtype threads library shapes gflops peak_gflops mfu
  run --separate-stderr "$SONDE" bench attention --steps 1 --json
  [ "$status" -eq 0 ]
  has "$output" dtype threads ms peak_rss_mib
}

@test "bench refuses an unknown dtype and an unknown measurement" {
  run "$SONDE" bench gemm --dtype f64
  [ "$status" -eq 2 ]
  [[ $output == *"dtype"*"f32, bf16"* ]]
  run "$SONDE" bench gem
  [ "$status" -eq 2 ]
  [[ $output == *"did you mean 'gemm'"* ]]
}
