--- rope.lua - the rotary positions of a config.json: one place for what its keys mean.
--
-- transformers 4 writes rope_theta and rope_scaling, transformers 5 rope_parameters. Where both stand, rope_scaling
-- counts whole, and inside it rope_theta and partial_rotary_factor count before those outside (transformers 5; 4 knows
-- no rope_parameters). original_max_position_embeddings is that of the dictionary, else max_position_embeddings.

local rope = {}

--- The keys of config.json that are read here.
rope.keys = { rope_theta = true, rope_scaling = true, rope_parameters = true }

-- Key of the dictionary -> option of the attention, by kind; and all keys that some kind of scaling has: those that a
-- kind does not use have no effect there.
local schemes = {
  default = {}, linear = { factor = "rope_factor" }, dynamic = { factor = "rope_factor" },
  llama3 = {
    factor = "rope_factor", low_freq_factor = "rope_low_freq_factor", high_freq_factor = "rope_high_freq_factor",
    original_max_position_embeddings = "rope_original_context",
  },
  yarn = { factor = "rope_factor", original_max_position_embeddings = "rope_original_context" },
  longrope = { original_max_position_embeddings = "rope_original_context" },
}
local kinds = { "default", "linear", "dynamic", "llama3", "yarn", "longrope" }
local known = {
  rope_theta = true, rope_type = true, type = true, factor = true, low_freq_factor = true, high_freq_factor = true,
  original_max_position_embeddings = true, attention_factor = true, beta_fast = true, beta_slow = true, mscale = true,
  mscale_all_dim = true, truncate = true, short_factor = true, long_factor = true, partial_rotary_factor = true,
}

---@class sonde.rope_rules          what classes of models differ in
---@field theta? number             where no key says it; default 10000
---@field partial? number           share of the head that is turned where no key says it; nil: all of it is, and any
---  other share is refused
---@field original? integer         the original context, which no key of the dictionary overrides
---@field names? table<string, string>   rope_theta and partial_rotary_factor as the folder's keys are called; default:
---  by these names
---@field kinds? table<string, string>   kind as it is called in the dictionary -> what it means; default: all, as named

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
end

local function number(value, name, refuse)
  if type(value) ~= "number" then
    refuse("'" .. name .. "' must be a number, not " .. (type(value) == "table" and "a list or an object"
      or tostring(value)))
  end
  return value
end

local function name_of(rules, key) return rules.names and rules.names[key] or key end

local function base(value, name, refuse)
  if number(value, name, refuse) > 0 then return value end
  refuse(string.format("'%s' must be over 0, not %s", name, tostring(value)))   -- 0 would mean no positions at all here
end

-- The share of the head that is turned.
local function share(dict, name, config, rules, refuse)
  local value, key = config.partial_rotary_factor, name_of(rules, "partial_rotary_factor")
  if dict and dict.partial_rotary_factor ~= nil then
    value, key = dict.partial_rotary_factor, name .. ".partial_rotary_factor"
  end
  if value == nil then return rules.partial or 1 end
  number(value, key, refuse)
  if value ~= 1 and not rules.partial then
    refuse(string.format("'%s' is not supported: all of a head is turned", key))
  end
  if not (value > 0 and value <= 1) then
    refuse(string.format("'%s' must be over 0 and at most 1, not %s", key, tostring(value)))
  end
  return value
end

-- A list of numbers as the option of the attention has it.
local function list(value, key, refuse)
  local words = {}
  for i, each in ipairs(type(value) == "table" and value or {}) do
    words[i] = string.format("%.17g", number(each, key, refuse))
  end
  if #words == 0 then refuse("'" .. key .. "' must be a list of numbers") end
  return table.concat(words, ",")
end

-- m(f, s) of YaRN.
local function magnitude(factor, scale)
  return factor <= 1 and 1 or 0.1 * scale * math.log(factor) + 1
end

local function positive(value) return value ~= nil and value ~= 0 end

-- How much longer than the original context the sequences are, where no key says it.
local function ratio(options, context)
  return context / options.rope_original_context
end

local function read_yarn(options, dict, name, context, refuse)
  local note
  local function get(key, preset)
    if not positive(dict[key]) then return preset end
    return number(dict[key], name .. "." .. key, refuse)
  end
  local stretch = ratio(options, context)
  options.rope_factor = options.rope_factor or stretch
  if stretch ~= 1 and math.abs(options.rope_factor - stretch) > 1e-9 * stretch then
    note = string.format("the factor %s of %s counts, though max_position_embeddings is %s times the original context",
      tostring(options.rope_factor), name, string.format("%.6g", stretch))
  end
  options.rope_beta_fast, options.rope_beta_slow = get("beta_fast", 32), get("beta_slow", 1)
  options.rope_truncate = dict.truncate ~= false
  local factor, scale, all = options.rope_factor, get "mscale", get "mscale_all_dim"
  options.rope_attention_factor = get "attention_factor"
    or scale and all and magnitude(factor, scale) / magnitude(factor, all) or magnitude(factor, 1)
  return note
end

local function longrope_factor(factor, original)
  return factor <= 1 and 1 or math.sqrt(1 + math.log(factor) / math.log(original))
end

local function read_longrope(options, dict, name, context, refuse)
  options.rope_short_factors = list(dict.short_factor, name .. ".short_factor", refuse)
  options.rope_long_factors = list(dict.long_factor, name .. ".long_factor", refuse)
  local factor = dict.factor ~= nil and number(dict.factor, name .. ".factor", refuse) or ratio(options, context)
  options.rope_attention_factor = dict.attention_factor ~= nil
    and number(dict.attention_factor, name .. ".attention_factor", refuse)
    or longrope_factor(factor, options.rope_original_context)
