-- Is the curse of depth in these models? The depth probes on any list of model folders, on one page.
--
-- The figures of "The Curse of Depth" (Sun et al., 2025) on open models: what the loss loses with each block, the angle
-- between the streams of any two blocks, and the variance of the stream; and the other probes of doc/probes.md. Each
-- model reads the text with its own tokenizer, so losses are compared by byte.
--
--   sonde run experiments/curse_in_families.lua --set models=[llama,mistral,qwen] --set text=book.txt
--
-- Settings stand in curse_in_families/demo.yaml; each can be changed: --set probes=[variance,layer_removal]
-- Other settings are another sweep: add --set name=NAME

local sonde = require "sonde"
local windows = require "sonde.data.windows"

local config = sonde.config "curse_in_families/demo.yaml"
local name = config.name
config.name = nil

local function given(key, what)
  if #config[key] == 0 then error("--set " .. key .. "=" .. what .. " is missing", 0) end
end
given("models", "[DIR,DIR,..]")
given("text", "FILE")

-- What the models are called: the folder's name, with the folder around it where that is not one name alone.
local folders, names = {}, {}
for k, dir in ipairs(config.models) do
  dir = dir:gsub("(.)/+$", "%1")
  local last, outer = dir:match "([^/]+)$", dir:match "([^/]+)/[^/]+$"
  local called = folders[last] and outer and outer .. "-" .. last or last
  if folders[called] then called = called .. "-" .. k end
  folders[called], names[k] = dir, called
end

sonde.quantity("bits_per_byte", {
  title = "Loss", axis = "loss (bits per byte)", log = false,
  doc = "Mean cross-entropy of the text by the byte: comparable between tokenizers.",
  look = "Where it is high the model does not know this kind of text, and what its blocks do there says little.",
})

local sweep = sonde.sweep {
  name = name, named_by = "--set name=NAME", title = "The curse of depth in families of models",
  question = "Do deep blocks of these models do less than early ones?", settings = config, grid = { model = names },
}

sweep:run(function(trial, p)
  local model = sonde.load(folders[p.model]):check_finite()
  local tokens, bytes = windows.read(model, config.text, {})
  local context = math.min(config.context, model.config.context, tokens:count() - 1)
  local values = sonde.probe(model, tokens, config.probes, {
    tokens = math.min(config.tokens, tokens:count()), context = context, seed = config.seed,
  })
  trial:report(values)
  local loss = sonde.evaluate(model, tokens, { context = context, tokens = math.min(config.loss_tokens,
    tokens:count()) }).loss
  trial:report { bits_per_byte = loss / math.log(2) * tokens:count() / bytes, loss = loss }
end)

sweep:summary { by = { "model" }, metric = "bits_per_byte" }
