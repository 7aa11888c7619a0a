-- api.lua - what the documentation of the Lua library covers, and its doc comments: for gen-lua-api.lua and
-- gen-luacats.lua.
--
-- A doc comment is a run of lines that begin with ---; it belongs to the function, class or schema under it.

local core = require "sonde.core"

local api = { library = core.lua_dir() .. "/sonde/" }

-- What the page has, in order: {heading, what is under it, {file, prefix of its functions}...}; `registry`: and what
-- the file's registry holds.
api.pages = {
  { "The library", "`local sonde = require \"sonde\"`.", { "init", "sonde." }, { "graph/init", "sonde." } },
  { "Models", nil, { "model/transformer", "sonde.", { new = "transformer" } }, { "model/init", "model:" },
    { "io/init", "sonde.", { load = "load" } }, { "io/export", "sonde.", { write = "export" } } },
  { "Placements and initialisations", nil,
    { "model/placement", "sonde.", { register = "placement" }, registry = true }, { "model/block", "block:" },
    { "model/init_policy", "sonde.", { register = "init" }, registry = true } },
  { "Modules in Lua", "What a site offers stands at the end of the page.",
    { "model/kind/norm", "sonde.", { norm = "norm" } }, { "model/kind/attention", "sonde.",
      { attention = "attention" } },
    { "model/kind/ffn", "sonde.", { ffn = "ffn" } }, { "model/kind/distill", "sonde.", { distill = "distill" } },
    { "model/kind/sparsity", "sonde.", { sparsity = "sparsity" } } },
  { "Traces and interventions", nil, { "model/trace", "trace:", { logits = "logits", mean_loss = "mean_loss" } } },
  { "Corpora and feeds", nil, { "data/init", "sonde.", { open = "corpus" } },
    { "data/feed", "sonde.", { arrays = "feed" } } },
  { "Objectives", "doc/training.md has an example.", { "model/objective", "sonde.",
    { register = "objective", cross_entropy = "objectives.cross_entropy", hits = "objectives.hits" } } },
  { "Training", "doc/training.md shows hooks at work.", { "train/init", "sonde.", { train = "train" } },
    { "train/hooks", "", {} }, { "train/finetune", "sonde.", { run = "finetune" } } },
  { "Evaluation, generation and probes", nil, { "eval/init", "sonde.", { evaluate = "evaluate" } },
    { "eval/tasks", "sonde.", { evaluate = "evaluate_tasks" } },
    { "eval/convert", "sonde.", { file = "convert_tasks" } },
    { "eval/likelihood", "sonde.", { of = "likelihoods" } },
    { "eval/generate", "sonde.", { tokens = "generate" } },
    { "probe/attention_maps", "sonde.", { maps = "attention_maps" } },
    { "probe/init", "sonde.", { probe = "probe" } },
    { "probe/registry", "sonde.probes.", { register = "register", names = "names", find = "find" }, registry = true } },
  { "Pruning", "doc/pruning.md shows it at work.", { "sparse/init", "sonde.", { prune = "prune", heal = "heal" } },
    { "sparse/strategy", "sonde.", { register = "prune_strategy" }, registry = true },
    { "sparse/importance", "sonde.", { register = "prune_importance" }, registry = true } },
  { "Sparsity", "doc/sparsity.md shows it at work.", { "sparse/sparsify", "sonde.", { sparsify = "sparsify" } } },
  { "Distillation", "doc/distillation.md shows it at work.", { "distill/teach", "sonde.", { make = "teach" } },
    { "distill/sequences", "sonde.", { make = "teach_sequences" } },
    { "distill/measure", "sonde.", { divergences = "divergences" } },
    { "distill/gap", "sonde.", { run = "capacity_gap" } } },
  { "Video", "doc/video.md has the formats, the features and the measures.",
    { "video/clips", "", { open = "sonde.clips", of = "clips:of", features = "clips:features",
      arrays = "clips:arrays", feed = "clips:feed" } },
    { "video/features", "", {} }, { "video/feed", "", {} },
    { "video/reading", "", { open = "sonde.clip_reading", scores = "clip_reading:scores",
      measure = "clip_reading:measure", save = "clip_reading:save" } },
    { "video/watch", "", { watch = "sonde.watch" } },
    { "video/make", "", { make_clips = "sonde.make_clips" } },
    { "video/metrics", "sonde.clip_metrics.", { warning = "warning", recognition = "recognition" } } },
  { "Sweeps and reports", nil, { "sweep/init", "", { new = "sonde.sweep", run = "sweep:run", check = "sweep:check",
    plan = "sweep:plan", results = "sweep:results", ranking = "sweep:ranking", summary = "sweep:summary",
    report = "trial:report" } },
    { "sweep/search", "", {} },
    { "report/quantity", "sonde.", { register = "quantity" }, registry = true },
    { "base/config", "sonde.", { load = "config" } },
    { "sweep/experiment", "", { open = "sonde.experiment", model = "experiment:model", sweep = "experiment:sweep",
      run = "experiment:run", compare = "experiment:compare", cumulative = "experiment:cumulative" } },
    { "sweep/arms", "", {} } },
  { "Nodes", nil, { "graph/node", "node:" } },
  { "Graphs, tensors, plans, parameters", nil, { "base/types", nil } },
}

-- ---- reading ------------------------------------------------------------------------------------------------

-- The doc comments of a file: {text, params, returns, fields, class, name, separator, owner, schema}.
function api.read(path)
  local docs, doc = {}, nil
  for line in io.lines(path) do
    local text = line:match "^%-%-%-%s?(.*)$"
    if text then
      doc = doc or { lines = {}, params = {}, returns = {}, fields = {}, operators = {} }
      local tag, rest = text:match "^@(%a+)%s*(.*)$"
      if tag == "param" then doc.params[#doc.params + 1] = rest
      elseif tag == "return" then doc.returns[#doc.returns + 1] = rest
      elseif tag == "field" then doc.fields[#doc.fields + 1] = rest
      elseif tag == "class" then doc.class = rest
      elseif tag == "operator" then doc.operators[#doc.operators + 1] = rest
      elseif tag == "private" then doc.private = true
      elseif not tag then doc.lines[#doc.lines + 1] = text end
    elseif doc then
      if line:match "^%-%-" then
        if line ~= "--" or #doc.lines > 0 then doc.lines[#doc.lines + 1] = (line:gsub("^%-%-%s?", "")) end
      else
        doc.owner, doc.separator, doc.name, doc.arguments = line:match "^function ([%w_]+)([.:])([%w_]+)%((.-)%)"
        doc.schema = line:match "^[%w_]+%.([%w_]*schema) ="
        docs[#docs + 1] = doc
        doc = nil
      end
    end
  end
  return docs
end

-- "name? type   description" with types that may hold spaces inside brackets.
function api.split(text)
  local name, rest = text:match "^(%S+)%s+(.*)$"
  if not name then return text, "", "" end
  local depth, at = 0, #rest + 1
  for i = 1, #rest do
    local c = rest:sub(i, i)
    if c:match "[%(%{%[<]" then depth = depth + 1 end
    if c:match "[%)%}%]>]" then depth = depth - 1 end
    if depth == 0 and rest:sub(i):match "^%s%s" then
      at = i
      break
    end
    if depth == 0 and c == " " and not rest:sub(1, i - 1):match "[:,|]$" then
      at = i
      break
    end
  end
  return name, rest:sub(1, at - 1), (rest:sub(at):gsub("^%s+", ""))
end

-- "model/init" -> "sonde.model"
function api.module_of(file)
  return "sonde." .. (file:gsub("/init$", ""):gsub("/", "."))
end

return api
