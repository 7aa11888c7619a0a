--- sonde.io - a model as a folder: model.safetensors, config.json, tokenizer.json, tokenizer_config.json.
--
-- A model is saved as the architecture of the folder that it came from, or as Hugging Face's Llama, where that can
-- express it; such folders made elsewhere open here. Other models (other norms, placements, ...) are of Sonde's own
-- architecture.

-- What lives here: this file saves and opens folders; arch/ holds the architectures that they may be of, one file each;
-- config.lua reads and writes config.json, weights.lua the weights, origin.lua what else a folder holds and is carried
-- along.

local core = require "sonde.core"
local config = require "sonde.io.config"
local origin = require "sonde.io.origin"
local remote = require "sonde.io.arch.parts.remote"
local tokens = require "sonde.io.arch.parts.tokens"
local weights = require "sonde.io.weights"
local args = require "sonde.base.args"
local reads = require "sonde.base.reads"

local folder = {}

--- The options that make the same model again, every one of them and as plain values: for records and folders.
---@param model sonde.model
---@return table
function folder.options(model)
  return config.plain(model)
end

-- ---- saving -----------------------------------------------------------------------------------------------

-- The dtype of each weight, what was asked for or what it was read as (f32 where it was not), and that of most numbers.
local function dtypes_of(model, asked)
  local types, counts, main = {}, {}, "f32"
  for _, param in ipairs(weights.saved(model)) do
    local dtype, count = asked or (model.stored and model.stored[param.name]), 1
    for _, dim in ipairs(param.dims) do count = count * dim end
    types[param.name] = dtype
    if dtype then counts[dtype] = (counts[dtype] or 0) + count end
  end
  for _, dtype in ipairs { "f32", "f16", "bf16" } do
    if (counts[dtype] or 0) > (counts[main] or 0) then main = dtype end
  end
  for _, param in ipairs(weights.saved(model)) do types[param.name] = types[param.name] or main end
  return types, main
end

--- The dtype that most of a model's weights are saved in.
---@param model sonde.model
---@param asked? string
---@return string
function folder.dtype(model, asked)
  local _, main = dtypes_of(model, asked)
  return main
end

local widths = { F32 = 4, F16 = 2, BF16 = 2, U8 = 1 }

local function bytes_of(dims, dtype)
  local bytes = widths[dtype]
  for _, dim in ipairs(dims) do bytes = bytes * dim end
  return bytes
end

--- Bytes of the weights in a folder that a model was saved in, and what they would be without sparse matrices.
---@param model sonde.model
---@param dir string
---@param asked? string      the dtype that was asked for
---@return {saved: integer, dense: integer}
function folder.sizes(model, dir, asked)
  local file, sizes = core.weights_open(dir), { saved = 0, dense = 0 }
  for _, name in ipairs(file:names()) do
    local tensor = file:find(name)
    sizes.saved = sizes.saved + bytes_of(tensor.dims, tensor.dtype)
  end
  local types = dtypes_of(model, asked)
  for _, param in ipairs(weights.saved(model)) do
    sizes.dense = sizes.dense + bytes_of(param.dims, string.upper(types[param.name]))
  end
  file:close()
  return sizes
end

-- What the folder of a model holds beside its weights: what it brought, unless another tokenizer takes its place.
local function belongings(model, tokenizer)
  local from = model.origin or { config = {}, files = {}, left = {} }
  if not tokenizer then return from end
  local vocab = model.config.vocab
  if vocab and tokenizer:vocab() > vocab then
    error(core.where() .. string.format("the tokenizer has %d tokens, and the model's vocabulary %d: the folder would "
      .. "have ids that the model does not read; give the tokenizer that the model is of", tokenizer:vocab(), vocab), 0)
  end
  local ok, ours = pcall(origin.own_tokenizer, from)
  return ok and ours and ours:hash() == tokenizer:hash() and from or origin.without_tokenizer(from)
end

--- What a folder of the model would hold: the keys of config.json, and the files by name, tokenizer.json among them if
--- there is a tokenizer.
---@param model sonde.model
---@param tokenizer? sonde.tokenizer     in place of the model's own
---@return table keys, table<string, string> files
function folder.belongings(model, tokenizer)
  local belonging = belongings(model, tokenizer)
  tokenizer = tokenizer or (model:has_tokenizer() and model:tokenizer()) or nil
  local keys, files = config.write(model, belonging.config), {}
  keys.quantization_config = nil          -- what they describe has its zeros
  tokens.describe(keys, folder.dtype(model), tokenizer, belonging == model.origin)
  for name, bytes in pairs(belonging.files) do files[name] = bytes end
  if tokenizer and not files["tokenizer.json"] then
    local path = os.tmpname()
    tokenizer:save(path)
    files["tokenizer.json"] = core.read_file(path)
    os.remove(path)
  end
  return keys, files
