--- modelconfig.lua - YAML configurations of one model and its training: sections model, corpus, train.
--
-- Every key is checked like an option of the Lua function that takes it; a mistake names file and line.

local core = require "sonde.core"
local args = require "sonde.args"

local modelconfig = {}

-- The YAML path of a list of keys: places in lists count from 0 there.
local function yaml_path(path)
  local parts = {}
  for i, key in ipairs(path) do parts[i] = type(key) == "number" and string.format("%d", key - 1) or tostring(key) end
  return table.concat(parts, ".")
end

--- Options as the corpus section gives them: a path or name, or that and more options.
modelconfig.corpus_schema = {
  { name = "source", type = "string", required = true, doc = "\"default\", \"technical\" or a path" },
  { name = "tokenizer", type = "string", doc = "a tokenizer.json; default: one is trained" },
  { name = "vocab", type = "integer", min = 257, doc = "size of the tokenizer that is trained" },
  { name = "validation", type = "number", min = 0, max = 1, doc = "share of the documents kept for validation" },
  { name = "field", type = "string", doc = "text field of .jsonl files" },
  { name = "max_bytes", type = "integer", min = 1, doc = "text to take, from the start" },
}

--- Reads a configuration. The sections come back checked, with `where(section)` giving the place of a key in them.
---@param path string
---@param sections table<string, sonde.schema|false>   which sections there are; false: checked by whoever uses it
---@return table<string, table>, fun(section: string): sonde.where
function modelconfig.load(path, sections)
  local tree, document = core.yaml_load(path)
  if type(tree) ~= "table" then error(path .. ": a configuration has the sections model, corpus, train; this has none", 0) end
  local function where(section)
    return function(keys)
      local full = { section }
      for _, key in ipairs(keys) do full[#full + 1] = key end
      return document:where(yaml_path(full)) .. ": "
    end
  end
  local names = {}
  for name in pairs(sections) do names[#names + 1] = name end
  table.sort(names)
  for key in pairs(tree) do
    if sections[key] == nil then
      error(document:where(tostring(key)) .. ": unknown section '" .. tostring(key) .. "'" .. args.hint(key, names), 0)
    end
  end
  local result = {}
  for name, schema in pairs(sections) do
    local given = tree[name]
    if name == "corpus" and type(given) == "string" then given = { source = given } end
    if given ~= nil and schema then given = args.check(schema, given, "section '" .. name .. "'", where(name)) end
    result[name] = given
  end
  return result, where
end

return modelconfig
