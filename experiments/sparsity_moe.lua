-- Are blocks of more use where each token takes a few of many experts?
--
-- "When Does Sparsity Mitigate the Curse of Depth in LLMs", mixture of experts: a dense model and one of experts at
-- equal active parameters, at two sizes. Experts are as wide as their dense layer over the number that a token takes.
--
--   sonde run experiments/sparsity_moe.lua                             minutes on two cores
--   sonde run experiments/sparsity_moe.lua --set scale=workstation     an hour
--   sonde run experiments/sparsity_moe.lua --set scale=paper           0.4 and 1.3 B active: says what it needs
--
-- Settings stand in sparsity_moe/SCALE.yaml; other settings are another sweep: add --set name=NAME

local sonde = require "sonde"

local study = sonde.experiment "sparsity_moe"
local config = study.settings

local arms, claims = {}, {}
for k, size in ipairs(config.sizes) do
  local dense, experts = "dense_" .. size.name, "experts_" .. size.name
  local model = { width = size.width, heads = size.heads }
  arms[2 * k - 1] = { value = dense, model = { width = size.width, heads = size.heads, ffn_hidden = size.ffn_hidden },
    facts = { idle_experts = 0 } }
  model.ffn = { name = "moe", experts = config.experts, top_k = config.top_k,
    hidden = math.floor(size.ffn_hidden / config.top_k) }
  arms[2 * k] = { value = experts, model = model, facts = { idle_experts = 1 - config.top_k / config.experts } }
  for _, each in ipairs { { "perplexity", -1 }, { "last_variance", -1 }, { "usefulness_score", 1 } } do
    claims[#claims + 1] = { arm = experts, over = dense, y = each[1], sign = each[2],
      paper = size.paper and size.paper[each[1]] }
  end
end

sonde.quantity("idle_experts", { short = "the share of idle experts",
  axis = "share of experts that a token does not take", log = false,
  doc = "1 less the experts that a token takes over all." })

sonde.quantity("expert_balance_mean", { short = "1 − CV of the experts' load", axis = "1 − CV of the experts' load",
  doc = "1 less the standard deviation of the experts' load over its mean; 1: all are used alike. Mean over blocks." })
sonde.quantity("router_entropy_mean", { short = "router's entropy", axis = "router's entropy (nats)",
  doc = "Entropy of the router's probabilities of a token; mean over tokens and blocks." })

study:compare {
  title = "Sparsity by experts",
  question = "At equal active parameters, do experts go with a flatter variance and more useful blocks?",
  axis = "ffn", arms = arms, sparsity = "idle_experts",
  paper = {      -- 20 B tokens; variances are read off a figure
    { value = "Dense-400M", perplexity = 17.56, usefulness_score = 0.87, last_variance = 105, idle_experts = 0 },
    { value = "MoE-2B-A400M", perplexity = 15.89, usefulness_score = 0.94, last_variance = 15, idle_experts = 0.875 },
    { value = "Dense-1B", perplexity = 14.52, usefulness_score = 0.81, last_variance = 222, idle_experts = 0 },
    { value = "MoE-7B-A1B", perplexity = 13.82, usefulness_score = 0.94, last_variance = 74, idle_experts = 0.875 },
  },
  claims = claims, metrics = { "expert_balance_mean", "router_entropy_mean" },
  measure = function(trial, model, arm)
    if arm.facts.idle_experts == 0 then return end
    local values = sonde.probe(model, study.corpus, { "expert_balance", "router_entropy" }, config.probe)
    trial:report(values)
    for name, list in pairs(values) do
      local sum = 0
      for _, value in ipairs(list) do sum = sum + value end
      trial:report { [name .. "_mean"] = sum / #list }
    end
  end,
}
