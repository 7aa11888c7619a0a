--- view.lua - shows how far a sweep is: a live table on a terminal, one line a trial elsewhere.

local core = require "sonde.core"
local grid = require "sonde.sweep.grid"
local format = require "sonde.base.format"
local progress = require "sonde.base.progress"

local sweep_view = {}
local view = {}
view.__index = view

local SIGN = { done = "●", running = "◐", diverged = "∞", failed = "✗", queued = "·", interrupted = "◌", killed = "◌" }

local text_of = grid.text
local BAR = 24
local REDRAW_SECONDS = 1

--- A view of a sweep, on stderr.
---@param sweep table
---@param jobs integer      trials at a time
---@return table
function sweep_view.new(sweep, jobs)
  local self = setmetatable({ sweep = sweep, live = core.is_terminal "stderr" and os.getenv "TERM" ~= "dumb", drawn = 0,
    ran = {}, jobs = jobs, opened = core.seconds() }, view)
  self.rows, self.columns = sweep_view.layout(sweep)
  return self
end

--- How the trials are laid out: rows by the first axis of words (else the first), columns by the others; the seeds of
--- a cell stand side by side.
function sweep_view.layout(sweep)
  local shown = {}
  for _, axis in ipairs(sweep.axes) do
    if axis.name ~= sweep.over then shown[#shown + 1] = axis end
  end
  if #shown == 0 then shown[1] = sweep.axes[1] end      -- seeds alone
  local row = shown[1]
  for _, axis in ipairs(shown) do
    if type(axis.values[1]) == "string" and type(row.values[1]) ~= "string" then row = axis end
  end
  local columns = {}
  for _, axis in ipairs(shown) do
    if axis ~= row then columns[#columns + 1] = axis end
  end
  return row, columns
end

-- The trials that are run, as far as they are known, and how many there are at most: a search chooses some of the grid.
function view:trials()
  if self.sweep.searched then return self.sweep.searched:trials() end
  return self.sweep.trials, #self.sweep.trials
end

function view:count()
  local counts, trials, most = {}, self:trials()
  for _, trial in ipairs(trials) do counts[trial.status] = (counts[trial.status] or 0) + 1 end
  if most > #trials then counts.queued = (counts.queued or 0) + most - #trials end
  return counts, most
end

-- Trials that need no more work, of how many: "3 of 12", of a search "3 of at most 7".
function view:over()
  local counts, most = self:count()
  local over = (counts.done or 0) + (counts.diverged or 0) + (counts.failed or 0)
  return over, most, ("%d of %s%d"):format(over, self.sweep.searched and over < most and "at most " or "", most)
end

local function all_numbers(values)
  for _, value in ipairs(values) do
    if type(value) ~= "number" then return false end
  end
  return true
end

local function least_squares(points)
  local n, sx, sy, sxx, sxy = #points, 0, 0, 0, 0
  for _, p in ipairs(points) do sx, sy, sxx, sxy = sx + p[1], sy + p[2], sxx + p[1] * p[1], sxy + p[1] * p[2] end
  local spread = n * sxx - sx * sx
  local slope = spread > 1e-12 * n * sxx and math.max(0, (n * sxy - sx * sy) / spread) or 0
  return (sy - slope * sx) / n, slope
end

--- Seconds until the sweep is done, from the trials that this process ran: a line over the first axis of numbers
--- (the depth), because trials of unlike size take unlike time; shared out over those that run at a time. nil before
--- the first one, and where a search chooses: how many trials it will run is not known.
function view:eta()
  if self.sweep.searched then return nil end
  local axis
  for _, each in ipairs(self.sweep.axes) do
    if each.name ~= self.sweep.over and all_numbers(each.values) then axis = axis or each.name end
  end
  local points = {}
  for _, trial in ipairs(self.ran) do points[#points + 1] = { axis and trial.params[axis] or 1, trial.seconds } end
  if #points == 0 then return nil end
  local base, slope = least_squares(points)
  local left, now, count = 0, core.seconds(), 0
  for _, trial in ipairs(self.sweep.trials) do
    local open = trial.status == "queued" or trial.status == "killed" or trial.status == "interrupted"
      or trial.status == "running" or (trial.status == "failed" and self.sweep.retry and not trial.tried)
    if open then
      local whole = math.max(0, base + slope * (axis and trial.params[axis] or 1))
      local spent = trial.status == "running" and trial.began and now - trial.began or 0
      left, count = left + math.max(0, whole - spent), count + 1
    end
  end
  return left / math.max(1, math.min(self.jobs, count))
end

-- How many trials a minute have ended, and the time that is left: ", 3.4 a minute, about 2 min left", or what is known.
function view:rate()
  local left, passed = self:eta() or 0, core.seconds() - self.opened
  return ("%s%s"):format(#self.ran > 1 and (", %.3g a minute"):format(60 * #self.ran / math.max(passed, 1e-3)) or "",
    left > 0 and ", about " .. format.duration(left) .. " left" or "")
end

-- The line under the table on a terminal.
function view:bar()
  local counts, parts = self:count(), {}
  for _, status in ipairs { "running", "diverged", "failed", "interrupted", "killed" } do
    if counts[status] then parts[#parts + 1] = (", %d %s"):format(counts[status], status) end
  end
  local over, all, text = self:over()
  return ("%s: %s %s%s%s"):format(self.sweep.name, progress.bar(over / math.max(1, all), BAR), text,
    table.concat(parts), over < all and self:rate() or "")
end

function view:summary_line()
  local counts, parts = self:count(), {}
  for _, status in ipairs { "done", "running", "diverged", "failed", "interrupted", "killed", "queued" } do
    local most = status == "queued" and self.sweep.searched and "at most " or ""
    if counts[status] then parts[#parts + 1] = ("%s%d %s"):format(most, counts[status], status) end
  end
  return ("%s: %s%s"):format(self.sweep.name, table.concat(parts, ", "),
    self.jobs > 1 and (", %d at a time"):format(self.jobs) or "")
end

local function key_of(params, row, columns)
  local parts = { text_of(params[row.name]) }
  for _, axis in ipairs(columns) do parts[#parts + 1] = text_of(params[axis.name]) end
  return table.concat(parts, "\0")
end

-- Every combination of the column axes, as lists of values.
local function column_points(columns)
  local points = { {} }
  for _, axis in ipairs(columns) do
    local longer = {}
    for _, point in ipairs(points) do
      for _, value in ipairs(axis.values) do
        local copy = {}
        for k, earlier in ipairs(point) do copy[k] = earlier end
        copy[#copy + 1] = value
        longer[#longer + 1] = copy
      end
    end
    points = longer
  end
  return points
end

--- The table as lines: a sign for each trial.
function view:table_lines()
  local cells, row = {}, self.rows
  for _, trial in ipairs(self.sweep.trials) do
    local key = key_of(trial.params, row, self.columns)
    cells[key] = (cells[key] or "") .. (SIGN[trial.status] or "?")
  end
  local names = {}
  for k, axis in ipairs(self.columns) do names[k] = axis.name end
  local first, points = #row.name, column_points(self.columns)
  for _, value in ipairs(row.values) do first = math.max(first, #text_of(value)) end
  local lines, heads = {}, {}
  for k, point in ipairs(points) do
    local words = {}
    for i, value in ipairs(point) do words[i] = text_of(value) end
    heads[k] = table.concat(words, "/")
  end
  lines[1] = format.padded(row.name, first) .. "  " .. table.concat(names, "/")
  lines[2] = format.padded("", first)
  for _, value in ipairs(row.values) do lines[#lines + 1] = format.padded(text_of(value), first) end
  for k, point in ipairs(points) do
    local column, width = { heads[k] }, #heads[k]
    for i, value in ipairs(row.values) do
      local params = { [row.name] = value }
      for j, axis in ipairs(self.columns) do params[axis.name] = point[j] end
      column[i + 1] = cells[key_of(params, row, self.columns)] or ""
      width = math.max(width, format.width(column[i + 1]))
    end
    for i, text in ipairs(column) do lines[i + 1] = lines[i + 1] .. "  " .. format.padded(text, width) end
  end
  return lines
end

local function widest(lines)
  local most = 0
  for _, line in ipairs(lines) do most = math.max(most, format.width(line)) end
  return most
end

local function write(text)
  io.stderr:write(text)
  io.stderr:flush()
end

-- Draws the table in place of the last one; the trainer's progress line stands below it while a trial runs.
function view:draw()
  local lines = self:table_lines()
  if #lines > 24 or widest(lines) > core.columns() then lines = {} end
  lines[#lines + 1] = string.sub(self:bar(), 1, core.columns() - 1)
  self:erase()
  write(table.concat(lines, "\n") .. "\n")
  self.drawn, self.drawn_at = #lines, core.seconds()
end

function view:erase()
  if self.drawn > 0 then write(("\r\27[%dA\27[J"):format(self.drawn)) end
  self.drawn = 0
end

--- Time has passed while trials run in other processes.
function view:tick()
  if self.live and core.seconds() - self.drawn_at >= REDRAW_SECONDS then self:draw() end
end

--- What the process of a trial says.
function view:say(trial, line)
  self:erase()
  write(("%s: %s: %s\n"):format(self.sweep.name, trial.id, text_of(line)))
  if self.live then self:draw() end
end

function view:open()
  if self.live then self:draw() else write(self:summary_line() .. "\n") end
end

--- A trial begins: `trial.status` is running.
function view:start(trial, resumed)
  if self.live then return self:draw() end
  write(("%s: %s%s\n"):format(self.sweep.name, trial.id, resumed and ", going on where it stopped" or ""))
end

--- A trial has ended; `trial.status`, `seconds` and `reason` say how.
function view:finish(trial)
  self.ran[#self.ran + 1] = trial
  if self.live then return self:draw() end
  local _, _, over = self:over()
  write(("%s: %s %s after %s%s; %s%s\n"):format(self.sweep.name, trial.id, trial.status, format.duration(trial.seconds),
    trial.reason and trial.reason ~= "" and ": " .. text_of(trial.reason) or "", over, self:rate()))
end

--- The sweep has ended: what failed or diverged is named with its reason.
function view:close()
  if self.live then self:draw() end
  for _, trial in ipairs(self.sweep.trials) do
    if trial.status == "failed" or trial.status == "diverged" then
      write(("%s %s: %s\n"):format(trial.id, trial.status, text_of(trial.reason or "")))
    end
  end
  local counts = self:count()
  if counts.failed then write("failed trials run again with --set retry=true\n") end
  if counts.running then
    write(("%d trials are run by other processes; the report is complete when they are done\n"):format(counts.running))
  end
end

return sweep_view
