-- Documents in packed rows: attention that keeps them apart gives what each gives alone, forward and backward, in
-- training, evaluation and probes.

local lu = require "luaunit"
local sonde = require "sonde"

local END = 10
-- Three documents in a row of 24 tokens, each ended by END; the last goes on past the row.
local LENGTHS = { 7, 5, 12 }
local CONTEXT = 24

local function row(salt)
  local tokens = {}
  for d, length in ipairs(LENGTHS) do
    for i = 1, length do tokens[#tokens + 1] = (i * 7 + d * 3 + salt) % 10 end
    if d < #LENGTHS then tokens[#tokens] = END end
  end
  return tokens
end

local NONE = {}       -- an option that is left out

local function small(options)
  local all = { vocab = 11, width = 16, depth = 3, heads = 4, kv_heads = 2, context = CONTEXT, init_std = 0.4,
    seed = 3 }
  for key, value in pairs(options or {}) do
    if value == NONE then all[key] = nil else all[key] = value end
  end
  return sonde.transformer(all):init()
end

local function targets(n, from)
  local list = {}
  for i = 1, n do list[i] = (i * 5 + from) % 11 end
  return list
end

local function part(list, first, n)
  local out = {}
  for i = 1, n do out[i] = list[first + i] end
  return out
end

-- The loss of each token, and the gradient of their sum by the first block's value weights.
local function pass(model, tokens, wanted, options, compute)
  options.context = options.context or #tokens
  local trace = model:trace(options)
  local grad = trace.loss:sum():grad { trace.graph:find "model.layers.0.self_attn.v_proj.weight" }
  local plan = sonde.plan({ trace.loss, grad[1] }, { compute = compute })
  plan:run { tokens = tokens, targets = wanted }
  local loss, slope = plan:output(1):values(), plan:output(2):values()
  plan:close()
  return loss, slope
end

local function assert_near(a, b, near, what)
  lu.assertEquals(#a, #b)
  local scale = 0
  for i = 1, #b do scale = math.max(scale, math.abs(b[i])) end
  for i = 1, #a do
    if not (math.abs(a[i] - b[i]) <= near * scale) then
      lu.fail(("%s: %d is %.9g, expected %.9g"):format(what, i, a[i], b[i]))
    end
  end
end

-- Two rows at once against their six documents one by one.
local function check_alone(what, options, positions, compute, near)
  local model = small(options)
  local tokens, loss, slope, at = {}, {}, nil, 0
  for salt = 0, 1 do
    for _, token in ipairs(row(salt)) do tokens[#tokens + 1] = token end
  end
  local wanted = targets(2 * CONTEXT, 3)
  for _ = 1, 2 do
    for _, length in ipairs(LENGTHS) do
      local l, s = pass(model, part(tokens, at, length), part(wanted, at, length), {}, compute)
      for _, value in ipairs(l) do loss[#loss + 1] = value end
      if not slope then slope = s else for i, value in ipairs(s) do slope[i] = slope[i] + value end end
      at = at + length
    end
  end
  local packed, packed_slope = pass(model, tokens, wanted,
    { batch = 2, context = CONTEXT, document_end = END, document_positions = positions }, compute)
  assert_near(packed, loss, near, what .. ": loss")
  assert_near(packed_slope, slope, 4 * near, what .. ": gradient")
  local crossed = pass(model, tokens, wanted, { batch = 2, context = CONTEXT }, compute)
  local apart = 0
  for i = 1, #loss do apart = math.max(apart, math.abs(crossed[i] - loss[i])) end
  lu.assertTrue(apart > 0.05, what .. ": without the mask nothing is different, so this shows nothing")
end

TestAlone = {}

function TestAlone:test_every_kind_of_attention()
  for _, positions in ipairs { false, true } do
    local said = positions and ", own positions" or ""
    check_alone("gqa" .. said, {}, positions, "f32", 2e-5)
    check_alone("bf16" .. said, {}, positions, "bf16", 4e-2)
    check_alone("window" .. said, { attention = { name = "causal", window = 4 } }, positions, "f32", 2e-5)
    check_alone("sinks" .. said, { attention = { name = "causal", window = 3, sinks = 2 } }, positions, "f32", 2e-5)
    check_alone("strided" .. said, { attention = { name = "causal", blocks = "strided", block_size = 2,
      block_stride = 3 } }, positions, "f32", 2e-5)
    check_alone("top" .. said, { attention = { name = "causal", blocks = "top", block_size = 2, block_top = 1 } },
      positions, "f32", 2e-5)
    check_alone("qk_norm" .. said, { attention = { name = "causal", qk_norm = true } }, positions, "f32", 2e-5)
    check_alone("llama3" .. said, { attention = { name = "causal", rope_scaling = "llama3",
      rope_original_context = 16 } },
      positions, "f32", 2e-5)
    check_alone("no rope" .. said, { rope_theta = 0 }, positions, "f32", 2e-5)
    check_alone("alibi" .. said, { positions = "alibi" }, positions, "f32", 2e-5)
    if positions then check_alone("learned", { positions = "learned", embed_width = 8 }, true, "f32", 2e-5) end
    check_alone("bhyt" .. said, { norm = "bhyt", placement = "lns" }, positions, "f32", 2e-5)
  end
end

-- Rotary scores depend on differences of positions alone; a module that takes them as they are sees that they begin
-- anew.
function TestAlone:test_positions_of_documents()
  sonde.attention("counts", function(site, _, x)
    local starts, positions = site:lookup "documents.starts", site:lookup "documents.positions"
    if not starts then return x * 1 end
    return x * 0 + (100 * starts:cast "f32" + positions:cast "f32"):reshape { 1, CONTEXT, 1 }
  end)
  local model = small { attention = "counts", heads = NONE, kv_heads = NONE, depth = 1 }
  local trace = model:trace { document_end = END, document_positions = true }
  local plan = sonde.plan { trace.positions, trace.starts, trace.graph:find "blocks.0.attn.out" }
  plan:run { tokens = row(0) }
  local at = 0
  for _, length in ipairs(LENGTHS) do
    for i = 0, length - 1 do
      lu.assertEquals(plan:output(1):get(at + i + 1), i)
      lu.assertEquals(plan:output(2):get(at + i + 1), at)
      lu.assertEquals(plan:output(3):get(16 * (at + i) + 1), 100 * at + i)
    end
    at = at + length
  end
end

function TestAlone:test_no_document_ends_nothing_changes()
  local model, tokens, wanted = small(), part(targets(CONTEXT, 0), 0, CONTEXT), targets(CONTEXT, 3)
  for i, token in ipairs(tokens) do tokens[i] = token % 10 end
  lu.assertEquals(pass(model, tokens, wanted, { document_end = END }), pass(model, tokens, wanted, {}))
end

-- A T x T mask of a row of 2048 would be 16 MiB.
function TestAlone:test_takes_no_memory()
  local model = sonde.transformer { vocab = 11, width = 16, depth = 1, heads = 1, context = 2048 }
  local bytes = {}
  for i, last in ipairs { END, false } do
    local trace = model:trace { document_end = last or nil }
    bytes[i] = sonde.plan({ trace.loss:sum() }):info().arena_bytes
  end
  lu.assertTrue(bytes[1] - bytes[2] <= 2 * 2048 * 4 + 256, bytes[1] - bytes[2])
end

TestRefused = {}

local function refused(pattern, f, ...)
  local ok, message = pcall(f, ...)
  lu.assertFalse(ok)
  lu.assertStrContains(message, pattern)
end

function TestRefused:test_traces()
  local model = small()
  refused("document_positions needs document_end", model.trace, model, { document_positions = true })
  refused("document_end 11 is no token of a vocabulary of 11", model.trace, model, { document_end = 11 })
  sonde.attention("crosses", function(_, _, x) return x:mean(2) * 2 + x end)
  local other = small { kv_heads = NONE, heads = NONE, layers = { ["1"] = { attention = "crosses" } } }
  refused("block 1: attention 'crosses' does not keep documents apart", other.trace, other, { document_end = END })
end

function TestRefused:test_a_cache()
  local graph, model = sonde.graph(), small()
  require("sonde.core").cache(1, 8):attach(graph, true)
  refused("a cache holds one document", model.trace, model, { graph = graph, context = 4, document_end = END })
end

function TestRefused:test_ops()
  local g = sonde.graph()
  local q, starts = g:input("q", "f32", { 1, 4, 2, 4 }), g:input("s", "i32", { 1, 5 })
  refused("starts i32 [B, T]", q.attention, q, q, q, { starts = starts })
  refused("i32 [B, T]", q.document_starts, g:input("x", "f32", { 1, 4 }), 3)
end

function TestRefused:test_options()
  local model, tokens = small(), targets(200, 1)
  refused("needs document_mask", sonde.evaluate, model, tokens, { document_positions = true })
  refused("no tokenizer says which token ends a document", sonde.evaluate, model, tokens, { document_mask = true })
  refused("99 is no token", sonde.probe, model, tokens, { "variance" }, { document_mask = 99, context = 8 })
  refused("must be true or false or a whole number", sonde.evaluate, model, tokens, { document_mask = "yes" })
end

-- ---- who takes the mask ---------------------------------------------------------------------------------------------

TestUsers = {}

-- A stream of documents; END behind each.
local function stream(n, every)
  local tokens = {}
  for i = 1, n do tokens[i] = i % every == 0 and END or (i * i + 3 * i) % 10 end
  return tokens
end

function TestUsers:test_evaluation_is_that_of_the_trace()
  local model, tokens = small(), stream(2 * CONTEXT + 1, 5)
  local sum = 0
  for window = 0, 1 do
    local losses = pass(model, part(tokens, window * CONTEXT, CONTEXT), part(tokens, window * CONTEXT + 1, CONTEXT),
      { document_end = END })
    for _, value in ipairs(losses) do sum = sum + value end
  end
  local result = sonde.evaluate(model, tokens, { document_mask = END })
  lu.assertAlmostEquals(result.loss, sum / (2 * CONTEXT), 1e-5)
  lu.assertEquals(result.document_mask, END)
  lu.assertTrue(math.abs(sonde.evaluate(model, tokens).loss - result.loss) > 1e-3)
end

function TestUsers:test_probes()
  local model = small()
  local wanted = { "variance", "attention_entropy", "layer_removal", "causal", "gradient_norm", "jacobian_estimate",
    "usefulness",
    "permutation", "lens_loss" }
  local values, details = sonde.probe(model, stream(50 * CONTEXT + 1, 1), wanted,
    { document_mask = END, context = CONTEXT })
  lu.assertEquals(details.document_mask, END)
  -- Documents of one token: each sees itself alone.
  for _, heads in ipairs(values.attention_entropy) do
    for _, entropy in ipairs(heads) do lu.assertTrue(math.abs(entropy) < 1e-6) end
  end
  local whole, plain = sonde.probe(model, stream(50 * CONTEXT + 1, 6), wanted, { context = CONTEXT })
  local cut = sonde.probe(model, stream(50 * CONTEXT + 1, 6), wanted, { context = CONTEXT, document_mask = END })
  lu.assertNil(plain.document_mask)
  for block = 1, 3 do
    lu.assertTrue(math.abs(whole.variance[block] - cut.variance[block]) > 1e-4)
    for head = 1, 4 do lu.assertTrue(cut.attention_entropy[block][head] < whole.attention_entropy[block][head]) end
  end
end

local function trained(tokens, options)
  local all = { steps = 4, batch = 2, lr = 1e-2, warmup = 0, progress = false, eval_every = 0, probe_every = 0 }
  for key, value in pairs(options) do all[key] = value end
  local corpus = { vocab = 11, handle = sonde.tensor("i32", { #tokens }, tokens), spec = "made", hash = "made" }
  return sonde.train(small(), corpus, all).state_sha256
end

function TestUsers:test_training()
  local without = stream(400, 1000)
  lu.assertEquals(trained(without, { document_mask = END }), trained(without, {}))
  local with = stream(400, 6)
  lu.assertNotEquals(trained(with, { document_mask = END }), trained(with, {}))
  refused("no tokenizer says which token ends a document", trained, with, { document_mask = true })
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
