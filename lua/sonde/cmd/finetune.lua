--- finetune - trains a model folder on prompts and responses.

local core = require "sonde.core"
local args = require "sonde.base.args"
local current = require "sonde.base.current"
local finetune = require "sonde.train.finetune"
local output = require "sonde.base.output"

-- The options of a configuration file, checked by the schema of the command: what the command line gives wins.
local function with_config(options, schema)
  if not options.config then return options end
  local tree, document = core.yaml_load(options.config)
  if type(tree) ~= "table" then error(options.config .. ": holds no options", 0) end
  local function where(path)
    local keys = {}
    for k, key in ipairs(path) do keys[k] = type(key) == "number" and string.format("%d", key - 1) or key end
    return document:where(table.concat(keys, ".")) .. ": "
  end
  local all = args.check(schema, tree, "finetune", where)
  for key, value in pairs(options) do all[key] = value end
  return all
end

local function check_out(options)
  local kind = core.exists(options.save)
  if kind == "file" or kind and #core.list_dir(options.save) > 0 then
    error(options.save .. ": there is something already; name a new folder with --save", 0)
  end
end

local model_fields = {
  { name = "model", type = "string", value = "DIR", doc = "a model folder, of Sonde or of another program" },
  { name = "data", type = "string", value = "FILE", doc = "prompts and responses, JSON lines; .gz and .zst too" },
}

-- The options of the library as those of a command, without presets: absent ones are the configuration's.
local function command_fields()
  local list = { model_fields[1], model_fields[2], require("sonde.io").placement }
  for _, field in ipairs(finetune.schema) do
    if field.name ~= "train" then
      local copy = {}
      for key, value in pairs(field) do copy[key] = value end
      if field.name == "template" then copy.type, copy.doc = "string", "what a prompt is put into, as {prompt}" end
      if field.preset ~= nil and field.name ~= "template" and field.preset ~= 0 then
        copy.doc = copy.doc .. "; default: " .. tostring(field.preset)
      end
      copy.preset = nil
      list[#list + 1] = copy
    end
  end
  list[#list + 1] = output.json
  for _, flag in ipairs(current.flags) do list[#list + 1] = flag end
  return list
end

-- Those of a configuration: model and data, and all of the library's.
local function config_fields()
  local list = { model_fields[1], model_fields[2] }
  for _, field in ipairs(finetune.schema) do list[#list + 1] = field end
  return list
end

local function say(facts, options)
  local training = facts.training
  print(string.format("%d examples in %d rows of %d tokens; the loss is on %d of %d tokens", facts.examples, facts.rows,
    facts.context, facts.learned, facts.tokens))
  if facts.cut + facts.left_out > 0 then
    print(string.format("%d examples were cut off at the end of a row, %d left out: their prompts fill one", facts.cut,
      facts.left_out))
  end
  print(string.format("%s %.4f after %d steps, %.4g epochs", training.validated and "validation loss"
    or "training loss", training.loss, training.steps, training.tokens / facts.context / facts.rows))
  print("model: " .. options.save)
end

return {
  summary = "train a model folder on prompts and responses (SFT)",
  usage = "[CONFIG.yaml] --model DIR --data FILE.jsonl --save DIR [options]",
  details = "A row has a prompt and a response ({prompt, response}, {instruction, input, output}, or {messages}). The\n"
    .. "loss is on the response alone. Examples are packed into rows without one seeing another. CONFIG.yaml\n"
    .. "can hold all options, and under its key train further ones of `sonde train`; doc/finetune.md has examples.",
  positional = { { name = "config", type = "string", doc = "a YAML file with these options" } },
  options = command_fields(),
  example = "sonde finetune --model base --data chat.jsonl --epochs 3 --save tuned",
  run = function(options)
    local sonde = require "sonde"
    current.take_flags(options)
    local json, placement = options.json, options.placement
    options = with_config(options, config_fields())
    for _, name in ipairs { "model", "data", "save" } do
      if not options[name] then error("option --" .. name .. " is missing, and no configuration gives it", 0) end
    end
    check_out(options)
    local model = require("sonde.io").of_command { model = options.model, placement = placement }
    local tuning = {}
    for _, field in ipairs(finetune.schema) do tuning[field.name] = options[field.name] end
    local facts = sonde.finetune(model, options.data, tuning)
    if facts.training.diverged then
      error("the training diverged: " .. facts.training.diverged .. "; try a smaller --lr. Nothing was saved", 0)
    end
    if json then output.print_json(facts) else say(facts, options) end
  end,
}
