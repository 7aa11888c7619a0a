--- remote.lua - the Python code that lies in the folder of a model of Sonde's own architecture, so that transformers
-- opens it (trust_remote_code): io/python/. It computes what is listed here; a model with anything else has no such
-- code in its folder, rather than code that computes something else.

local core = require "sonde.core"
local sorted_keys = require "sonde.base.sorted_keys"

local remote = {}

-- Modules, and their options, that modeling_sonde.py reads; another option must have its default.
local known = {
  norm = {
    rmsnorm = { "eps", "folded", "unit_offset" }, layernorm = { "eps", "bias", "gain" },
    dyt = { "alpha_attn", "alpha_ffn", "alpha_final", "folded", "bias" },
    derf = { "alpha_attn", "alpha_ffn", "alpha_final", "shift" },
    bhyt_star = { "kappa", "lambda_attn", "lambda_ffn", "lambda_final", "learn_lambda", "eps", "folded",
      "kappa_schedule" },
    bhyt = { "kappa", "lambda_attn", "lambda_ffn", "lambda_final", "learn_lambda", "eps", "folded", "kappa_schedule",
      "variance", "exact_first", "exact_blocks" },
  },
  attention = {
    causal = { "heads", "kv_heads", "head_dim", "rope_theta", "window", "qk_norm", "qk_norm_over", "qk_eps", "bias",
      "clip", "score_scale", "softcap", "rope_partial", "rope_scaling", "rope_factor", "rope_low_freq_factor",
      "rope_high_freq_factor", "rope_original_context", "rope_beta_fast", "rope_beta_slow", "rope_truncate",
      "rope_attention_factor" },
  },
  ffn = { swiglu = { "hidden", "activation", "bias" }, gelu = { "hidden", "approximate" } },
}

-- Values that it knows, of options that may grow more.
local values = { rope_scaling = { none = true, linear = true, llama3 = true, yarn = true } }

local placements = {}
for name in string.gmatch([[pre_ln pre_ln_scaled pre_ln_mitchell pre_ln_megatron post_ln deepnorm deepnorm_paper mix_ln
    scale_post_pre pre_post_pre_post post_pre_post_pre norm_after keel lns sandwich peri_ln lns_sandwich parallel
    pre_post pre_sandwich layerscale skipinit linear]], "%S+") do
  placements[name] = true
end

-- Options of the whole model that it reads, or that say nothing of what is computed.
local of_model = {}
for name in string.gmatch([[vocab width depth heads kv_heads head_dim ffn_hidden norm final_norm placement attention ffn
    tie context rope_theta embed_scale logit_scale logit_softcap norm_eps init init_std embed_std dropout seed
    layers]], "%S+") do
  of_model[name] = true
end

local function set_of(list)
  local set = {}
  for _, name in ipairs(list) do set[name] = true end
  return set
end

-- What of a module the code does not know; nil: nothing.
local function unknown(kind, module)
  local list = known[kind][module.name]
  if not list then return kind .. " '" .. module.name .. "'" end
  local read, presets = set_of(list), core.module_values(kind, module.name)
  for _, option in ipairs(sorted_keys(module.options)) do
    local value = module.options[option]
    if read[option] and values[option] and not values[option][value] then
      return option .. " '" .. tostring(value) .. "'"
    end
    if not read[option] and value ~= presets[option] then
      return "option '" .. option .. "' of " .. kind .. " '" .. module.name .. "'"
    end
  end
end

local function unknown_of_model(model)
  if model.config.features then return "a model that reads features" end
  if model.objective.name ~= "language_model" then return "the objective '" .. model.objective.name .. "'" end
  for _, field in ipairs(require("sonde.model.transformer").schema) do
    local value = model.config[field.name]
    if not of_model[field.name] and field.name ~= "features" and field.name ~= "objective" and value ~= field.preset
      and not (type(value) == "table" and next(value) == nil) then
      return "option '" .. field.name .. "'"
    end
  end
end

--- What of a model the Python code does not know, as a text; nil if it computes the model.
---@param model sonde.model
---@return string|nil
function remote.why_not(model)
  local what = unknown_of_model(model) or unknown("norm", model.final)
  if what then return what end
  for _, layer in ipairs(model.layers) do
    if not placements[layer.placement.name] then return "placement '" .. layer.placement.name .. "'" end
    for kind in pairs(known) do
      what = unknown(kind, layer[kind])
      if what then return what end
    end
  end
end

--- The files, by name.
---@return table<string, string>
function remote.files()
  local files, dir = {}, core.lua_dir() .. "/sonde/io/python"
  for _, name in ipairs(core.list_dir(dir)) do
    if string.find(name, "%.py$") then files[name] = core.read_file(dir .. "/" .. name) end
  end
  return files
end

--- The key of config.json that says where they are.
remote.auto_map = {
  AutoConfig = "configuration_sonde.SondeConfig", AutoModelForCausalLM = "modeling_sonde.SondeForCausalLM",
}

--- Whether the key auto_map of a config.json is ours, as written here or again by transformers.
---@param value any
---@return boolean
function remote.is_ours(value)
  if type(value) ~= "table" then return false end
  for _, where in pairs(value) do
    if type(where) ~= "string" or not string.find(where, "_sonde%.Sonde%a+$") then return false end
  end
  return true
end

return remote
