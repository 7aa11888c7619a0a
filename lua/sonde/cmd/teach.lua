--- teach - what a teacher says, in a file for a student's training: its distributions (a cache), or its sequences.

local output = require "sonde.base.output"
local sequences = require "sonde.distill.sequences"
local teach = require "sonde.distill.teach"

-- Options of one kind of file alone, and what else the command line says of those of both. Without defaults: the
-- configuration's values count where the command line says nothing, and the two kinds have others.
local words = {
  top_k = "the K likeliest tokens are kept, all others as one (default: 64); with --sequences: choose among the k "
    .. "likeliest (default: all)",
  tokens = "for a training of so many tokens; default: one epoch of the text",
  context = "tokens of a row, or of a sequence with its prompt; default: the model's context",
  seed = "of the order of the text, and of the sampling (default: 0)",
  temperature = "that the training's distillation has (default: 1); with --sequences: of the sampling, 0 is always the "
    .. "likeliest token (default: 0)",
  sequences = "in place of a cache that many continuations of passages of the text: a corpus, FILE.tok or FILE.jsonl",
  prompt = "with --sequences: tokens of the text that each continues; default: a quarter of the context",
  top_p = "with --sequences: choose among the likeliest that hold this probability",
  out = "the cache, or the sequences",
}

local function options_of_command()
  local list, there = {
    { name = "model", type = "string", required = true, value = "DIR", doc = "the teacher: a model folder" },
    require("sonde.io").placement,
    { name = "corpus", type = "string", value = "SOURCE",
      doc = "the training's text, in the teacher's tokens: a file, a folder, a pattern, \"default\"" },
    { name = "config", type = "string", value = "FILE",
      doc = "in its place the training's configuration: its corpus, context, seed, temperature and length" },
  }, {}
  for _, schema in ipairs { teach.schema, sequences.schema } do
    for _, field in ipairs(schema) do
      local own = {}
      for key, value in pairs(field) do own[key] = value end
      own.doc, own.preset = words[field.name] or field.doc, nil
      own.required = field.name == "out"
      if field.name == "top_k" or field.name == "temperature" then own.min = 0 end
      if not there[field.name] then list[#list + 1] = own end
      there[field.name] = true
    end
  end
  list[#list + 1] = output.json
  return list
end

-- The text in the teacher's tokens.
local function open(source, options, model)
  local corpus = require "sonde.data"
  if options.tokenizer == nil and options.vocab == nil and not corpus.has_tokens(source) and model.folder then
    options.tokenizer = require("sonde.io.origin").tokenizer_path(model.folder)
  end
  return corpus.open(source, options)
end

-- What a configuration says of the training, where the command line says nothing.
local function by_config(options, o, model)
  local sections, where = require("sonde.train.config").load(options.config)
  local source, corpus_options = require("sonde.data").section(sections.corpus, where "corpus")
  local train = sections.train
  o.context = o.context or train.context or sections.model.context
  o.seed = o.seed or train.seed or sections.model.seed
  if type(train.distill) == "table" and not o.sequences then
    o.temperature = o.temperature or train.distill.temperature
  end
  local batch, steps = (train.batch or 16) * (train.accumulate or 1), train.steps
  if not o.tokens and not o.sequences then
    steps = steps or train.tokens and math.ceil(train.tokens / (batch * (o.context or model.config.context)))
    o.tokens = steps and steps * batch * (o.context or model.config.context)
  end
  return open(source, corpus_options, model)
end

local function show(result)
  print(string.format("%s: %d rows of %d tokens, the %d likeliest of each, %d bytes a token", result.out, result.rows,
    result.context, result.top_k, result.bytes_per_token))
  print(string.format("not kept: probability %.4g a token, and %.4g nats of entropy among what it is of", result.rest,
    result.lost_entropy))
  print(string.format("rounding: total variation %.2g a token, %.2g at most", result.rounding, result.worst_rounding))
end

local function show_sequences(result)
  print(string.format("%s: %d sequences, %d tokens; %d of them end their text, the others were cut at %d tokens",
    result.out, result.sequences, result.tokens, result.ended, result.context))
end

-- The options of one kind of file; those of the other alone are refused.
local function options_for(options)
  local schema, other = teach.schema, sequences.schema
  if options.sequences then schema, other = other, schema end
  local o, known = {}, {}
  for _, field in ipairs(schema) do o[field.name], known[field.name] = options[field.name], true end
  for _, field in ipairs(other) do
    if not known[field.name] and options[field.name] ~= nil then
      local name = string.gsub(field.name, "_", "-")
      error("--" .. name .. (options.sequences and " does not go with --sequences" or " needs --sequences"), 0)
    end
  end
  return o
end

return {
  summary = "what a teacher says, for a student's training: its likeliest tokens at each place, or its sequences",
  usage = "--model DIR --corpus SOURCE --out FILE [options]",
  details = "A training whose option teacher is the file learns from it without computing the teacher. The file is of\n"
    .. "one text, context and seed. With --sequences it is a corpus to train a student on: what the teacher continues\n"
    .. "passages of the text with. Killed, the same command goes on where it was. doc/distillation.md says\n"
    .. "what is lost.",
  options = options_of_command(),
  example = "sonde teach --model teacher --config book.yaml --top-k 64 --out book.teach",
  run = function(options)
    require "sonde"
    local model, o = require("sonde.io").of_command(options), options_for(options)
    if (options.corpus == nil) == (options.config == nil) then
      error("teach takes either --corpus, the text, or --config, the training's configuration", 0)
    end
    local corpus = options.config and by_config(options, o, model) or open(options.corpus, {}, model)
    local result = (o.sequences and sequences or teach).make(model, corpus, o)
    if options.json then return output.print_json(result) end
    local print_it = o.sequences and show_sequences or show
    print_it(result)
  end,
}
