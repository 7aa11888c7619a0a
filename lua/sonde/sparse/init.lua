--- sonde.sparse - a model with fewer blocks, or with blocks that have lost a branch: which go (sparse/strategy.lua),
-- how they go (dropped, or a linear map in their place); a model with fewer heads, neurons and features (width.lua);
-- and a short training afterwards that heals the cut.

-- What lives here: this file prunes and heals; strategy.lua and strategies/ choose the blocks, cut.lua makes the model
-- with fewer of them; importance.lua and importance/ measure heads, neurons and features, width.lua chooses among them,
-- slice.lua makes the model of those that stay; lora.lua trains adapters.
-- sparsify.lua makes matrices sparse in one shot, gradual.lua during training; method.lua has the methods, pattern.lua
-- how much goes, matrices.lua where, inputs.lua what matrices multiply.

local core = require "sonde.core"
local args = require "sonde.base.args"
local cut = require "sonde.sparse.cut"
local importance = require "sonde.sparse.importance"
local slice = require "sonde.sparse.slice"
local strategy = require "sonde.sparse.strategy"
local width = require "sonde.sparse.width"
local windows = require "sonde.data.windows"

local prune = {}

--- The options of a pruning.
---@type sonde.schema
prune.schema = {
  { name = "what", type = "string", choices = { "block", "attn", "ffn" }, preset = "block",
    doc = "what goes: whole blocks, or only their attention or their feed-forward layer" },
  { name = "strategy", type = "string", choices = strategy.names, doc = "which blocks go; or give blocks" },
  { name = "remove", type = "integer", min = 1, doc = "how many go, with a strategy" },
  { name = "blocks", type = "list", some = true, of = { name = "block", type = "integer", min = 0, doc = "from 0" },
    doc = "the blocks that go, in place of a strategy" },
  { name = "method", type = "string", choices = importance.names,
    doc = "what heads, neurons and features of the stream are chosen by; with it ratio, or heads, ffn, hidden" },
  { name = "ratio", type = "number", min = 0, max = 0.999,
    doc = "with method: share of the parameters that goes, by MiniMA's map; how many heads and neurons of each block "
      .. "follows" },
  { name = "heads", type = "integer", min = 1, doc = "with method: query heads that each block keeps" },
  { name = "ffn", type = "integer", min = 1, doc = "with method: inner width that each feed-forward layer keeps" },
  { name = "hidden", type = "integer", min = 1, doc = "with method: width of the stream that stays" },
  { name = "multiple", type = "integer", min = 1, max = 4096, preset = 8,
    doc = "with ratio: widths change by multiples of it, and a branch of less goes as a whole" },
  { name = "batch", type = "integer", min = 1, max = 1048576, preset = 8,
    doc = "with method: windows whose mean loss is one measurement" },
  { name = "text", type = "corpus|tensor|list",
    doc = "what strategies measure, maps are fitted and the loss is told on: as for sonde.probe" },
  { name = "tokens", type = "integer", min = 2, preset = 16384, doc = "tokens of the text to take" },
  { name = "context", type = "integer", min = 2,
    doc = "tokens of a window; default: the model's context, at most 4096 and what the text and the memory hold" },
  { name = "seed", type = "integer", min = 0, preset = 0, doc = "of what a strategy draws" },
  { name = "replace", type = "string", choices = { "drop", "linear" }, preset = "drop",
    doc = "what comes in the place of a run of blocks: nothing, or one linear map fitted on the text" },
  { name = "heal", type = "table",
    doc = "train afterwards: options of sonde.train (tokens or steps), lora = rank, alpha" },
  { name = "heal_text", type = "corpus", doc = "corpus to train on" },
  { name = "progress", type = "function",
    doc = "called with the share of the measuring that is done, and a word for it" },
}

local function need_text(options, what)
  if options.text ~= nil then return end
  error(core.where() .. what .. " measures the model on text; give one with the option text", 0)
end

-- What everything that reads the text is told: how much, and where to show how far it is.
local function measured(options, label)
  local function report(share, word) options.progress(share, word or label) end
  return { tokens = options.tokens, context = options.context, progress = options.progress and report }
end

