#!/usr/bin/env bats
# sonde watch: a model of clips on a file and on standard input, as JSON and as a page; what it refuses.

bats_require_minimum_version 1.5.0

load "$abs_srcdir/tests/harness/helpers"

setup_file() {
  grep -q 'define HAVE_FFMPEG' "$abs_builddir/config.h" || skip "this build has no FFmpeg"
  cd "$BATS_FILE_TMPDIR" || exit 1
  cat > make.lua <<'LUA'
local sonde, core = require "sonde", require "sonde.core"
local function y4m(name, u, frames)
  local parts = { "YUV4MPEG2 W64 H48 F10:1 Ip A1:1 C420jpeg\n" }
  for k = 0, frames - 1 do
    local luma = {}
    for y = 0, 47 do
      for x = 0, 63 do
        local s = x - u * k
        local value = math.sin(s * 0.5 + y * 0.3 + s * s * 0.006) + math.sin(s * 0.31 - y * 0.5 + y * y * 0.01)
        luma[#luma + 1] = string.char(128 + math.floor(50 * value))
      end
    end
    parts[#parts + 1] = "FRAME\n" .. table.concat(luma) .. string.rep("\128", 64 * 48 // 2)
  end
  core.write_file(name, table.concat(parts))
end
y4m("a.y4m", 2, 6)
y4m("b.y4m", -1, 6)
y4m("long.y4m", 2, 13)
core.write_file("labels.csv", "clip,class,time_of_event,time_of_alert,split\na.y4m,x,0.5,0.3,train\nb.y4m,y,,,train\n")
local set = sonde.clips "labels.csv":features { cache = "cache", width = 64, grid = { 4, 3 }, thumbnail = { 4, 3 } }
local _, about = set:feed { frames = 6, parts = { "foreground", "thumbnail" }, task = "warning" }
local model = sonde.transformer { features = about.features, objective = { "weighted_classifier", classes = 2 },
  width = 8, depth = 1, heads = 1, context = 6, init_std = 0.3, seed = 2 }
model:init():save "model"
about:save "model"
local lines = {}
for n, each in ipairs(about:scores(model, "train")) do
  for k, p in ipairs(each.p) do
    if n == 1 then lines[k] = string.format("%.5f", p[2]) end
  end
end
core.write_file("scores", table.concat(lines, "\n") .. "\n")
LUA
  "$SONDE" run make.lua
}

setup() { cd "$BATS_FILE_TMPDIR"; }

@test "a clip that fills the model's context has the risks that it has among the training data" {
  "$SONDE" watch --model model --video a.y4m --hop 6 --json > a.json
  grep -o '"risk": [0-9.]*' a.json | sed 's/.* //' | head -6 | xargs printf '%.5f\n' > risks
  diff risks scores
}

@test "standard input gives what a file gives; the hop is a delay; moments are flagged" {
  "$SONDE" watch --model model --video long.y4m --json --threshold 0 > file.json
  "$SONDE" watch --model model --video - --json --threshold 0 < long.y4m > pipe.json
  diff <(grep -v '"video"' file.json) <(grep -v '"video"' pipe.json)
  [ "$(grep -c '"time"' file.json)" -eq 13 ]
  [ "$(grep -c '"peak"' file.json)" -eq 1 ]
  run --separate-stderr "$SONDE" watch --model model --video long.y4m --threshold 0 --hop 1
  [ "$status" -eq 0 ]
  [[ "${lines[0]}" = *"0.00 s"*risk* ]]
  [ "${lines[1]%%,*}" = "13 frames" ]
}

@test "the page has the curve, pictures and both colours" {
  "$SONDE" watch --model model --video long.y4m --threshold 0.2 --html page.html > /dev/null
  grep -q '<polyline' page.html
  [ "$(grep -o 'data:image/bmp' page.html | wc -l)" -ge 8 ]
  grep -q 'stroke="#0072b2"' page.html
}

@test "what cannot be watched is refused in one line" {
  run --separate-stderr "$SONDE" watch --model model --video - --html page.html
  [ "$status" -ne 0 ]
  [[ "$stderr" = *"standard input"* ]]
  mkdir -p bare
  run --separate-stderr "$SONDE" watch --model bare --video a.y4m
  [ "$status" -ne 0 ]
  [[ "$stderr" = *"clips.json"* ]]
  run --separate-stderr "$SONDE" watch --model model --video labels.csv
  [ "$status" -ne 0 ]
  [ "${#stderr_lines[@]}" -eq 1 ]
}

# A coder of the system, for files that our own does not write.
ffmpeg_or_skip() { command -v ffmpeg > /dev/null || skip "ffmpeg is not installed"; }
code() { ffmpeg -nostdin -v error -y -i long.y4m -c:v mpeg4 -q:v 2 -bf 0 -g 5 "$@"; }

@test "a stream is read as it comes: Matroska, MPEG-TS, fragmented MP4; an index at the end is refused at once" {
  ffmpeg_or_skip
  code -f matroska s.mkv
  code -f mpegts s.ts
  code -movflags frag_keyframe+empty_moov s.mp4
  for file in s.mkv s.ts s.mp4; do
    timeout 300 sh -c "cat $file | \"$SONDE\" watch --model model --video - --json" > stream.json
    [ "$(grep -c '"time"' stream.json)" -eq 13 ]
  done
  ffmpeg -nostdin -v error -y -r 15 -i long.y4m -c:v mpeg4 fifteen.mkv    # times are rounded to milliseconds
  "$SONDE" watch --model model --video fifteen.mkv --json > fifteen.json
  [ "$(grep -c '"time"' fifteen.json)" -eq 13 ]
  code plain.mp4
  "$SONDE" watch --model model --video - --json < plain.mp4 > file.json      # a file: it can be gone back in
  [ "$(grep -c '"time"' file.json)" -eq 13 ]
  mkfifo open.mp4
  exec 8<> open.mp4                # its end does not come
  cat plain.mp4 >&8 3>&- &
  run --separate-stderr timeout 300 "$SONDE" watch --model model --video - < open.mp4 8>&-
  exec 8>&-
  wait $!
  [ "$status" -ne 0 ]
  [ "$status" -ne 124 ]
  [ "${#stderr_lines[@]}" -eq 1 ]
  [[ "$stderr" = *"index (moov) behind the pictures"* ]]
}

@test "what of a file was not seen is said" {
  ffmpeg_or_skip
  ffmpeg -nostdin -v error -y -r 5 -i long.y4m -c:v mjpeg slow.mkv           # 13 frames, 2.6 s
  run --separate-stderr "$SONDE" watch --model model --video slow.mkv --json
  [[ "$stderr" != *"damaged"* ]]
  head -c $(($(stat -c %s slow.mkv) / 3)) slow.mkv > cut.mkv
  run --separate-stderr "$SONDE" watch --model model --video cut.mkv --json
  echo "$stderr"
  [ "$status" -eq 0 ]
  [[ "$stderr" == *"cut.mkv: the last frame is at "*" s, but the file says that it lasts 2.6"*"damaged or cut off"* ]]
  [[ "$output" == *'"damaged": '* ]]
}

# has_read PID FILE: whether the process is at the end of what the file has so far
has_read() {
  local fd
  for fd in /proc/"$1"/fd/*; do
    [[ "$(readlink "$fd")" == */"$2" ]] || continue
    grep -q "^pos:.$(stat -c %s "$2")\$" "/proc/$1/fdinfo/${fd##*/}"
    return
  done
  return 1
}

