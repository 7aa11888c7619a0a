--- placement.lua - where the norms of a block stand. One placement, one function of ten lines.
--
-- A placement gets the block and the residual stream x [B, T, D] and returns the stream after the block. What a block
-- offers: block:norm_in(slot[, factor]) and block:norm_out(slot[, factor]) for the slots "attn" and "ffn" give a norm,
-- a function of x, its result times the factor; block:attention(x) and block:ffn(x); block:param(...) for parameters of
-- the placement; block.layer (l = 1..L) and block.depth (L). After the last block every model has one norm of its own,
-- which no placement scales, and then the head. doc/norms.md compares them all.

local args = require "sonde.base.args"
local init_policy = require "sonde.model.init_policy"
local registry = require "sonde.base.registry"

local placements = registry.new {
  kind = "placement",
  schema = {
    { name = "build", type = "function", required = true, doc = "the block's function" },
    { name = "doc", type = "string", preset = "", doc = "one line on where the norms are" },
    { name = "init", type = "string", preset = "normal", doc = "initialisation of models that name none" },
    { name = "options", type = "list", preset = {}, doc = "the schema of the placement's options" },
    { name = "check", type = "function", doc = "of a model's other options: a warning about them, or nil" },
  },
}
local placement = { registry = placements }

---@class sonde.placement_options
---@field doc? string                  one line on where the norms are
---@field init? string                 initialisation of models that name none; default "normal"
---@field options? sonde.schema        options of the placement itself; their values stand in block.options
---@field check? fun(model: table): string|nil    a warning about a model's other options

--- Registers a placement under a name that models can ask for.
---@param name string
---@param build fun(block: sonde.block, x: sonde.node): sonde.node
---@param options? sonde.placement_options
function placement.register(name, build, options)
  local info = { build = build }
  for key, value in next, options or {} do info[key] = value end
  placements:add(name, info)
end

--- The names of all placements.
---@return string[]
function placement.names()
  return placements:names()
end

--- The placement of that name: {build=, init=, options=, check=}.
---@param name string
---@param where? fun(): string   the place of the name, for messages
---@return table
function placement.find(name, where)
  return placements:find(name, where)
end

-- Norm before each branch (GPT-2 and after): the stream itself is never normalised, its variance grows with depth.
local function pre_ln(block, x)
  x = x + block:attention(block:norm_in "attn" (x))
  return x + block:ffn(block:norm_in "ffn" (x))
end
placement.register("pre_ln", function(block, x)
  local factor = block.options.branch_scale
  if factor == 1 then return pre_ln(block, x) end
  x = x + factor * block:attention(block:norm_in "attn" (x))
  return x + factor * block:ffn(block:norm_in "ffn" (x))
end, {
  doc = "a norm before each branch (GPT-2, Llama)",
  options = {
    { name = "branch_scale", type = "number", preset = 1, doc = "factor of each branch before it is added (Granite)" },
  },
})

-- The same with the initialisations that papers compare it under.
placement.register("pre_ln_scaled", pre_ln, {
  init = "scaled", doc = "pre_ln with the initialisation scaled",
})
placement.register("pre_ln_mitchell", pre_ln, {
  init = "mitchell", doc = "pre_ln with the initialisation mitchell",
})
placement.register("pre_ln_megatron", pre_ln, {
  init = "megatron", doc = "pre_ln with the initialisation megatron",
})

-- Norm after each residual sum (Vaswani et al., 2017).
local function post_ln(block, x)
  x = block:norm_out "attn" (x + block:attention(x))
  return block:norm_out "ffn" (x + block:ffn(x))
end
placement.register("post_ln", post_ln, { doc = "a norm after each residual sum (Vaswani et al., 2017)" })

-- Post-LN with the stream times alpha.
local function weighted_post_ln(block, x, alpha)
  x = block:norm_out "attn" (alpha * x + block:attention(x))
  return block:norm_out "ffn" (alpha * x + block:ffn(x))
end

-- DeepNet (Wang et al., 2022), decoder only: alpha = (2L)^(1/4), and an initialisation of its own.
placement.register("deepnorm", function(block, x)
  return weighted_post_ln(block, x, (2 * block.depth) ^ 0.25)
end, { init = "deepnorm", doc = "post_ln with the stream times (2L)^(1/4) (Wang et al., DeepNet, 2022)" })

