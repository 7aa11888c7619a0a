--- angle.lua - how far blocks turn the stream.
--
-- Of unit vectors u and v, 1 - cos = |u - v|^2 / 2 and 1 + cos = |u + v|^2 / 2: no digits are lost where the
-- angle is small, and a block that changes nothing has distance 0 exactly. A zero vector has no angle: it counts as a
-- direction of its own, at right angles to all others, so that nothing added to nothing is distance 0 too.

local registry = require "sonde.probe.registry"

-- arccos x = sqrt(1 - x) P(x) for 0 <= x <= 1, to 2e-8 (Abramowitz and Stegun, 4.4.46).
local P = { 1.5707963050, -0.2145988016, 0.0889789874, -0.0501743046, 0.0308918810, -0.0170881256, 0.0066700901,
  -0.0012624911 }

local SMALLEST = 1e-37            -- largest magnitude below which a vector is zero

-- A vector as its direction and, [.., 1], whether it is zero. Scaled first, as squares overflow long before the values.
local function direction(x)
  local size = x:abs():amax(-1)
  local scaled = x * size:max(SMALLEST):reciprocal()
  return { unit = scaled * scaled:square():sum(-1):max(SMALLEST):rsqrt(), zero = size:greater(SMALLEST):affine(-1, 1) }
end

-- 1 - cos, [.., 1]
local function one_minus_cos(a, b)
  return ((a.unit - b.unit):square():sum(-1) + (a.zero - b.zero):square()) * 0.5
end

-- arccos(cos) / pi, [.., 1]
local function angle(a, b)
  local minus, plus = one_minus_cos(a, b), ((a.unit + b.unit):square():sum(-1) + (a.zero + b.zero):square()) * 0.5
  local near = minus:min(plus)
  local x, series = near:affine(-1, 1), nil
  for k = #P, 1, -1 do series = series and series * x + P[k] or x:affine(0, P[k]) end
  local sharp = near:sqrt() * series
  return minus:greater(1):where(sharp:affine(-1, math.pi), sharp) * (1 / math.pi)
end

-- Streams h_0 (the embedding) .. h_L (after the last block, before the final norm), as directions: at the
-- last token of each window, or at all.
local function streams(trace, last)
  local list = {}
  for i = 0, #trace.blocks do
    local x = i == 0 and trace.embedding or trace.blocks[i]
    list[i + 1] = direction(last and x:slice(2, trace.context) or x)
  end
  return list
end

-- Node [B, 1, 1] of each pair of streams `n` blocks apart, for n = 1 .. longest, in turn.
local function pairs_of(trace, last, longest, measure)
  local h, nodes = streams(trace, last), {}
  for n = 1, math.min(longest, #h - 1) do
    for i = 1, #h - n do nodes[#nodes + 1] = measure(h[i], h[i + n]):mean(2) end
  end
  return nodes
end

-- Row n holds i = 0 .. L - n.
local function by_distance(mean, session)
  local counts = {}
  for n = 1, session.depth do counts[n] = session.depth - n + 1 end
  return registry.rows(mean[1], counts)
end

for _, tokens in ipairs {
  { "", true, "at the last token of each window", "" }, { "_all", false, "at every token", ", all tokens" },
} do
  local suffix, last, where, of = tokens[1], tokens[2], tokens[3], tokens[4]
  registry.register("angular_distance" .. suffix, {
    definition = "arccos(cos(h, h')) / pi of the stream before and after each block, " .. where
      .. "; mean; before the final norm",
    unit = "half turns", source = "Gromov et al., 2024", log = false, axis = "angle / π",
    title = "Angular distance between block outputs" .. of,
    look = "Values near 0 mark blocks that hardly turn the stream.",
    outputs = function(trace) return pairs_of(trace, last, 1, angle) end,
  })
  registry.register("angular_distances" .. suffix, {
    definition = "arccos(cos(h_i, h_{i+n})) / pi over n blocks, " .. where
      .. "; row n (from 1) holds i = 0 .. L - n, h_0 the embedding, h_L before the final norm; mean",
    unit = "half turns", source = "Gromov et al., 2024", axes = { "blocks n", "first block" }, axis = "angle / π",
    title = "Angular distance over several blocks" .. of,
    look = "Dark bands mark spans of blocks that hardly turn the stream: candidates for removal.",
    outputs = function(trace) return pairs_of(trace, last, #trace.blocks, angle) end, value = by_distance,
  })
end

registry.register("block_influence", {
  definition = "1 - cos(h, h') of the stream before and after each block; mean over all tokens; before the final norm",
  source = "Men et al., ShortGPT, 2024",
  outputs = function(trace) return pairs_of(trace, false, 1, one_minus_cos) end,
})
