--- sonde.io.arch - the architectures that model folders may be of. Each is one file of this folder, which registers it.
--
-- What other programs call the keys of config.json and the tensors is said there and nowhere else; parts/ holds what
-- several architectures share. An architecture says
--
--   options(tree, refuse, nulls)   the options of sonde.transformer that the keys of a config.json describe; nulls has
--                               those that are null there
--   why_not(model)              why a model is none of this architecture; nil if it is one
--   write(model, tree, before)  the keys that describe a model, put into those that are carried along
--   owns(name)                  whether a key speaks of what the model computes, and so is not carried along blindly
--   changes(now, before)        in what two models differ, as texts by key: where a folder of Sonde's was edited
--   tensors(model, params)      which tensors of the files are which parameters, where they are not called alike
--
-- An entry of tensors is { tensor = name, params = { name, .. } }. Where a tensor is not one parameter as it is,
-- split(node) gives the parameters as nodes of a graph, from one with the tensor's values, and join(nodes) the tensor.
-- An entry of several tensors has `tensors` for `tensor`: split gets all of them, and join gives as many.
--
--   { tensor = "h.0.attn.c_attn.weight", params = { q, k, v },       -- [in, 3 out] for three [out, in]
--     split = function(x) .. return { x:slice(..):transpose(), .. } end, join = function(nodes) .. end }

local registry = require "sonde.base.registry"

local arch = {}

---@class sonde.architecture
---@field name string            model_type of its config.json
---@field class string           what `architectures` names there
---@field whole boolean          whether the section "sonde" alone says what the model is
---@field options? fun(tree: table, refuse: fun(text: string), nulls: table<string, boolean>): table, string|nil
---@field why_not fun(model: sonde.model): string|nil
---@field write fun(model: sonde.model, tree: table, before: table)
---@field owns fun(name: string): boolean
---@field changes? fun(now: sonde.model, before: sonde.model): string[]
---@field check? fun(tree: table, model: sonde.model, refuse: fun(text: string))  refuses keys that are not true
---@field tensors? fun(model: sonde.model, params: table[]): table[]   default: tensors are called as parameters are
---@field head string            the tensor of an untied head
---@field embedding string       and of the embedding, which a tied head may be stored as, or under the name of the head
---@field prefix string          what files of the bare model lack in front of the names
---@field tied_by string         the key that ties them, for messages
---@field passes_over string[]   parts of names of tensors that no model needs
local schema = {
  { name = "doc", type = "string", preset = "", doc = "one line on it" },
  { name = "class", type = "string", required = true, doc = "what programs know its models as" },
  { name = "whole", type = "boolean", preset = false,
    doc = "whether the section 'sonde' alone says what the model is" },
  { name = "options", type = "function", doc = "of config.json: options of the model" },
  { name = "why_not", type = "function", required = true, doc = "of a model: why it is none of these" },
  { name = "write", type = "function", required = true, doc = "of a model: its keys" },
  { name = "owns", type = "function", required = true, doc = "of a key: whether it speaks of what is computed" },
  { name = "changes", type = "function", doc = "of two models: in what they differ" },
  { name = "check", type = "function", doc = "of config.json and a model: refuses keys that are not true of it" },
  { name = "tensors", type = "function", doc = "of a model and parameters: which tensors they are" },
  { name = "head", type = "string", required = true, doc = "tensor of an untied head" },
  { name = "embedding", type = "string", required = true, doc = "tensor of the embedding" },
  { name = "prefix", type = "string", preset = "", doc = "what files of the bare model lack in front of the names" },
  { name = "tied_by", type = "string", required = true, doc = "the key that ties head and embedding" },
  { name = "passes_over", type = "list", preset = {}, doc = "parts of names of tensors that no model needs",
    of = { name = "part", type = "string", doc = "of a name" } },
}

local architectures = registry.new { kind = "architecture", folder = "sonde/io/arch", schema = schema }
arch.registry = architectures

--- Registers an architecture under its model_type.
---@param name string
---@param info table
---@return sonde.architecture
function arch.register(name, info)
  return architectures:add(name, info)
end

-- What models are saved as that came from no folder, if they can be; and what says of every model what it is.
local FIRST, LAST = "llama", "sonde"

-- Those whose models have parts that are not there, by name.
local latent = "its attention keeps keys and values in a latent space (multi-head latent attention)"
local experts = "its mixture of experts is of another kind"
local foreign = {
  deepseek_v2 = latent, deepseek_v3 = latent, granitemoe = experts, gpt_oss = experts, llama4 = experts,
  llama4_text = experts,
  phimoe = "its router takes an expert after the other, each from a softmax of its own (sparsemixer)",
}

--- The architecture of a config.json.
---@param tree table
---@param own boolean                 whether it has the section "sonde"
---@param refuse fun(text: string)    raises
---@return sonde.architecture
function arch.of(tree, own, refuse)
  local kind = tree.model_type
  if kind == nil then
    if not own then refuse "there is no 'model_type'" end
    kind = LAST
  end
  if type(kind) ~= "string" then refuse("'model_type' must be a string, not " .. type(kind)) end
  local found = architectures:get(kind)
  if foreign[kind] then refuse("model_type '" .. kind .. "' is not supported: " .. foreign[kind]) end
  if not found then
    refuse("model_type '" .. kind .. "' is not supported; known: " .. table.concat(architectures:names(), ", "))
  end
  if found.whole and not own then
    refuse("model_type '" .. kind .. "' needs the section 'sonde', which is not there")
  end
  return found
end

-- The architecture of the folder that a model came from, or nil.
local function origin_of(before)
  return type(before.model_type) == "string" and architectures:get(before.model_type) or nil
end

--- The architecture that a model is saved as: that of the folder that it came from if it can be, else a Llama, else the
--- first by name that can.
---@param model sonde.model
---@param before table     keys of that folder
---@return sonde.architecture
function arch.to_write(model, before)
  local tried = { origin_of(before) or architectures:find(FIRST), architectures:find(FIRST) }
  for _, name in ipairs(architectures:names()) do tried[#tried + 1] = architectures:find(name) end
  for _, each in ipairs(tried) do
    if not each.whole and not each.why_not(model) then return each end
  end
  return architectures:find(LAST)
end

--- Whether a key of the folder that a model came from stays in one of this architecture. What speaks of another's
--- computation does not.
---@param to sonde.architecture
---@param before table
---@param name string
---@return boolean
function arch.keeps(to, before, name)
  local from = origin_of(before)
  if to.whole then return not to.owns(name) and not (from and from.owns(name)) end
  return not from or from.whole or from == to or not from.owns(name)
end

--- Writes down which architecture a folder is of.
---@param of sonde.architecture
---@param tree table
function arch.sign(of, tree)
  tree.architectures, tree.model_type = { of.class }, of.name
end

--- Which tensors are which of a model's parameters.
---@param of sonde.architecture
---@param model sonde.model
---@param params table[]     { name, dims, .. } of each
---@return table[] entries
function arch.tensors(of, model, params)
  if of.tensors then return of.tensors(model, params) end
  local entries = {}
  for k, param in ipairs(params) do entries[k] = { tensor = param.name, params = { param.name } } end
  return entries
end

return arch
