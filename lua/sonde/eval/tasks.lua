--- sonde.evaluate_tasks - accuracy and perplexity on downstream tasks, with the prompts, metrics and files of
-- lm-evaluation-harness.

local core = require "sonde.core"
local args = require "sonde.base.args"
local encode = require "sonde.eval.encode"
local likelihood = require "sonde.eval.likelihood"
local metrics = require "sonde.eval.metrics"
local results = require "sonde.eval.results"
local rows = require "sonde.eval.rows"
local sorted_keys = require "sonde.base.sorted_keys"
local task = require "sonde.eval.task"

local tasks = {}

local name = { name = "name", type = "string", doc = "" }

--- What is evaluated, beside the model.
---@type sonde.schema
tasks.schema = {
  { name = "tasks", type = "list", of = name, some = true, required = true, doc = "names of tasks and groups" },
  { name = "data", type = "string", required = true, doc = "folder of the tasks' data" },
  { name = "task_files", type = "list", of = name, doc = "more tasks: YAML files, or folders of them" },
  { name = "fewshot", type = "integer", min = 0, max = 1000, preset = 0, doc = "solved examples in front of a prompt" },
  { name = "fewshot_seed", type = "integer", min = 0, preset = 1234, doc = "of the choice of examples" },
  { name = "limit", type = "number", min = 0, doc = "documents of a task, from the first; below 1: a share of them" },
  { name = "metrics", type = "list", of = { name = "metric", type = "string", choices = metrics.names, doc = "" },
    doc = "more metrics than the tasks' own, where they fit" },
  { name = "add_bos", type = "boolean",
    doc = "begin texts with the token that begins a text, or never; default: as the tokenizer does" },
  { name = "prefix_token", type = "integer", min = 0, doc = "stands in front of a text without context; default: the "
    .. "token that begins a text, else the one that ends it" },
  { name = "context", type = "integer", min = 1, max = 1048576,
    doc = "tokens that the model takes at most; default: the model's context" },
  { name = "batch_tokens", type = "integer", min = 64, max = 1048576, preset = 4096,
    doc = "tokens computed at once; results do not depend on it" },
  { name = "bootstrap", type = "integer", min = 0, max = 10000000, preset = 100000,
    doc = "resamples of bootstrapped standard errors; 0: no standard errors" },
  { name = "samples", type = "boolean", preset = false, doc = "keep what was scored of each document" },
  { name = "dtype", type = "string", choices = { "f32", "bf16" }, preset = "f32", doc = "of matrix products" },
  { name = "progress", type = "function", doc = "called with the share that is done" },
}

-- ---- which tasks -----------------------------------------------------------------------------------------------

