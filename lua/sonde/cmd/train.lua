--- train - trains the model of a configuration.

local current = require "sonde.base.current"
local output = require "sonde.base.output"

local function open_corpus(section, where)
  local corpus = require "sonde.data"
  local source, options = corpus.section(section, where)
  return corpus.open(source, options, where)
end

-- The run folder: --dir, or the configuration's, or runs/NAME/0 by the name of the file.
local function run_dir(options, section)
  if options.dir or section.dir then return options.dir or section.dir end
  local name = string.match(options.config, "([^/]+)$")
  return "runs/" .. string.gsub(name, "%.ya?ml$", "") .. "/0"
end

return {
  summary = "train the model of a YAML configuration",
  usage = "CONFIG.yaml [options]",
  details = "Sections of the configuration: model (as sonde.transformer), corpus (a name or path, or source: and\n"
    .. "options), train (as sonde.train). The same command resumes a run that was stopped or killed; exit status 3\n"
    .. "says that it was stopped (by INT, TERM, HUP, USR1, USR2 or XCPU) after a checkpoint, and can go on.",
  positional = { { name = "config", type = "string", required = true, doc = "the configuration" } },
  options = {
    { name = "dir", type = "string", value = "DIR", doc = "run folder; default: the configuration's, or runs/NAME/0" },
    { name = "save", type = "string", value = "DIR", doc = "folder to save the model in; default: RUN/model" },
    output.json,
    current.flags[1], current.flags[2],
  },
  example = "sonde train small.yaml --threads 2",
  run = function(options)
    local sonde, front = require "sonde", require "sonde.base.front"
    local modelconfig, transformer = require "sonde.train.config", require "sonde.model.transformer"
    current.take_flags(options)
    local sections, where = modelconfig.load(options.config)
    front.begin()
    local corpus = open_corpus(sections.corpus, where "corpus")
    local model_options, train_options = sections.model, sections.train
    if model_options.vocab == nil then model_options.vocab = corpus.vocab end
    local model = transformer.new(model_options, where "model")
    train_options.dir = run_dir(options, train_options)
    train_options.save = options.save or train_options.save or train_options.dir .. "/model"
    local result = sonde.train(model, corpus, train_options, where "train")
    if options.json then
      output.print_json(result)
    elseif not result.diverged then
      local what = string.format("%s loss %.4f", result.validated and "validation" or "no validation text: training",
        result.loss)
      if result.perplexity then what = what .. string.format("  perplexity %.2f", result.perplexity) end
      print(string.format("%s  %d steps, %d tokens, %.0f tokens/s  in %s", what, result.steps, result.tokens,
        result.tokens_per_s, result.run_dir))
      if result.stopped then print("ended early: " .. result.stopped) end
    end
    if result.diverged then error("the training diverged: " .. result.diverged, 0) end
  end,
}
