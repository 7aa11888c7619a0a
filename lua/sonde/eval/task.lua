--- task.lua - tasks as data: a YAML file says how a row of a data set becomes a prompt, its choices and the answer, and
-- what is measured. doc/evaluation.md describes the files; those of the library are in tasks/.

local core = require "sonde.core"
local args = require "sonde.base.args"
local metrics = require "sonde.eval.metrics"
local sorted_keys = require "sonde.base.sorted_keys"
local text = require "sonde.eval.text"

local task = {}
local class = {}
class.__index = class

local words = { name = "template", type = "string", doc = "" }
local answer = {
  { name = "value", type = "string", required = true, doc = "template" },
  { name = "first", type = "integer", preset = 0, doc = "number of the first choice" },
  { name = "among", type = "string", doc = "the column of the choices' labels" },
}
local family = {
  { name = "of", type = "string", required = true, doc = "name of what the members differ in, for templates" },
  { name = "alias", type = "string", doc = "a member's name in tables, a template" },
  { name = "members", type = "table", required = true, doc = "group -> list of members",
    each = { name = "members", type = "list", of = words, doc = "" } },
}

--- The keys of a task file.
---@type sonde.schema
task.schema = {
  { name = "task", type = "string", required = true, doc = "its name" },
  { name = "version", type = "number", doc = "of its definition; another one gives other numbers" },
  { name = "source", type = "string", doc = "the data set on the hub, for readers" },
  { name = "file", type = "string", doc = "beginning of its files' names; default: the task's name" },
  { name = "shares", type = "string", doc = "beginning of the names of another task's files, whose rows are taken "
    .. "where it has none of its own; they must be those of the hub" },
  { name = "kind", type = "string", required = true, choices = { "multiple_choice", "cloze", "rolling" },
    doc = "choices by likelihood; the last word; or perplexity of texts" },
  { name = "split", type = "string", preset = "test", doc = "what is evaluated" },
  { name = "shots", type = "table", doc = "where few-shot examples come from", fields = {
    { name = "split", type = "string", doc = "their split; default: the evaluated one" },
    { name = "first", type = "boolean", preset = false, doc = "the first ones, in order, for every document" },
    { name = "exclude_self", type = "boolean", preset = false,
      doc = "one more is drawn, and those equal to the document are left out" },
  } },
  { name = "description", type = "string", preset = "", doc = "text before the examples" },
  { name = "delimiter", type = "string", preset = " ", doc = "between context and answer" },
  { name = "separator", type = "string", preset = "\n\n", doc = "behind each example" },
  { name = "context", type = "string", doc = "template of the prompt" },
  { name = "contexts", type = "list", of = words, doc = "templates of prompts that differ, each with `continuation`" },
  { name = "continuation", type = "string", doc = "template of what follows each of `contexts`" },
  { name = "choices", type = "string|list", of = words, doc = "templates, or the column that is a list of them" },
  { name = "answer", type = "string|integer|table",
    doc = "template of the answer: its number from 0, or its text; or {value, first, among}" },
  { name = "target", type = "string", doc = "cloze: template of the word" },
  { name = "text", type = "string", doc = "rolling: template of the text" },
  { name = "clean", type = "string", doc = "what is done to prompts and choices",
    choices = function() return sorted_keys(text.cleaners) end },
  { name = "metrics", type = "list", required = true, of = { name = "metric", type = "string",
    choices = metrics.names, doc = "" }, doc = "what is reported" },
  { name = "group", type = "string", doc = "a name for several tasks, over which metrics are averaged" },
  { name = "group_version", type = "number", doc = "of the group" },
  { name = "family", type = "table", doc = "several tasks that differ in a word" },
}

-- ---- templates -----------------------------------------------------------------------------------------------

local function column(row, path, where)
  local value, at = row, ""
  for part in string.gmatch(path, "[^.]+") do
    at = at == "" and part or at .. "." .. part
    local index = tonumber(part)
    value = type(value) == "table" and (value[part] or index and value[index + 1]) or nil
    if value == nil then
      error(where .. "column '" .. at .. "' is missing; there are " .. table.concat(sorted_keys(row), ", "), 0)
    end
  end
  return value
end

local function shown(value, path, where)
  if type(value) == "string" then return value end
  if type(value) == "boolean" then return value and "True" or "False" end
  if type(value) == "number" then
    return value == math.floor(value) and string.format("%.0f", value) or tostring(value)
  end
  error(where .. "column '" .. path .. "' must be a text or a number, not a list", 0)
end

