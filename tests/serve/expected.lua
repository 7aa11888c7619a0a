-- expected.lua MODEL FILE: checks answers of /v1/completions to prompts of ids, with echo and logprobs, against
-- sonde.evaluate. FILE has lines: the ids of a prompt as JSON, then the answer to it. The entries of a prompt come from
-- the tokens before its last one, the new token's from all of them.
local sonde = require "sonde"
local core = require "sonde.core"

local unpack = table.unpack
local model = sonde.load(arg[1])
local lines = {}
for line in io.lines(arg[2]) do lines[#lines + 1] = line end

local function near(a, b, what)
  if math.abs(a - b) > 1e-5 * math.max(1, math.abs(b)) then error(("%s: %.9g, not %.9g"):format(what, a, b), 0) end
end

-- The logits behind each of the first n tokens: those of the t-th are at (t - 1) * vocab.
local function logits_of(ids, n)
  local plan = core.plan { model:trace { batch = 1, context = n }:logits() }
  plan:run { tokens = { unpack(ids, 1, n) } }
  return plan:output(1)
end

local checked = 0
for k = 1, #lines, 2 do
  local ids, answer = core.json_decode(lines[k]), core.json_decode(lines[k + 1])
  local of = answer.choices[1].logprobs
  assert(#of.token_logprobs == #ids + 1, "prompt + 1 entries, not " .. #of.token_logprobs)
  assert(#of.tokens == #ids + 1 and #of.top_logprobs == #ids + 1 and #of.text_offset == #ids + 1, "equal lists")
  assert(of.token_logprobs[1] == false and of.top_logprobs[1] == false, "nothing predicts the first token")
  local sum, vocab = 0, model.config.vocab
  local row = #ids > 1 and logits_of(ids, #ids - 1)
  for i = 2, #ids + 1 do
    if i > #ids then row = logits_of(ids, #ids) end
    local top, norm = -math.huge, 0
    for v = 1, vocab do top = math.max(top, row:get((i - 2) * vocab + v)) end
    for v = 1, vocab do norm = norm + math.exp(row:get((i - 2) * vocab + v) - top) end
    local best = -math.huge
    for _, value in pairs(of.top_logprobs[i]) do best = math.max(best, value) end
    near(best, -math.log(norm), "the likeliest of entry " .. i)
    if i <= #ids then
      near(of.token_logprobs[i], row:get((i - 2) * vocab + ids[i] + 1) - top - math.log(norm), "entry " .. i)
      sum = sum - of.token_logprobs[i]
      local greedy = row:get((i - 2) * vocab + ids[i] + 1) == top
      assert((of.token_logprobs[i] == best) == greedy, "greedy or not, entry " .. i)
    else
      assert(of.token_logprobs[i] == best, "the new token is the likeliest")
    end
  end
  if #ids > 1 then
    local evaluated = sonde.evaluate(model, ids)
    near(sum, evaluated.loss * evaluated.tokens, "the log-likelihood")
    local request = { context = { ids[1] }, continuation = { unpack(ids, 2) } }
    near(-sum, sonde.likelihoods(model, { request })[1].sum, "that of likelihoods")
  end
  checked = checked + 1
end
print(checked .. " answers")
