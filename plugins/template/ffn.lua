--- template.lua - a feed-forward layer with squared ReLU.
--
-- build is called once for each shape, with nodes that stand for values; the gradient follows from the ops it appends.

local sonde = require "sonde"

sonde.ffn("template", {
  summary = "y = W_down relu(W_up x)^2",
  citation = "So et al., Primer, 2021, section 3",
  options = {
    { name = "hidden", type = "integer", preset = 0, min = 0, max = 1e7, doc = "inner width; 0: 4 times the width" },
  },
}, function(site, options, x)                        -- x is [B, T, D]; so is the result
  local hidden = options.hidden > 0 and options.hidden or 4 * site.width
  local up = site:param("up_proj.weight", { hidden, site.width }, "ffn_in")
  local down = site:param("down_proj.weight", { site.width, hidden }, "ffn_out")
  return x:linear(up):relu2():linear(down)
end)
