-- Are blocks of more use where most of their weights are zero?
--
-- Explicit sparsity of weights, which "When Does Sparsity Mitigate the Curse of Depth in LLMs" leaves out: one model is
-- pruned by magnitude while it is trained, to each share of its weights (a cubic schedule, then the masks are kept).
-- All arms see the same tokens.
--
--   sonde run experiments/sparsity_pruned.lua                             minutes on two cores
--   sonde run experiments/sparsity_pruned.lua --set scale=workstation     an hour
--   sonde run experiments/sparsity_pruned.lua --set scale=paper           1.3 B: says what it needs, runs nothing
--
-- Settings stand in sparsity_pruned/SCALE.yaml; other settings are another sweep: add --set name=NAME

local sonde = require "sonde"

local study = sonde.experiment "sparsity_pruned"
local config = study.settings

local arms = {}
for k, share in ipairs(config.pruned) do
  local sparsity = { method = config.method, sparsity = share, begin = config.begin, ["end"] = config["end"] }
  arms[k] = { value = share, train = share > 0 and { sparsity = sparsity } or {} }
end

sonde.quantity("pruned", { short = "the pruned share", axis = "share of weights pruned", log = false,
  doc = "Share of the weights of the blocks' matrices that the masks leave out at the end." })

study:compare {
  title = "Sparsity by pruning",
  question = "Do pruned weights go with a flatter variance and more useful blocks?",
  axis = "pruned", arms = arms, sparsity = "pruned", metrics = { "weight_sparsity_total_1e-3" },
  claims = { { x = "pruned", y = "perplexity", sign = 1, ours = true } },
}
