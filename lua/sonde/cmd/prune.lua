--- prune - a smaller model folder: blocks removed by a strategy, or replaced by linear maps; heads, neurons and
-- features removed by their importance; healed by a short training.

local check_out = require "sonde.base.out_folder"
local core = require "sonde.core"
local importance = require "sonde.sparse.importance"
local strategy = require "sonde.sparse.strategy"
local output = require "sonde.base.output"

-- What the command line asks for and lacks, before anything is loaded.
local function check(options)
  check_out(options.out, options.model, "the pruned model")
  local function need(option, value, why)
    if value == nil then error(why .. "; give " .. option, 0) end
  end
  if options.blocks and (options.strategy or options.remove) then
    error("--blocks says which blocks go; it takes no --strategy and no --remove", 0)
  end
  if not options.blocks and (not options.method or options.strategy or options.remove) then
    need("--strategy NAME and --remove N, or --blocks A,B,.., or --method NAME", options.strategy and options.remove,
      "what goes is not said")
  end
  if options.method then need("--text FILE", options.text, "--method " .. options.method .. " measures on text") end
  if options.strategy and strategy.find(options.strategy).text then
    need("--text FILE", options.text, "strategy '" .. options.strategy .. "' measures the model on text")
  end
  if options.replace == "linear" then
    need("--text FILE", options.text, "--replace linear fits its maps on text")
  end
  if options.heal then
    need("--heal-text FILE (or --text)", options.heal_text or options.text, "--heal trains on text")
  end
  for _, name in ipairs { "lora", "heal_text", "lr", "batch" } do
    if options[name] ~= nil then
      need("--heal TOKENS too", options.heal, "--" .. name:gsub("_", "-") .. " belongs to healing")
    end
  end
end

-- A text file as a corpus that is trained on from end to end.
local function training_text(model, path, options)
  local tokens = require("sonde.data.windows").read(model, path, options)
  return { vocab = model.config.vocab, handle = tokens, spec = path, hash = core.file_sha256(path) }
end

-- The options of healing, and the corpus for it.
local function healing_of(model, options)
  if not options.heal then return nil end
  local windows = require "sonde.data.windows"
  local corpus = training_text(model, options.heal_text or options.text, options)
  local tokens = corpus.handle:count()
  local context = options.context or windows.context(model, tokens)
  if tokens < context + 1 then
    error(string.format("%s: %d tokens hold no sequence of %d and a target; give a longer text, or a smaller "
      .. "--context", corpus.spec, tokens, context), 0)
  end
  return {
    tokens = options.heal, lora = options.lora, lr = options.lr, context = context, batch = options.batch or 16,
    seed = options.seed, eval_every = 0, probe_every = 0,
  }, corpus
end

local function pruning_of(model, options)
  local heal, heal_text = healing_of(model, options)
  return {
    what = options.what, strategy = options.strategy, remove = options.remove, blocks = options.blocks,
    method = options.method, ratio = options.ratio, heads = options.heads, ffn = options.ffn, hidden = options.hidden,
    multiple = options.multiple, replace = options.replace, seed = options.seed,
    text = options.text and require("sonde.data.windows").read(model, options.text, options), tokens = options.tokens,
    context = options.context, heal = heal, heal_text = heal_text, progress = require("sonde.base.progress").share(),
  }
end

-- What --json prints: everything but what only this process can use.
local function facts_of(options, model, smaller, facts)
  local healing = facts.healing
  return {
    what = facts.what, strategy = facts.strategy, method = facts.method, replace = facts.replace,
    removed = facts.removed, kept = facts.kept, scores = facts.scores, widths = facts.widths,
    maps = facts.maps, sample = facts.sample, loss = facts.loss, out = options.out,
    dtype = require("sonde.io").dtype(smaller, options.dtype),
    depth = { before = model.config.depth, pruned = smaller.config.depth },
    parameters = { before = model:count().total, pruned = smaller:count().total },
    healing = healing and { tokens = healing.tokens, train_loss = healing.train_loss, lora = options.lora },
  }
end

-- The loss of the folder: rounding to 16 bits can cost some, of the large weights of a linear map above all.
local function saved_loss(model, smaller, facts, pruning, options)
  if options.dtype == "f32" or not (options.dtype or smaller.stored) then
    return facts.loss.healed or facts.loss.pruned
  end
  local prune = require "sonde.sparse"
  return prune.loss(require("sonde").load(options.out), prune.check(model, pruning))
end

local function say_blocks(facts)
  local removed = {}
  for i, block in ipairs(facts.removed) do removed[i] = tostring(block) end
  if #removed == 0 then return end
  local part = facts.what == "block" and "" or "the " .. require("sonde.model.transformer").branches[facts.what]
    .. " of "
  print(string.format("removed %s%s %s (blocks 0 to %d)%s: %d blocks are left, %d parameters of %d", part,
    #removed == 1 and "block" or "blocks", table.concat(removed, ", "), facts.depth.before - 1,
    facts.strategy and " by " .. facts.strategy or "", facts.depth.pruned, facts.parameters.pruned,
      facts.parameters.before))
end

local function say_widths(facts)
  local widths = facts.widths
  if not widths then return end
  print(string.format("widths by %s: stream %d, heads %s, feed-forward layers %s: %d parameters of %d", facts.method,
    widths.hidden, table.concat(widths.heads, " "), table.concat(widths.ffn, " "), facts.parameters.pruned,
    facts.parameters.before))
end

