#!/usr/bin/env bats
# The command line: help, exit codes, mistakes in options, scripts and configurations, each with one clear line.

setup() {
  cd "$BATS_TEST_TMPDIR" || exit 1
}

# One line on stderr, nothing on stdout.
refuses() {   # STATUS TEXT COMMAND...
  local wanted=$1 text=$2
  shift 2
  run --separate-stderr "$@"
  echo "status $status: $stderr"
  [ "$status" -eq "$wanted" ]
  [[ "$stderr" == *"$text"* ]]
  [ "$output" = "" ]
}

one_line() {
  [ "$(printf '%s\n' "$stderr" | wc -l)" -eq 1 ]
}

bats_require_minimum_version 1.5.0

load "$abs_srcdir/tests/harness/helpers"

@test "help names every command, and each command's help has usage, options and an example" {
  run "$SONDE" --help
  [ "$status" -eq 0 ]
  for file in "$abs_srcdir"/lua/sonde/cmd/*.lua; do
    name=$(basename "$file" .lua)
    [ "$name" != init ] || continue
    [[ "$output" == *"  $name "* ]] || { echo "no $name in the help"; return 1; }
    "$SONDE" "$name" --help > help.txt || { echo "$name --help fails"; return 1; }
    for part in "usage: sonde $name" "options:" "--threads N" "example:" "sonde $name"; do
      grep -qF -- "$part" help.txt || { echo "no '$part' in $name --help"; cat help.txt; return 1; }
    done
  done
}

@test "the script of the help's example is there, wherever the program is called" {
  for words in "--help" "run --help"; do
    # shellcheck disable=SC2086
    run "$SONDE" $words
    [[ "$output" =~ sonde\ run\ ([^ ]*/experiments/depth_sweep\.lua) ]]
    [ -f "${BASH_REMATCH[1]}" ]
  done
}

@test "the version" {
  run "$SONDE" --version
  [ "$status" -eq 0 ]
  [[ "$output" =~ ^sonde\ [0-9]+\.[0-9]+\.[0-9]+\ \(Lua\ 5\.4\)$ ]]
  run "$SONDE" version --json
  [[ "$output" == *'"lua": "Lua 5.4"'* ]]
}

@test "a wrong command line is status 2, with what was meant" {
  refuses 2 "unknown command 'runn'; did you mean 'run'?" "$SONDE" runn
  refuses 2 "the command comes first" "$SONDE" --threads 2
  refuses 2 "unknown option --theads; did you mean --threads?" "$SONDE" version --theads 2
  refuses 2 "option --threads needs a value" "$SONDE" version --threads
  refuses 2 "option --threads must be a whole number, not 'many'" "$SONDE" version --threads many
  refuses 2 "option --threads must be between 0 and 4096, not 5000" "$SONDE" version --threads 5000
  refuses 2 "unknown option -t; options are written --name" "$SONDE" version -t
  refuses 2 "'more' is one argument too many" "$SONDE" version more
  refuses 2 "SCRIPT is missing: the file to run" "$SONDE" run
  refuses 2 "option --model is missing" "$SONDE" eval --text x
  refuses 2 "option --dtype cannot be 'f16'; did you mean" "$SONDE" graph x.yaml --dtype f16
}

@test "a script runs with its arguments and settings" {
  cat > show.lua <<'LUA'
local sonde = require "sonde"
local s = sonde.settings
print(arg[0], arg[1], arg[2], s.depth, s.name, s.flag, s.list[2], s.train.lr, type(s.depth))
LUA
  run "$SONDE" run show.lua --set depth=4 --set name=deep --set flag=true --set "list=[1, 2]" --set train.lr=1e-3 a \
    -- --b
  [ "$status" -eq 0 ]
  [ "$output" = "show.lua	a	--b	4	deep	true	2	0.001	number" ]
  refuses 1 "--set depth: a setting is written key=value" "$SONDE" run show.lua --set depth
}

