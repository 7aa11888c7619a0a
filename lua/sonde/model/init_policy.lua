--- init_policy.lua - how a model's parameters start, by their role.
--
-- A policy is a function of the place (depth L, layer 1..L or 0 outside the blocks, width, std) that returns a table
-- role -> {kind, a, b}: {"normal", std, b}, {"xavier", gain, b}, {"fan_in", gain, b} (std = gain / sqrt(columns)), or
-- {"fill", value}; b is where the normal distribution is cut off, in sigmas (0 or none: nowhere). The role "default"
-- stands for all that are not named. Gains and biases start at what their module asks for, buffers are computed.

local core = require "sonde.core"
local args = require "sonde.base.args"
local registry = require "sonde.base.registry"

local policies = registry.new {
  kind = "initialisation",
  schema = {
    { name = "policy", type = "function", required = true, doc = "of a place: how parameters start, by role" },
    { name = "doc", type = "string", preset = "", doc = "one line on it" },
  },
}
local initpolicy = { registry = policies }

---@class sonde.init_place
---@field layer integer     1..L; 0 outside the blocks
---@field depth integer     L
---@field width integer     D
---@field std number        the model's init_std
---@field options table     of the block's placement; {} outside the blocks

--- Registers an initialisation under a name that models can ask for.
---@param name string
---@param policy fun(place: sonde.init_place): table<string, table>
---@param doc? string     one line on it
function initpolicy.register(name, policy, doc)
  policies:add(name, { policy = policy, doc = doc })
end

--- The names of all initialisations.
---@return string[]
function initpolicy.names()
  return policies:names()
end

--- The function behind a name; nil where there is none.
---@param name string
---@return function|nil
function initpolicy.find(name)
  local found = policies:get(name)
  return found and found.policy
end

-- What a policy gives, checked: a misspelt role or a number that is missing would pass for an initialisation unseen.
local function checked(name, given)
  local roles = core.roles()
  roles[#roles + 1] = "default"
  local where = core.where() .. "the initialisation '" .. name .. "' "
  if type(given) ~= "table" then error(where .. "gives " .. type(given) .. "; it must give a table by role", 0) end
  local known = {}
  for _, role in ipairs(roles) do known[role] = true end
  for role, rule in pairs(given) do
    if not known[role] then
      error(where .. "gives values for a role '" .. tostring(role) .. "'" .. args.hint(tostring(role), roles), 0)
    end
    local size = type(rule) == "table" and rule[2]
    if type(size) ~= "number" or type(rule[1]) ~= "string" or size ~= size or math.abs(size) == math.huge then
      error(where .. "must give the role '" .. role .. "' a kind and a number, such as { \"normal\", 0.02 }", 0)
    end
  end
  return given
end

--- The policy of that name for one place: role -> {kind=, a=, b=} for every role.
---@param name string
---@param place sonde.init_place
---@return table<string, {kind: string, a: number, b: number}>
function initpolicy.at(name, place)
  local given, by_role = checked(name, policies:find(name).policy(place)), {}
  for _, role in ipairs(core.roles()) do
    local rule = given[role] or given.default or { "normal", place.std }
    by_role[role] = { kind = rule[1], a = rule[2], b = rule[3] or 0 }
  end
  return by_role
end

-- Everything N(0, std^2), embedding and head included.
initpolicy.register("normal", function(place)
  return { default = { "normal", place.std } }
end, "N(0, init_std^2) everywhere")

-- The projections that write to the residual stream are smaller by sqrt(2L): it has 2L summands (Megatron).
initpolicy.register("scaled", function(place)
  local small = { "normal", place.std / math.sqrt(2 * place.depth) }
  return { default = { "normal", place.std }, attn_out = small, ffn_out = small }
end, "normal, the branches' last projections smaller by sqrt(2L) (Megatron)")

--- Whether layer l of L is among the first floor(share L). 0.29 * 100 is 28.999999999999996.
---@param layer integer
---@param depth integer
---@param share number
---@return boolean
function initpolicy.is_first(layer, depth, share)
  return layer <= math.floor(share * depth + 1e-9)
end

-- The same in the Pre-LN blocks of mix_ln alone (of all blocks, under a placement without the option a).
initpolicy.register("scaled_pre", function(place)
  local is_post = initpolicy.is_first(place.layer, place.depth, place.options.a or 0)
  return policies:find(is_post and "normal" or "scaled").policy(place)
end, "scaled, but normal in the blocks of mix_ln that are post_ln")

-- Xavier-normal (Glorot and Bengio, 2010): std sqrt(2 / (in + out)) for every matrix of the blocks and the head; the
-- embedding, which multiplies nothing, as in "normal".
initpolicy.register("xavier", function(place)
  return { default = { "xavier", 1 }, embed = { "normal", place.std } }
end, "Xavier-normal, the embedding N(0, init_std^2) (Glorot and Bengio, 2010)")

-- Cut off at 3 sigmas in the two that follow, as OLMo has them.
local CUT = 3

-- The same for the branches, and a head of std 1/sqrt(D) (OLMo's full_megatron).
initpolicy.register("megatron", function(place)
  local small = { "normal", place.std / math.sqrt(2 * place.depth), CUT }
  return {
    default = { "normal", place.std, CUT }, attn_out = small, ffn_out = small,
    head = { "normal", 1 / math.sqrt(place.width), CUT },
  }
end, "scaled, with a head of std 1/sqrt(D), cut at 3 sigmas (OLMo)")

-- By width, and smaller from block to block: 1/sqrt(D), and for the projections that write to the residual stream of
-- block l 1/sqrt(2 D l) (attention) and 1/sqrt(2 F l) (feed-forward, of inner width F). init_std has no part in it.
initpolicy.register("mitchell", function(place)
  local layer = math.max(1, place.layer)
  return {
    default = { "normal", 1 / math.sqrt(place.width), CUT },
    attn_out = { "normal", 1 / math.sqrt(2 * place.width * layer), CUT },
    ffn_out = { "fan_in", 1 / math.sqrt(2 * layer), CUT },
  }
end, "by width, the branches' last projections smaller from block to block, cut at 3 sigmas (OLMo)")

-- Xavier-normal with `gain` on what the values of the branches pass through, 1 on queries and keys.
local function xavier_branches(place, gain)
  local values = { "xavier", gain }
  return {
    default = { "normal", place.std },
    qk = { "xavier", 1 }, v = values, attn_out = values, ffn_in = values, ffn_out = values,
  }
end

-- DeepNet (Wang et al., 2022), decoder only: beta = (8L)^(-1/4).
initpolicy.register("deepnorm", function(place)
  return xavier_branches(place, (8 * place.depth) ^ -0.25)
end, "Xavier with the gain (8L)^(-1/4) in the branches (Wang et al., DeepNet, 2022)")

-- Its inverse, as the code of Mix-LN and LayerNorm Scaling has it (3.1 instead of 0.32 for 12 blocks).
initpolicy.register("deepnorm_paper", function(place)
  return xavier_branches(place, (8 * place.depth) ^ 0.25)
end, "deepnorm with the inverse gain, as the papers on Mix-LN and LayerNorm Scaling ran it")

return args.declare(initpolicy, "sonde.init.", {
  register = {
    as = "sonde.init",
    { name = "name", type = "string", required = true }, { name = "policy", type = "function", required = true },
    { name = "doc", type = "string" },
  },
})
