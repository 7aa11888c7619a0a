--- bench.lua - measures this machine and Sonde on it: the peak, matrix products, attention, norms, training steps.
--
-- Every measurement is a plain table of numbers (`sonde bench` prints it). Times are medians: on a shared machine a
-- mean measures the neighbours. What fraction of the peak is reached is told by a peak from the same run.

local core = require "sonde.core"
local sonde = require "sonde"
local stats = require "sonde.base.stats"

local bench = {}

local PEAK_SECONDS, WARM_UP, MIB = 0.4, 2, 1024 * 1024
local READ_BYTES = 256 * MIB   -- more than caches hold

--- The models of the speed bars: plain Llamas (bench/torch_llama.py has the same).
bench.configs = {
  a = { width = 128, heads = 4, depth = 4, ffn_hidden = 352, vocab = 8192, context = 256, batch = 8 },
  b = { width = 256, heads = 4, depth = 4, ffn_hidden = 688, vocab = 8192, context = 256, batch = 8 },
  c = { width = 256, heads = 4, depth = 24, ffn_hidden = 688, vocab = 8192, context = 256, batch = 4 },
  d = { width = 512, heads = 8, depth = 8, ffn_hidden = 1376, vocab = 8192, context = 512, batch = 4 },
  e = { width = 768, heads = 12, depth = 12, ffn_hidden = 2048, vocab = 32000, context = 256, batch = 2 },
}

local function rounded(value, digits)
  return tonumber(string.format("%." .. digits .. "f", value))
end

local function read_gb_s(seconds) return core.read_rate(READ_BYTES, seconds) / 1e9 end

--- Multiply-adds in registers, GFLOP/s, and reading from memory, GB/s.
function bench.peak(options)
  local cpu = core.cpu()
  return { what = "peak", dtype = options.dtype, threads = core.threads(), isa = cpu.isa,
    gflops = rounded(core.peak(options.dtype, 2 * PEAK_SECONDS) / 1e9, 1),
      read_gb_s = rounded(read_gb_s(2 * PEAK_SECONDS), 1) }
end

-- ---- ops
-- ---------------------------------------------------------------------------------------------------------------

-- A tensor of normal values in the dtype to be measured, so that no conversion is timed.
local function random_tensor(name, dims, dtype, seed)
  local params = core.params(seed)
  local values = params:need(name, dims, "gain", { kind = "normal", a = 1, b = 0 })
  params:init()
  if dtype == "f32" then return values end
  local into, graph = core.tensor(dtype, dims), core.graph()
  local plan = core.plan({ graph:leaf(name, values):cast(dtype) }, nil, { into })
  plan:run()
  plan:close()
  return into
end

-- The medians of what plans take that run in turn, in seconds: by the clock, and of processors, on all threads, which
-- waiting for the neighbours of a shared machine is no part of. Closes the plans.
local function timed(plans, steps)
  local clock, cpu = {}, {}
  for p in ipairs(plans) do clock[p], cpu[p] = {}, {} end
  for k = 1 - WARM_UP, steps do
    for p, plan in ipairs(plans) do
      local start, used = core.seconds(), os.clock()
      plan:run()
      if k > 0 then clock[p][k], cpu[p][k] = core.seconds() - start, os.clock() - used end
    end
  end
  for p, plan in ipairs(plans) do
    clock[p], cpu[p] = stats.median(clock[p]), stats.median(cpu[p])
    plan:close()
  end
  return clock, cpu
end

local function time_nodes(nodes, options)
  return timed({ core.plan(nodes, { compute = options.dtype }) }, options.steps)[1]
end

-- The three products of a linear layer K -> N on M tokens, GFLOP/s each.
local function linear_products(m, k, n, options)
  local graph = core.graph()
  local x = graph:leaf("x", random_tensor("x", { m, k }, options.dtype, 1))
  local w = graph:leaf("w", random_tensor("w", { n, k }, options.dtype, 2))
  local dy = graph:leaf("dy", random_tensor("dy", { m, n }, options.dtype, 3))
  local work = 2 * m * k * n / 1e9
  local rates = {
    forward = work / time_nodes({ x:linear(w) }, options), dx = work / time_nodes({ dy:matmul(w) }, options),
    dw = work / time_nodes({ dy:matmul(x, { transpose_a = true }) }, options),
  }
  graph:close()
  return rates
