--- sonde.cmd - the command line: global options, finding a command, help, exit codes.
--
-- A command is a module lua/sonde/cmd/NAME.lua that returns a table (sonde.command). Exit codes: 0 done, 1 failed,
-- 2 the command line is wrong, 3 stopped on request and resumable.

-- What lives here: this file finds commands and shows help; every other file is a command.

local core = require "sonde.core"
local args = require "sonde.base.args"
local format = require "sonde.base.format"
local front = require "sonde.base.front"
local listed = require("sonde.base").listed
local sorted_keys = require "sonde.base.sorted_keys"

local cli = {}

---@class sonde.command
---@field summary string                one line for `sonde --help`
---@field usage string                  what follows the command's name: "CONFIG [options]"
---@field options? sonde.schema
---@field positional? sonde.field[]     words in order; the last may be `repeated`
---@field example string
---@field details? string|fun(): string   paragraph under the summary
---@field commands? table<string, sonde.command>   subcommands by name, instead of run
---@field default? string               the subcommand when none is named
---@field check? fun(options: table): string|nil   what is wrong with options that are each right; nil if nothing is
---@field run? fun(options: table): integer|nil    raises or returns an exit code; nil is 0

local global = {
  { name = "threads", type = "integer", min = 0, max = 4096, preset = 0, value = "N",
    doc = "threads that compute; 0 takes the cores the process may use" },
  { name = "traceback", type = "boolean", preset = false, doc = "show where in the Lua code an error came from" },
  { name = "help", type = "boolean", preset = false, doc = "show this help" },
}

local function say(...)
  io.stdout:write(...)
  io.stdout:write("\n")
end

-- One line, whatever a script or a name in a file put into the message; as sonde_one_line does it in C.
local function complain(message)
  message = string.gsub(message, "%s*[\r\n]%s*", " ")
  io.stderr:write("sonde: ", (string.gsub(message, "%c", "?")), "\n")
end

local function command_names()
  return listed "sonde/cmd"
end

local function wrong(message, name)
  complain(message)
  io.stderr:write("try: sonde ", name and name .. " " or "", "--help\n")
  return 2
end

local function list(rows)
  for _, line in ipairs(format.indented(rows)) do say(line) end
end

-- An example with the folder of experiments, which stands beside the library's in the source tree and installed.
local function example(text)
  local above = string.gsub(core.lua_dir(), "[^/]+/*$", "")
  return (string.gsub(text, "experiments/", function(folder) return above .. folder end))
end

