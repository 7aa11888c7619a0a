--- sonde.clip_metrics - how good scores of clips are: recognition of their classes, and warning before an event.
--
-- doc/video.md has the formulas. Clips are drawn anew with replacement for the intervals: frames of one clip depend on
-- each other.

local core = require "sonde.core"
local args = require "sonde.base.args"
local random_of = require("sonde.probe.bootstrap").random
local stats = require "sonde.base.stats"

local metrics = {}

local LEVEL, HOUR = 0.95, 3600
local MOST_CLASSES = 4096      -- the confusion matrix has the square of it

local score = { name = "score", type = "number", doc = "" }

-- One clip, for warning.
local clip = {
  { name = "scores", type = "list", of = score, some = true, required = true, doc = "risk of each frame" },
  { name = "rate", type = "number", min = 1e-3, required = true, doc = "frames a second" },
  { name = "event", type = "integer", min = 1,
    doc = "frame of the event (from 0); absent: nothing happens. Frames from it on do not count as warnings" },
  { name = "from", type = "integer", min = 0, doc = "first frame that is abnormal (from 0), for the frames' AUC" },
  { name = "to", type = "integer", min = 0, doc = "the frame behind the last abnormal one" },
}

--- Options of measures.
---@type sonde.schema
metrics.schema = {
  { name = "resamples", type = "integer", min = 0, max = 1000000, preset = 1000,
    doc = "draws of the bootstrap; 0: no intervals" },
  { name = "seed", type = "integer", min = 0, preset = 1, doc = "of the draws" },
  { name = "leads", type = "list", some = true, of = { name = "seconds", type = "number", min = 0, doc = "" },
    preset = { 0.5, 1, 1.5 }, doc = "seconds before the event by which a warning must be there" },
  { name = "alarms_per_hour", type = "number", min = 0, preset = 10, doc = "false alarms that are allowed" },
  { name = "compat", type = "string", choices = { "ustring" },
    doc = "ustring: also what the usual script computes, with its faults" },
  { name = "draws", type = "boolean", preset = false, doc = "give the values of all draws, for differences of models" },
}

-- ---- what is prepared once, so that a draw only adds weights -------------------------------------------------------

