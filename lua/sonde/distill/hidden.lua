--- hidden.lua - what a student learns from the inside of its teacher: the streams after blocks, and the relations of
-- tokens in an attention layer (its weights, and those of the values: MiniLM; Wang et al., 2020).

local core = require "sonde.core"
local args = require "sonde.base.args"
local feeds = require "sonde.data.feed"

local hidden = {}

local map = { name = "map", type = "string|list", choices = { "uniform", "last", "searched" },
  doc = "which blocks: \"uniform\", each of the student's and the teacher's at the same share of the depth; \"last\"; "
    .. "\"searched\", the most alike by CKA on the text, in order; or pairs {student, teacher}, from 0",
  of = { name = "pair", type = "list", doc = "{student's block, teacher's block}",
    of = { name = "block", type = "integer", min = 0, doc = "" } } }

local function with_preset(preset)
  local field = {}
  for key, value in pairs(map) do field[key] = value end
  field.preset = preset
  return field
end

local schemas = {
  hidden = {
    { name = "loss", type = "string", preset = "mse", choices = { "mse", "cosine" },
      doc = "mean square of the difference, or 1 - cosine, of each token's stream" },
    { name = "weight", type = "number", min = 0, preset = 1, doc = "factor, of the mean over the pairs" },
    { name = "projection", type = "boolean",
      doc = "a learned matrix from the student's width to the teacher's; default: where they differ" },
    with_preset "uniform",
  },
  relations = {
    { name = "attention", type = "number", min = 0, preset = 1, doc = "factor of KL between the attention weights" },
    { name = "values", type = "number", min = 0, preset = 1,
      doc = "factor of KL between softmax(V V^T / sqrt d), of the tokens that a token sees" },
    with_preset "last",
  },
}

-- ---- which blocks --------------------------------------------------------------------------------------------------

local function check_pairs(pairs_given, depth, teacher_depth, what, where)
  for k, pair in ipairs(pairs_given) do
    if #pair ~= 2 or pair[1] >= depth or pair[2] >= teacher_depth then
      error(where() .. string.format("option 'map' of %s: pair %d must be {block of the student's %d, block of the "
        .. "teacher's %d}, from 0", what, k, depth, teacher_depth), 0)
    end
  end
  if #pairs_given == 0 then error(where() .. "option 'map' of " .. what .. " has no pair", 0) end
end

-- The pairs of a map by its name; "searched" waits for the text.
local function pairs_of(name, depth, teacher_depth)
  if name == "last" then return { { depth - 1, teacher_depth - 1 } } end
  local list = {}
  for i = 1, depth do list[i] = { i - 1, math.max(1, math.floor(i * teacher_depth / depth + 0.5)) - 1 } end
  return list
end

--- Checks the option hidden or relations of `distill` for a student beside a teacher.
---@param what string       which of them
---@param given table
---@param mine table        depth and width of the student
---@param theirs table      of the teacher
---@param where fun(): string
---@return table            with all its options; map in pairs, but for "searched"
function hidden.check(what, given, mine, theirs, where)
  local options = args.check(schemas[what], given, what .. " of distill", where)
  if type(options.map) == "table" then
    check_pairs(options.map, mine.depth, theirs.depth, what, where)
  elseif options.map ~= "searched" then
    options.map = pairs_of(options.map, mine.depth, theirs.depth)
  end
  if what == "hidden" and options.projection == nil then options.projection = mine.width ~= theirs.width end
  if what == "hidden" and not options.projection and mine.width ~= theirs.width then
    error(where() .. string.format("hidden of distill: widths of %d and %d need a projection", mine.width,
      theirs.width), 0)
  end
  return options
end

