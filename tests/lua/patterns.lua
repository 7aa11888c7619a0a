-- Patterns of attention by block: what sees everything is the full one, token by token is all at once, no pattern looks
-- ahead, groups of query heads.

local lu = require "luaunit"
local core = require "sonde.core"
local sonde = require "sonde"

local VOCAB, LENGTH, PROMPT = 29, 40, 5

local function small(attention, more)
  local all = { vocab = VOCAB, width = 16, depth = 3, heads = 4, kv_heads = 2, context = 64, init_std = 0.4, seed = 5,
    attention = attention }
  for key, value in pairs(more or {}) do all[key] = value end
  return sonde.transformer(all):init()
end

local function with_name(options)
  local all = { name = "causal" }
  for key, value in pairs(options) do all[key] = value end
  return all
end

local patterns = {
  { window = 5, sinks = 2 },
  { blocks = "strided", block_size = 3, block_stride = 2 },
  { blocks = "strided", block_size = 4, block_stride = 3, window = 3, sinks = 1 },
  { blocks = "top", block_size = 3, block_top = 2 },
  { blocks = "top", block_size = 4, block_top = 1, block_choice = "query", window = 2, softcap = 3 },
  { blocks = "top", block_size = 6, block_top = 1, sinks = 8 },
}

local function tokens(n, salt)
  local ids = {}
  for k = 1, n do ids[k] = (k * k * 7 + k + (salt or 0)) % VOCAB end
  return ids
end

