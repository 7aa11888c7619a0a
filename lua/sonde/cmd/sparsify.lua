--- sparsify - a model folder whose matrices are sparse: weights taken out by a method, in one shot.

local core = require "sonde.core"
local args = require "sonde.base.args"
local check_out = require "sonde.base.out_folder"
local method = require "sonde.sparse.method"
local output = require "sonde.base.output"
local progress = require "sonde.base.progress"

-- What the command line asks for and lacks, before anything is loaded.
local function check(options)
  check_out(options.out, options.model, "the sparse model")
  local of = method.resolve(args.words(options.method, "--method"))
  if (of.norm or of.gram or of.gathers) and not options.calibrate then
    error("method '" .. of.name .. "' measures the model on text; give --calibrate FILE", 0)
  end
end

-- Zeros by block: {block, matrices, weights, zeros}.
local function by_block(facts)
  local rows, at = {}, {}
  for _, each in ipairs(facts.matrices) do
    local row = at[each.block] or { block = each.block, matrices = 0, weights = 0, zeros = 0 }
    if not at[each.block] then at[each.block], rows[#rows + 1] = row, row end
    row.matrices, row.weights, row.zeros = row.matrices + 1, row.weights + each.weights, row.zeros + each.zeros
  end
  return rows
end

-- The products compute with the zeros, whatever the clock of a busy machine says.
local function say_speed(speed, unit)
  print(string.format("forward pass: dense %s %s/s, sparse %s. Its products compute with the zeros, so it is not "
    .. "faster: what differs is the machine's load", progress.short(speed.dense), unit, progress.short(speed.sparse)))
end

local function say(facts, unit)
  local table_of = { { "block", "matrices", "weights", "zeros", "sparsity" } }
  for _, row in ipairs(by_block(facts)) do
    table_of[#table_of + 1] = { tostring(row.block), tostring(row.matrices), tostring(row.weights), tostring(row.zeros),
      string.format("%.4f", row.zeros / row.weights) }
  end
  for _, line in ipairs(require("sonde.base.format").columns(table_of)) do print(line) end
  print(string.format("%s, %s%s: %.2f %% of %d matrices' weights are out (%.1f s)", facts.method, facts.pattern,
    facts.scope and " within a " .. facts.scope or "", 100 * facts.sparsity, #facts.matrices, facts.seconds))
  if facts.loss then
    print(string.format("loss before %.4f, after %.4f%s (nats)", facts.loss.before, facts.loss.after,
      facts.dtype ~= "f32" and string.format(", as saved in %s %.4f", facts.dtype, facts.loss.saved) or ""))
  end
  say_speed(facts.speed, unit)
  print(string.format("weights on disk: %s, dense %s", progress.bytes(facts.bytes.saved),
    progress.bytes(facts.bytes.dense)))
  print("model: " .. facts.out)
end

-- The loss of the folder, where rounding to 16 bits may have changed it.
local function saved_loss(sparsify, options, given)
  return sparsify.loss(require("sonde").load(options.out), given)
end

return {
  summary = "a model folder with sparse matrices: weights taken out by a method",
  usage = "--model DIR --method NAME --sparsity S|N:M --out DIR [options]",
  details = function()
    local lines = {}
    for _, name in ipairs(method.names()) do
      lines[#lines + 1] = { name, core.module("sparsity", name).summary }
    end
    return "The method says which weights go, on the calibration text if it measures. Blocks become sparse one after\n"
      .. "the other, each on what the sparse blocks before it give. Training from the folder keeps the masks.\n"
      .. "Methods (sonde plugin info sparsity/NAME; options as NAME,option=value):\n\n"
      .. table.concat(require("sonde.base.format").indented(lines), "\n")
  end,
  options = require("sonde.data.windows").with_reading {
    { name = "model", type = "string", required = true, value = "DIR",
      doc = "a model folder, of Sonde or of another program" },
    require("sonde.io").placement,
    { name = "method", type = "list", value = "NAME", required = true, some = true, suggest = method.names,
      of = { name = "word", type = "string", doc = "" }, doc = "NAME or NAME,option=value,.." },
    { name = "sparsity", type = "string", required = true, value = "S|N:M",
      doc = "share of the weights that go, or N:M: of each M neighbours in a row N stay" },
    { name = "scope", type = "string", choices = { "row", "matrix", "model" },
      doc = "among which weights scores are compared; default: the method's" },
    { name = "matrices", type = "list", value = "A,B,..", some = true, of = { name = "pattern", type = "string",
      doc = "" },
      doc = "which matrices, by names with *; default: those of attention and feed-forward layers" },
    { name = "layers", type = "list", value = "A,B,..", some = true, of = { name = "block", type = "integer", min = 0,
      doc = "" }, doc = "which blocks, from 0; default: all" },
    { name = "out", type = "string", some = true, required = true, value = "DIR", doc = "the new model folder" },
    { name = "calibrate", type = "string", value = "FILE", doc = "text that methods measure on" },
    { name = "eval", type = "string", value = "FILE", doc = "text that the loss is reported on; default: --calibrate" },
    { name = "context", type = "integer", min = 2, max = 1048576,
      doc = "tokens of a window; default: the model's context, at most 2048 and what the text holds" },
    { name = "windows", type = "integer", min = 1, preset = 128, doc = "windows of the calibration and of the loss" },
    { name = "batch", type = "integer", min = 1, max = 1048576,
      doc = "windows computed at once; default: some thousand tokens" },
    { name = "seed", type = "integer", min = 0, preset = 0, doc = "of what a method draws" },
    { name = "dense", type = "boolean", preset = false,
      doc = "write zeros, so that other programs open the folder; it has no masks then" },
    { name = "dtype", type = "string", choices = { "f32", "bf16", "f16" },
      doc = "of the saved weights; default: as in the model's folder" },
    output.json,
  },
  example = "sonde sparsify --model runs/small/0/model --method sparsegpt --sparsity 0.5 "
    .. "--calibrate book.txt --out half",
  run = function(options)
    check(options)
    local sparsify, windows = require "sonde.sparse.sparsify", require "sonde.data.windows"
    local model = require("sonde.io").of_command(options)
    windows.note(model, options.context or 0, "windows")
    local function read(path) return path and windows.read(model, path, options) end
    local given = {
      method = args.words(options.method, "--method"), sparsity = options.sparsity, scope = options.scope,
      matrices = options.matrices, layers = options.layers, text = read(options.calibrate), eval = read(options.eval),
      context = options.context, windows = options.windows, batch = options.batch, seed = options.seed,
      progress = progress.share(),
    }
    local sparse, facts = sparsify.sparsify(model, given)
    check_out(options.out, options.model, "the sparse model")
    sparse:save(options.out, { dtype = options.dtype, dense = options.dense })
    facts.out, facts.dense, facts.dtype = options.out, options.dense, require("sonde.io").dtype(sparse, options.dtype)
    if facts.loss then facts.loss.saved = saved_loss(sparsify, options, given) end
    local context = math.min(options.context or model.config.context, 512)
    facts.speed = sparsify.speed(model, sparse, { context = context, batch = windows.batch(context, 16) })
    facts.bytes = require("sonde.io").sizes(sparse, options.out, options.dtype)
    if options.json then output.print_json(facts) else say(facts, model.config.vocab and "tokens" or "frames") end
  end,
}
