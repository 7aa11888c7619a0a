-- template.lua - a sparsity method that keeps the weights whose products with their inputs are large (Wanda).
--
-- The function gets nodes of one matrix: weight [out, in] and what `needs` asks for, and gives what each weight is
-- worth, [out, in]; the weights of the lowest scores are taken out.
local sonde = require "sonde"

sonde.sparsity("template", {
  summary = "|W_ij| ||X_j||^power, compared within each output",
  options = { { name = "power", preset = 1, min = 0.1, max = 4, doc = "of the norm of the inputs" } },
  needs = { "norm" }, scope = "row",
}, function(matrix, options)
  local norm = (matrix.norm + 1e-12):log() * options.power
  return matrix.weight:abs() * norm:exp()
end)
