--- ustring.lua - the measures of the script that papers on accident anticipation usually call (UString, DSTA and
-- others: evaluation() in eval_tools.py), so that their tables can be compared with. It has faults, which are kept:
--
--  1. a time to the accident is 1 - first alarm / accident, as a share of each clip's time up to the accident, and is
--     made seconds by the whole length of a clip: too long by length / (time of accident);
--  2. the recalls' lowest value is always dropped, meant to be the zeros behind the rows;
--  3. a threshold without a hit writes its row, but the next one overwrites it;
--  4. scores times label are compared with the threshold, so that at threshold 0 negatives are hits;
--  5. of the highest recall the first row is taken, not the best one; which that is depends on an unstable sort (here
--     it is stable: rows of equal recall stay in the order of the thresholds);
--  6. precision between recalls is joined by straight lines, and thresholds go in steps of 0.001: scores closer than
--     that are one, and ties are decided by how multiples of 0.001 are rounded;
--  7. with fewer frames than thresholds the script fails; here there are as many rows as it needs.

local ustring = {}

local STEP = 0.001

-- The script's arrays, one row for each threshold; rows of zeros behind them.
local function rows_of(clips, lowest, frames)
  local rows, at, k = {}, 1, 0
  local first = math.max(lowest, 0)
  local step = (first + STEP) - first                  -- as numpy's arange adds it
  local positives = 0
  for _, c in ipairs(clips) do positives = positives + (c.event and 1 or 0) end
  while k < math.ceil((1 - first) / STEP) do
    local threshold, hits, alarms, time = first + k * step, 0, 0, 0
    for _, c in ipairs(clips) do
      local hit, alarm
      for j = 1, c.event or #c.scores do
        if not hit and c.scores[j] * (c.event and 1 or 0) >= threshold then hit = j - 1 end
        alarm = alarm or c.scores[j] >= threshold
      end
      if hit then hits, time = hits + 1, time + hit / (c.event or #c.scores) end
      if alarm then alarms = alarms + 1 end
    end
    if alarms > 0 then
      rows[at] = { precision = hits / alarms, recall = hits / positives, time = rows[at] and rows[at].time or 0 }
      if hits > 0 then
        rows[at].time = 1 - time / hits
        at = at + 1
      end
    end
    k = k + 1
  end
  for i = #rows + 1, math.max(frames, #rows + 1) do rows[i] = { precision = 0, recall = 0, time = 0 } end
  for i, row in ipairs(rows) do row.order = i end
  table.sort(rows, function(a, b)
    if a.recall ~= b.recall then return a.recall < b.recall end
    return a.order < b.order
  end)
  return rows
end

-- The best precision and time of each distinct recall but the lowest; of the highest, its first row's.
local function groups_of(rows)
  local groups = {}
  for _, row in ipairs(rows) do
    local last = groups[#groups]
    if not last or row.recall ~= last.recall then
      groups[#groups + 1] = { recall = row.recall, precision = row.precision, time = row.time, first = row }
    else
      last.precision, last.time = math.max(last.precision, row.precision), math.max(last.time, row.time)
    end
  end
  table.remove(groups, 1)
  local last = groups[#groups]
  if last then last.precision, last.time = last.first.precision, last.first.time end
  return groups
end

--- What the script gives; nil without positives, or where no recall is left. Clips count as long as the longest.
---@param clips table[]     {scores, rate, event}
---@return {ap: number, mean_tta: number, tta_r80: number, precision_r80: number|nil}|nil
function ustring.measures(clips)
  local lowest, frames, longest, positives = math.huge, 0, 0, 0
  for _, c in ipairs(clips) do
    local n = c.event or #c.scores
    for j = 1, n do lowest = math.min(lowest, c.scores[j]) end
    frames, longest, positives = frames + n, math.max(longest, #c.scores), positives + (c.event and 1 or 0)
  end
  if positives == 0 then return nil end
  local groups, seconds = groups_of(rows_of(clips, lowest, frames)), longest / clips[1].rate
  if #groups == 0 then return nil end
  local ap, sum, near, precision = groups[1].precision * groups[1].recall, 0, groups[1], nil
  for k, g in ipairs(groups) do
    local before = groups[k - 1]
    if before then ap = ap + (before.precision + g.precision) * (g.recall - before.recall) / 2 end
    if math.abs(g.recall - 0.8) < math.abs(near.recall - 0.8) then near = g end
    if not precision and g.recall >= 0.8 then precision = g.precision end
    sum = sum + g.time
  end
  return { ap = ap, mean_tta = sum / #groups * seconds, tta_r80 = near.time * seconds, precision_r80 = precision }
end

return ustring
