--- llama2c.lua - a checkpoint of llama2.c (a .bin of version 0) as a model: a Llama whose numbers are in one file.
--
-- Its sizes are in the file's header; norms have eps 1e-5 and positions theta 10000, as its program has them. That
-- turns pairs of neighbouring features, a Llama here each feature of a head's first half with one of the second: rows
-- of queries and keys are put into that order.

local core = require "sonde.core"
local names = require "sonde.model.names"

local llama2c = {}

-- Rows of queries or keys [heads Dh, D] with the features of each head as here: the even ones first.
local function halves(node, head_dim)
  local rows, width = node:dims()[1], node:dims()[2]
  local heads = math.floor(rows / head_dim)
  return node:reshape({ heads, math.floor(head_dim / 2), 2, width }):permute({ 1, 3, 2, 4 }):reshape { rows, width }
end

-- What the weights of such a file are of, as architectures are described.
local of = {
  name = "llama2.c", embedding = names.embedding, head = names.head, prefix = "", tied_by = "vocab_size",
  passes_over = {},
}

function of.tensors(model, params)
  local entries = {}
  for k, param in ipairs(params) do
    entries[k] = { tensor = param.name, params = { param.name } }
    if param.role == "qk" and #param.dims == 2 then
      entries[k].split = function(node) return { halves(node, model.config.head_dim) } end
    end
  end
  return entries
end

--- The model in a checkpoint of llama2.c.
---@param path string
---@return sonde.model
function llama2c.load(path)
  local file = core.weights_open(path)
  local function size(key) return math.floor(tonumber(file:meta(key))) end
  local options = {
    vocab = size "vocab_size", width = size "dim", depth = size "n_layers", heads = size "n_heads",
    kv_heads = size "n_kv_heads", ffn_hidden = size "hidden_dim", context = size "seq_len",
    tie = file:find(names.head) == nil, norm = "rmsnorm", norm_eps = 1e-5, rope_theta = 10000, placement = "pre_ln",
    attention = "causal", ffn = "swiglu",
  }
  file:close()
  local model = require("sonde.model.transformer").new(options, function() return core.where() .. path .. ": " end)
  return require("sonde.io.weights").read(model, path, of)
end

return llama2c
