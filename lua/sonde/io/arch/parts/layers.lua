--- layers.lua - what a config.json says of single blocks: which of them have a window, which have no positions, and
-- per_layer_config (transformers 5).
--
-- Between reading and the model's options stands a list with a table for each block: window (0: none), rope (whether it
-- has positions), and what differs from the other blocks: heads, kv_heads, head_dim, hidden, without.

local core = require "sonde.core"
local keys = require "sonde.io.arch.parts.keys"
local merged = require "sonde.base.merged"

local layers = {}

---@class sonde.block_keys
---@field window integer
---@field rope boolean
---@field heads? integer
---@field kv_heads? integer
---@field head_dim? integer
---@field hidden? integer
---@field without? string

--- A table for each of the blocks.
---@param depth integer
---@return sonde.block_keys[]
function layers.new(depth)
  local list = {}
  for index = 1, depth do list[index] = { window = 0, rope = true } end
  return list
end

-- ---- windows ------------------------------------------------------------------------------------------------------

local FULL, SLIDING = "full_attention", "sliding_attention"

--- Which blocks slide by layer_types, or by a rule where it is absent.
---@param tree table
---@param list sonde.block_keys[]
---@param rule fun(index: integer): boolean    index from 0
---@param refuse fun(text: string)
---@return boolean[]
local function sliding(tree, list, rule, refuse)
  local types, slides = tree.layer_types, {}
  if types ~= nil and (type(types) ~= "table" or #types ~= #list) then
    refuse("'layer_types' must be a list with an entry for each of the " .. #list .. " layers")
  end
  for index = 1, #list do
    local kind = types and types[index]
    if kind ~= nil and kind ~= FULL and kind ~= SLIDING then
      refuse("the layer type '" .. tostring(kind) .. "' is not supported")
    end
    if types then slides[index] = kind == SLIDING else slides[index] = rule(index - 1) end
  end
  return slides
end

local function set(list, slides, window)
  for index, slide in ipairs(slides) do
    if slide then list[index].window = window end
  end
end

-- The window that all sliding blocks have, and whether there is one; nil where they differ.
local function common(list)
  local window = 0
  for _, block in ipairs(list) do
    if block.window ~= 0 and window ~= 0 and block.window ~= window then return nil end
    if block.window ~= 0 then window = block.window end
  end
  return window
end

local function types_of(list)
  local types = core.list()
  for index, block in ipairs(list) do types[index] = block.window == 0 and FULL or SLIDING end
  return types
end

--- What windows mean: by the name of a rule the keys that it reads, read(tree, list, refuse, nulls) and write(list),
--- which gives the keys, or nil where they cannot say it.
layers.windows = {}

-- One window everywhere, by sliding_window alone, `preset` where the key is absent.
local function everywhere(preset)
  return {
    keys = { sliding_window = true },
    read = function(tree, list, refuse, nulls)
      local window = keys.count(tree, "sliding_window", not nulls.sliding_window and preset or nil, refuse)
      for _, block in ipairs(list) do block.window = window or 0 end
    end,
    write = function(list)
      for _, block in ipairs(list) do
        if block.window ~= list[1].window then return nil end
      end
      return { sliding_window = list[1].window == 0 and core.null or list[1].window }
    end,
  }
end

--- Mistral: 4096 tokens where the key is absent, none where it is null.
layers.windows.mistral = everywhere(4096)

--- Phi-3: none where it is absent.
layers.windows.phi3 = everywhere(nil)

--- Qwen: only with use_sliding_window; layer_types, else the blocks from max_window_layers on.
layers.windows.qwen = {
  keys = { sliding_window = true, use_sliding_window = true, max_window_layers = true, layer_types = true },
  read = function(tree, list, refuse, nulls)
    local use = keys.get(tree, "use_sliding_window", "boolean", false, refuse)
    local from = keys.get(tree, "max_window_layers", "number", 28, refuse)
    local slides = sliding(tree, list, function(index) return index >= from end, refuse)
    if use and not nulls.sliding_window then set(list, slides, keys.count(tree, "sliding_window", 4096, refuse)) end
  end,
  write = function(list)
    local window, from = common(list), nil
    if window == 0 then return { use_sliding_window = false } end
    for index, block in ipairs(list) do
      if block.window ~= 0 and not from then from = index - 1 end
    end
    return window and { use_sliding_window = true, sliding_window = window, layer_types = types_of(list),
      max_window_layers = from }
  end,
}

--- Qwen 3 with experts: only with use_sliding_window, and then everywhere.
layers.windows.qwen_everywhere = {
  keys = { sliding_window = true, use_sliding_window = true },
  read = function(tree, list, refuse, nulls)
    local use = keys.get(tree, "use_sliding_window", "boolean", false, refuse)
    local window = keys.count(tree, "sliding_window", 4096, refuse)
    for _, block in ipairs(list) do block.window = use and not nulls.sliding_window and window or 0 end
  end,
  write = function(list)
    local window = list[1].window
    for _, block in ipairs(list) do
      if block.window ~= window then return nil end
    end
    return window == 0 and { use_sliding_window = false } or { use_sliding_window = true, sliding_window = window }
  end,
}

--- Gemma 2: layer_types, else every other block, from the first.
layers.windows.gemma2 = {
  keys = { sliding_window = true, layer_types = true },
  read = function(tree, list, refuse, nulls)
    local slides = sliding(tree, list, function(index) return index % 2 == 0 end, refuse)
    if not nulls.sliding_window then set(list, slides, keys.count(tree, "sliding_window", 4096, refuse)) end
  end,
  write = function(list)
    local window = common(list)
    return window and { sliding_window = window == 0 and core.null or window, layer_types = types_of(list) }
  end,
}

--- SmolLM3: only with use_sliding_window and a window; layer_types, else the blocks without positions.
layers.windows.smollm3 = {
  keys = { sliding_window = true, use_sliding_window = true, layer_types = true },
  read = function(tree, list, refuse)
    local use = keys.get(tree, "use_sliding_window", "boolean", false, refuse)
    local window = keys.count(tree, "sliding_window", nil, refuse)
    local slides = sliding(tree, list, function(index) return not list[index + 1].rope end, refuse)
    if use and window then set(list, slides, window) end
  end,
  write = function(list)
    local window = common(list)
    if window == 0 then return { use_sliding_window = false } end
    return window and { use_sliding_window = true, sliding_window = window, layer_types = types_of(list) }
  end,
}

-- ---- blocks without positions --------------------------------------------------------------------------------------

--- SmolLM3's no_rope_layers: 1 where a block has rotary positions, 0 where it has none.
layers.no_rope = {
  keys = { no_rope_layers = true, no_rope_layer_interval = true },
  read = function(tree, list, refuse)
    local given, every = tree.no_rope_layers, keys.count(tree, "no_rope_layer_interval", 4, refuse)
    if given ~= nil and (type(given) ~= "table" or #given ~= #list) then
      refuse("'no_rope_layers' must be a list with an entry for each of the " .. #list .. " layers")
    end
    for index, block in ipairs(list) do
      if given then
        if given[index] ~= 0 and given[index] ~= 1 then
          refuse("'no_rope_layers' must hold 0 and 1 alone, not " .. keys.shown(given[index]))
        end
        block.rope = given[index] == 1
      else
        block.rope = index % every ~= 0
      end
    end
  end,
  write = function(list)
    local said = core.list()
    for index, block in ipairs(list) do said[index] = block.rope and 1 or 0 end
    return { no_rope_layers = said }
  end,
}

-- ---- per_layer_config ----------------------------------------------------------------------------------------------

-- Key -> what a block has under it.
local own = { num_attention_heads = "heads", num_key_value_heads = "kv_heads", head_dim = "head_dim",
  intermediate_size = "hidden", sliding_window = "window" }
local branches = { attention = "attn", mlp = "ffn" }

local function read_skip(value, at, refuse)
  if type(value) ~= "table" then refuse(at .. ".skip' must be a list of branches") end
  if #value > 1 then refuse(at .. ".skip' takes both branches away; leave the layer out instead") end
  if value[1] ~= nil and not branches[value[1]] then
    refuse(at .. ".skip' has '" .. tostring(value[1]) .. "', which is not known; known: attention, mlp")
  end
  return branches[value[1]]
end

--- Overrides of single blocks, which count behind all other keys.
---@param tree table
---@param list sonde.block_keys[]
---@param windows boolean       whether the class has sliding windows
---@param refuse fun(text: string)
function layers.read_own(tree, list, windows, refuse)
  local given = tree.per_layer_config
  if given == nil then return end
  if type(given) ~= "table" then refuse("'per_layer_config' must be an object") end
  for name, overrides in pairs(given) do
    local at = "'per_layer_config." .. tostring(name)
    local index = tonumber(name)
    local block = index and list[index + 1]
    if not block then refuse(at .. "' is no layer of the " .. #list .. " that there are, from 0") end
    if type(overrides) ~= "table" then refuse(at .. "' must be an object") end
    for key, value in pairs(overrides) do
      if key == "skip" then
        block.without = read_skip(value, at, refuse)
      elseif own[key] and (windows or key ~= "sliding_window") then
        block[own[key]] = keys.count(overrides, key, nil, function(text) refuse("per_layer_config." .. name .. ": "
          .. text) end)
      else
        refuse(at .. "' has '" .. tostring(key) .. "', which is not supported; supported: skip, num_attention_heads, "
          .. "num_key_value_heads, head_dim, intermediate_size" .. (windows and ", sliding_window" or ""))
      end
    end
  end
end

--- The overrides of blocks that differ from `common`, as transformers writes them: sparse, and under keys as wide as
--- the largest. nil where there are none.
---@param list sonde.block_keys[]
---@param of_all table<string, any>     key -> value of the whole model
---@return table|nil
function layers.write_own(list, of_all)
  local found, largest = {}, nil
  for index, block in ipairs(list) do
    local overrides = {}
    for key, name in pairs(own) do
      if key ~= "sliding_window" and block[name] ~= nil and block[name] ~= of_all[key] then
        overrides[key] = block[name]
      end
    end
    for called, branch in pairs(branches) do
      if block.without == branch then overrides.skip = core.list { called } end
    end
    if next(overrides) then found[index - 1], largest = overrides, index - 1 end
  end
  if not largest then return nil end
  local said, width = {}, #tostring(largest)
  for index, overrides in pairs(found) do said[string.format("%0" .. width .. "d", index)] = overrides end
  return said
end

-- ---- to and from the model's options ---------------------------------------------------------------------------

--- The option `layers` of a model for blocks that differ from the first; the window of the first is put into the
--- attention of all.
---@param list sonde.block_keys[]
---@param attention table     of all blocks; changed
---@param ffn table           of all blocks
---@return table
function layers.options(list, attention, ffn)
  local options = {}
  attention.window = list[1].window
  for index, block in ipairs(list) do
    local changes = { heads = block.heads, kv_heads = block.kv_heads, head_dim = block.head_dim }
    if block.window ~= list[1].window then changes.window = block.window end
    if not block.rope then changes.rope_theta = 0 end
    local this = { without = block.without }
    if next(changes) then this.attention = merged(attention, changes) end
    if block.hidden then this.ffn = merged(ffn, { hidden = block.hidden }) end
    if next(this) then options[tostring(index - 1)] = this end
  end
  return options
end

--- The same of a model that is there.
---@param model sonde.model
---@param hidden fun(model: sonde.model, index: integer): integer|nil    inner width of a block, from 0
---@return sonde.block_keys[]
function layers.of(model, hidden)
  -- A branch that a block does not have is said where the folder said so: transformers knows the key and passes over
  -- it, and would take random weights for it.
  local list, says = {}, model.origin and type(model.origin.config.per_layer_config) == "table"
  for index, layer in ipairs(model.layers) do
    local options = layer.attention.options
    local has = layer.without ~= "attn"
    list[index] = {
      window = options.window or 0, rope = options.rope_theta ~= 0, heads = has and options.heads or nil,
      kv_heads = has and options.kv_heads or nil, head_dim = has and options.head_dim or nil,
      hidden = layer.without ~= "ffn" and hidden(model, index - 1) or nil, without = says and layer.without or nil,
    }
  end
  return list
end

return layers
