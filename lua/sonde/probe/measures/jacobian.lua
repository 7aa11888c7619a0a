--- jacobian.lua - how near each block is to the identity, by derivatives.
--
-- J of a block with input X and output Y (before the final norm) is the mean over windows b and tokens s of
-- sum_t dY[b, t, :] / dX[b, s, :]: a matrix D x D whose row i is the gradient of feature i of all outputs by
-- the inputs, as in the code of Sparsity and the Curse of Depth. It sums what a token does to itself and to
-- later tokens.
--
--   jacobian            the matrix itself: one gradient for each of D rows, so its cost grows with D
--   jacobian_estimate   from gradients along a few random vectors of signs r (Hutchinson: E ||A' r||^2 =
--                       ||A||_F^2, and E r' A r = trace A), and Golub and Kahan's bidiagonalisation for the
--                       spectral norm; cost does not grow with D. J v is a central difference over the block, as
--                       fused ops have no second derivatives.

local core = require "sonde.core"
local bootstrap = require "sonde.probe.bootstrap"
local register = require("sonde.probe.registry").register

local ROWS = 16                   -- rows of J whose gradients are taken in one pass
local GROUPS = 20                 -- of windows, which are drawn anew for the intervals of the exact matrix
local VECTORS = 16
local STEPS = 15                  -- of the bidiagonalisation: products J v and J' u
local STEP = 1e-2                 -- of a difference, in sizes of the stream
local LEAST_STEP = 1e-6           -- where the stream is zero

local source = "the code of Sparsity and the Curse of Depth"

local function input_of(trace, block)
  return block == 1 and trace.embedding or trace.blocks[block - 1]
end

local names = 0

local function leaf(graph, tensor)
  names = names + 1
  return graph:leaf("probe.vector." .. names, tensor)
end

-- For each block, J_b' u of each window b: [B, D]. `vectors[block][k]` is a tensor u [D].
local function products(trace, vectors)
  local nodes = {}
  for block = 1, #trace.blocks do
    local x, y = input_of(trace, block), trace.blocks[block]
    for _, u in ipairs(vectors[block]) do
      local g = y:grad({ x }, leaf(trace.graph, u):reshape({ 1, 1, -1 }):expand(y:dims()))[1]
      nodes[#nodes + 1] = g:mean(2)
    end
  end
  return nodes
end

local function compute(session, job)
  session:compute { job }
  return job.samples
end

-- ---- the matrix -----------------------------------------------------------------------------------------------

local function unit_vectors(session, first, last)
  local list = {}
  for i = first, last do
    local e = core.tensor("f32", { session.width })
    e:set(i, 1)
    list[#list + 1] = e
  end
  local all = {}
  for block = 1, session.depth do all[block] = list end
  return all
end

-- Means over groups of windows, [G, K], of samples; and how many windows each group has.
local function group_weights(session)
  local groups, slots = math.min(GROUPS, session.rows), session:slots()
  local sizes, rows = {}, {}
  for g = 1, groups do sizes[g] = 0 end
  for w = 0, session.rows - 1 do sizes[w % groups + 1] = sizes[w % groups + 1] + 1 end
  for g = 1, groups do
    rows[g] = {}
    for i, w in ipairs(slots) do rows[g][i] = w and (w - 1) % groups + 1 == g and 1 / sizes[g] or 0 end
  end
  return rows, sizes
end

-- For each block the matrices of all groups, [G, D, D].
local function matrices(session)
  local weights = group_weights(session)
  local parts = {}
  for block = 1, session.depth do parts[block] = {} end
  session:begin("Jacobian", math.ceil(session.width / ROWS))
  for first = 1, session.width, ROWS do
    local last = math.min(session.width, first + ROWS - 1)
    local count = (last - first + 1) * session.width
    local samples = compute(session, {
      nodes = function(trace) return products(trace, unit_vectors(session, first, last)) end,
    })
    local sums = bootstrap.sums(core.tensor("f32", { #weights, #weights[1] }, weights), samples, function(all)
      local list = {}
      for block = 1, session.depth do list[block] = all:slice(2, (block - 1) * count + 1, block * count) end
      return list
    end)
    for block = 1, session.depth do parts[block][#parts[block] + 1] = sums[block] end
  end
  return parts
end

local columns = { "deviation", "off_diagonal", "diagonal_mean", "diagonal_sd", "frobenius", "spectral" }

-- The figures of matrices [R, D, D], by name: lists of R.
local function figures_of(j, r, d)
  local graph = j:graph()
  local eye = {}
  for i = 1, d * d do eye[i] = (i - 1) % (d + 1) == 0 and 1 or 0 end
  local identity = graph:leaf("identity", core.tensor("f32", { 1, d, d }, eye))
  local diagonal = (j * identity):sum(-1):reshape { r, d }
  local function size(x) return x:square():sum({ 2, 3 }):sqrt():reshape { r } end
  local nodes = {
    size(j - identity) * (1 / d), size(j * identity:affine(-1, 1)) * (1 / math.sqrt(math.max(1, d * d - d))),
    diagonal:mean(2):reshape { r }, diagonal:variance(2):sqrt():reshape { r }, size(j), j,
  }
  local plan, lists = core.plan(nodes), {}
  plan:run()
  for i = 1, 5 do lists[columns[i]] = plan:output(i):values() end
  local singular = core.singular_values(plan:output(6)):values()
  lists.spectral = {}
  for k = 1, r do lists.spectral[k] = singular[(k - 1) * d + 1] end
  plan:close()
  return lists
end

-- Figures of one block for the groups' mean (row 1) and for draws of the groups.
local function block_figures(parts, weights, d)
  local graph, leaves = core.graph(), {}
  for i, tensor in ipairs(parts) do leaves[i] = graph:leaf("rows." .. i, tensor) end
  local r = #weights
  local mean = graph:leaf("weights", core.tensor("f32", { r, #weights[1] }, weights))
    :matmul(require("sonde").concat(leaves, 2)):reshape { r, d, d }
  local lists = figures_of(mean, r, d)
  graph:close()
  return lists
end

-- The first row weighs groups by their windows, the others are draws of groups.
local function group_draws(session, sizes, resamples)
  local groups, rows = #sizes, { {} }
  for g = 1, groups do rows[1][g] = sizes[g] / session.rows end
  local random = bootstrap.random(session.options.seed)
  for r = 1, groups > 1 and resamples or 0 do
    local row, total = {}, 0
    for g = 1, groups do row[g] = 0 end
    for _ = 1, groups do
      local g = random(groups) + 1
      row[g], total = row[g] + sizes[g], total + sizes[g]
    end
    for g = 1, groups do row[g] = row[g] / total end
    rows[r + 1] = row
  end
  return rows
end

local function summary(rows, at)
  local sums, above = { 0, 0 }, 0
  for _, row in ipairs(rows) do
    sums[1], sums[2] = sums[1] + row[1], sums[2] + row[at]
    if row[at] > 0.5 then above = above + 1 end
  end
  return { mean_deviation = sums[1] / #rows, residual_strength = sums[2] / #rows, identity_score = above / #rows }
end

local RESAMPLES = 200

register("jacobian", {
  title = "Jacobian of each block",
  definition = "of J, the mean over tokens s of sum_t dY_t / dX_s of each block: ||J - I||_F / D, RMS off the "
    .. "diagonal, mean and standard deviation of the diagonal, ||J||_F, largest singular value. Scalars: means "
    .. "over blocks, share of blocks whose diagonal mean is above 0.5",
  source = source, axes = { "block", "figure" }, columns = columns,
  prepare = function(session) session.jacobians = matrices(session) end,
  jobs = function() return {} end,
  measure = function(session)
    local _, sizes = group_weights(session)
    local weights, lists = group_draws(session, sizes, RESAMPLES), {}
    for block = 1, session.depth do
      lists[block] = block_figures(session.jacobians[block], weights, session.width)
      session.jacobians[block] = false
    end
    return bootstrap.entry(#weights - 1, #sizes, function(r)
      local rows = core.list()
      for block = 1, session.depth do
        rows[block] = core.list()
        for k, name in ipairs(columns) do rows[block][k] = lists[block][name][r + 1] end
      end
      return rows, summary(rows, 3)
    end)
  end,
})

-- ---- the estimate -----------------------------------------------------------------------------------------------

local function signs(session)
  local random = bootstrap.random(session.options.seed + 1)
  local list = {}
  for k = 1, VECTORS do
    local values = {}
    for i = 1, session.width do values[i] = random(2) * 2 - 1 end
    list[k] = values
  end
  return list
end

-- The mean over windows of samples [B, L D], as L lists of D.
local function means(session, samples)
  local all = bootstrap.sums(core.tensor("f32", { 1, #samples * session.batch },
    bootstrap.weights(session:slots(), session.rows, 0, 0)), samples)[1]:values()
  local lists = {}
  for block = 1, session.depth do
    lists[block] = {}
    for i = 1, session.width do lists[block][i] = all[(block - 1) * session.width + i] / session.rows end
  end
  return lists
end

local function dot(a, b)
  local sum = 0
  for i, x in ipairs(a) do sum = sum + x * b[i] end
  return sum
end

-- Makes a vector orthogonal to those of a basis and of length 1 (of 0 if nothing is left), and adds it there; gives its
-- length before.
local function extend(basis, vector)
  local whole = math.sqrt(dot(vector, vector))
  for _ = 1, 2 do                   -- the second time for what rounding left
    for _, other in ipairs(basis) do
      local along = dot(vector, other)
      for i, x in ipairs(other) do vector[i] = vector[i] - along * x end
    end
  end
  local size = math.sqrt(dot(vector, vector))
  if size <= 1e-10 * whole then size = 0 end
  for i, x in ipairs(vector) do vector[i] = size > 0 and x / size or 0 end
  basis[#basis + 1] = vector
  return size
end

-- The mean over tokens of J_b v of each window by (Y(X + h v) - Y(X - h v)) / 2h; every block is built twice
-- more, on streams moved by h, which is STEP times the stream's root mean square norm in the window.
local function differences(session, vectors)
  local moved, replace = {}, {}
  for block = 1, session.depth do
    replace[block - 1] = function(x, this)
      local build = session.model.layers[block].placement.build
      local h = (x:square():sum(-1):mean(2):sqrt() * STEP):max(LEAST_STEP)
      local v = leaf(x:graph(), vectors[block][1]):reshape { 1, 1, -1 }
      local difference = build(this, x + h * v) - build(this, x - h * v)
      moved[block] = (difference * h:reciprocal() * 0.5):mean(2)
      return build(this, x)
    end
  end
  return compute(session, { edit = { replace = replace }, nodes = function() return moved end })
end

-- The vector q of length 1 that makes |B q| largest, B of diagonal a and with b beside it: (B' B)^(2^30), by squaring,
-- has nothing else left.
local function largest(a, b)
  local n, m = #a, {}
  for i = 1, n do
    m[i] = {}
    for j = 1, n do m[i][j] = 0 end
    m[i][i] = a[i] ^ 2 + (i > 1 and b[i - 1] ^ 2 or 0)
    if i > 1 then
      m[i][i - 1] = a[i - 1] * b[i - 1]
      m[i - 1][i] = m[i][i - 1]
    end
  end
  for _ = 1, 30 do
    local top, square = 0, {}
    for i = 1, n do top = math.max(top, m[i][i]) end
    if top == 0 then break end
    for i = 1, n do
      square[i] = {}
      for j = 1, n do square[i][j] = dot(m[i], m[j]) / top ^ 2 end      -- m is symmetric
    end
    m = square
  end
  local best = m[1]
  for i = 2, n do best = m[i][i] > best[i] and m[i] or best end
  local size = math.sqrt(dot(best, best))
  local q = {}
  for i = 1, n do q[i] = size > 0 and best[i] / size or 0 end
  return q
end

local function combined(basis, factors)
  local sum = {}
  for i = 1, #basis[1] do
    sum[i] = 0
    for k, factor in ipairs(factors) do sum[i] = sum[i] + factor * basis[k][i] end
  end
  return sum
end

-- Of the bidiagonalisation J V = U B: u and v of the largest singular value of B, and |J' u - s v|, how far that may be
-- from one of J.
local function triplet(u, v, a, b)
  local q, p = largest(a, b), {}
  for i = 1, #a do p[i] = a[i] * q[i] + (q[i + 1] and b[i] * q[i + 1] or 0) end
  local s = math.sqrt(dot(p, p))
  for i, x in ipairs(p) do p[i] = s > 0 and x / s or 0 end
  return combined(u, p), combined(v, q), b[#b] * math.abs(p[#p])
end

-- Left and right singular vectors of the largest singular value of each block's J, and what they leave open of it.
local function singular(session)
  local left, right, open, u, v, a, b = {}, {}, {}, {}, {}, {}, {}
  local random = bootstrap.random(session.options.seed + 2)
  for block = 1, session.depth do
    local start = {}
    for i = 1, session.width do start[i] = random(1000) / 999 - 0.5 end
    u[block], v[block], a[block], b[block] = {}, {}, {}, {}
    extend(v[block], start)
    left[block] = { core.tensor("f32", { session.width }) }
    right[block] = { core.tensor("f32", { session.width }, start) }
  end
  session:begin("singular values", 2 * STEPS)
  for k = 1, STEPS do
    for block, vector in ipairs(means(session, differences(session, right))) do
      a[block][k] = extend(u[block], vector)
      left[block][1]:fill(vector)
    end
    local samples = compute(session, { nodes = function(trace) return products(trace, left) end })
    for block, vector in ipairs(means(session, samples)) do
      b[block][k] = extend(v[block], vector)
      right[block][1]:fill(vector)
    end
  end
  for block = 1, session.depth do
    local one, other
    one, other, open[block] = triplet(u[block], v[block], a[block], b[block])
    left[block][1]:fill(one)
    right[block][1]:fill(other)
  end
  return left, right, open
end

-- Of J' r for all vectors r: ||J - I||_F^2, trace J, ||J||_F^2, as sums over draws of the vectors.
local function hutchinson(mean, at, vectors, draw, d)
  local apart, trace, all = 0, 0, 0
  for _, k in ipairs(draw) do
    for i = 1, d do
      local value, r = mean[at + (k - 1) * d + i], vectors[k][i]
      apart, trace, all = apart + (value - r) ^ 2, trace + value * r, all + value ^ 2
    end
  end
  return apart / #draw, trace / #draw, all / #draw
end

register("jacobian_estimate", {
  title = "Jacobian of each block, estimated",
  definition = "of the J of the probe jacobian, from " .. VECTORS .. " random vectors of signs: ||J - I||_F / D, mean "
    .. "of the diagonal, ||J||_F, and the largest singular value by " .. STEPS .. " steps of bidiagonalisation (from "
    .. "below). The intervals hold the choice of vectors too, and what the steps leave open",
  source = "Hutchinson, 1989; Golub and Kahan, 1965", axes = { "block", "figure" },
  columns = { "deviation", "diagonal_mean", "frobenius", "spectral" }, resamples = 300,
  prepare = function(session) session.left, session.right, session.open = singular(session) end,
  jobs = function(session)
    session.signs = signs(session)
    local vectors = {}
    for block = 1, session.depth do
      vectors[block] = {}
      for k, values in ipairs(session.signs) do vectors[block][k] = core.tensor("f32", { session.width }, values) end
    end
    return {
      { nodes = function(trace) return products(trace, vectors) end },
      { nodes = function(trace)
        local nodes = products(trace, session.left)
        for block, g in ipairs(nodes) do
          nodes[block] = (g * leaf(trace.graph, session.right[block][1]):reshape { 1, 1, -1 }):sum { 2, 3 }
        end
        return nodes
      end },
    }
  end,
  value = function(mean, session, r)
    local d, draw, rows = session.width, {}, core.list()
    local random = bootstrap.random(session.options.seed + 1000 + r)
    for k = 1, VECTORS do draw[k] = r == 0 and k or random(VECTORS) + 1 end
    for block = 1, session.depth do
      local apart, trace, all = hutchinson(mean[1], (block - 1) * VECTORS * d, session.signs, draw, d)
      local open = r % 2 == 1 and session.open[block] or 0      -- half of the draws take the upper end
      rows[block] = core.list { math.sqrt(apart) / d, trace / d, math.sqrt(all), mean[2][block] + open }
    end
    return rows, summary(rows, 2)
  end,
})