@test "errors of a script show its line" {
  printf 'local x = 1\nerror("boom")\n' > boom.lua
  refuses 1 "sonde: boom.lua:2: boom" "$SONDE" run boom.lua
  one_line
  printf 'error { code = 7, what = "no\\nroom", { 1 } }\n' > boom.lua
  refuses 1 "sonde: an error that is a table, not a text: code = 7, what = no room, ..." "$SONDE" run boom.lua
  one_line
  printf 'error(nil)\n' > boom.lua
  refuses 1 "sonde: an error that is nil, not a text" "$SONDE" run boom.lua
  printf 'local x = = 1\n' > syntax.lua
  refuses 1 "syntax.lua:1:" "$SONDE" run syntax.lua
  refuses 1 "nowhere.lua" "$SONDE" run nowhere.lua
  printf '%s\n' 'local sonde = require "sonde"' '' 'local model = sonde.transformer {' \
    '  vocab = 10, widht = 4, depth = 1 }' > option.lua
  refuses 1 "option.lua:3: unknown option 'widht' of transformer; did you mean 'width'?" "$SONDE" run option.lua
  one_line
  printf '%s\n' 'local sonde = require "sonde"' 'local g = sonde.graph()' 'local x = g:input("x", "f32", {2, 3})' \
    'local y = x:linear(x:reshape {3, 2})' > shape.lua
  refuses 1 "shape.lua:4: matmul of f32 [2, 3] and f32 [3, 2]" "$SONDE" run shape.lua
  one_line
  run --separate-stderr "$SONDE" run boom.lua --traceback
  [[ "$stderr" == *"stack traceback"* ]]
}

@test "what a message quotes can neither break its line nor steer the terminal" {
  printf 'error("a\\n  b\\27[2Jc")\n' > steer.lua
  refuses 1 "sonde: steer.lua:1: a b?[2Jc" "$SONDE" run steer.lua
  one_line
}

@test "no thread runs before one is asked for, and the cores are those of the caller" {
  printf 'for line in io.lines "/proc/self/status" do print(line) end\n' > status.lua
  "$SONDE" run status.lua > status.txt
  [ "$(grep ^Threads: status.txt)" = "Threads:	1" ]
  [ "$(grep ^Cpus_allowed: status.txt)" = "$(grep ^Cpus_allowed: /proc/self/status)" ]
}

@test "a program without memory for its threads ends with a line" {
  if grep -q __asan_init "$SONDE"; then skip "the address sanitizer needs more address space"; fi
  printf 'require("sonde").graph()\n' > graph.lua
  for kib in 48000 52000 56000 60000; do
    status=0
    (ulimit -v $kib && exec timeout -k 1 300 "$SONDE" run graph.lua --threads 2) > out.txt 2>&1 || status=$?
    echo "$kib KiB: status $status: $(cat out.txt)"
    [ "$status" -ne 124 ] && [ "$status" -ne 137 ]
    [ "$(grep -c OpenBLAS out.txt)" -eq 0 ]
  done
}

@test "a request to stop ends a script with status 3" {
  printf 'io.stdout:write("started\\n") io.stdout:flush()\nwhile true do end\n' > forever.lua
  "$SONDE" run forever.lua > out.txt 2> err.txt 3>&- &
  pid=$!
  awaits "$pid" grep -q started out.txt
  kill -INT "$pid"
  status=0
  wait "$pid" || status=$?
  cat err.txt
  [ "$status" -eq 3 ]
  [ "$(cat err.txt)" = "sonde: forever.lua:2: interrupted" ]
}

@test "a request that comes twice at once is one, and a second one ends a script that goes on" {
  local script pid status begin='io.stdout:write("started\n") io.stdout:flush()'
  echo "$begin while true do end" > forever.lua
  echo "$begin while true do pcall(function() while true do end end) end" > stubborn.lua
  for script in forever stubborn; do
    rm -f out.txt
    "$SONDE" run "$script.lua" > out.txt 2> err.txt 3>&- &
    pid=$! status=0
    awaits "$pid" grep -q started out.txt
    kill -TERM "$pid" "$pid"
    # What comes within half a second is the same request; on a machine that lets the program wait, several are one.
    [ "$script" = forever ] || for _ in $(seq 100); do sleep 0.6; kill -TERM "$pid" 2> /dev/null || break; done
    wait "$pid" || status=$?
    echo "$script: $status $(cat err.txt)"
    [ "$status" -eq "$([ "$script" = forever ] && echo 3 || echo 143)" ]
  done
}

