--- results.lua - results of tasks in the files and the table of lm-evaluation-harness.

local core = require "sonde.core"
local metrics = require "sonde.eval.metrics"
local sorted_keys = require "sonde.base.sorted_keys"

local results = {}

-- ---- the table -----------------------------------------------------------------------------------------------

local columns = { "Version", "Filter", "n-shot", "Metric", "", "Value", "", "Stderr" }
local MISSING = "   N/A"

-- A group or a task and what is in it, as rows: {name, version, shots, metrics}, indented by depth.
local function in_order(result)
  local inside, list = {}, {}
  for name, children in pairs(result.group_subtasks) do
    for _, child in ipairs(children) do inside[child] = name end
  end
  local function add(name, depth)
    if result.results[name] then list[#list + 1] = { name = name, depth = depth } end
    local children = {}
    for _, child in ipairs(result.group_subtasks[name] or {}) do children[#children + 1] = child end
    table.sort(children)
    for _, child in ipairs(children) do add(child, depth + 1) end
  end
  for _, names in ipairs { sorted_keys(result.group_subtasks), sorted_keys(result.results) } do
    for _, name in ipairs(names) do
      local seen = false
      for _, each in ipairs(list) do seen = seen or each.name == name end
      if not inside[name] and not seen then add(name, 0) end
    end
  end
  return list
end

local function number_text(value)
  return type(value) == "number" and string.format("%.4f", value) or MISSING
end

-- The rows of the table, each a list of texts.
local function rows_of(result, only)
  local rows = {}
  for _, entry in ipairs(in_order(result)) do
    local of = result.results[entry.name]
    local first = true
    for _, key in ipairs(only(entry.name) and sorted_keys(of) or {}) do
      local metric, filter = string.match(key, "^([%w_]+),(.*)$")
      if metric and not string.find(metric, "_stderr$") then
        local higher = result.higher_is_better[entry.name][metric]
        local name = string.rep(" ", entry.depth) .. (entry.depth > 0 and "- " or "") .. of.alias
        rows[#rows + 1] = { first and name or "", first and tostring(result.versions[entry.name] or MISSING) or "",
          filter, tostring(result["n-shot"][entry.name] or ""), metric, higher and "\226\134\145" or "\226\134\147",
          number_text(of[key]), "\194\177", number_text(of[metric .. "_stderr," .. filter]) }
        first = false
      end
    end
  end
  return rows
end

local function is_number(s) return string.find(s, "^%-?%d+%.?%d*$") ~= nil end

-- Decimals of a number without the zeros at its end.
local function decimals(s)
  local part = string.match(s, "%.(%d-)0*$")
  return part and #part or 0
end

-- A column is one of numbers if all that stands in it is (an empty cell is nothing); they share the decimals that the
-- longest needs.
local function tidy(rows, at)
  local numbers, most, any = true, 0, false
  for _, row in ipairs(rows) do
    local cell = row[at]
    if cell ~= "" then
      any, numbers = true, numbers and is_number(cell)
      most = math.max(most, is_number(cell) and decimals(cell) or 0)
    end
  end
  if not (numbers and any) then return false end
  for _, row in ipairs(rows) do
    if row[at] ~= "" then row[at] = string.format("%." .. most .. "f", tonumber(row[at])) end
  end
  return true
end

local function wide(s)
  local _, n = string.gsub(s, "[^\128-\191]", "")
  return n
end

local function padded(s, width, how)
  local room = width - wide(s)
  local left = how == "right" and room or how == "center" and math.floor(room / 2) or 0
  return string.rep(" ", left) .. s .. string.rep(" ", room - left)
end

--- The pipe table of a result.
---@param result table     of sonde.evaluate_tasks
---@param what? "Tasks"|"Groups"
---@return string
function results.pipe_table(result, what)
  what = what or "Tasks"
  local rows = rows_of(result, function(name) return what == "Tasks" or result.group_subtasks[name] ~= nil end)
  local head, lines, right, width = { what }, {}, {}, {}
  for k, name in ipairs(columns) do head[k + 1] = name end
  for k = 1, #head do
    right[k] = tidy(rows, k)
    width[k] = math.max(3, wide(head[k]))
    for _, row in ipairs(rows) do width[k] = math.max(width[k], wide(row[k])) end
  end
  local function line(cells, how)
    local texts = {}
    for k, cell in ipairs(cells) do texts[k] = padded(cell, width[k], how or right[k] and "right" or "left") end
    lines[#lines + 1] = "|" .. table.concat(texts, "|") .. "|"
  end
  line(head, "center")
  local rule = {}
  for k = 1, #head do rule[k] = right[k] and string.rep("-", width[k] - 1) .. ":" or string.rep("-", width[k]) end
  line(rule)
  for _, row in ipairs(rows) do line(row) end
  return table.concat(lines, "\n")
end

-- ---- the files -----------------------------------------------------------------------------------------------

-- A date as in the files' names: 2026-01-31T12-00-00.
local function stamp(seconds) return os.date("%Y-%m-%dT%H-%M-%S", seconds) end

--- A model's name for a folder.
---@param name string
---@return string
function results.sanitized(name)
  return (string.gsub(name, "[\"<>:/|\\?%*%[%]]+", "__"))
end

--- Writes the result and the samples, where there are any, below a folder. Returns the paths.
---@param result table
---@param samples table<string, table[]>|nil
---@param out string
---@return string[]
function results.save(result, samples, out)
  local dir, when = out .. "/" .. result.model_name_sanitized, stamp(result.date)
  core.mkdirs(dir)
  local paths = { dir .. "/results_" .. when .. ".json" }
  core.json_save(paths[1], result)
  for _, name in ipairs(sorted_keys(samples or {})) do
    local lines = {}
    for k, sample in ipairs(samples[name]) do lines[k] = core.json_encode(sample) .. "\n" end
    paths[#paths + 1] = dir .. "/samples_" .. name .. "_" .. when .. ".jsonl"
    core.write_file(paths[#paths], table.concat(lines))
  end
  return paths
end

--- What is written of a document.
---@param doc table          sonde.scored with row, requests, number
---@param values table<string, any>   its metrics by name
---@return table
function results.sample(doc, values)
  local arguments, responses, item = {}, core.list {}, doc.item
  for k, request in ipairs(doc.requests) do
    arguments["gen_args_" .. k - 1] = { arg_0 = request[1], arg_1 = request[2] }
    local greedy = doc.greedy[k]
    responses[k] = core.list { core.list { string.format("%.17g", doc.sums[k]),
      greedy == nil and "N/A" or greedy and "True" or "False" } }
  end
  local target = item.target and " " .. item.target or item.answer and tostring(item.answer) or item.text
  local filtered = core.list {}
  for k, response in ipairs(responses) do filtered[k] = response[1] end
  local sample = { doc_id = doc.number, doc = doc.row, target = target, arguments = arguments, resps = responses,
    filtered_resps = filtered, filter = "none", metrics = core.list {}, doc_hash = core.sha256(
      core.json_encode(doc.row, 2)), prompt_hash = core.sha256(doc.requests[1] and doc.requests[1][1] or ""),
    target_hash = core.sha256(target) }
  for _, name in ipairs(sorted_keys(values)) do
    local label = metrics.label(name)
    table.insert(sample.metrics, label)
    sample[label] = values[name]
  end
  return sample
end

return results
