-- fixture.lua - a small training for the tests of the command line: sonde run fixture.lua --set dir=... --set steps=...
-- Prints the SHA-256 of the weights.
local sonde = require "sonde"

local settings, values, x = sonde.settings, {}, 1
for i = 1, 8000 do
  x = (x * 7 + 3 + (i % 5 == 0 and i or 0)) % 61
  values[i] = x
end
local corpus = { vocab = 61, handle = sonde.tensor("i32", { #values }, values), spec = "made", hash = "made" }
local model = sonde.transformer { vocab = 61, width = 24, depth = 3, heads = 2, context = 16, seed = 7 }
local options = { batch = 4, lr = 3e-3 }
for key, value in pairs(settings) do options[key] = value end
local result = sonde.train(model, corpus, options)
print(result.state_sha256, result.diverged or "")
