#!/bin/sh
# fresh.sh - the README's two commands on a machine that lacks what they install, in either order and as anybody.
#
#   fresh.sh [--short] BASE WHO FIRST SECOND
#
#   BASE    the folder of a fresh system (debootstrap --variant=minbase --include=sudo bookworm FOLDER); or /, this
#           system as it is, less the packages that only the tests need
#   WHO     root; sudo, a user who may use sudo; user, one who may not: what quickstart asks for is then done as root
#   FIRST, SECOND   demo and check, or check and demo
#   --short         some tests of every kind instead of all, one small model instead of 45, and what those need compiled
#                   with less optimization
#
# Needs root, overlayfs and a package mirror. All is written to an overlay in memory, in a mount namespace of its own.
set -eu

top=$(cd "$(dirname "$0")/../.." && pwd)
if [ -z "${FRESH_INSIDE-}" ]; then
  FRESH_INSIDE=$(mktemp -d)
  export FRESH_INSIDE
  status=0
  unshare --mount --propagation private --pid --fork --kill-child "$0" "$@" || status=$?
  rmdir "$FRESH_INSIDE"
  exit $status
fi

short=no
[ "${1-}" != --short ] || { short=yes; shift; }
[ $# = 4 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
base=$1 who=$2 first=$3 second=$4
root=$FRESH_INSIDE/root home=/home/newcomer
tools=$(sed -n 's/^for_tests="\(.*\)"$/\1/p' "$top/quickstart")

fail() {
  echo "fresh: $*" >&2
  exit 1
}

inside() {   # USER COMMAND...
  user=$1
  shift
  chroot --userspec="$user:$user" "$root" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    HOME=$home TERM=dumb DEBIAN_FRONTEND=noninteractive MAKEFLAGS="$flags" "$@"
}
flags=

make_machine() {
  mount -t tmpfs -o size=90% none "$FRESH_INSIDE"
  mkdir "$FRESH_INSIDE/upper" "$FRESH_INSIDE/work" "$root"
  mount -t overlay none -o "lowerdir=$base,upperdir=$FRESH_INSIDE/upper,workdir=$FRESH_INSIDE/work" "$root"
  mount -t proc none "$root/proc"
  if [ "$base" = / ]; then mount --rbind /dev "$root/dev"; else mount --bind /dev "$root/dev"; fi   # without /dev/pts
  cp /etc/resolv.conf "$root/etc/resolv.conf"
  chroot "$root" useradd -m -d $home newcomer
  mkdir "$root$home/sonde"
  (cd "$top" && git ls-files -z | tar --null -T - -cf -) | tar -C "$root$home/sonde" -xf -
  chroot "$root" chown -R newcomer: $home
  # shellcheck disable=SC2086
  [ "$base" != / ] || inside root apt-get purge -q -y $tools > "$FRESH_INSIDE/purge.log" 2>&1 ||
    { cat "$FRESH_INSIDE/purge.log"; fail "cannot remove the test packages"; }
  case $who in
    user) rm -f "$root/usr/bin/sudo" ;;
    sudo) mkdir -p "$root/etc/sudoers.d"; echo "newcomer ALL=(ALL) NOPASSWD: ALL" > "$root/etc/sudoers.d/newcomer" ;;
  esac
}

refuse() {   # WHAT: the end of what it printed, and all that failed
  grep -E '^(FAIL|ERROR)|[Ww]arning:|[Ee]rror' "$FRESH_INSIDE/out" || true
  tail -n 20 "$FRESH_INSIDE/out"
  sed -n '/^not ok/,/^ok/p' "$root$home/sonde/build/test-suite.log" 2> /dev/null || true
  fail "$1 fails ($base, $who)"
}

quickstart() {
  account=newcomer
  [ "$who" != root ] || account=root
  inside $account sh -c "cd $home/sonde && exec ./quickstart $*" > "$FRESH_INSIDE/out" 2>&1
}

# One of the two commands. A user without sudo is told what root has to install, and that must be enough.
command_of_readme() {
  what=$1 start=$(date +%s)
  set --
  [ "$what" = demo ] || set -- check
  if [ $short = yes ]; then
    flags='TESTS=tests/harness/tap.bats\ tests/base/error_test\ tests/lua/graph.lua'
    flags="$flags check_PROGRAMS=tests/base/error_test CFLAGS=-O1"
    [ "$what" = check ] || set -- --set seed=[1] --set "placement=[lns]" --set train.tokens=8192 --set name=short
  fi
  if ! quickstart "$@"; then
    asked=$(sed -n 's/.*run as root: apt-get install //p' "$FRESH_INSIDE/out")
    { [ "$who" = user ] && [ -n "$asked" ]; } || refuse "$what"
    echo "fresh: as a user: $(tail -1 "$FRESH_INSIDE/out")"
    # shellcheck disable=SC2086
    { inside root apt-get update && inside root apt-get install -y --no-install-recommends $asked; } \
      > "$FRESH_INSIDE/apt.log" 2>&1 || { tail "$FRESH_INSIDE/apt.log"; fail "cannot install: $asked"; }
    quickstart "$@" || refuse "$what"
  fi
  grep -E '^quickstart: |^# (TOTAL|PASS|SKIP|FAIL|ERROR)|report' "$FRESH_INSIDE/out" || true
  # Less optimization has warnings of its own; .ci/run looks for those of the full build in its first stage.
  [ $short = yes ] || ! grep -i 'warning:' "$root$home/sonde/build/quickstart.log" || fail "the compiler warns ($base)"
  echo "fresh: $what done in $(($(date +%s) - start)) s ($base, $who, $first then $second)"
}

make_machine
command_of_readme "$first"
if [ "$first" = demo ]; then   # or nothing is shown here
  grep -q '^CHECK_MISSING = *[a-z]' "$root$home/sonde/build/Makefile" ||
    fail "the test packages were there from the start"
fi
command_of_readme "$second"
