--- whole_folder.lua - a folder that appears whole or not at all.

local core = require "sonde.core"

--- Calls write(part) with a new folder beside `dir`, which then becomes `dir`: that must not be there, or be empty.
--- When anything fails nothing is left, and an empty `dir` stays.
---@param dir string
---@param write fun(part: string)
return function(dir, write)
  core.mkdirs(dir:match("^(.+)/[^/]*$") or ".")
  local part, held = core.new_folder(dir)
  local ok, message = pcall(write, part)
  if ok then
    ok, message = os.rename(part, dir)
    message = not ok and "cannot put " .. part .. " in the place of " .. dir .. ": " .. message or nil
  end
  if not ok then core.remove_tree(part) end
  held:close()
  if not ok then error(message, 0) end
end