end

-- The ids of another tokenizer are other texts to the model: that may be meant, but not without a word.
local function note_tokenizer(model, tokenizer, dir)
  local corpus = require "sonde.data"
  local known = corpus.known(model)
  if corpus.same_ids(tokenizer:hash(), tokenizer, known) then return end
  io.stderr:write(string.format("sonde: note: %s: the tokenizer saved there (%.8s..) is another than %s (%.8s..), so "
    .. "the same ids "
    .. "are other texts\n", dir, tokenizer:hash(), known.of, known.hash))
end

-- The model's own tokenizer; nil where its folder has one that is not read here, which is carried along all the same.
local function own_tokenizer(model)
  if not model:has_tokenizer() then return nil end
  local ok, tokenizer = pcall(model.tokenizer, model)
  if ok then return tokenizer end
  io.stderr:write("sonde: note: the tokenizer is carried along as it is; it cannot be read here: ", tokenizer, "\n")
end

-- Writes all files of a folder; gives the names of those with weights and of code.
local function write_files(model, dir, options)
  local tokenizer, dtypes, main = options.tokenizer, dtypes_of(model, options.dtype)
  local belonging = belongings(model, tokenizer)
  local lacks = not tokenizer and origin.lacks(belonging)
  if lacks then error(core.where() .. "the folder would lack its tokenizer: " .. lacks, 0) end
  tokenizer = tokenizer or own_tokenizer(model)
  local keys, of = config.write(model, belonging.config)
  local sparse = not options.dense and weights.has_sparse(model)
  keys.quantization_config = sparse and config.sparse or nil
  tokens.describe(keys, main, tokenizer, belonging == model.origin)
  local code = remote.attach(of, model, keys)
  for _, files in ipairs { belonging.files, code } do
    for name, bytes in pairs(files) do
      core.mkdirs((dir .. "/" .. name):match "^(.*)/")
      core.write_file(dir .. "/" .. name, bytes)
    end
  end
  if tokenizer then
    tokenizer:save(dir .. "/tokenizer.json")
    if not belonging.files["tokenizer_config.json"] then
      core.json_save(dir .. "/tokenizer_config.json", tokens.tokenizer_config(model, tokenizer, keys))
    end
  end
  core.json_save(dir .. "/config.json", keys)
  local written = weights.write(model, dir, of, dtypes, folder.bytes(options.shard_size), options.dense)
  for name in pairs(code) do written[name] = true end
  for name, reason in pairs(belonging.left) do
    io.stderr:write(string.format("sonde: note: %s is not carried along to %s: %s\n", name, dir, reason))
  end
  return written
end

-- Takes away the weights that those written have replaced, and code for transformers that is not of this model: some
-- programs read all there are.
local function remove_former(dir, written)
  for _, name in ipairs(core.list_dir(dir)) do
    if (weights.is_file(name) or origin.is_code(name)) and not written[name] then os.remove(dir .. "/" .. name) end
  end
end

local units = { [""] = 1, K = 1e3, M = 1e6, G = 1e9, T = 1e12, Ki = 2 ^ 10, Mi = 2 ^ 20, Gi = 2 ^ 30, Ti = 2 ^ 40 }

--- A number of bytes from a text: "5GB", "200MiB", "1000". nil stays nil.
---@param text string|nil
---@return integer|nil
function folder.bytes(text)
  if not text then return nil end
  local number, unit = string.match(text, "^(%d+%.?%d*)%s*([KMGT]?i?)B?$")
  local bytes = number and units[unit] and math.floor(tonumber(number) * units[unit])
  if bytes and bytes > 0 then return bytes end
  error(core.where() .. "shard_size takes a number of bytes such as 5GB or 200MiB, not '" .. text .. "'", 0)
end

