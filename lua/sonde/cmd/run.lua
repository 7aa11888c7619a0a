--- run - runs a Lua script with the library at hand.

local core = require "sonde.core"
local current = require "sonde.base.current"

--- "lr=1e-3" as a key and what YAML makes of the value: a number, true, a list ([1, 2]), else text.
local function setting(word)
  local key, text = string.match(word, "^([%a_][%w_.]*)=(.*)$")
  if not key then
    error("--set " .. word .. ": a setting is written key=value", 0)
  end
  local value = core.yaml_decode(text, "--set " .. key)
  return key, value
end

--- Puts a value under a dotted key ("train.lr").
local function put(settings, key, value)
  local at = settings
  for part in string.gmatch(key, "([^.]+)%.") do
    if type(at[part]) ~= "table" then at[part] = {} end
    at = at[part]
  end
  at[string.match(key, "[^.]+$")] = value
end

return {
  summary = "run a Lua script",
  usage = "SCRIPT [--set key=value ...] [ARGUMENT ...]",
  details = "The script finds its settings in sonde.settings and its arguments in the global `arg`. Values of "
    .. "settings\n"
    .. "are written as in YAML: 3, 1e-4, true, [4, 8], text. Exit status 1 when it failed, or a trial of a sweep did;\n"
    .. "3 when it was stopped (INT, TERM, HUP, USR1, USR2, XCPU) and the same command resumes it.",
  positional = {
    { name = "script", type = "string", required = true, doc = "the file to run" },
    { name = "arguments", type = "list", repeated = true, of = { name = "argument", type = "string", doc = "" },
      doc = "what the script gets in `arg`" },
  },
  options = {
    { name = "set", type = "list", repeated = true, value = "KEY=VALUE",
      of = { name = "setting", type = "string", doc = "" }, doc = "a setting for the script" },
    { name = "jobs", type = "integer", min = 0, max = 4096, value = "N",
      doc = "trials of a sweep at a time, each in a process of its own, which share the cores; 0: one for each core" },
    current.flags[1], current.flags[2],
  },
  example = "sonde run experiments/depth_sweep.lua --set scale=demo",
  run = function(options)
    require "sonde"
    current.take_flags(options)
    current.jobs = options.jobs
    for _, word in ipairs(options.set or {}) do put(require("sonde.base.settings").given, setting(word)) end
    local words = { [0] = options.script }
    for i, word in ipairs(options.arguments or {}) do words[i] = word end
    rawset(_G, "arg", words)
    local chunk, message = loadfile(options.script)
    if not chunk then error(message, 0) end
    local code = chunk()
    local note = require("sonde.base.settings").unread(true)
    if note then io.stderr:write("sonde: note: ", note, "\n") end
    local failures = require("sonde.sweep").failures()
    if failures then error(failures, 0) end
    return code
  end,
}
