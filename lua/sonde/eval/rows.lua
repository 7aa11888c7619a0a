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

-- The first file of some names {stem, the rest of the name}, and its stem.
local function find(folder, names)
  for _, name in ipairs(names) do
    for _, ending in ipairs(endings) do
      local path = folder .. "/" .. name[1] .. name[2] .. ending
      if core.exists(path) == "file" then return path, name[1] end
    end
  end
end

-- What a task's files may be called: after itself, after the family that it is of, and after the task that it shares
-- rows with.
local function stems_of(task)
  local stems = { task.name }
  if task.file ~= task.name then stems[2] = task.file end
  stems[#stems + 1] = task.shares
  return stems
end

local function add_names(names, task, split)
  for _, stem in ipairs(stems_of(task)) do
    names[#names + 1] = { stem, "_" .. split }
    names[#names + 1] = { stem, "/" .. split }
  end
end

--- The file of a task's split in a folder: NAME_SPLIT.jsonl or NAME/SPLIT.jsonl, .json and .gz and .zst too; for the
--- evaluated split also NAME.jsonl. NAME is the task's, the name of its files, or that of the files that it shares.
--- Raises where there is none.
---@param folder string
---@param task table
---@param split string
---@param evaluated boolean
---@return string path, boolean shared   shared: the file is another task's
function rows.file(folder, task, split, evaluated)
  local names = {}
  add_names(names, task, split)
  if evaluated then
    for _, stem in ipairs(stems_of(task)) do names[#names + 1] = { stem, "" } end
    if split == "test" then add_names(names, task, "validation") end      -- a published one often lacks its answers
  end
  local path, stem = find(folder, names)
  if path then return path, stem == task.shares end
  if core.exists(folder) ~= "folder" then error(folder .. ": there is no such folder of task data", 0) end
  local first = {}
  for k, stem in ipairs(stems_of(task)) do first[k] = stem .. "_" .. split .. ".jsonl" end
  error(string.format("%s: there is no data of the task '%s' (%s split): %s, also .gz; `sonde eval "
    .. "--convert` makes it of the rows of %s on the hub", folder, task.name, split, table.concat(first, " or "),
    task.source or task.name), 0)
end

--- The rows of a task: of a file that several tasks share, those with the task's own word.
---@param path string
---@param task table
---@param shared boolean     the file is another task's, whose prompts are others: a row must not have one yet
---@return sonde.row_of_data[]
function rows.of_task(path, task, shared)
  local key, word = next(task.word)
  local all, own = rows.read(path), {}
  for _, each in ipairs(shared and all or {}) do
    if task:is_item(each.row) then
      error(string.format("%sthe row has the prompt of '%s', which is not that of '%s'; give the rows of the hub, or "
        .. "%s_%s.jsonl", each.where, task.shares, task.name, task.file, task.split), 0)
    end
  end
  if not key or all[1].row[key] == nil then return all end
  for _, each in ipairs(all) do
    if each.row[key] == word then own[#own + 1] = each end
  end
  if #own == 0 then error(path .. ": no row has the " .. key .. " '" .. word .. "'", 0) end
  return own
end

return rows