-- What the papers on Mix-LN and LayerNorm Scaling ran under DeepNorm's name: alpha of 32 blocks at every depth, and
-- the inverse of DeepNet's gain.
placement.register("deepnorm_paper", function(block, x)
  return weighted_post_ln(block, x, 2.828427)
end, {
  init = "deepnorm_paper", doc = "deepnorm as the papers on Mix-LN and LayerNorm Scaling ran it: the factor of 32 "
    .. "blocks",
})

-- Mix-LN (Li et al., 2024): the first floor(a L) blocks Post-LN, the others Pre-LN.
local function mix_ln(block, x)
  if init_policy.is_first(block.layer, block.depth, block.options.a) then return post_ln(block, x) end
  return pre_ln(block, x)
end

local mix_options = {
  { name = "a", type = "number", min = 0, max = 1, preset = 0.25,
    doc = "share of the blocks, from the first, that are Post-LN" },
}
placement.register("mix_ln", mix_ln, {
  doc = "the first blocks post_ln, the others pre_ln (Li et al., Mix-LN, 2024)", options = mix_options,
})

-- The same with the Pre-LN blocks alone initialised as "scaled" has it ("scale_post_pre" in the code of Mix-LN and
-- LayerNorm Scaling).
placement.register("scale_post_pre", mix_ln, {
  init = "scaled_pre", doc = "mix_ln with the initialisation scaled_pre", options = mix_options,
})

-- Every fourth block Post-LN and the others Pre-LN, or the other way round: ablations in the same code.
local function every_fourth(fourth, others, doc)
  return function(block, x)
    return (block.layer % block.options.every == 0 and fourth or others)(block, x)
  end, {
    doc = doc,
    options = {
      { name = "every", type = "integer", min = 1, preset = 4, doc = "blocks whose l is a multiple of it differ" },
    },
  }
end
placement.register("pre_post_pre_post", every_fourth(post_ln, pre_ln, "every fourth block post_ln, the others pre_ln"))
placement.register("post_pre_post_pre", every_fourth(pre_ln, post_ln, "every fourth block pre_ln, the others post_ln"))

