--- complete - what may stand next on a command line, for the shell.

local args = require "sonde.base.args"

local FILES, FOLDERS = ":files", ":folders"      -- the shell lists them

-- Words as they were typed: bash parts them at each "=".
local function joined(words)
  local list = {}
  for _, word in ipairs(words) do
    local before = list[#list]
    if before and (word == "=" and before:find "^%-%-[^=]+$" or before:find "^%-%-[^=]+=$") then
      list[#list] = before .. word
    else
      list[#list + 1] = word
    end
  end
  return list
end

local function field_of(schema, name)
  for _, field in ipairs(schema) do
    if field.name == name:gsub("-", "_") then return field end
  end
end

local function takes_value(field)
  return field and field.type ~= "boolean"
end

-- What a field may be; of a list the last entry is completed.
local function values_of(field, word)
  local list = {}
  local head = field.type == "list" and not field.repeated and word:match "^(.*,)" or ""
  local values = args.values(field)
  for _, value in ipairs(values or {}) do list[#list + 1] = head .. value end
  if values then return list end
  if field.value == "DIR" then return { FOLDERS } end
  return field.type:find "string" and { FILES } or {}
end

local function option_names(schema)
  local list = {}
  for _, field in ipairs(schema) do
    local name = field.name:gsub("_", "-")
    if not field.hidden then
      list[#list + 1] = (field.type == "boolean" and field.preset == true and "--no-" or "--") .. name
    end
  end
  return list
end

-- What may stand in the place of the last word, of those behind a command's name.
local function of_command(command, words)
  local schema, word = require("sonde.cmd").with_global(command.options), words[#words]
  local name = word:match "^%-%-([^=]+)="
  if name then
    local field = field_of(schema, name)
    return takes_value(field) and values_of(field, word:match "=(.*)$") or {}, word:match "=(.*)$"
  end
  if word:sub(1, 1) == "-" then return option_names(schema), word end
  local place, i = 1, 1
  while i < #words do
    local option = words[i]:match "^%-%-([^=]+)$"
    if option and takes_value(field_of(schema, option)) then
      if i == #words - 1 then return values_of(field_of(schema, option), word), word end
      i = i + 1
    elseif words[i]:sub(1, 2) ~= "--" then
      place = place + 1
    end
    i = i + 1
  end
  local positional = command.positional or {}
  local last = positional[#positional]
  local field = positional[place] or last and last.repeated and last
  return field and values_of(field, word) or {}, word
end

local function names_of(commands)
  local names = {}
  for name in pairs(commands) do names[#names + 1] = name end
  return names
end

-- What may be the last of all words.
local function candidates(words)
  if #words == 1 then
    local names = { "--help", "--version" }
    for _, each in ipairs(require("sonde.cmd").listed()) do names[#names + 1] = each.name end
    return names, words[1]
  end
  local ok, command = pcall(require, "sonde.cmd." .. words[1]:gsub("[^%w_]", "_"))
  if not ok then return {}, "" end
  table.remove(words, 1)
  if command.commands then
    local word = words[1]
    if #words == 1 and word:sub(1, 1) ~= "-" then return names_of(command.commands), word end
    if command.commands[word] then table.remove(words, 1)
    else word = command.default end
    command = command.commands[word] or {}
  end
  return of_command(command, words)
end

return {
  summary = "for shells: what may stand next on a command line",
  usage = "-- WORD ...",
  details = "For the completion of shells: prints a line for each word that may stand in the place of the last one;\n"
    .. ":files and :folders stand for those that there are.",
  positional = {
    { name = "words", type = "list", repeated = true, required = true,
      of = { name = "word", type = "string", doc = "" }, doc = "the words behind the program's name" },
  },
  example = "sonde complete -- train --d",
  run = function(options)
    local list, word = candidates(joined(options.words))
    table.sort(list)
    for _, each in ipairs(list) do
      if each:sub(1, 1) == ":" or each:sub(1, #word) == word then print(each) end
    end
  end,
}
