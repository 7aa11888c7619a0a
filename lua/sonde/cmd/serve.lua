--- serve - a model folder behind HTTP, for programs that speak OpenAI's completions interface.

local MIB = 1024 * 1024

return {
  summary = "a model folder behind HTTP, with the interface of OpenAI's completions",
  usage = "--model DIR [options]",
  details = "POST /v1/completions takes texts or token ids, with echo, logprobs, max_tokens, temperature, top_p,\n"
    .. "seed, stop, n and stream; /v1/models, /health, /tokenizer_info, /tokenize and /detokenize are there too, so\n"
    .. "that evaluation programs need no tokenizer of their own. Requests are computed one after the other. Ctrl-C or\n"
    .. "TERM finishes those that have arrived. doc/serve.md describes the fields and the limits.",
  options = {
    { name = "model", type = "string", required = true, value = "DIR", doc = "a model folder with its tokenizer" },
    require("sonde.io").placement,
    { name = "host", type = "string", preset = "127.0.0.1", value = "ADDRESS",
      doc = "address to listen at; other machines reach 0.0.0.0, which has no password" },
    { name = "port", type = "integer", min = 0, max = 65535, preset = 8000, doc = "port to listen at; 0: a free one" },
    { name = "name", type = "string", doc = "what clients call the model; default: the folder's name" },
    { name = "context", type = "integer", min = 1, max = 1048576,
      doc = "tokens of a prompt and its continuation, at most; default: the model's context" },
    { name = "max_prompts", type = "integer", min = 1, max = 100000, preset = 1024,
      doc = "prompts of a request, at most" },
    { name = "max_mib", type = "number", min = 0.001, max = 4096, preset = 16,
      doc = "MiB of a request's body, at most" },
    { name = "dtype", type = "string", choices = { "f32", "bf16" }, preset = "f32", doc = "of matrix products" },
  },
  example = "sonde serve --model runs/depth/0/model --port 8000",
  run = function(options)
    require "sonde"
    local windows = require "sonde.data.windows"
    local model = require("sonde.io").of_command(options):check_finite()
    model:tokenizer()
    windows.note_unused(model)
    windows.note(model, options.context or 0, "texts")
    local dir = #options.model > 1 and string.gsub(options.model, "/+$", "") or options.model
    local name = options.name or string.match(dir, "[^/]+$") or dir
    require("sonde.base.front").begin()
    require("sonde.serve").run(model, {
      host = options.host, port = options.port, name = name, dir = options.model, context = options.context,
      max_prompts = options.max_prompts, max_body = math.floor(options.max_mib * MIB), dtype = options.dtype,
    }, function(port)
      local host = string.find(options.host, ":", 1, true) and "[" .. options.host .. "]" or options.host
      io.write(string.format("%s is at http://%s:%d/v1/completions\n", name, host, port))
      io.flush()
    end)
  end,
}
