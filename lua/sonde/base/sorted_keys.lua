--- sorted_keys.lua - the keys of a table in order, so that nothing that is shown or written depends on how Lua keeps
--- them.

--- The keys of a table (or of none), sorted; all strings or all numbers.
---@param map table|nil
---@return any[]
return function(map)
  local keys = {}
  for key in pairs(map or {}) do keys[#keys + 1] = key end
  table.sort(keys)
  return keys
end
