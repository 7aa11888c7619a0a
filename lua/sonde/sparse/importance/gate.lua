--- gate - MiniMA (Zhang et al., 2023, their code): the gradient of the mean loss by a factor of 1 at each unit.
--
-- The factor of a group of heads is on what the group gives, that of a neuron on the input of the last matrix, that of
-- a feature on the embedding, on what each branch gives, and on the stream behind each sum. A factor m at m v has the
-- gradient sum(v dLoss/dv) at 1, so nothing is put into the model.

local core = require "sonde.core"
local importance = require "sonde.sparse.importance"

-- The sum over tokens of v dv, by unit: [B, T, n u] to [n].
local function by_unit(v, dv, n)
  local dims = v:dims()
  return (v * dv):reshape({ dims[1] * dims[2], n, -1 }):sum({ 1, 3 }):reshape { n }
end

-- The values that the factors of the features are on: each once.
local function streams(trace, blocks)
  local list, seen = {}, {}
  local function take(node)
    local id = node and core.node_id(node)
    if id and not seen[id] then list[#list + 1], seen[id] = node, true end
  end
  take(trace.embedding)
  for index, block in ipairs(blocks) do
    if block.groups > 0 then take(block.part:lookup "attn.branch") end
    if block.neurons > 0 then take(block.part:lookup "ffn.branch") end
    for _, norm in ipairs(block.groups > 0 and block.part.norms or {}) do
      -- What is in front of the second branch is the stream behind the first sum.
      if norm.slot == "ffn" or norm.slot == "attn_out" then take(norm.input) end
    end
    if block.neurons > 0 then take(trace.blocks[index]) end
  end
  return list
end

importance.register("gate", function(trace, blocks)
  local values, units, first = {}, {}, streams(trace, blocks)
  for index, block in ipairs(blocks) do
    for _, unit in ipairs { { block.attn, "groups" }, { block.ffn, "neurons" } } do
      local value, kind = unit[1], unit[2]
      if value then values[#values + 1], units[#units + 1] = value, { kind, index, block[kind] } end
    end
  end
  local all, width = {}, trace.model.config.width
  for _, list in ipairs { values, first } do
    for _, node in ipairs(list) do all[#all + 1] = node end
  end
  local made, gradients = { groups = {}, neurons = {} }, trace:mean_loss():grad(all)
  for k, unit in ipairs(units) do made[unit[1]][unit[2]] = by_unit(values[k], gradients[k], unit[3]) end
  for k, node in ipairs(first) do
    local term = by_unit(node, gradients[#values + k], width)
    made.hidden = made.hidden and made.hidden + term or term
  end
  return made
end, { doc = "gradient of the loss by a factor of each unit (MiniMA)" })
