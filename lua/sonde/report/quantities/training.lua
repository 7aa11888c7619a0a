--- training - what a training reports, by itself and block by block.

local register = require("sonde.report.quantity").register

local look = "Lines that fall with depth make use of it; a line that flattens or rises does not, or did not train."

register("perplexity", {
  axis = "%sperplexity", doc = "Perplexity is exp of the mean cross-entropy per %stoken, in nats.", look = look,
  of_text = true,
})

register("loss", {
  axis = "%sloss (nats per token)", doc = "Mean cross-entropy per %stoken.", look = look, of_text = true,
  over_training = {
    place = 1, title = "Training loss", axis = "training loss (nats per token)",
    doc = "Cross-entropy on the training batches, averaged over seeds and neighbouring steps.",
    look = "Where lines split shows when a placement falls behind; a jump is an instability.",
  },
})

register("grad_norm", {
  place = 2, title = "Gradient norm along the depth", axis = "gradient norm of the block", log = true,
  doc = "L2 norm of the loss gradient over all parameters of a block, before clipping, after training.",
  look = "A level line trains all blocks alike; a slope starves one end of the network.",
})

register("block_grad_norm", {
  doc = "L2 norm of the loss gradient over the parameters of each block.",
  over_training = {
    place = 3, title = "Gradient norm of the first block over training", axis = "gradient norm, block 0", log = true,
    pick = "first", doc = "L2 norm over the block's parameters before clipping, averaged over seeds.",
    look = "Spikes come before divergence; a line far below the others is a first block that hardly trains.",
  },
})

register("variance", {
  doc = "Variance over the features of what leaves each block.",
  over_training = {
    place = 2, title = "Residual variance of the last block over training", axis = "variance after the last block",
    log = true, pick = "last",
    doc = "Variance over the features of what leaves the last block, averaged over tokens and seeds.",
    look = "A line that keeps rising shows a stream that training inflates.",
  },
})

register("attention_entropy", {
  doc = "Entropy of the attention weights of a query in each block, in nats: mean over heads and tokens.",
  over_training = {
    place = 4, title = "Attention entropy over training", axis = "attention entropy (nats)", pick = "mean",
    doc = "Entropy of a query's attention weights, averaged over tokens, heads, blocks and seeds.",
    look = "A line that falls towards 0 shows attention that collapses onto single tokens (Zhai et al., 2023).",
  },
})

register("weight_decay", { short = "weight decay", axis = "weight decay λ",
  doc = "The decoupled weight decay of matrices." })
