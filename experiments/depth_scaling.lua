-- Are the blocks of deeper models of less use?
--
-- "When Does Sparsity Mitigate the Curse of Depth in LLMs", depth scaling: one width trained at four depths, and for
-- each the causal, permutation and usefulness scores, the Jacobians' deviation from the identity, and the variance.
--
--   sonde run experiments/depth_scaling.lua                             minutes on two cores
--   sonde run experiments/depth_scaling.lua --set scale=workstation     an hour: 12 to 32 blocks of width 128
--   sonde run experiments/depth_scaling.lua --set scale=paper           1 B and more: says what it needs, runs nothing
--
-- Settings stand in depth_scaling/SCALE.yaml; other settings are another sweep: add --set name=NAME

local sonde = require "sonde"

local study = sonde.experiment "depth_scaling"

local arms = {}
for k, depth in ipairs(study.settings.depth) do arms[k] = { value = depth, model = { depth = depth } } end

local first, last = arms[1].value, arms[#arms].value
local jacobian = "jacobian_estimate_mean_deviation"

-- A claim of the paper both as a correlation with the depth, and of the deepest model beside the shallowest.
local claims = {}
for _, each in ipairs { { "causal_score", -1, -0.096 }, { "permutation_score", -1, -0.679 },
  { "usefulness_score", -1, -0.438 }, { jacobian, -1 }, { "last_variance", 1, 800 } } do
  claims[#claims + 1] = { x = "depth", y = each[1], sign = each[2] }
  claims[#claims + 1] = { arm = last, over = first, y = each[1], sign = each[2], paper = each[3] }
end

study:compare {
  title = "Depth scaling",
  question = "Do the blocks of deeper models do less, each?",
  axis = "depth", arms = arms,
  paper = {      -- variances are read off a figure
    { value = 12, causal_score = 0.355, permutation_score = 0.985, usefulness_score = 1, last_variance = 400 },
    { value = 16, causal_score = 0.336, permutation_score = 0.713, usefulness_score = 0.813, last_variance = 600 },
    { value = 24, causal_score = 0.289, permutation_score = 0.438, usefulness_score = 0.625, last_variance = 830 },
    { value = 32, causal_score = 0.259, permutation_score = 0.306, usefulness_score = 0.562, last_variance = 1200 },
  },
  claims = claims,
}
