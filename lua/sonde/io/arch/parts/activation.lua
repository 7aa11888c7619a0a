--- activation.lua - the activations of feed-forward layers as config.json names them, and as Sonde does.

local keys = require "sonde.io.arch.parts.keys"
local sorted_keys = require "sonde.base.sorted_keys"

local activation = {}

-- Of several names for the same function the first one is written.
local spellings = {
  silu = { "silu", "swish" }, gelu = { "gelu", "gelu_python" },
  -- gelu_fast has sqrt(2/pi) to ten digits, which is the same in f32
  gelu_tanh = { "gelu_new", "gelu_pytorch_tanh", "gelu_accurate", "gelu_fast" }, quick_gelu = { "quick_gelu" },
  relu = { "relu" }, relu2 = { "relu2" }, tanh = { "tanh" }, sigmoid = { "sigmoid" }, linear = { "linear" },
  mish = { "mish" }, gelu_10 = { "gelu_10" },
}

local options = {}
for option, names in pairs(spellings) do
  for _, name in ipairs(names) do options[name] = option end
end

--- The feed-forward layer's option `activation` that a key asks for.
---@param tree table                    of config.json
---@param key string
---@param preset string                 the name where the key is absent
---@param refuse fun(text: string)      raises
---@return string
function activation.read(tree, key, preset, refuse)
  local name = keys.get(tree, key, "string", preset, refuse)
  if not options[name] then
    refuse(string.format("%s '%s' is not supported; known: %s", key, name, table.concat(sorted_keys(options), ", ")))
  end
  return options[name]
end

--- The name that config.json has for an activation; nil for none that it knows.
---@param option string|nil
---@return string|nil
function activation.write(option)
  return spellings[option] and spellings[option][1]
end

return activation
