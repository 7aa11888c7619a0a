--- out_folder.lua - the folder that a command writes a model to: new or empty, and not inside that of the model it is
-- made of.

local core = require "sonde.core"

---@param path string
---@param model string     the folder of the model that it is made of
---@param what string      for messages: "the pruned model"
return function(path, model, what)
  if path == "" then error("--out needs the name of a folder", 0) end
  local inside = string.gsub(model, "/+$", "") .. "/"
  if string.sub(path .. "/", 1, #inside) == inside then
    error(path .. ": is inside the folder of the model that " .. what .. " is made of; name one beside it", 0)
  end
  local kind = core.exists(path)
  if kind == "file" then error(path .. ": is a file; " .. what .. " needs a new folder", 0) end
  if kind and #core.list_dir(path) > 0 then
    error(path .. ": there is something in this folder; name a new one, or remove it first", 0)
  end
  core.check_folder(path)
end
