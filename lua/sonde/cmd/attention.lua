--- attention - where each head of a model looks on a text.

local core = require "sonde.core"
local output = require "sonde.base.output"
local clean = require("sonde.report.html").clean

local block = { name = "block", type = "integer", min = 0, doc = "" }

local function tokens_of(model, options)
  if (options.prompt == nil) == (options.text == nil) then
    error("one text is looked at: give --prompt TEXT, or --text FILE", 0)
  end
  local text = options.prompt or core.read_file(options.text)
  local ids = model:tokenizer():encode(text):values()
  if #ids == 0 then error("there are no tokens in the text", 0) end
  if #ids > options.tokens then
    io.stderr:write(("sonde: note: the first %d of %d tokens; --tokens N takes more\n"):format(options.tokens, #ids))
  end
  local first = {}
  for k = 1, math.min(#ids, options.tokens) do first[k] = ids[k] end
  return first
end

local function pieces_of(model, ids)
  local tokenizer, pieces = model:tokenizer(), core.list()
  for k, id in ipairs(ids) do pieces[k] = clean(tokenizer:decode({ id }, k > 1, k > 1)) end
  return pieces
end

-- The tokens that a head looks at most, on average over the queries, for a terminal.
local function print_summary(maps, pieces)
  print(("%d tokens, %d maps; --json and --csv print them, --html draws them\n"):format(#pieces, #maps))
  print "block  head  to itself  to the first token  most looked at"
  for _, map in ipairs(maps) do
    local n, own, first, sums = #pieces, 0, 0, {}
    for q, row in ipairs(map.weights) do
      own, first = own + row[q] / n, first + row[1] / n
      for k = 1, q do sums[k] = (sums[k] or 0) + row[k] end
    end
    local best = 1
    for k = 2, n do
      if sums[k] / (n - k + 1) > sums[best] / (n - best + 1) then best = k end      -- over those that can see it
    end
    print(("%5d  %4d  %9.3f  %18.3f  token %d (%s)"):format(map.block, map.head, own, first, best - 1,
      (pieces[best]:gsub("%c", "?"))))
  end
end

return {
  summary = "where each attention head of a model looks on a text",
  usage = "--model DIR --prompt TEXT [options]",
  details = "The weights of each head by query and key: rows sum to 1. A summary is printed where none of --json, "
    .. "--csv and\n"
    .. "--html is given. Blocks, heads and tokens count from 0.",
  options = {
    { name = "model", type = "string", required = true, value = "DIR",
      doc = "a model folder, of Sonde or of another program" },
    require("sonde.io").placement,
    { name = "prompt", type = "string", value = "TEXT", doc = "the text" },
    { name = "text", type = "string", value = "FILE", doc = "a file that holds it" },
    { name = "tokens", type = "integer", min = 1, max = 4096, preset = 32,
      doc = "tokens of it, from the first, at most" },
    { name = "blocks", type = "list", value = "A,B,..", of = block, doc = "which blocks; default: all" },
    { name = "heads", type = "list", value = "A,B,..", of = block, doc = "which heads; default: all" },
    output.json, output.csv,
    { name = "html", type = "string", value = "OUT", doc = "write a page of heat maps; - is standard output" },
  },
  example = 'sonde attention --model runs/depth/0/model --prompt "In the beginning" --blocks 0,1 --html attention.html',
  run = function(options)
    local sonde, maps_of = require "sonde", require "sonde.probe.attention_maps"
    output.check_one(options)
    if options.html and options.html ~= "-" then core.check_file(options.html) end
    local model = require("sonde.io").of_command(options):check_finite()
    local ids = tokens_of(model, options)
    require("sonde.data.windows").note(model, #ids, "texts")
    local maps = sonde.attention_maps(model, ids, { blocks = options.blocks, heads = options.heads })
    local pieces = pieces_of(model, ids)
    if options.html then
      local page, reason = maps_of.page(maps, pieces, "Attention of " .. options.model)
      output.write(options.html, page)
      if reason then io.stderr:write("sonde: ", reason, "\n") end
    end
    if options.json then
      output.print_json { model = options.model, tokens = ids, pieces = pieces, maps = core.list(maps) }
    end
    if options.csv then io.stdout:write(maps_of.csv(maps)) end
    if not options.json and not options.csv and not options.html then print_summary(maps, pieces) end
  end,
}
