--- names.lua - what the parameters of a model are called. First values, hashes and checkpoints depend on these names.
--
-- They are those that a Llama's tensors have, so that a folder of Sonde's own kind reads like one; what the tensors of
-- another architecture are called is said in io/arch. A module names its own parameters ("q_proj.weight").

local names = {
  embedding = "model.embed_tokens.weight",
  features = "model.embed_features.weight",
  embed_scale = "model.embed_scale",
  positions = "model.embed_positions.weight",
  project_in = "model.project_in.weight",
  project_out = "model.project_out.weight",
  final_norm = "model.norm.",
  head = "lm_head.weight",
  attention = "self_attn",
  ffn = "mlp",
  -- The norms of a block by slot; those behind the branches are named like those in front of them.
  norms = {
    attn = "input_layernorm", ffn = "post_attention_layernorm",
    attn_out = "post_self_attn_layernorm", ffn_out = "post_mlp_layernorm",
  },
}

--- What the names of a block's parameters begin with.
---@param index integer     from 0
---@return string
function names.block(index)
  return string.format("model.layers.%d.", index)
end

--- The block that a parameter belongs to, and its name there; nil outside the blocks.
---@param name string
---@return integer|nil index, string|nil rest
function names.in_block(name)
  local index, rest = string.match(name, "^model%.layers%.(%d+)%.(.*)$")
  return tonumber(index), rest
end

return names
