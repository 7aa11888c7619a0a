--- rows.lua - files of task data: rows of JSON lines, or a JSON list as hubs serve them; packed or not.

local core = require "sonde.core"

local rows = {}

---@class sonde.row_of_data
---@field row table       its columns
---@field line string     as it was read
---@field where string    "FILE:LINE: "

-- A whole JSON value: a list of rows, {rows = {{row = ..}, ..}} or {data = ..}.
local function of_tree(tree, path)
  local list, found = tree.rows or tree.data or tree, {}
  if type(list) ~= "table" or list[1] == nil then error(path .. ": is no list of rows", 0) end
  for k, entry in ipairs(list) do
    local row = type(entry) == "table" and type(entry.row) == "table" and entry.row or entry
    found[k] = { row = row, line = core.json_encode(row), where = path .. ": row " .. k .. ": " }
  end
  return found
end

--- The rows of a file.
---@param path string
---@return sonde.row_of_data[]
function rows.read(path)
  local lines, found = core.text_lines(path), {}
  local whole = string.find(lines[1] or "", "^%s*%[") or string.find(path, "%.json%f[.%z]") and not lines[2]
    or string.find(lines[1] or "", "^%s*{%s*$")
  if whole then return of_tree(core.json_decode(table.concat(lines, "\n"), path), path) end
  for k, line in ipairs(lines) do
    found[k] = { row = core.json_decode(line, path .. ":" .. k), line = line, where = path .. ":" .. k .. ": " }
  end
  if #found == 0 then error(path .. ": holds no rows", 0) end
  return found
end

local endings = { ".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst" }

local function find(folder, names)
  for _, name in ipairs(names) do
    for _, ending in ipairs(endings) do
      if core.exists(folder .. "/" .. name .. ending) == "file" then return folder .. "/" .. name .. ending end
    end
  end
end

local function names_for(task, split)
  local names = {}
  for _, name in ipairs { task.name, task.file } do
    names[#names + 1] = name .. "_" .. split
    names[#names + 1] = name .. "/" .. split
  end
  return names
end

--- The file of a task's split in a folder: NAME_SPLIT.jsonl or NAME/SPLIT.jsonl, .json and .gz and .zst too; for the
--- evaluated split also NAME.jsonl. NAME is the task's, or the name of its files. Raises where there is none.
---@param folder string
---@param task table
---@param split string
---@param evaluated boolean
---@return string
function rows.file(folder, task, split, evaluated)
  local names = names_for(task, split)
  if evaluated then
    names[#names + 1], names[#names + 2] = task.name, task.file
    -- Published samples often lack a test split's answers.
    for _, name in ipairs(split == "test" and names_for(task, "validation") or {}) do names[#names + 1] = name end
  end
  local path = find(folder, names)
  if path then return path end
  if core.exists(folder) ~= "folder" then error(folder .. ": there is no such folder of task data", 0) end
  error(string.format("%s: there is no data of the task '%s' (%s split): %s.jsonl, or .jsonl.gz; `sonde eval "
    .. "--convert` makes it of the rows of %s on the hub", folder, task.name, split, names[1],
    task.source or task.name), 0)
end

--- The rows of a task: of a file that several tasks share, those with the task's own word.
---@param path string
---@param task table
---@return sonde.row_of_data[]
function rows.of_task(path, task)
  local key, word = next(task.word)
  local all, own = rows.read(path), {}
  if not key or all[1].row[key] == nil then return all end
  for _, each in ipairs(all) do
    if each.row[key] == word then own[#own + 1] = each end
  end
  if #own == 0 then error(path .. ": no row has the " .. key .. " '" .. word .. "'", 0) end
  return own
end

return rows
