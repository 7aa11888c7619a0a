--- config.lua - YAML configurations of one model and its training: sections model, corpus, train.
--
-- Keys are checked like the options of the Lua function that takes them; a mistake names file and line.

local core = require "sonde.core"
local args = require "sonde.base.args"

local modelconfig = {}

local sections = { "corpus", "model", "train" }

-- The YAML path of a list of keys: places in lists count from 0 there.
local function yaml_path(path)
  local parts = {}
  for i, key in ipairs(path) do parts[i] = type(key) == "number" and string.format("%d", key - 1) or tostring(key) end
  return table.concat(parts, ".")
end

-- Takes an option that the section gives for the whole model out of a module's own.
local function give_way(modules, given)
  for kind, names in pairs(require("sonde.model.transformer").shared_names) do
    for option, name in pairs(names) do
      for _, place in ipairs { kind, "final_" .. kind } do
        if given[name] ~= nil and type(modules[place]) == "table" then modules[place][option] = nil end
      end
    end
  end
end

-- The key `from` of the section model: the options of that folder's model, which the other keys change; training begins
-- with its weights, on text in its tokens.
local function begin_with(tree, where)
  local dir, folder, corpus = tree.model.from, require "sonde.io", require "sonde.data"
  if type(dir) ~= "string" then
    error(where "model" { "from" } .. "option 'from' must be the path of a model folder", 0)
  end
  if tree.train.from ~= nil then
    error(where "train" { "from" } .. "both the model and the training are 'from' something; keep one", 0)
  end
  local ok, options = pcall(folder.describe, dir)
  if not ok then error(where "model" { "from" } .. options, 0) end
  tree.model.from, tree.train.from = nil, dir
  give_way(options, tree.model)
  for _, layer in pairs(options.layers) do give_way(layer, tree.model) end
  for key, value in pairs(tree.model) do options[key] = value end
  tree.model, tree.corpus = options, tree.corpus or { source = "default" }
  local section = tree.corpus
  if section.tokenizer == nil and section.vocab == nil and not corpus.has_tokens(section.source, where "corpus") then
    section.tokenizer = require("sonde.io.origin").tokenizer_path(dir)
  end
end

--- Reads a configuration. Sections come back unchecked; where(section) gives the places of their keys. A corpus
--- that is a plain text or a list stands for {source = it}.
---@param path string
---@return {model: table, corpus: table|nil, train: table}, fun(section: string): sonde.where
function modelconfig.load(path)
  local tree, document = core.yaml_load(path)
  if type(tree) ~= "table" then
    error(path .. ": a configuration has the sections model, corpus, train; this has none", 0)
  end
  local function where(section)
    return function(keys)
      local full = { section }
      for _, key in ipairs(keys) do full[#full + 1] = key end
      return document:where(yaml_path(full)) .. ": "
    end
  end
  for key in pairs(tree) do
    if key ~= "model" and key ~= "corpus" and key ~= "train" then
      error(document:where(tostring(key)) .. ": unknown section '" .. tostring(key) .. "'"
        .. args.hint(key, sections), 0)
    end
  end
  if type(tree.corpus) == "string" or type(tree.corpus) == "table" and #tree.corpus > 0 then
    tree.corpus = { source = tree.corpus }
  end
  if tree.model == nil then error(path .. ": there is no section 'model'", 0) end
  tree.train = tree.train == nil and {} or tree.train
  for _, name in ipairs(sections) do
    local section = tree[name]
    if section ~= nil and (type(section) ~= "table" or #section > 0) then
      error(document:where(name) .. ": section '" .. name .. "' must hold keys and values, not "
        .. (type(section) == "table" and "a list" or tostring(section)), 0)
    end
  end
  if tree.model.from ~= nil then begin_with(tree, where) end
  return tree, where
end

return modelconfig
