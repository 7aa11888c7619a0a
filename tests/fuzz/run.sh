#!/bin/sh
# run.sh TARGET SECONDS SEEDS - one libFuzzer program in the current folder, on its seeds and on what earlier runs found
# (fuzz-corpus/NAME); an input that fails stays as fuzz-NAME-crash-*. The .trs file has the form of the test harness, so
# that .ci/run counts these runs too.
set -u
target=$1 seconds=$2 seeds=$3
name=${target##*/fuzz_}

mkdir -p "fuzz-corpus/$name"
if "./$target" -max_total_time="$seconds" -timeout=30 -rss_limit_mb=4096 -artifact_prefix="fuzz-$name-" -verbosity=0 \
  "fuzz-corpus/$name" "$seeds/$name" > "$target.fuzz.log" 2>&1
then result=PASS; else result=FAIL; tail -40 "$target.fuzz.log"; fi
echo "$result: $target ($seconds s)"
echo ":test-result: $result $name" > "$target.fuzz.trs"
[ $result = PASS ]