end

local SHAPES = { { 256, 256 }, { 256, 688 }, { 688, 256 }, { 512, 1376 }, { 768, 2048 }, { 256, 8000 } }
local TOKENS = 2048

--- Matrix products of a language model's layers: forward, and the gradients of input and weight.
function bench.gemm(options)
  local peak, cpu = core.peak(options.dtype, PEAK_SECONDS) / 1e9, core.cpu()
  local shapes, inverse, count = {}, 0, 0
  for k, shape in ipairs(SHAPES) do
    local rates = linear_products(TOKENS, shape[1], shape[2], options)
    shapes[k] = { k = shape[1], n = shape[2] }
    for name, rate in pairs(rates) do
      shapes[k][name] = rounded(rate, 1)
      inverse, count = inverse + 1 / rate, count + 1
    end
  end
  return { what = "gemm", dtype = options.dtype, threads = core.threads(), library = cpu[options.dtype],
    tokens = TOKENS,
    shapes = core.list(shapes), gflops = rounded(count / inverse, 1), peak_gflops = rounded(peak, 1),
    mfu = rounded(count / inverse / peak, 3) }
end

-- Random q, k, v and the gradient of the result of a context, and what the queries see.
local function attention_leaves(graph, context, options)
  local leaves = {}
  for k, name in ipairs { "q", "k", "v", "dy" } do
    local heads = (name == "k" or name == "v") and options.kv_heads or options.heads
    local dims = { options.batch, context, heads, options.head_dim }
    leaves[k] = graph:leaf(name, random_tensor(name, dims, options.dtype, k))
  end
  local sees = { window = options.window, sinks = options.sinks }
  if options.blocks ~= "all" then sees.block_size = options.block_size end
  if options.blocks == "strided" then sees.block_stride = options.block_stride end
  if options.blocks == "top" then
    sees.blocks = leaves[1]:attention_blocks(leaves[2], { size = options.block_size, top = options.block_top,
      every = options.block_choice == "query" and 1 or nil })
  end
  return leaves, sees
end

-- The forward pass, and both passes.
local function attention_plans(leaves, sees, options)
  local y = leaves[1]:attention(leaves[2], leaves[3], sees)
  local grads = core.grad(y, { leaves[1], leaves[2], leaves[3] }, leaves[4])
  local compute = { compute = options.dtype }
  return core.plan({ y }, compute), core.plan({ y, grads[1], grads[2], grads[3] }, compute)
end

local function attention_at(context, options)
  local graph = core.graph()
  local leaves, sees = attention_leaves(graph, context, options)
  local forward, both = attention_plans(leaves, sees, options)
  local plans, info = { forward, both }, { forward:info(), both:info() }
  if options.full then plans[3], plans[4] = attention_plans(leaves, {}, options) end
  local seconds, cpu = timed(plans, options.steps)
  graph:close()
  local backward = seconds[2] - seconds[1]
  local found = { context = context, ms = rounded(seconds[2] * 1e3, 3), forward_ms = rounded(seconds[1] * 1e3, 3),
    backward_ms = rounded(backward * 1e3, 3), cpu_ms = rounded(cpu[2] * 1e3, 3),
    forward_cpu_ms = rounded(cpu[1] * 1e3, 3), forward_gflops = rounded(info[1].flops / seconds[1] / 1e9, 1),
    backward_gflops = rounded((info[2].flops - info[1].flops) / backward / 1e9, 1),
    planned_mib = rounded((info[2].arena_bytes + info[2].leaf_bytes) / MIB, 2),
    peak_rss_mib = rounded(core.peak_rss() / MIB, 1) }
  if options.full then
    found.full_over, found.full_over_cpu = rounded(seconds[4] / seconds[2], 2), rounded(cpu[4] / cpu[2], 2)
  end
  return found
