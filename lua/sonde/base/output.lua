--- output.lua - what --json and --csv mean, for every command that has them: the result on standard output as that, and
-- nothing else there. Notes and progress are on standard error.

local core = require "sonde.core"

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

--- Writes a file, or to standard output for "-".
---@param path string
---@param text string
function output.write(path, text)
  if path == "-" then io.stdout:write(text) else core.write_file(path, text) end
end

return output
