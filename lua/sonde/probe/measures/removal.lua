--- removal.lua - what the loss does without a block, without a range of blocks, and with two blocks
-- exchanged.

local core = require "sonde.core"
local register = require("sonde.probe.registry").register

local function losses(session, edits)
  local jobs = { { scored = true, nodes = function(base) return { session.window_loss(base) } end } }
  for i, edit in ipairs(edits) do
    jobs[i + 1] = { edit = edit, scored = true, nodes = function(_, edited) return { session.window_loss(edited) } end }
  end
  return jobs
end

local function removals(mean, session)
  local list = core.list()
  for block = 1, session.depth do list[block] = mean[block + 1][1] - mean[1][1] end
  return list
end

register("layer_removal", {
  definition = "rise of the mean loss when a block only passes the stream on, one block at a time",
  unit = "nats", source = "Yin et al., 2024; Sun et al., 2025", log = false, axis = "rise of the loss (nats)",
  title = "What removing one block costs", look = "Values near 0 mark blocks that the model does not need.",
  jobs = function(session)
    local edits = {}
    for block = 0, session.depth - 1 do edits[block + 1] = session:skip(block) end
    return losses(session, edits)
  end,
  value = removals,
})

-- The same of one branch of each block. Where there is none, nothing is lost.
for slot, name in pairs { attn = "attention", ffn = "feed-forward" } do
  register(slot .. "_removal", {
    definition = "rise of the mean loss when the " .. name .. " branch of a block is removed, one block at a time",
    unit = "nats", source = "He et al., What Matters in Transformers?, 2024",
    jobs = function(session)
      local edits = {}
      for block = 0, session.depth - 1 do
        edits[block + 1] = session:edit(slot .. " " .. block, { gate = { [block] = { [slot] = 0 } } })
      end
      return losses(session, edits)
    end,
    value = removals,
  })
end

register("layer_removal_ranges", {
  definition = "rise of the mean loss without n blocks in a row; row n (from 1) holds the first block removed, "
    .. "0 .. L - n",
  unit = "nats", source = "Gromov et al., 2024", axes = { "blocks n", "first block" },
  jobs = function(session)
    local edits = {}
    for n = 1, session.depth do
      for first = 0, session.depth - n do edits[#edits + 1] = session:skip(first, first + n - 1) end
    end
    return losses(session, edits)
  end,
  value = function(mean, session)
    local rows, at = core.list(), 1
    for n = 1, session.depth do
      rows[n] = core.list()
      for first = 0, session.depth - n do
        at = at + 1
        rows[n][first + 1] = mean[at][1] - mean[1][1]
      end
    end
    return rows
  end,
})

-- Blocks whose parameters can be exchanged are of one group: block -> number of its group; and what to say where there
-- are several.
local function grouped(model)
  local groups, place, why = {}, {}, nil
  for block = 0, model.config.depth - 1 do
    for g, group in ipairs(groups) do
      local reason = model:mismatch(group[1], block)
      if not reason then place[block] = g end
      why = why or reason
    end
    place[block] = place[block] or #groups + 1
    groups[place[block]] = groups[place[block]] or {}
    table.insert(groups[place[block]], block)
  end
  for g, group in ipairs(groups) do groups[g] = table.concat(group, ",") end
  return place, why and "no score for blocks of different groups (" .. table.concat(groups, " | ")
    .. "), which hold different parameters: " .. why
end

register("permutation", {
  title = "Two blocks exchanged", axis = "relative change of the loss",
  definition = "|L' - L| / L with the parameters of two blocks exchanged, L the mean loss; high: blocks are special to "
    .. "their places. Score: mean over pairs; weighted: mean over blocks i of 0.9^i times the mean over their pairs",
  source = "the code of Sparsity and the Curse of Depth", axes = { "block", "block" },
  note = function(session) return select(2, grouped(session.model)) end,
  jobs = function(session)
    local edits = {}
    session.group = grouped(session.model)
    for a = 0, session.depth - 1 do
      for b = a + 1, session.depth - 1 do
        if session.group[a] == session.group[b] then edits[#edits + 1] = session:swap(a, b) end
      end
    end
    return losses(session, edits)
  end,
  value = function(mean, session)
    local rows, at, sum = core.list(), 1, 0
    local own, pairs_with = {}, {}      -- of each block
    for a = 1, session.depth do rows[a], own[a], pairs_with[a] = core.list(), 0, 0 end
    for a = 1, session.depth do
      rows[a][a] = 0
      for b = a + 1, session.depth do
        local score = 0 / 0
        if session.group[a - 1] == session.group[b - 1] then
          at = at + 1
          score = math.abs(mean[at][1] - mean[1][1]) / mean[1][1]
          sum = sum + score
          for _, block in ipairs { a, b } do
            own[block], pairs_with[block] = own[block] + score, pairs_with[block] + 1
          end
        end
        rows[a][b], rows[b][a] = score, score
      end
    end
    local weighted, blocks = 0, 0
    for a = 1, session.depth do
      if pairs_with[a] > 0 then
        weighted, blocks = weighted + 0.9 ^ (a - 1) * own[a] / pairs_with[a], blocks + 1
      end
    end
    return rows, { score = sum / (at - 1), weighted = weighted / blocks }
  end,
})