-- Norm after each branch, before the sum (Swin v2's res-post-norm; OLMo 2).
placement.register("norm_after", function(block, x)
  x = x + block:norm_out "attn" (block:attention(x))
  return x + block:norm_out "ffn" (block:ffn(x))
end, { doc = "a norm after each branch, before the residual sum (Swin v2, OLMo 2)" })

-- Keel (Chen and Wei, 2026): Post-LN with the stream times alpha, the number of branches 2L, and a norm before each
-- branch too. The first branch is Pre-LN.
placement.register("keel", function(block, x)
  local alpha = block.options.alpha > 0 and block.options.alpha or 2 * block.depth
  local attn = block:attention(block:norm_in "attn" (x))
  x = block.layer == 1 and x + attn or block:norm_out "attn" (alpha * x + attn)
  return block:norm_out "ffn" (alpha * x + block:ffn(block:norm_in "ffn" (x)))
end, {
  doc = "post_ln with the stream times 2L and a norm before each branch too (Chen and Wei, Keel, 2026)",
  options = {
    { name = "alpha", type = "number", min = 0, preset = 0, doc = "factor of the stream; 0: the branches' number, 2L" },
  },
})

local function check_lns(model)
  if model.init == "scaled" or model.init == "megatron" then
    return "LayerNorm Scaling loses most of its gain with the initialisation '" .. model.init
      .. "'; 'normal' is meant for it"
  end
end

-- LayerNorm Scaling (Sun et al., 2025): both norms of block l times 1/sqrt(l), so that the variance of the stream
-- grows polynomially.
placement.register("lns", function(block, x)
  local scale = 1 / math.sqrt(block.layer)
  x = x + block:attention(block:norm_in("attn", scale)(x))
  return x + block:ffn(block:norm_in("ffn", scale)(x))
end, { check = check_lns, doc = "pre_ln, the norms of block l times 1/sqrt(l) (Sun et al., 2025)" })

-- Norm before and after each branch: Sandwich-LN (Ding et al., 2021), Peri-LN (Kim et al., 2025). The factors are
-- LayerNorm Scaling's, where it is put on top.
local function sandwich(block, x, before, after)
  x = x + block:norm_out("attn", after)(block:attention(block:norm_in("attn", before)(x)))
  return x + block:norm_out("ffn", after)(block:ffn(block:norm_in("ffn", before)(x)))
end
placement.register("sandwich", sandwich, { doc = "a norm before and after each branch (Ding et al., 2021)" })
placement.register("peri_ln", sandwich, { doc = "the same as sandwich (Kim et al., Peri-LN, 2025)" })

placement.register("lns_sandwich", function(block, x)
  local scale = 1 / math.sqrt(block.layer)
  return sandwich(block, x, scale, block.options.both and scale or nil)
end, {
  check = check_lns, doc = "sandwich with LayerNorm Scaling's factors",
  options = {
    { name = "both", type = "boolean", preset = true, doc = "scale the norms behind the branches too" },
  },
})

-- Attention and feed-forward layer side by side on the same stream (GPT-J, PaLM: one norm for both).
placement.register("parallel", function(block, x)
  local attn = block:norm_in "attn" (x)
  local ffn = block.options.shared and attn or block:norm_in "ffn" (x)
  return x + block:attention(attn) + block:ffn(ffn)
end, {
  doc = "both branches side by side on the same stream (GPT-J, PaLM)",
  options = {
    { name = "shared", type = "boolean", preset = true, doc = "one norm for both branches; else one each (GPT-NeoX)" },
  },
})

-- The first blocks Pre-LN, the others otherwise: the ablations of the LayerNorm Scaling code, which fixes 7 blocks.
local function pre_then(rest, doc)
  return function(block, x)
    if block.layer <= block.options.first then return pre_ln(block, x) end
    return rest(block, x)
  end, {
    doc = doc,
    options = { { name = "first", type = "integer", min = 0, preset = 7, doc = "how many blocks are Pre-LN" } },
  }
end
placement.register("pre_post", pre_then(post_ln, "the first blocks pre_ln, the others post_ln"))
placement.register("pre_sandwich", pre_then(sandwich, "the first blocks pre_ln, the others sandwich"))

-- Pre-LN with each branch times learned factors: one a channel (LayerScale, Touvron et al., 2021) or one in all
-- (SkipInit, De and Smith, 2020; "scale_res_pre_norm" in the LayerNorm Scaling code).
local function scaled_branches(block, x, width, init)
  x = x + block:param("attn_scale", { width }, "gain", init) * block:attention(block:norm_in "attn" (x))
  return x + block:param("ffn_scale", { width }, "gain", init) * block:ffn(block:norm_in "ffn" (x))
end

placement.register("layerscale", function(block, x)
  local by_depth = block.depth <= 18 and 0.1 or block.depth <= 24 and 1e-5 or 1e-6
  local first = block.options.scale > 0 and block.options.scale or by_depth
  return scaled_branches(block, x, block.width, first)
end, {
  doc = "pre_ln, each branch times a learned factor a channel (Touvron et al., 2021)",
  options = {
    { name = "scale", type = "number", min = 0, preset = 0,
      doc = "first value of the factors; 0: the paper's 0.1 up to 18 blocks, 1e-5 up to 24, 1e-6 beyond" },
  },
})

placement.register("skipinit", function(block, x)
  return scaled_branches(block, x, 1, block.options.scale)
end, {
  doc = "pre_ln, each branch times one learned factor (De and Smith, 2020)",
  options = { { name = "scale", type = "number", preset = 1e-3, doc = "first value of the factors" } },
})

-- No block at all but one linear map of the stream: what a pruned run of blocks may be replaced by. The map is x + x A'
-- + b, so that weight decay draws it towards passing the stream on.
placement.register("linear", function(block, x)
  local map = block:param("weight", { block.width, block.width }, "other")
  return x + x:linear(map) + block:param("bias", { block.width }, "bias", 0)
end, { doc = "no branches: one linear map of the stream, in place of pruned blocks" })

return args.declare(placement, "sonde.placement.", {
  register = {
    as = "sonde.placement",
    { name = "name", type = "string", required = true }, { name = "build", type = "function", required = true },
    { name = "options", type = "table" },
  },
})
