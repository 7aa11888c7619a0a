--- train_record.lua - what a training run says about itself: the resolved configuration as a plain tree, and the modules
-- and files behind it.

local core = require "sonde.core"

local record = {}

-- A function cannot be written down; where it is defined can.
local function function_text(f)
  local info = debug.getinfo(f, "S")
  return "function at " .. info.short_src .. ":" .. info.linedefined
end

local function plain(value)
  if type(value) == "function" then return function_text(value) end
  if type(value) ~= "table" then return value end
  local copy = {}
  for key, entry in pairs(value) do
    if type(key) == "number" and #value == 0 then key = tostring(key) end
    copy[key] = plain(entry)
  end
  return copy
end

local function module_text(module)
  local copy = plain(module.options)
  copy.name = module.name
  return copy
end

local function block_text(layer, index, depth)
  local placement = plain(layer.placement.options)
  placement.name = layer.placement.name
  if placement.name == "custom" then placement.name = function_text(layer.placement.build) end
  return {
    norm = module_text(layer.norm), attention = module_text(layer.attention), ffn = module_text(layer.ffn),
    placement = placement, layer = layer.layer ~= index and layer.layer or nil,
    depth = layer.depth ~= depth and layer.depth or nil,
  }
end

-- Runs of equal blocks as "0-11" -> what they are; "all" where no block differs.
local function blocks_of(model)
  local blocks, first, text, last_encoded = {}, 0, nil, nil
  local function close(last)
    local range = first == last and tostring(first) or first .. "-" .. last
    if first == 0 and last == #model.layers - 1 then range = "all" end
    blocks[range] = text
  end
  for index, layer in ipairs(model.layers) do
    local this = block_text(layer, index, model.config.depth)
    local encoded = core.json_encode(this)
    if text and encoded ~= last_encoded then
      close(index - 2)
      first = index - 1
    end
    text, last_encoded = this, encoded
  end
  close(#model.layers - 1)
  return blocks
end

local built = { norm = true, final_norm = true, attention = true, ffn = true, placement = true, layers = true }

--- A model's configuration with everything resolved: scalar options as they are, modules with all their options.
---@param model sonde.model
---@return table
function record.model(model)
  local tree = {}
  for key, value in pairs(model.config) do
    if not built[key] then tree[key] = plain(value) end
  end
  tree.blocks = blocks_of(model)
  tree.final_norm = module_text(model.final)
  return tree
end

--- The modules that a training uses, each once: {kind, name, version, sha256 of its file}.
---@param model sonde.model
---@param optimizer string
---@return table[]
function record.plugins(model, optimizer)
  local list, seen = {}, {}
  local function add(kind, name)
    if seen[kind .. "/" .. name] then return end
    seen[kind .. "/" .. name] = true
    local module = core.module(kind, name)
    local sha256 = core.exists(module.path) == "file" and core.file_sha256(module.path) or nil
    list[#list + 1] = { kind = kind, name = name, version = module.version, sha256 = sha256 }
  end
  for _, layer in ipairs(model.layers) do
    for _, kind in ipairs { "norm", "attention", "ffn" } do add(kind, layer[kind].name) end
  end
  add("norm", model.final.name)
  add("optimizer", optimizer)
  return list
end

-- Whether a folder is a run that was made as EXPERIMENT/TRIAL: then its root is the one it was made under.
local function is_trial_of(dir, experiment)
  local ok, made = pcall(core.json_load, dir .. "/run.json")
  return ok and type(made) == "table" and made.experiment == experiment
end

--- Splits a run folder's path into the folder of all runs and the run's name below it: "runs/depth/a" is "runs" and
-- "depth/a", because its grandparent is called runs (or because it is a run that was made so); any other path's parent is
-- the root.
---@param dir string
---@return string root, string name
function record.split(dir)
  dir = string.gsub(dir, "/+$", "")
  local parent, trial = string.match(dir, "^(.*)/([^/]+)$")
  if not parent then return ".", dir end
  local grand, experiment = string.match(parent, "^(.*)/([^/]+)$")
  if not grand then grand, experiment = ".", parent end
  if string.match(grand, "([^/]*)$") == "runs" or (grand ~= "" and is_trial_of(dir, experiment)) then
    return grand, experiment .. "/" .. trial
  end
  return parent == "" and "/" or parent, trial
end

return record
