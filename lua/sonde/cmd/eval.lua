--- eval - loss and perplexity of a model folder on a text file; accuracy and perplexity on downstream tasks.

local output = require "sonde.base.output"

local function on_text(options, model, sonde)
  local windows = require "sonde.data.windows"
  local tokens, bytes = windows.read(model, options.text, options)
  windows.note(model, options.context or 0, "windows")
  local result = sonde.evaluate(model, tokens, {
    context = options.context, batch = options.batch, dtype = options.dtype, bytes = bytes,
    document_mask = options.document_mask, document_positions = options.document_positions,
  })
  if result.loss - result.loss ~= 0 then
    error(options.model .. ": the loss is not finite: the weights are too large", 0)
  end
  if options.json then
    output.print_json(result)
  else
    print(string.format("loss %.6f  perplexity %.4f  bits per byte %.4f  (%d tokens predicted in windows of %d, %d "
      .. "bytes)",
      result.loss, result.perplexity, result.bits_per_byte, result.tokens, result.context, result.bytes))
  end
end

local function show_tables(result, options)
  local results = require "sonde.eval.results"
  print(string.format("sonde (pretrained=%s,dtype=%s), gen_kwargs: (None), limit: %s, num_fewshot: %d, batch_size: %d",
    options.model, options.dtype, options.limit or "None", options.fewshot or 0, result.config.batch_size))
  print(results.pipe_table(result))
  if result.groups then print("\n" .. results.pipe_table(result, "Groups")) end
end

