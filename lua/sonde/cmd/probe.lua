--- probe - measures on a text what each block of a model does.

local core = require "sonde.core"
local sorted_keys = require "sonde.base.sorted_keys"
local output = require "sonde.base.output"

local function known()
  return require("sonde.probe").names()
end

-- The files that the text and the model are read from.
local function inputs(options)
  local files = { options.text }
  for _, name in ipairs(core.exists(options.model) == "folder" and core.list_dir(options.model) or {}) do
    if name == "config.json" or name == "tokenizer.json" or name:find "%.safetensors" then
      files[#files + 1] = options.model .. "/" .. name
    end
  end
  return files
end

-- Where the page goes is tried before anything is measured; and it does not go over what is read.
local function check(path, options)
  if not path or path == "-" then return end
  local place = core.real_path(path)
  for _, file in ipairs(place and inputs(options) or {}) do
    if place == core.real_path(file) then error(path .. ": is read for this; name another file for the result", 0) end
  end
  core.check_file(path)
end

local PRESET = { "variance", "angular_distance", "block_influence", "layer_removal" }

return {
  summary = "measure on a text what each block of a model does",
  usage = "--model DIR --text FILE [options]",
  details = function()
    return "Windows of the context are cut as `sonde eval` cuts them; the sample is spread evenly over the text.\n"
      .. "Figures have 95 % intervals over windows. Probes share their forward passes: ask for all at once. The table\n"
      .. "is printed where none of --json, --csv and --html is given. doc/probes.md defines the probes:\n\n"
      .. table.concat(require("sonde.probe.registry").registry:lines(114), "\n")
  end,
  options = require("sonde.data.windows").with_reading {
    { name = "model", type = "string", required = true, value = "DIR",
      doc = "a model folder, of Sonde or of another program" },
    require("sonde.io").placement,
    { name = "text", type = "string", required = true, value = "FILE",
      doc = "the text; .jsonl, .gz and .zst too; - is standard input" },
    { name = "probes", type = "list", value = "A,B,..",
      of = { name = "probe", type = "string", choices = known, doc = "" },
      doc = "which; default: " .. table.concat(PRESET, ",") },
    { name = "tokens", type = "integer", min = 2,
      doc = "tokens to measure on, at most, in whole windows; default: 51200" },
    { name = "context", type = "integer", min = 2, max = 1048576,
      doc = "tokens of a window; default: 512, or the model's context, or what the text holds" },
    { name = "batch", type = "integer", min = 1, max = 1048576,
      doc = "windows computed at once; default: some thousand tokens" },
    { name = "seed", type = "integer", min = 0, preset = 0, doc = "of the intervals and of random vectors" },
    { name = "document_mask", type = "boolean", preset = false,
      doc = "attention keeps the documents of a window apart (end-of-text parts them)" },
    { name = "document_positions", type = "boolean", preset = false,
      doc = "with --document-mask: positions count in each document anew" },
    output.json, output.csv,
    { name = "html", type = "string", value = "OUT", doc = "write a page with figures; - is standard output" },
  },
  example = "sonde probe --model runs/depth/0/model --text book.txt --probes variance,layer_removal --html probes.html",
  run = function(options)
    local sonde, windows = require "sonde", require "sonde.data.windows"
    local show, progress = require "sonde.probe.show", require "sonde.base.progress"
    if options.probes and #options.probes == 0 then
      error("--probes names no probe; sonde probe --help lists them", 0)
    end
    output.check_one(options)
    check(options.html, options)
    local model = require("sonde.io").of_command(options):check_finite()
    local tokens = windows.read(model, options.text, options)
    if (options.context or 0) > model.config.context then
      io.stderr:write(string.format("sonde: note: windows of %d tokens are longer than the %d the model was made for\n",
        options.context, model.config.context))
    end
    local _, details = sonde.probe(model, tokens, options.probes or PRESET, {
      tokens = options.tokens, context = options.context, batch = options.batch, seed = options.seed,
      document_mask = options.document_mask, document_positions = options.document_positions,
      progress = progress.share(),
    })
    if options.tokens and details.tokens < options.tokens then
      io.stderr:write(string.format("sonde: note: measured on %d tokens, not %d: %d whole windows of %d\n",
        details.tokens,
        options.tokens, details.windows, details.context))
    end
    if options.json or options.csv or options.html then
      for _, name in ipairs(sorted_keys(details.probes)) do
        local text = details.probes[name].note
        if text then io.stderr:write("sonde: note: ", name, ": ", text, "\n") end
      end
    end
    if options.json then output.print_json(details) end
    if options.csv then io.stdout:write(show.csv(details)) end
    if options.html then
      local page, reason = show.page(details)
      output.write(options.html, page)
      if reason then io.stderr:write("sonde: ", reason, "\n") end
    end
    if not options.json and not options.csv and not options.html then print(show.text(details)) end
    local kept = require("sonde.probe.keep").with_model(details)
    if kept then io.stderr:write("sonde: note: ", kept, "\n") end
  end,
}
