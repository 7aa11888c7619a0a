--- placement.lua - where the norms of a block stand. One placement, one function of ten lines.
--
-- A placement gets the block and the residual stream x [B, T, D] and returns the stream after the block. What a block
-- offers: block:norm_in(slot) and block:norm_out(slot) for the slots "attn" and "ffn" give a norm, a function of x;
-- block:attention(x) and block:ffn(x); block.layer (l = 1..L) and block.depth (L). After the last block every model has
-- one norm of its own, which no placement scales, and then the head.

local core = require "sonde.core"
local args = require "sonde.args"

local placement = {}

local placements = {}

---@class sonde.placement_options
---@field init? string                 initialisation of models that name none; default "normal"
---@field options? sonde.schema        options of the placement itself; their values stand in block.options
---@field check? fun(model: table): string|nil    a warning about a model's other options

--- Registers a placement under a name that models can ask for.
---@param name string
---@param build fun(block: sonde.block, x: sonde.node): sonde.node
---@param options? sonde.placement_options
function placement.register(name, build, options)
  if placements[name] then error(core.where() .. "the placement '" .. name .. "' exists already", 0) end
  if type(build) ~= "function" then error(core.where() .. "a placement is a function of a block and x", 0) end
  options = options or {}
  placements[name] = { build = build, init = options.init or "normal", options = options.options or {}, check = options.check }
end

--- The names of all placements.
---@return string[]
function placement.names()
  local names = {}
  for name in pairs(placements) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- The placement of that name: {build=, init=, options=, check=}.
---@param name string
---@param where? fun(): string   the place of the name, for messages
---@return table
function placement.find(name, where)
  local found = placements[name]
  if not found then
    error((where or core.where)() .. "unknown placement '" .. tostring(name) .. "'" .. args.hint(name, placement.names()), 0)
  end
  return found
end

-- Norm before each branch (GPT-2 and after): the stream itself is never normalised, its variance grows with depth.
local function pre_ln(block, x)
  x = x + block:attention(block:norm_in "attn" (x))
  return x + block:ffn(block:norm_in "ffn" (x))
end
placement.register("pre_ln", pre_ln)

-- Norm after each residual sum (Vaswani et al., 2017).
local function post_ln(block, x)
  x = block:norm_out "attn" (x + block:attention(x))
  return block:norm_out "ffn" (x + block:ffn(x))
end
placement.register("post_ln", post_ln)

-- DeepNet (Wang et al., 2022), decoder only: alpha = (2L)^(1/4), and an initialisation of its own.
placement.register("deepnorm", function(block, x)
  local alpha = (2 * block.depth) ^ 0.25
  x = block:norm_out "attn" (alpha * x + block:attention(x))
  return block:norm_out "ffn" (alpha * x + block:ffn(x))
end, { init = "deepnorm" })

-- Mix-LN (Li et al., 2024): the first floor(a L) blocks Post-LN, the others Pre-LN.
placement.register("mix_ln", function(block, x)
  if block.layer <= math.floor(block.options.a * block.depth) then return post_ln(block, x) end
  return pre_ln(block, x)
end, {
  options = {
    { name = "a", type = "number", min = 0, max = 1, preset = 0.25, doc = "share of the blocks, from the first, that are Post-LN" },
  },
})

-- LayerNorm Scaling (Sun et al., 2025): both norms of block l times 1/sqrt(l), so that the variance of the stream
-- grows polynomially.
placement.register("lns", function(block, x)
  local scale = 1 / math.sqrt(block.layer)
  x = x + block:attention(scale * block:norm_in "attn" (x))
  return x + block:ffn(scale * block:norm_in "ffn" (x))
end, {
  check = function(model)
    if model.init == "scaled" then
      return "LayerNorm Scaling loses most of its gain with the initialisation 'scaled'; 'normal' is meant for it"
    end
  end,
})

-- Norm before and after each branch (sandwich; Peri-LN).
placement.register("sandwich", function(block, x)
  x = x + block:norm_out "attn" (block:attention(block:norm_in "attn" (x)))
  return x + block:norm_out "ffn" (block:ffn(block:norm_in "ffn" (x)))
end)

return placement
