--- activation - Minitron (Muralidharan et al., 2024, section 2.2): how large what a unit gives is.
--
-- Of a token: the L2 norm of what a group of heads gives, the absolute value of a neuron, that of a feature behind each
-- norm, summed over the norms. Over the tokens of a window the mean is taken, over the windows of a batch the L2 norm.

local importance = require "sonde.sparse.importance"

-- [B, T, n] to [n]
local function over_tokens(x)
  return x:mean(2):square():sum(1):sqrt():reshape { -1 }
end

importance.register("activation", function(trace, blocks)
  local made = { groups = {}, neurons = {} }
  local function add_norm(output)
    local term = over_tokens(output:abs())
    made.hidden = made.hidden and made.hidden + term or term
  end
  for index, block in ipairs(blocks) do
    if block.attn then
      local dims = block.attn:dims()
      local squares = block.attn:square():reshape({ dims[1], dims[2], block.groups, -1 }):sum(4)
      made.groups[index] = over_tokens(squares:sqrt():reshape { dims[1], dims[2], block.groups })
    end
    if block.ffn then made.neurons[index] = over_tokens(block.ffn:abs()) end
    for _, norm in ipairs(block.part.norms) do add_norm(norm.output) end
  end
  if trace.model.final.name ~= "none" and not trace.model.config.embed_width then add_norm(trace.final) end
  return made
end, { doc = "size of what each unit gives (Minitron)" })
