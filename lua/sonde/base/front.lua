--- front.lua - what the library knows of the program that calls it: nothing, until that fills this table. The command line
-- does (cmd/init.lua); a script under another program may.

---@class sonde.front
---@field words? string[]           the words of the command line, for the records of runs
---@field begin fun()               called before something is computed that may take long
local front = {}

--- Does nothing where no program has put its own in its place.
function front.begin() end

return front
