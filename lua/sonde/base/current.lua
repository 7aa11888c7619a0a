--- current.lua - the run folder that the script is writing to now.
--
-- A sweep opens a trial's folder (and takes its lock) before it calls the trial's function, and says so here;
-- sonde.train and sonde.probe then write to it without being told. Outside a sweep there is none.

local format = require "sonde.base.format"

---@class sonde.current
---@field accept_changes boolean   what the command line says of runs made with something else: go on with them
---@field redo boolean             ... or compute them anew
---@field trained table<userdata, integer>   trainings in each open run so far
---@field jobs integer|nil  trials of a sweep at a time, as the command line says
---@field quiet boolean     whether a sweep reports line by line, so that its trials show no progress of their own
local current = {
  stack = {}, quiet = false, accept_changes = false, redo = false, trained = setmetatable({}, { __mode = "k" }),
}

--- The flags of commands that compute, for their options.
current.flags = {
  { name = "accept_changes", type = "boolean", preset = false,
    doc = "go on with runs that were made with other code, plugins, text or settings" },
  { name = "redo", type = "boolean", preset = false, doc = "compute such runs anew: what is there is removed" },
}

--- Takes the flags of the command line.
---@param options table
function current.take_flags(options)
  if options.accept_changes and options.redo then
    error("--accept-changes keeps what is there and --redo removes it: give one of them", 0)
  end
  current.accept_changes, current.redo = options.accept_changes, options.redo
end

--- The handle of the run that is being written, or nil.
---@return userdata|nil
function current.run()
  return current.stack[#current.stack]
end

--- Calls f(...) with `run` as the current run; an error does not leave the run behind.
---@param run userdata
---@param f function
---@return boolean ok, any result_or_message, string|nil trace where the error came from
function current.with(run, f, ...)
  local depth, trace = #current.stack, nil
  local given, n = { ... }, select("#", ...)
  current.stack[depth + 1] = run
  local ok, result = xpcall(function() return f((table.unpack or unpack)(given, 1, n)) end, function(message)
    trace = debug.traceback(format.reason(message), 2)
    return message
  end)
  for k = #current.stack, depth + 1, -1 do current.stack[k] = nil end
  return ok, result, trace
end

return current
