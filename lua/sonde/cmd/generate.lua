--- generate - text from a model folder, as it is chosen.

local core = require "sonde.core"
local output = require "sonde.base.output"
local pieces = require "sonde.eval.pieces"
local clean = pieces.clean

-- The prompts of the command line and of the file, and each as a list of tokens.
local function prompts_of(options)
  local prompts = options.prompt or {}
  if options.prompts then
    for _, line in ipairs(core.text_lines(options.prompts)) do prompts[#prompts + 1] = line end
  end
  if #prompts == 0 then error("there is no prompt; give --prompt TEXT, or --prompts FILE with one a line", 0) end
  for k, prompt in ipairs(prompts) do
    if options.json and clean(prompt) ~= prompt then
      error("prompt " .. k .. " is not UTF-8, as JSON must be; leave out --json", 0)
    end
  end
  return prompts
end

local function encoded(tokenizer, prompts)
  local lists, longest = {}, 0
  for k, prompt in ipairs(prompts) do
    lists[k] = tokenizer:encode(prompt):values()
    longest = math.max(longest, #lists[k])
  end
  return lists, longest
end

-- What ends a text: the folder's end tokens and those of --stop, as a set and a list; and the texts of --stop that are
-- no tokens.
local function stops_of(options, model, tokenizer)
  local set, list, texts = {}, {}, {}
  local function add(token)
    if not set[token] then set[token], list[#list + 1] = true, token end
  end
  for _, token in ipairs(model:end_tokens()) do
    if token >= 0 then add(token) end      -- -1 in a folder: there is none
  end
  for _, word in ipairs(options.stop or {}) do
    if word == "" then error("--stop needs a token or a text", 0) end
    local token = tokenizer:special(word) or string.match(word, "^%d+$") and tonumber(word)
    if token then add(token) else texts[#texts + 1] = word end
  end
  return set, list, texts
end

local function as_json(prompts, texts, tokens, speed)
  local list = core.list()
  for k, prompt in ipairs(prompts) do list[k] = { prompt = prompt, text = clean(texts[k]), tokens = tokens[k] } end
  local all = #list == 1 and list[1] or { prompts = list }
  all.tokens_per_s, all.prefill_seconds = speed.tokens_per_s, speed.prefill_seconds
  return all
end

return {
  summary = "text from a model folder, continuing a prompt",
  usage = "--model DIR --prompt TEXT [options]",
  details = "The text is printed as it is chosen; of several prompts when all are done, one below the other. The same\n"
    .. "seed gives the same text, at any number of threads; prompts of one length are computed together. Special\n"
    .. "tokens that a prompt spells are tokens (in texts of eval and training they are letters).",
  options = {
    { name = "model", type = "string", required = true, value = "DIR", doc = "a model folder with its tokenizer" },
    require("sonde.io").placement,
    { name = "prompt", type = "list", repeated = true, value = "TEXT",
      of = { name = "prompt", type = "string", doc = "" },
      doc = "what the text begins with; give it again for each further text" },
    { name = "prompts", type = "string", value = "FILE", doc = "a file of prompts, one a line; - is standard input" },
    { name = "tokens", type = "integer", min = 1, max = 2 ^ 30, preset = 100, doc = "tokens to generate, at most" },
    { name = "temperature", type = "number", min = 0, preset = 0.8,
      doc = "divides the logits; 0: always the likeliest token" },
    { name = "top_k", type = "integer", min = 0, preset = 0, doc = "choose among the k likeliest; 0: all" },
    { name = "top_p", type = "number", min = 0, max = 1, preset = 1,
      doc = "choose among the likeliest that hold this probability" },
    { name = "stop", type = "list", repeated = true, value = "TOKEN", of = { name = "stop", type = "string", doc = "" },
      doc = "ends a text too, beside the folder's end tokens: a special token, a token's number, or any text; give it "
        .. "again" },
    { name = "seed", type = "integer", min = 0, preset = 0, doc = "of the choices" },
    { name = "dtype", type = "string", choices = { "f32", "bf16" }, preset = "f32", doc = "of matrix products" },
    output.json,
  },
  example = 'sonde generate --model runs/depth/0/model --prompt "In the beginning" --temperature 0.7',
  run = function(options)
    local sonde, windows = require "sonde", require "sonde.data.windows"
    local prompts = prompts_of(options)
    local model = require("sonde.io").of_command(options):check_finite()
    local tokenizer = model:tokenizer()
    windows.note_unused(model)
    local lists, longest = encoded(tokenizer, prompts)
    windows.note(model, longest + options.tokens, "texts")
    local _, list_of_stops, stop_texts = stops_of(options, model, tokenizer)
    local prints, begun, streams, texts = #prompts == 1 and not options.json, false, {}, {}
    for k, list in ipairs(lists) do streams[k], texts[k] = pieces.stream(tokenizer, list, stop_texts), "" end
    local function show(number, text)
      texts[number] = texts[number] .. text
      if not prints then return end
      if not begun then io.write(prompts[1]) end      -- only now has nothing failed
      begun = true
      io.write(text)
      io.flush()
    end
    local tokens, speed = sonde.generate(model, lists, {
      tokens = options.tokens, temperature = options.temperature, top_k = options.top_k, top_p = options.top_p,
      seed = options.seed, dtype = options.dtype, stop = list_of_stops,
      ends = function(number, token)
        show(number, streams[number]:add(token))
        return streams[number].ended
      end,
    })
    for k, stream in ipairs(streams) do show(k, stream:finish()) end
    if prints then
      print ""
    elseif options.json then
      output.print_json(as_json(prompts, texts, tokens, speed))
    else
      for k, text in ipairs(texts) do print((k > 1 and "\n" or "") .. prompts[k] .. text) end
    end
  end,
}
