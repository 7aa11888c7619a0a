--- baselines.lua - what simple models get of clips in place of the features of each frame, and a logistic regression.

local core = require "sonde.core"
local features = require "sonde.video.features"
local reading = require "sonde.video.reading"

local baselines = {}

local CELL, DIVERGENCE, COUNT = 5, 5, 4        -- of a field's cells: src/video/analyse.h
local MOST_COUNT = 0.5                         -- share of a cell's blocks that must have structure
local SMOOTHED = 5                             -- frames

--- The mean of the features over the frames so far; as features.arrays.
---@param set sonde.clips
---@param part string
---@param options table
---@return table
function baselines.mean(set, part, options)
  local data, frames = features.arrays(set, part, options), options.frames
  local sums, shares = {}, {}
  for to = 1, frames do
    for from = 1, frames do sums[#sums + 1] = from <= to and 1 or 0 end
  end
  for n, rows in ipairs(data.rows) do
    for k = 1, frames do shares[(n - 1) * frames + k] = 1 / math.max(1, k - (frames - rows)) end
  end
  local graph = core.graph()
  local w = graph:leaf("sums", core.tensor("f32", { frames, frames }, sums))
  local share = graph:leaf("shares", core.tensor("f32", { #data.rows, frames, 1 }, shares))
  local x = graph:leaf("x", data.features):permute { 1, 3, 2 }:linear(w):permute { 1, 3, 2 } * share
  data.features = reading.compute({ x })[1]
  graph:close()
  return data
end

-- 1 / time to collision (1/s) of a frame, of the values of all its motion: half the largest divergence of a cell.
local function looming(values, at, width)
  local best = 0
  for c = at, at + width - CELL, CELL do
    if values[c + COUNT] >= MOST_COUNT then best = math.max(best, values[c + DIVERGENCE] / 2) end
  end
  return best
end

--- 1 / time to collision by the divergence alone, mean of the last frames, and its largest value so far.
---@param set sonde.clips
---@param part string
---@param options table
---@return table
function baselines.looming(set, part, options)
  local frames = options.frames
  local data = features.arrays(set, part, { frames = frames, parts = { "all" }, mirror = options.mirror })
  local values, width, numbers = data.features:values(), data.features:dims()[3], {}
  for n, rows in ipairs(data.rows) do
    local recent, largest = {}, 0
    for k = 1, frames do
      local i = (n - 1) * frames + k - 1
      if k > frames - rows then
        table.insert(recent, 1, looming(values, i * width, width))
        recent[SMOOTHED + 1] = nil
      end
      local sum = 0
      for _, x in ipairs(recent) do sum = sum + x end
      local now = sum / math.max(1, #recent)
      largest = math.max(largest, now)
      numbers[2 * i + 1], numbers[2 * i + 2] = now, largest
    end
  end
  data.features = core.tensor("f32", { #data.rows, frames, 2 }, numbers)
  return data
end

--- A logistic regression for a feed of clips: logits are a matrix times the features of the frame. For recognition
--- there is a bias too; the order of risks does not depend on one.
---@param about sonde.clip_reading
---@param seed? integer
---@return sonde.model
function baselines.logistic(about, seed)
  return require("sonde.model.transformer").new {
    features = about.features, objective = { "weighted_classifier", classes = about.classes }, width = 8, depth = 1,
    heads = 1, context = about.frames, final_norm = "none", seed = seed or 0,
    positions = about.task == "recognition" and "learned" or "rope", placement = function(_, x) return x end,
  }
end

return baselines
