--- generate_check.lua - whether a model gives the same token by token as all at once.
--
-- The key-value cache stands behind the op "attention" and nowhere else. A module or a placement that lets tokens see
-- each other in another way computes something else when it gets one token at a time, and nothing in its graph says so;
-- so both are computed, on a few made-up tokens.

local core = require "sonde.core"

local check = { TOKENS = 32, BOUND = 1e-3 }      -- tokens that are tried, difference over the size of the values

-- What is compared: nodes with what they are of. The last one are the logits.
local function marks_of(trace)
  local marks = {}
  local function mark(block, kind, name, node)
    if node then marks[#marks + 1] = { order = #marks, what = block .. kind .. " '" .. name .. "'", node = node } end
  end
  for index, layer in ipairs(trace.model.layers) do
    local block, part = "block " .. (index - 1) .. "'s ", trace.parts[index]
    mark(block, "attention", layer.attention.name, part:lookup "attn.branch")
    mark(block, "feed-forward layer", layer.ffn.name, part:lookup "ffn.branch")
    mark(block, "placement", layer.placement.name, trace.blocks[index])
    for _, norm in ipairs(part.norms) do
      mark(block, "placement", layer.placement.name, norm.input)
      mark(block, "norm", layer.norm.name, norm.output)
    end
  end
  mark("its ", "final norm", trace.model.final.name, trace.final)
  mark("its ", "head", "", trace:logits())
  return marks
end

-- Runs a trace of those tokens from a position on; returns the values of its marks at the last token.
local function values_of(model, tokens, position, cache)
  local graph, nodes, into = core.graph(), {}, {}
  if cache then cache:attach(graph, position == 0) end
  local trace = model:trace { graph = graph, batch = 1, context = #tokens }
  local marks = marks_of(trace)
  for k, mark in ipairs(marks) do nodes[k] = #tokens > 1 and mark.node:slice(2, #tokens) or mark.node end
  if cache then
    local written, tensors = cache:outputs(graph)
    for k, node in ipairs(written) do nodes[#marks + k], into[#marks + k] = node, tensors[k] end
  end
  local plan = core.plan(nodes, nil, into)
  if plan:reads "position" then plan:set("position", { position }) end
  if plan:reads "tokens" then plan:set("tokens", tokens) end
  plan:run()
  for k, mark in ipairs(marks) do
    mark.values, mark.id, mark.node = plan:output(k):values(), core.node_id(mark.node), nil
  end
  plan:close()
  graph:close()
  return marks
end

-- Whether two lists of values are apart. What is not finite is not judged here: the choice of a token refuses it.
local function differ(a, b)
  local off, size = 0, 0
  for i, value in ipairs(a) do
    off, size = math.max(off, math.abs(value - b[i])), size + value * value
  end
  return off > check.BOUND * math.sqrt(size / #a)
end

--- Refuses a model that cannot be generated from token by token, and says what in it is the reason.
---@param model sonde.model
---@param length integer     tokens of the longest sequence there will be
function check.run(model, length)
  local n, tokens = math.min(length, check.TOKENS), {}
  for k = 1, n do tokens[k] = k * 7919 % model.config.vocab end
  local whole, cache = values_of(model, tokens, 0), core.cache(1, n)
  local last = table.remove(tokens)
  values_of(model, tokens, 0, cache)
  local step = values_of(model, { last }, n - 1, cache)
  cache:close()
  if not differ(whole[#whole].values, step[#step].values) then return end
  for k, mark in ipairs(whole) do mark.step = step[k].values end
  table.sort(whole, function(a, b) return a.id < b.id or (a.id == b.id and a.order < b.order) end)
  for _, mark in ipairs(whole) do
    if differ(mark.values, mark.step) then
      error(core.where() .. "this model cannot be generated from token by token: " .. mark.what .. " gives "
        .. "another result there: it mixes tokens other than by the op 'attention' (causal), which alone has a cache, "
        .. "or depends on "
        .. "the context", 0)
    end
  end
end

return check
