--- rope.lua - the rotary positions of a config.json: one place for what its three keys mean.
--
-- transformers 4 writes rope_theta and rope_scaling, transformers 5 rope_parameters. Where both stand, rope_scaling
-- counts whole, and inside it rope_theta counts before the one outside (transformers 5; 4 knows no rope_parameters).

local core = require "sonde.core"

local rope = {}

--- The keys of config.json that are read here.
rope.keys = { rope_theta = true, rope_scaling = true, rope_parameters = true }

-- Key of the dictionary -> option of the attention, by kind; and all keys that some kind of scaling has: those that a
-- kind does not use have no effect there.
local schemes = {
  default = {}, linear = { factor = "rope_factor" },
  llama3 = {
    factor = "rope_factor", low_freq_factor = "rope_low_freq_factor", high_freq_factor = "rope_high_freq_factor",
    original_max_position_embeddings = "rope_original_context",
  },
}
local known = {
  rope_theta = true, rope_type = true, type = true, factor = true, low_freq_factor = true, high_freq_factor = true,
  original_max_position_embeddings = true, attention_factor = true, beta_fast = true, beta_slow = true, mscale = true,
  mscale_all_dim = true, truncate = true, short_factor = true, long_factor = true, partial_rotary_factor = true,
}

-- The dictionary that counts, and its name; nil where there is none.
local function dictionary(config, refuse)
  for _, key in ipairs { "rope_scaling", "rope_parameters" } do
    local value = config[key]
    if value ~= nil and type(value) ~= "table" then
      refuse("the rope scaling '" .. tostring(value) .. "' is not supported: '" .. key .. "' must be an object")
    end
    if value and next(value) ~= nil then return value, key end
  end
end

local function check_keys(dict, name, refuse)
  for key, value in pairs(dict) do
    if type(value) == "table" and key ~= "short_factor" and key ~= "long_factor" then
      refuse(string.format("'%s' differs by kind of layer ('%s'), which is not supported", name, tostring(key)))
    end
    if not known[key] then
      refuse(string.format("'%s' has the key '%s', which is not known and may change what the model computes", name,
        tostring(key)))
    end
  end
  if dict.partial_rotary_factor ~= nil and dict.partial_rotary_factor ~= 1 then
    refuse(string.format("'%s.partial_rotary_factor' is not supported: all of a head is turned", name))
  end
end

local function number(value, name, refuse)
  if type(value) ~= "number" then
    refuse("'" .. name .. "' must be a number, not " .. (type(value) == "table" and "a list or an object"
      or tostring(value)))
  end
  return value
end

local function base(value, refuse)
  if number(value, "rope_theta", refuse) > 0 then return value end
  refuse("'rope_theta' must be over 0, not " .. tostring(value))      -- 0 would mean no positions at all here
end

--- The attention's options that a configuration asks for: rope_theta and, where it scales, rope_scaling and its
--- numbers.
---@param config table
---@param context integer                max_position_embeddings
---@param refuse fun(text: string)       raises
---@return table options, string|nil note
function rope.read(config, context, refuse)
  local dict, name = dictionary(config, refuse)
  local outside = config.rope_theta
  if not dict then return { rope_theta = base(outside == nil and 10000 or outside, refuse) } end
  check_keys(dict, name, refuse)
  local kind = dict.rope_type or dict.type or "default"
  local scheme = schemes[kind]
  if not scheme then
    refuse("the rope scaling '" .. tostring(kind) .. "' is not supported; known: default, linear, llama3")
  end
  local options, note = { rope_theta = base(dict.rope_theta or outside or 10000, refuse) }, nil
  if outside ~= nil and outside ~= options.rope_theta then
    note = string.format("rope_theta %s does not count: %s has %s", tostring(outside), name,
      tostring(options.rope_theta))
  end
  if kind ~= "default" then options.rope_scaling = kind end
  for key, option in pairs(scheme) do
    local value = dict[key]
    if value == nil and key == "original_max_position_embeddings" then value = context end
    if value == nil then refuse(string.format("the rope scaling '%s' of '%s' has no '%s'", kind, name, key)) end
    options[option] = number(value, name .. "." .. key, refuse)
  end
  return options, note
end

--- The keys of config.json for the options of an attention layer.
---@param options table
---@return table
function rope.write(options)
  local keys, scheme = { rope_theta = options.rope_theta }, schemes[options.rope_scaling]
  if not scheme or not next(scheme) then return keys end
  keys.rope_scaling = { rope_type = options.rope_scaling, type = options.rope_scaling }
  for key, option in pairs(scheme) do keys.rope_scaling[key] = options[option] end
  return keys
end

--- Whether two sets of an attention's options turn alike.
---@param a table
---@param b table
---@return boolean
function rope.same(a, b)
  local kind, other = a.rope_scaling or "none", b.rope_scaling or "none"
  if a.rope_theta ~= b.rope_theta or kind ~= other then return false end
  for _, option in pairs(schemes[kind] or {}) do
    if a[option] ~= b[option] then return false end
  end
  return true
end

--- Whether the keys of a config.json, with nulls as core.null, say what an attention's options say.
---@param tree table
---@param context integer
---@param options table
---@return boolean
function rope.says(tree, context, options)
  local keys = {}
  for name in pairs(rope.keys) do
    if tree[name] ~= core.null then keys[name] = tree[name] end
  end
  local ok, read = pcall(rope.read, keys, context, function(text) error(text, 0) end)
  return next(keys) ~= nil and ok and rope.same(read, options)
end

--- "theta 10000, llama3 {...}", for messages.
---@param options table
---@return string
function rope.text(options)
  local keys = rope.write(options)
  return "theta " .. tostring(keys.rope_theta) .. (keys.rope_scaling and " " .. core.json_encode(keys.rope_scaling)
    or "")
end

return rope
