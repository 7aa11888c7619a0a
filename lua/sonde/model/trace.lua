--- trace.lua - a model as a graph for one batch shape, and the edits (interventions) that can be made on the way.
--
-- Blocks count from 0, as in the names of their values: "blocks.0.out" is the stream after the first block,
-- "blocks.0.attn.out" and "blocks.0.ffn.out" the results of its branches; "embedding" and "final" (after the last norm)
-- stand around them, and "loss" [N] is the objective's loss of each item: the cross-entropy of each of the N = B T
-- tokens in nats.

local core = require "sonde.core"
local args = require "sonde.base.args"
local block = require "sonde.model.block"
local names = require "sonde.model.names"
local objective = require "sonde.model.objective"

---@class sonde.trace
---@field graph sonde.graph
---@field batch integer
---@field context integer
---@field tokens sonde.node|nil   input "tokens", i32 [B, T]; nil where the model reads features
---@field targets sonde.node|nil  the objective's targets, "targets" i32 [B T]; -1 is not predicted
---@field starts sonde.node|nil   with documents: where each token's document starts in its row, i32 [B, T]
---@field positions sonde.node|nil   with document_positions or document_ends: the position of each token, i32 [B, T]
---@field embedding sonde.node    [B, T, D]
---@field blocks sonde.node[]     the stream after each block, [B, T, D]; a skipped block passes it on
---@field parts sonde.block[]     each block as it was built, for what its modules published; nil for a skipped one
---@field final sonde.node        [B, T, D], after the final norm; [1, R, D] with rows; another width with embed_width
---@field head sonde.node|nil     [V, D]; another width with embed_width
---@field loss sonde.node         [N]
---@field losses {name: string, node: sonde.node, weight: number}[]   what is added to it
---@field metrics {name: string, node: sonde.node}[]   what is reported beside it
---@field added sonde.node|nil    the sum of what is added, with its weights, one number
---@field total sonde.node|nil    the sum that is minimised, where something is added to the loss
local trace = {}
trace.__index = trace

--- The options of a trace; all but the shape and dropout are interventions.
---@type sonde.schema
trace.schema = {
  { name = "batch", type = "integer", min = 1, max = 1048576, preset = 1, doc = "sequences B" },
  { name = "context", type = "integer", min = 1, max = 1048576,
    doc = "tokens T of a sequence; default: the model's context" },
  { name = "graph", type = "graph",
    doc = "graph of an earlier trace of the same shape to append to; its values keep their names" },
  { name = "prefix", type = "string",
    doc = "of another model's trace in that graph: in front of the names of its parameters" },
  { name = "dropout", type = "boolean", preset = false, doc = "apply the model's dropout (training)" },
  { name = "document_end", type = "integer", min = 0, max = 2147483647,
    doc = "the token that ends a document: attention does not look across it" },
  { name = "document_positions", type = "boolean", preset = false,
    doc = "positions count from the first token of each document; needs document_end" },
  { name = "document_ends", type = "boolean", preset = false,
    doc = "documents end where the input \"document_ends\" i32 [B, T] is 1: attention does not look across it, and "
      .. "positions count from the first token of each" },
  { name = "segments", type = "integer", min = 1, max = 1048576,
    doc = "rows of sequences with shared beginnings, at most so many segments S each: inputs \"segments\" "
      .. "i32 [B, S, 4] as the op attention takes them, and \"positions\" i32 [B, T]" },
  { name = "rows", type = "integer", min = 1, max = 1048576,
    doc = "the objective is of so many tokens R: those of the input \"rows\" i32 [R], which counts through all B T; "
      .. "nothing else is reported" },
  { name = "objective", type = "string|table",
    doc = "what the loss is of, NAME or {NAME, option = value}; default: the model's" },
  { name = "loss_weights", type = "table", preset = {}, each = { name = "weight", type = "number", doc = "a factor" },
    doc = "name -> factor of a loss that modules or the objective add; default: 1 each; 0 leaves it out" },
  { name = "skip", type = "list", preset = {}, of = { name = "block", type = "integer", min = 0, doc = "a block" },
    doc = "blocks that only pass the stream on" },
  { name = "swap", type = "list", preset = {},
    doc = "pairs of blocks that exchange their parameters, whose names and shapes must agree",
    of = { name = "pair", type = "list", of = { name = "block", type = "integer", min = 0, doc = "a block" },
      doc = "two blocks" } },
  { name = "replace", type = "table", preset = {},
    each = { name = "function", type = "function", doc = "of x and the block" },
    doc = "block -> function(x, block) that stands in for it" },
  { name = "gate", type = "table", preset = {},
    doc = "block -> factors of its branches; 0: as if the block had no such branch",
    each = { name = "gates", type = "table", doc = "attn and ffn", fields = {
      { name = "attn", type = "number|function", doc = "factor of the attention branch, or function(y, block)" },
      { name = "ffn", type = "number|function", doc = "factor of the feed-forward branch, or function(y, block)" },
    } } },
  { name = "mute", type = "table", preset = {}, doc = "block -> experts (from 0) of its mixture that give 0",
    each = { name = "experts", type = "list", of = { name = "expert", type = "integer", min = 0, doc = "an expert" },
      doc = "some experts" } },
}

