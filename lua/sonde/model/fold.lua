-- fold.lua - a model for inference whose norms have no gains in front of the branches: W diag(g) in place of W.
--
-- A gain multiplies the columns of what reads the norm: queries, keys and values, or the feed-forward layer's input
-- projections. The result is the same to rounding, which is checked before it is handed out: a placement or a module
-- that uses a norm's result in another way is refused.

local core = require "sonde.core"
local folder = require "sonde.io"
local names = require "sonde.model.names"

local fold = {}

local BOUND, TOKENS = 1e-3, 16

-- The model's options, with folded norms.
local function folded_options(model)
  local options = folder.options(model)
  local function set(norm)
    if norm.folded == nil then
      error(core.where() .. "norm '" .. norm.name .. "' cannot be folded: it has no option 'folded'", 0)
    end
    if norm.folded then error(core.where() .. "this model is folded already", 0) end
    norm.folded = true
  end
  set(options.norm)
  for _, layer in pairs(options.layers) do
    if layer.norm then set(layer.norm) end
  end
  return options
end

-- The norm in front of what a role multiplies.
local reads = { qk = names.norms.attn, v = names.norms.attn, ffn_in = names.norms.ffn,
  router = names.norms.ffn }

-- The name of the gain that goes into a parameter of a block, by what reads which norm; a block with one norm reads it
-- everywhere.
local function gain_of(params, param)
  local block = names.in_block(param.name)
  local norm = reads[param.role]
  if not block or not norm or #param.dims < 2 then return nil end
  for _, each in ipairs { norm, names.norms.attn } do
    local name = names.block(block) .. each .. ".weight"
    if params:find(name) then return name end
  end
end

local function copy_weights(model, into)
  local from, to = model:params(), into:params()
  for _, param in ipairs(to:list()) do
    local graph = core.graph()
    local value, gain = from:node(graph, param.name), gain_of(from, param)
    if gain then
      local norm = model.layers[names.in_block(param.name) + 1].norm
      value = value * (norm.options.unit_offset and from:node(graph, gain) + 1 or from:node(graph, gain))
    end
    local plan = core.plan({ value * 1 }, nil, { to:find(param.name) })
    plan:run()
    plan:close()
    graph:close()
  end
end

local function final_of(model)
  local n = math.min(TOKENS, model.config.context)
  local trace, vocab, inputs = model:trace { batch = 1, context = n }, model.config.vocab, {}
  for i = 1, n * (model.config.features or 1) do inputs[i] = vocab and i * 7919 % vocab or i * 7919 % 13 / 6 - 1 end
  local plan = core.plan { trace.final }
  plan:run { [vocab and "tokens" or "features"] = inputs }
  local values = plan:output(1):values()
  plan:close()
  trace.graph:close()
  return values
end

--- How far two models are apart on some tokens, over the size of what they give; NaN where something is not finite.
---@param model sonde.model
---@param other sonde.model
---@return number
function fold.distance(model, other)
  local a, b, off, size = final_of(model), final_of(other), 0, 0
  for i, value in ipairs(a) do
    off, size = off + (value - b[i]) ^ 2, size + value ^ 2
  end
  return math.sqrt(off / size)
end

--- A copy of the model without the gains of the norms in front of its branches. For inference: BHyT's estimate stays
--- that of the weights before.
---@param model sonde.model
---@return sonde.model
function fold.gains(model)
  model:init()
  local folded = require("sonde.model.transformer").new(folded_options(model))
  copy_weights(model, folded)
  local off = fold.distance(model, folded)
  if off ~= off or off >= BOUND then
    error(core.where() .. string.format("the gains cannot be folded under placement '%s': without them the model "
      .. "gives something else (%.2g of its size away)", model.layers[1].placement.name, off), 0)
  end
  require("sonde.io.origin").inherit(model, folded)
  return folded
end

--- Refuses to train a model with folded gains: BHyT's c cannot be refreshed from weights that it is not of.
---@private
---@param model sonde.model
function fold.refuse(model)
  for _, layer in ipairs(model.layers) do
    if layer.norm.options.folded then
      error(core.where() .. "a model with folded gains is for inference and cannot be trained; train it first, "
        .. "then fold it", 0)
    end
  end
end

return fold