-- Whole windows from the first. A longer text ends there from here on: everything is measured on the same ones.
local function check_text(model, options)
  local context = options.context
  local there = windows.open(options.text, model, context):tokens() - 1
  local count = math.floor(math.min(options.tokens, there) / context)
  if count < 1 then
    error(core.where() .. string.format("prune: %d tokens are less than one window of %d; give %s, or a smaller "
      .. "context (--context)", math.min(options.tokens, there), context,
      there < context and "a longer text" or "more tokens"), 0)
  end
  options.tokens = math.floor(options.tokens / context) * context
  options.windows = count
  if there > options.tokens then options.text = windows.first(options.text, options.tokens + 1) end
end

-- The context where none was asked for: what the text, or the tokens to take of it, fill at least once.
local function default_context(model, options)
  if options.text == nil then return model.config.context end
  local there = windows.open(options.text, model, 1):tokens()
  return windows.context(model, math.min(there, options.tokens + 1))
end

-- The blocks that have what goes, and would keep their other branch.
local function candidates(model, what)
  local list = {}
  local trace = what ~= "block" and model:trace { context = math.min(2, model.config.context) }
  for block = 0, model.config.depth - 1 do
    local has = not trace or not model.layers[block + 1].without and trace.parts[block + 1]:lookup(what .. ".branch")
    if has then list[#list + 1] = block end
  end
  if trace then trace.graph:close() end
  return list
end

local function task_of(model, options)
  return {
    model = model, depth = model.config.depth, count = options.remove, seed = options.seed, what = options.what,
    blocks = candidates(model, options.what),
    measure = function(probe)
      need_text(options, "strategy '" .. options.strategy .. "'")
      return require("sonde.probe").probe(model, options.text, { probe }, measured(options, probe))[probe]
    end,
  }
end

-- Weights after a cut are close to good ones: a small rate, no decay.
local function heal_options(heal)
  local all = { lr = heal.lora and 1e-3 or 3e-4, weight_decay = 0 }
  for key, value in pairs(heal) do
    if key == "lora" then all.rank = value else all[key] = value end
  end
  if all.alpha and not all.rank then
    error(core.where() .. "option 'alpha' of heal belongs to lora, the rank of adapters", 0)
  end
  return all
end

-- What is wrong with the options of healing, long before it begins. What may name a linear map's weights is for then,
-- and so is a teacher: the model that is cut may be it.
local function check_heal(model, heal)
  local options = heal_options(heal)
  options.rank, options.alpha, options.trainable, options.teacher, options.distill = nil, nil, nil, nil, nil
  require("sonde.train").resolve(model, options)
end

local words = { block = "blocks", attn = "attention layers", ffn = "feed-forward layers" }

-- The blocks that the option names, in order.
local function check_named(model, options, there)
  local has, seen = {}, {}
  for _, block in ipairs(there) do has[block] = true end
  if options.strategy or options.remove then
    error(core.where() .. "prune: the option blocks says which blocks go; it takes no strategy and no remove", 0)
  end
  for _, block in ipairs(options.blocks) do
    if block >= model.config.depth then
      error(core.where() .. string.format("prune: there is no block %d; blocks are 0..%d", block,
        model.config.depth - 1), 0)
    end
    if not has[block] then
      local without = model.layers[block + 1].without
      error(core.where() .. string.format("prune: block %d has no %s%s", block, words[without or options.what]:sub(1,
        -2),
        without and without ~= options.what and "; without the other branch too it would be nothing: remove the block"
          or ""), 0)
    end
    if seen[block] then error(core.where() .. string.format("prune: block %d is named twice", block), 0) end
    seen[block] = true
  end
  table.sort(options.blocks)
  options.remove = #options.blocks
end

-- A branch whose weights another block shares stays as long as that block has it. A strategy says which blocks go only
-- when it has measured them, so it takes no model with such blocks.
local function check_shared(model, options)
  local goes = {}
  for _, block in ipairs(options.blocks or {}) do goes[block] = true end
  for index, layer in ipairs(model.layers) do
    local block, of = index - 1, layer.share
    if of and (not options.blocks or goes[of] and not goes[block] and layer.without ~= options.what) then
      error(core.where() .. string.format("prune: block %d shares the weights of block %d, whose %s cannot go alone; "
        .. "%s", block, of, words[options.what]:sub(1, -2), options.blocks and "name both, or remove the block" or
          "name blocks that no other shares, in place of a strategy, or remove whole blocks"), 0)
    end
  end
end

-- What goes, and how much of it: something that is a model must stay.
local function check_choice(model, options)
  local there = candidates(model, options.what)
  if options.blocks then
    check_named(model, options, there)
  elseif options.method and not options.strategy and not options.remove then
    return
  elseif not options.strategy or not options.remove then
    error(core.where() .. "prune needs to know what goes: give strategy and remove, or blocks, or method for heads, "
      .. "neurons and features", 0)
  end
  if options.what ~= "block" then check_shared(model, options) end
  local stay = options.what == "block" and 1 or 0
  if options.remove > #there - stay then
    error(core.where() .. string.format("of %d %s %d cannot be removed%s", #there, words[options.what], options.remove,
      stay == 1 and "; at least one must stay" or ""), 0)
  end
end

-- How many heads, neurons and features go.
local function check_width(model, options)
  local function refuse(why) error(core.where() .. "prune: " .. why, 0) end
  local counts = options.heads or options.ffn or options.hidden
  if not options.method then
    if options.ratio or counts then
      refuse("option '" .. (options.ratio and "ratio" or options.heads and "heads" or options.ffn and "ffn" or "hidden")
        .. "' needs method: what heads, neurons and features are chosen by (" .. table.concat(importance.names(), ", ")
        .. ")")
    end
    return
  end
  if (options.ratio == nil) == (counts == nil) then
    refuse(counts and "ratio says how many heads, neurons and features go; it takes no heads, ffn and hidden"
      or "method needs to know how much goes: give ratio, or some of heads, ffn and hidden")
  end
  if options.what ~= "block" then refuse "with method the option what must be block" end
  if options.replace == "linear" then refuse "a linear map has the width of the model; method takes no replace" end
  need_text(options, "method '" .. options.method .. "'")
  local largest = { heads = 0, ffn = 0, hidden = model.config.width }
  for _, unit in ipairs(slice.units(model)) do
    largest.heads = math.max(largest.heads, unit.groups * unit.heads)
    largest.ffn = math.max(largest.ffn, unit.neurons)
  end
  for _, name in ipairs { "heads", "ffn", "hidden" } do
    if options[name] and options[name] > largest[name] then
      refuse(string.format("%s %d cannot stay of the %d that there are", name, options[name], largest[name]))
    end
  end
end

--- Checks the options of a pruning and fills every one in, without measuring anything.
---@param model sonde.model
---@param options table     see prune.schema
---@return table
function prune.check(model, options)
  options = args.check(prune.schema, options, "prune")
  check_width(model, options)
  check_choice(model, options)
  if options.strategy and strategy.find(options.strategy).text then
    need_text(options, "strategy '" .. options.strategy .. "'")
  end
  if options.replace == "linear" and options.what ~= "block" then
    error(core.where() .. "prune: a linear map stands for whole blocks; replace 'linear' takes no what", 0)
  end
  if options.replace == "linear" then need_text(options, "replace 'linear'") end
  if options.heal and options.heal_text == nil then
    error(core.where() .. "healing trains the model; give the option heal_text, a corpus", 0)
  end
  if options.heal then check_heal(model, options.heal) end
  if not options.context then options.context = default_context(model, options) end
  if options.text ~= nil and options.context < 2 then
    error(core.where() .. "prune: in windows of one token strategies see nothing; give a longer "
      .. (model.config.context < 2 and "context (--context) than the model was made for" or "text"), 0)
  end
  if options.text ~= nil then check_text(model, options) end
  return options
end

--- Trains a model after a cut, in place: all of it, or (heal.lora: the rank) only low-rank adapters on some
--- blocks.
---@param model sonde.model
---@param corpus sonde.corpus
---@param heal table             options of sonde.train, lora, alpha
---@param neighbours integer[]   the blocks for adapters, from 0
---@return sonde.training
function prune.heal(model, corpus, heal, neighbours)
  local options = heal_options(heal)
  if options.rank then return require("sonde.sparse.lora").train(model, neighbours, corpus, options) end
  return require("sonde.train").train(model, corpus, options)
end

---@class sonde.pruned           what sonde.prune says of its work
---@field what string            "block", "attn" or "ffn"
---@field method? string         what heads, neurons and features were chosen by
---@field widths? {hidden: integer, heads: integer[], kv_heads: integer[], ffn: integer[]}   those of the new model, by
--- block, 0 where it lacks the branch
---@field importance? sonde.importance   of the units of the model as it was
---@field strategy? string       nil where the blocks were named
---@field removed integer[]      blocks of the model as it was, from 0, that went or lost their branch
---@field kept integer[]         blocks of the model as it was that are in the new one
---@field neighbours integer[]   blocks of the new model that stand next to a cut
---@field scores? number[]       what the strategy chose by
---@field maps? table[]          first, last and residual of each linear map
---@field sample? table          tokens, windows and context of what was measured
---@field loss? table            before, pruned and (after healing) healed, in nats on the text
---@field healing? sonde.training

-- The blocks that go, by the options and for want of both branches.
local function removed_blocks(model, options, widths)
  local removed, scores = core.list(options.blocks), nil
  if options.strategy then removed, scores = strategy.choose(options.strategy, task_of(model, options)) end
  local gone = {}
  for _, block in ipairs(removed) do gone[block] = true end
  for _, block in ipairs(widths and widths.empty or {}) do
    if not gone[block] then removed[#removed + 1] = block end
  end
  table.sort(removed)
  if widths and #removed == model.config.depth then
    error(core.where() .. "prune: no block keeps a head or a neuron; at least one must stay: give a smaller ratio", 0)
  end
  return removed, scores
end

-- The heads, neurons and features that stay, and their importance; nil where nothing is said of them.
local function widths_of(model, options)
  if not options.method then return nil end
  local of = measured(options, "importance")
  of.batch = options.batch
  local scores = importance.measure(model, options.text, options.method, of)
  return width.choose(model, scores, options), scores
end

-- The smaller model and what was done to get it.
local function make(model, options)
  local widths, measures = widths_of(model, options)
  local removed, scores = removed_blocks(model, options, widths)
  local maps
  if options.replace == "linear" then
    maps = require("sonde.probe.affine").fit(model, options.text, cut.runs(removed), measured(options, "fitting"))
  end
  local pieces, neighbours
  if options.what == "block" then
    pieces, neighbours = cut.pieces(model.config.depth, removed, maps)
  else
    pieces, neighbours = cut.branches(model.config.depth, removed, options.what)
  end
  local facts = {
    what = options.what, strategy = options.strategy, method = options.method, replace = options.replace,
    removed = removed, kept = core.list(), neighbours = neighbours, scores = scores, importance = measures,
  }
  for _, piece in ipairs(pieces) do
    if piece.source then facts.kept[#facts.kept + 1] = piece.source end
  end
  for i, map in ipairs(maps or {}) do
    facts.maps = facts.maps or {}
    facts.maps[i] = { first = map.first, last = map.last, residual = map.residual }
  end
  local smaller = cut.build(model, pieces)
  if not widths then return smaller, facts end
  smaller = width.cut(smaller, widths, facts.kept)
  facts.widths, facts.neighbours = width.sizes(smaller), core.list()
  for block = 0, smaller.config.depth - 1 do facts.neighbours[block + 1] = block end      -- each has changed
  return smaller, facts
end

--- The loss that a pruning tells of a model; nil without a text.
---@param of sonde.model
---@param options table         of the pruning, as prune.check gives them
---@return number|nil
function prune.loss(of, options)
  if options.text == nil then return nil end
  return require("sonde.eval").evaluate(of, options.text, measured(options, "loss")).loss
end

--- A new model with fewer blocks than `model`, with blocks that have lost their attention or feed-forward layer, or
--- with fewer heads, neurons and features; `model` stays as it is. And what was removed, why, and what it cost. A kept
--- block computes what it did before: layer numbers that its placement counts with stay those of the whole model.
---@param model sonde.model
---@param options table     see prune.schema
---@return sonde.model smaller, sonde.pruned facts
function prune.prune(model, options)
  options = prune.check(model, options)
  model:check_finite()   -- a choice between values that are not numbers is none
  local function loss(of) return prune.loss(of, options) end
  local smaller, facts = make(model, options)
  if options.text ~= nil then
    facts.sample = { tokens = options.windows * options.context, windows = options.windows, context = options.context }
    facts.loss = { before = loss(model), pruned = loss(smaller) }
  end
  if options.heal then
    facts.healing = prune.heal(smaller, options.heal_text, options.heal, facts.neighbours)
    if facts.loss and not facts.healing.diverged then facts.loss.healed = loss(smaller) end
  end
  return smaller, facts
end

return args.declare(prune, "sonde.", {
  prune = { { name = "model", type = "model", required = true }, { name = "options", type = "table" } },
  heal = {
    { name = "model", type = "model", required = true }, { name = "corpus", type = "corpus|feed", required = true },
    { name = "heal", type = "table", required = true },
    { name = "neighbours", type = "list", of = { name = "block", type = "integer", min = 0 } },
  },
})
