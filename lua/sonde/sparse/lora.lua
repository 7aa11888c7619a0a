--- lora.lua - low-rank adapters (Hu et al., 2022): W + (alpha / r) B A in place of a weight W [out, in], with
-- B [out, r] zero at first, and nothing trained but A and B. After training they are added into W.

local core = require "sonde.core"
local cut = require "sonde.sparse.cut"
local param_names = require "sonde.model.names"

local lora = {}

-- The matrices that adapters are put on.
local ROLES = { qk = true, v = true, attn_out = true, ffn_in = true, ffn_out = true }

local function weights_of(model, blocks)
  local wanted, list = {}, {}
  for _, block in ipairs(blocks) do wanted[block] = true end
  for _, param in ipairs(model:params():list()) do      -- shared weights once
    local block = param_names.in_block(param.name)
    if block and wanted[block] and ROLES[param.role] and #param.dims >= 2 then
      list[#list + 1] = param.name
    end
  end
  return list
end

local function merge(adapted, model, names)
  for _, name in ipairs(names) do model:params():find(name):copy(adapted:params():read(name)) end
  model:refresh()
end

--- Trains adapters on the weights of some blocks and adds them into the model.
---@param model sonde.model
---@param blocks integer[]    from 0
---@param corpus sonde.corpus
---@param options table       of sonde.train, and rank (of the adapters) and alpha (default: the rank)
---@return sonde.training
function lora.train(model, blocks, corpus, options)
  local rank, train_options = options.rank, {}
  for key, value in pairs(options) do
    if key ~= "rank" and key ~= "alpha" then train_options[key] = value end
  end
  local pieces = cut.pieces(model.config.depth, {})
  local names, adapted = weights_of(model, blocks), cut.unmasked(model, pieces)
  if #names == 0 then error(core.where() .. "lora: there are no weights in these blocks to put adapters on", 0) end
  local scale = (options.alpha or rank) / rank
  for _, name in ipairs(names) do adapted:params():low_rank(name, rank, scale) end
  cut.masks(model, adapted, pieces)       -- behind the adapters, so that they leave out what is out
  adapted:init()
  train_options.trainable = { "*.lora_a", "*.lora_b" }
  local result = require("sonde.train").train(adapted, corpus, train_options)
  if not result.diverged then merge(adapted, model, names) end
  return result
end

return lora
