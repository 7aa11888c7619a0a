--- settings.lua - what `sonde run --set key=value` gave, behind sonde.settings; and which of it nobody asked for.

local args = require "sonde.base.args"
local sorted_keys = require "sonde.base.sorted_keys"

local settings = { given = {} }
local asked, told = {}, false

--- All of them, each as if it had been asked for: for whoever checks them one by one.
---@return table
function settings.all()
  for key in pairs(settings.given) do asked[key] = true end
  return settings.given
end

--- What stands in sonde.settings.
---@return table
function settings.view()
  return setmetatable({}, {
    __index = function(_, key)
      asked[key] = true
      return settings.given[key]
    end,
    __newindex = function(_, key, value) settings.given[key] = value end,
    __pairs = function() return pairs(settings.all()) end,
  })
end

--- A note on the settings that nobody asked for, or nil. While a script is under way (`last` false) there is one only
-- where it has not asked for any: another may still be read. What has been said is not said again.
---@param last boolean
---@return string|nil
function settings.unread(last)
  local keys = {}
  for _, key in ipairs(sorted_keys(settings.given)) do
    if not asked[key] then keys[#keys + 1] = key end
  end
  if #keys == 0 or told or (not last and next(asked) ~= nil) then return nil end
  told = true
  if next(asked) == nil then
    return "the script reads no settings, so --set " .. table.concat(keys, ", ")
      .. " changes nothing; a script finds them in "
      .. "sonde.settings, or by sonde.config"
  end
  return "no setting '" .. table.concat(keys, "', '") .. "' is read by the script, so --set changed nothing there"
    .. args.hint(keys[1], sorted_keys(asked))
end

return settings
