--- record.lua - what a training run says about itself: the resolved configuration as a plain tree, and the modules
-- and files behind it.

local core = require "sonde.core"
local fingerprint = require "sonde.base.fingerprint"
local initpolicy = require "sonde.model.init_policy"
local modules = require "sonde.model.module"
local objectives = require "sonde.model.objective"
local placements = require "sonde.model.placement"

local record = {}

-- A function cannot be written down; the file it stands in can. (Its line moves with every other edit; what it computes
-- is among the run's modules.)
local function function_text(f)
  return "function in " .. debug.getinfo(f, "S").short_src
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
    depth = layer.depth ~= depth and layer.depth or nil, share = layer.share, without = layer.without,
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

-- The views that were put on parameters, name -> their kinds, and name -> what they are made with, where that is more;
-- nil without any. What the options say is not among them.
local function views_of(model)
  local views, options, shared = {}, {}, model:shared()
  for _, param in ipairs(model:params():weights()) do
    if not shared[param.name] and #param.views > 0 then
      views[param.name] = table.concat(param.views, " ")
      local with = { rank = param.rank, scale = param.scale, shares = param.shares }
      if next(with) then options[param.name] = with end
    end
  end
  return next(views) and views, next(options) and options
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
  tree.views, tree.view_options = views_of(model)
  return tree
end

-- ---- the code behind a run
-- --------------------------------------------------------------------------------------------
--
-- run.json's "plugins": {kind, name, version, sha256, from, to} for everything that computes: norms, attentions,
-- feed-forward layers and the optimizer (of a plugin: of its file; of a script: base/fingerprint.lua), placements and
-- the initialisation. In force since the update `from`, up to the update `to` where another one took its place.

local finders = {
  placement = function(name)
    local ok, found = pcall(placements.find, name)
    return ok and found.build or nil
  end,
  init = initpolicy.find,
  objective = function(name)
    local ok, found = pcall(objectives.find, name)
    return ok and found.build or nil
  end,
  hook = function() end,            -- known to the script alone
}

-- What stands behind a kind and a name now; nil where nothing does, or nothing that has a hash.
local function present(kind, name)
  local find = finders[kind]
  local f
  if find then f = find(name) else f = modules.build(kind, name) end
  if f then return { kind = kind, name = name, version = "", sha256 = fingerprint.of(f) } end
  if find then return nil end
  local ok, found = pcall(core.module, kind, name)
  if not ok then return nil end
  local sha256 = core.exists(found.path) == "file" and core.file_sha256(found.path) or nil
  return { kind = kind, name = name, version = found.version, sha256 = sha256 }
end

--- What a training computes with, each once: {kind, name, version, sha256}.
---@param model sonde.model
---@param o table         options of the training: optimizer, objective, hooks
---@return table[]
function record.plugins(model, o)
  local list, seen, custom = {}, {}, {}
  local function add(kind, name)
    if seen[kind .. "/" .. name] then return end
    seen[kind .. "/" .. name] = true
    list[#list + 1] = present(kind, name)
  end
  -- Placements without a name are told apart by their order.
  local function add_custom(build)
    if custom[build] then return end
    custom[build], custom.n = true, (custom.n or 0) + 1
    local name = custom.n > 1 and "custom-" .. custom.n or "custom"
    list[#list + 1] = { kind = "placement", name = name, version = "", sha256 = fingerprint.of(build) }
  end
  for _, layer in ipairs(model.layers) do
    for _, kind in ipairs { "norm", "attention", "ffn" } do add(kind, layer[kind].name) end
    if layer.placement.name == "custom" then add_custom(layer.placement.build) else add("placement",
      layer.placement.name) end
  end
  add("norm", model.final.name)
  add("init", model.config.init)
  add("optimizer", o.optimizer.name)
  if o.sparsity then add("sparsity", o.sparsity.method.name) end
  if o.distill then add("distill", o.distill.loss.name) end
  local learns = o.objective or model.objective
  if learns.name ~= "language_model" then add("objective", learns.name) end
  for _, hook in ipairs(o.hooks or {}) do
    list[#list + 1] = { kind = "hook", name = hook.name, version = "", sha256 = fingerprint.of(hook.call) }
  end
  return list
end

local function key_of(entry)
  return entry.kind .. "/" .. entry.name
end

--- In which of the code a run was computed with others differ from it now: "norm/mine (was 0123.., now 4567..)".
---@param old table[]      of run.json
---@param now? table[]     of record.plugins; default: what stands behind the names now
---@return string[]
function record.changed(old, now)
  local at, texts = {}, {}
  for _, entry in ipairs(now or {}) do at[key_of(entry)] = entry end
  for _, was in ipairs(old) do
    local is = at[key_of(was)]
    if not now then is = present(was.kind, was.name) end
    if not was.to and is and was.sha256 and is.sha256 ~= was.sha256 then
      texts[#texts + 1] = string.format("%s (was %.12s, now %.12s)", key_of(was), was.sha256, is.sha256
        or "another version")
    end
  end
  return texts
end

--- run.json's list after a run has gone on with `now` from the update `step`.
---@param old table[]
---@param now table[]
---@param step integer
---@return table[]
function record.merged(old, now, step)
  local list, in_force = core.list(), {}
  for _, was in ipairs(old) do
    if step > 0 or was.to then
      list[#list + 1] = was
      if not was.to then in_force[key_of(was)] = was end
    end
  end
  for _, is in ipairs(now) do
    local was = in_force[key_of(is)]
    in_force[key_of(is)] = nil
    if not was or was.sha256 ~= is.sha256 or was.version ~= is.version then
      if was then was.to = step end
      is.from = step
      list[#list + 1] = is
    end
  end
  for _, was in pairs(in_force) do was.to = step end
  return list
end

-- ---- where a run is
-- ---------------------------------------------------------------------------------------------------

-- Whether a folder is a run that was made as EXPERIMENT/TRIAL: then its root is the one it was made under.
local function is_trial_of(dir, experiment)
  local ok, made = pcall(core.json_load, dir .. "/run.json")
  return ok and type(made) == "table" and made.experiment == experiment
end

--- Splits a run folder's path into the folder of all runs and the run's name below it: "runs/depth/a" is "runs" and
-- "depth/a", because its grandparent is called runs (or because it is a run that was made so); any other path's parent
-- is the root.
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
