-- Trains a small model of the plugins of this folder, whatever header they were built with; prints losses to the last
-- bit.

local sonde = require "sonde"

local text = assert(io.open("text.txt", "w"))
for k = 1, 900 do text:write("the ", k * k % 97, " of ", k % 13, k % 5 == 0 and ".\n\n" or " ") end
text:close()
local corpus = sonde.corpus("text.txt", { vocab = 280, cache = "cache" })
local model = sonde.transformer {
  vocab = corpus.vocab, width = 32, depth = 3, context = 24, seed = 5,
  norm = { "old_norm", eps = 1e-5 }, attention = "old_attention", ffn = { "old_ffn", slope = 0.2 },
}
for _, dtype in ipairs { "f32", "bf16" } do
  local result = sonde.train(model:init(), corpus, {
    batch = 4, context = 24, steps = 6, lr = 0.05, optimizer = { "old_optimizer", momentum = 0.8 }, dtype = dtype,
    progress = false,
  })
  print(dtype, result.state_sha256)
end
