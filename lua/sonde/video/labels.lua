--- labels.lua - labels against the frames of their clips: what a table alone does not tell.
--
-- The rule. A clip ends a frame after its last one. Refused: an event, an alert or an abnormal start after that; a part
-- of a file that is there twice, and a file in both splits, each also under another name (by content).
-- Reported: a table that gives a clip an end, or an abnormal end, more than a second after that; what is there is
-- taken.

local core = require "sonde.core"

local labels = {}

--- Seconds by which a table may give a later end than a clip has.
labels.SLACK = 1

local MOST_NAMED = 10
local TIMES = { { "event", "event" }, { "alert", "alert" }, { "from", "abnormal start" } }

-- Seconds of the file at which the rows begin and end. Frames may have been passed over, so that the last one may be
-- shown for longer than the rows say, up to what the rate is.
local function span_of(rows, options, image_rate)
  local n = math.min(rows.rows, 2)
  local last = rows.times(rows.rows - n + 1, n, options.image_rate or image_rate)
  local first = rows.times(1, 1, options.image_rate or image_rate)[1]
  local step = n == 2 and last[2] - last[1] or 0
  return first, last[n] + math.max(step, options.rate > 0 and 1 / options.rate or 0)
end

local function named(texts, separator)
  local rest = #texts - MOST_NAMED
  return table.concat(texts, separator, 1, math.min(#texts, MOST_NAMED))
    .. (rest > 0 and string.format("%sand %d more", separator, rest) or "")
end

local function outside(clip, stop)
  for _, each in ipairs(TIMES) do
    local time = clip[each[1]]
    if time and time > stop + 1e-6 then
      return string.format("'%s' has its %s at %.6g s, but ends at %.6g s", clip.clip, each[2], time, stop)
    end
  end
end

-- What another clip of the same content says against this one.
local function repeated(clip, rows, first, seen)
  local content = rows.info and rows.info.clip
  if not content then return nil end
  local part = string.format("%s %.9g %d", content, first, rows.rows)
  local twin, other = seen[part], seen[content]
  seen[part], seen[content] = twin or clip, other or clip
  if twin then return string.format("'%s' has the same frames as '%s'", clip.clip, twin.clip) end
  if other and other.file ~= clip.file and other.split ~= clip.split then
    return string.format("'%s' (%s) is of the same video as '%s' (%s)", clip.clip, clip.split, other.clip, other.split)
  end
end

--- The clips whose labels hold. Raises where one does not, with all of them (with skip_failed: warns and leaves them
--- out).
---@param list sonde.clip[]
---@param image_rate number
---@param options table                     see sonde.video.features
---@param open fun(clip: sonde.clip): table the rows of a clip
---@return sonde.clip[]
function labels.check(list, image_rate, options, open)
  local good, bad, short, seen = {}, {}, {}, {}
  for _, clip in ipairs(list) do
    local rows = open(clip)
    local first, stop = span_of(rows, options, image_rate)
    local text = outside(clip, stop) or repeated(clip, rows, first, seen)
    rows.close()
    if text then bad[#bad + 1] = text else good[#good + 1] = clip end
    local claimed = math.max(clip.stop < math.huge and clip.stop or 0, clip.to or 0)
    if claimed > stop + labels.SLACK then
      short[#short + 1] = string.format("'%s' at %.6g s, not %.6g s", clip.clip, stop, claimed)
    end
  end
  if #short > 0 then core.warn("clips end before their table says: " .. named(short, "; ")) end
  if #bad == 0 then return good end
  local text = string.format("labels of %d of %d clips do not fit their frames: ", #bad, #list) .. named(bad, "; ")
  if not options.skip_failed then error(core.where() .. text, 0) end
  core.warn(text)
  if #good == 0 then error(core.where() .. "features: no clip's labels fit its frames", 0) end
  return good
end

return labels
