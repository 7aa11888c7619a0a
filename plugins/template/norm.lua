--- template.lua - a norm: each token's vector over its root mean square, times one learned number.
--
-- build is called once for each shape, with nodes that stand for values; the gradient follows from the ops it appends.

local sonde = require "sonde"

sonde.norm("template", {
  summary = "y = weight x / sqrt(mean(x^2) + eps), one weight for all",
  citation = "Nguyen and Salazar, Transformers without Tears, 2019, eq. 5",
  options = {
    { name = "eps", type = "number", preset = 1e-6, min = 1e-12, max = 1,
      doc = "added to the mean square, under the root" },
  },
}, function(site, options, x)                        -- x is [B, T, D]; so is the result
  local gain = site:param("weight", { 1 }, "gain", 1)
  local mean = x:square():sum({ -1 }) / site.width   -- [B, T, 1]
  return x * (mean + options.eps):rsqrt() * gain
end)