@test "the prompt evaluates, shows errors and goes on" {
  run bash -c "printf '1 + 1\nsonde.version\nfor i = 1, 2 do\nprint(i)\nend\nerror(\"x\")\n3\n' | '$SONDE' repl"
  [ "$status" -eq 0 ]
  [ "${lines[0]}" = "2" ]
  [ "${lines[2]}" = "1" ]
  [ "${lines[5]}" = "3" ] || [[ "$output" == *"repl:1: x"* ]]
  [[ "$output" == *$'\n3'* ]]
}

# script(1) can be there, and the system lack /dev/pts (a chroot).
needs_terminal() {
  script -qec true /dev/null > /dev/null 2>&1 || skip "no terminal can be made here"
}

# A prompt in a terminal: its screen goes to a file, its keys come from file descriptor 7.
begin_session() {
  needs_terminal
  seen=0
  mkfifo keys
  : > screen
  HOME="$BATS_TEST_TMPDIR" XDG_STATE_HOME='' TERM=dumb timeout 300 script -qefc "exec $SONDE repl" screen \
    < keys > /dev/null 3>&- &
  session=$!
  exec 7> keys
  screen_shows '> '
}

# shows PATTERN: whether the screen shows it, behind what was waited for before.
shows() {
  local text
  text=$(tail -c "+$((seen + 1))" screen | tr -d '\0')
  [[ $text == *"$1"* ]] || return 1
  text="${text%%"$1"*}$1"
  seen=$((seen + $(printf '%s' "$text" | wc -c)))
}

screen_shows() {
  awaits "$session" shows "$1" || { echo "behind byte $seen of:"; cat -v screen; return 1; }
}

press() { printf "$1" >&7; screen_shows "$2"; }

@test "the prompt completes names" {
  begin_session
  press 'type(sonde.transfo\t)' 'type(sonde.transformer)'
  press '\n' function
  screen_shows '> '
  printf '\004' >&7
  wait "$session"
}

config() {
  cat > model.yaml <<'YAML'
model:
  vocab: 64
  width: 16
  depth: 3
  heads: 2
  context: 32
train:
  batch: 4
  steps: 10
YAML
}

@test "graph tells the cost of a step without computing it" {
  config
  run "$SONDE" graph model.yaml
  [ "$status" -eq 0 ]
  for word in parameters nodes arithmetic arena "peak memory" "tokens a step   128 (4 sequences of 32)"; do
    [[ "$output" == *"$word"* ]] || { echo "no $word"; return 1; }
  done
  # embedding and head 2 x 64 x 16; blocks 3 x (4 x 16 x 16 + 3 x 48 x 16 + 2 x 16); final norm 16
  [[ "$output" == *"parameters      12144 (10096 without embedding and head)"* ]]
  run "$SONDE" graph model.yaml --nodes
  [[ "$output" == *"blocks.2.out"*"f32 [4, 32, 16]"* ]]
  run "$SONDE" graph model.yaml --dot
  [ "${lines[0]%% *}" = "digraph" ]
  run "$SONDE" graph model.yaml --json --batch 8
  [[ "$output" == *'"batch": 8'* ]]
}

@test "graph says the batch that it takes by default" {
  "$SONDE" graph --help | grep -q -- "--batch .* or 16$"
  printf 'model:\n  vocab: 100\n  width: 16\n  depth: 1\n  context: 8\n' > preset.yaml
  "$SONDE" graph preset.yaml --json | grep -q '"batch": *16'
}

