--- progress.lua - how far a training is: one line that redraws itself on a terminal, plain lines elsewhere; on stderr.

local core = require "sonde.core"
local sorted_keys = require "sonde.base.sorted_keys"

local progress = {}
progress.__index = progress

local PLAIN_LINES = 20          -- about so many over a whole run, when nothing can be redrawn
local REDRAW_SECONDS = 0.1

--- "12.3k", "4.56M": three digits.
---@param n number
---@return string
function progress.short(n)
  local unit = ""
  for _, next_unit in ipairs { "k", "M", "G", "T" } do
    if n < 999.5 then break end
    n, unit = n / 1000, next_unit
  end
  if unit == "" then return string.format("%.0f", n) end
  return string.format(n < 9.995 and "%.2f%s" or n < 99.95 and "%.1f%s" or "%.0f%s", n, unit)
end

--- "1.25 GiB"
---@param bytes number
---@return string
function progress.bytes(bytes)
  local unit = "KiB"
  bytes = bytes / 1024
  for _, next_unit in ipairs { "MiB", "GiB", "TiB" } do
    if bytes < 999.5 then break end
    bytes, unit = bytes / 1024, next_unit
  end
  return string.format(bytes < 9.995 and "%.2f %s" or bytes < 99.95 and "%.1f %s" or "%.0f %s", bytes, unit)
end

--- "0:07", "12:30", "3:05:00"
---@param seconds number
---@return string
function progress.clock(seconds)
  local s = math.floor(seconds + 0.5)
  local h, m = math.floor(s / 3600), math.floor(s % 3600 / 60)
  if h > 0 then return string.format("%d:%02d:%02d", h, m, s % 60) end
  return string.format("%d:%02d", m, s % 60)
end

--- A display of a training.
---@param on boolean         false shows nothing
---@param memory number      bytes that the training takes
---@return table
function progress.new(on, memory)
  local live = on and core.is_terminal "stderr" and os.getenv "TERM" ~= "dumb"
  return setmetatable({ on = on, live = live, memory = memory, shown = 0, drawn = false, drawn_at = -1 }, progress)
end

local function figures(event, with_val)
  local parts = {}
  if event.loss then parts[#parts + 1] = string.format("loss %.4f", event.loss) end
  if event.val_loss and with_val then parts[#parts + 1] = string.format("val %.4f", event.val_loss) end
  for _, name in ipairs(with_val and sorted_keys(event.val_metrics or {}) or {}) do
    parts[#parts + 1] = string.format("%s %.4f", name, event.val_metrics[name])
  end
  if event.tokens_per_s and event.tokens_per_s > 0 then
    parts[#parts + 1] = progress.short(event.tokens_per_s) .. " tok/s"
  end
  if event.mfu and event.mfu > 0 then parts[#parts + 1] = string.format("MFU %.0f%%", 100 * event.mfu) end
  return parts
end

--- "[====    ]"
---@param fraction number
---@param width integer      between the brackets
---@return string
function progress.bar(fraction, width)
  local full = math.floor(fraction * width + 0.5)
  return "[" .. string.rep("=", full) .. string.rep(" ", width - full) .. "]"
end

function progress:line(event, width)
  local parts = figures(event, true)
  parts[#parts + 1] = progress.bytes(self.memory)
  if event.eta and event.eta > 0 then parts[#parts + 1] = "ETA " .. progress.clock(event.eta) end
  local left, right = string.format("step %d/%d ", event.step, event.steps), " " .. table.concat(parts, "  ")
  local room = width - 1 - #left - #right - 2
  if room >= 8 then left = left .. progress.bar(event.step / event.steps, math.min(room, 30)) end
  return string.sub(left .. right, 1, width - 1)
end

--- Shows an event of the trainer.
---@param event table
function progress:show(event)
  if not self.on then return end
  if self.live then
    local now = core.seconds()
    if now - self.drawn_at < REDRAW_SECONDS and not event.done then return end
    self.drawn_at = now
    io.stderr:write("\r", self:line(event, core.columns()), "\27[K")
    io.stderr:flush()
    self.drawn = true
    return
  end
  local nth = math.floor(event.step * PLAIN_LINES / event.steps)
  if not (event.evaluated or event.done) and nth <= self.shown then return end
  self.shown = nth
  local parts = figures(event, event.evaluated)
  if event.eta and event.eta > 0 then parts[#parts + 1] = "ETA " .. progress.clock(event.eta) end
  io.stderr:write(string.format("step %d/%d  ", event.step, event.steps), table.concat(parts, "  "), "\n")
end

--- Takes the line off a terminal, for what is printed next.
function progress:clear()
  if self.drawn then
    io.stderr:write("\r\27[K")
    io.stderr:flush()
    self.drawn = false
  end
end

--- Shows work of which only the share that is done is known. Gives a function to call with that share and a word
--- for the work, which may be of several kinds one after the other; it takes its line off the terminal when all is
--- done.
---@return fun(share: number, label: string)
function progress.share()
  local live = core.is_terminal "stderr" and os.getenv "TERM" ~= "dumb"
  local began, drawn_at, shown, current
  return function(share, label)
    local now = core.seconds()
    if label ~= current then began, drawn_at, shown, current = now, -1, 0, label end
    local left = share > 0.01 and "  ETA " .. progress.clock((now - began) * (1 - share) / share) or ""
    if live then
      if now - drawn_at < REDRAW_SECONDS and share < 1 then return end
      drawn_at = now
      local line = string.format("%s %s %3.0f%%%s", label, progress.bar(share, 30), 100 * share, left)
      io.stderr:write("\r", share < 1 and string.sub(line, 1, core.columns() - 1) or "", "\27[K")
      io.stderr:flush()
    elseif math.floor(share * PLAIN_LINES) > shown and now - began > 5 then
      shown = math.floor(share * PLAIN_LINES)
      io.stderr:write(string.format("%s %.0f%%%s\n", label, 100 * share, left))
    end
  end
end

return progress