end

local function kind_of(dict, rules, refuse)
  local called = dict.rope_type or dict.type or "default"
  local kind = called
  if rules.kinds then kind = rules.kinds[called] end
  if not schemes[kind] then
    local names = {}
    for _, each in ipairs(kinds) do
      if not rules.kinds or rules.kinds[each] == each then names[#names + 1] = each end
    end
    refuse("the rope scaling '" .. tostring(called) .. "' is not supported; known: " .. table.concat(names, ", "))
  end
  return kind
end

-- The options of a kind of scaling. dynamic turns as it is up to max_position_embeddings.
local function read_scheme(options, kind, dict, name, context, rules, refuse)
  for key, option in pairs(schemes[kind]) do
    local value = dict[key]
    if key == "original_max_position_embeddings" then value = rules.original or value or context end
    if value == nil and not (kind == "yarn" and key == "factor") then
      refuse(string.format("the rope scaling '%s' of '%s' has no '%s'", kind, name, key))
    end
    options[option] = value and number(value, name .. "." .. key, refuse)
  end
  if kind == "dynamic" then options.rope_original_context = context end
  if kind == "yarn" then return read_yarn(options, dict, name, context, refuse) end
  if kind == "longrope" then read_longrope(options, dict, name, context, refuse) end
end

--- The attention's options that a configuration asks for: rope_theta, the share of the head that is turned, and where
--- it scales, rope_scaling and its numbers.
---@param config table
---@param context integer                max_position_embeddings
---@param refuse fun(text: string)       raises
---@param rules? sonde.rope_rules
---@return table options, string|nil note
function rope.read(config, context, refuse, rules)
  rules = rules or {}
  local dict, name = dictionary(config, refuse)
  local outside, preset, note = config.rope_theta, rules.theta or 10000, nil
  local key = name_of(rules, "rope_theta")
  local options = { rope_partial = share(dict, name, config, rules, refuse) }
  if not dict then
    options.rope_theta = base(outside == nil and preset or outside, key, refuse)
    return options
  end
  check_keys(dict, name, refuse)
  local kind = kind_of(dict, rules, refuse)
  local inside = dict.rope_theta and name .. ".rope_theta"
  options.rope_theta = base(dict.rope_theta or outside or preset, inside or key, refuse)
  if outside ~= nil and outside ~= options.rope_theta then
    note = string.format("%s %s does not count: %s has %s", key, tostring(outside), name,
      tostring(options.rope_theta))
  end
  if kind ~= "default" then options.rope_scaling = kind end
  return options, read_scheme(options, kind, dict, name, context, rules, refuse) or note
end

local function numbers_of(text)
  local numbers = {}
  for word in string.gmatch(text, "[^,]+") do numbers[#numbers + 1] = tonumber(word) end
  return numbers
end

-- The dictionary of a longrope, with no key that transformers 4 refuses beside these of a Phi-3.
local function longrope_dictionary(options, context, rules)
  local dict = { type = "longrope", short_factor = numbers_of(options.rope_short_factors),
    long_factor = numbers_of(options.rope_long_factors) }
  if not rules.original then dict.original_max_position_embeddings = options.rope_original_context end
  if options.rope_attention_factor ~= longrope_factor(ratio(options, context), options.rope_original_context) then
    dict.attention_factor = options.rope_attention_factor
  end
  return dict
end

--- The keys of config.json for the options of an attention layer.
---@param options table
---@param context integer
---@param rules? sonde.rope_rules
---@return table
function rope.write(options, context, rules)
  rules = rules or {}
  local kind = options.rope_scaling
  local keys, scheme = { rope_theta = options.rope_theta }, schemes[kind]
  if rules.partial then keys.partial_rotary_factor = options.rope_partial end
  if not scheme then return keys end
  if kind == "longrope" then
    keys.rope_scaling = longrope_dictionary(options, context, rules)
    return keys
  end
  keys.rope_scaling = { rope_type = kind, type = kind }
  for key, option in pairs(scheme) do keys.rope_scaling[key] = options[option] end
  if kind == "yarn" then
    local dict = keys.rope_scaling
    dict.beta_fast, dict.beta_slow = options.rope_beta_fast, options.rope_beta_slow
    dict.attention_factor = options.rope_attention_factor
    if not options.rope_truncate then dict.truncate = false end
  end
  return keys
end

-- Options of the attention that each kind uses.
local used = {
  none = {}, linear = { "rope_factor" }, dynamic = { "rope_factor", "rope_original_context" },
  llama3 = { "rope_factor", "rope_low_freq_factor", "rope_high_freq_factor", "rope_original_context" },
  yarn = { "rope_factor", "rope_beta_fast", "rope_beta_slow", "rope_truncate", "rope_original_context" },
  longrope = { "rope_short_factors", "rope_long_factors", "rope_original_context" },
}

--- An attention's options without those of its rotary positions that have no effect beside the others.
---@param options table
---@return table
function rope.effective(options)
  local left, counts = {}, { rope_theta = true }
  if options.rope_theta ~= 0 then
    counts.rope_partial, counts.rope_scaling, counts.rope_attention_factor = true, true, true
    for _, name in ipairs(used[options.rope_scaling] or {}) do counts[name] = true end
  end
  for name, value in pairs(options) do
    if not string.find(name, "^rope_") or counts[name] then left[name] = value end
  end
  return left
end

return rope
