--- output.lua - what --json and --csv mean, for every command that has them: the result on standard output as that, and
-- nothing else there. Notes and progress are on standard error.

local core = require "sonde.core"
local format = require "sonde.base.format"

local output = {
  json = { name = "json", type = "boolean", preset = false,
    doc = "print the result as JSON on standard output, nothing else" },
  csv = { name = "csv", type = "boolean", preset = false,
    doc = "print the result as CSV on standard output, nothing else" },
}

--- Prints a value as JSON. A number that is not finite is null.
---@param value any
function output.print_json(value)
  io.stdout:write(core.json_encode(value, 2), "\n")
end

--- Refuses two results that would both go to standard output.
---@param options table     of a command with json, csv and html
function output.check_one(options)
  if (options.json and 1 or 0) + (options.csv and 1 or 0) + (options.html == "-" and 1 or 0) > 1 then
    error("two of --json, --csv and --html - are given: only one can have standard output", 0)
  end
end

--- Prints rows of texts in columns, numbers to the right; the first row is the heading.
---@param rows string[][]
function output.print_table(rows)
  local right, widths = {}, {}
  for i, row in ipairs(rows) do
    for k, cell in ipairs(row) do
      widths[k] = math.max(widths[k] or 0, format.width(cell))
      if i > 1 then right[k] = right[k] ~= false and (cell == "-" or tonumber(cell) ~= nil) end
    end
  end
  for _, row in ipairs(rows) do
    local line = {}
    for k, cell in ipairs(row) do line[k] = format.padded(cell, widths[k], right[k]) end
    print((string.gsub(table.concat(line, "  "), " +$", "")))
  end
end

--- Writes a file, or to standard output for "-".
---@param path string
---@param text string
function output.write(path, text)
  if path == "-" then io.stdout:write(text) else core.write_file(path, text) end
end

return output
