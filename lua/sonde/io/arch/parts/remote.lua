--- remote.lua - the Python code that lies in the folder of a model that transformers cannot open by itself, so that it
-- can (trust_remote_code): io/python/. Such are models of Sonde's own architecture, and those whose blocks differ, for
-- transformers records per_layer_config and builds all blocks alike. The code computes what is listed here; a model
-- with anything else has none in its folder, rather than code that computes something else.

local core = require "sonde.core"
local sorted_keys = require "sonde.base.sorted_keys"

local remote = {}

-- Modules, and their options, that modeling_sonde.py reads or that are of training alone; another option must have its
-- default.
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
    causal = { "heads", "kv_heads", "head_dim", "rope_theta", "window", "qk_norm", "qk_norm_over", "qk_norm_kind",
      "qk_eps", "bias",
      "clip", "score_scale", "softcap", "alibi", "rope_partial", "rope_scaling", "rope_factor", "rope_low_freq_factor",
      "rope_high_freq_factor", "rope_original_context", "rope_beta_fast", "rope_beta_slow", "rope_truncate",
      "rope_attention_factor" },
  },
  ffn = {
    swiglu = { "hidden", "activation", "bias" }, mlp = { "hidden", "activation", "bias" },
    moe = { "experts", "top_k", "hidden", "activation", "renormalize", "shared", "shared_combine", "balance", "z_loss",
      "balance_scaling" },
  },
}

-- Values that it knows, of options that may grow more.
local values = {
  rope_scaling = { none = true, linear = true, llama3 = true, yarn = true },
}

local placements = {}
for name in string.gmatch([[pre_ln pre_ln_scaled pre_ln_mitchell pre_ln_megatron post_ln deepnorm deepnorm_paper mix_ln
    scale_post_pre pre_post_pre_post post_pre_post_pre norm_after keel lns sandwich peri_ln lns_sandwich parallel
    pre_post pre_sandwich layerscale skipinit linear]], "%S+") do
  placements[name] = true
end

-- Options of the whole model that it reads, or that say nothing of what is computed.
local of_model = {}
for name in string.gmatch([[vocab width depth heads kv_heads head_dim ffn_hidden norm final_norm placement attention ffn
    tie context positions position_offset rope_theta embed_width embed_scale logit_scale logit_softcap norm_eps init
    init_std embed_std dropout seed layers]], "%S+") do
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

-- Whether the tensors of an architecture are the parameters, one by one and under their names.
local function names_agree(of, model)
  for _, entry in ipairs(of.tensors and of.tensors(model, model:params():list()) or {}) do
    if entry.split or entry.tensor ~= entry.params[1] then return false end
  end
  return true
end

--- What of a model the Python code does not know, as a text; nil if it computes the model.
---@param model sonde.model
---@param of? sonde.architecture     that the folder is of; default: Sonde's own
---@return string|nil
function remote.why_not(model, of)
  if of and not names_agree(of, model) then return "the tensors of " .. of.class end
  local what = unknown_of_model(model) or model.final.name ~= "none" and unknown("norm", model.final)
  if what then return what end
  for _, layer in ipairs(model.layers) do
    if not placements[layer.placement.name] then return "placement '" .. layer.placement.name .. "'" end
    for kind in pairs(known) do
      what = unknown(kind, layer[kind])
      if what then return what end
    end
  end
end

-- The files, by name.
local function files_of_code()
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

--- Whether transformers needs code to open a folder with such keys.
---@param of sonde.architecture
---@param tree table
---@return boolean
function remote.is_needed(of, tree)
  return of.whole or tree.per_layer_config ~= nil
end

--- Puts the key that says where the code is into a config.json, where it is needed and computes the model, and gives
--- the files; else takes that key out, which was another model's.
---@param of sonde.architecture
---@param model sonde.model
---@param tree table                   changed
---@return table<string, string> files
function remote.attach(of, model, tree)
  if remote.is_ours(tree.auto_map) then tree.auto_map = nil end
  if not remote.is_needed(of, tree) or remote.why_not(model, of) then return {} end
  tree.auto_map = remote.auto_map
  return files_of_code()
end

--- Whether the key auto_map names code of the folder by the names of transformers' own: Phi-3's folders bring the files
--- that transformers has since. Without trust_remote_code transformers takes its own then, and so does Sonde.
---@param tree table      config.json
---@return boolean
function remote.is_stock(tree)
  if type(tree.auto_map) ~= "table" or type(tree.model_type) ~= "string" then return false end
  local class = type(tree.architectures) == "table" and tree.architectures[1] or nil
  if type(class) ~= "string" or not string.find(class, "ForCausalLM$") then return false end
  local stem = string.gsub(class, "ForCausalLM$", "")
  for _, where in pairs(tree.auto_map) do
    if where ~= "configuration_" .. tree.model_type .. "." .. stem .. "Config"
      and where ~= "modeling_" .. tree.model_type .. "." .. class
      and where ~= "modeling_" .. tree.model_type .. "." .. stem .. "Model" then
      return false
    end
  end
  return true
end

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