local function on_tasks(options, model, sonde)
  require("sonde.data.windows").note_unused(model)
  local context = options.context or model.config.context
  local result, samples = sonde.evaluate_tasks(model, {
    tasks = options.tasks, data = options.data, task_files = options.task_files, fewshot = options.fewshot,
    limit = options.limit, metrics = options.metrics, add_bos = options.add_bos, prefix_token = options.prefix_token,
    context = options.context, batch_tokens = options.batch and math.max(64, options.batch * context) or nil,
    bootstrap = options.bootstrap, samples = options.log_samples, dtype = options.dtype,
  }, { name = options.model })
  if options.out then
    local paths = require("sonde.eval.results").save(result, options.log_samples and samples or nil, options.out)
    io.stderr:write("sonde: wrote ", paths[1], #paths > 1 and " and samples_*.jsonl beside it" or "", "\n")
  end
  if options.json then
    result.samples = options.log_samples and not options.out and samples or nil
    output.print_json(result)
  else
    show_tables(result, options)
  end
end

local function on_rows(options, sonde)
  local n = sonde.convert_tasks(options.tasks[1], options.convert, options.out, options.task_files)
  io.stderr:write(string.format("sonde: wrote %d rows of %s to %s\n", n, options.tasks[1], options.out))
end

-- Options of one use that another has none for.
local uses = {
  text = { "field", "skip", "special", "document_mask", "document_positions" },
  tasks = { "data", "fewshot", "limit", "metrics", "add_bos", "prefix_token", "bootstrap", "log_samples" },
}

local function use_of(options)
  return options.convert and "convert" or options.tasks and "tasks" or options.text and "text"
end

local function check(options)
  local use = use_of(options)
  if not use then return "give --text FILE, or --tasks NAMES with --data FOLDER" end
  if options.text and options.tasks then return "give --text or --tasks, not both" end
  if use == "convert" and #(options.tasks or {}) ~= 1 then
    return "--convert needs --tasks NAME, whose rows they are"
  end
  if use == "convert" and not options.out then return "--convert needs --out, the file to write" end
  if use == "tasks" and not options.data then return "--tasks needs --data, the folder of the tasks' data" end
  if use ~= "convert" and not options.model then return "option --model is missing: a model folder" end
  for of, list in pairs(uses) do
    for _, name in ipairs(of ~= use and list or {}) do
      if options[name] then return "--" .. name:gsub("_", "-") .. " has no effect without --" .. of end
    end
  end
end

-- Names on lines of a terminal's width.
local function wrapped(list)
  local lines, line = {}, "  "
  for k, name in ipairs(list) do
    if #line + #name > 100 then lines[#lines + 1], line = line, "  " end
    line = line .. name .. (k < #list and ", " or "")
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n")
end

local names = { name = "name", type = "string", doc = "" }

return {
  summary = "loss and perplexity of a model folder on a text file, or accuracy on downstream tasks",
  usage = "--model DIR --text FILE | --model DIR --tasks A,B --data DIR [options]",
  details = function()
    local found = require("sonde.eval.task").load()
    local list = {}
    for _, name in ipairs(require "sonde.base.sorted_keys"(found.tasks)) do
      if not next(found.tasks[name].word) then list[#list + 1] = name end
    end
    for _, name in ipairs(require "sonde.base.sorted_keys"(found.groups)) do list[#list + 1] = name end
    return "The text is one stream of tokens, cut into windows of the context; nothing is added that the tokenizer\n"
      .. "does not add, but for the end-of-text token behind each document of a .jsonl, or of a text whose documents\n"
      .. "are parted by lines that hold only <|endoftext|>. The loss is the mean over the predicted tokens, in nats.\n"
      .. "\nTasks have the prompts and metrics of lm-evaluation-harness; their data is a folder of JSON lines\n"
      .. "(doc/evaluation.md). Tasks and groups:\n" .. wrapped(list)
  end,
  options = require("sonde.data.windows").with_reading {
    { name = "model", type = "string", value = "DIR", doc = "a model folder, of Sonde or of Hugging Face" },
    require("sonde.io").placement,
    { name = "text", type = "string", value = "FILE", doc = "the text; .jsonl, .gz and .zst too; - is standard input" },
    { name = "context", type = "integer", min = 1, max = 1048576,
      doc = "tokens of a window, or that the model takes of a task's text; default: the model's context (of a text at "
        .. "most 4096)" },
    { name = "batch", type = "integer", min = 1, max = 1048576,
      doc = "windows or contexts computed at once; default: some thousand tokens" },
    { name = "dtype", type = "string", choices = { "f32", "bf16" }, preset = "f32", doc = "of matrix products" },
    { name = "document_mask", type = "boolean", preset = false,
      doc = "attention keeps the documents of a window apart (end-of-text parts them)" },
    { name = "document_positions", type = "boolean", preset = false,
      doc = "with --document-mask: positions count in each document anew" },
    { name = "tasks", type = "list", of = names, value = "A,B", doc = "tasks and groups to evaluate" },
    { name = "data", type = "string", value = "DIR", doc = "folder of the tasks' data" },
    { name = "task_files", type = "list", of = names, value = "PATH",
      doc = "more tasks: YAML files or folders of them" },
    { name = "fewshot", type = "integer", min = 0, max = 1000, doc = "solved examples in front of each prompt" },
    { name = "limit", type = "number", min = 0, doc = "documents of a task; below 1: a share of them" },
    { name = "metrics", type = "list", of = names, value = "A,B",
      doc = "more metrics than the tasks' own (acc_bytes)" },
    { name = "add_bos", type = "boolean", doc = "begin each text with the token that begins a text; --no-add-bos: "
      .. "never; default: as the tokenizer does" },
    { name = "prefix_token", type = "integer", min = 0, doc = "id of the token in front of a text without context" },
    { name = "bootstrap", type = "integer", min = 0,
      doc = "resamples of bootstrapped errors; default: 100000; 0: none" },
    { name = "log_samples", type = "boolean", preset = false, doc = "write what was scored of each document too" },
    { name = "out", type = "string", some = true, value = "DIR", doc = "folder for the results file, and the samples" },
    { name = "convert", type = "string", value = "FILE",
      doc = "with --tasks NAME --out FILE: rows of a data set of the hub to the documented form" },
    output.json,
  },
  example = "sonde eval --model runs/depth/0/model --text book.txt --json",
  check = check,
  run = function(options)
    local use, sonde = use_of(options), require "sonde"
    if use == "convert" then return on_rows(options, sonde) end
    local model = require("sonde.io").of_command(options):check_finite()
    if use == "text" then on_text(options, model, sonde) else on_tasks(options, model, sonde) end
  end,
}
