--- scores - one number of a trained model for each probe.

local register = require("sonde.report.quantity").register

register("last_variance", {
  short = "variance of the last block", axis = "variance of the last block",
  doc = "Variance over the features of the stream after the last block, before the final norm; mean over tokens.",
})
register("usefulness_score", {
  short = "usefulness", axis = "usefulness", log = false,
  doc = "Share of blocks whose best affine map in their place raises the loss by more than a tenth.",
})
register("usefulness_mean_ratio", {
  short = "mean loss ratio", axis = "mean loss ratio", log = false,
  doc = "Loss with a block's best affine map in its place over the loss without, mean over blocks: usefulness by "
    .. "degrees, a measure of ours.",
})
register("causal_score", {
  short = "causal score", axis = "causal score", log = false,
  doc = "Relative change of what later blocks add without an earlier one; mean over pairs of blocks.",
})
register("permutation_score", {
  short = "permutation score", axis = "permutation score",
  doc = "Relative change of the loss with two blocks exchanged; mean over pairs. High: they are special to their "
    .. "places.",
})

for name, of in pairs { jacobian_mean_deviation = "", jacobian_estimate_mean_deviation = ", by random vectors" } do
  register(name, {
    short = "Jacobian deviation", axis = "Jacobian deviation",
    doc = "||J - I||_F / D of a block's Jacobian J, mean over blocks" .. of .. ".",
  })
end

for column, what in pairs { ["1e-3"] = "|w| ≤ 0.001", ["3e-3"] = "|w| ≤ 0.003", ["1e-2"] = "|w| ≤ 0.01",
  sd_over_100 = "|w| ≤ 0.01 sd", sd_over_10 = "|w| ≤ 0.1 sd" } do
  register("weight_sparsity_total_" .. column, {
    short = "weight sparsity (" .. what .. ")", axis = "weight sparsity", log = false,
    doc = "Share of the weights of all blocks' matrices with " .. what .. ".",
  })
end

for name, what in pairs { milli = "0.001", centi = "0.01", tenth = "a tenth of an even share",
  hundredth = "a hundredth of an even share" } do
  register("attention_sparsity_" .. name .. "_mean", {
    short = "attention sparsity (< " .. what .. ")", axis = "attention sparsity", log = false,
    doc = "Share of the keys that a query sees whose weight is below " .. what .. ", mean over all heads.",
  })
end
