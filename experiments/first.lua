-- Does a norm on both sides of each branch keep deep blocks useful?
local sonde = require "sonde"
local corpus = sonde.corpus("default", { vocab = 2048 })

-- A placement is a function of a block and the residual stream.
local function both_sides(block, x)
  x = x + block:norm_out "attn" (block:attention(block:norm_in "attn" (x)))
  return x + block:norm_out "ffn" (block:ffn(block:norm_in "ffn" (x)))
end
sonde.placement("both_sides", both_sides)

local sweep = sonde.sweep {
  name = "first",
  grid = { depth = { 4, 8 }, placement = { "pre_ln", "both_sides" }, seed = { 1, 2 } },
}

sweep:run(function(trial, p)
  local model = sonde.transformer {
    vocab = corpus.vocab, width = 64, heads = 4, context = 64,
    depth = p.depth, placement = p.placement, seed = p.seed,
  }
  local result = sonde.train(model, corpus, { tokens = 50000, batch = 8, lr = 3e-3 })
  trial:report { perplexity = result.perplexity }
  trial:report(sonde.probe(model, corpus, { "variance", "layer_removal" }))
end)

sweep:summary { by = { "placement", "depth" }, metric = "perplexity" }