-- Names of tasks, in the order of the names given; groups are taken apart. `inside`: group -> its children.
local function chosen(found, names)
  local list, seen, inside = {}, {}, {}
  local function take(each)
    local group = found.groups[each]
    if group then
      inside[each] = group.children
      for _, child in ipairs(group.children) do take(child) end
    elseif not found.tasks[each] then
      local known = sorted_keys(found.tasks)
      for _, other in ipairs(sorted_keys(found.groups)) do known[#known + 1] = other end
      error(core.where() .. "there is no task '" .. each .. "'" .. args.hint(each, known), 0)
    elseif not seen[each] then
      seen[each], list[#list + 1] = true, found.tasks[each]
    end
  end
  for _, each in ipairs(names) do take(each) end
  return list, inside
end

local function metrics_of(this, more)
  local list, seen = {}, {}
  for _, given in ipairs { this.metrics, more or {} } do
    for _, metric in ipairs(given) do
      if not seen[metric] and metrics.fits(metric, this.kind) then seen[metric], list[#list + 1] = true, metric end
    end
  end
  return list
end

-- ---- documents -------------------------------------------------------------------------------------------------

local function count_for(limit, all)
  if not limit then return all end
  return math.min(all, limit < 1 and math.ceil(limit * all) or math.floor(limit))
end

-- The solved examples of each document, drawn from one generator for document after document.
local function shots_for(this, docs, pool, n, seed)
  local random, chosen_items = core.python_random(seed), {}
  local function item_of(at)
    pool[at].item = pool[at].item or this:item(pool[at].row, pool[at].where)
    return pool[at].item
  end
  for k, doc in ipairs(docs) do
    local list = {}
    local wanted = n + (this.shots.exclude_self and 1 or 0)
    if wanted > #pool then
      error(string.format("task '%s': %d examples are to be drawn, and %s has %d rows", this.name, wanted,
        string.match(pool[1].where, "^[^:]*"), #pool), 0)
    end
    local drawn
    if this.shots.first then
      drawn = {}
      for i = 1, n do drawn[i] = i - 1 end
    else
      drawn = random:sample(#pool, wanted)
    end
    for _, at in ipairs(drawn) do
      if #list < n and not (this.shots.exclude_self and pool[at + 1].line == doc.line) then
        list[#list + 1] = item_of(at + 1)
      end
    end
    chosen_items[k] = list
  end
  return chosen_items
end

-- The documents of a task: number, row, line, where, item, requests (texts).
local function documents(this, o)
  local path, shared = rows.file(o.data, this, this.split, true)
  local all = rows.of_task(path, this, shared)
  local docs, original = {}, #all
  for k = 1, count_for(o.limit, #all) do
    local doc = all[k]
    doc.number, doc.item = k - 1, this:item(doc.row, doc.where)
    docs[k] = doc
  end
  if #docs == 0 then error("task '" .. this.name .. "': the limit leaves no document", 0) end
  local shots = {}
  if o.fewshot > 0 and this.kind ~= "rolling" then
    local split = this.shots.split or this.split
    local from, theirs = path, shared
    if split ~= this.split then from, theirs = rows.file(o.data, this, split, false) end
    shots = shots_for(this, docs, rows.of_task(from, this, theirs), o.fewshot, o.fewshot_seed)
  end
  for k, doc in ipairs(docs) do
    if this.kind == "rolling" then
      doc.requests = { { "", this:cleaned(doc.item.text) } }
    else
      doc.requests = this:requests(doc.item, shots[k] or {})
    end
  end
  return docs, original
end

-- The requests of documents as tokens: all in one list, the numbers of each document's, and which are of which text.
local function encoded(docs, encoder, longest, rolling)
  local requests, groups = {}, {}
  for k, doc in ipairs(docs) do
    local list = rolling and encoder:windows(doc.requests[1][2], longest, doc.where)
      or encoder:pairs(doc.requests, doc.where)
    doc.first, doc.count = #requests + 1, #list
    local group = {}
    for _, request in ipairs(list) do
      requests[#requests + 1] = request
      group[#group + 1] = #requests
    end
    if rolling then
      for _, number in ipairs(group) do groups[#groups + 1] = { number } end
    else
      groups[k] = group
    end
  end
  return requests, groups
end

local function score(docs, scored, rolling)
  for _, doc in ipairs(docs) do
    doc.sums, doc.greedy = {}, {}
    local total = 0
    for k = 0, doc.count - 1 do
      local result = scored[doc.first + k]
      doc.sums[k + 1], doc.greedy[k + 1], total = result.sum, result.greedy, total + result.sum
    end
    if rolling then doc.sums, doc.greedy = { total }, {} end
  end
end

-- ---- results ---------------------------------------------------------------------------------------------------

local function put(into, metric, value, stderr)
  local label = metrics.label(metric)
  into[label .. ",none"], into[label .. "_stderr,none"] = value, stderr or "N/A"
end

-- What a task's documents give, into the result.
local function measure(this, docs, original, o, result, samples)
  local of, own = { name = this.name, alias = this.alias, sample_len = #docs }, metrics_of(this, o.metrics)
  local values, higher = {}, {}
  for _, metric in ipairs(own) do
    local value, stderr, each = metrics.of(metric, docs, o.bootstrap)
    put(of, metric, value, stderr)
    values[metric], higher[metrics.label(metric)] = each, metrics.find(metric).higher
  end
  result.results[this.name], result.versions[this.name], result.higher_is_better[this.name] = of, this.version, higher
  result["n-shot"][this.name] = this.kind == "rolling" and 0 or o.fewshot
  result["n-samples"][this.name] = { original = original, effective = #docs }
  result.configs[this.name] = { task = this.name, dataset_path = this.source, test_split = this.split, num_fewshot =
    o.fewshot, description = this.description, target_delimiter = this.delimiter, fewshot_delimiter = this.separator,
    metric_list = own, file = this.path }
  if not o.samples then return end
  samples[this.name] = {}
  for k, doc in ipairs(docs) do
    local at = {}
    for metric, each in pairs(values) do at[metric] = each[k] end
    samples[this.name][k] = results.sample(doc, at)
  end
end

-- Tasks below a group, groups in it taken apart.
local function leaves(inside, group)
  local list = {}
  for _, child in ipairs(inside[group]) do
    if inside[child] then
      for _, leaf in ipairs(leaves(inside, child)) do list[#list + 1] = leaf end
    else
      list[#list + 1] = child
    end
  end
  return list
end

local function add_group(group, inside, result)
  local of, members, higher = { name = group.name, alias = group.alias, sample_len = 0 }, leaves(inside, group.name), {}
  of.sample_count = {}
  for _, member in ipairs(members) do
    of.sample_len = of.sample_len + result.results[member].sample_len
  end
  local parts = {}
  for k, member in ipairs(members) do
    local from = result.results[member]
    if from["acc,none"] == nil then return end
    local stderr = from["acc_stderr,none"]
    parts[k] = { value = from["acc,none"], stderr = stderr ~= "N/A" and stderr or nil, n = from.sample_len }
  end
  put(of, "acc", metrics.pooled(parts))
  of.sample_count = { ["acc,none"] = of.sample_len }
  higher.acc = true
  result.results[group.name], result.versions[group.name], result.higher_is_better[group.name] = of, group.version,
    higher
  result.groups = result.groups or {}
  result.groups[group.name], result["n-shot"][group.name] = of, result["n-shot"][members[1]]
end

local function new_result(model, o)
  local tokenizer = o.tokenizer or model:tokenizer()
  local count = model:count()
  local function token(id) return id and core.list { tokenizer:decode { id }, tostring(id) } or nil end
  local origin = require "sonde.io.origin"
  return {
    results = {}, group_subtasks = {}, configs = {}, versions = {}, ["n-shot"] = {}, higher_is_better = {},
    ["n-samples"] = {}, model_source = "sonde", model_name = o.name, model_name_sanitized = results.sanitized(o.name),
    config = { model = "sonde", model_args = { pretrained = o.name, dtype = o.dtype },
      model_num_parameters = count.total, batch_size = o.batch_tokens, limit = o.limit, bootstrap_iters = o.bootstrap,
      fewshot_seed = o.fewshot_seed, device = "cpu" },
    date = os.time(), max_length = o.context or model.config.context,
    tokenizer_eos_token = token(origin.end_tokens(model)[1]), sonde_version = core.version,
  }
end

-- The tasks of the options with their documents: {task, docs, original} each; and the groups they are chosen by.
local function gather(o)
  local found = task.load(o.task_files)
  local list, inside = chosen(found, o.tasks)
  for k, this in ipairs(list) do
    local docs, original = documents(this, o)
    list[k] = { task = this, docs = docs, original = original }
  end
  return list, inside, found
end

---@private
--- Raises where the tasks or their data are not there, or do not fit.
---@param options table     checked
function tasks.check(options)
  gather(options)
end

--- Evaluates a model on tasks; the result has the keys of lm-evaluation-harness's results file.
---
---     local result, samples = sonde.evaluate_tasks(model, { tasks = { "piqa", "arc_easy" }, data = "data/eval" })
---     print(result.results.piqa["acc,none"], result.results.piqa["acc_stderr,none"])
---
---@param model sonde.model
---@param options table           see tasks.schema
---@param given? {tokenizer: sonde.tokenizer, name: string}   where the model has none of its own
---@return table result, table<string, table[]> samples
function tasks.evaluate(model, options, given)
  local o = args.check(tasks.schema, options, "evaluate_tasks")
  for key, value in pairs(given or {}) do o[key] = value end
  o.name = o.name or model.origin and model.origin.dir or "model"
  local list, inside, found = gather(o)
  local encoder = encode.new(model, { tokenizer = o.tokenizer, add_bos = o.add_bos, prefix = o.prefix_token })
  local greedy = o.samples
  for _, each in ipairs(list) do greedy = greedy or each.task.kind == "cloze" end
  local scorer = likelihood.scorer(model, { context = o.context, tokens = o.batch_tokens, dtype = o.dtype,
    greedy = greedy, each = false })
  local result, samples, start = new_result(model, o), {}, core.seconds()
  for k, each in ipairs(list) do
    local rolling = each.task.kind == "rolling"
    local requests, groups = encoded(each.docs, encoder, scorer.longest, rolling)
    local scored = scorer:run(requests, groups, o.progress and function(share) o.progress((k - 1 + share) / #list) end)
    score(each.docs, scored, rolling)
    measure(each.task, each.docs, each.original, o, result, samples)
    each.docs = nil
  end
  scorer:close()
  result.group_subtasks = inside
  for _, group in ipairs(sorted_keys(inside)) do add_group(found.groups[group], inside, result) end
  result.total_evaluation_time_seconds = string.format("%.3f", core.seconds() - start)
  result.work = scorer.work
  return result, samples
end

return args.declare(tasks, "sonde.", {
  evaluate = {
    as = "sonde.evaluate_tasks",
    { name = "model", type = "model", required = true }, { name = "options", type = "table", required = true },
    { name = "given", type = "table" },
  },
})