local function check_block(index, depth, what)
  if type(index) ~= "number" or index < 0 or index >= depth or index ~= math.floor(index) then
    error(core.where() .. what .. ": there is no block " .. tostring(index) .. "; blocks are 0.." .. (depth - 1), 0)
  end
end

-- Which block's parameters each place of the stack uses: place -> block, both from 0.
local function sources(model, options, depth)
  local source = {}
  for i = 0, depth - 1 do source[i] = i end
  for _, pair in ipairs(options.swap) do
    if #pair ~= 2 then error(core.where() .. "swap: a pair is two blocks, not " .. #pair, 0) end
    check_block(pair[1], depth, "swap")
    check_block(pair[2], depth, "swap")
    local why = model:mismatch(pair[1], pair[2])
    if why then
      error(core.where() .. ("swap: blocks %d and %d hold different parameters: %s"):format(pair[1], pair[2], why), 0)
    end
    source[pair[1]], source[pair[2]] = source[pair[2]], source[pair[1]]
  end
  return source
end

--- Dropout with the model's probability, with a stream of its own at each place; nothing when the trace has none.
---@param x sonde.node
---@return sonde.node
function trace:dropout(x)
  if not self.drops or self.model.config.dropout == 0 then return x end
  self.n_dropout = self.n_dropout + 1
  return x:dropout(self.model.config.dropout, (self.model.config.seed % 2147483648) * 65536 + self.n_dropout)
end

--- Names a value, as a tap, unless the graph has an earlier trace's values of these names.
---@param x sonde.node
---@param name string
---@return sonde.node
function trace:tap(x, name)
  return self.shares and x or core.node_name(x, name)
end

-- What the last part of a scope is of.
local kinds = {
  embedding = "embedding", head = "head", final = "norm", attn = "attention", ffn = "ffn",
  attn_norm = "norm", ffn_norm = "norm", attn_out_norm = "norm", ffn_out_norm = "norm",
}

--- Seconds by module, as a profile has them, summed by kind: "norm", "attention", "ffn", "embedding", "head" (with the
--- loss), "stream" (what placements compute in a block, such as residual sums) and "other".
---@param modules table<string, number>
---@return table<string, number>
function trace.by_kind(modules)
  local sums = {}
  for module, seconds in pairs(modules) do
    local kind = kinds[string.match(module, "[^.]*$")] or string.find(module, "^blocks%.%d+$") and "stream" or "other"
    sums[kind] = (sums[kind] or 0) + seconds
  end
  return sums
end

-- An input that every trace of the graph has once.
local function input(self, name, dtype, dims)
  local there = self.shares and self.graph:find(name)
  if not there then return self.graph:input(name, dtype, dims) end
  if table.concat(there:dims(), " ") ~= table.concat(dims, " ") then
    error(core.where() .. "trace: the graph was traced for another batch or context", 0)
  end
  return there
