--- attention_maps.lua - where each head of a model looks on a text: the weights of its attention, by query and key.

local core = require "sonde.core"
local args = require "sonde.base.args"
local export = require "sonde.report.export"
local html = require "sonde.report.html"
local page = require "sonde.report.page"
local weights = require "sonde.probe.attention_weights"

local attention_maps = {}

local MOST = 8388608          -- numbers that are computed at once, of all heads of the blocks
local MOST_DRAWN = 64         -- maps on a page

local whole = { name = "number", type = "integer", min = 0, doc = "from 0" }

--- The options of sonde.attention_maps.
---@type sonde.schema
attention_maps.schema = {
  { name = "blocks", type = "list", of = whole, doc = "which blocks, from 0; default: all that have attention" },
  { name = "heads", type = "list", of = whole, doc = "which heads, from 0; default: all" },
}

local function refuse(text, ...)
  error(core.where() .. "attention_maps: " .. string.format(text, ...), 0)
end

local function check_tokens(model, tokens)
  if not model.config.vocab then refuse("is of tokens; the model reads features") end
  local ids = type(tokens) == "userdata" and tokens:values() or tokens
  if type(ids) ~= "table" or #ids == 0 then refuse("takes a list of tokens, not %s", tostring(tokens)) end
  for _, id in ipairs(ids) do
    if type(id) ~= "number" or id ~= math.floor(id) or id < 0 or id >= model.config.vocab then
      refuse("%s is no token of a vocabulary of %d", tostring(id), model.config.vocab)
    end
  end
  return ids
end

-- The blocks that are asked for and have attention, as { block, part }.
local function chosen_blocks(model, trace, wanted)
  local list = {}
  if wanted then
    for _, block in ipairs(wanted) do
      local part = trace.parts[block + 1]
      if block >= model.config.depth then
        refuse("there is no block %d; the last of the model is %d", block, model.config.depth - 1)
      end
      if not part or not part:lookup "attn.branch" then refuse("block %d has no attention", block) end
      list[#list + 1] = { block, part }
    end
    return list
  end
  for block = 0, model.config.depth - 1 do
    local part = trace.parts[block + 1]
    if part and part:lookup "attn.branch" then list[#list + 1] = { block, part } end
  end
  if #list == 0 then refuse "the blocks have no attention" end
  return list
end

local function chosen_heads(wanted, heads, block)
  local list = {}
  for head = 0, heads - 1 do list[head + 1] = head end
  for _, head in ipairs(wanted or {}) do
    if head >= heads then refuse("block %d has no head %d; its last is %d", block, head, heads - 1) end
  end
  return wanted or list
end

-- Before anything is planned: what all heads of the blocks would take.
local function check_size(blocks, n)
  local heads = 0
  for _, each in ipairs(blocks) do heads = heads + each[2]:lookup("attn.heads"):dims()[3] end
  if heads * n * n > MOST then
    refuse("%d heads of %d blocks on %d tokens are %.0f numbers, %d at most; give fewer tokens, or fewer blocks", heads,
      #blocks, n, 1.0 * heads * n * n, MOST)
  end
end

-- The map of one head out of a tensor [1, H, T, T].
local function rows_of(values, head, n)
  local rows, at = core.list(), head * n * n
  for q = 1, n do
    local row = core.list()
    for k = 1, n do row[k] = values[at + (q - 1) * n + k] end
    rows[q] = row
  end
  return rows
end

---@class sonde.attention_map
---@field block integer        from 0
---@field head integer         from 0
---@field weights number[][]   weights[q][k]: how much of what token q takes comes from token k; rows sum to 1

--- The attention weights of a model on tokens: for each block and head a matrix, by query and key. The size is bounded
--- (by 8,388,608 numbers of all heads of the blocks): ask for the blocks that matter, on a short text.
---@param model sonde.model
---@param tokens integer[]|sonde.tensor   one text
---@param options? table                  see attention_maps.schema
---@return sonde.attention_map[]
function attention_maps.maps(model, tokens, options)
  options = args.check(attention_maps.schema, options, "attention_maps")
  local ids = check_tokens(model, tokens)
  local n = #ids
  local trace = model:init():trace { batch = 1, context = n }
  local blocks, nodes, maps = chosen_blocks(model, trace, options.blocks), {}, {}
  for _, each in ipairs(blocks) do
    -- refuses, by name
    if not each[2]:lookup "attn.heads" then weights.of(each[2], "attention_maps") end
  end
  check_size(blocks, n)
  for k, each in ipairs(blocks) do nodes[k] = weights.of(each[2], "attention_maps") end
  local plan = core.plan(nodes)
  plan:run { tokens = core.tensor("i32", { 1, n }, ids) }
  for k, each in ipairs(blocks) do
    local values = plan:output(k):values()
    for _, head in ipairs(chosen_heads(options.heads, nodes[k]:dims()[2], each[1])) do
      maps[#maps + 1] = { block = each[1], head = head, weights = rows_of(values, head, n) }
    end
  end
  plan:close()
  return maps
end

--- Maps as CSV: block, head, query, key, weight.
---@param maps sonde.attention_map[]
---@return string
function attention_maps.csv(maps)
  local rows = {}
  for _, map in ipairs(maps) do
    for q, row in ipairs(map.weights) do
      for k = 1, q do rows[#rows + 1] = { map.block, map.head, q - 1, k - 1, row[k] } end
    end
  end
  return export.csv({ "block", "head", "query", "key", "weight" }, rows)
end

--- Refuses more maps than a page can draw.
---@param maps sonde.attention_map[]
function attention_maps.check_drawn(maps)
  if #maps > MOST_DRAWN then
    error(("%d maps are too many for a page, which draws %d; choose blocks and heads"):format(#maps, MOST_DRAWN), 0)
  end
end

--- Maps as one page of heat maps, a section for each block.
---@param maps sonde.attention_map[]
---@param pieces string[]     the text of each token
---@param title string
---@param gnuplot? string     program to draw with
---@return string page, string|nil reason why there are no figures
function attention_maps.page(maps, pieces, title, gnuplot)
  attention_maps.check_drawn(maps)
  local groups, names = {}, {}
  for k, piece in ipairs(pieces) do names[k] = ("%d %s"):format(k - 1, (piece:gsub("%s", "·"))) end
  local side = math.max(400, 130 + 17 * #pieces)      -- room for every token's name
  for _, map in ipairs(maps) do
    local group = groups[#groups]
    if not group or group.block ~= map.block then
      group = { id = "block-" .. map.block, title = "Block " .. map.block, block = map.block, figures = {},
        caption = "Rows are the tokens that look, columns those that are looked at; a row sums to 1." }
      groups[#groups + 1] = group
    end
    local head = "head " .. map.head
    group.figures[#group.figures + 1] = { heat = map.weights, title = head, alt = "attention of block " .. map.block
      .. ", " .. head,
      xlabel = "key", ylabel = "query", key = "weight", low = 0, high = 1, xticks = 0, yticks = 0, names = names,
      down = true,
      width = side + 100, height = side }
  end
  local facts = ("%d tokens: %s"):format(#pieces, table.concat(pieces))
  return page.figures(title, { html.element("p", { class = "facts" }, html.escape(facts)) }, groups, gnuplot)
end

return args.declare(attention_maps, "sonde.attention_maps.", {
  maps = {
    as = "sonde.attention_maps",
    { name = "model", type = "model", required = true },
    { name = "tokens", type = "tensor|list", required = true, of = { name = "token", type = "integer" } },
    { name = "options", type = "table" },
  },
})
