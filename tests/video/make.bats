#!/usr/bin/env bats
# sonde clips make: the same bytes on any number of threads, balanced classes, a table that sonde.clips reads, going on
# where it was stopped.

bats_require_minimum_version 1.5.0

setup() {
  grep -q 'define HAVE_FFMPEG' "$abs_builddir/config.h" || skip "this build cannot write videos"
  cd "$BATS_TEST_TMPDIR"
}

make_clips() {   # FOLDER [options]
  local out="$1"
  shift
  "$SONDE" clips make --out "$out" --clips 7 --width 64 --height 36 --rate 5 --samples 1 "$@" 2> errors
}

sums() { (cd "$1" && find . -type f ! -name '*.jsonl' -exec sha256sum {} + | sort); }

@test "the bytes do not depend on threads; the classes are balanced; sonde.clips reads the table" {
  make_clips one --threads 1 --truth
  make_clips two --threads 2 --truth
  sums one > one.sums
  sums two > two.sums
  [ "$(wc -l < one.sums)" -eq "$((7 + 2 + 7 * 15 * 2))" ]
  diff one.sums two.sums
  [ "$(tail -n +2 one/clips.csv | cut -d, -f4 | sort -u | wc -l)" -eq 7 ]
  [ "$(head -c 4 one/truth/00001/003.flo)" = PIEH ]
  [ "$(stat -c %s one/truth/00001/003.flo)" -eq "$((12 + 64 * 36 * 8))" ]
  [ "$(head -1 one/truth/00007/014.pgm)" = P5 ]
  cat > read.lua <<'END'
local clips = require("sonde").clips("one/clips.csv", { validation = 0 })
assert(#clips.clips == 7, #clips.clips)
local events = 0
for _, clip in ipairs(clips.clips) do
  assert(clip.stop == 3)
  if clip.event then
    events = events + 1
    assert(clip.event >= 1.35 and clip.event <= 2.76 and clip.alert <= clip.event)
  else
    assert(clip.class == "background")
  end
end
assert(events == 6, events)
END
  "$SONDE" run read.lua
}

@test "a stopped run goes on, and a folder can get more clips" {
  make_clips whole
  sums whole > whole.sums
  make_clips calm --clips 9 --quiet 3 --seconds 1
  [ "$(tail -n +2 calm/clips.csv | grep -c ',background,')" -eq 3 ]
  make_clips part --clips 3
  [ "$(tail -n +2 part/clips.csv | wc -l)" -eq 3 ]
  run make_clips part --clips 2
  [ "$status" -eq 1 ]
  grep -q "part has 3 clips already, more than 2" errors
  make_clips part
  rm part/clips/00002.mp4 part/clips/00005.mp4
  rm part/clips.csv
  printf '{"index":4,' > part/clips.jsonl    # as after a kill: a line cut short, no table
  make_clips part
  sums part > part.sums
  diff whole.sums part.sums
  make_clips part                        # nothing is left to do
  sums part > part.sums
  diff whole.sums part.sums
}

@test "another seed or domain is another set; other settings in one folder are refused" {
  make_clips a
  make_clips b --domain B
  make_clips c --seed 2
  run ! cmp -s a/clips/00001.mp4 b/clips/00001.mp4
  run ! cmp -s a/clips/00001.mp4 c/clips/00001.mp4
  run make_clips a --seed 2
  [ "$status" -eq 1 ]
  grep -q "a has clips made with seed 1, not 2; choose another folder" errors
  run make_clips d --width 63
  [ "$status" -eq 1 ]
  grep -q "width and height must be even" errors
  run make_clips d --domain C
  [ "$status" -eq 2 ]
}

# A car that brakes before somebody who stands in the lane, as tests/drive/fcd_test.c writes it.
write_fcd() {
  awk 'BEGIN {
    print "<fcd-export>"
    for (i = 0; i < 190; i++) {
      t = i / 10; b = t < 13 ? 0 : t < 15 ? t - 13 : 2; x = t < 13 ? 10 * t : 130 + 10 * b - 2.5 * b * b
      printf "<timestep time=\"%.2f\"><vehicle id=\"a\" x=\"%.3f\" y=\"0\" angle=\"90\" type=\"car1\" ", t, x
      printf "speed=\"%.3f\"/><person id=\"p\" x=\"140.6\" y=\"0\" angle=\"0\" speed=\"0\"/></timestep>\n", 10 - 5 * b
    }
    print "</fcd-export>"
  }'
}

@test "trajectories of SUMO make clips by the same measures" {
  grep -q 'define HAVE_EXPAT' "$abs_builddir/config.h" || skip "this build has no expat"
  write_fcd | gzip > a.fcd.xml.gz
  make_clips fcd --fcd a.fcd.xml.gz --clips 2 --threads 1
  [ "$(cut -d, -f4 fcd/clips.csv | tail -n +2 | xargs)" = "pedestrian_high background" ]
  [ "$(cut -d, -f7 fcd/clips.csv | sed -n 2p)" = encounter ]
  sums fcd > one.sums
  make_clips again --fcd a.fcd.xml.gz --clips 2 --threads 2
  sums again > two.sums
  diff one.sums two.sums
  run make_clips more --fcd a.fcd.xml.gz --clips 50
  [ "$status" -eq 1 ]
  grep -q "the trajectories have .* situations, not 50" errors
  write_fcd | head -c 5000 > cut.xml
  run make_clips fcd2 --fcd cut.xml
  [ "$status" -eq 1 ]
  [ "$(wc -l < errors)" -eq 1 ]
  grep -q "cut.xml" errors
  run make_clips fcd3 --fcd cut.xml --source sumo
  [ "$status" -eq 1 ]
  grep -q "not both" errors
}

@test "SUMO drives where it is installed, and is named where it is not" {
  grep -q 'define HAVE_EXPAT' "$abs_builddir/config.h" || skip "this build has no expat"
  mkdir empty
  run env PATH="$PWD/empty" "$SONDE" clips make --out none --source sumo --clips 1
  [ "$status" -eq 1 ]
  [[ "$output" = *"apt install sumo"* ]]
  command -v sumo > /dev/null || skip "sumo is not installed"
  make_clips sumo --source sumo --clips 2 --traffic 20
  [ "$(tail -n +2 sumo/clips.csv | wc -l)" -eq 2 ]
}

@test "uncut clips have their event anywhere, and --json prints what was made" {
  make_clips uncut --uncut --seconds 8 --rate 2 --json > made.json
  cat > check.lua <<'END'
local core = require "sonde.core"
local made = core.json_decode(core.read_file "made.json")
assert(#made.clips == 7)
for _, clip in ipairs(made.clips) do
  assert(clip.frames == 16 and #clip.sha256 == 64)
  if clip.class ~= "background" then
    assert(clip.time_of_event >= 2.5 and clip.time_of_event <= 7.2)
    local high = clip.class:find "high"
    assert(high and clip.ttc < 0.5 or not high and clip.ttc > 2 and clip.ttc < 3.5)
  end
end
END
  "$SONDE" run check.lua
}
