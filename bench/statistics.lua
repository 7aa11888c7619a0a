-- statistics.lua - what the statistics of every block cost a training, by the CPU time of updates that measure them and
-- of updates that do not: sonde run bench/statistics.lua --threads 1

local sonde = require "sonde"

local corpus = sonde.corpus("default", { vocab = 512, max_bytes = 300000 })

local function seconds(context, batch, every)
  local model = sonde.transformer { vocab = corpus.vocab, width = 128, depth = 8, heads = 4, context = context }
  local from, to
  sonde.train(model, corpus, {
    steps = 14, batch = batch, eval_every = 0, log_every = 1000, eval_tokens = 256, probe_every = every,
    progress = false,
    hooks = { { every = 2, call = function() from, to = from or os.clock(), os.clock() end } },
  })
  return to - from
end

for _, shape in ipairs { { 512, 1 }, { 128, 4 } } do
  local least = { math.huge, math.huge }
  for _ = 1, 4 do
    for every = 0, 1 do least[every + 1] = math.min(least[every + 1], seconds(shape[1], shape[2], every)) end
  end
  print(("context %d, batch %d: %+.1f %%"):format(shape[1], shape[2], 100 * (least[2] / least[1] - 1)))
end