--- Saves a model as a folder. A new folder appears whole or not at all; in one that is there each file is replaced
--- whole. What the folder that the model came from holds beside it is carried along (io/origin.lua).
---@param model sonde.model
---@param dir string
---@param options? {tokenizer: userdata, dtype: "f32"|"bf16"|"f16", shard_size: string, dense: boolean}
function folder.save(model, dir, options)
  options = require("sonde.base.args").check({
    { name = "tokenizer", type = "any", doc = "the tokenizer to put beside the weights; default: the model's own" },
    { name = "dtype", type = "string", choices = { "f32", "bf16", "f16" },
      doc = "of the saved weights; default: what they were read as, else f32" },
    { name = "dense", type = "boolean", preset = false,
      doc = "sparse matrices with their zeros, as other programs read them; the folder has no masks then" },
    { name = "shard_size", type = "string", doc = "most bytes of a file of weights, such as 5GB; default: one file" },
  }, options, "save")
  folder.bytes(options.shard_size)
  if type(dir) ~= "string" then error(core.where() .. "save: the model needs the name of a folder", 0) end
  dir = #dir > 1 and string.gsub(dir, "/+$", "") or dir
  if dir == "" then error(core.where() .. "save: the model needs the name of a folder", 0) end
  if options.tokenizer then note_tokenizer(model, options.tokenizer, dir) end
  local there = core.exists(dir)
  if there == "file" or (there and #core.list_dir(dir) > 0) then
    return remove_former(dir, write_files(model, dir, options))
  end
  require("sonde.base.whole_folder")(dir, function(part) write_files(model, part, options) end)
end

-- ---- loading ----------------------------------------------------------------------------------------------

local function refuse(path, text)
  error(core.where() .. path .. ": " .. text, 0)
end

-- The folders inside `dir` that hold a config.json, up to two levels down.
local function models_below(dir, levels, found)
  for _, name in ipairs(core.list_dir(dir)) do
    local path = dir .. "/" .. name
    if #found < 2 and core.exists(path) == "folder" then
      if core.exists(path .. "/config.json") then
        found[#found + 1] = path
      elseif levels > 1 then
        pcall(models_below, path, levels - 1, found)
      end
    end
  end
  return found
end

-- What a folder without a config.json is, and where the model may be.
local function hint_inside(dir)
  local ok, found = pcall(models_below, dir, 2, {})
  if ok and #found > 0 then return "; there is one in " .. found[1] .. (#found > 1 and ", and in others" or "") end
  if core.exists(dir .. "/run.json") then
    return "; it is a run that has saved none yet: the model is saved when its training is done"
  end
  return ""
end

-- The folder of the hub's cache holds a model in snapshots/COMMIT, and in refs/main which commit that is.
local function snapshot_of(dir)
  local inside = dir .. "/snapshots"
  if core.exists(dir .. "/config.json") or core.exists(inside) ~= "folder" then return dir end
  local main = dir .. "/refs/main"
  local commit = core.exists(main) == "file" and string.match(core.read_file(main), "^%x+")
  local all = core.list_dir(inside)
  if not commit and #all == 1 then commit = all[1] end
  return commit and core.exists(inside .. "/" .. commit .. "/config.json") and inside .. "/" .. commit or dir
end

-- Names near one that is not there.
local function hint_beside(dir)
  local parent, name = string.match(dir, "^(.*)/([^/]+)$")
  if not parent then parent, name = ".", dir end
  local ok, names = pcall(core.list_dir, parent == "" and "/" or parent)
  local near = ok and core.nearest(name, names)
  return near and "; did you mean '" .. (string.find(dir, "/", 1, true) and parent .. "/" or "") .. near .. "'?" or ""
end

--- Refuses what is no model folder, with where the model may be instead; gives the path without a slash at its end.
---@param dir string
---@return string
function folder.check(dir)
  if type(dir) ~= "string" or dir == "" then
    error(core.where() .. "load takes the path of a folder, not " .. (dir == "" and "an empty name" or tostring(dir)),
      0)
  end
  dir = #dir > 1 and string.gsub(dir, "/+$", "") or dir
  local there = core.exists(dir)
  if not there then refuse(dir, "there is no such folder" .. hint_beside(dir)) end
  if there == "file" then
    local parent = string.match(dir, "^(.*)/[^/]+$") or "."
    refuse(dir, "is a file; a model is a folder"
      .. (core.exists(parent .. "/config.json") and "; that of this file is " .. parent or ""))
  end
  dir = snapshot_of(dir)
  if not core.exists(dir .. "/config.json") then
    refuse(dir, "contains no config.json, so it is no model folder" .. hint_inside(dir))
  end
  return dir
end

-- A config may name any size, and a model of it is made before its weights are read: a size far past what the files
-- hold is refused first.
local MANY_BLOCKS, LARGE_TABLE = 500, 2 ^ 28

-- What is as wide as the stream, by its name: how many rows each of them has.
local function rows_of(options)
  local ffn = type(options.ffn) == "table" and options.ffn or {}
  return {
    ["a vocabulary of %.0f"] = tonumber(options.vocab),
    ["a feed-forward layer of %.0f"] = tonumber(ffn.hidden or options.ffn_hidden),
    ["experts of %.0f together"] = ffn.experts and tonumber(ffn.hidden or options.ffn_hidden) * tonumber(ffn.experts),
    ["learned positions of %.0f tokens"] = options.positions == "learned" and tonumber(options.context) or nil,
  }
end

local function check_sizes(dir, path, options)
  local blocks, width, large, what = tonumber(options.depth) or 0, tonumber(options.width) or 0, 0, nil
  for _, layer in pairs(type(options.layers) == "table" and options.layers or {}) do
    if type(layer) == "table" and layer.share then blocks = 0 end      -- those have no tensors of their own
  end
  for name, rows in pairs(rows_of(options)) do
    if rows * width > large then large, what = rows * width, string.format(name, rows) end
  end
  if blocks <= MANY_BLOCKS and large <= LARGE_TABLE then return end
  local ok, elements, names = pcall(weights.count, dir)
  if not ok then return end      -- a config without weights may describe any model; reading them says what is wrong
  if blocks > MANY_BLOCKS and blocks > names then
    refuse(path, string.format("a model of %.0f blocks, but the folder's weights are %d tensors", blocks, names))
  end
  if large > LARGE_TABLE and large > elements then
    refuse(path, string.format("%s with width %.0f, but the folder's weights are %.0f numbers", what, width, elements))
  end
end

-- The path of a model folder, the model that it describes, without weights, and its architecture. A folder of another
-- program says nothing of a placement, so one may be given.
local function described(dir, placement)
  dir = folder.check(dir)
  local path = dir .. "/config.json"
  local tree = core.json_load(path, true)
  if type(tree) ~= "table" then refuse(path, "this is no object") end
  local function make(options)
    check_sizes(dir, path, options)
    return require("sonde.model.transformer").new(options, function() return core.where() .. path .. ": " end)
  end
  local options, note, of = config.options(tree, path, make)
  if note then io.stderr:write("sonde: note: ", path, ": ", note, "\n") end
  if placement and type(tree.sonde) == "table" then
    refuse(path, "the section 'sonde' says where the norms are; the option placement is for folders that do not say it")
  end
  options.placement = placement or options.placement
  return dir, make(options), of
end

--- The options of the model in a folder, as plain values.
---@param dir string
---@return table
function folder.describe(dir)
  local _, model = described(dir)
  return config.plain(model)
end

--- Puts masks on a model's matrices that are sparse in a model folder.
---@param model sonde.model
---@param dir string
function folder.put_masks(model, dir)
  local path, _, of = described(dir)
  weights.put_masks(model, path, of)
end

--- Gives a model the weights of a model folder, with what that holds beside them. Parameters must be the same, by name
--- and shape; how they are used may be another: that is told.
---@param model sonde.model
---@param dir string
---@return sonde.model
function folder.begin(model, dir)
  local there, of
  dir, there, of = described(dir)
  local list = config.differences(model, there)
  if #list > 0 then
    io.stderr:write(string.format("sonde: note: %s: the model that begins with these weights computes something else: "
      .. "%s\n",
      dir, table.concat(list, ", ")))
  end
  weights.read(model, dir, of)
  model.origin = origin.read(dir)
  return model
end

--- Opens a model folder, of Sonde or of another program (single or sharded safetensors, f32, f16 or bf16; the
--- folder that the hub's cache has for a model, with its snapshots, too), or a checkpoint of llama2.c (.bin). A model
--- that was trained with its norms in other places, by the code of LayerNorm Scaling or Mix-LN for example, looks like
--- a Llama: its placement is given then.
---@param dir string
---@param options? {placement: string|table}   NAME or {NAME, option = value}, of a folder without it; default: pre_ln
---@return sonde.model
function folder.load(dir, options)
  options = args.check({
    { name = "placement", type = "string|table", doc = "where the norms are, of a folder that does not say it" },
  }, options, "load")
  if type(dir) == "string" and string.find(dir, "%.bin$") and core.exists(dir) == "file" then
    if options.placement then error(core.where() .. dir .. ": a checkpoint of llama2.c has no other placement", 0) end
    return require("sonde.io.arch.formats.llama2c").load(dir)
  end
  local model, of
  dir, model, of = described(dir, options.placement)
  model.folder, model.origin = dir, origin.read(dir)
  weights.read(model, dir, of)
  reads.note("model", dir)
  return model
end

--- The option of commands that open a model folder.
---@type sonde.field
folder.placement = {
  name = "placement", type = "list", value = "NAME", of = { name = "word", type = "string", doc = "" }, some = true,
  suggest = function() return require("sonde.model.placement").names() end,
  doc = "where the norms are, if the folder does not say it: lns, or mix_ln,a=0.25",
}

--- The model of a command's options `model` and `placement`.
---@param options {model: string, placement: string[]|nil}
---@return sonde.model
function folder.of_command(options)
  local words = options.placement
  if not words then return folder.load(options.model) end
  require("sonde.model.placement").find(words[1], function() return "--placement: " end)
  return folder.load(options.model, { placement = args.words(words, "--placement") })
end

return args.declare(folder, "sonde.", {
  load = { { name = "dir", type = "string", required = true }, { name = "options", type = "table" } },
})
