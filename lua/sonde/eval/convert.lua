--- convert.lua - rows of a data set as the hub has them to the documented form: prompts, choices and answers.

local core = require "sonde.core"
local args = require "sonde.base.args"
local rows = require "sonde.eval.rows"
local sorted_keys = require "sonde.base.sorted_keys"
local task = require "sonde.eval.task"

local convert = {}

-- The task whose templates a row is put into: of several that share files, the row's own.
local function task_for(found, name, row)
  local this = found.tasks[name]
  if this then return this end
  for _, each in pairs(found.tasks) do
    local key, word = next(each.word)
    if key and each.file == name and row[key] == word then return each end
  end
end

--- Writes the rows of a file (JSON lines, a JSON list, or a page of rows; packed or not) as JSON lines that
--- sonde.evaluate_tasks reads: id, context, choices, answer and so on. Returns how many.
---@param name string           a task, or a family of tasks that shares its files ("mmlu")
---@param path string
---@param out string
---@param task_files? string[]
---@return integer
function convert.file(name, path, out, task_files)
  local found, lines = task.load(task_files), {}
  local names, families = sorted_keys(found.tasks), {}
  for _, each in pairs(found.tasks) do families[each.file] = next(each.word) and true or families[each.file] end
  if not found.tasks[name] and not families[name] then
    error("there is no task '" .. name .. "'" .. args.hint(name, names), 0)
  end
  core.check_file(out)
  for k, entry in ipairs(rows.read(path)) do
    local this = task_for(found, name, entry.row)
    if not this then error(entry.where .. "the row is of no task of '" .. name .. "'", 0) end
    local item = this:item(entry.row, entry.where)
    item.id = k - 1
    for key, word in pairs(this.word) do item[key] = word end
    lines[k] = core.json_encode(item) .. "\n"
  end
  core.write_file(out, table.concat(lines))
  return #lines
end

return args.declare(convert, "sonde.", {
  file = {
    as = "sonde.convert_tasks",
    { name = "name", type = "string", required = true }, { name = "path", type = "string", required = true },
    { name = "out", type = "string", some = true, required = true },
    { name = "task_files", type = "list", of = { name = "path", type = "string" } },
  },
})
