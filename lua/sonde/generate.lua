--- generate.lua - text from a model, token by token, with a key-value cache.
--
-- Two plans share the cache: one of the whole prompt, run once, and one of a single token, run for every token after it.
-- The cache is a state of the graph (core.cache), so any norm, placement and causal attention can generate.

local core = require "sonde.core"
local args = require "sonde.args"

local generate = {}

generate.schema = {
  { name = "tokens", type = "integer", min = 1, preset = 100, doc = "tokens to generate, at most" },
  { name = "temperature", type = "number", min = 0, preset = 1, doc = "divides the logits; 0: always the likeliest token" },
  { name = "top_k", type = "integer", min = 0, preset = 0, doc = "choose among the k likeliest; 0: all" },
  { name = "top_p", type = "number", min = 0, max = 1, preset = 1, doc = "choose among the likeliest that hold this probability" },
  { name = "seed", type = "integer", min = 0, preset = 0, doc = "of the choices" },
  { name = "stop", type = "integer", min = 0, doc = "a token that ends a sequence; default: none" },
  { name = "dtype", type = "string", choices = { "f32", "bf16" }, preset = "f32", doc = "of matrix products" },
  { name = "each", type = "function", doc = "called with the list of new tokens, one a sequence, after each step; true: stop" },
}

--- A plan of `length` tokens a sequence whose first output is the logits after the last of them. The plan that runs for
--- every token holds what follows from the weights alone.
---@private
function generate.plan(model, cache, batch, length, prefill, dtype)
  local graph = core.graph()
  cache:attach(graph, prefill)
  local trace = model:trace { graph = graph, batch = batch, context = length }
  local last = length > 1 and trace.final:slice(2, length) or trace.final
  local nodes, tensors = cache:outputs(graph)
  table.insert(nodes, 1, last:linear(trace.head))
  local into = {}
  for k, tensor in ipairs(tensors) do into[k + 1] = tensor end
  return core.plan(nodes, { compute = dtype, hold = not prefill }, into)
end

local function check_prompts(prompts, model, wanted)
  local batch, length = #prompts, prompts[1] and #prompts[1] or 0
  if batch == 0 or length == 0 then error(core.where() .. "generate: a prompt needs at least one token", 0) end
  for k, prompt in ipairs(prompts) do
    if #prompt ~= length then
      error(core.where() .. "generate: the prompts of a batch are equally long; number " .. k .. " has " .. #prompt
        .. " tokens, the first " .. length, 0)
    end
    for _, token in ipairs(prompt) do
      if token < 0 or token >= model.config.vocab then
        error(core.where() .. "generate: token " .. token .. " is outside the vocabulary of " .. model.config.vocab, 0)
      end
    end
  end
  return batch, length, length + wanted
end

--- Continues token sequences. All prompts are equally long; returns the new tokens of each.
---@param model sonde.model
---@param prompts integer[][]
---@param options? table
---@return integer[][] tokens, { seconds: number, prefill_seconds: number, tokens_per_s: number } speed of the prompt, and of what follows it
function generate.tokens(model, prompts, options)
  args.model(model, "generate")
  options = args.check(generate.schema, options, "generate")
  local batch, length, capacity = check_prompts(prompts, model, options.tokens)
  model:init()
  if options.tokens > 1 then require("sonde.generate_check").run(model, capacity) end
  local cache = core.cache(batch, capacity)
  local prompt_plan = generate.plan(model, cache, batch, length, true, options.dtype)
  local plan = generate.plan(model, cache, batch, 1, false, options.dtype)
  local flat = {}
  for _, prompt in ipairs(prompts) do
    for _, token in ipairs(prompt) do flat[#flat + 1] = token end
  end
  local new, position = core.tensor("i32", { batch, 1 }), core.tensor("i32", { 1 })
  local results, finished = {}, {}
  local chosen = { temperature = options.temperature, top_k = options.top_k, top_p = options.top_p, seed = options.seed }
  for r = 1, batch do results[r] = {} end
  local function choose(from, index)
    chosen.index = index
    core.sample(from, 1, model.config.vocab, new, chosen)
    local list, open = {}, false
    for r = 1, batch do
      local token = new:get(r)
      list[r] = token
      if not finished[r] then
        finished[r] = token == options.stop
        if not finished[r] then table.insert(results[r], token) end
      end
      open = open or not finished[r]
    end
    return not open or (options.each and options.each(list)) or false
  end
  local start = core.seconds()
  position:fill { 0 }
  -- Blocks of linear maps alone have no cache, and nothing asks for a position.
  if prompt_plan:reads "position" then prompt_plan:set("position", position) end
  prompt_plan:run { tokens = flat }
  local done = choose(prompt_plan, 0)
  prompt_plan:close()
  plan:hold()
  local prefilled, steps = core.seconds(), 0
  plan:set("tokens", new)
  if plan:reads "position" then plan:set("position", position) end
  for index = 1, options.tokens - 1 do
    if done then break end
    position:fill { length + index - 1 }
    plan:run()
    steps = index
    done = choose(plan, index)
  end
  local seconds = core.seconds() - prefilled
  plan:close()
  cache:close()
  return results, { seconds = seconds, prefill_seconds = prefilled - start, tokens_per_s = seconds > 0 and steps * batch / seconds or 0 }
end

return generate
