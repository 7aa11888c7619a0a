--- front.lua - what the library knows of the program that calls it: nothing, until that fills this table. The command
-- line does (cmd/init.lua); a script under another program may.

local format = require "sonde.base.format"

---@class sonde.front
---@field words? string[]           the words of the command line, for the records of runs
---@field threads integer           of the command line; 0: it gives none
---@field begin fun()               called before something is computed that may take long
local front = { threads = 0 }

--- Does nothing where no program has put its own in its place.
function front.begin() end

--- The command line of this process, as a shell takes it.
---@return string
function front.command_line()
  local words = { "sonde" }
  for _, word in ipairs(front.words or arg or {}) do words[#words + 1] = format.shell_word(word) end
  return table.concat(words, " ")
end

return front
