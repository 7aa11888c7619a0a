--- export - a model for other programs: a folder for transformers, or a GGUF file for llama.cpp.

local export = require "sonde.io.export"
local output = require "sonde.base.output"

local function options_of_command()
  local list = {
    { name = "model", type = "string", required = true, value = "DIR",
      doc = "a model folder, or a checkpoint of llama2.c (.bin)" },
    require("sonde.io").placement,
    { name = "tokenizer", type = "string", value = "FILE", doc = "a tokenizer for the model, in place of its own" },
    { name = "out", type = "string", some = true, required = true, value = "PATH",
      doc = "the new folder, or the file NAME.gguf" },
  }
  for _, field in ipairs(export.schema) do list[#list + 1] = field end
  list[#list + 1] = output.json
  return list
end

return {
  summary = "a model for other programs: for transformers, or for llama.cpp",
  usage = "--model DIR --out PATH [options]",
  details = "A folder opens in transformers as it is where its architecture is one of theirs. LayerNorm Scaling,\n"
    .. "LayerScale and others are folded into the weights, which is exact, and give a plain Llama; for the other\n"
    .. "norms and placements the folder holds code for transformers (trust_remote_code=True). A GGUF file has the\n"
    .. "vocabulary inside. doc/models.md says what opens where.",
  options = options_of_command(),
  example = "sonde export --model runs/depth/0/model --out model.gguf --dtype bf16",
  run = function(options)
    local sonde = require "sonde"
    local model = require("sonde.io").of_command(options):check_finite()
    local facts = sonde.export(model, options.out, {
      format = options.format, dtype = options.dtype, shard_size = options.shard_size, fold = options.fold,
      vocabulary = options.vocabulary, tokenizer = options.tokenizer and sonde.tokenizer(options.tokenizer) or nil,
    })
    facts.out = options.out
    if options.json then return output.print_json(facts) end
    for _, text in ipairs(facts.folded) do print("folded: " .. text) end
    print(string.format("%s: %s, %s; opens in %s", options.out, facts.architecture, facts.dtype, facts.opens))
  end,
}
