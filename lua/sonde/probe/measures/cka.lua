--- cka.lua - how alike the streams after two blocks are, whatever their rotation and scale: centred kernel alignment
-- with a linear kernel. The windows are the minibatches: their HSIC is averaged, then the ratio is taken (Nguyen et
-- al., 2021).

local core = require "sonde.core"
local register = require("sonde.probe.registry").register

-- x x' of each window's stream around its mean over tokens, [B, T, T].
local function kernel(x)
  local centred = x - x:mean(2)
  return centred:matmul(centred, { transpose_b = true })
end

-- The inner products of all pairs of some nodes [B, ..], [B, L, L].
local function pairs_of(nodes, batch)
  local rows = {}
  for i, node in ipairs(nodes) do rows[i] = node:reshape { batch, 1, -1 } end
  local all = require("sonde").concat(rows, 2)
  return all:matmul(all, { transpose_b = true })
end

-- HSIC_0 of all pairs: tr(K L) / (T - 1)^2 of centred kernels (Gretton et al., 2005).
local function biased(trace)
  local kernels = {}
  for i, x in ipairs(trace.blocks) do kernels[i] = kernel(x) end
  return pairs_of(kernels, trace.batch) * (1 / (trace.context - 1) ^ 2)
end

-- HSIC_1 of all pairs, without bias (Song et al., 2012, eq. 5): of kernels whose diagonals are 0. Centring changes
-- nothing of it, but for what f32 would lose.
local function unbiased(trace)
  local n, ones = trace.context, {}
  for i = 0, n * n - 1 do ones[i + 1] = i % (n + 1) == 0 and 0 or 1 end
  local off = trace.graph:find "probe.off_diagonal" or trace.graph:leaf("probe.off_diagonal",
    core.tensor("f32", { n, n }, ones))
  local kernels, sums, totals = {}, {}, {}
  for i, x in ipairs(trace.blocks) do
    kernels[i] = kernel(x) * off
    sums[i] = kernels[i]:sum(3)
    totals[i] = sums[i]:sum(2)
  end
  local products = pairs_of(kernels, trace.batch) + pairs_of(totals, trace.batch) * (1 / ((n - 1) * (n - 2)))
    - pairs_of(sums, trace.batch) * (2 / (n - 2))
  return products * (1 / (n * (n - 3)))
end

local LEAST = 4      -- tokens of a window

local function jobs_of(name, hsic)
  return function(session)
    if session.context < LEAST then
      error(core.where() .. ("probe %s: windows of %d tokens are too short; it needs %d at least"):format(name,
        session.context, LEAST), 0)
    end
    return { { nodes = function(trace) return { hsic(trace) } end } }
  end
end

-- Means of HSIC as rows of CKA; the score is the mean over pairs of neighbours.
local function ratios(mean, session)
  local rows, depth, sum = core.list(), session.depth, 0
  local function of(i, j) return mean[1][(i - 1) * depth + j] end
  for i = 1, depth do
    rows[i] = core.list()
    for j = 1, depth do
      local below = of(i, i) * of(j, j)
      rows[i][j] = below > 0 and of(i, j) / math.sqrt(below) or 0 / 0
    end
    if i > 1 then sum = sum + rows[i][i - 1] end
  end
  return rows, depth > 1 and { neighbours = sum / (depth - 1) } or nil
end

for name, info in pairs {
  cka = { biased, "linear CKA of the streams after two blocks: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)), K = X X' of "
    .. "the tokens of "
    .. "a window, HSIC averaged over windows; 1: alike but for rotation and scale. Too large where a window has not "
    .. "many more "
    .. "tokens than the model features. Score: mean over neighbours", "Kornblith et al., 2019" },
  cka_unbiased = { unbiased, "the same by the estimate of HSIC without bias, so that the length of windows does not "
    .. "matter. Score: "
    .. "mean over neighbours", "Nguyen, Raghu and Kornblith, 2021, eq. 3" },
} do
  register(name, { definition = info[2], source = info[3], axes = { "block", "block" }, jobs = jobs_of(name, info[1]),
    value = ratios })
end