local function say(facts)
  say_blocks(facts)
  say_widths(facts)
  for _, map in ipairs(facts.maps or {}) do
    print(string.format("a linear map stands for blocks %d to %d and misses %.3f of their output (norm)", map.first,
      map.last, map.residual))
  end
  if facts.loss then
    local healed = facts.loss.healed and string.format(", healed %.4f", facts.loss.healed) or ""
    print(string.format("loss before %.4f, pruned %.4f%s (nats, %d windows of %d tokens)", facts.loss.before,
      facts.loss.pruned, healed, facts.sample.windows, facts.sample.context))
    if facts.dtype ~= "f32" then print(string.format("loss as saved in %s %.4f", facts.dtype, facts.loss.saved)) end
  end
  print("model: " .. facts.out)
end

return {
  summary = "a smaller model folder, with blocks, heads, neurons or features removed",
  usage = "--model DIR (--strategy NAME --remove N | --blocks A,B,.. | --method NAME ..) --out DIR [options]",
  details = function()
    return "Which blocks go is the strategy's choice, most often by what it measures on the text, or --blocks names\n"
      .. "them. They are dropped, or a linear map fitted on the text takes the place of each run of them; with --what\n"
      .. "only their attention or feed-forward layer goes. With --method the model gets narrower: --ratio chooses\n"
      .. "heads and neurons over all blocks, or --heads, --ffn and --hidden say how many each block keeps. --heal\n"
      .. "trains what is left. Blocks count from 0. The strategies:\n\n"
      .. table.concat(strategy.registry:lines(114), "\n") .. "\n\nThe methods:\n\n"
      .. table.concat(importance.registry:lines(114), "\n")
  end,
  options = require("sonde.data.windows").with_reading {
    { name = "model", type = "string", required = true, value = "DIR",
      doc = "a model folder, of Sonde or of another program" },
    require("sonde.io").placement,
    { name = "strategy", type = "string", choices = strategy.names, doc = "which blocks go" },
    { name = "remove", type = "integer", min = 1, doc = "how many go, with --strategy" },
    { name = "blocks", type = "list", value = "A,B,..", some = true, of = { name = "block", type = "integer", min = 0,
      doc = "" },
      doc = "the blocks that go, in place of a strategy" },
    { name = "what", type = "string", choices = { "block", "attn", "ffn" }, preset = "block",
      doc = "what goes: blocks, or only their attention or feed-forward layer" },
    { name = "method", type = "string", choices = importance.names,
      doc = "what heads, neurons and features that go are chosen by" },
    { name = "ratio", type = "number", min = 0, max = 0.999,
      doc = "share of the parameters that goes, with --method; the blocks get different widths" },
    { name = "heads", type = "integer", min = 1, doc = "query heads that each block keeps, with --method" },
    { name = "ffn", type = "integer", min = 1, doc = "inner width that each feed-forward layer keeps, with --method" },
    { name = "hidden", type = "integer", min = 1, doc = "width of the stream that stays, with --method" },
    { name = "multiple", type = "integer", min = 1, max = 4096,
      doc = "widths change by multiples of it, with --ratio; default: 8" },
    { name = "out", type = "string", some = true, required = true, value = "DIR", doc = "the new model folder" },
    { name = "text", type = "string", value = "FILE", doc = "text to measure on, and to tell the loss on" },
    { name = "tokens", type = "integer", min = 2,
      doc = "tokens of the text to take, from the first, in whole windows; default: 16384" },
    { name = "context", type = "integer", min = 2, max = 1048576,
      doc = "tokens of a window; default: the model's context, at most 4096 and what text and memory hold" },
    { name = "seed", type = "integer", min = 0, preset = 0,
      doc = "of random choices, and of the order of text in healing" },
    { name = "replace", type = "string", choices = { "drop", "linear" }, preset = "drop",
      doc = "what comes in their place" },
    { name = "heal", type = "integer", min = 1, value = "TOKENS", doc = "train on so many tokens afterwards" },
    { name = "heal_text", type = "string", value = "FILE", doc = "text to train on; default: that of --text" },
    { name = "lora", type = "integer", min = 1, value = "RANK",
      doc = "train low-rank adapters on the blocks next to a cut, nothing else" },
    { name = "lr", type = "number", min = 0, doc = "peak learning rate of healing; default: 3e-4, with --lora 1e-3" },
    { name = "batch", type = "integer", min = 1, max = 1048576,
      doc = "sequences of an update of healing; default: 16" },
    { name = "dtype", type = "string", choices = { "f32", "bf16", "f16" },
      doc = "of the saved weights; default: as in the model's folder" },
    output.json,
  },
  example = "sonde prune --model runs/depth/0/model --strategy angular --remove 2 --text book.txt --out smaller",
  run = function(options)
    local sonde = require "sonde"
    check(options)
    local model = require("sonde.io").of_command(options)
    require("sonde.data.windows").note(model, options.context or 0, "windows")
    local pruning = pruning_of(model, options)
    local smaller, facts = sonde.prune(model, pruning)
    local sample = facts.sample
    if options.tokens and sample and sample.tokens < options.tokens then
      io.stderr:write(string.format("sonde: note: measured on %d tokens, not %d: %d whole windows of %d\n",
        sample.tokens, options.tokens, sample.windows, sample.context))
    end
    if facts.healing and facts.healing.diverged then
      error("healing diverged: " .. facts.healing.diverged .. "; try a smaller --lr. Nothing was written", 0)
    end
    check_out(options.out, options.model, "the pruned model")
    smaller:save(options.out, { dtype = options.dtype })
    if facts.loss then facts.loss.saved = saved_loss(model, smaller, facts, pruning, options) end
    facts = facts_of(options, model, smaller, facts)
    if options.json then output.print_json(facts) else say(facts) end
  end,
}