@test "plugin ops takes a plugin's name for the ops that it brings" {
  run "$SONDE" plugin ops derf
  [ "$status" -eq 0 ]
  [[ "$output" == *"derf.forward"*"derf.backward"* ]]
  refuses 1 "sonde: the optimizer 'adamw' brings no ops of its own" "$SONDE" plugin ops adamw
  refuses 1 "unknown op 'matmull'; did you mean 'matmul'?" "$SONDE" plugin ops matmull
}

@test "graph refuses what does not fit, with what would" {
  config
  sed -i 's/batch: 4/batch: 512/; s/context: 32/context: 512/' model.yaml
  refuses 1 "sonde: the plan needs" "$SONDE" graph model.yaml --memory 60M
  [[ "$stderr" == *"the budget is"* ]]
  one_line
  [[ "$stderr" =~ a\ batch\ of\ [0-9]+\ fits ]]
  "$SONDE" graph model.yaml --memory 60M --batch "$(sed 's/.*a batch of \([0-9]*\) fits.*/\1/' <<< "$stderr")"
  refuses 1 "M parameters fits" "$SONDE" graph model.yaml --memory 1M
  refuses 1 "write a size such as 800M" "$SONDE" graph model.yaml --memory big
}

@test "mistakes in a configuration name file and line" {
  config
  sed -i 's/width/widht/' model.yaml
  refuses 1 "sonde: model.yaml:3: unknown option 'widht' of transformer; did you mean 'width'?" "$SONDE" graph \
    model.yaml
  one_line
  config
  sed -i 's/depth: 3/depth: three/' model.yaml
  refuses 1 "model.yaml:4: option 'depth' of transformer must be a whole number, not 'three'" "$SONDE" graph model.yaml
  config
  sed -i 's/batch: 4/batch: 0/' model.yaml
  refuses 1 "model.yaml:8: option 'batch' of train must be between 1 and 1048576, not 0" "$SONDE" graph model.yaml
  config
  sed -i 's/^train/trian/' model.yaml
  refuses 1 "model.yaml:7: unknown section 'trian'; did you mean 'train'?" "$SONDE" graph model.yaml
  config
  echo "  norm: {name: rmsnorm, esp: 1}" > tail.yaml
  sed -i '6r tail.yaml' model.yaml
  refuses 1 "model.yaml:7: norm 'rmsnorm': unknown option 'esp'; did you mean 'eps'?" "$SONDE" graph model.yaml
  config
  printf 'model: [1, 2\n' > broken.yaml
  refuses 1 "broken.yaml" "$SONDE" graph broken.yaml
  one_line
  printf 'train: {steps: 1}\n' > empty.yaml
  refuses 1 "empty.yaml: there is no section 'model'" "$SONDE" graph empty.yaml
  refuses 1 "absent.yaml" "$SONDE" graph absent.yaml
  printf 'model: 3\n' > number.yaml
  refuses 1 "number.yaml:1: section 'model' must hold keys and values, not 3" "$SONDE" graph number.yaml
  printf 'model: {width: 8}\ntrain: [1, 2]\n' > list.yaml
  refuses 1 "list.yaml:2: section 'train' must hold keys and values, not a list" "$SONDE" graph list.yaml
}

@test "what cannot be written is said, and is a failure" {
  config
  for words in "graph model.yaml" "plugin list" "--help"; do
    run bash -c "'$SONDE' $words > /dev/full"
    [ "$status" -eq 1 ]
    [[ "$output" == *"cannot write to the standard output"* ]]
  done
  run bash -c "printf '1 + 1\n' | '$SONDE' repl > /dev/full"
  [ "$status" -eq 1 ]
}

@test "the prompt goes on after an unfinished expression and a value that is gone" {
  printf '%s\n' '40 +' 2 'g = sonde.graph()' 'a = g:input("a", "f32", { 2 })' 'g:close()' a '7 * 6' > lines
  run "$SONDE" repl < lines
  [ "$status" -eq 0 ]
  [ "${lines[0]}" = 42 ]
  [ "${lines[1]}" = "node (of a closed graph)" ]
  [ "${lines[2]}" = 42 ]
}

