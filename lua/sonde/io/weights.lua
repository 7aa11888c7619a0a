--- weights.lua - the weights of a model folder: read into a model's parameters, and written from them.

local core = require "sonde.core"
local arch = require "sonde.io.arch"
local param_names = require "sonde.model.names"

local weights = {}

local unpack = table.unpack or unpack    -- luacheck: ignore

local function refuse(path, text)
  error(core.where() .. path .. ": " .. text, 0)
end

-- The tensors that a graph makes of others: f(nodes) gives their nodes. They are written to the tensors of `to`, if
-- given.
local function convert(from, f, to)
  local graph, nodes, made = core.graph(), {}, {}
  for k, tensor in ipairs(from) do nodes[k] = graph:leaf("tensor " .. k, tensor) end
  for k, node in ipairs(f(nodes)) do made[k] = node * 1 end      -- a leaf or a view is written nowhere
  local plan = core.plan(made, nil, to)
  plan:run()
  if not to then
    to = {}
    for k in ipairs(made) do to[k] = plan:output(k) end
  end
  plan:close()
  graph:close()
  return to
end

-- The name in the files of a tensor of the architecture: the same, or without the prefix in files of the bare model;
-- one that is shared with the head has either name, or both.
local function names_in(file, of, tied, dir)
  local bare = true
  for _, name in ipairs(file:names()) do bare = bare and string.sub(name, 1, #of.prefix) ~= of.prefix end
  bare = bare and of.prefix ~= ""
  local function without(name)
    if bare and string.sub(name, 1, #of.prefix) == of.prefix then return string.sub(name, #of.prefix + 1) end
    return name
  end
  local embedding = without(of.embedding)
  if tied and file:find(of.head) and file:find(embedding) and not file:equal(of.head, embedding) then
    refuse(dir, "'" .. of.head .. "' and '" .. embedding .. "' differ, but are one by the config (" .. of.tied_by
      .. ")")
  end
  return function(name)
    name = without(name)
    if tied and name == embedding and not file:find(name) then return of.head end
    return name
  end
end

-- What a model of this config has no place for, but for what every program passes over.
local function check_rest(file, of, wanted, model, dir)
  local function harmless(name)
    for _, part in ipairs(of.passes_over) do
      if string.find(name, part, 1, true) then return true end
    end
    return model.config.tie and name == of.head
  end
  for _, name in ipairs(file:names()) do
    if not wanted[name] and not harmless(name) then
      refuse(dir, "the weights have '" .. name .. "', which a model of this config has no place for")
    end
  end
end

-- Weights that were quantised have other tensors beside them, or in their place, which say how.
local function refuse_quantised(file, dir)
  for _, name in ipairs(file:names()) do
    for _, ending in ipairs { "%.qweight", "%.qzeros", "%.g_idx", "%.weight_packed", "%.weight_scale",
      "%.weight_scale_inv", "%.SCB", "%.absmax", "%.quant_state%..*" } do
      if string.find(name, ending .. "$") then
        refuse(dir, "the weights are quantised ('" .. name .. "'), which is not supported; use the model they are of")
      end
    end
  end
end

-- Experts that lie in one tensor, as transformers 5 has them in memory, where a folder has one for each.
local function refuse_fused(file, dir)
  for _, name in ipairs(file:names()) do
    if string.find(name, "%.experts%.gate_up_proj$") then
      refuse(dir, "all experts are in one tensor ('" .. name .. "'), which is not supported; save the model with "
        .. "transformers' save_pretrained, which gives each its own")
    end
  end
end

local function tensors_of(params, names)
  local list = {}
  for k, name in ipairs(names) do list[k] = params:find(name) end
  return list
end

-- The parts of a sparse matrix, in place of its tensor.
local BITS, VALUES = ".bitmask", ".values"

local function is_sparse(file, name)
  return not file:find(name) and (file:find(name .. BITS) or file:find(name .. VALUES)) ~= nil
end

-- What the tensors of an entry are called in the files, or nil where they are not all there; and those that are not.
local function names_of(entry, name_of, file)
  local names, missing = {}, nil
  for k, tensor in ipairs(entry.tensors or { entry.tensor }) do
    names[k] = name_of(tensor)
    if not file:find(names[k]) and not is_sparse(file, names[k]) then missing = missing or tensor end
  end
  return names, missing
end

-- The masks of an entry's parameters, to be written; they are put on.
local function masks_of(params, entry)
  local masks = {}
  for k, name in ipairs(entry.params) do masks[k] = params:find(name .. ".mask") or params:mask(name) end
  return masks
end

--- Puts masks on the parameters whose matrices are sparse in a folder; weights.read gives them their values.
---@param model sonde.model
---@param dir string
---@param of sonde.architecture
function weights.put_masks(model, dir, of)
  local file, params = core.weights_open(dir), model:params()
  local name_of = names_in(file, of, model.config.tie, dir)
  for _, entry in ipairs(arch.tensors(of, model, params:list())) do
    local some = false
    for _, tensor in ipairs(entry.tensors or { entry.tensor }) do some = some or is_sparse(file, name_of(tensor)) end
    if some then masks_of(params, entry) end
  end
  file:close()
end

-- The dims of the tensors that an entry is of, in the files.
local function joined_dims(entry, params)
  local graph, nodes, dims = core.graph(), {}, {}
  for k, tensor in ipairs(tensors_of(params, entry.params)) do nodes[k] = graph:leaf("tensor " .. k, tensor) end
  for k, node in ipairs { entry.join(nodes) } do dims[k] = node:dims() end
  graph:close()
  return dims
end

-- An entry of which some tensors are sparse: those that are not have masks of ones.
local function read_sparse(file, names, entry, params)
  local to, masks, from, bits = tensors_of(params, entry.params), masks_of(params, entry), {}, {}
  if not entry.split then return file:read_sparse(names[1], to[1], masks[1]) end
  for k, dims in ipairs(joined_dims(entry, params)) do
    from[k], bits[k] = core.tensor("f32", dims), core.tensor("f32", dims, 1)
    if is_sparse(file, names[k]) then
      file:read_sparse(names[k], from[k], bits[k])
    else
      file:read(names[k], from[k])
    end
  end
  convert(from, function(nodes) return entry.split(unpack(nodes)) end, to)
  convert(bits, function(nodes) return entry.split(unpack(nodes)) end, masks)
end

local function read_entry(file, names, entry, params)
  for _, name in ipairs(names) do
    if is_sparse(file, name) then return read_sparse(file, names, entry, params) end
  end
  local to, from = tensors_of(params, entry.params), {}
  if not entry.split then return file:read(names[1], to[1]) end
  for k, name in ipairs(names) do
    from[k] = core.tensor("f32", file:find(name).dims)
    file:read(name, from[k])
  end
  convert(from, function(nodes) return entry.split(unpack(nodes)) end, to)
  for _, tensor in ipairs(from) do tensor:close() end
end

local dtype_names = { F32 = "f32", BF16 = "bf16", F16 = "f16" }

--- How many numbers and tensors the weights of a folder are.
---@param dir string
---@return number elements, integer tensors
function weights.count(dir)
  local file, elements = core.weights_open(dir), 0
  local names = file:names()
  for _, name in ipairs(names) do
    local n = 1
    for _, dim in ipairs(file:find(name).dims) do n = n * dim end
    elements = elements + n
  end
  file:close()
  return elements, #names
end

--- Reads the weights of a folder into a model that is there. Every parameter of the model must be in the folder with
--- its shape, and every tensor of the folder in the model; buffers that it lacks are computed.
---@param model sonde.model
---@param dir string
---@param of sonde.architecture
---@return sonde.model
function weights.read(model, dir, of)
  local file, params, wanted, roles = core.weights_open(dir), model:params(), {}, {}
  refuse_quantised(file, dir)
  refuse_fused(file, dir)
  local name_of, stored = names_in(file, of, model.config.tie, dir), {}
  for _, param in ipairs(params:list()) do roles[param.name] = param.role end
  for _, entry in ipairs(arch.tensors(of, model, params:list())) do
    local names, missing = names_of(entry, name_of, file)
    if missing and roles[entry.params[1]] ~= "buffer" then
      local hint = missing == of.head and "; are embedding and head tied (" .. of.tied_by .. ")?" or ""
      refuse(dir, "the weights have no '" .. missing .. "'" .. hint)
    end
    for _, name in ipairs(names) do
      wanted[name] = true
      if is_sparse(file, name) then wanted[name .. BITS], wanted[name .. VALUES] = true, true end
    end
    if not missing then
      read_entry(file, names, entry, params)
      local tensor = file:find(names[1]) or file:find(names[1] .. VALUES)
      for _, each in ipairs(entry.params) do
        stored[each] = dtype_names[tensor.dtype]
      end
    end
  end
  check_rest(file, of, wanted, model, dir)
  file:close()
  model.stored = stored
  return model:init()
end

-- Whether a parameter is zero where its mask is: the mask is what is last put on, on a matrix of a block.
local function has_zeros(param)
  local at = {}
  for k, view in ipairs(param.views) do at[view] = k end
  return at.mask ~= nil and at.mask > (at.low_rank or 0) and param_names.in_block(param.name) ~= nil and #param.dims > 1
end

--- Whether some of a model's matrices are saved as sparse ones.
---@param model sonde.model
---@return boolean
function weights.has_sparse(model)
  for _, param in ipairs(weights.saved(model)) do
    if has_zeros(param) then return true end
  end
  return false
end

-- The masks of the tensors that an entry is in the files; nil where it has none.
local function joined_masks(entry, params, sparse)
  local from, some = {}, false
  for k, name in ipairs(entry.params) do
    some = some or sparse[name] ~= nil
    from[k] = sparse[name] and params:find(name .. ".mask") or core.tensor("f32", params:find(name):dims(), 1)
  end
  if not some then return {} end
  if not entry.join then return from end
  return convert(from, function(nodes) return { entry.join(nodes) } end)
end

--- The weights that a folder holds: what modules read, so that other programs compute the same. Views are in the
--- numbers (masked, low-rank factors added), but for what the options say too: there the folder has a shared value
--- once; and but for what a training has beside the model (model.beside, by name).
---@param model sonde.model
---@return table[]
function weights.saved(model)
  local list, shared = {}, model:shared()
  for _, param in ipairs(model:params():weights()) do
    if not shared[param.name] and not (model.beside and model.beside[param.name]) then list[#list + 1] = param end
  end
  return list
end

--- The tensors of the files that an entry is, out of its parameters; `also` makes another node of each.
---@param entry table              of arch.tensors
---@param params sonde.params
---@param also? fun(node: sonde.node): sonde.node
---@return sonde.tensor ..
function weights.joined(entry, params, also)
  local from = {}
  for k, name in ipairs(entry.params) do from[k] = params:read(name) end
  if not entry.join and not also then return unpack(from) end
  return unpack(convert(from, function(nodes)
    local made = entry.join and { entry.join(nodes) } or nodes
    for k, node in ipairs(made) do made[k] = also and also(node) or node end
    return made
  end))
end

local bytes_of_dtype = { f32 = 4, f16 = 2, bf16 = 2 }

-- The bytes of a tensor in a file: of a sparse one those of its bits and of the values that stay.
local function bytes_of(tensor, mask, dtype)
  local dims, count = tensor:dims(), tensor:count()
  if not mask then return count * bytes_of_dtype[dtype] end
  local row = dims[#dims]
  return math.floor(count / row) * math.ceil(row / 8) + (count - core.mask_zeros(mask)) * bytes_of_dtype[dtype]
end

-- The entries in groups of at most `limit` bytes, as if none were sparse, in their order; one that is larger is a group
-- by itself.
local function groups_of(entries, model, dtypes, limit)
  local elements, groups, room = {}, {}, 0
  for _, param in ipairs(weights.saved(model)) do
    local n = 1
    for _, dim in ipairs(param.dims) do n = n * dim end
    elements[param.name] = n
  end
  for _, entry in ipairs(entries) do
    local bytes = 0
    for _, name in ipairs(entry.params) do bytes = bytes + elements[name] end
    bytes = bytes * bytes_of_dtype[dtypes[entry.params[1]]]
    if not groups[1] or bytes > room then groups[#groups + 1], room = {}, limit end
    table.insert(groups[#groups], entry)
    room = room - bytes
  end
  return groups
end

local SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"

--- Whether a file of a folder is one that weights.write makes.
---@param name string
---@return boolean
function weights.is_file(name)
  return name == SINGLE or name == INDEX or string.find(name, "^model%-%d+%-of%-%d+%.safetensors$") ~= nil
end

--- Writes the weights of a model: one file, or with more bytes than `limit` shards and their index.
---@param model sonde.model
---@param dir string
---@param of sonde.architecture
---@param dtypes table<string, string>    of the parameters, by name
---@param limit? integer                  bytes of a shard; default: one file for all
---@param dense? boolean                  sparse matrices are written with their zeros
---@return table<string, boolean> files   the names of what was written
function weights.write(model, dir, of, dtypes, limit, dense)
  local sparse = {}
  for _, param in ipairs(dense and {} or weights.saved(model)) do
    if has_zeros(param) then sparse[param.name] = true end
  end
  local groups = groups_of(arch.tensors(of, model, weights.saved(model)), model, dtypes, limit or math.huge)
  local map, files, total = {}, {}, 0
  for k, group in ipairs(groups) do
    local file = #groups == 1 and SINGLE or string.format("model-%05d-of-%05d.safetensors", k, #groups)
    local called, tensors, types, masks = {}, {}, {}, {}
    for _, entry in ipairs(group) do
      local made = { weights.joined(entry, model:params()) }
      local bits = joined_masks(entry, model:params(), sparse)
      for i, name in ipairs(entry.tensors or { entry.tensor }) do
        called[#called + 1], tensors[#tensors + 1], types[#types + 1] = name, made[i], dtypes[entry.params[1]]
        masks[#called] = bits[i]
        total = total + bytes_of(made[i], bits[i], types[#types])
        for _, part in ipairs(bits[i] and { BITS, VALUES } or { "" }) do map[name .. part] = file end
      end
    end
    core.weights_save(dir .. "/" .. file, called, tensors, types, masks)
    files[file] = true
  end
  if #groups > 1 then
    core.json_save(dir .. "/" .. INDEX, { metadata = { total_size = total }, weight_map = map })
    files[INDEX] = true
  end
  return files
end

return weights