end

-- The learned position of each token, [B, T, D].
local function positions(self, x)
  local config, offset = self.model.config, self.model.config.position_offset
  local table = self.model:leaf(self.graph, names.positions, { offset + config.context, config.width }, "embed")
  if offset > 0 then table = table:slice(1, offset + 1) end
  return table:gather(self.positions or x:positions())
end

local function embed(self)
  local config, model = self.model.config, self.model
  self.graph:scope("embedding")
  local x
  if config.features then
    x = input(self, "features", "f32", { self.batch, self.context, config.features })
    x = x:linear(model:leaf(self.graph, names.features, { config.width, config.features }, "embed"))
  else
    local width = config.embed_width or config.width
    x = model:leaf(self.graph, names.embedding, { config.vocab, width }, "embed"):gather(self.tokens)
    if config.embed_width then
      x = x:linear(model:leaf(self.graph, names.project_in, { config.width, width }, "other"))
    end
  end
  local root = math.sqrt(config.width)
  if config.embed_scale == "fixed" then
    x = x * root
  elseif type(config.embed_scale) == "number" then
    x = x * config.embed_scale
  elseif config.embed_scale == "learned" then
    self.params:need(names.embed_scale, { 1 }, "gain", { kind = "fill", a = root }, -1)
    x = x * self.params:node(self.graph, names.embed_scale)
  end
  if config.positions == "learned" then x = x + positions(self, x) end
  self.embedding = self:tap(self:dropout(x), "embedding")
  return self.embedding
end

-- The site of a module outside the blocks; the shape is that of x where it is not the trace's.
local function site_of(self, slot, prefix, dims)
  local config = self.model.config
  dims = dims or { self.batch, self.context, config.width }
  return core.site {
    graph = self.graph, params = self.params, block = self.shared, policy = self.model:policy(0), layer = 0,
    depth = config.depth, slot = slot, prefix = prefix, batch = dims[1], context = dims[2], width = dims[3],
    trained_context = config.context,
  }
end

--- The norm before the head, applied to any stream, and with an embedding of another width W the matrix to it.
---@param x sonde.node    [B, T, D]
---@return sonde.node     [B, T, D], or [B, T, W]
function trace:final_norm(x)
  local module, config = self.model.final, self.model.config
  self.graph:scope("final")
  if module.name == "none" then
    x = x * 1      -- a value of its own, which has another name
  else
    x = core.module_build("norm", module.name, site_of(self, "final", names.final_norm), x, module.options)
  end
  if not config.embed_width then return x end
  return x:linear(self.model:leaf(self.graph, names.project_out, { config.embed_width, config.width }, "other"))
end

local function stack(self, options, x)
  local depth, skipped = self.model.config.depth, {}
  for _, index in ipairs(options.skip) do
    check_block(index, depth, "skip")
    skipped[index] = true
  end
  for index in pairs(options.replace) do check_block(index, depth, "replace") end
  for index in pairs(options.gate) do check_block(index, depth, "gate") end
  for index in pairs(options.mute) do check_block(index, depth, "mute") end
  local source = sources(self.model, options, depth)
  for index = 0, depth - 1 do
    if not skipped[index] then
      local this = block.new(self, index, source[index])
      self.parts[index + 1] = this
      self.graph:scope(this.scope, index)
      local replacement = options.replace[index]
      if replacement then
        x = replacement(x, this)
      else
        x = self.model.layers[index + 1].placement.build(this, x)
      end
      if not core.is_node(x) then
        error(core.where() .. "block " .. index .. " gave no node but a " .. type(x)
          .. "; a placement returns the stream", 0)
      end
      if core.node_graph(x) ~= self.graph then
        error(core.where() .. "block " .. index .. " gave a node of another graph; a placement returns the stream", 0)
      end
      x = self:tap(x, "blocks." .. index .. ".out")
    end
    self.blocks[index + 1] = x
  end
  return x
end

