--- sonde - studies depth in language models.
--
-- What is here: corpora, models and where their norms stand, training, probes, sweeps and reports; below them graphs of
-- nodes that are traced, differentiated, planned and run. Parts are loaded when they are first used.

local core = require "sonde.core"
require "sonde.base.fingerprint"     -- before a script runs: what is global now is not the script's
local args = require "sonde.base.args"

---@class sonde
---@field version string
---@field settings table     what `sonde run --set key=value` was given
local sonde = { version = core.version, settings = require("sonde.base.settings").view() }
for name, f in pairs(require "sonde.graph") do sonde[name] = f end

-- name -> {module, function in it}; no function: the module itself.
local parts = {
  transformer = { "sonde.model.transformer", "new" },
  placement = { "sonde.model.placement", "register" },
  init = { "sonde.model.init_policy", "register" },
  objective = { "sonde.model.objective", "register" },
  objectives = { "sonde.model.objective" },
  load = { "sonde.io", "load" },
  export = { "sonde.io.export", "write" },
  evaluate = { "sonde.eval", "evaluate" },
  evaluate_tasks = { "sonde.eval.tasks", "evaluate" },
  convert_tasks = { "sonde.eval.convert", "file" },
  likelihoods = { "sonde.eval.likelihood", "of" },
  generate = { "sonde.eval.generate", "tokens" },
  attention_maps = { "sonde.probe.attention_maps", "maps" },
  probe = { "sonde.probe", "probe" },
  probes = { "sonde.probe", "registry" },
  corpus = { "sonde.data", "open" },
  feed = { "sonde.data.feed", "arrays" },
  train = { "sonde.train", "train" },
  capacity_gap = { "sonde.distill.gap", "run" },
  teach = { "sonde.distill.teach", "make" },
  teach_sequences = { "sonde.distill.sequences", "make" },
  divergences = { "sonde.distill.measure", "divergences" },
  finetune = { "sonde.train.finetune", "run" },
  config = { "sonde.base.config", "load" },
  sweep = { "sonde.sweep", "new" },
  experiment = { "sonde.sweep.experiment", "open" },
  report = { "sonde.report" },
  quantity = { "sonde.report.quantity", "register" },
  prune = { "sonde.sparse", "prune" },
  sparsify = { "sonde.sparse.sparsify", "sparsify" },
  heal = { "sonde.sparse", "heal" },
  prune_importance = { "sonde.sparse.importance", "register" },
  clips = { "sonde.video.clips", "open" },
  make_clips = { "sonde.video.make", "make_clips" },
  clip_metrics = { "sonde.video.metrics" },
  clip_reading = { "sonde.video.reading", "open" },
  watch = { "sonde.video.watch", "watch" },
  prune_strategy = { "sonde.sparse.strategy", "register" },
}

-- A kind of modules that scripts can write is a file.
for _, kind in ipairs(require("sonde.base").listed "sonde/model/kind") do
  parts[kind] = { "sonde.model.kind." .. kind, kind }
end

-- Every name that the library has, loaded or not.
local function names_of_all()
  local names, seen = {}, {}
  for _, list in ipairs { parts, sonde } do
    for name in pairs(list) do
      if not seen[name] then names[#names + 1] = name end
      seen[name] = true
    end
  end
  table.sort(names)
  return names
end

setmetatable(sonde, {
  __names = names_of_all,
  __index = function(_, name)
    local part = parts[name]
    if not part then
      local names = names_of_all()
      local near = core.nearest(tostring(name), names)
      error(core.where() .. "sonde has no '" .. tostring(name) .. "'"
        .. (near and "; did you mean '" .. near .. "'?" or ""), 0)
    end
    local value = require(part[1])
    if part[2] then value = value[part[2]] end
    sonde[name] = value
    return value
  end,
})

--- A tokenizer from a tokenizer.json of Sonde or of Hugging Face, from SentencePiece's tokenizer.model, GPT-2's
--- vocab.json with merges.txt, or llama2.c's tokenizer.bin (doc/models.md). What ends a text there is said by the files
--- beside it, as for a model folder.
---@param path string   the file, or the folder with it
---@return sonde.tokenizer
function sonde.tokenizer(path)
  return (require("sonde.io.origin").tokenizer(path))
end

--- The names of the modules and optimizers that can be used, of one kind.
---@param kind string     `sonde plugin new --help` names the kinds
---@return string[]
function sonde.modules(kind)
  return core.modules(kind)
end

-- ---- what they take ----------------------------------------------------------------------------------------

args.declare(sonde, "sonde.", {
  tokenizer = { { name = "path", type = "string", required = true } },
  modules = { { name = "kind", type = "string" } },
})

return sonde
