-- made.lua - small videos and sets of clips for tests.
local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"

local made = {}

local W, H = 64, 48

--- A video of a texture, 64 x 48 pixels, 10 frames a second: frame k (from 0) shows at (x, y) what is at at(k, x, y).
---@param path string
---@param frames integer
---@param at fun(k: integer, x: integer, y: integer): number, number
function made.y4m(path, frames, at)
  local parts = { "YUV4MPEG2 W64 H48 F10:1 Ip A1:1 C420jpeg\n" }
  for k = 0, frames - 1 do
    local luma = {}
    for y = 0, H - 1 do
      for x = 0, W - 1 do
        local s, t = at(k, x, y)
        local value = math.sin(s * 0.5 + t * 0.3 + s * s * 0.006) + math.sin(s * 0.31 - t * 0.5 + t * t * 0.01)
        luma[#luma + 1] = string.char(128 + math.floor(50 * value))
      end
    end
    parts[#parts + 1] = "FRAME\n" .. table.concat(luma) .. string.rep("\128", W * H // 2)
  end
  core.write_file(path, table.concat(parts))
end

--- The features of clips of a folder, which has a.y4m; skips the test where no video can be read.
---@param folder string
---@param rows string     of the table of labels
---@param grid? integer[]
---@return sonde.clips
function made.clips(folder, rows, grid)
  local ok, message = pcall(core.video, folder .. "/a.y4m")
  if not ok and string.find(message, "without FFmpeg", 1, true) then lu.skip "this build has no FFmpeg" end
  core.write_file(folder .. "/labels.csv", "clip,class,time_of_event,time_of_alert,split\n" .. rows)
  return sonde.clips(folder .. "/labels.csv"):features { cache = folder .. "/cache", width = W, grid = grid or { 4, 3 },
    thumbnail = { 4, 3 }, progress = false }
end

return made