-- The tokens that the objective is of.
local function choose_rows(self, n)
  local dims = self.final:dims()
  local width, rows = dims[3], input(self, "rows", "i32", { n })
  self.final = self.final:reshape({ dims[1] * dims[2], width }):gather(rows):reshape { 1, n, width }
end

-- The loss of each item, by the objective.
local function score(self, options)
  if options.rows then choose_rows(self, options.rows) end
  local spec = options.objective and objective.resolve(options.objective, core.where) or self.model.objective
  local found, site, values = objective.find(spec.name), site_of(self, "objective", "", self.final:dims()), {}
  for key, value in pairs(spec) do values[key] = value end
  self.graph:scope("head")
  local loss = found.build(site, values, self.final, self.model.config)
  if not core.is_node(loss) or #loss:dims() ~= 1 then
    error(core.where() .. "objective '" .. spec.name .. "' gave " .. (core.is_node(loss) and "a node of "
      .. #loss:dims() .. " axes" or "a " .. type(loss)) .. "; it returns the loss of each item, [N]", 0)
  end
  self.head, self.targets, self.scores_tokens = site:lookup "head", site:lookup "targets", found.scores_tokens
  return self:tap(loss, "loss")
end

-- What modules have published under "KIND.NAME", the sum of those of one name, in the order of their first.
local function published(self, kind)
  local list, at, items = {}, {}, self.loss:dims()[1]
  local function take(block, from)
    for _, each in ipairs(block:published(self.graph)) do
      local name = string.match(each.name, "^" .. kind .. "%.(.+)$")
      local count = 1
      for _, dim in ipairs(name and each.node:dims() or {}) do count = count * dim end
      if name and count ~= items and count ~= 1 then
        error(core.where() .. "'" .. each.name .. "' holds " .. count .. " numbers; it is one for each of the " .. items
          .. " items of the loss, or one number", 0)
      end
      if name then
        local node = each.node:reshape { count }
        local there = at[name]
        if there and #there.node:dims() == 1 and there.node:dims()[1] ~= count then
          local first, other = there.from, from
          if count ~= 1 then first, other = from, there.from end
          error(core.where() .. "'" .. each.name .. "' is published as one number " .. first .. " and as one for each "
            .. "item " .. other .. "; publish it alike, or give the two their own names", 0)
        end
        if not there then
          at[name] = { name = name, node = node, from = from }
          list[#list + 1] = at[name]
        else
          there.node = there.node + node
        end
      end
    end
  end
  for index = 1, self.model.config.depth do
    if self.parts[index] then take(self.parts[index].shared, "in block " .. index - 1) end
  end
  take(self.shared, "outside the blocks")
  return list
end

--- How many items count, as a node of one number.
---@return sonde.node
function trace:counted()
  if not self.targets then return self.graph:constant(self.loss:dims()[1], { 1 }) end
  return self.targets:cast("f32"):greater(-0.5):sum():reshape { 1 }
end

-- Adds the losses that modules publish; one of one number counts once for each item, as the others do.
local function add_losses(self, weights)
  local known, added = {}, {}
  for _, loss in ipairs(self.losses) do
    known[#known + 1], known[loss.name] = loss.name, true
    loss.weight = weights[loss.name] or 1
    if loss.weight ~= 0 then
      local sum = loss.node:dims()[1] == 1 and loss.node * self:counted() or loss.node:sum():reshape { 1 }
      local weighted = sum * loss.weight
      self.added = self.added and self.added + weighted or weighted
      self.total = (self.total or self.loss:sum():reshape { 1 }) + weighted
      added[#added + 1] = loss
    end
  end
  self.losses = added
  for name in pairs(weights) do
    if not known[name] then
      error(core.where() .. "loss_weights: the model adds no loss '" .. tostring(name) .. "'" .. args.hint(name, known),
        0)
    end
  end
end

-- Where the documents of each row start, for attention (block.lua publishes it).
local function find_documents(self, options)
  local last = options.document_end
  if (options.segments and 1 or 0) + (options.document_ends and 1 or 0) + (last and 1 or 0) > 1 then
    error(core.where() .. "trace: of document_end, document_ends and segments one says what documents are", 0)
  end
  if options.document_ends then
    self.graph:scope("documents")
    self.starts = input(self, "document_ends", "i32", { self.batch, self.context }):document_starts(1)
    self.positions = self.starts:result(2)
    return
  end
  if options.segments then
    self.starts = input(self, "segments", "i32", { self.batch, options.segments, 4 })
    self.positions = input(self, "positions", "i32", { self.batch, self.context })
    return
  end
  if not last then
    if options.document_positions then error(core.where() .. "trace: document_positions needs document_end", 0) end
    return
  end
  if not self.tokens then
    error(core.where() .. "trace: a model that reads features has no token that ends documents", 0)
  end
  if last >= self.model.config.vocab then
    error(core.where() .. string.format("trace: document_end %d is no token of a vocabulary of %d", last,
      self.model.config.vocab), 0)
  end
  self.graph:scope("documents")
  self.starts = self.tokens:document_starts(last)
  self.positions = options.document_positions and self.starts:result(2) or nil
end

--- Traces a model: appends its computation to a new graph.
---@param model sonde.model
---@param options? table
---@return sonde.trace
function trace.new(model, options)
  options = args.check(trace.schema, options, "trace")
  local config = model.config
  local self = setmetatable({
    model = model, params = model.handle, graph = options.graph or core.graph(), batch = options.batch,
    shares = options.graph ~= nil, context = options.context or config.context, drops = options.dropout,
    gate = options.gate, mute = options.mute, blocks = {}, parts = {}, n_dropout = 0, shared = core.block(),
  }, trace)
  if config.positions == "learned" and self.context > config.context
    and not (options.segments or options.document_positions or options.document_ends) then
    error(core.where() .. string.format("trace: the model has learned %d positions, and %d tokens need as many",
      config.context, self.context), 0)
  end
  self.graph:prefix(options.prefix)
  if not config.features then self.tokens = input(self, "tokens", "i32", { self.batch, self.context }) end
  find_documents(self, options)
  self.final = self:tap(self:final_norm(stack(self, options, embed(self))), "final")
  self.loss = score(self, options)
  self.losses, self.metrics = {}, {}
  if not options.rows then      -- those are of all tokens
    self.losses, self.metrics = published(self, "loss"), published(self, "metric")
  end
  add_losses(self, options.loss_weights)
  self.graph:scope(nil)
  self.graph:prefix(nil)
  return self
end

-- x as the head multiplies it, and the soft-cap of the products.
local function before_head(self, x)
  if not self.head then
    error(core.where() .. "the objective '" .. self.model.objective.name
      .. "' publishes no head, so there are no logits", 0)
  end
  if not self.scores_tokens then return x, 0 end
  return objective.scaled(x, self.model.config), self.model.config.logit_softcap
end

--- Logits [.., V]. Large: the loss does not need them.
---@param x? sonde.node    [.., D], behind the final norm; default: trace.final
---@return sonde.node
function trace:logits(x)
  local scaled, cap = before_head(self, x or self.final)
  local logits = scaled:linear(self.head)
  return cap == 0 and logits or (logits * (1 / cap)):tanh() * cap
end

--- The loss of each token that the head gives x, which need not be the model's own: cross-entropy in nats, [B T].
---@param x sonde.node     [B T, D], behind the final norm
---@return sonde.node
function trace:token_loss(x)
  local scaled, cap = before_head(self, x)
  return scaled:lm_loss(self.head, self.targets, cap)
end

--- Mean loss in nats over the tokens that are predicted, as a scalar node; `predicted` is how many those are.
---@param predicted? integer   default: all of them
---@return sonde.node
function trace:mean_loss(predicted)
  return self.loss:sum() * (1 / (predicted or self.batch * self.context))
end

args.class("trace", trace)

local self = { name = "self", type = "trace", required = true }

return args.declare(trace, "trace:", {
  logits = { self, { name = "x", type = "node" } },
  token_loss = { self, { name = "x", type = "node", required = true } }, counted = { self },
  mean_loss = { self, { name = "predicted", type = "number" } },
})
