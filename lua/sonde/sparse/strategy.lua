--- strategy.lua - which blocks a model can do without: strategies by name. One strategy, one function of ten lines;
-- those of Sonde are the files of strategies/.
--
-- A strategy gets the task (sonde.prune_task) and returns a list of task.count different ones of task.blocks, and
-- if it has them the scores that it chose by: a number for each block, or for each first block of a range.

local core = require "sonde.core"
local args = require "sonde.base.args"
local registry = require "sonde.base.registry"

local strategies = registry.new {
  kind = "strategy", folder = "sonde/sparse/strategies",
  schema = {
    { name = "choose", type = "function", required = true, doc = "of a task: the blocks" },
    { name = "text", type = "boolean", preset = false, doc = "whether it measures on text" },
    { name = "branches", type = "boolean", preset = false, doc = "whether it chooses branches of blocks too" },
    { name = "doc", type = "string", preset = "", doc = "one line on what it removes" },
  },
}
local strategy = { registry = strategies }

---@class sonde.prune_task
---@field model sonde.model
---@field depth integer     L
---@field count integer     how many blocks must go
---@field what string       "block", or the branch of the blocks that goes: "attn", "ffn"
---@field blocks integer[]  the blocks to choose from, from 0: those that have what goes
---@field seed integer      of what is drawn
---@field measure fun(probe: string): table    the values of a probe on the task's text (sonde.probe)

---@class sonde.strategy_options
---@field text? boolean     whether it measures on text
---@field branches? boolean whether it looks at task.what, and so chooses branches too
---@field doc? string       one line on what it removes

--- Registers a strategy under a name that sonde.prune can be asked for.
---@param name string
---@param choose fun(task: sonde.prune_task): integer[], number[]|nil
---@param options? sonde.strategy_options
function strategy.register(name, choose, options)
  local info = { choose = choose }
  for key, value in next, options or {} do info[key] = value end
  strategies:add(name, info)
end

--- The names of all strategies.
---@return string[]
function strategy.names()
  return strategies:names()
end

--- The strategy of that name: {name=, choose=, text=, doc=}.
---@param name string
---@return table
function strategy.find(name)
  return strategies:find(name)
end

-- What a strategy gave, checked: so many different blocks of the model, in order.
local function checked(found, blocks, task)
  local seen, sorted, offered = {}, core.list(), {}
  for _, block in ipairs(task.blocks) do offered[block] = true end
  local function refuse(text) error(core.where() .. "the strategy '" .. found.name .. "' " .. text, 0) end
  if type(blocks) ~= "table" or #blocks ~= task.count then
    refuse(string.format("must give a list of %d blocks, not %s", task.count,
      type(blocks) == "table" and "of " .. #blocks or tostring(blocks)))
  end
  for i, block in ipairs(blocks) do
    if not offered[block] or seen[block] then
      refuse("gave block " .. tostring(block) .. (seen[block] and " twice" or task.what == "block"
        and ", which the model does not have" or ", which has no such branch"))
    end
    seen[block], sorted[i] = true, math.floor(block)
  end
  table.sort(sorted)
  return sorted
end

--- The blocks that a strategy would remove, in order, and its scores or nil.
---@param name string
---@param task sonde.prune_task
---@return integer[] blocks, number[]|nil scores
function strategy.choose(name, task)
  local found = strategy.find(name)
  if task.what ~= "block" and not found.branches then
    error(core.where() .. "strategy '" .. name .. "' chooses whole blocks, not branches of them (" .. task.what .. ")",
      0)
  end
  local blocks, scores = found.choose(task)
  return checked(found, blocks, task), scores
end

-- ---- what strategies share -----------------------------------------------------------------------

--- The blocks of the n lowest scores; of equal ones the deepest.
---@param scores number[]
---@param n integer
---@param among? integer[]   blocks to choose from; default: all
---@return integer[]
function strategy.lowest(scores, n, among)
  local order = {}
  for i = 1, #(among or scores) do order[i] = among and among[i] or i - 1 end
  table.sort(order, function(a, b)
    if scores[a + 1] ~= scores[b + 1] then return scores[a + 1] < scores[b + 1] end
    return a > b
  end)
  local blocks = {}
  for i = 1, n do blocks[i] = order[i] end
  return blocks
end

--- n blocks in a row.
---@param first integer
---@param n integer
---@return integer[]
function strategy.range(first, n)
  local blocks = {}
  for i = 1, n do blocks[i] = first + i - 1 end
  return blocks
end

--- Registers a strategy that removes the blocks of the lowest values of a probe.
---@param name string
---@param probe string
---@param doc string
function strategy.register_lowest(name, probe, doc)
  strategy.register(name, function(task)
    local scores = task.measure(probe)
    return strategy.lowest(scores, task.count), scores
  end, { text = true, doc = doc })
end

return args.declare(strategy, "sonde.prune_strategy.", {
  register = {
    as = "sonde.prune_strategy",
    { name = "name", type = "string", required = true }, { name = "choose", type = "function", required = true },
    { name = "options", type = "table" },
  },
})
