--- teach - a teacher's cache for a training.

local output = require "sonde.base.output"
local teach = require "sonde.distill.teach"

local function options_of_command()
  local list = {
    { name = "model", type = "string", required = true, value = "DIR", doc = "the teacher: a model folder" },
    require("sonde.io").placement,
    { name = "corpus", type = "string", value = "SOURCE",
      doc = "the training's text, in the teacher's tokens: a file, a folder, a pattern, \"default\"" },
    { name = "config", type = "string", value = "FILE",
      doc = "in its place the training's configuration: its corpus, context, seed, temperature and length" },
  }
  for _, field in ipairs(teach.schema) do
    local own = {}      -- without a default: the configuration's values count where the command line says nothing
    for key, value in pairs(field) do own[key] = value end
    if field.name == "seed" or field.name == "temperature" then
      own.preset, own.doc = nil, string.format("%s (default: %g)", field.doc, field.preset)
    end
    list[#list + 1] = own
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
  if type(train.distill) == "table" then o.temperature = o.temperature or train.distill.temperature end
  local batch, steps = (train.batch or 16) * (train.accumulate or 1), train.steps
  if not o.tokens then
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

return {
  summary = "a teacher's cache: its likeliest tokens at each place of a training's text",
  usage = "--model DIR --corpus SOURCE --out FILE [options]",
  details = "A training whose option teacher is the file learns from it without computing the teacher. The file is of\n"
    .. "one text, context and seed. Killed, the same command goes on where it was. doc/distillation.md says what is\n"
    .. "lost: all but the K likeliest tokens, whose sum is kept.",
  options = options_of_command(),
  example = "sonde teach --model teacher --config book.yaml --top-k 64 --out book.teach",
  run = function(options)
    require "sonde"
    local model, o = require("sonde.io").of_command(options), {}
    for _, field in ipairs(teach.schema) do o[field.name] = options[field.name] end
    if (options.corpus == nil) == (options.config == nil) then
      error("teach takes either --corpus, the text, or --config, the training's configuration", 0)
    end
    local corpus = options.config and by_config(options, o, model) or open(options.corpus, {}, model)
    local result = teach.make(model, corpus, o)
    if options.json then return output.print_json(result) end
    show(result)
  end,
}
