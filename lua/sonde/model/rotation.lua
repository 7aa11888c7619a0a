--- rotation - up to which length a model's rotary frequencies are the same for all sequences.

local rotation = {}

---@private
--- The limit of the schemes by length of the causal attention.
---@param model sonde.model
---@return integer|nil limit   sequences of so many tokens and fewer are rotated alike; nil: all are
---@return boolean every       whether each longer length is rotated otherwise (dynamic), or all alike (longrope)
function rotation.limit(model)
  local least, every = nil, false
  for _, layer in ipairs(model.layers) do
    local options = layer.attention and layer.attention.options or {}
    if options.rope_scaling == "dynamic" or options.rope_scaling == "longrope" then
      least = math.min(least or math.huge, options.rope_original_context)
      every = every or options.rope_scaling == "dynamic"
    end
  end
  return least, every
end

---@private
--- The limit that keeps a sequence of `from` tokens from being continued to `to` with a cache, whose keys were rotated
--- for the shorter one; nil where none does.
---@param model sonde.model
---@param from integer
---@param to integer
---@return integer|nil
function rotation.between(model, from, to)
  local limit, every = rotation.limit(model)
  return limit and to > from and to > limit and (every or from <= limit) and limit or nil
end

return rotation
