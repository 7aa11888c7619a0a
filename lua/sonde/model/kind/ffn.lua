--- ffn.lua - the kind "ffn" for scripts.

local module = require "sonde.model.module"

local kind = {}

--- Registers a feed-forward layer: x [B, T, D] -> [B, T, D].
---@param name string
---@param info? {options: sonde.field[], summary: string, citation: string, suggests: string}
---@param build fun(site: sonde.site, options: table, x: sonde.node): sonde.node
function kind.ffn(name, info, build)
  module.register("ffn", name, info, build)
end

return module.declare(kind, "ffn")
