-- gen-lua-api.lua - writes lua-api.md from the annotations in lua/sonde; `make lua-api` runs it.
--
-- A doc comment is a run of lines that begin with ---; it belongs to the function, class or schema under it. Schemas
-- are shown as the tables that the program itself checks options by.

local core = require "sonde.core"

local library = core.lua_dir() .. "/sonde/"

-- What the page has, in order: {heading, what is under it, {file, prefix of its functions}...}; `registry`: and what
-- the file's registry holds.
local pages = {
  { "The library", "`local sonde = require \"sonde\"`.", { "init", "sonde." }, { "graph/init", "sonde." } },
  { "Models", nil, { "model/transformer", "sonde.", { new = "transformer" } }, { "model/init", "model:" },
    { "io/init", "sonde.", { load = "load" } } },
  { "Placements and initialisations", nil,
    { "model/placement", "sonde.", { register = "placement" }, registry = true }, { "model/block", "block:" },
    { "model/init_policy", "sonde.", { register = "init" }, registry = true } },
  { "Modules in Lua", "What a site offers stands at the end of the page.",
    { "model/kind/norm", "sonde.", { norm = "norm" } }, { "model/kind/attention", "sonde.",
      { attention = "attention" } },
    { "model/kind/ffn", "sonde.", { ffn = "ffn" } } },
  { "Traces and interventions", nil, { "model/trace", "trace:", { logits = "logits", mean_loss = "mean_loss" } } },
  { "Corpora and feeds", nil, { "data/init", "sonde.", { open = "corpus" } },
    { "data/feed", "sonde.", { arrays = "feed" } } },
  { "Objectives", "doc/training.md has an example.", { "model/objective", "sonde.",
    { register = "objective", cross_entropy = "objectives.cross_entropy", hits = "objectives.hits" } } },
  { "Training", "doc/training.md shows hooks at work.", { "train/init", "sonde.", { train = "train" } },
    { "train/hooks", "", {} } },
  { "Evaluation, generation and probes", nil, { "eval/init", "sonde.", { evaluate = "evaluate" } },
    { "eval/tasks", "sonde.", { evaluate = "evaluate_tasks" } },
    { "eval/convert", "sonde.", { file = "convert_tasks" } },
    { "eval/likelihood", "sonde.", { of = "likelihoods" } },
    { "eval/generate", "sonde.", { tokens = "generate" } },
    { "probe/attention_maps", "sonde.", { maps = "attention_maps" } },
    { "probe/init", "sonde.", { probe = "probe" } },
    { "probe/registry", "sonde.probes.", { register = "register", names = "names", find = "find" }, registry = true } },
  { "Pruning", "doc/pruning.md shows it at work.", { "sparse/init", "sonde.", { prune = "prune", heal = "heal" } },
    { "sparse/strategy", "sonde.", { register = "prune_strategy" }, registry = true } },
  { "Sweeps and reports", nil, { "sweep/init", "", { new = "sonde.sweep", run = "sweep:run", check = "sweep:check",
    plan = "sweep:plan", results = "sweep:results", summary = "sweep:summary", report = "trial:report" } },
    { "report/quantity", "sonde.", { register = "quantity" }, registry = true },
    { "base/config", "sonde.", { load = "config" } },
    { "sweep/experiment", "", { open = "sonde.experiment", model = "experiment:model", sweep = "experiment:sweep",
      run = "experiment:run" } } },
  { "Nodes", nil, { "graph/node", "node:" } },
  { "Graphs, tensors, plans, parameters", nil, { "base/types", nil } },
}

