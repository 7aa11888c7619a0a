-- made.lua - small models and text for the tests of pruning.
local sonde = require "sonde"

local made = {}

--- A model with weights large enough for every block to matter.
function made.model(options)
  local all = { vocab = 23, width = 16, depth = 6, heads = 2, context = 12, init_std = 0.3, seed = 5 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

--- Token ids with an order in them.
function made.ids(n)
  local ids = {}
  for i = 1, n do ids[i] = (i * i + 3 * i + (i % 7 == 0 and i or 0)) % 23 end
  return ids
end

--- The same as a corpus that sonde.train takes.
function made.corpus(n)
  return { vocab = 23, handle = sonde.tensor("i32", { n }, made.ids(n)), spec = "made", hash = "made" }
end

--- The mean loss on ids, with the interventions of a trace.
function made.loss(model, ids, interventions)
  local options = { batch = 1, context = #ids - 1 }
  for key, value in pairs(interventions or {}) do options[key] = value end
  local trace = model:trace(options)
  local tokens, targets = {}, {}
  for i = 1, #ids - 1 do tokens[i], targets[i] = ids[i], ids[i + 1] end
  return sonde.value(trace:mean_loss(), { tokens = tokens, targets = targets })
end

--- Trains a model so that its blocks are worth something; `kept` are patterns of what must not change.
function made.train(model, kept)
  local trainable = { "*" }
  for _, pattern in ipairs(kept or {}) do trainable[#trainable + 1] = "!" .. pattern end
  sonde.train(model, made.corpus(1600), { batch = 4, steps = 200, lr = 3e-3, trainable = trainable, progress = false,
    eval_every = 0, probe_every = 0 })
  return model
end

--- Block `index` passes the stream on: what its branches add is nothing.
function made.silence(model, index)
  for _, name in ipairs { "self_attn.o_proj", "mlp.down_proj" } do
    model:params():find(("model.layers.%d.%s.weight"):format(index, name)):fill(0)
  end
end

--- A strategy that removes the blocks it is told to: made.these = { 1, 3 }.
sonde.prune_strategy("these", function() return made.these end)

function made.without(model, blocks, options)
  made.these = blocks
  local all = { strategy = "these", remove = #blocks }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.prune(model, all)
end

return made
