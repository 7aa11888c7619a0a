--- matrices.lua - which matrices of a model are made sparse, the masks on them, and what they hold.

local core = require "sonde.core"
local args = require "sonde.base.args"
local glob = require "sonde.base.glob"
local names = require "sonde.model.names"

local matrices = {}

-- The matrices of attention and feed-forward layers: y = W x with W [out, in].
local ROLES = { qk = true, v = true, attn_out = true, ffn_in = true, ffn_out = true }

--- Options of what chooses matrices.
---@type sonde.schema
matrices.schema = {
  { name = "matrices", type = "list", some = true, of = { name = "pattern", type = "string", doc = "a name with *" },
    doc = "which matrices (* stands for any text); default: those of attention and feed-forward layers" },
  { name = "layers", type = "list", some = true, of = { name = "block", type = "integer", min = 0, doc = "from 0" },
    doc = "the blocks whose matrices become sparse; default: all" },
}

local function set_of(list)
  if not list then return nil end
  local set = {}
  for _, value in ipairs(list) do set[value] = true end
  return set
end

-- Whether one of the patterns fits; those that do are marked.
local function fits(name, patterns, used)
  local found = not patterns
  for _, pattern in ipairs(patterns or {}) do
    if string.find(name, glob(pattern)) then found, used[pattern] = true, true end
  end
  return found
end

--- The matrices that the options choose, in the order of the blocks: entries of params:list().
---@param model sonde.model
---@param options {matrices: string[]|nil, layers: integer[]|nil}
---@param where? fun(): string
---@return table[]
function matrices.choose(model, options, where)
  local list, used, layers = {}, {}, set_of(options.layers)
  for _, block in ipairs(options.layers or {}) do
    if block >= model.config.depth then
      error(args.place(where) .. string.format("sparsity: there is no block %d; blocks are 0..%d", block,
        model.config.depth - 1), 0)
    end
  end
  for _, param in ipairs(model:params():list()) do
    local block = names.in_block(param.name)
    if block and ROLES[param.role] and #param.dims >= 2 and (not layers or layers[block])
      and fits(param.name, options.matrices, used) then
      list[#list + 1] = param
    end
  end
  for _, pattern in ipairs(options.matrices or {}) do
    if not used[pattern] then
      error(args.place(where) .. "sparsity: no matrix of an attention or feed-forward layer is called '" .. pattern
        .. "'", 0)
    end
  end
  if #list == 0 then error(args.place(where) .. "sparsity: the model has no such matrices", 0) end
  return list
end

--- Whether a parameter has a view of that kind.
---@param param table       of params:list()
---@param kind string
---@return boolean
function matrices.has(param, kind)
  for _, view in ipairs(param.views) do
    if view == kind then return true end
  end
  return false
end

--- Puts masks of ones on matrices that have none.
---@param params sonde.params
---@param list table[]
function matrices.mask(params, list)
  for _, param in ipairs(list) do
    if not matrices.has(param, "mask") then params:mask(param.name) end
  end
end

--- The mask of a parameter, a tensor of its shape; nil: it has none.
---@param params sonde.params
---@param name string
---@return sonde.tensor|nil
function matrices.mask_of(params, name)
  return params:find(name .. ".mask")
end

---@class sonde.sparse_matrix
---@field name string
---@field block integer         from 0
---@field weights integer
---@field zeros integer         weights that are out, by the mask
---@field sparsity number

--- What masked matrices hold.
---@param params sonde.params
---@param list table[]
---@return sonde.sparse_matrix[]
function matrices.facts(params, list)
  local facts = core.list()
  for _, param in ipairs(list) do
    local mask = matrices.mask_of(params, param.name)
    local weights = mask:count()
    local zeros = core.mask_zeros(mask)
    facts[#facts + 1] = { name = param.name, block = names.in_block(param.name), weights = weights, zeros = zeros,
      sparsity = zeros / weights }
  end
  return facts
end

return matrices
