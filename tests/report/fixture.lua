-- A small sweep's data with every kind of trial in it, made up by a formula.
local fixture = {}

local function trial(depth, placement, seed)
  local id = ("depth=%d,placement=%s,seed=%d"):format(depth, placement, seed)
  local base = ({ pre_ln = 40, lns = 30 })[placement] - depth
  local made = { id = id, params = { depth = depth, placement = placement, seed = seed }, status = "done",
    seconds = 61.5,
    link = id, results = { perplexity = base + 0.1 * seed }, arrays = { variance = {}, grad_norm = {} }, history = {} }
  for block = 1, depth do
    made.arrays.variance[block] = (placement == "pre_ln" and 2 or 1.1) ^ block
    made.arrays.grad_norm[block] = 1 / block
  end
  for step = 1, 5 do
    made.history[step] = { step = step, tokens = step * 1e5, loss = 5 / step, variance = made.arrays.variance }
  end
  return made
end

--- Fresh data: 2 depths, 2 placements, 3 seeds, all done.
function fixture.data()
  local data = { name = "fixture", title = "A fixture", question = "Which is lower?", metric = "perplexity",
    by = { "placement", "depth" }, command = "sonde run fixture.lua", trials = {},
    grid = { { name = "depth", values = { 2, 4 } }, { name = "placement", values = { "pre_ln", "lns" } },
      { name = "seed", values = { 1, 2, 3 } } },
    provenance = { { "machine", "two cores" } }, configs = { { "first trial", "width: 64" } } }
  for _, depth in ipairs { 2, 4 } do
    for _, placement in ipairs { "pre_ln", "lns" } do
      for seed = 1, 3 do data.trials[#data.trials + 1] = trial(depth, placement, seed) end
    end
  end
  return data
end

--- The trial of these parameters.
function fixture.find(data, depth, placement, seed)
  for _, t in ipairs(data.trials) do
    if t.params.depth == depth and t.params.placement == placement and t.params.seed == seed then return t end
  end
end

return fixture
