-- statistics.lua - what the statistics of every block cost a training: the CPU time of updates that measure them over
-- that of their neighbours which do not, of one training: sonde run bench/statistics.lua --threads 1

local sonde = require "sonde"

local corpus = sonde.corpus("default", { vocab = 512, max_bytes = 300000 })

local function quartiles(list)
  table.sort(list)
  return list[math.ceil(#list / 4)], list[math.ceil(#list / 2)], list[math.ceil(#list * 3 / 4)]
end

-- Of each update that measures: its time over the mean of that before it and that behind it.
local function ratios(context, batch, dtype)
  local model = sonde.transformer { vocab = corpus.vocab, width = 128, depth = 8, heads = 4, context = context }
  local at = {}
  sonde.train(model, corpus, {
    steps = 201, batch = batch, dtype = dtype, eval_every = 0, log_every = 1000, eval_tokens = 256, probe_every = 2,
    progress = false, hooks = { { every = 1, call = function(state) at[state.step] = os.clock() end } },
  })
  local list = {}
  for step = 6, 200, 2 do
    list[#list + 1] = 2 * (at[step] - at[step - 1]) / (at[step - 1] - at[step - 2] + at[step + 1] - at[step])
  end
  return list
end

for _, dtype in ipairs { "f32", "bf16" } do
  for _, shape in ipairs { { 512, 1 }, { 128, 4 } } do
    local low, middle, high = quartiles(ratios(shape[1], shape[2], dtype))
    print(("%s, context %d, batch %d: %+.1f %% (quartiles %+.1f and %+.1f)"):format(dtype, shape[1], shape[2],
      100 * (middle - 1), 100 * (low - 1), 100 * (high - 1)))
  end
end
