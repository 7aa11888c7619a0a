--- lens.lua - what the head makes of the stream before it has gone through all blocks.

local register = require("sonde.probe.registry").register

local LOGITS = 2 ^ 24             -- so many are held at once

local source = "nostalgebraist, the logit lens, 2020"

-- The stream after each block through the final norm, [B T, D] (of another width, where the head has one).
local function normed(trace)
  local list = {}
  for i, x in ipairs(trace.blocks) do
    x = trace:final_norm(x)
    list[i] = x:reshape { trace.batch * trace.context, x:dims()[3] }
  end
  return list
end

register("lens_loss", {
  definition = "mean loss of the head on the stream after each block, through the final norm; the last "
    .. "one is the model's",
  unit = "nats", source = source,
  jobs = function()
    return { { scored = true, nodes = function(trace)
      local nodes = {}
      for i, x in ipairs(normed(trace)) do
        nodes[i] = trace:token_loss(x):reshape({ trace.batch, trace.context }):mean(2)
      end
      return nodes
    end } }
  end,
})

-- 1 where both have the same likeliest token, [B T, 1]; a stretch of tokens at a time.
local function agreement(trace, x, final)
  local n, parts = x:dims()[1], {}
  local stretch = math.max(1, math.floor(LOGITS / trace.model.config.vocab))
  for first = 1, n, stretch do
    local last = math.min(n, first + stretch - 1)
    local a = trace:logits(x:slice(1, first, last)):argmax():cast "f32"
    local b = trace:logits(final:slice(1, first, last)):argmax():cast "f32"
    parts[#parts + 1] = (a - b):abs():affine(-1, 1):max(0):reshape { last - first + 1, 1 }
  end
  return require("sonde").concat(parts, 1)
end

register("lens_agreement", {
  definition = "share of tokens where the head's likeliest token on the stream after a block, through the final "
    .. "norm, is the model's",
  source = source,
  outputs = function(trace)
    local list, nodes = normed(trace), {}
    for i, x in ipairs(list) do
      nodes[i] = agreement(trace, x, list[#list]):reshape({ trace.batch, trace.context }):sum(2)
    end
    return nodes
  end,
  value = function(mean, session)      -- of whole numbers of tokens: exactly 1 where all agree
    local shares = {}
    for i, tokens in ipairs(mean[1]) do shares[i] = tokens / session.context end
    return shares
  end,
})
