--- sonde.base - what every other folder of the library stands on; nothing here knows of models.
--
-- args.lua checks options by schemas and writes help from them; registry.lua holds things by name. config.lua and
-- settings.lua read the settings of scripts, front.lua is how the program that calls the library is known to it,
-- current.lua the run that is being written. fingerprint.lua, machine.lua, stats.lua: what a function computes with,
-- the memory of the machine, statistics. format.lua, output.lua, progress.lua, shown.lua: how results are shown.
-- types.lua documents the handles of the core.

local core = require "sonde.core"

local base = {}

--- The names of the modules in a folder of the library, sorted, without its entry file: commands, probes, strategies
--- and architectures are found so.
---@param folder string    "sonde/cmd"
---@return string[]
function base.listed(folder)
  local names = {}
  for _, file in ipairs(core.list_dir(core.lua_dir() .. "/" .. folder)) do
    local name = string.match(file, "^([%w_]+)%.lua$")
    if name and name ~= "init" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

return base