-- {column}, {column.2.name} (numbers count from 0), {column|filter|filter}.
local function render(template, row, where)
  return (string.gsub(template, "{([%w_][%w_.|]*)}", function(inside)
    local path = string.match(inside, "^[^|]+")
    local value = shown(column(row, path, where), path, where)
    for name in string.gmatch(inside, "|([%w_]+)") do
      local filter = text.filters[name]
      if not filter then
        error(where .. "there is no filter '" .. name .. "'" .. args.hint(name, sorted_keys(text.filters)), 0)
      end
      local was = value
      value = filter(value)
      if value == nil then
        error(where .. "column '" .. path .. "' is '" .. was .. "', which '" .. name .. "' cannot take", 0)
      end
    end
    return value
  end))
end

-- ---- items ---------------------------------------------------------------------------------------------------

---@class sonde.item      what a row is to a task; also the documented form of data files
---@field context? string         the prompt
---@field choices? string[]       multiple choice
---@field contexts? string[]      multiple choice by prompts, each followed by `continuation`
---@field continuation? string
---@field answer? integer         from 0
---@field target? string          cloze: the word, without the blank before it
---@field text? string            rolling: the whole text

local function is_list_of_texts(value)
  if type(value) ~= "table" or value[1] == nil then return false end
  for _, each in ipairs(value) do
    if type(each) ~= "string" then return false end
  end
  return true
end

--- Whether a row is in the documented form already.
---@param row table
---@return boolean
function class:is_item(row)
  if self.kind == "rolling" then return type(row.text) == "string" end
  if self.kind == "cloze" then return type(row.context) == "string" and type(row.target) == "string" end
  return is_list_of_texts(row.contexts) and type(row.continuation) == "string"
    or type(row.context) == "string" and is_list_of_texts(row.choices)
end

local function answer_of(self, row, choices, where)
  local how = self.answer
  if type(how) == "number" then return how end
  if type(how) == "string" then how = { value = how, first = 0 } end
  local value = render(how.value, row, where)
  local among = how.among and column(row, how.among, where) or choices
  local number = not how.among and tonumber(value)
  if number then return number - how.first end
  for k, each in ipairs(among) do
    if each == value then return k - 1 end
  end
  error(where .. "the answer '" .. value .. "' is not among " .. table.concat(among, ", "), 0)
end

local function rendered(list, row, where)
  local texts = {}
  for k, template in ipairs(list) do texts[k] = render(template, row, where) end
  return texts
end

local function from_columns(self, row, where)
  local item = {}
  if self.kind == "rolling" then return { text = render(self.text, row, where) } end
  if self.contexts then
    item.contexts, item.continuation = rendered(self.contexts, row, where), render(self.continuation, row, where)
    item.answer = answer_of(self, row, item.contexts, where)
    return item
  end
  item.context = render(self.context, row, where)
  if self.kind == "cloze" then
    item.target = render(self.target, row, where)
    return item
  end
  if type(self.choices) == "string" then
    item.choices = {}
    for k, choice in ipairs(column(row, self.choices, where)) do item.choices[k] = choice end
  else
    item.choices = rendered(self.choices, row, where)
  end
  item.answer = answer_of(self, row, item.choices, where)
  item.context = self:cleaned(item.context)
  for k, choice in ipairs(item.choices) do item.choices[k] = self:cleaned(choice) end
  return item
end

