--- merged.lua - a copy of a table with the entries of others in it; of equal keys the last one counts.

---@param base table
---@param ... table
---@return table
return function(base, ...)
  local all = {}
  for _, t in ipairs { base, ... } do
    for key, value in pairs(t) do all[key] = value end
  end
  return all
end
