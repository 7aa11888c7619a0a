--- generate - text from a model folder, as it is chosen.

local core = require "sonde.core"
local clean = require("sonde.report_html").clean      -- bytes that are no character become U+FFFD

-- Prints the text of a growing list of tokens; an unfinished character waits for its other bytes.
local function printer(tokenizer)
  local tokens, shown = {}, 0
  return function(token)
    tokens[#tokens + 1] = token
    local text = tokenizer:decode(tokens, true)
    local cut = #text
    while cut > shown and string.byte(text, cut) >= 128 and #text - cut < 3 do cut = cut - 1 end
    if string.byte(text, #text) and string.byte(text, #text) < 128 then cut = #text end
    io.write(string.sub(text, shown + 1, cut))
    io.flush()
    shown = math.max(shown, cut)
  end, function()
    io.write(string.sub(tokenizer:decode(tokens, true), shown + 1))
    io.flush()
  end
end

return {
  summary = "text from a model folder, continuing a prompt",
  usage = "--model DIR --prompt TEXT [options]",
  details = "The text is printed as it is chosen. The same seed gives the same text, at any number of threads.",
  options = {
    { name = "model", type = "string", required = true, value = "DIR", doc = "a model folder with its tokenizer" },
    { name = "prompt", type = "string", required = true, value = "TEXT", doc = "what the text begins with" },
    { name = "tokens", type = "integer", min = 1, preset = 100, doc = "tokens to generate, at most" },
    { name = "temperature", type = "number", min = 0, preset = 0.8, doc = "divides the logits; 0: always the likeliest token" },
    { name = "top_k", type = "integer", min = 0, preset = 0, doc = "choose among the k likeliest; 0: all" },
    { name = "top_p", type = "number", min = 0, max = 1, preset = 1, doc = "choose among the likeliest that hold this probability" },
    { name = "seed", type = "integer", min = 0, preset = 0, doc = "of the choices" },
    { name = "dtype", type = "string", choices = { "f32", "bf16" }, preset = "f32", doc = "of matrix products" },
    { name = "json", type = "boolean", preset = false, doc = "the result as a JSON object" },
  },
  example = 'sonde generate --model runs/depth/0/model --prompt "In the beginning" --temperature 0.7',
  run = function(options)
    local sonde, generate = require "sonde", require "sonde.generate"
    local model = sonde.load(options.model)
    local tokenizer = model:tokenizer()
    local encoded, prompt = tokenizer:encode(options.prompt), {}
    for k = 1, encoded:count() do prompt[k] = encoded:get(k) end
    local show, finish = printer(tokenizer)
    if not options.json then io.write(options.prompt) end
    local tokens, speed = generate.tokens(model, { prompt }, {
      tokens = options.tokens, temperature = options.temperature, top_k = options.top_k, top_p = options.top_p,
      seed = options.seed, dtype = options.dtype, stop = tokenizer:eot(),
      each = function(list)
        if not options.json and list[1] ~= tokenizer:eot() then show(list[1]) end
      end,
    })
    if options.json then
      print(core.json_encode({ prompt = options.prompt, text = clean(tokenizer:decode(tokens[1], true)), tokens = tokens[1],
        tokens_per_s = speed.tokens_per_s, prefill_seconds = speed.prefill_seconds }, 2))
    else
      finish()
      io.write("\n")
    end
  end,
}