local function check_choices(item, where)
  local list = item.contexts or item.choices
  local answer = item.answer
  if #list < 2 then error(where .. "a choice is among at least two, not " .. #list, 0) end
  for k, choice in ipairs(list) do
    if type(choice) ~= "string" or choice == "" then error(where .. "choice " .. k - 1 .. " is empty", 0) end
  end
  if type(answer) ~= "number" or answer ~= math.floor(answer) or answer < 0 or answer >= #list then
    error(where .. "the answer must be from 0 to " .. #list - 1 .. ", not " .. tostring(answer), 0)
  end
  item.answer = math.floor(answer)
end

--- What a row is to the task: a row of the hub by the task's templates, or one in the documented form as it is.
---@param row table
---@param where string      "FILE:LINE: "
---@return sonde.item
function class:item(row, where)
  if type(row) ~= "table" or row[1] ~= nil then error(where .. "a row is an object with columns", 0) end
  local item
  if self:is_item(row) then
    item = { context = row.context, choices = row.choices, contexts = row.contexts, continuation = row.continuation,
      answer = row.answer, target = row.target, text = row.text }
    if item.contexts and item.continuation then item.context, item.choices = nil, nil end
  else
    local columns = setmetatable({}, { __index = self.word })
    for key, value in pairs(row) do columns[key] = value end
    item = from_columns(self, columns, where)
  end
  if self.kind == "multiple_choice" then check_choices(item, where) end
  if item.target == "" or item.continuation == "" then error(where .. "there is an empty text to score", 0) end
  return item
end

--- A text as it is scored: cleaned of the marks of its data set.
---@param s string
---@return string
function class:cleaned(s)
  local clean = text.cleaners[self.clean]
  return clean and clean(s) or s
end

-- ---- requests ------------------------------------------------------------------------------------------------

-- The prompt without examples, and with its answer.
local function question(item)
  return item.contexts and item.contexts[item.answer + 1] or item.context
end

--- A solved example, as it stands in front of a prompt.
---@param item sonde.item
---@return string
function class:shot(item)
  local answer = item.target and " " .. item.target or item.continuation or item.choices[item.answer + 1]
  return question(item) .. self.delimiter .. answer .. self.separator
end

--- The texts to score: {context, continuation} for each choice, or for the target.
---@param item sonde.item
---@param shots sonde.item[]
---@return string[][]
function class:requests(item, shots)
  local before, list = self.description, {}
  for _, shot in ipairs(shots) do before = before .. self:shot(shot) end
  local context = item.context and before .. item.context
  if item.target then return { { context, " " .. item.target } } end
  for k, choice in ipairs(item.contexts or item.choices) do
    list[k] = item.contexts and { before .. choice, self.delimiter .. item.continuation }
      or { context, self.delimiter .. choice }
  end
  return list
end

-- ---- files ---------------------------------------------------------------------------------------------------

local needed = { multiple_choice = { "answer" }, cloze = { "context", "target" }, rolling = { "text" } }

local function check_kind(given, where)
  local function need(key)
    if given[key] == nil then error(where { key } .. "a task of the kind " .. given.kind .. " needs '" .. key .. "'", 0)
    end
  end
  for _, key in ipairs(needed[given.kind]) do need(key) end
  if given.kind == "multiple_choice" then
    need(given.contexts and "continuation" or "context")
    if not given.contexts then need "choices" end
  end
  for _, name in ipairs(given.metrics) do
    if not metrics.fits(name, given.kind) then
      error(where { "metrics" } .. "'" .. name .. "' is no metric of the kind " .. given.kind, 0)
    end
  end
end

local function made(given, path, word)
  local self = setmetatable({ path = path, word = word or {} }, class)
  for key, value in pairs(given) do self[key] = value end
  local here = path .. ": "
  self.name = render(given.task, self.word, here)
  self.alias = given.family and given.family.alias and render(given.family.alias, self.word, here) or self.name
  self.file = given.file or self.name
  self.description = render(given.description, self.word, here)
  self.version = given.version or "Yaml"
  return self
end

local function add(found, this, where)
  if found.tasks[this.name] then
    error(where .. "there is a task '" .. this.name .. "' already, of " .. found.tasks[this.name].path, 0)
  end
  found.tasks[this.name] = this
end

local function group_of(found, name, alias, version)
  found.groups[name] = found.groups[name] or { name = name, alias = alias, version = version, children = {} }
  return found.groups[name]
end

local function read(found, path)
  local given, doc = core.yaml_load(path)
  local function where(place) return doc:where(table.concat(place, ".")) .. ": " end
  given = args.check(task.schema, given, "a task", where)
  for name, schema in pairs { family = family, answer = answer } do
    if type(given[name]) == "table" then
      given[name] = args.check(schema, given[name], "the " .. name .. " of a task", function(place)
        return where { name, place[1] }
      end)
    end
  end
  check_kind(given, where)
  local parent = given.group and group_of(found, given.group, given.group, given.group_version)
  if not given.family then
    local this = made(given, path)
    add(found, this, where { "task" })
    if parent then table.insert(parent.children, this.name) end
    return
  end
  for _, part in ipairs(sorted_keys(given.family.members)) do
    local group = parent and group_of(found, given.group .. "_" .. part, part, given.group_version)
    if group then table.insert(parent.children, group.name) end
    for _, member in ipairs(given.family.members[part]) do
      local this = made(given, path, { [given.family.of] = member })
      add(found, this, where { "task" })
      if group then table.insert(group.children, this.name) end
    end
  end
end

local function yaml_files(path)
  if core.exists(path) ~= "folder" then return { path } end
  local files = {}
  for _, name in ipairs(core.list_dir(path)) do
    if string.find(name, "%.yaml$") then files[#files + 1] = path .. "/" .. name end
  end
  return files
end

--- All tasks: those of the library, and of files or folders of files.
---@param paths? string[]
---@return {tasks: table<string, table>, groups: table<string, table>}
function task.load(paths)
  local found = { tasks = {}, groups = {} }
  local all = { core.lua_dir() .. "/sonde/eval/tasks" }
  for _, path in ipairs(paths or {}) do all[#all + 1] = path end
  for _, path in ipairs(all) do
    for _, file in ipairs(yaml_files(path)) do read(found, file) end
  end
  return found
end

return task
