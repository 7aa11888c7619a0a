-- gen-man.lua - writes the man pages into a folder, from what --help shows: sonde.1, and sonde-NAME.1 for each command.
-- Run by make: sonde run doc/gen-man.lua FOLDER.

local core = require "sonde.core"
local args = require "sonde.base.args"
local cli = require "sonde.cmd"
local sorted_keys = require "sonde.base.sorted_keys"

-- Text in roff: nothing in it is an escape, and no line a request.
local function escaped(text)
  text = text:gsub("\\", "\\e"):gsub("-", "\\-")
  return (text:gsub("^([.'])", "\\&%1"):gsub("\n([.'])", "\n\\&%1"))
end

local function quoted(text)
  return "\"" .. escaped(text):gsub("\"", "\\(dq") .. "\""
end

local page

local function put(...)
  page[#page + 1] = table.concat { ... }
end

local function begin(name, summary)
  page = {}
  put(".TH ", quoted(name:upper()), " 1 \"\" ", quoted("sonde " .. core.version), " \"Sonde\"")
  put ".SH NAME"
  put(escaped(name), " \\- ", escaped(summary))
end

-- Lines of help: those that begin with a blank are as they are, the others are a paragraph.
local function put_text(text)
  local as_is = false
  for line in (text .. "\n"):gmatch "([^\n]*)\n" do
    local now = line:find "^%s" ~= nil
    if now ~= as_is then put(now and ".PP\n.nf" or ".fi\n.PP") end
    as_is = now
    if line == "" then put ".PP" else put(escaped(line)) end
  end
  if as_is then put ".fi" end
end

local function put_rows(rows)
  for _, row in ipairs(rows) do
    put ".TP"
    put(".B ", escaped(row[1]))
    put_text(row[2])
  end
end

local function put_example(text)
  put ".nf"
  put(escaped(text))
  put ".fi"
end

local function details_of(command)
  return type(command.details) == "function" and command.details() or command.details
end

local function finish(folder, name, also)
  put ".SH \"EXIT STATUS\""
  put_rows { { "0", "done" }, { "1", "failed" }, { "2", "the command line is wrong" },
    { "3", "stopped on request; the same command resumes" } }
  put ".SH \"SEE ALSO\""
  local list = {}
  for k, other in ipairs(also) do list[k] = ".BR " .. escaped(other) .. " (1)" .. (k < #also and "," or "") end
  put(table.concat(list, "\n"))
  core.write_file(folder .. "/" .. name .. ".1", table.concat(page, "\n") .. "\n")
end

local function put_subcommand(name, sub, command)
  put(".SS ", quoted(name .. " " .. sub .. (command.usage ~= "" and " " .. command.usage or "")))
  put_text(command.summary)
  if command.details then put ".PP" put_text(details_of(command)) end
  put_rows(args.rows(command.options or {}, command.positional))
  put ".PP"
  put_example(command.example)
end

local function write_command(folder, name, command)
  local full = "sonde-" .. name
  begin(full, command.summary)
  put ".SH SYNOPSIS"
  put(".B sonde ", escaped(name), "\n", escaped(command.usage))
  local details = details_of(command)
  if details then
    put ".SH DESCRIPTION"
    put_text(details)
  end
  if command.commands then
    put ".SH COMMANDS"
    for _, sub in ipairs(sorted_keys(command.commands)) do put_subcommand(name, sub, command.commands[sub]) end
  end
  put ".SH OPTIONS"
  put_rows(args.rows(cli.with_global(command.options), command.positional))
  put ".SH EXAMPLE"
  put_example(command.example)
  finish(folder, full, { "sonde" })
end

local folder = arg[1] or error("give a folder", 0)
local names, rows = {}, {}
for k, each in ipairs(cli.listed()) do
  write_command(folder, each.name, each.command)
  names[k], rows[k] = "sonde-" .. each.name, { each.name, each.command.summary }
end
begin("sonde", "studies depth in language models: builds, trains, probes, sweeps, reports")
put ".SH SYNOPSIS"
put ".B sonde\n.I COMMAND\n[options]"
put ".SH COMMANDS"
put_rows(rows)
put ".SH OPTIONS"
put_rows(args.rows(cli.with_global()))
finish(folder, "sonde", names)