@test "a file that grows is followed, and ends when it does not grow" {
  cat > follow.lua <<'LUA'
local sonde, frames = require "sonde", {}
sonde.watch(sonde.load "model", sonde.clip_reading "model", arg[1], { hop = 1, follow = 1000, seen = function(frame)
  frames[#frames + 1] = ("%.17g %.17g %s"):format(frame.time, frame.risk, frame.class)
  if #frames < 13 then return end
  print(table.concat(frames, "\n"))      -- all that there are: nobody waits for more
  os.exit(0, true)
end })
LUA
  "$SONDE" run follow.lua long.y4m > whole
  [ "$(wc -l < whole)" -eq 13 ]
  head -c 9000 long.y4m > grows.y4m
  "$SONDE" run follow.lua grows.y4m > grown 3>&- &
  pid=$!
  awaits "$pid" has_read "$pid" grows.y4m
  tail -c +9001 long.y4m | head -c 20000 >> grows.y4m
  awaits "$pid" has_read "$pid" grows.y4m
  tail -c +29001 long.y4m >> grows.y4m
  wait "$pid"
  diff whole grown
  "$SONDE" watch --model model --video grows.y4m --follow 0.2 --json > grown.json
  "$SONDE" watch --model model --video long.y4m --json > file.json
  diff <(grep -v '"video"' file.json) <(grep -v '"video"' grown.json)
}