local function logits(model, ids)
  local plan = core.plan { model:trace({ batch = 1, context = #ids }):logits() }
  local values = plan:run({ tokens = ids }):output(1):values()
  plan:close()
  return values
end

-- The largest difference of a[i] to b[from + i], over the root of the mean square of all b.
local function apart(a, b, from)
  local off, size = 0, 0
  for _, value in ipairs(b) do size = size + value * value / #b end
  for i, value in ipairs(a) do off = math.max(off, math.abs(value - b[from + i])) end
  return off / math.sqrt(size)
end

TestPatterns = {}

function TestPatterns:test_each_is_another_attention()
  local seen = { logits(small "causal", tokens(LENGTH)) }
  for k, options in ipairs(patterns) do
    seen[k + 1] = logits(small(with_name(options)), tokens(LENGTH))
    for before = 1, k do lu.assertTrue(apart(seen[k + 1], seen[before], 0) > 1e-2, k .. " and " .. before) end
  end
end

function TestPatterns:test_what_sees_everything_is_the_full_one()
  local full = logits(small "causal", tokens(LENGTH))
  for _, options in ipairs { { window = LENGTH }, { window = 1000, sinks = 3 },
    { blocks = "top", block_size = 3, block_top = 100 }, { blocks = "top", block_size = LENGTH, block_top = 0 },
    { blocks = "strided", block_size = 3, block_stride = 1 } } do
    lu.assertEquals(logits(small(with_name(options)), tokens(LENGTH)), full)
  end
end

function TestPatterns:test_token_by_token_is_all_at_once()
  local plan_of = require("sonde.eval.generate").plan
  for k, options in ipairs(patterns) do
    local model, ids = small(with_name(options), { positions = k == 4 and "alibi" or nil }), tokens(LENGTH)
    local whole, cache = logits(model, ids), core.cache(1, LENGTH)
    local prompt, step = plan_of(model, cache, 1, PROMPT, true, "f32"), plan_of(model, cache, 1, 1, false, "f32")
    local function run(plan, first, last)
      if plan:reads "position" then plan:set("position", { first - 1 }) end
      plan:run { tokens = { table.unpack(ids, first, last) } }
      lu.assertTrue(apart(plan:output(1):values(), whole, (last - 1) * VOCAB) < 1e-4, k .. ", token " .. last)
    end
    run(prompt, 1, PROMPT)
    for t = PROMPT + 1, LENGTH do run(step, t, t) end
    cache:close()
  end
end

function TestPatterns:test_none_looks_ahead()
  for k, options in ipairs(patterns) do
    local model, ids = small(with_name(options)), tokens(LENGTH)
    local before = logits(model, ids)
    for t = 2, LENGTH, 7 do
      local other = { table.unpack(ids) }
      for i = t, LENGTH do other[i] = (other[i] + 1 + i) % VOCAB end
      local after = logits(model, other)
      lu.assertTrue(apart({ table.unpack(after, 1, (t - 1) * VOCAB) }, before, 0) < 1e-5, k .. ", token " .. t)
    end
  end
end

function TestPatterns:test_by_layer_and_through_a_folder()
  local model = small("causal", { layers = { [1] = { attention = with_name(patterns[4]) },
    [2] = { attention = with_name(patterns[1]) } } })
  local path = os.tmpname()
  os.remove(path)
  model:save(path)
  lu.assertEquals(logits(sonde.load(path), tokens(LENGTH)), logits(model, tokens(LENGTH)))
  for name in io.popen("ls '" .. path .. "'"):lines() do os.remove(path .. "/" .. name) end
  os.remove(path)
end

function TestPatterns:test_training_learns()
  local corpus = tokens(4000, 3)
  for _, options in ipairs { patterns[2], patterns[4] } do
    local model = small(with_name(options), { context = 32, init_std = 0.02 })
    local trace = model:trace { batch = 4, context = 32 }
    local trainer = core.trainer(trace.loss, model:params(), core.feed_tokens(core.tensor("i32", { #corpus }, corpus),
      32, 1), { steps = 40, targets = "targets", lr = 3e-3, schedule = "constant", warmup = 0, min_lr = 1,
      weight_decay = 0, optimizer = "adamw", clip = 1, dtype = "bf16", blocks = 3, log_every = 40, seed = 1 })
    local event
    repeat event = trainer:run() until event.done or event.diverged
    lu.assertTrue(event.done and event.loss < 3, tostring(event.loss))
  end
end

function TestPatterns:test_refusals()
  lu.assertErrorMsgContains("sinks 4 has no effect", function() small({ "causal", sinks = 4 }):trace {} end)
  for name, options in pairs { block_size = { block_size = 8 }, block_top = { blocks = "strided", block_top = 3 },
    block_choice = { block_choice = "query" }, block_stride = { blocks = "top", block_stride = 2 } } do
    options[1] = "causal"
    lu.assertErrorMsgContains(name .. " has no effect", function() small(options):trace {} end)
  end
  lu.assertErrorMsgContains("blocks", sonde.transformer, { vocab = 9, width = 8, depth = 1, heads = 1,
    attention = { "causal", blocks = "some" } })
end

TestGroups = {}

function TestGroups:test_groups_are_kv_heads()
  local function model(options)
    options.vocab, options.width, options.depth, options.heads, options.seed = VOCAB, 16, 2, 4, 3
    return sonde.transformer(options):init()
  end
  for groups, kv_heads in pairs { [1] = 4, [2] = 2, [4] = 1 } do
    local one, other = model { groups = groups }, model { kv_heads = kv_heads }
    lu.assertEquals(one.config, other.config)
    lu.assertEquals(one:params():sha256(), other:params():sha256())
    lu.assertEquals(one.layers[1].attention.options.kv_heads, kv_heads)
  end
  lu.assertErrorMsgContains("heads 4 of transformer is no multiple of groups 3", model, { groups = 3 })
  lu.assertErrorMsgContains("either groups or kv_heads", model, { groups = 2, kv_heads = 2 })
  local pruned = sonde.transformer { vocab = VOCAB, width = 16, depth = 2, heads = { 4, 2 }, groups = 2 }
  lu.assertEquals(pruned.layers[1].attention.options.kv_heads, 2)
  lu.assertEquals(pruned.layers[2].attention.options.kv_heads, 1)
end

-- A model whose key and value heads are copies of those of a grouped one computes the same.
function TestGroups:test_copied_heads_are_groups()
  for _, options in ipairs { {}, patterns[1], patterns[4] } do
    local few = small(with_name(options))
    local many = small(with_name(options), { kv_heads = 4 })
    for _, param in ipairs(few:params():list()) do
      local from, to = few:params():find(param.name), many:params():find(param.name)
      local values, copies = from:values(), {}
      local head = 4 * 16                                 -- numbers of a head's matrix
      for i = 1, to:count() do
        local at = i - 1
        if to:count() > #values then at = math.floor(math.floor(at / head) / 2) * head + at % head end
        copies[i] = values[at + 1]
      end
      for i, value in ipairs(copies) do to:set(i, value) end
    end
    lu.assertTrue(apart(logits(many, tokens(LENGTH)), logits(few, tokens(LENGTH)), 0) < 1e-6)
  end
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
