--- sonde.report.plot - figures as SVG text, drawn by gnuplot.
--
-- A figure is a plain table: lines (report/plot/lines.lua) or, if it has `heat`, coloured cells (report/plot/heat.lua).
-- sonde.plot_svg makes the result fit into a page (themes, unique names). What is drawn and why is decided in
-- sonde.report_figures.

local heat_commands = require "sonde.report.plot.heat"
local line_commands = require "sonde.report.plot.lines"
local plot_svg = require "sonde.report.plot.svg"

local plot = {}

local function shell_quote(text)
  return "'" .. text:gsub("'", "'\\''") .. "'"
end

-- The script's file is removed as soon as the shell has opened it: who is killed meanwhile leaves nothing.
local COMMAND = "exec 3<%s 4>&1; rm -f %s; words=$(LC_ALL=C %s -d - <&3 2>&1 1>&4); printf '\\nwords: %%s' \"$words\""

local function run_gnuplot(program, commands)
  local path = os.tmpname()
  local script = assert(io.open(path, "w"))
  script:write(commands, "\n")
  script:close()
  -- -d: no start-up file of the user or the system, so that the same data gives the same bytes everywhere.
  local pipe = io.popen(COMMAND:format(shell_quote(path), shell_quote(path), shell_quote(program)), "r")
  local output = pipe and pipe:read("*a") or ""
  if pipe then pipe:close() end
  os.remove(path)
  return string.match(output, "^(.*)\nwords: (.*)$")
end

--- Draws figures in one run of gnuplot.
---@param figures table[]
---@param program string|nil the gnuplot to run
---@return string[]|nil svgs, string|nil reason one line when there is no gnuplot or it refused
function plot.render(figures, program)
  program = program or "gnuplot"
  if #figures == 0 then return {} end
  local commands = { "set encoding utf8" }
  for index, figure in ipairs(figures) do
    commands[#commands + 1] = (figure.heat and heat_commands or line_commands)(figure, index)
  end
  local output, complaint = run_gnuplot(program, table.concat(commands, "\n"))
  output, complaint = output or "", complaint or ""
  local svgs = {}
  for document in output:gmatch("<svg.-</svg>") do
    svgs[#svgs + 1] = plot_svg.embed(document, #svgs + 1, figures[#svgs + 1])
  end
  if #svgs == #figures then return svgs end
  local first = complaint:match("[^\n]*not found[^\n]*") or complaint:match("([^\n]*%S[^\n]*)\n*$") or "it drew nothing"
  return nil, ("no figures: '%s' failed (%s); install gnuplot-nox and write the report again"):format(program,
    first:match("^%s*(.-)%s*$"))
end

return plot
