--- generate.lua - text from a model, token by token, with a key-value cache.
--
-- Two plans share the cache: one of the whole prompt, run once, and one of a single token, run for every token after
-- it. The cache is a state of the graph (core.cache), so any norm, placement and causal attention can generate.

local core = require "sonde.core"
local rotation = require "sonde.model.rotation"
local args = require "sonde.base.args"
local logprobs = require "sonde.eval.logprobs"

local generate = {}

--- The options of sonde.generate.
---@type sonde.schema
generate.schema = {
  { name = "tokens", type = "integer", min = 1, max = 2 ^ 30, preset = 100, doc = "tokens to generate, at most" },
  { name = "temperature", type = "number", min = 0, preset = 1,
    doc = "divides the logits; 0: always the likeliest token" },
  { name = "top_k", type = "integer", min = 0, preset = 0, doc = "choose among the k likeliest; 0: all" },
  { name = "top_p", type = "number", min = 0, max = 1, preset = 1,
    doc = "choose among the likeliest that hold this probability" },
  { name = "seed", type = "integer", min = 0, preset = 0, doc = "of the choices" },
  { name = "stop", type = "integer|list", min = 0, of = { name = "token", type = "integer", min = 0, doc = "" },
    doc = "a token that ends a sequence, or a list of them; default: none" },
  { name = "dtype", type = "string", choices = { "f32", "bf16" }, preset = "f32", doc = "of matrix products" },
  { name = "ends", type = "function",
    doc = "called with each new token's prompt number and the token; true: that sequence ends behind it" },
  { name = "profile", type = "boolean", preset = false, doc = "say what the time behind the prompt went into" },
  { name = "each", type = "function",
    doc = "called after each step with the new tokens and their prompts' numbers, in lists used again, and with what "
      .. "logprobs gives of each; true: stop" },
  { name = "logprobs", type = "integer", min = 0, max = 1000,
    doc = "give each token's log-probability before temperature, and those of the so many likeliest; default: none" },
  { name = "checked", type = "boolean", preset = false, hidden = true,
    doc = "these weights have been tried (generate_check.lua) at such a length" },
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
  table.insert(nodes, 1, trace:logits(last))
  local into = {}
  for k, tensor in ipairs(tensors) do into[k + 1] = tensor end
  return core.plan(nodes, { compute = dtype, hold = not prefill }, into)
end

-- `tokens`: how many new ones there may be; the last of them is not read.
local function check_prompts(prompts, model, tokens)
  local function refuse(text, ...) error(core.where() .. "generate: " .. string.format(text, ...), 0) end
  if not model.config.vocab then refuse("continues tokens; the model reads features") end
  local longest = model.config.positions == "learned" and model.config.context
  if #prompts == 0 then refuse("takes a list of prompts, each a list of tokens, not none") end
  for k, prompt in ipairs(prompts) do
    if #prompt == 0 then refuse("prompt %d is empty; a prompt needs at least one token", k) end
    if longest and #prompt + tokens - 1 > longest then
      refuse("prompt %d has %d tokens, which with %d new ones are more than the %d positions that the model has "
        .. "learned; give a shorter one, or generate fewer", k, #prompt, tokens, longest)
    end
    local limit = rotation.between(model, #prompt, #prompt + tokens - 1)
    if limit then
      refuse("prompt %d has %d tokens, and with %d new ones it passes %d, from where the model rotates positions in "
        .. "another way; generate fewer, or give another prompt", k, #prompt, tokens, limit)
    end
    for _, token in ipairs(prompt) do
      if token < 0 or token >= model.config.vocab then
        refuse("token %.0f of prompt %d is outside the vocabulary of %d", token, k, model.config.vocab)
      end
    end
  end
end

-- What is drawn is a token: the objective must give logits of the vocabulary.
local function check_head(model)
  local trace, vocab = model:trace { batch = 1, context = 1 }, model.config.vocab
  local rows = trace.head and trace.head:dims()[1]
  trace.graph:close()
  if rows ~= vocab then
    error(core.where() .. string.format("generate: the model's objective '%s' gives no logits of its %d tokens; "
      .. "generate with a language model", model.objective.name, vocab), 0)
  end
end

--- Refuses a model that cannot be generated from, so many tokens behind so many of a prompt.
---@private
---@param model sonde.model
---@param length integer
---@param tokens integer
function generate.check(model, length, tokens)
  local prompt = {}
  for k = 1, length do prompt[k] = 0 end
  check_prompts({ prompt }, model, tokens)
  check_head(model)
  if tokens > 1 then require("sonde.eval.generate_check").run(model, length + tokens - 1) end
end

-- The numbers of the prompts of each length: those are computed together.
local function groups_of(prompts)
  local groups, by_length = {}, {}
  for k, prompt in ipairs(prompts) do
    local group = by_length[#prompt]
    if not group then
      group = { length = #prompt }
      groups[#groups + 1], by_length[#prompt] = group, group
    end
    group[#group + 1] = k
  end
  return groups
end

-- What is known of each token that was chosen from the logits of a plan; nil where nobody asks.
local function marks_of(plan, new, vocab, options)
  return options.logprobs and logprobs.of_rows(plan, 1, vocab, new:values(), options.logprobs) or nil
end

-- What becomes of the tokens that were chosen: into the results; returns whether it ends there.
local function taker(group, new, results, options)
  local list, finished, left, stops = {}, {}, #group, {}
  for _, token in ipairs(type(options.stop) == "table" and options.stop or { options.stop }) do stops[token] = true end
  return function(marks)
    for r, number in ipairs(group) do
      local token, result = new:get(r), results[number]
      list[r] = token
      if not finished[r] then
        if not stops[token] then
          result[#result + 1] = token
          if marks then result.logprobs[#result] = marks[r] end
        end
        finished[r] = stops[token] or options.ends and options.ends(number, token)
        if finished[r] then left = left - 1 end
      end
    end
    local stopped = options.each and options.each(list, group, marks) or false
    return left == 0 or stopped, stopped
  end
end

local function add(sums, seconds)
  for key, each in pairs(seconds) do sums[key] = (sums[key] or 0) + each end
end

---@class sonde.generator      the plans and the cache for so many prompts of one length
---@field length integer        of a prompt
---@field options table         checked ones of generate.schema
---@field private prompt sonde.plan
---@field private plan sonde.plan

local generator = {}
generator.__index = generator

--- Opens a generator; what it generates is a function of the weights at that time. Its runs allocate nothing for a
--- token.
---@private
---@param model sonde.model
---@param batch integer
---@param length integer      of the prompts
---@param options table       see generate.schema, checked
---@return sonde.generator
function generate.open(model, batch, length, options)
  local self = setmetatable({ length = length, options = options, vocab = model.config.vocab }, generator)
  self.cache = core.cache(batch, length + options.tokens)
  self.prompt = generate.plan(model, self.cache, batch, length, true, options.dtype)
  self.plan = generate.plan(model, self.cache, batch, 1, false, options.dtype)
  self.new, self.position = core.tensor("i32", { batch, 1 }), core.tensor("i32", { 1 })
  self.plan:set("tokens", self.new)
  -- Blocks of linear maps alone have no cache, and nothing asks for a position.
  for _, plan in ipairs { self.prompt, self.plan } do
    if plan:reads "position" then plan:set("position", self.position) end
  end
  return self
end

function generator:close()
  for _, each in ipairs { self.prompt, self.plan, self.cache } do each:close() end
end

--- Continues prompts. `take` is called with the generator after each step, when its tensor `new` [batch, 1] has the new
--- tokens; true: there is no need to go on.
---@private
---@param tokens integer[]     of all prompts, one after the other
---@param streams integer[]    of each prompt the number of the random numbers that it is continued by
---@param take fun(generator: sonde.generator, plan: sonde.plan): boolean
---@param last? boolean        the prompt's plan is not needed again: its memory goes to the other one
---@return integer steps, number prefill_seconds, number seconds     of the steps behind the prompt
function generator:run(tokens, streams, take, last)
  local options, new, steps = self.options, self.new, 0
  local sampler = core.sampler(self.vocab, streams, options)
  local start = core.seconds()
  self.position:set(1, 0)
  self.prompt:run { tokens = tokens }
  sampler:choose(self.prompt, 1, 0, new)
  local done = take(self, self.prompt)
  if last then self.prompt:close() end
  self.plan:hold()
  if options.profile then self.plan:profile() end
  local prefilled = core.seconds()
  for index = 1, options.tokens - 1 do
    if done then break end
    self.position:set(1, self.length + index - 1)
    self.plan:run()
    sampler:choose(self.plan, 1, index, new)
    steps = steps + 1
    done = take(self, self.plan)
  end
  sampler:close()
  return steps, prefilled - start, core.seconds() - prefilled
end

-- Continues the prompts of one length.
local function continue(model, prompts, group, options, results, speed)
  local flat, streams, stopped = {}, {}, false
  for r, number in ipairs(group) do
    streams[r] = number - 1
    for _, token in ipairs(prompts[number]) do flat[#flat + 1] = token end
  end
  local self = generate.open(model, #group, group.length, options)
  local take = taker(group, self.new, results, options)
  local steps, prefill, seconds = self:run(flat, streams, function(_, plan)
    local done
    done, stopped = take(marks_of(plan, self.new, self.vocab, options))
    return done
  end, true)
  speed.tokens = speed.tokens + steps * #group
  speed.seconds, speed.prefill_seconds = speed.seconds + seconds, speed.prefill_seconds + prefill
  if options.profile then
    local ops, modules = self.plan:profile()
    add(speed.profile, ops)
    add(speed.profile_modules, require("sonde.model.trace").by_kind(modules))
  end
  self:close()
  return stopped
end

--- Continues token sequences; returns the new tokens of each. Prompts of one length are a batch. What is drawn for a
--- prompt depends on the seed and its number alone. With the option logprobs each list of new tokens has a list
--- `logprobs` with {logprob, tokens, logprobs} of each: its own, and the likeliest tokens with theirs.
---
---     local tokenizer = model:tokenizer()
---     local texts = sonde.generate(model, { tokenizer:encode("In the beginning"):values() }, { tokens = 50 })
---     print(tokenizer:decode(texts[1]))
---
---@param model sonde.model
---@param prompts integer[][]     each a list of at least one token, from 0
---@param options? table          see generate.schema
---@return integer[][] tokens, table speed   seconds, prefill_seconds, tokens_per_s; profile, profile_modules
function generate.tokens(model, prompts, options)
  options = args.check(generate.schema, options, "generate")
  check_prompts(prompts, model, options.tokens)
  model:init()
  check_head(model)
  local results, longest, speed = {}, 0, { seconds = 0, prefill_seconds = 0, tokens = 0, profile = {},
    profile_modules = {} }
  for k, prompt in ipairs(prompts) do
    results[k], longest = { logprobs = options.logprobs and {} or nil }, math.max(longest, #prompt)
  end
  if options.tokens > 1 and not options.checked then
    require("sonde.eval.generate_check").run(model, longest + options.tokens - 1)
  end
  for _, group in ipairs(groups_of(prompts)) do
    if continue(model, prompts, group, options, results, speed) then break end
  end
  return results, {
    seconds = speed.seconds, prefill_seconds = speed.prefill_seconds,
    tokens_per_s = speed.seconds > 0 and speed.tokens / speed.seconds or 0,
    profile = options.profile and speed.profile or nil,
    profile_modules = options.profile and speed.profile_modules or nil,
  }
end

local ids = { name = "prompt", type = "list", of = { name = "token", type = "integer" } }
return args.declare(generate, "sonde.generate.", {
  tokens = {
    as = "sonde.generate",
    { name = "model", type = "model", required = true },
    { name = "prompts", type = "list", of = ids, required = true }, { name = "options", type = "table" },
  },
})
