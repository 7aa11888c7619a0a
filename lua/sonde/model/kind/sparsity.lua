--- sparsity.lua - the kind "sparsity" for scripts.

local module = require "sonde.model.module"

local kind = {}

--- Registers a sparsity method: of nodes of a matrix, what each of its weights is worth; those of the lowest scores go.
--- `matrix` has weight [out, in] and what info.needs names: norm [in] (of each input over the calibration text) and
--- gram [in, in] (X^T X). With info.gather, a function of weight and gradient [out, in], it has gathered [out, in], the
--- sum of what that gives over the batches of a calibration.
---@param name string
---@param info? {options: sonde.field[], summary: string, needs: string[], scope: string, gather: function}
---@param build fun(matrix: table<string, sonde.node>, options: table): sonde.node
function kind.sparsity(name, info, build)
  require("sonde.sparse.method").register(name, info, build)
end

return module.declare(kind, "sparsity")
