-- Evaluation and probes against the same figures computed plainly from logits and block values.

local lu = require "luaunit"
local sonde = require "sonde"

local function small(options)
  local all = { vocab = 13, width = 8, depth = 3, heads = 2, context = 6, init_std = 0.5, seed = 5 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

local function stream(n)
  local ids = {}
  for i = 1, n do ids[i] = (i * i + 3 * i) % 13 end
  return ids
end

local function close(a, b, tolerance)
  lu.assertTrue(math.abs(a - b) <= (tolerance or 1e-5) * math.max(1, math.abs(b)), a .. " for " .. b)
end

-- The values of nodes of one window [first, first + n) of the stream, run by itself.
local function window(model, ids, first, n, choose, options)
  options = options or {}
  options.batch, options.context = 1, n
  local trace = model:trace(options)
  local plan = sonde.plan(choose(trace))
  local tokens = {}
  for i = 1, n do tokens[i] = ids[first + i - 1] end
  plan:run { tokens = tokens }
  local values = {}
  for i = 1, plan:outputs() do values[i] = plan:output(i):values() end
  return values
end

-- Sum of -log softmax at the next token, over a stream cut into windows; and how many tokens were predicted.
local function naive_loss(model, ids, context, options)
  local sum, count = 0, 0
  for first = 1, #ids - 1, context do
    local n = math.min(context, #ids - first)
    local copy = {}
    for key, value in pairs(options or {}) do copy[key] = value end
    local logits = window(model, ids, first, n, function(trace) return { trace:logits() } end, copy)[1]
    for t = 0, n - 1 do
      local total, largest = 0, -math.huge
      for v = 1, 13 do largest = math.max(largest, logits[t * 13 + v]) end
      for v = 1, 13 do total = total + math.exp(logits[t * 13 + v] - largest) end
      sum = sum + largest + math.log(total) - logits[t * 13 + ids[first + t + 1] + 1]
      count = count + 1
    end
  end
  return sum, count
end

TestEvaluate = {}

function TestEvaluate:test_loss_of_a_stream()
  local model = small()
  for _, n in ipairs { 2, 6, 7, 8, 50 } do
    local ids = stream(n)
    local sum, count = naive_loss(model, ids, 6)
    local result = sonde.evaluate(model, ids, { bytes = 100, batch = 3 })
    lu.assertEquals(result.tokens, count)
    lu.assertEquals(count, n - 1)
    close(result.loss, sum / count)
    close(result.perplexity, math.exp(sum / count))
    close(result.bits_per_byte, sum / math.log(2) / 100)
  end
end

function TestEvaluate:test_batch_and_source_do_not_matter()
  local model, ids = small { placement = "lns" }, stream(41)
  local one = sonde.evaluate(model, ids, { batch = 1 })
  for _, batch in ipairs { 2, 3, 7, 100 } do
    close(sonde.evaluate(model, ids, { batch = batch }).loss, one.loss, 1e-6)
  end
  lu.assertEquals(sonde.evaluate(model, sonde.tensor("i32", { 41 }, ids), { batch = 1 }), one)
end

function TestEvaluate:test_context_and_tokens()
  local model, ids = small(), stream(41)
  local sum, count = naive_loss(model, ids, 4)
  close(sonde.evaluate(model, ids, { context = 4 }).loss, sum / count)
  lu.assertEquals(sonde.evaluate(model, ids, { tokens = 13 }).tokens, 12)
  sum, count = naive_loss(model, ids, 40)
  close(sonde.evaluate(model, ids, { context = 1048576 }).loss, sum / count)     -- no window is beyond the text
end

function TestEvaluate:test_mistakes()
  local model = small()
  lu.assertErrorMsgContains("1 tokens are too few", sonde.evaluate, model, { 1 })
  lu.assertErrorMsgContains("13", sonde.evaluate, model, { 1, 2, 13 })
  lu.assertErrorMsgContains("unknown option 'contxt' of evaluate; did you mean 'context'", sonde.evaluate, model,
    { 1, 2 }, { contxt = 1 })
  lu.assertErrorMsgContains("i32", sonde.evaluate, model, sonde.tensor("f32", { 4 }))
end

TestProbe = {}

local function tokens_variance(values, width)
  local sum, n = 0, #values / width
  for t = 0, n - 1 do
    local mean, square = 0, 0
    for k = 1, width do mean = mean + values[t * width + k] / width end
    for k = 1, width do square = square + (values[t * width + k] - mean) ^ 2 end
    sum = sum + square / (width - 1)
  end
  return sum / n
end

function TestProbe:test_variance()
  local model, ids = small(), stream(25)
  local result = sonde.probe(model, ids, { "variance", "attn_variance", "ffn_variance" }, { batch = 2 })
  for block = 0, 2 do
    local expected = { 0, 0, 0 }
    for first = 1, 24, 6 do
      local values = window(model, ids, first, 6, function(trace)
        local at = "blocks." .. block
        return { trace.blocks[block + 1], trace.graph:find(at .. ".attn.out"), trace.graph:find(at .. ".ffn.out") }
      end)
      for k = 1, 3 do expected[k] = expected[k] + tokens_variance(values[k], 8) / 4 end
    end
    close(result.variance[block + 1], expected[1])
    close(result.attn_variance[block + 1], expected[2])
    close(result.ffn_variance[block + 1], expected[3])
  end
end

local function angle(a, b)
  local dot, aa, bb = 0, 0, 0
  for k = #a - 7, #a do
    dot, aa, bb = dot + a[k] * b[k], aa + a[k] ^ 2, bb + b[k] ^ 2
  end
  return math.acos(dot / math.sqrt(aa * bb)) / math.pi
end

function TestProbe:test_angular_distance_at_the_last_token()
  local model, ids = small(), stream(19)
  local result = sonde.probe(model, ids, { "angular_distance", "angular_distances" }, { batch = 3 })
  local expected = {}
  for first = 1, 18, 6 do
    local h = window(model, ids, first, 6, function(trace)
      return { trace.embedding, trace.blocks[1], trace.blocks[2], trace.final }
    end)
    for n = 1, 3 do
      expected[n] = expected[n] or {}
      for i = 1, 4 - n do expected[n][i] = (expected[n][i] or 0) + angle(h[i], h[i + n]) / 3 end
    end
  end
  for n = 1, 3 do
    lu.assertEquals(#result.angular_distances[n], 4 - n)
    for i = 1, 4 - n do close(result.angular_distances[n][i], expected[n][i], 1e-3) end
  end
  lu.assertEquals(result.angular_distance, result.angular_distances[1])
end

function TestProbe:test_layer_removal_in_one_pass()
  local model, ids = small(), stream(25)
  local result = sonde.probe(model, ids, { "layer_removal", "variance" }, { batch = 4 })
  local whole = naive_loss(model, ids, 6)
  for block = 0, 2 do
    close(result.layer_removal[block + 1], (naive_loss(model, ids, 6, { skip = { block } }) - whole) / 24, 1e-4)
  end
  lu.assertEquals(result.variance, sonde.probe(model, ids, { "variance" }, { batch = 4 }).variance)
end

function TestProbe:test_mistakes()
  local model = small()
  lu.assertErrorMsgContains("cannot be 'varience'; did you mean 'variance'", sonde.probe, model, stream(30),
    { "varience" })
  lu.assertErrorMsgContains("hold no whole window of 6", sonde.probe, model, stream(5), { "variance" }, { context = 6 })
  lu.assertErrorMsgContains("unknown option 'token' of probe", sonde.probe, model, stream(30), { "variance" },
    { token = 1 })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
