--- attention.lua - the kind "attention" for scripts.

local module = require "sonde.model.module"

local kind = {}

--- Registers an attention layer: x [B, T, D] -> [B, T, D].
---@param name string
---@param info? {options: sonde.field[], summary: string, citation: string, suggests: string}
---@param build fun(site: sonde.site, options: table, x: sonde.node): sonde.node
function kind.attention(name, info, build)
  module.register("attention", name, info, build)
end

return module.declare(kind, "attention")
