--- bench - measures this machine and Sonde on it.

local core = require "sonde.core"
local sorted_keys = require "sonde.base.sorted_keys"
local output = require "sonde.base.output"

local dtype = { name = "dtype", type = "string", preset = "f32", choices = { "f32", "bf16" },
  doc = "dtype of products" }
local steps = { name = "steps", type = "integer", min = 1, preset = 10, doc = "timed runs, after two that are not" }
local config = { name = "config", type = "string", preset = "b", choices = { "a", "b", "c", "d", "e" },
  doc = "model, from 2.9 M (a) to 134 M parameters (e)" }
local seed = { name = "seed", type = "integer", min = 0, preset = 1, doc = "of weights and tokens" }
local norm = { name = "norm", type = "string", preset = "rmsnorm", choices = function() return core.modules "norm" end,
  doc = "which one" }
local json = output.json

local function size(name, preset, doc)
  return { name = name, type = "integer", min = 1, max = 1048576, preset = preset, doc = doc }
end
local attention_options = {
  dtype,
  { name = "context", type = "list", value = "A,B,..", preset = { 1024 }, some = true, of = size("context", nil, ""),
    doc = "tokens of a sequence; each is measured" },
  size("batch", 2, "sequences"), size("heads", 8, "query heads"),
  size("kv_heads", nil, "key and value heads; default: as many as heads"),
  { name = "head_dim", type = "integer", min = 1, max = 256, preset = 64, doc = "width of a head" },
  { name = "window", type = "integer", min = 0, preset = 0, doc = "how many keys back a query sees; 0: all" },
  { name = "sinks", type = "integer", min = 0, preset = 0, doc = "first keys that it sees beside a window or blocks" },
  { name = "blocks", type = "string", preset = "all", choices = { "all", "top", "strided" },
    doc = "blocks of keys that it sees; with a window, these and the window" },
  size("block_size", 64, "keys of a block"),
  { name = "block_top", type = "integer", min = 0, preset = 2,
    doc = "of blocks = top: how many beside the first and a query's own" },
  { name = "block_choice", type = "string", preset = "block", choices = { "block", "query" },
    doc = "of blocks = top: whether a block of queries chooses, or each query" },
  size("block_stride", 4, "of blocks = strided: blocks from one to the next"),
  { name = "full", type = "boolean", preset = false, doc = "time full attention too, in turn, and compare with it" },
  steps, json,
}

-- A list of records of the same fields, one a line.
local function show_records(name, records)
  local keys, lines = sorted_keys(records[1]), { "\n" .. name, "" }
  for _, key in ipairs(keys) do
    lines[2] = lines[2] .. ("%16s"):format(key)
    for r, record in ipairs(records) do
      lines[r + 2] = (lines[r + 2] or "") .. ("%16s"):format(tostring(record[key]))
    end
  end
  print(table.concat(lines, "\n"))
end