local out = {}
local function emit(...)
  out[#out + 1] = table.concat({ ... })
end

-- ---- reading ------------------------------------------------------------------------------------------------

-- The doc comments of a file: {text, params, returns, fields, class, name, separator, owner, schema}.
local function read(path)
  local docs, doc = {}, nil
  for line in io.lines(path) do
    local text = line:match "^%-%-%-%s?(.*)$"
    if text then
      doc = doc or { lines = {}, params = {}, returns = {}, fields = {} }
      local tag, rest = text:match "^@(%a+)%s*(.*)$"
      if tag == "param" then doc.params[#doc.params + 1] = rest
      elseif tag == "return" then doc.returns[#doc.returns + 1] = rest
      elseif tag == "field" then doc.fields[#doc.fields + 1] = rest
      elseif tag == "class" then doc.class = rest
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
local function split(text)
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

-- ---- writing ------------------------------------------------------------------------------------------------

local function code(text)
  return "`" .. text .. "`"
end

local function described(lines)
  local text = table.concat(lines, "\n"):gsub("%s+$", "")
  return text
end

local function emit_rows(rows)
  for _, row in ipairs(rows) do
    local name, kind, text = split(row)
    emit("- ", code(name), kind ~= "" and " " .. code(kind) or "", text ~= "" and ": " .. text or "")
  end
  if #rows > 0 then emit "" end
end

local function emit_function(doc, name)
  emit("### `", name, "(", doc.arguments, ")`\n")
  if #doc.lines > 0 then emit(described(doc.lines), "\n") end
  emit_rows(doc.params)
  for _, text in ipairs(doc.returns) do
    emit("Returns ", code(text), ".\n")
  end
end

local function emit_class(doc)
  local name, text = doc.class:match "^(%S+)%s*(.*)$"
  emit("### ", code(name), "\n")
  if text ~= "" then emit(text, ".\n") end
  emit_rows(doc.fields)
end

-- What a schema's field takes, in words.
local function takes(field)
  local words = field.type:gsub("|", " or ")
  if field.min and field.max then words = words .. (" %g to %g"):format(field.min, field.max)
  elseif field.min then words = words .. (" from %g"):format(field.min) end
  -- What modules there are depends on the plugins of a machine; placements and initialisations are the library's own.
  local choices = field.choices
  if type(choices) == "function" then choices = (field.name == "placement" or field.name == "init") and choices() end
  return choices and table.concat(choices, ", ") or words
end

local function preset(field)
  if field.required then return "required" end
  if field.preset == nil or type(field.preset) == "table" then return "" end
  return code(tostring(field.preset))
end

-- "model/init" -> "sonde.model"
local function module_of(file)
  return "sonde." .. (file:gsub("/init$", ""):gsub("/", "."))
end

local function emit_schema(doc, file)
  emit(described(doc.lines), "\n\n| option | takes | default | |\n| --- | --- | --- | --- |")
  for _, field in ipairs(require(module_of(file))[doc.schema]) do
    if not field.hidden then
      emit("| ", code(field.name), " | ", takes(field), " | ", preset(field), " | ", (field.doc:gsub("|", "\\|")), " |")
    end
  end
  emit ""
end

local function emit_registry(registry)
  emit("| ", registry.kind, " | |\n| --- | --- |")
  for _, row in ipairs(registry:described()) do emit("| ", code(row[1]), " | ", (row[2]:gsub("|", "\\|")), " |") end
  emit ""
end

local function emit_file(file, prefix, wanted)
  for k, doc in ipairs(read(library .. file .. ".lua")) do
    if k == 1 and not doc.name and not doc.class and not doc.schema then
      local first = (doc.lines[1] or ""):gsub("^[%w_]+%.?%w* %- ", "")
      doc.lines[1] = first:sub(1, 1):upper() .. first:sub(2)
      emit(described(doc.lines), "\n")
    elseif doc.class then
      emit_class(doc)
    elseif doc.schema then
      emit_schema(doc, file)
    elseif doc.name and not doc.private and (not wanted or wanted[doc.name]) then
      local shown = wanted and wanted[doc.name] or doc.name
      emit_function(doc, (prefix or doc.owner .. doc.separator) .. shown)
    end
  end
end

emit "<!-- Made by doc/gen-lua-api.lua from the comments in lua/sonde; changes belong there. -->\n"
emit "# The Lua API\n"
for _, page in ipairs(pages) do
  emit("## ", page[1], "\n")
  if page[2] then emit(page[2], "\n") end
  for k = 3, #page do
    emit_file(page[k][1], page[k][2], page[k][3])
    if page[k].registry then emit_registry(require(module_of(page[k][1])).registry) end
  end
end
local text = table.concat(out, "\n"):gsub("\n\n\n+", "\n\n"):gsub("%s+$", "") .. "\n"
io.stdout:write(text)
