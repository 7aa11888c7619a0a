--- evaluation.lua - the option `eval` of a training: downstream tasks, evaluated after every so many updates and at the
-- end.

local args = require "sonde.base.args"
local tasks = require "sonde.eval.tasks"
local sorted_keys = require "sonde.base.sorted_keys"

---@class sonde.train_evaluation
---@field last table<string, number>    what was measured last, by "tasks/TASK/METRIC"
---@field trainer userdata|nil          that records it
local evaluation = {}
evaluation.__index = evaluation

-- What is of a single evaluation: its samples, and how far it is.
local left_out = { samples = true, progress = true }

local schema = {
  { name = "every", type = "integer", min = 1, max = 1000000000,
    doc = "evaluated after each update whose number this divides, and at the end; default: at the end" },
}
for _, field in ipairs(tasks.schema) do
  if not left_out[field.name] then schema[#schema + 1] = field end
end

--- Checks the option.
---@param options table|nil
---@param where? sonde.where
---@return table|nil
function evaluation.check(options, where)
  if not options then return nil end
  return args.check(schema, options, "eval of train", where and function(path)
    local at = { "eval" }
    for k, key in ipairs(path) do at[k + 1] = key end
    return where(at)
  end)
end

--- What evaluates a training; raises where a task or its data is not there.
---@param options table|nil      checked
---@param tokenizer sonde.tokenizer|nil   of the corpus
---@return sonde.train_evaluation
function evaluation.new(options, tokenizer)
  if options then tasks.check(options) end
  return setmetatable({ options = options, tokenizer = tokenizer, last = {}, step = nil }, evaluation)
end

-- Evaluates after an update, once.
local function run(self, state)
  if self.step == state.step then return end
  local options = {}
  for key, value in pairs(self.options) do options[key] = value end
  options.every = nil
  local tokenizer = not state.model:has_tokenizer() and self.tokenizer or nil
  local result = tasks.evaluate(state.model, options, { tokenizer = tokenizer })
  self.step, self.last = state.step, {}
  for _, task in ipairs(sorted_keys(result.results)) do
    for _, key in ipairs(sorted_keys(result.results[task])) do
      local metric, value = string.match(key, "^([%w_]+),none$"), result.results[task][key]
      if metric and type(value) == "number" then
        local name = "tasks/" .. task .. "/" .. metric
        self.last[name] = value
        self.trainer:record(name, value)
      end
    end
  end
end

--- The hooks of a training with those that evaluate: these come first.
---@param others table[]|nil
---@return table[]
function evaluation:hooks(others)
  local list = {}
  if self.options then
    local function call(state) run(self, state) end
    if self.options.every then list[1] = { name = "eval", every = self.options.every, call = call } end
    list[#list + 1] = { name = "eval", at = "end", again = true, call = function(state)
      if not state.diverged then call(state) end
    end }
  end
  for _, hook in ipairs(others or {}) do list[#list + 1] = hook end
  return list
end

return evaluation