@test "the prompt tells a wrong line at once and waits for the rest of an unfinished one" {
  for line in 'x = 1 1' 't = = 2' 'x = 1 =' '"a' 'for i = 1 1 do' 'return 1 2' 'a.b = } 1'; do
    printf '%s\n40 + 2\n' "$line" > lines.txt
    "$SONDE" repl < lines.txt > out.txt 2> err.txt
    echo "$line: $(cat out.txt err.txt)"
    [ "$(cat out.txt)" = 42 ]
    [ "$(wc -l < err.txt)" -eq 1 ]
  done
  for lines in '40 +\n2' 'x =\n42 return x' 'do\nend return (\n42)' 'f = [[a\n]] return 42' 'return #"a\\\n" + 40' \
    '({\n42})[1]'; do
    printf "$lines\n" > lines.txt
    "$SONDE" repl < lines.txt > out.txt 2> err.txt
    echo "$lines: $(cat out.txt err.txt)"
    [ "$(cat out.txt)" = 42 ]
  done
  printf 'for i = 1, 2 do\n' > lines.txt
  run "$SONDE" repl < lines.txt
  [[ "$output" == "repl:1: 'end' expected near <eof>" ]]
}

@test "the prompt shows what is in tables and tensors" {
  cat > lines.txt <<'LINES'
{ 1, { 2, { 3 } }, b = "x\ny", [true] = {} }
u = {} u.u = u return u
sonde.tensor("f32", { 2, 3 }):fill { 1, 2, 3.5, 4, 5, 6 }
sonde.tensor("i32", { 100, 100 }):fill(7)
LINES
  run "$SONDE" repl < lines.txt
  echo "$output"
  [ "${lines[0]}" = '{ 1, { 2, { 3 } }, [true] = {}, b = "x\ny" }' ]
  [ "${lines[1]}" = '{ u = { ... itself } }' ]
  [ "${lines[2]}" = 'tensor f32 [2, 3]' ]
  [ "${lines[3]}" = '    1   2 3.5' ]
  [ "${lines[4]}" = '    4   5   6' ]
  [ "${lines[6]}" = '    7   7   7   7 ...   7   7   7   7' ]
  [ "${#lines[@]}" -eq 15 ]
}

@test "Ctrl-C at the prompt drops the lines, while something runs ends that, and never the session" {
  begin_session
  press 'nonsense' nonsense
  press '\003' '> '                                  # drops the line
  press '40+2\n' 42
  screen_shows '> '
  press 'for i = 1, 2 do\n' '>> '
  press 'print(' 'print('
  press '\003' '> '                                  # drops both lines
  press '\003' '> '
  press '50+5\n' 55
  screen_shows '> '
  press 'print("begun") while true do end\n' 'begun'  # the echo
  screen_shows 'begun'                               # what it prints
  press '\003' interrupted
  screen_shows '> '
  press '60+6\n' 66
  exec 7>&-
  wait "$session"
}

@test "a missing argument is told at the script's line" {
  refuse_line() {
    printf 'local sonde = require "sonde"\n%s\n' "$1" > missing.lua
    refuses 1 "missing.lua:2: $2" "$SONDE" run missing.lua
    one_line
  }
  refuse_line 'sonde.train(nil, nil, { steps = 3 })' \
    "sonde.train: argument 'model' must be a model (of sonde.transformer or sonde.load), not nil"
  refuse_line 'sonde.train(sonde.transformer { vocab = 300, width = 8, depth = 1 }, nil, { steps = 3 })' \
    "sonde.train: argument 'corpus' must be a corpus (of sonde.corpus) or a feed (of sonde.feed), not nil"
  refuse_line 'sonde.evaluate(nil, { 1, 2 })' "sonde.evaluate: argument 'model' must be a model"
  refuse_line 'sonde.load()' "sonde.load: argument 'dir' must be a string, not nil"
  refuse_line 'sonde.placement(nil, print)' "sonde.placement: argument 'name' must be a string, not nil"
  refuse_line 'sonde.tensor(nil, { 1 })' "sonde.tensor: argument 'dtype' must be a string, not nil"
}