-- Scores of the frames that count: before the event, or all.
local function used(c) return c.event and math.min(c.event, #c.scores) or #c.scores end

local function highest(c, n)
  local best = -math.huge
  for j = 1, n do best = math.max(best, c.scores[j]) end
  return best
end

local function by_value(a, b)
  if a.value ~= b.value then return a.value > b.value end
  if a.order ~= b.order then return a.order < b.order end
  return a.clip < b.clip
end

-- Of a positive, every score that is higher than all before it: from that threshold down, the first alarm is there.
local function first_alarms(clips)
  local list = {}
  for i, c in ipairs(clips) do
    local best, n = -math.huge, used(c)
    local top = highest(c, n)
    for j = 1, c.event and n or 0 do
      if c.scores[j] > best then
        best = c.scores[j]
        -- Those that make a clip a hit come first of equals: what came before holds for the thresholds above.
        list[#list + 1] = { value = best, clip = i, tta = (c.event - (j - 1)) / c.rate, order = best == top and 0 or 1,
          first = best == top }
      end
    end
  end
  table.sort(list, by_value)
  return list
end

-- Rising edges of negatives: one more alarm at thresholds from a score down to above the one before it.
local function edges(clips)
  local list = {}
  for i, c in ipairs(clips) do
    local before = -math.huge
    for j = 1, c.event and 0 or #c.scores do
      local s = c.scores[j]
      if s > before then
        list[#list + 1] = { value = s, clip = i, change = 1, order = 0 }
        if before > -math.huge then list[#list + 1] = { value = before, clip = i, change = -1, order = 0 } end
      end
      before = s
    end
  end
  table.sort(list, by_value)
  return list
end

local function tops(clips)
  local list = {}
  for i, c in ipairs(clips) do
    list[i] = { value = highest(c, used(c)), clip = i, order = 0, positive = c.event ~= nil }
  end
  table.sort(list, by_value)
  return list
end

local function frames(clips)
  local list = {}
  for i, c in ipairs(clips) do
    for j, s in ipairs(c.scores) do
      local abnormal = c.from ~= nil and j - 1 >= c.from and j - 1 < c.to
      list[#list + 1] = { value = s, clip = i, order = 0, positive = abnormal }
    end
  end
  table.sort(list, by_value)
  return list
end

-- The highest score by a lead before the event; -inf: the clip has no such frame.
local function by_lead(clips, lead)
  local list = {}
  for i, c in ipairs(clips) do
    if c.event then list[i] = highest(c, math.min(c.event - math.floor(lead * c.rate + 0.5) + 1, used(c))) end
  end
  return list
end

-- ---- measures of weighted clips ------------------------------------------------------------------------------------

-- Sum over the recalls of (R_k - R_(k-1)) precision_k, thresholds at each distinct highest score.
local function average_precision(list, weight)
  local hits, alarms, all, sum = 0, 0, 0, 0
  for _, e in ipairs(list) do
    if e.positive then all = all + weight[e.clip] end
  end
  local k = 1
  while k <= #list do
    local value, gained = list[k].value, 0
    while k <= #list and list[k].value == value do
      local w = weight[list[k].clip]
      alarms = alarms + w
      if list[k].positive then gained = gained + w end
      k = k + 1
    end
    hits = hits + gained
    if gained > 0 then sum = sum + gained / all * hits / alarms end
  end
  return all > 0 and all < alarms and sum or nil
end

-- For each distinct recall the largest mean time to the event: the lowest threshold that has it.
local function times(list, weight)
  local all, sum, found, value = 0, 0, 0, nil
  local groups, now = {}, {}
  for _, e in ipairs(list) do
    if e.first then all = all + weight[e.clip] end
  end
  for _, e in ipairs(list) do
    local w = weight[e.clip]
    if w > 0 then
      if e.first then
        if value and e.value < value then groups[#groups + 1] = { recall = found / all, tta = sum / found } end
        value, found = e.value, found + w
      end
      sum, now[e.clip] = sum + w * (e.tta - (now[e.clip] or 0)), e.tta
    end
  end
  if found > 0 then groups[#groups + 1] = { recall = found / all, tta = sum / found } end
  return groups
end

local function mean_time(groups)
  local sum = 0
  for _, g in ipairs(groups) do sum = sum + g.tta end
  return #groups > 0 and sum / #groups or nil
end

-- The recall nearest 0.8; of two the higher one.
local function time_at(groups, recall)
  local best
  for _, g in ipairs(groups) do
    if not best or math.abs(g.recall - recall) <= math.abs(best.recall - recall) + 1e-12 then best = g end
  end
  return best
end

-- Share of pairs of an abnormal and another frame, of all clips together, in which the abnormal one has the higher
-- score; equal ones count half.
local function area(list, weight)
  local above, positive, negative, k = 0, 0, 0, 1
  while k <= #list do
    local value, p, n = list[k].value, 0, 0
    while k <= #list and list[k].value == value do
      local w = weight[list[k].clip]
      if list[k].positive then p = p + w else n = n + w end
      k = k + 1
    end
    above = above + n * (positive + p / 2)
    positive, negative = positive + p, negative + n
  end
  return positive > 0 and negative > 0 and above / (positive * negative) or nil
end

-- The highest threshold that has too many alarms: alarms are raised above it. -inf: no threshold has.
local function threshold(list, weight, allowed)
  local count, k = 0, 1
  while k <= #list do
    local value = list[k].value
    while k <= #list and list[k].value == value do
      count = count + list[k].change * weight[list[k].clip]
      k = k + 1
    end
    if count > allowed + 1e-9 then return value end
  end
  return -math.huge
end

local function recall_above(list, weight, bad)
  local hits, all = 0, 0
  for i, best in pairs(list) do
    all = all + weight[i]
    if best > bad then hits = hits + weight[i] end
  end
  return all > 0 and hits / all or nil
end

local function lead_name(lead) return "recall_" .. string.format("%g", lead) .. "s" end

local function measure(prepared, weight, options)
  local hours, result = 0, {}
  for i, seconds in pairs(prepared.quiet) do hours = hours + weight[i] * seconds / HOUR end
  local groups = times(prepared.alarms, weight)
  local at80 = time_at(groups, 0.8)
  result.ap = average_precision(prepared.tops, weight)
  result.mean_tta, result.tta_r80, result.recall_r80 = mean_time(groups), at80 and at80.tta, at80 and at80.recall
  result.frame_auc = area(prepared.frames, weight)
  if hours > 0 then
    local bad = threshold(prepared.edges, weight, options.alarms_per_hour * hours)
    for k, lead in ipairs(options.leads) do result[lead_name(lead)] = recall_above(prepared.leads[k], weight, bad) end
  end
  return result
end

-- ---- intervals -----------------------------------------------------------------------------------------------------

-- of(weights) on all clips and on draws of them: name -> {value, ci = {low, high}, n: draws that have a value}.
local function with_intervals(n, options, of)
  local random, once, draws = random_of(options.seed), {}, {}
  for i = 1, n do once[i] = 1 end
  local all, result = of(once), {}
  for _ = 1, n > 1 and options.resamples or 0 do
    local weight = {}
    for i = 1, n do weight[i] = 0 end
    for _ = 1, n do
      local i = random(n) + 1
      weight[i] = weight[i] + 1
    end
    for name, value in pairs(of(weight)) do
      draws[name] = draws[name] or {}
      table.insert(draws[name], value)
    end
  end
  for name, value in pairs(all) do
    local list = draws[name] or {}
    local tail = (1 - LEVEL) / 2
    local ci = #list > 1 and core.list { stats.quantile(list, tail), stats.quantile(list, 1 - tail) } or nil
    result[name] = { value = value, ci = ci, draws = options.draws and core.list(list) or nil }
  end
  return result
end

local function check_clip(c, k)
  local function refuse(text) error(core.where() .. string.format("clip_metrics: clip %d ", k) .. text, 0) end
  if c.event and c.event > #c.scores then refuse("has its event behind the last score") end
  if (c.from == nil) ~= (c.to == nil) then refuse("has only one of from and to") end
  if c.from and c.from >= c.to then refuse("is abnormal from a frame that is not before its end") end
end

--- Measures of warning, each {value, ci}: ap (exact average precision), mean_tta and tta_r80 (s; recall_r80 is the
--- recall that is nearest 0.8), frame_auc (all frames of all clips), and as the main ones recall_0.5s, recall_1s and
--- recall_1.5s: the share of events of which a warning was there so long before, at the lowest threshold from which on
--- no threshold has more false alarms than are allowed. What cannot be computed (no negative clip, no abnormal frame)
--- is absent. `clips` is how many there were.
---@param clips table[]        {scores, rate, event, from, to}
---@param options? table       see metrics.schema
---@return table<string, {value: number, ci: number[]|nil}|integer>
function metrics.warning(clips, options)
  options = args.check(metrics.schema, options, "clip_metrics")
  if #clips == 0 then error(core.where() .. "clip_metrics: there is no clip", 0) end
  local list = {}
  for k, c in ipairs(clips) do
    list[k] = args.check(clip, c, string.format("clip %d", k))
    check_clip(list[k], k)
  end
  local prepared = { alarms = first_alarms(list), edges = edges(list), tops = tops(list), frames = frames(list),
    leads = {}, quiet = {} }
  for k, lead in ipairs(options.leads) do prepared.leads[k] = by_lead(list, lead) end
  for i, c in ipairs(list) do
    if not c.event then prepared.quiet[i] = #c.scores / c.rate end
  end
  local result = with_intervals(#list, options, function(weight) return measure(prepared, weight, options) end)
  result.clips = #list
  if options.compat then result.ustring = require("sonde.video.ustring").measures(list) end
  return result
end

--- Accuracy of recognition with its interval, and the confusion matrix: counts by true class (rows) and by what was
--- recognised (columns). `clips` is how many there were.
---@param truth integer[]        classes from 0
---@param guessed integer[]
---@param classes integer        how many there are
---@param options? table
---@return {accuracy: table, confusion: integer[][], recall: number[], clips: integer}
function metrics.recognition(truth, guessed, classes, options)
  options = args.check(metrics.schema, options, "clip_metrics")
  if #truth ~= #guessed or #truth == 0 then
    error(core.where() .. string.format("clip_metrics: %d classes and %d recognised", #truth, #guessed), 0)
  end
  local confusion, hit, recall = core.list(), {}, core.list()
  for k = 1, classes do
    confusion[k] = core.list()
    for m = 1, classes do confusion[k][m] = 0 end
  end
  for i, class in ipairs(truth) do
    for _, c in ipairs { class, guessed[i] } do
      if c < 0 or c >= classes then
        error(core.where() .. string.format("clip_metrics: class %d of clip %d is not below %d", c, i, classes), 0)
      end
    end
    local row = confusion[class + 1]
    row[guessed[i] + 1] = row[guessed[i] + 1] + 1
    hit[i] = class == guessed[i] and 1 or 0
  end
  for k = 1, classes do
    local sum = 0
    for m = 1, classes do sum = sum + confusion[k][m] end
    recall[k] = sum > 0 and confusion[k][k] / sum or 0
  end
  local accuracy = with_intervals(#truth, options, function(weight)
    local sum = 0
    for i, w in ipairs(weight) do sum = sum + w * hit[i] end
    return { accuracy = sum / #truth }
  end).accuracy
  return { accuracy = accuracy, confusion = confusion, recall = recall, clips = #truth }
end

local integers = { name = "class", type = "integer", doc = "" }

return args.declare(metrics, "sonde.clip_metrics.", {
  warning = { { name = "clips", type = "list", of = { name = "clip", type = "table", doc = "" }, required = true },
    { name = "options", type = "table" } },
  recognition = { { name = "truth", type = "list", of = integers, required = true },
    { name = "guessed", type = "list", of = integers, required = true },
    { name = "classes", type = "integer", min = 1, max = MOST_CLASSES, required = true },
    { name = "options", type = "table" } },
})
