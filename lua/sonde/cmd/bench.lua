--- bench - measures this machine and Sonde on it.

local core = require "sonde.core"

local dtype = { name = "dtype", type = "string", preset = "f32", choices = { "f32", "bf16" }, doc = "dtype of products" }
local steps = { name = "steps", type = "integer", min = 1, preset = 10, doc = "timed runs, after two that are not" }
local json = { name = "json", type = "boolean", preset = false, doc = "print one JSON object" }

-- "key  value" lines; nested lists are shown as JSON.
local function show(result, as_json)
  if as_json then
    print(core.json_encode(result))
    return
  end
  local keys, widest = {}, 0
  for key in pairs(result) do
    keys[#keys + 1] = key
    widest = math.max(widest, #key)
  end
  table.sort(keys)
  for _, key in ipairs(keys) do
    local value = result[key]
    if type(value) == "table" then value = core.json_encode(value) end
    print(key .. string.rep(" ", widest - #key + 2) .. tostring(value))
  end
end

local function command(what, summary, options, example)
  return {
    summary = summary, usage = "[options]", options = options,
    example = "sonde bench " .. what .. (example or " --dtype bf16") .. " --json",
    run = function(given) show(require("sonde.bench")[what](given), given.json) end,
  }
end

return {
  summary = "measure this machine and Sonde on it",
  usage = "WHAT [options]",
  example = "sonde bench train --config c --dtype bf16 --threads 2 --json",
  details = "Times are medians. `mfu` is the share of the peak that `sonde bench peak` measures, taken in the same run.",
  commands = {
    peak = command("peak", "multiply-adds in registers: what nothing can exceed", { dtype, json }),
    gemm = command("gemm", "matrix products of a language model's layers", { dtype, steps, json }),
    attention = command("attention", "causal attention, forward and backward", { dtype, steps, json }),
    norm = command("norm", "a norm, forward and backward, beside the memory traffic that none can do without", {
      { name = "norm", type = "string", preset = "rmsnorm", choices = function() return core.modules "norm" end,
        doc = "which one" },
      { name = "width", type = "integer", min = 1, max = 16384, preset = 512, doc = "of the residual stream" }, steps, json,
    }, " --norm dyt"),
    train = command("train", "training steps of a plain Llama on random tokens", {
      { name = "config", type = "string", preset = "b", choices = { "a", "b", "c", "d", "e" },
        doc = "model, from 2.9 M (a) to 134 M parameters (e)" },
      dtype, steps, { name = "seed", type = "integer", min = 0, preset = 1, doc = "of weights and tokens" }, json,
    }),
  },
}
