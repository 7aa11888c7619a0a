--- norm.lua - the kind "norm" for scripts.

local module = require "sonde.model.module"

local kind = {}

--- Registers a norm: x [B, T, D] -> [B, T, D]. It then stands beside those of plugins, for every model.
---@param name string
---@param info? {options: sonde.field[], summary: string, citation: string, suggests: string}
---@param build fun(site: sonde.site, options: table, x: sonde.node): sonde.node
function kind.norm(name, info, build)
  module.register("norm", name, info, build)
end

return module.declare(kind, "norm")