@test "a request to stop ends the planning of a step, and is not taken for one that does not fit" {
  ! grep -q '^SANITIZE_FLAGS = *-' "$abs_builddir/Makefile" ||
    skip "with a sanitizer the program alone is over the bound"
  printf 'model: {width: 8, depth: 6000, heads: 1, context: 16, vocab: 260}\ntrain: {steps: 5, batch: 4}\n' > deep.yaml
  "$SONDE" graph deep.yaml --memory 400M > out.txt 2> err.txt 3>&- &
  pid=$! status=0
  used() { [ "$(awk '{ print $14 }' "/proc/$pid/stat")" -ge "$1" ]; }      # hundredths of a second
  awaits "$pid" used 300
  kill -TERM "$pid"
  run ! awaits "$pid" used 800             # it ends sooner; the whole takes longer
  wait "$pid" || status=$?
  echo "status $status: $(cat err.txt)"
  [ "$status" -eq 3 ]
  [[ "$(cat err.txt)" == *interrupted && "$(cat err.txt)" != *fits* ]]
}

@test "standard files that are closed are no files of ours" {
  printf 'local sonde = require "sonde"\nlocal core = require "sonde.core"\ncore.warn("a warning")\nprint(1)\n' > \
    words.lua
  mkdir -p folder
  (cd folder && "$SONDE" run ../words.lua < ../words.lua 2>&- > ../out.txt)
  [ "$(cat out.txt)" = 1 ]
  cat > lock.lua <<'LUA'
    local sonde = require "sonde"
    local corpus = sonde.corpus("words.txt", { vocab = 300 })
    local model = sonde.transformer { vocab = corpus.vocab, width = 8, heads = 1, depth = 1, context = 16 }
    sonde.train(model, corpus, { steps = 3, batch = 2, dir = "run" })
LUA
  seq 4000 | awk '{ printf "word%d ", $1 * $1 % 97 }' > words.txt
  SONDE_CACHE="$PWD/cache" "$SONDE" run lock.lua <&- 2>&- > out.txt
  grep -qE '^[0-9]+$' run/lock
  [ "$(wc -l < run/lock)" -eq 1 ]
  [ "$(tail -c 1 run/config.yaml | wc -l)" -eq 1 ]
  ! grep -rl "tok/s" run || return 1
  run --separate-stderr bash -c "'$SONDE' --version >&-"
  [ "$status" -eq 1 ]
  [ "$stderr" = "sonde: cannot write to the standard output" ]
}

@test "memory that runs out at the very start is one line" {
  ! grep -q '^SANITIZE_FLAGS = *-' "$abs_builddir/Makefile" || skip "a sanitizer has its own realloc"
  cat > fails.c <<'C'
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <errno.h>
    #include <stdlib.h>
    void *realloc(void *p, size_t n) {   /* what Lua allocates with */
      static void *(*next)(void *, size_t);
      static long calls;
      if (!next) *(void **)&next = dlsym(RTLD_NEXT, "realloc");
      if (++calls < atol(getenv("FAIL_AT"))) return next(p, n);
      errno = ENOMEM;
      return NULL;
    }
C
  ${CC:-cc} -shared -fPIC -o fails.so fails.c -ldl
  said=0
  for at in $(seq 1 3 100) $(seq 101 40 1500); do
    status=0
    LD_PRELOAD="$PWD/fails.so" FAIL_AT=$at "$SONDE" --version > out.txt 2> err.txt || status=$?
    [ "$status" -eq 1 ] && grep -q "^sonde: .*memory" err.txt && [ "$(wc -l < err.txt)" -eq 1 ] || {
      [ "$status" -eq 0 ] && break
      echo "at $at: status $status: $(cat err.txt)"
      return 1
    }
    said=$((said + 1))
  done
  echo "said $said times"
  [ "$said" -gt 20 ]
}
