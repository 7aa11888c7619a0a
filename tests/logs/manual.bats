#!/usr/bin/env bats
# The man pages, as make writes them from the help.

setup() {
  cd "$BATS_TEST_TMPDIR" || exit 1
  mkdir -p man
  "$SONDE" run "$abs_srcdir/doc/gen-man.lua" man > out 2>&1
}

@test "there is a page for each command, with what its help says" {
  for file in "$abs_srcdir"/lua/sonde/cmd/*.lua; do
    name=$(basename "$file" .lua)
    [ "$name" != init ] || continue
    [ -s "man/sonde-$name.1" ] || { echo "no page for $name"; return 1; }
    grep -q "^sonde\\\\-$name \\\\- " "man/sonde-$name.1"
    "$SONDE" "$name" --help | sed -n 's/^  \(--[a-z-]*\) .*/\1/p' | while read -r option; do
      grep -qF -- "$(sed 's/-/\\-/g' <<< "$option")" "man/sonde-$name.1" || { echo "$name $option"; exit 1; }
    done
  done
  [ "$(find man -name '*.1' | wc -l)" -gt 14 ]
  diff <(cd man && echo *) <(cd "$abs_builddir/man" && echo *)
}

@test "man formats each page without a warning, and finds its name" {
  command -v man > /dev/null || skip "there is no man"
  command -v lexgrog > /dev/null || skip "there is no lexgrog"
  export LC_ALL=C.UTF-8 MANROFFSEQ='' MANWIDTH=80
  for page in man/*.1; do
    man --warnings=w -E UTF-8 -l -Tutf8 -Z "$page" > formatted 2> warnings
    [ ! -s warnings ] || { echo "$page"; cat warnings; return 1; }
    [ -s formatted ]
    lexgrog "$page" > name || { echo "$page: $(cat name)"; return 1; }
    grep -q ": \"$(basename "$page" .1) - " name || { cat name; return 1; }
  done
}
