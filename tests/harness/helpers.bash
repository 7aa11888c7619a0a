# helpers.bash - for tests in bats: load "$abs_srcdir/tests/harness/helpers"
#
# Each command of a test in bash takes bats a third of a millisecond, so texts are made by awk and sed, not in loops.

# book LINES: an English text with numbers in it, a blank line after every tenth.
book() {
  seq "$1" | awk '{
    printf "In the beginning of line %d was the word, and the word stood %d times on the page.\n", $1, $1 * 7 % 31
    if ($1 % 10 == 0) print ""
  }'
}

# awaits PID COMMAND...: until the command succeeds, since no time is long enough on a loaded machine. Fails where the
# process ends before that, or after five minutes, so that nothing hangs.
awaits() {
  local pid=$1 end=$((SECONDS + 300)) alive=1
  shift
  until "$@" 2> /dev/null; do
    [ "$alive" = 1 ] || { echo "process $pid ended before: $*"; return 1; }
    [ "$SECONDS" -lt "$end" ] || { echo "not within five minutes: $*"; return 1; }
    kill -0 "$pid" 2> /dev/null || alive=0      # the command is tried once more
    sleep 0.02
  done
}

# more_lines N FILE...: whether the files that are there have more than N lines together.
more_lines() {
  local n=$1
  shift
  [ "$(cat "$@" 2> /dev/null | wc -l)" -gt "$n" ]
}
