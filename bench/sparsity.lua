-- Which sparsity method keeps a trained model's loss: windows of validation text, paired with the dense model's.
-- sonde run bench/sparsity.lua; with --set model=DIR a model of the default corpus that is there already, --set
-- tokens=N of the training and --set windows=N of the loss other than 1500000 and 240.
local sonde = require "sonde"
local core = require "sonde.core"
local corpus = sonde.corpus("default", { vocab = 2048 })
local model
if sonde.settings.model then
  model = sonde.load(sonde.settings.model)
else
  model = sonde.transformer { vocab = corpus.vocab, width = 128, depth = 6, heads = 4, context = 128, seed = 1 }
  sonde.train(model, corpus, {
    tokens = sonde.settings.tokens or 1500000, batch = 16, lr = 3e-3, eval_every = 0, probe_every = 0 })
end
local CONTEXT, WINDOWS, BATCH = 128, sonde.settings.windows or 240, 8
local calibration = corpus.handle:tokens("train", 0, 128 * CONTEXT + 1)

local function losses(of)
  local stream = require("sonde.data.windows").open(corpus, of, CONTEXT)
  local trace = of:trace { batch = BATCH, context = CONTEXT }
  local plan = core.plan { require("sonde.probe.session").window_loss(trace) }
  local tokens, targets = core.tensor("i32", { BATCH, CONTEXT }), core.tensor("i32", { BATCH * CONTEXT })
  plan:set("tokens", tokens)
  plan:set("targets", targets)
  local values = {}
  local rows = math.min(WINDOWS, math.floor((stream:tokens() - 1) / CONTEXT / BATCH) * BATCH)
  for row = 0, rows - 1, BATCH do
    stream:fill(row, tokens, targets)
    plan:run()
    for _, value in ipairs(plan:output(1):values()) do values[#values + 1] = value end
  end
  plan:close()
  return values
end

local function mean(list)
  local sum = 0
  for _, x in ipairs(list) do sum = sum + x end
  return sum / #list
end

local function interval(a, b)      -- of the mean of a - b
  local d = {}
  for k = 1, #a do d[k] = a[k] - b[k] end
  local m, v = mean(d), 0
  for _, x in ipairs(d) do v = v + (x - m) ^ 2 end
  return m, 1.96 * math.sqrt(v / (#d - 1) / #d)
end

local dense = losses(model)
print(string.format("dense %.4f (%d windows)", mean(dense), #dense))
for _, sparsity in ipairs { 0.5, "2:4", 0.7 } do
  local magnitude
  for _, name in ipairs { "magnitude", "wanda", "sparsegpt", "movement", "gate", "random" } do
    local sparse, facts = sonde.sparsify(model, { method = name, sparsity = sparsity, text = calibration,
      context = CONTEXT })
    local own = losses(sparse)
    magnitude = magnitude or own
    local rise, half = interval(own, dense)
    local better, half_better = interval(magnitude, own)
    print(string.format("%-4s %-10s loss %.4f  rise %.4f +- %.4f  below magnitude %.4f +- %.4f  %.1f s", sparsity, name,
      mean(own), rise, half, better, half_better, facts.seconds))
  end
end