-- "key  value" lines; then what is a list of records, as tables.
local function show(result, as_json)
  if as_json then
    output.print_json(result)
    return
  end
  local keys, widest = sorted_keys(result), 0
  for _, key in ipairs(keys) do widest = math.max(widest, #key) end
  for _, key in ipairs(keys) do
    if type(result[key]) ~= "table" then print(key .. string.rep(" ", widest - #key + 2) .. tostring(result[key])) end
  end
  for _, key in ipairs(keys) do
    if type(result[key]) == "table" then show_records(key, result[key]) end
  end
end

local function command(what, summary, options, example, module)
  return {
    summary = summary, usage = "[options]", options = options,
    example = "sonde bench " .. what .. (example or " --dtype bf16") .. " --json",
    run = function(given) show(require(module or "sonde.train.bench")[what](given), given.json) end,
  }
end

return {
  summary = "measure this machine and Sonde on it",
  usage = "WHAT [options]",
  example = "sonde bench train --config c --dtype bf16 --threads 2 --json",
  details = "Times are medians. `mfu` is the share of the peak that `sonde bench peak` measures, taken in the same "
    .. "run.",
  commands = {
    peak = command("peak", "multiply-adds in registers: what nothing can exceed", { dtype, json }),
    gemm = command("gemm", "matrix products of a language model's layers", { dtype, steps, json }),
    attention = command("attention", "causal attention, forward and backward", attention_options,
      " --context 1024,2048,4096 --window 256"),
    moe = command("moe", "a mixture of experts beside the dense layer of as many active parameters", {
      { name = "experts", type = "integer", min = 1, max = 65536, preset = 8, doc = "experts E" },
      { name = "top_k", type = "integer", min = 1, max = 65536, preset = 2, doc = "experts that a token goes to" },
      { name = "hidden", type = "integer", min = 1, max = 1048576, preset = 688, doc = "inner width of an expert" },
      { name = "width", type = "integer", min = 1, max = 65536, preset = 512, doc = "of the residual stream" },
      { name = "tokens", type = "integer", min = 1, max = 1048576, preset = 4096, doc = "of a micro-batch" },
      dtype, steps, json,
    }),
    norm = command("norm", "a norm, forward and backward, beside the memory traffic that none can do without", {
      norm,
      { name = "width", type = "integer", min = 1, max = 16384, preset = 512,
        doc = "of the residual stream" }, steps, json,
    }, " --norm dyt"),
    tokenize = command("tokenize", "a text to ids and back, on one thread", {
      { name = "text", type = "string", required = true, value = "FILE", doc = "a text file, packed or not" },
      { name = "tokenizer", type = "string", value = "PATH",
        doc = "a tokenizer.json, tokenizer.model or vocab.json, or a folder with one; default: one of 8192 tokens, "
          .. "trained on the text" }, steps, json,
    }, " --text book.txt --tokenizer llama"),
    generate = command("generate", "tokens a second of a plain Llama, one sequence", {
      config, dtype, { name = "tokens", type = "integer", min = 2, max = 240, preset = 128,
        doc = "tokens to generate" },
      { name = "top_p", type = "number", min = 0, max = 1,
        doc = "draw tokens among those that hold this probability; default: greedy" },
      seed, json,
    }),
    choices = command("choices", "multiple choice with shared contexts, beside the forward pass of as many tokens", {
      config, dtype, { name = "documents", type = "integer", min = 1, max = 100000, preset = 100,
        doc = "each a context with four continuations" }, steps, seed, json,
    }, " --config d"),
    distill = command("distill", "a step of distillation beside the student's own and the teacher's forward pass", {
      config, { name = "teacher", type = "string", preset = "d", choices = { "a", "b", "c", "d", "e" },
        doc = "the teacher's model, at the student's batch and context" },
      { name = "loss", type = "string", preset = "forward_kl", doc = "the divergence",
        choices = function() return core.modules "distill" end },
      { name = "top_k", type = "integer", min = 1, doc = "keep the teacher's K likeliest tokens" },
      { name = "temperature", type = "number", min = 0.01, max = 1000, preset = 1, doc = "of both" },
      { name = "prompt", type = "integer", min = 1,
        doc = "also time the student's samples (on_policy) behind prompts of so many tokens" }, dtype, steps, seed,
      json,
    }, " --config b --teacher d"),
    video = command("video", "decoding a video and measuring its motion, beside its own pace", {
      { name = "video", type = "string", required = true, value = "FILE", doc = "a video, or a folder of images" },
      { name = "seconds", type = "number", min = 0.01, preset = 5, doc = "time to measure, the file again and again" },
      { name = "width", type = "integer", min = 16, max = 4096, preset = 320,
        doc = "of the picture that motion is measured in" },
      { name = "block", type = "integer", min = 8, max = 16, preset = 8, doc = "8 or 16 pixels" },
      { name = "motion", type = "string", choices = { "matched", "codec" }, preset = "matched",
        doc = "matched blocks, or the codec's vectors" }, json,
    }, " --video drive.mp4", "sonde.video.bench"),
    train = command("train", "training steps of a plain Llama on random tokens", {
      config, norm, { name = "placement", type = "string", preset = "pre_ln", doc = "of the norms",
        suggest = function() return require("sonde.model.placement").names() end }, dtype, steps, seed,
      { name = "profile", type = "boolean", preset = false, doc = "say what the time of a step goes into" }, json,
    }),
  },
}
