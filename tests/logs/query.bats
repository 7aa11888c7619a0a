#!/usr/bin/env bats
# sonde query: SELECT over the database of runs, and nothing but reading.

bats_require_minimum_version 1.5.0

load "$abs_srcdir/tests/harness/helpers"

setup_file() {
  cd "$BATS_FILE_TMPDIR" || exit 1
  seq 40 | sed 's/.*/in the beginning there was a small text, and line & said little of itself/' > book.txt
  for depth in 1 2; do
    printf '%s\n' "model: {width: 16, depth: $depth, heads: 2, context: 24}" 'corpus: {source: book.txt, vocab: 270}' \
      'train: {steps: 2, batch: 2}' > a.yaml
    "$SONDE" train a.yaml --dir "runs/a/$depth" > train.out 2>&1
  done
}

setup() {
  cd "$BATS_FILE_TMPDIR" || exit 1
}

refuses() {   # TEXT SQL
  run --separate-stderr "$SONDE" query "$2"
  echo "status $status: $stderr"
  [ "$status" -eq 1 ]
  [[ "$stderr" == *"$1"* && "$output" = "" ]]
  [ "$(wc -l <<< "$stderr")" -eq 1 ]
}

@test "a table, JSON and CSV of the same rows" {
  local sql="SELECT dir, value AS depth, NULL AS none FROM parameters JOIN trials ON id = parameters.trial
    WHERE key = 'model.depth' ORDER BY dir"
  run --separate-stderr "$SONDE" query "$sql"
  [ "$output" = $'dir  depth  none\na/1      1     -\na/2      2     -' ]
  [ "$stderr" = "" ]
  run --separate-stderr "$SONDE" query "$sql" --csv
  [ "$output" = $'dir,depth,none\na/1,1,\na/2,2,' ]
  run --separate-stderr "$SONDE" query "$sql" --json
  [ "$(tr -d ' \n' <<< "$output")" = '[{"depth":1,"dir":"a/1","none":null},{"depth":2,"dir":"a/2","none":null}]' ]
  run --separate-stderr "$SONDE" query "SELECT dir FROM trials WHERE 0" --json
  [ "$output" = "[]" ]
}

@test "the rows are those of the folders, however old the database is" {
  rm -f runs/sonde.db*
  run --separate-stderr "$SONDE" query "SELECT count(*) AS n, sum(status = 'done') AS done FROM trials" --csv
  [ "$output" = $'n,done\n2,2' ]
  cp -r runs/a/1 runs/a/3
  run --separate-stderr "$SONDE" query "SELECT count(*) AS n FROM trials" --csv
  [ "$output" = $'n\n3' ]
  rm -r runs/a/3
}

@test "what does not read is refused, and changes nothing" {
  "$SONDE" query "SELECT * FROM trials ORDER BY id" > before.txt
  refuses "only read" "DELETE FROM trials"
  refuses "only read" "INSERT INTO trials(dir) VALUES('x')"
  refuses "only read" "UPDATE trials SET status = 'x'"
  refuses "only read" "DROP TABLE trials"
  refuses "only read" "CREATE TABLE x(y)"
  refuses "only read" "ATTACH 'new.db' AS x"
  refuses "only read" "PRAGMA journal_mode = DELETE"
  refuses "only read" "PRAGMA user_version = 7"
  refuses "only read" "VACUUM INTO 'new.db'"
  refuses "only read" "BEGIN"
  refuses "load_extension" "SELECT load_extension('x')"
  refuses "not several" "SELECT 1; DELETE FROM trials"
  [ ! -e new.db ]
  "$SONDE" query "SELECT * FROM trials ORDER BY id" | diff before.txt -
}

@test "mistakes are said in one line" {
  refuses "no such column: speed" "SELECT speed FROM trials"
  refuses "no such table" "SELECT x FROM y"
  refuses "syntax error" "SELEC 1"
  refuses "no statement" " "
  refuses "is a blob; use hex()" "SELECT x'00' AS b"
  run --separate-stderr "$SONDE" query "SELECT 1 AS a, 2 AS a" --json
  [[ "$status" -eq 1 && "$stderr" == *"two columns are called 'a'"* ]]
  run --separate-stderr "$SONDE" query "SELECT 1" --root nowhere
  [[ "$status" -eq 1 && "$stderr" == *"no folder 'nowhere'"* ]]
}

@test "a number that is not finite is none: an empty field, null, a dash" {
  cd "$BATS_FILE_TMPDIR"
  mkdir -p empty
  local sql="SELECT 1e999 AS y, 2.5 AS z, -1e999 AS w"
  [ "$("$SONDE" query "$sql" --root empty --csv)" = $'y,z,w\n,2.5,' ]
  [[ "$("$SONDE" query "$sql" --root empty --json | tr -d ' \n')" == '[{"w":null,"y":null,"z":2.5}]' ]]
  [[ "$("$SONDE" query "$sql" --root empty | tail -n 1)" =~ ^-\ +2.5\ +-$ ]]
}

@test "a long query is stopped by a signal" {
  "$SONDE" query "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n" \
    > /dev/null 2> err 3>&- &
  pid=$!
  computing() { [ "$(awk '{ print $14 }' "/proc/$pid/stat")" -ge 50 ]; }   # half a second: it is in the query
  awaits "$pid" computing
  kill "$pid"
  status=0
  wait "$pid" || status=$?
  echo "$status: $(cat err)"
  [ "$status" -eq 3 ]
}

@test "a folder that cannot be written is read" {
  [ "$(id -u)" != 0 ] || skip "root can write everywhere"
  chmod -R a-w runs
  run --separate-stderr "$SONDE" query "SELECT count(*) AS n FROM trials" --csv
  chmod -R u+w runs
  [ "$output" = $'n\n2' ]
}
