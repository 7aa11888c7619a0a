--- glob.lua - a name with * (any text) as a Lua pattern.

---@param text string
---@return string
return function(text)
  return "^" .. string.gsub(string.gsub(text, "[%^%$%(%)%%%.%[%]%+%-%?]", "%%%0"), "%*", ".*") .. "$"
end
