--- usefulness.lua - whether blocks are worth their nonlinearity: the loss with each replaced by its best
-- affine map.

local core = require "sonde.core"
local affine = require "sonde.probe.affine"
local register = require("sonde.probe.registry").register

local USEFUL = 1.10               -- loss ratio above which a block counts as useful

local function ranges_of(run)
  local ranges = {}
  for block = 0, run.depth - 1 do ranges[block + 1] = { block, block } end
  return ranges
end

-- Both probes use the same pass over the text: maps of the even windows, of the odd ones, and of all.
local function prepare(run)
  affine.check(run)
  local ranges, maps = ranges_of(run), {}
  affine.collect(run, ranges, function(i, even, odd)
    maps[i] = {
      even = run.rows > 1 and affine.solve(even, ranges[i]), odd = run.rows > 1 and affine.solve(odd, ranges[i]),
    }
    maps[i].all = affine.solve(even:merge(odd), ranges[i])
  end)
  run.maps = maps
end

local function losses(run, edit_of, before)
  local jobs = { { scored = true, nodes = function(base) return { run.window_loss(base) } end } }
  for block = 1, run.depth do
    jobs[block + 1] = {
      edit = edit_of(block), scored = true, before = before,
      nodes = function(_, edited) return { run.window_loss(edited) } end,
    }
  end
  return jobs
end

local function ratios(mean)
  local list, useful, sum = core.list(), 0, 0
  for block = 2, #mean do
    local ratio = mean[block][1] / mean[1][1]
    list[block - 1], sum = ratio, sum + ratio
    if ratio > USEFUL then useful = useful + 1 end
  end
  return list, { score = useful / #list, mean_ratio = sum / #list }
end

local text = "loss with the block replaced by the affine map x W + b (least squares over tokens, with the "
  .. "residual path) over the loss without"

register("usefulness", {
  title = "Usefulness of each block", axis = "loss ratio",
  definition = text .. ", on the windows of the fit. Score: share of blocks above 1.10; "
    .. "mean_ratio: mean over blocks",
  source = "the code of Sparsity and the Curse of Depth, with W the right way round", prepare = prepare,
  jobs = function(run)
    return losses(run, function(block) return run:edit("affine " .. block, affine.edit(run.maps[block].all)) end)
  end,
  value = ratios,
})

register("usefulness_held_out", {
  title = "Usefulness of each block, on other windows than the fit's", axis = "loss ratio",
  definition = "each window with the map fitted on those of the other parity: " .. text
    .. ". Score: share of blocks above 1.10; mean_ratio: mean over blocks",
  source = "the same, without scoring a fit on its own rows", prepare = prepare,
  jobs = function(run)
    if run.rows < 2 then error(core.where() .. "probe: usefulness_held_out needs 2 windows; give more tokens", 0) end
    affine.check(run, 2)
    local mask = core.tensor("f32", { run.batch, 1, 1 })
    local function before(start)      -- 1 for odd windows, which take the map of the even ones
      for i = 1, run.batch do mask:set(i, (start + i - 1) % 2) end
    end
    return losses(run, function(block)
      local maps = run.maps[block]
      return run:edit("affine held out " .. block, affine.edit(maps.even, maps.odd, mask))
    end, before)
  end,
  value = ratios,
})
