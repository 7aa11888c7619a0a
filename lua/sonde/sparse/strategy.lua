--- strategy.lua - which blocks a model can do without: strategies by name. One strategy, one function
-- of ten lines.
--
-- A strategy gets the task (sonde.prune_task) and returns a list of task.count different blocks, from 0, and
-- if it has them the scores that it chose by: a number for each block, or for each first block of a range.

local core = require "sonde.core"
local args = require "sonde.base.args"

local strategy = {}

local strategies = {}

---@class sonde.prune_task
---@field model sonde.model
---@field depth integer     L
---@field count integer     how many blocks must go
---@field seed integer      of what is drawn
---@field measure fun(probe: string): table    the values of a probe on the task's text (sonde.probe)

---@class sonde.strategy_options
---@field text? boolean     whether it measures on text
---@field doc? string       one line on what it removes

--- Registers a strategy under a name that sonde.prune can be asked for.
---@param name string
---@param choose fun(task: sonde.prune_task): integer[], number[]|nil
---@param options? sonde.strategy_options
function strategy.register(name, choose, options)
  if strategies[name] then error(core.where() .. "the strategy '" .. name .. "' exists already", 0) end
  options = args.check({
    { name = "text", type = "boolean", preset = false, doc = "whether it measures on text" },
    { name = "doc", type = "string", preset = "", doc = "one line on what it removes" },
  }, options, "strategy '" .. name .. "'")
  strategies[name] = { name = name, choose = choose, text = options.text, doc = options.doc }
end

--- The names of all strategies.
---@return string[]
function strategy.names()
  local names = {}
  for name in pairs(strategies) do names[#names + 1] = name end
  table.sort(names)
  return names
end

--- The strategy of that name: {name=, choose=, text=, doc=}.
---@param name string
---@return table
function strategy.find(name)
  local found = strategies[name]
  if not found then
    error(core.where() .. "unknown strategy '" .. tostring(name) .. "'" .. args.hint(name, strategy.names()), 0)
  end
  return found
end

-- What a strategy gave, checked: so many different blocks of the model, in order.
local function checked(found, blocks, task)
  local seen, sorted = {}, core.list()
  local function refuse(text) error(core.where() .. "the strategy '" .. found.name .. "' " .. text, 0) end
  if type(blocks) ~= "table" or #blocks ~= task.count then
    refuse(string.format("must give a list of %d blocks, not %s", task.count,
      type(blocks) == "table" and "of " .. #blocks or tostring(blocks)))
  end
  for i, block in ipairs(blocks) do
    if type(block) ~= "number" or block < 0 or block >= task.depth or block ~= math.floor(block) or seen[block] then
      refuse("gave block " .. tostring(block) .. (seen[block] and " twice" or ", which the model does not have"))
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
  local blocks, scores = found.choose(task)
  return checked(found, blocks, task), scores
end

-- ---- Sonde's own --------------------------------------------------------------------------------

--- The blocks of the n lowest scores; of equal ones the deepest.
---@param scores number[]
---@param n integer
---@return integer[]
function strategy.lowest(scores, n)
  local order = {}
  for i = 1, #scores do order[i] = i - 1 end
  table.sort(order, function(a, b)
    if scores[a + 1] ~= scores[b + 1] then return scores[a + 1] < scores[b + 1] end
    return a > b
  end)
  local blocks = {}
  for i = 1, n do blocks[i] = order[i] end
  return blocks
end

local function range(first, n)
  local blocks = {}
  for i = 1, n do blocks[i] = first + i - 1 end
  return blocks
end

local function lowest_of(probe, doc)
  return function(task)
    local scores = task.measure(probe)
    return strategy.lowest(scores, task.count), scores
  end, { text = true, doc = doc }
end

-- Gromov et al. (2024): the n blocks in a row over which the stream turns least, the i of least d(i, n).
strategy.register("angular", function(task)
  local distances = task.measure("angular_distances")[task.count]
  return range(strategy.lowest(distances, 1)[1], task.count), distances
end, { text = true, doc = "the blocks in a row over which the stream turns least" })

-- Men et al. (ShortGPT, 2024).
strategy.register("influence", lowest_of("block_influence", "the blocks of lowest influence, 1 - cos(in, out)"))
strategy.register("removal", lowest_of("layer_removal", "the blocks whose removal, one at a time, costs least loss"))
strategy.register("usefulness", lowest_of("usefulness", "the blocks that a linear map replaces at least loss"))

strategy.register("last", function(task)
  return range(task.depth - task.count, task.count)
end, { doc = "the last blocks" })

-- Uniformly, by Fisher and Yates; Park and Miller's numbers are exact in doubles, on both fronts of Lua.
strategy.register("random", function(task)
  local state = (task.seed * 2654435 + 12345) % 2147483646 + 1
  local blocks, chosen = range(0, task.depth), {}
  for _ = 1, 8 do state = state * 16807 % 2147483647 end
  for i = 1, task.count do
    state = state * 16807 % 2147483647
    chosen[i] = table.remove(blocks, state % #blocks + 1)
  end
  return chosen
end, { doc = "blocks drawn by the seed" })

return args.declare(strategy, "sonde.prune_strategy.", {
  register = {
    as = "sonde.prune_strategy",
    { name = "name", type = "string", required = true }, { name = "choose", type = "function", required = true },
    { name = "options", type = "table" },
  },
})
