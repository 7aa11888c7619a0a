#!/bin/sh
# installcheck.sh - the installed Sonde works without its source and build trees: `make installcheck` runs it with
# BINDIR, LIBDIR, PLUGINDIR, LUADIR, DOCDIR, INCLUDEDIR (all as they are under DESTDIR), CC and LUAJIT in the
# environment.
set -eu
unset SONDE_PLUGIN_PATH SONDE_LUA_PATH

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

ok() {
  echo "installcheck: $*"
}

die() {
  echo "installcheck: FAILED: $*" >&2
  exit 1
}

"$BINDIR/sonde" --version > version || die "sonde --version"
ok "$(cat version)"

# A program that needs Lua files and one plugin of each folder's kind: both must come from the prefix.
cat > tiny.lua <<'LUA'
local sonde = require "sonde"
local where = package.searchpath("sonde.init", package.path) or package.searchpath("sonde", package.path)
assert(where:sub(1, #arg[1]) == arg[1], "the Lua files come from " .. where)
local model = sonde.transformer {
  vocab = 16, width = 8, depth = 2, heads = 2, norm = "rmsnorm", placement = "pre_ln", attention = "causal",
  ffn = "swiglu", context = 8, seed = 1,
}
print(model and "a model")
LUA
"$BINDIR/sonde" run tiny.lua "$LUADIR" > out || die "a model of plugins"
grep -q "a model" out || die "a model of plugins said: $(cat out)"
ok "a model of plugins"

# The folder that plugins are found in must be the installed one, whatever else is on this machine.
"$BINDIR/sonde" plugin list > plugins || die "sonde plugin list"
for module in "$PLUGINDIR"/*.so; do
  name=$(basename "$module" .so)
  grep -qw "$name" plugins || die "sonde plugin list does not know $name"
done
ok "plugins: $(find "$PLUGINDIR" -name '*.so' | wc -l)"

# The experiment that the help names is there and finds its settings; so are the pages that the README leads to.
"$BINDIR/sonde" --help > help || die "sonde --help"
script=$(sed -n 's/^  sonde run \([^ ]*\.lua\) .*/\1/p' help)
case $script in "${LUADIR%/lua}"/*) ;; *) die "the help names '$script', outside of ${LUADIR%/lua}" ;; esac
for k in 1 2 3 4 5 6 7 8 9; do echo "In the beginning was line $k, and it was short."; echo; done > text.txt
"$BINDIR/sonde" run "$script" --set scale=paper --set corpus=text.txt --set text.vocab=260 --set text.cache=cache \
  --set "models=[{size: 1, depth: 2, width: 16, heads: 2, ffn_hidden: 32}]" > plan || die "$script"
grep -q pre_ln plan || die "$script said: $(cat plan)"
grep -o '](doc/[^)]*)' "$DOCDIR/README.md" | sed 's/^](//; s/)$//' > pages
[ -s pages ] || die "$DOCDIR/README.md leads nowhere"
while read -r page; do
  [ -f "$DOCDIR/$page" ] || die "there is no $DOCDIR/$page"
done < pages
ok "experiments and $(wc -l < pages) pages of documentation"

# What other programs look for: man pages, the completion of bash, the definitions for editors.
for file in man/man1/sonde.1 man/man1/sonde-train.1 bash-completion/completions/sonde sonde/luacats/sonde.lua; do
  [ -s "${LUADIR%/sonde/lua}/$file" ] || [ -s "$MANDIR/${file#man/}" ] || die "there is no $file"
done
ok "man pages, completion, definitions for editors"

# Outside Sonde's own build: a C program against the library, and a LuaJIT process.
cat > use.c <<'C'
#include <sonde.h>
#include <string.h>
int main(int argc, char **argv) { return argc != 2 || strcmp(sonde_version(), argv[1]); }
C
# shellcheck disable=SC2086
$CC -I"$INCLUDEDIR" use.c -L"$LIBDIR" -lsonde -Wl,-rpath,"$LIBDIR" $SANITIZE_FLAGS -o use || die "linking with -lsonde"
./use "$VERSION" || die "a C program with libsonde"
ok "a C program with libsonde"
if [ -n "$LUAJIT" ] && [ -z "$SANITIZE_FLAGS" ]; then
  cat > use.lua <<'LUA'
local ffi = require "ffi"
ffi.cdef "const char *sonde_version(void);"
assert(ffi.string(ffi.load(arg[1]).sonde_version()) == arg[2])
LUA
  "$LUAJIT" use.lua "$LIBDIR/libsonde.so" "$VERSION" || die "LuaJIT with libsonde"
  ok "LuaJIT with libsonde"
fi
