--- export.lua - a model for other programs: as a folder for transformers and vLLM, or as one file for llama.cpp.
--
-- What only Sonde has a word for goes into the weights where that is exact (model/plain.lua), if the model then is of
-- an architecture that other programs know. Else the folder holds code for transformers with it.

local core = require "sonde.core"
local arch = require "sonde.io.arch"
local args = require "sonde.base.args"
local config = require "sonde.io.config"
local folder = require "sonde.io"

local export = {}

local formats = { "hf", "gguf" }

--- The options of an export.
---@type sonde.schema
export.schema = {
  { name = "format", type = "string", choices = formats,
    doc = "hf: a folder; gguf: a file; default: gguf where the name ends in .gguf" },
  { name = "dtype", type = "string", choices = { "f32", "bf16", "f16" },
    doc = "of the weights; default: what they were read as, else f32" },
  { name = "shard_size", type = "string", value = "SIZE",
    doc = "most bytes of a file of weights in a folder, such as 5GB; default: one file" },
  { name = "fold", type = "boolean", preset = true,
    doc = "what folds exactly goes into the weights, if another program then opens the model as it is" },
  { name = "vocabulary", type = "boolean", preset = true, doc = "of gguf: whether the tokenizer is in the file" },
}

local tokenizer = { name = "tokenizer", type = "any", doc = "the model's from now on, in place of its own" }

-- The model to write, of which architecture it is, and what was folded.
local function folded(model, wanted)
  local before = model.origin and model.origin.config or {}
  local of = arch.to_write(model, before)
  if not wanted or not of.whole then return model, of, {} end
  local plainer, said = require("sonde.model.plain").of(model)
  local instead = arch.to_write(plainer, before)
  if instead.whole then return model, of, {} end
  return plainer, instead, said
end

local function write_gguf(model, of, path, options)
  if of.whole then
    error(core.where() .. path .. ": this model is not written as GGUF: no architecture of other programs is like it "
      .. "(a folder, --format hf, holds code for transformers)", 0)
  end
  local keys, files = folder.belongings(model, options.tokenizer)
  if not options.vocabulary then files = nil end
  if files and not files["tokenizer.json"] then
    error(core.where() .. path .. ": the model has no tokenizer.json for the vocabulary; leave it out with "
      .. "--no-vocabulary (vocabulary = false)", 0)
  end
  local dtype = folder.dtype(model, options.dtype)
  local title = string.match(path, "([^/]+)%.gguf$") or string.match(path, "([^/]+)$")
  require("sonde.io.arch.formats.gguf").write(model, path, of, files, keys, dtype, title)
  return dtype
end

-- How other programs open the result.
local function opens(of, format, model)
  local remote = require "sonde.io.arch.parts.remote"
  if format == "gguf" then return "llama.cpp" end
  if not remote.is_needed(of, (config.write(model, model.origin and model.origin.config or {}))) then
    return "transformers, vLLM and others, as " .. of.class
  end
  local why = remote.why_not(model, of)
  if why then return "Sonde only: the code for transformers does not know " .. why end
  return "transformers with trust_remote_code=True"
end

---@class sonde.exported
---@field format string
---@field architecture string     model_type of the folder's config.json
---@field dtype string            that most weights are in
---@field folded string[]         what went into the weights
---@field opens string            in which programs, as a sentence's end

--- Writes a model for other programs: a folder (`format` "hf"), or with "gguf" one file. A folder must be new or empty.
--- A model that the format cannot express is refused, and nothing is written.
---@param model sonde.model
---@param out string
---@param options? table     export.schema, and `tokenizer` (sonde.tokenizer), which takes the place of the model's own
---@return sonde.exported
function export.write(model, out, options)
  local schema = { tokenizer }
  for _, field in ipairs(export.schema) do schema[#schema + 1] = field end
  options = args.check(schema, options, "export")
  local format = options.format or (string.find(out, "%.gguf$") and "gguf" or "hf")
  local there = core.exists(out)
  if format == "hf" and (there == "file" or there and #core.list_dir(out) > 0) then
    error(core.where() .. out .. ": there is something already; name a new folder", 0)
  end
  if format == "gguf" and there == "folder" then
    error(core.where() .. out .. ": is a folder; a GGUF model is one file", 0)
  end
  if format == "gguf" and options.shard_size then
    error(core.where() .. "shard_size is for folders; a GGUF model is one file", 0)
  end
  model:init()
  local plainer, of, said = folded(model, options.fold)
  local dtype
  if format == "gguf" then
    dtype = write_gguf(plainer, of, out, options)
  else
    dtype = folder.dtype(plainer, options.dtype)
    plainer:save(out, { dtype = options.dtype, shard_size = options.shard_size, tokenizer = options.tokenizer,
      dense = true })
  end
  return {
    format = format, architecture = of.name, dtype = dtype, folded = core.list(said),
    opens = opens(of, format, plainer),
  }
end

return args.declare(export, "sonde.export.", {
  write = {
    as = "sonde.export",
    { name = "model", type = "model", required = true },
    { name = "out", type = "string", some = true, required = true },
    { name = "options", type = "table" },
  },
})
