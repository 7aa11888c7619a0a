--- listed.lua - the modules in a folder of the library, found by listing it: commands, probes, strategies,
--- architectures.

local core = require "sonde.core"

--- The names of the modules in a folder, sorted, without its entry file.
---@param folder string    "sonde/cmd"
---@return string[]
return function(folder)
  local names = {}
  for _, file in ipairs(core.list_dir(core.lua_dir() .. "/" .. folder)) do
    local name = string.match(file, "^([%w_]+)%.lua$")
    if name and name ~= "init" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end
