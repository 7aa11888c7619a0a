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

sums() { (cd "$1" && find . -type f ! -name '*.jsonl' ! -name lock -exec sha256sum {} + | sort); }

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

@test "the settings are kept before a clip is made, and bind nobody before there is one; one call at a time" {
  cat > stop.lua <<'END'
local sonde, core = require "sonde", require "sonde.core"
local options, kept, refusal = { out = "early", clips = 3, source = "sumo" }, nil, nil
options.progress = function()      -- before the traffic is made
  kept = core.read_file "early/clips.jsonl"     -- what a kill would leave
  refusal = select(2, pcall(sonde.make_clips, options))
  error("stop", 0)
end
local ok, message = pcall(sonde.make_clips, options)
assert(not ok and message == "stop", message)
assert(core.json_decode(kept:match "^[^\n]+").settings.seed == 1)
assert(refusal:find "is at work in this folder" and not refusal:find "\n", refusal)
END
  "$SONDE" run stop.lua
  make_clips early --clips 3 --seed 2
  make_clips other --clips 3 --seed 3
  # Clips whose settings nobody knows are made again.
  cat > lines.lua <<'END'
local core = require "sonde.core"
for _, clip in ipairs(core.json_load("early/clips.json").clips) do print(core.json_encode(clip)) end
END
  "$SONDE" run lines.lua > early/clips.jsonl
  rm early/clips.json
  make_clips early --clips 3 --seed 3
  sums early > early.sums
  sums other > other.sums
  diff early.sums other.sums
}

@test "what is no record of clips is refused in one line, or does not count" {
  make_clips a --clips 1
  cp a/clips.json kept.json
  for odd in '{}' '[]' 5 null 'x' '{"settings": {}, "clips": 5}' '{"settings": {}, "clips": [{}]}' \
    "$(sed 's/"index": 1/"index": "one"/' kept.json)"; do
    echo "$odd" > a/clips.json
    run make_clips a --clips 1
    [ "$status" -eq 1 ]
    [ "$(wc -l < errors)" -eq 1 ]
    grep -q "a/clips.json" errors
    run ! grep -q attempt errors
  done
  cp kept.json a/clips.json
  for odd in '{}' '[]' 5 null '{"class": "background"}' '{"index": "one"}' '{"settings": 5}'; do
    echo "$odd" > a/clips.jsonl
    make_clips a --clips 1
    cmp kept.json a/clips.json
  done
}

@test "an empty name and an interval without room are refused at once" {
  run make_clips ""
  [ "$status" -eq 2 ]
  grep -q "option --out must not be empty" errors
  run make_clips short --uncut --seconds 1
  [ "$status" -eq 1 ]
  grep -q "uncut clips have at least 2 seconds, not 1" errors
  [ ! -e short ]
  make_clips short --uncut --seconds 2
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
  # A network that was cut short is not taken for whole.
  mkdir cut
  printf '#!/bin/sh\nwhile [ $# -gt 1 ]; do shift; done\necho "<net" > "$1"\nexit 1\n' > cut/netgenerate
  chmod +x cut/netgenerate
  run env PATH="$PWD/cut:$PATH" "$SONDE" clips make --out none --source sumo --clips 1
  [ "$status" -eq 1 ]
  [[ "$output" = *"netgenerate failed"* ]]
  [ ! -e none/sumo/net.xml ]
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
