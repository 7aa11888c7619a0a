--- template.lua - causal softmax attention without positions (NoPE).
--
-- build is called once for each shape, with nodes that stand for values; the gradient follows from the ops it appends.

local sonde = require "sonde"

sonde.attention("template", {
  summary = "softmax(Q K' / sqrt(Dh)) V over earlier tokens, without positions",
  citation = "Haviv et al., Transformer Language Models without Positional Encodings, 2022",
  options = {
    { name = "heads", type = "integer", preset = 1, min = 1, max = 1024,
      doc = "number of heads; the width must be a multiple of it" },
  },
}, function(site, options, x)                        -- x is [B, T, D]; so is the result
  local width, heads = site.width, options.heads
  if width % heads ~= 0 then error("the width " .. width .. " is no multiple of heads " .. heads) end
  local function project(name, role)
    return x:linear(site:param(name, { width, width }, role)):reshape({ site.batch, site.context, heads,
      width / heads })
  end
  local q, k, v = project("q_proj.weight", "qk"), project("k_proj.weight", "qk"), project("v_proj.weight", "v")
  local y = q:attention(k, v):reshape({ site.batch, site.context, width })
  return y:linear(site:param("o_proj.weight", { width, width }, "attn_out"))
end)
