--- modelconfig.lua - YAML configurations of one model and its training: sections model, corpus, train.
--
-- Keys are checked like the options of the Lua function that takes them; a mistake names file and line.

local core = require "sonde.core"
local args = require "sonde.args"

local modelconfig = {}

local sections = { "corpus", "model", "train" }

-- The YAML path of a list of keys: places in lists count from 0 there.
local function yaml_path(path)
  local parts = {}
  for i, key in ipairs(path) do parts[i] = type(key) == "number" and string.format("%d", key - 1) or tostring(key) end
  return table.concat(parts, ".")
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
  return tree, where
end

return modelconfig
