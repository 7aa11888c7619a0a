--- machine.lua - sizes as people write them, and the memory that this machine has free.

local core = require "sonde.core"

local machine = {}

local units = {
  [""] = 1, B = 1, K = 1024, M = 1024 ^ 2, G = 1024 ^ 3, T = 1024 ^ 4, KIB = 1024, MIB = 1024 ^ 2, GIB = 1024 ^ 3,
  TIB = 1024 ^ 4, KB = 1e3, MB = 1e6, GB = 1e9, TB = 1e12,
}

--- "8GiB", "1.5G" (1024s), "500 MB" (1000s) or a plain number as bytes.
---@param given number|string
---@param name string               what it is called, for the message
---@param where? fun(): string      its place, for the message
---@return integer
function machine.bytes(given, name, where)
  local number, unit = string.match(tostring(given), "^%s*([%d.]+)%s*(%a*)%s*$")
  number, unit = tonumber(number), unit and units[string.upper(unit)]
  local bytes = number and unit and number * unit
  if not bytes or bytes >= 2 ^ 62 then
    error((where or core.where)() .. name .. " cannot be '" .. tostring(given)
      .. "'; write a size such as 800M or 8GiB", 0)
  end
  return math.floor(bytes)
end

--- Bytes that programs can still take without swapping; nil where the system does not say.
---@return integer|nil
function machine.memory()
  local ok, text = pcall(core.read_file, "/proc/meminfo")
  local kib = ok and string.match(text, "MemAvailable:%s*(%d+) kB")
  return kib and tonumber(kib) * 1024 or nil
end

return machine