--- The commands, in the order of help.
---@return {name: string, command: sonde.command}[]
function cli.listed()
  local list = {}
  for _, name in ipairs(command_names()) do
    list[#list + 1] = { name = name, command = require("sonde.cmd." .. name) }
  end
  return list
end

local function overview()
  say("usage: sonde COMMAND [options]\n\nStudies depth in language models: build, train, probe, sweep, report.")
  say("\ncommands:")
  local rows = {}
  for i, each in ipairs(cli.listed()) do rows[i] = { each.name, each.command.summary } end
  list(rows)
  say("\noptions of every command:")
  for _, line in ipairs(args.describe(global)) do say(line) end
  say("  --version      show the version\n\nexample:\n  ", example "sonde run experiments/depth_sweep.lua --threads 2")
  say("\n`sonde COMMAND --help` says more.")
end

--- Options of a command, with those that every command has; without an argument these alone.
---@param options? sonde.schema
---@return sonde.schema
function cli.with_global(options)
  local schema = {}
  for _, field in ipairs(options or {}) do schema[#schema + 1] = field end
  for _, field in ipairs(global) do schema[#schema + 1] = field end
  return schema
end

local function help(command, name)
  if command.commands then
    say("usage: sonde ", name, " ", command.usage or "COMMAND [options]", "\n\n", command.summary, "\n\ncommands:")
    local rows = {}
    for sub, each in pairs(command.commands) do rows[#rows + 1] = { sub .. " " .. each.usage, each.summary } end
    table.sort(rows, function(a, b) return a[1] < b[1] end)
    list(rows)
  else
    say("usage: sonde ", name, " ", command.usage, "\n\n", command.summary)
  end
  local details = command.details
  if details then say("\n", type(details) == "function" and details() or details) end
  say("\noptions:")
  for _, line in ipairs(args.describe(cli.with_global(command.options), command.positional)) do say(line) end
  say("\nexample:\n  ", example(command.example))
end

local function wants_help(words)
  for _, word in ipairs(words) do
    if word == "--" then return false end
    if word == "--help" or word == "-h" then return true end
  end
  return false
end

-- An error of Lua's own inside the library is most likely a wrong argument: it gets the place of the user's line too.
local function at_users_line(message)
  -- Lua shortens a long path to "..." and its end.
  local path, file, rest = string.match(tostring(message), "^(%S-(sonde/[%w_/]+%.lua))(:%d+: .*)$")
  local ours = path and core.lua_dir() .. "/" .. file
  local tail = ours and string.gsub(path, "^%.%.%.", "")
  if not ours or string.sub(ours, -#tail) ~= tail or not core.exists(ours) then return message end
  return core.where() .. file .. rest
end

--- Runs a command's function; its error becomes one line on stderr.
local function run(command, options)
  local trace
  local ok, result = xpcall(command.run, function(message)
    if options.traceback then trace = debug.traceback("", 2) end
    return at_users_line(message)
  end, options)
  if ok then return result or 0 end
  complain(format.reason(result))
  if trace then io.stderr:write(trace, "\n") end
  if core.interrupted() then return 3 end
  return 1
end

local function start(command, name, words)
  if command.commands then
    local sub = words[1]
    if command.default and not wants_help(words) and (not sub or string.sub(sub, 1, 1) == "-") then
      return start(command.commands[command.default], name .. " " .. command.default, words)
    end
    if not sub or not command.commands[sub] then
      if wants_help(words) then
        help(command, name)
        return 0
      end
      if not sub then
        return wrong("what should '" .. name .. "' do? One of: " .. table.concat(sorted_keys(command.commands), ", "),
          name)
      end
      return wrong("unknown command '" .. name .. " " .. sub .. "'" .. args.hint(sub, sorted_keys(command.commands)),
        name)
    end
    local rest = {}
    for i = 2, #words do rest[i - 1] = words[i] end
    return start(command.commands[sub], name .. " " .. sub, rest)
  end
  if wants_help(words) then
    help(command, name)
    return 0
  end
  -- The threads first: what other options may be can be a question to the runtime, which then has its threads.
  local function set_threads(value)
    front.threads = value(global[1])
    core.set_threads(front.threads)
  end
  local options, message = args.parse(cli.with_global(command.options), command.positional or {}, words, set_threads)
  if options and command.check then message = command.check(options) end
  if message then return wrong(message, name) end
  return run(command, options)
end

-- Says how many threads compute, once, before anything does.
local announced = false
local function announce()
  if announced then return end
  announced = true
  io.stderr:write("threads: ", string.format("%d", core.threads()), "\n")
  local note = require("sonde.base.settings").unread(false)
  if note then io.stderr:write("sonde: note: ", note, "\n") end
end

--- Runs `sonde WORDS...`; returns the exit code.
---@param words string[]
---@return integer
function cli.main(words)
  local first = words[1]
  front.words, front.begin = words, announce
  if not first then
    overview()
    return 2
  end
  if first == "--help" or first == "-h" or first == "help" then
    overview()
    return 0
  end
  if first == "--version" then first = "version" end
  if string.sub(first, 1, 1) == "-" then return wrong("the command comes first: sonde COMMAND " .. first .. " ...") end
  local names = command_names()
  for _, name in ipairs(names) do
    if name == first then
      local rest = {}
      for i = 2, #words do rest[i - 1] = words[i] end
      return start(require("sonde.cmd." .. name), name, rest)
    end
  end
  return wrong("unknown command '" .. first .. "'" .. args.hint(first, names))
end

return cli
