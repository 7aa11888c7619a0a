--- distill.lua - the kind "distill" for scripts.

local module = require "sonde.model.module"

local kind = {}

--- Registers a divergence: the term of each class, from log q (x), and "p", "log_p" and "q" (site:lookup), p the
--- teacher's distribution and q the student's, by elementwise ops.
---@param name string
---@param info? {options: sonde.field[], summary: string, citation: string, suggests: string}
---@param build fun(site: sonde.site, options: table, x: sonde.node): sonde.node
function kind.distill(name, info, build)
  module.register("distill", name, info, build)
end

return module.declare(kind, "distill")