end

--- Causal attention alone, forward and backward, at one context or several: times by the clock and of processors,
--- FLOP/s of the pairs of a query and a key that it sees, and memory: what the plan needs, and the process so far. With
--- `full`, full attention runs in turn: how many times as long it takes.
function bench.attention(options)
  options.kv_heads = options.kv_heads or options.heads
  if options.heads % options.kv_heads ~= 0 then
    error(string.format("bench attention: heads %d is no multiple of kv_heads %d", options.heads, options.kv_heads), 0)
  end
  local result = { what = "attention", threads = core.threads(), contexts = core.list() }
  for _, key in ipairs { "dtype", "batch", "heads", "kv_heads", "head_dim", "window", "sinks", "blocks" } do
    result[key] = options[key]
  end
  for k, context in ipairs(options.context) do result.contexts[k] = attention_at(context, options) end
  return result
end

-- ---- norms
-- ------------------------------------------------------------------------------------------------------------

local NORM_BYTES = 64 * MIB   -- of the stream: more than caches hold

-- What a norm does on [N, D] in memory, forward and in both passes, beside a copy (which reads and writes as much as
-- any forward pass must) and a sum of two (as any backward pass must).
local function norm_plans(name, width)
  local graph, params = core.graph(), core.params(1)
  local dims = { 1, math.floor(NORM_BYTES / 4 / width), width }
  local x = graph:leaf("x", random_tensor("x", dims, "f32", 1))
  local dy = graph:leaf("dy", random_tensor("dy", dims, "f32", 2))
  local site = core.site { graph = graph, params = params, layer = 1, depth = 1, slot = "attn", prefix = "",
    width = width, batch = 1, context = dims[2] }
  local y, leaves = core.module_build("norm", name, site, x), { x }
  for _, param in ipairs(params:list()) do leaves[#leaves + 1] = graph:leaf(param.name, params:find(param.name)) end
  params:init()
  local into = { core.tensor("f32", dims), core.tensor("f32", dims) }
  local both = { y }
  for _, grad in ipairs(core.grad(y, leaves, dy)) do both[#both + 1] = grad end
  return {
    core.plan({ y }, nil, { into[1] }), core.plan(both, nil, into), core.plan({ x * 2 }, nil, { into[1] }),
    core.plan({ x + dy }, nil, { into[2] }),
  }
end

--- Forward and backward passes of a norm: GB/s of the traffic that none can do without (x, y; x, dy, dx), and the time
--- over that of an elementwise op with this traffic, measured in turns.
function bench.norm(options)
  local seconds = timed(norm_plans(options.norm, options.width), options.steps)
  local forward, both, copy, add = seconds[1], seconds[2], seconds[3], seconds[4]
  local backward = both - forward
  return {
    what = "norm", norm = options.norm, width = options.width, threads = core.threads(),
    forward_gb_s = rounded(2 * NORM_BYTES / forward / 1e9, 1),
    backward_gb_s = rounded(3 * NORM_BYTES / backward / 1e9, 1),
    forward_over_floor = rounded(forward / copy, 2),
    backward_over_floor = rounded(backward / add, 2),
  }
end

-- ---- mixtures of experts
-- -----------------------------------------------------------------------------------------------

-- Forward and backward pass of a feed-forward layer on [1, N, D], with the losses that it adds: the gradients of x and
-- of all parameters. Gives the plan, and how many numbers the parameters hold.
local function layer_plan(name, module_options, options)
  local graph, params, block = core.graph(), core.params(1), core.block()
  local dims = { 1, options.tokens, options.width }
  local x = graph:leaf("x", random_tensor("x", dims, "f32", 1))
  local dy = graph:leaf("dy", random_tensor("dy", dims, "f32", 2))
  local site = core.site { graph = graph, params = params, block = block, layer = 1, depth = 1, slot = "ffn",
    prefix = "", width = options.width, batch = 1, context = options.tokens }
  local y, leaves = core.module_build("ffn", name, site, x, module_options), { x }
  for _, param in ipairs(params:list()) do leaves[#leaves + 1] = graph:leaf(param.name, params:find(param.name)) end
  params:init()
  local total = (y * dy):sum()
  for _, each in ipairs(block:published(graph)) do
    if string.find(each.name, "^loss%.") then total = total + each.node:sum() end
  end
  return core.plan(core.grad(total, leaves), { compute = options.dtype }), params:elements()
end

--- A mixture of experts beside the dense layer of as many active parameters (of width top_k times the experts'), in
--- turn: forward and backward, the router and its losses included.
function bench.moe(options)
  local dense, of_dense = layer_plan("swiglu", { hidden = options.top_k * options.hidden }, options)
  local sparse, of_sparse = layer_plan("moe", { experts = options.experts, top_k = options.top_k,
    hidden = options.hidden }, options)
  local seconds, cpu = timed({ dense, sparse }, options.steps)
  local ms, dense_ms = seconds[2] * 1e3, seconds[1] * 1e3
  return { what = "moe", dtype = options.dtype, threads = core.threads(), tokens = options.tokens,
    width = options.width, experts = options.experts, top_k = options.top_k, hidden = options.hidden,
    params = of_sparse, dense_params = of_dense, ms = rounded(ms, 3), dense_ms = rounded(dense_ms, 3),
    over_dense = rounded(ms / dense_ms, 3), over_dense_cpu = rounded(cpu[2] / cpu[1], 3) }
end

-- ---- training
-- ------------------------------------------------------------------------------------------------------------

-- Random tokens, by a generator of our own so that a seed gives the same ones everywhere.
local function random_tokens(vocab, tokens, seed)
  local ids, state = {}, (seed * 69069 + 12345) % 4294967296
  for k = 1, tokens do
    state = (state * 69069 + 1) % 4294967296
    ids[k] = math.floor(math.floor(state / 65536) * vocab / 65536)
  end
  return core.tensor("i32", { tokens }, ids)
end

-- `learns` (may be nil): a function of the trace that gives what distill.attach does.
local function trainer_of(model, tokens, c, options, learns)
  local trace = model:trace { batch = c.batch, context = c.context }
  local what = learns and learns(trace) or trace
  return core.trainer(what.loss, model:params(), core.feed_tokens(tokens, c.context, options.seed), {
    total = what.total,
    steps = options.steps + WARM_UP, targets = "targets", lr = 1e-3, schedule = "constant", warmup = 0, min_lr = 1,
    weight_decay = 0.1, optimizer = "adamw", clip = 1, dtype = options.dtype, blocks = c.depth, log_every = 1,
    seed = options.seed,
  })
end

-- Runs the trainer step by step; returns the step times after the warm-up, in ms, and the last loss.
local function timed_steps(trainer, profiled)
  local times, loss = {}, nil
  local event
  repeat
    event = trainer:run()
    if event.logged then
      loss = event.loss
      if event.step > WARM_UP then times[#times + 1] = event.ms_per_step end
      if event.step == WARM_UP and profiled then trainer:profile() end
    end
  until event.done or event.diverged or event.interrupted
  if not event.done then error("bench train: the training did not end: " .. (event.reason or "interrupted"), 0) end
  return times, loss
end

-- What a step's time went into, most first; the rest is the optimizer, the gradient's norm and what lies between ops.
local function profile_of(trainer, times)
  local ms, list = stats.mean(times), {}
  local rest = ms
  for op, seconds in pairs(trainer:profile()) do
    local each = seconds * 1e3 / #times
    rest = rest - each
    list[#list + 1] = { op = op, ms = rounded(each, 3), share = rounded(each / ms, 4) }
  end
  list[#list + 1] = { op = "the rest", ms = rounded(rest, 3), share = rounded(rest / ms, 4) }
  table.sort(list, function(a, b) return a.ms > b.ms or (a.ms == b.ms and a.op < b.op) end)
  return core.list(list)
end

--- Training steps of one of bench.configs.
function bench.train(options)
  local c = bench.configs[options.config]
  local peak = core.peak(options.dtype, PEAK_SECONDS) / 1e9
  local tokens = random_tokens(c.vocab, 64 * c.context + 1, options.seed)
  local model = sonde.transformer { vocab = c.vocab, width = c.width, heads = c.heads, depth = c.depth,
    ffn_hidden = c.ffn_hidden, context = c.context, seed = options.seed, norm = options.norm,
      placement = options.placement }
  local before = core.peak_rss()
  local trainer = trainer_of(model, tokens, c, options)
  local memory = trainer:memory()
  local times, loss = timed_steps(trainer, options.profile)
  local count, ms = model:count(), stats.median(times)
  local rate = c.batch * c.context / ms * 1e3
  local gflops = rate * trainer:flops() / 1e9
  return {
    what = "train", config = options.config, norm = options.norm, placement = options.placement, dtype = options.dtype,
    threads = core.threads(), params = count.total,
    tokens_per_s = rounded(rate, 1), ms_per_step = rounded(ms, 3), gflops = rounded(gflops, 1),
    mfu = rounded(gflops / peak, 3), peak_gflops = rounded(peak, 1),
    peak_rss_mib = rounded(core.peak_rss() / MIB, 1),
    planned_mib = rounded((before + memory.arena + memory.state) / MIB, 1),
    state_sha256 = model:params():sha256(), loss = loss,
    profile = options.profile and profile_of(trainer, times) or nil,
  }
end

-- ---- distillation
-- --------------------------------------------------------------------------------------------------------

local function model_of(c, shape, seed)
  return sonde.transformer { vocab = c.vocab, width = c.width, heads = c.heads, depth = c.depth,
    ffn_hidden = c.ffn_hidden, context = shape.context, seed = seed }
end

-- One update of a trainer that has a line of metrics after each, in ms.
local function one_step(trainer)
  local event
  repeat event = trainer:run() until event.logged or event.done or event.diverged or event.interrupted
  if not event.logged then error("bench distill: the training ended: " .. (event.reason or "interrupted"), 0) end
  return event.ms_per_step
end

-- Samples of a student for a batch behind prompts of so many tokens, as a training with on_policy takes them; ms.
local function sampling_of(student, c, options)
  local o = { tokens = c.context + 1 - options.prompt, temperature = 1, top_k = 0, top_p = 1, seed = options.seed,
    dtype = options.dtype }
  local generator, tokens, streams = require("sonde.eval.generate").open(student, c.batch, options.prompt, o), {}, {}
  for k = 1, c.batch * options.prompt do tokens[k] = k * 7919 % c.vocab end
  for r = 1, c.batch do streams[r] = r - 1 end
  return function()
    local start = core.seconds()
    generator:run(tokens, streams, function() return false end)
    return (core.seconds() - start) * 1e3
  end
end

--- A step of distillation beside the student's step without a teacher and the teacher's forward pass with its loss, of
--- the same batch; the three in turn. `over_student` is what the step takes beside that forward pass, over the
--- student's. With a prompt, also a batch of samples of the student.
function bench.distill(options)
  local c, t = bench.configs[options.config], bench.configs[options.teacher]
  if c.vocab ~= t.vocab then
    error("bench distill: config " .. options.config .. " has a vocabulary of " .. c.vocab .. ", " .. options.teacher
      .. " one of " .. t.vocab, 0)
  end
  if options.prompt and options.prompt > c.context then
    error("bench distill: a prompt of " .. options.prompt .. " tokens is longer than the context, " .. c.context, 0)
  end
  local distill = require "sonde.distill"
  local tokens = random_tokens(c.vocab, 64 * c.context + 1, options.seed)
  local teacher = model_of(t, c, options.seed + 1):init()
  local o = { teachers = { { model = teacher, weight = 1, name = "of the benchmark" } },
    distill = { weight = 0.5, ce_weight = 0.5, temperature = options.temperature, top_k = options.top_k },
    divergence = core.divergence(options.loss) }
  local shape = { batch = c.batch, context = c.context }
  local alone = trainer_of(model_of(c, c, options.seed), tokens, c, options)
  local student = model_of(c, c, options.seed)
  local taught = trainer_of(student, tokens, c, options, function(trace) return distill.attach(trace, o, shape) end)
  local plan = core.plan({ teacher:trace(shape).loss:sum() }, { compute = options.dtype })
  local x, y = {}, {}
  for k = 1, c.batch * c.context do x[k], y[k] = k * 7919 % c.vocab, k * 31 % c.vocab end
  plan:run { tokens = x, targets = y }
  local times, over = { student = {}, teacher = {}, distill = {}, sample = {} }, {}
  local sample = options.prompt and sampling_of(student, c, options)
  for k = 1 - WARM_UP, options.steps do
    local start = core.seconds()
    plan:run()
    local forward, own, both = (core.seconds() - start) * 1e3, one_step(alone), one_step(taught)
    local sampling = sample and sample()
    if k > 0 then
      times.teacher[k], times.student[k], times.distill[k], over[k] = forward, own, both, (both - forward) / own
      times.sample[k] = sampling
    end
  end
  return {
    what = "distill", config = options.config, teacher = options.teacher, loss = options.loss, dtype = options.dtype,
    top_k = options.top_k, threads = core.threads(), student_ms = rounded(stats.median(times.student), 3),
    teacher_forward_ms = rounded(stats.median(times.teacher), 3), distill_ms = rounded(stats.median(times.distill), 3),
    over_student = rounded(stats.median(over), 3), prompt = options.prompt,
    sample_ms = sample and rounded(stats.median(times.sample), 3), state_sha256 = student:params():sha256(),
    peak_rss_mib = rounded(core.peak_rss() / MIB, 1),
  }
end

-- ---- tokenizers
-- ----------------------------------------------------------------------------------------------------------

local CHUNK = 16 * 1024      -- bytes of a text, at least: documents are not all of a line

-- The lines of a file, joined to texts; their bytes.
local function chunks_of(path)
  local chunks, part, size, bytes = {}, {}, 0, 0
  for _, line in ipairs(core.text_lines(path)) do
    part[#part + 1] = line
    size = size + #line + 1
    if size >= CHUNK then
      chunks[#chunks + 1] = table.concat(part, "\n") .. "\n"
      part, bytes, size = {}, bytes + size, 0
    end
  end
  if size > 0 then chunks[#chunks + 1] = table.concat(part, "\n") .. "\n" end
  return chunks, bytes + size
end

-- The median processor time of `steps` runs, after one that is not measured. One thread runs, so that is its time, and
-- the neighbours on a shared machine have no part in it.
local function median_of(steps, run)
  local times = {}
  for k = 0, steps do
    local start = os.clock()
    run()
    times[k] = os.clock() - start
  end
  return stats.median(times)
end

--- A text to ids and back, on one thread: MB/s of the text. The cache of words is the encoder's own and is kept between
--- runs, as it is in a long text.
function bench.tokenize(options)
  local chunks, bytes = chunks_of(options.text)
  if bytes == 0 then error("bench tokenize: " .. options.text .. " has no text", 0) end
  local tokenizer = options.tokenizer and core.tokenizer(options.tokenizer)
    or core.tokenizer_train(chunks, { vocab = 8192 })
  local ids, tokens = {}, 0
  for k, text in ipairs(chunks) do
    ids[k] = tokenizer:encode(text)
    tokens = tokens + ids[k]:count()
  end
  local encode = median_of(options.steps, function()
    for _, text in ipairs(chunks) do tokenizer:encode(text) end
  end)
  local decode = median_of(options.steps, function()
    for _, list in ipairs(ids) do tokenizer:decode(list) end
  end)
  return { what = "tokenize", text = options.text, tokenizer = options.tokenizer, vocab = tokenizer:vocab(),
    threads = 1, bytes = bytes, tokens = tokens, bytes_per_token = rounded(bytes / tokens, 3),
    encode_mb_s = rounded(bytes / encode / 1e6, 2), decode_mb_s = rounded(bytes / decode / 1e6, 2) }
end

-- ---- generation
-- ----------------------------------------------------------------------------------------------------------

local PROMPT = 16

--- Generation, greedy or with top_p, batch 1, with one of bench.configs: the rate, the memory traffic of the weights
--- alone, which every token must read, and its share of what the memory gives, measured before and after.
function bench.generate(options)
  local c, prompt = bench.configs[options.config], {}
  local model = sonde.transformer { vocab = c.vocab, width = c.width, heads = c.heads, depth = c.depth,
    ffn_hidden = c.ffn_hidden, context = c.context, seed = options.seed }
  for k = 1, PROMPT do prompt[k] = k * 7919 % c.vocab end
  local read = read_gb_s(PEAK_SECONDS)
  local _, speed = sonde.generate(model, { prompt }, { tokens = options.tokens, temperature = options.top_p and 1 or 0,
    top_p = options.top_p, seed = options.seed, dtype = options.dtype })
  local count = model:count()
  local bytes = (count.total - count.embedding) * (options.dtype == "bf16" and 2 or 4)
  read = math.max(read, read_gb_s(PEAK_SECONDS))
  return {
    what = "generate", config = options.config, dtype = options.dtype, threads = core.threads(),
    tokens_per_s = rounded(speed.tokens_per_s, 1), weights_gb_s = rounded(speed.tokens_per_s * bytes / 1e9, 1),
    read_gb_s = rounded(read, 1), of_memory = rounded(speed.tokens_per_s * bytes / 1e9 / read, 3),
    prefill_ms = rounded(speed.prefill_seconds * 1e3, 1), peak_rss_mib = rounded(core.peak_rss() / MIB, 1),
  }
end

-- ---- evaluation
-- ------------------------------------------------------------------------------------------------

-- Documents like HellaSwag's: a context of some 80 tokens, four continuations of some 20.
local function choices_for(config, documents)
  local requests, groups, state = {}, {}, 1
  local function tokens(n)
    local list = {}
    for k = 1, n do
      state = (state * 69069 + 12345) % 4294967296
      list[k] = math.floor(state / 65536) % config.vocab
    end
    return list
  end
  for d = 1, documents do
    local context, group = tokens(50 + d * 37 % 61), {}
    for c = 1, 4 do
      requests[#requests + 1] = { context = context, continuation = tokens(10 + (d * 13 + c * 7) % 21) }
      group[c] = #requests
    end
    groups[d] = group
  end
  return requests, groups
end

local TOKENS_AT_ONCE = 4096

--- Multiple choice beside the forward pass, with its loss, of as many tokens in full rows; timed in turn.
function bench.choices(options)
  local config = bench.configs[options.config]
  local model = sonde.transformer { vocab = config.vocab, width = config.width, depth = config.depth,
    heads = config.heads, ffn = { "swiglu", hidden = config.ffn_hidden }, context = config.context,
    seed = options.seed }:init()
  local requests, groups = choices_for(config, options.documents)
  local rows = math.floor(TOKENS_AT_ONCE / config.context)
  local plan = core.plan({ model:trace { batch = rows, context = config.context }.loss:sum() },
    { compute = options.dtype })
  local tokens, targets = {}, {}
  for k = 1, rows * config.context do tokens[k], targets[k] = k * 7919 % config.vocab, k * 31 % config.vocab end
  plan:run { tokens = tokens, targets = targets }
  local ratios, seconds, distinct = {}, {}, nil
  for k = 1, options.steps do
    local _, work = sonde.likelihoods(model, requests, { groups = groups, dtype = options.dtype,
      tokens = TOKENS_AT_ONCE })
    local start, done = core.seconds(), 0
    repeat
      plan:run()
      done = done + #tokens
    until done >= work.tokens
    distinct, seconds[k] = work.tokens, work.seconds
    ratios[k] = work.seconds / ((core.seconds() - start) * work.tokens / done)
  end
  plan:close()
  return { what = "choices", config = options.config, dtype = options.dtype, threads = core.threads(),
    documents = options.documents, distinct_tokens = distinct, tokens_per_s = rounded(distinct / stats.median(seconds),
      0), over_forward = rounded(stats.median(ratios), 3) }
end

return bench