--- Checks the options hidden and relations of `distill`, and puts all of theirs there.
---@param o table              of a training: distill.hidden, distill.relations, changed
---@param model sonde.model    the student
---@param list sonde.teacher[]
---@param where fun(): string
function hidden.resolve(o, model, list, where)
  for _, what in ipairs { "hidden", "relations" } do
    if o.distill[what] then
      if #list > 1 or not list[1].model then
        error(where() .. "option '" .. what .. "' of distill is for one teacher that is computed beside the student: "
          .. (#list > 1 and "there are " .. #list or "a cache has no streams"), 0)
      end
      o.distill[what] = hidden.check(what, o.distill[what], model.config, list[1].model.config, function()
        return where()
      end)
    end
  end
end

-- Linear CKA of all pairs of blocks on some rows of the text: list by student's and teacher's block.
local function alike(model, teacher, source, o)
  local batch, context, documents = o.batch, o.context, feeds.has_documents(source)
  local trace = model:init():trace { batch = batch, context = context, document_ends = documents }
  local theirs = teacher:trace { batch = batch, context = context, document_ends = documents, graph = trace.graph,
    prefix = "teacher." }
  local n, outputs = batch * context, {}
  local function centred(x)
    x = x:reshape { n, x:dims()[3] }
    return x - x:mean(1)
  end
  local function size(a, b) return a:matmul(b, { transpose_a = true }):square():sum() end
  for _, x in ipairs(trace.blocks) do
    for _, y in ipairs(theirs.blocks) do
      local a, b = centred(x), centred(y)
      outputs[#outputs + 1] = size(a, b) / (size(a, a) * size(b, b)):sqrt()
    end
  end
  local plan, values, feed = core.plan(outputs), {}, feeds.open(source, context, o.seed)
  feed:train(0, feeds.bind(plan, trace, feed))
  plan:run()
  for k = 1, #outputs do values[k] = plan:output(k):values()[1] end
  plan:close()
  return values
end

-- The assignment in order (no block of the teacher before that of an earlier block) with the largest sum.
local function in_order(values, depth, theirs)
  local best, from = {}, {}
  for i = 1, depth do
    best[i], from[i] = {}, {}
    local top, at = -math.huge, 0
    for j = 1, theirs do
      local before = i > 1 and best[i - 1][j] or 0
      if before > top then top, at = before, j end
      best[i][j], from[i][j] = top + values[(i - 1) * theirs + j], at
    end
  end
  local j, list = 1, {}
  for k = 2, theirs do
    if best[depth][k] > best[depth][j] then j = k end
  end
  for i = depth, 1, -1 do
    list[i] = { i - 1, j - 1 }
    j = from[i][j]
  end
  return list
end

--- Puts pairs in the place of "searched", by the first rows of the text.
---@param o table
---@param model sonde.model
---@param source sonde.corpus|sonde.feed
function hidden.search(o, model, source)
  for _, what in ipairs { "hidden", "relations" } do
    local options = o.distill[what]
    if options and options.map == "searched" then
      local teacher = o.teachers[1].model
      options.map = in_order(alike(model, teacher, source, o), model.config.depth, teacher.config.depth)
    end
  end
end

--- Uniform pairs in the place of "searched", for plans that read no text: they are as many, and cost the same.
---@param o table
---@param model sonde.model
function hidden.stand_in(o, model)
  for _, what in ipairs { "hidden", "relations" } do
    local options = o.distill[what]
    if options and options.map == "searched" then
      options.map = pairs_of("uniform", model.config.depth, o.teachers[1].model.config.depth)
    end
  end
end

-- ---- parameters ----------------------------------------------------------------------------------------------------

local function projection_name(pair) return "distill.projection." .. pair[1] .. "." .. pair[2] .. ".weight" end

--- Whether the training has parameters of its own beside the student's.
---@param o table
---@return boolean
function hidden.has_parameters(o)
  return o.distill ~= nil and o.distill.hidden ~= nil and o.distill.hidden.projection
end

--- Adds them to a model's.
---@param model sonde.model
---@param o table
function hidden.extend(model, o)
  local dims = { o.teachers[1].model.config.width, model.config.width }
  model.beside = {}
  for _, pair in ipairs(o.distill.hidden.map) do
    model.beside[projection_name(pair)] = true
    model:params():extend(projection_name(pair), dims, "other", { kind = "fan_in", a = 1, b = 0 })
  end
end

-- ---- the graph -----------------------------------------------------------------------------------------------------

-- [B, T, D] and [B, T, D'] of a pair: how far they are from each other, [N].
local function stream_loss(trace, theirs, pair, options)
  local x, y = trace.blocks[pair[1] + 1], theirs.blocks[pair[2] + 1]
  local n = x:dims()[1] * x:dims()[2]
  x, y = x:reshape { n, x:dims()[3] }, y:reshape { n, y:dims()[3] }
  if options.projection then x = x:linear(trace.params:node(trace.graph, projection_name(pair))) end
  if options.loss == "mse" then return (x - y):square():mean(2):reshape { n } end
  local lengths = (x:square():sum(2) * y:square():sum(2) + 1e-12):sqrt()
  return (1 - (x * y):sum(2) / lengths):reshape { n }
end

-- Queries, keys and values of a block's attention, each [B, T, H, Dh], and the scale of its scores.
local function attended(trace, block, whose)
  local part = trace.parts[block + 1]
  local heads = part:lookup "attn.heads"
  local plain = heads and heads:op() == "attention"
  if plain then
    local numbers, integers = core.node_attributes(heads)
    plain = numbers[2] == 0 and integers[2] == 0 and integers[5] == 0 and #heads:inputs() == (trace.starts and 4 or 3)
    plain = plain and { heads = heads:inputs(), scale = numbers[1] }
  end
  if not plain then
    error(core.where() .. "relations of distill: block " .. block .. " of the " .. whose .. " has no plain attention: "
      .. "none with a window, a soft-cap, slopes or lists of blocks", 0)
  end
  return plain.heads[1], plain.heads[2], plain.heads[3], plain.scale
end

local FORBIDDEN = -1e9            -- added to scores of tokens that must not be seen

-- 0 where query i may see key j, else FORBIDDEN: [T, T], or with documents [B, 1, T, T].
local function unseen(trace)
  local n, ages, places = trace.context, {}, {}
  for i = 0, n - 1 do
    places[i + 1] = i
    for j = 0, n - 1 do ages[#ages + 1] = i - j end
  end
  local graph = trace.graph
  local age = graph:find "distill.age" or graph:leaf("distill.age", core.tensor("f32", { n, n }, ages))
  local seen = age:greater(-0.5)
  if trace.starts then
    local key = graph:find "distill.key" or graph:leaf("distill.key", core.tensor("f32", { n }, places))
    seen = seen * key:greater(trace.starts:cast("f32"):reshape { trace.batch, 1, n, 1 } - 0.5)
  end
  return seen:affine(-FORBIDDEN, FORBIDDEN)
end

-- log softmax of scale a b^T over the tokens that a token sees: [B, H, T, T], of a [B, T, H, D] and b [B, T, KV, D].
local function logs(trace, a, b, scale)
  local d, kv = a:dims(), b:dims()[3]
  local batch, tokens, heads, width = d[1], d[2], d[3], d[4]
  b = b:permute({ 1, 3, 2, 4 }):reshape({ batch, kv, 1, tokens, width })
    :expand({ batch, kv, heads / kv, tokens, width }):reshape { batch, heads, tokens, width }
  local scores = a:permute({ 1, 3, 2, 4 }):matmul(b, { transpose_b = true })
  return (scores * (scale ~= 0 and scale or 1 / math.sqrt(width)) + unseen(trace)):log_softmax()
end

local relation = {
  attention = function(trace, block, whose)
    local q, k, _, scale = attended(trace, block, whose)
    return logs(trace, q, k, scale)
  end,
  values = function(trace, block, whose)
    local _, _, v = attended(trace, block, whose)
    return logs(trace, v, v, 0)
  end,
}

-- KL of the teacher's relations from the student's, a mean over the heads: [N].
local function relation_loss(trace, theirs, pair, of)
  local mine, other = of(trace, pair[1], "student"), of(theirs, pair[2], "teacher")
  local a, b = mine:dims(), other:dims()
  if a[2] ~= b[2] then
    error(core.where() .. string.format("relations of distill: the student has %d heads and the teacher %d; they must "
      .. "be as many", a[2], b[2]), 0)
  end
  return (other:exp() * (other - mine)):sum(4):mean(2):reshape { a[1] * a[3] }
end

local function mean_of(list)
  local sum
  for _, node in ipairs(list) do sum = sum and sum + node or node end
  return sum * (1 / #list)
end

--- What is added to the loss: {name, node [N], weight}.
---@param trace sonde.trace     of the student
---@param theirs sonde.trace    of its teacher, in the same graph
---@param o table
---@return {name: string, node: sonde.node, weight: number}[]
function hidden.losses(trace, theirs, o)
  local counts, added = trace.targets:cast("f32"):greater(-0.5), {}
  local function add(name, weight, map_of, loss)
    if weight == 0 then return end
    local list = {}
    for k, pair in ipairs(map_of) do list[k] = loss(pair) end
    added[#added + 1] = { name = name, node = mean_of(list) * counts, weight = weight }
  end
  local streams, related = o.distill.hidden, o.distill.relations
  if streams then
    add("hidden", streams.weight, streams.map, function(pair) return stream_loss(trace, theirs, pair, streams) end)
  end
  if related then
    add("attention_relation", related.attention, related.map, function(pair)
      return relation_loss(trace, theirs, pair, relation.attention)
    end)
    add("value_relation", related.values, related.map, function(pair)
      return relation_loss(trace, theirs, pair, relation.values)
    end)
  end
  return added
end

return hidden
