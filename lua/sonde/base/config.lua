--- config.lua - the settings of an experiment: a YAML file beside the script, changed by `sonde run --set key=value`.

local core = require "sonde.core"
local args = require "sonde.base.args"
local sorted_keys = require "sonde.base.sorted_keys"

local config = {}

local function is_map(value)
  return type(value) == "table" and #value == 0 and next(value) ~= nil
end

local function kind(value)
  if type(value) == "table" then return is_map(value) and "several settings" or "a list" end
  return "a " .. type(value)
end

-- Puts the given values over the file's. A key that the file lacks is a mistake of the command line, unless it is an
-- optional one; below the top level it may be an option left at its default, and whoever takes the options checks it.
local function overlay(base, given, path, prefix, optional)
  for key, value in pairs(given) do
    local name = prefix .. key
    if base[key] == nil and prefix == "" and not optional[key] then
      error(("--set %s: %s has no such setting%s"):format(name, path, args.hint(key, sorted_keys(base))), 0)
    end
    if base[key] ~= nil and kind(base[key]) ~= kind(value) then
      error(("--set %s: must be %s as in %s, not %s"):format(name, kind(base[key]), path, kind(value)), 0)
    end
    if is_map(base[key]) then overlay(base[key], value, path, name .. ".", optional) else base[key] = value end
  end
end

--- Loads the settings in `path` (seen from the script's folder) and puts those of `--set` over them.
---@param path string
---@param optional? string[]     settings that `--set` may give where the file lacks them
---@return table settings
function config.load(path, optional)
  local folder = arg and arg[0] and arg[0]:match("^(.*/)") or ""
  local full = path:sub(1, 1) == "/" and path or folder .. path
  if not core.exists(full) then
    error(core.where() .. full .. ": there is no such file of settings", 0)
  end
  local settings = core.yaml_load(full)
  if not is_map(settings) then error(full .. ": is not a list of settings (key: value)", 0) end
  local also = {}
  for _, key in ipairs(optional or {}) do also[key] = true end
  overlay(settings, require("sonde.base.settings").all(), full, "", also)
  return settings
end

return args.declare(config, "sonde.config.", {
  load = { as = "sonde.config", { name = "path", type = "string", required = true },
    { name = "optional", type = "list", of = { name = "setting", type = "string" } } },
})
