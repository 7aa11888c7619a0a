-- Likelihoods of continuations against an independent implementation, and that nothing else in a row changes a bit.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"

local FOLDER = os.getenv "abs_srcdir" .. "/tests/reference"
local expected = core.json_load(FOLDER .. "/tasks.json")

local function small(options)
  local all = { vocab = 97, width = 32, depth = 2, heads = 4, context = 160, init_std = 0.4, seed = 5 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

-- Requests of documents with choices, some of which share their first tokens; deterministic.
local function documents(n, longest)
  local requests, groups, state = {}, {}, 17
  local function draw(below)
    state = (state * 1103515245 + 12345) % 2147483648
    return math.floor(state / 65536) % below
  end
  for d = 1, n do
    local context, group = {}, {}
    if d % 3 == 0 then
      for k = 1, 40 do context[k] = k end      -- as examples in front of several prompts
    end
    for _ = 1, 1 + draw(longest) do context[#context + 1] = draw(97) end
    for c = 1, 1 + d % 4 do
      local continuation = c > 2 and { 7, 9 } or {}
      for _ = 1, 1 + draw(12) do continuation[#continuation + 1] = draw(97) end
      requests[#requests + 1] = { context = context, continuation = continuation }
      group[c] = #requests
    end
    groups[d] = group
  end
  return requests, groups
end

-- What a request gives by itself, of plain logits.
local function plainly(model, request)
  local ids = {}
  for _, part in ipairs { request.context, request.continuation } do
    for _, id in ipairs(part) do ids[#ids + 1] = id end
  end
  local n, m, v = #ids - 1, #request.continuation, model.config.vocab
  local trace = model:trace { batch = 1, context = n }
  local plan = sonde.plan { trace:logits() }
  local tokens, sum, greedy = {}, 0, true
  for k = 1, n do tokens[k] = ids[k] end
  plan:run { tokens = tokens }
  local logits = plan:output(1):values()
  for t = n - m, n - 1 do
    local top, total, best = -math.huge, 0, nil
    for i = 1, v do
      if logits[t * v + i] > top then top, best = logits[t * v + i], i - 1 end
    end
    for i = 1, v do total = total + math.exp(logits[t * v + i] - top) end
    sum = sum + logits[t * v + ids[t + 2] + 1] - top - math.log(total)
    greedy = greedy and best == ids[t + 2]
  end
  plan:close()
  return sum, greedy
end

-- Sonde's own products give a row the same bits wherever it is; those of a BLAS, without AVX-512, do not.
local isa = core.cpu().isa
local BOUND = (isa == "avx512" or isa == "amx") and 0 or 1e-5

local function same(a, b)
  for k, each in ipairs(a) do
    if math.abs(each.sum - b[k].sum) > BOUND * math.abs(each.sum) or BOUND == 0 and each.greedy ~= b[k].greedy then
      error(string.format("request %d: %.17g for %.17g", k, b[k].sum, each.sum))
    end
  end
  lu.assertEquals(#a, #b)
end

TestLikelihoods = {}

function TestLikelihoods:test_an_independent_implementation()
  local model = sonde.load(FOLDER .. "/llama_gqa")
  local requests = {}
  for k, want in ipairs(expected.likelihoods) do
    requests[k] = { context = want.context, continuation = want.continuation }
  end
  local results = sonde.likelihoods(model, requests, { greedy = true, each = true })
  for k, want in ipairs(expected.likelihoods) do
    lu.assertTrue(math.abs(results[k].sum - want.sum) < 1e-5 * math.max(1, -want.sum), k .. ": " .. results[k].sum
      .. " for " .. want.sum)
    lu.assertEquals(results[k].greedy, want.greedy)
    lu.assertEquals(#results[k].tokens, #want.tokens)
    for i, token in ipairs(want.tokens) do lu.assertTrue(math.abs(results[k].tokens[i] - token) < 1e-4) end
  end
end

function TestLikelihoods:test_plain_logits()
  for _, options in ipairs { {}, { placement = "post_ln" },
    { attention = { "causal", softcap = 2, clip = 1.5, bias = "all", rope_partial = 0.5 } },
    { attention = { "causal", rope_theta = 0 } },
    { attention = { "causal", rope_scaling = "dynamic", rope_original_context = 160 } },
    { attention = { "causal", rope_scaling = "dynamic", rope_original_context = 100 } },
    { attention = { "causal", rope_scaling = "longrope", rope_original_context = 128, rope_short_factors = "1,2,3,4",
      rope_long_factors = "9,10,11,12" } },
    { attention = { "causal", rope_scaling = "yarn", rope_original_context = 32 } },
    { attention = { "causal", window = 20, kv_heads = 2 } },
    { attention = { "causal", window = 20, sinks = 3 } },
    { attention = { "causal", blocks = "strided", block_size = 5, block_stride = 3, window = 4 } },
    { attention = { "causal", blocks = "top", block_size = 6, block_top = 2 } },
    { attention = { "causal", blocks = "top", block_size = 6, block_top = 2, block_choice = "query", kv_heads = 2 } },
    { attention = { "causal", qk_norm = true, rope_scaling = "llama3", rope_original_context = 64 } } } do
    local model = small(options)
    local requests, groups = documents(12, 60)
    local results = sonde.likelihoods(model, requests, { groups = groups, greedy = true })
    for k, request in ipairs(requests) do
      local sum, greedy = plainly(model, request)
      lu.assertTrue(math.abs(results[k].sum - sum) < 2e-5 * math.max(1, -sum), k .. ": " .. results[k].sum .. " for "
        .. sum)
      lu.assertEquals(results[k].greedy, greedy)
    end
  end
end

-- Where the rotation of all tokens would change with the length of the row, and a request is as long.
function TestLikelihoods:test_a_request_past_the_original_context()
  for _, options in ipairs { { "causal", rope_scaling = "dynamic", rope_original_context = 70 },
    { "causal", rope_scaling = "longrope", rope_original_context = 70, rope_short_factors = "1,2,3,4",
      rope_long_factors = "9,10,11,12" } } do
    local model, ids = small { attention = options }, {}
    for k = 1, 80 do ids[k] = k end
    lu.assertErrorMsgContains("request 1 has 80 tokens, but this model rotates positions in another way beyond 70",
      sonde.likelihoods, model, { { context = ids, continuation = { 3 } } })
    lu.assertTrue(sonde.likelihoods(model, { { context = ids, continuation = { 3 } } }, { context = 60 })[1].sum < 0)
    options.rope_original_context = 7                  -- a row in which hardly anything fits, and no multiple of four
    model, ids = small { attention = options }, { 5, 6, 7, 8, 9, 10, 11 }
    local requests = { { context = ids, continuation = { 3 } }, { context = { 5, 6 }, continuation = { 1, 2 } } }
    for k, result in ipairs(sonde.likelihoods(model, requests)) do
      lu.assertAlmostEquals(result.sum, (plainly(model, requests[k])), 1e-4)
    end
    lu.assertErrorMsgContains("it passes 7, from where", sonde.generate, model, { { 5, 6, 7 } }, { tokens = 6 })
    lu.assertEquals(#sonde.generate(model, { { 5, 6, 7 } }, { tokens = 5 })[1], 5)
  end
end

-- The log-probabilities of whole sequences, alone and padded in batches, at lengths around the original context. The
-- last token predicts nothing, so what is rotated by the length is the tokens before it.
function TestLikelihoods:test_logprobs_around_the_original_context()
  local lengths = { 1, 2, 5, 15, 16, 17, 20, 21, 22, 23, 40 }
  for _, original in ipairs { 7, 16, 20, 21, 22 } do
    for _, options in ipairs { { "causal", rope_scaling = "dynamic", rope_original_context = original },
      { "causal", rope_scaling = "longrope", rope_original_context = original, rope_short_factors = "1,2,3,4",
        rope_long_factors = "9,10,11,12" } } do
      local model, sequences = small { attention = options }, {}
      local scorer = require("sonde.eval.logprobs").scorer(model)
      for s, n in ipairs(lengths) do
        sequences[s] = {}
        for k = 1, n do sequences[s][k] = k * k % 89 end
      end
      local together = scorer:score(sequences, 1)
      for s, ids in ipairs(sequences) do
        local case = ("%s %d, %d tokens"):format(options.rope_scaling, original, #ids)
        local sum, alone = 0, scorer:score({ ids }, 1)[1]
        for k, entry in ipairs(together[s]) do
          if k > 1 and k <= #ids then
            lu.assertAlmostEquals(entry.logprob, alone[k].logprob, 1e-5, case)
            sum = sum + entry.logprob
          end
        end
        lu.assertEquals(#alone, #ids + 1)
        local crosses = #ids > original and (options.rope_scaling == "dynamic" or #ids == original + 1)
        lu.assertEquals(not alone[#ids + 1], crosses, case)      -- what comes behind is of other angles
        if #ids > 1 then
          local request = { context = { ids[1] }, continuation = { table.unpack(ids, 2) } }
          lu.assertAlmostEquals(sum, (plainly(model, request)), 1e-4, case)
          if #ids <= original + 1 then
            lu.assertAlmostEquals(sum, sonde.likelihoods(model, { request })[1].sum, 1e-4, case)
          end
        end
      end
      scorer:close()
    end
  end
end

-- Order, groups, what shares a row, and the size of rows: the same bits.
function TestLikelihoods:test_bits()
  for _, dtype in ipairs { "f32", "bf16" } do
    local model = small()
    local requests, groups = documents(70, 90)
    local first = sonde.likelihoods(model, requests, { groups = groups, greedy = true, dtype = dtype })
    for _, tokens in ipairs { 64, 192, 1024, 20000 } do
      same(first, sonde.likelihoods(model, requests,
        { groups = groups, greedy = true, tokens = tokens, dtype = dtype }))
    end
    same(first, sonde.likelihoods(model, requests, { greedy = true, tokens = 512, dtype = dtype }))
    local turned, back = {}, {}
    for k = #requests, 1, -1 do turned[#turned + 1] = requests[k] end
    local results = sonde.likelihoods(model, turned, { greedy = true, tokens = 768, dtype = dtype })
    for k, result in ipairs(results) do back[#requests + 1 - k] = result end
    same(first, back)
    for k = 1, #requests, 9 do
      local alone = sonde.likelihoods(model, { requests[k] }, { greedy = true, dtype = dtype })
      same({ first[k] }, alone)
    end
  end
end

function TestLikelihoods:test_long_requests_lose_their_beginning()
  local model, context, tail = small { context = 32 }, {}, {}
  for k = 1, 90 do context[k] = k % 97 end
  for k = 1, 30 do tail[k] = context[60 + k] end
  local continuation = { 3, 4, 5 }
  local results = sonde.likelihoods(model, { { context = context, continuation = continuation },
    { context = tail, continuation = continuation } })
  same({ results[1] }, { results[2] })
end

function TestLikelihoods:test_work_is_once()
  local model, requests = small(), {}
  local context = {}
  for k = 1, 100 do context[k] = k % 97 end
  for k = 1, 4 do requests[k] = { context = context, continuation = { k, 50, 60 } } end
  local _, work = sonde.likelihoods(model, requests, { groups = { { 1, 2, 3, 4 } } })
  lu.assertEquals(work.tokens, 100 + 4 * 2)
  lu.assertEquals(work.rows, 1)
end

function TestLikelihoods:test_mistakes()
  local model = small()
  local function refused(text, requests, options)
    lu.assertErrorMsgContains(text, sonde.likelihoods, model, requests, options)
  end
  refused("request 1 has an empty context", { { context = {}, continuation = { 1 } } })
  refused("request 2 has an empty continuation", { { context = { 1 }, continuation = { 1 } },
    { context = { 1 }, continuation = {} } })
  refused("token 97 in its continuation, outside the vocabulary of 97", { { context = { 1 }, continuation = { 97 } } })
  local long = {}
  for k = 1, 161 do long[k] = 1 end
  refused("a continuation of 161 tokens, and the model takes 160", { { context = { 1 }, continuation = long } })
end

-- Segments that are none are refused; those that no token belongs to give 0; there is no gradient.
function TestLikelihoods:test_segments()
  local graph = core.graph()
  local x = graph:input("x", "f32", { 1, 4, 1, 2 })
  local y = x:attention(x, x, { starts = graph:input("segments", "i32", { 1, 2, 4 }) })
  lu.assertErrorMsgContains("op 'attention' has no gradient by its result 1 of such inputs",
    function() y:sum():grad { x } end)
  local plan = core.plan { y }
  local values = { 1, 0, 0, 1, 5, 5, 2, 1 }
  plan:run { x = values, segments = { 0, 2, -1, 0, 3, 1, 0, 1 } }      -- 0 1, and 0 with 3 behind it
  local got = plan:output(1):values()
  lu.assertEquals({ got[5], got[6] }, { 0, 0 })
  local a, b = math.exp(2 / math.sqrt(2)), math.exp(5 / math.sqrt(2))
  lu.assertAlmostEquals(got[7], (a * 1 + b * 2) / (a + b), 1e-6)
  lu.assertAlmostEquals(got[8], b / (a + b), 1e-6)
  for _, bad in ipairs { { 0, 5, -1, 0, 0, 0, 0, 0 }, { 0, 2, 0, 0, 0, 0, 0, 0 }, { 0, 2, -1, 1, 0, 0, 0, 0 },
    { 0, 2, -1, 0, 2, 2, 0, 3 }, { -1, 2, -1, 0, 0, 0, 0, 0 }, { 0, 3, -1, 0, 1, 3, -1, 0 } } do
    lu.assertErrorMsgContains("segment", plan.run, plan, { x = values, segments = bad })
  end
  lu.assertErrorMsgContains("must be i32 [B, S, 4]", x.attention, x, x, x, { starts = graph:input("three", "i32",
    { 1, 2, 3 }) })
end

function TestLikelihoods:test_a_model_that_mixes_otherwise_is_refused()
  sonde.ffn("shifted_sum", {}, function(_, _, x)
    local dims = x:dims()
    return x:mean { 2 }:expand(dims)
  end)
  lu.assertErrorMsgContains("mixes tokens other than by the op 'attention'", sonde.likelihoods,
    small { ffn = "shifted_sum" }, { { context = { 1, 2, 3 }, continuation = { 4 } } })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
