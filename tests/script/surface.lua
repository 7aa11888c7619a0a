-- Calls every function that a script can reach with arguments of every kind: core, the library, and the methods and
-- metamethods of every handle and object, found in their tables at run time, so that a new one is tried without being
-- named here. Whatever the arguments, a call returns or raises one line; it never ends the process (run under
-- AddressSanitizer, where that shows). Arguments come from calls that went well, those of a small study among them, and
-- are changed; tables among them close handles, run the collector and call back from their metamethods and finalisers.
--
--   sonde run surface.lua --set seed=1 --set calls=2000 [--set only=core.plan] [--set pace=1]
--
-- in a folder of its own, for it writes and removes files there. "trace" there names the call under way (pace=1: all).

local sonde = require "sonde"
local core = require "sonde.core"

local settings = sonde.settings
local seed, budget, only = settings.seed or 1, settings.calls or 2000, settings.only
math.randomseed(seed)
local random = math.random
local trace = assert(io.open("trace", "w"))
core.threads()                      -- the runtime is made: no call of set_threads can make thousands of threads

-- ---- what there is to call ---------------------------------------------------------------------------------------

-- Functions that are right to take long when they are asked to: their numbers stay small.
local long = {}
for name in string.gmatch([[core.peak core.read_rate core.trainer core.cache core.sampler core.least_squares core.site
    core.tokenizer_train core.corpus core.plugin_test trainer:run trainer:evaluate params:need params:low_rank
    site:param
    sonde.train sonde.evaluate sonde.generate sonde.probe sonde.prune sonde.heal sonde.transformer sonde.corpus
    sonde.sweep
    sonde.load sonde.report sonde.config model:trace sweep:run sweep:check sweep:plan sweep:summary tokenizer:encode
    core.op core.tensor graph:input graph:constant sonde.tensor sonde.op]], "%S+") do
  long[name] = true
end

local skipped = {
  ["model:new"] = "the maker's own", ["model.new"] = "the maker's own",
  ["core.read_line"] = "waits for a line", ["server:take"] = "waits for a request",
  ["core.go_on"] = "a signal that ends the test would be forgotten",
}

local targets, names = {}, {}       -- name -> function; the names in order

local function add(name, f)
  if type(f) ~= "function" or targets[name] or skipped[name] or (only and not string.find(name, only, 1, true)) then
    return
  end
  targets[name] = f
  names[#names + 1] = name
end

local function sorted(t)
  local keys = {}
  for key in pairs(t) do
    if type(key) == "string" then keys[#keys + 1] = key end
  end
  table.sort(keys)
  return keys
end

-- The methods and metamethods of a value, under the name of its kind.
local function add_methods(kind, value)
  local meta = debug.getmetatable(value)
  if type(meta) ~= "table" then return end
  for _, key in ipairs(sorted(meta)) do add(kind .. "." .. key, meta[key]) end
  if type(meta.__index) == "table" then
    for _, key in ipairs(sorted(meta.__index)) do add(kind .. ":" .. key, meta.__index[key]) end
  end
end

-- ---- values -------------------------------------------------------------------------------------------------------

local pool, kinds = {}, {}          -- kind -> values made by calls; the kinds in order
local seen = {}                     -- tables that were arguments: their contents are changed under way

local function keep(value)
  local kind = type(value)
  if kind == "userdata" then kind = getmetatable(value) end
  if type(kind) ~= "string" then return end        -- of another library
  if kind ~= "table" and type(value) ~= "userdata" and kind ~= "function" then return end
  if kind == "function" then return end
  if not pool[kind] then
    pool[kind] = {}
    kinds[#kinds + 1] = kind
  end
  local list = pool[kind]
  list[#list < 24 and #list + 1 or random(#list)] = value
  if type(value) == "userdata" then add_methods(kind, value) end
end

local function any(list) return list[random(#list)] end

local numbers = {
  0, 1, 2, 3, 4, 8, -1, -2, 127, 2 ^ 31 - 1, 2 ^ 31, -2 ^ 31, 2 ^ 32, 2 ^ 53, 2 ^ 62, math.maxinteger, math.mininteger,
  math.maxinteger - 1, 0.5, -0.0, 3.0, 1e-320, 1e308, -1e308, 1 / 0, -1 / 0, 0 / 0, 2 ^ 63, -2 ^ 63, 4294967297,
}
local words = {
  "", "a", "x", "f32", "bf16", "i32", "f64", "tokens", "targets", "norm", "rmsnorm", "attn", "gain", "other", "train",
  "validation", "embed", "steps", "loss", "done", "dot", "load", "a\0b", "\255\254", "%s%n%d",
  string.rep("long ", 2000),
  "pre_ln", "variance", "layer_removal", "f1", "f2", "dir", "runs", "model", "weights.safetensors", "tokenizer.json",
  "text.jsonl", "c.yaml", "kit.lua", "blocks.*", "nil", "-1", "1e999", "0x10", "close", "__gc", "__index", "width",
  "vocab",
}

local hostile, value, call_random

-- Something that Lua code may do at any moment.
local depth = 0
local function disturb()
  local what = random(9)
  if what <= 3 and #kinds > 0 then
    local one = any(pool[any(kinds)])
    if type(one) == "userdata" then pcall(function() one:close() end) end
  elseif what == 4 then
    collectgarbage()
  elseif what == 5 then
    collectgarbage("step", random(200))
  elseif what == 6 and #seen > 0 then
    local t = any(seen)
    local key = next(t)
    if key ~= nil then t[key] = nil end
  elseif what == 7 and depth < 3 then
    depth = depth + 1
    call_random()
    depth = depth - 1
  elseif what == 8 then
    error("hostile", 0)
  elseif what == 9 then
    return value(2)
  end
  return nil
end

local function quiet() pcall(disturb) end

local events = { "__index", "__newindex", "__len", "__call", "__tostring", "__pairs", "__eq", "__lt", "__le", "__add",
  "__concat", "__close", "__name" }

function hostile(t)
  local meta = { __gc = quiet }
  for _, event in ipairs(events) do
    if random(3) == 1 then meta[event] = disturb end
  end
  if random(12) == 1 then meta.__metatable = any { false, "tensor", "node", {} } end
  return setmetatable(t or {}, meta)
end

local function a_list(level)
  local list, n = {}, random(0, 5)
  local what = random(5)
  for i = 1, n do
    if what == 1 then list[i] = random(1, 4)
    elseif what == 2 then list[i] = any(words)
    elseif what == 3 and #kinds > 0 then list[i] = any(pool[any(kinds)])
    elseif what == 4 and pool.node then list[i] = any(pool.node)
    else list[i] = value(level + 1) end
  end
  return list
end

local option_names = { "n" }        -- keys of tables that went well

function value(level)
  level = level or 0
  local what = random(level < 3 and 13 or 6)
  if what == 1 then return nil end
  if what == 2 then return any { true, false } end
  if what <= 4 then return any(numbers) end
  if what <= 6 then return any(words) end
  if what <= 9 and #kinds > 0 then return any(pool[any(kinds)]) end
  if what == 10 then return a_list(level) end
  if what == 11 then
    local t = {}
    for _ = 1, random(0, 3) do t[any(option_names)] = value(level + 1) end
    if random(8) == 1 then t[any(option_names)] = t end
    return t
  end
  if what == 12 then return hostile(random(2) == 1 and a_list(level) or {}) end
  return any { disturb, print == nil and disturb or quiet, coroutine.create(disturb), io.stdout,
    coroutine.wrap(disturb),
    function() return value(level + 1) end, function(...) return ... end }
end

-- Tables that contain themselves, and are copied again and again, would fill the memory: `left` copies are made of one
-- list of arguments.
local COPIES, left = 1000, 0

-- A long-running function gets no number that makes it run for hours.
local function small(v, level)
  if type(v) == "number" and v > 16 then return random(0, 4) end
  if type(v) == "table" and level < 4 and left > 0 and debug.getmetatable(v) == nil then
    local copy = {}
    left = left - 1
    for key, entry in next, v do copy[key] = small(entry, level + 1) end
    return copy
  end
  return type(v) == "table" and left == 0 and {} or v
end

-- ---- calls that went well --------------------------------------------------------------------------------------

local samples = {}                  -- name -> lists of arguments

local function note_keys(t, level)
  for key, entry in next, t do
    if type(key) == "string" and #option_names < 300 then option_names[#option_names + 1] = key end
    if type(entry) == "table" and level < 3 then note_keys(entry, level + 1) end
  end
end

local function sample(name, list)
  samples[name] = samples[name] or {}
  local of = samples[name]
  of[#of < 12 and #of + 1 or random(#of)] = list
  for i = 1, list.n do
    keep(list[i])
    if type(list[i]) == "table" and #option_names < 300 and debug.getmetatable(list[i]) == nil then
      note_keys(list[i], 1)
    end
  end
end

local function copied(v, level)
  if type(v) ~= "table" or level > 3 or left == 0 or debug.getmetatable(v) ~= nil then return v end
  local t = {}
  left = left - 1
  for key, entry in next, v do t[key] = copied(entry, level + 1) end
  return t
end

-- Changes something inside a table of arguments.
local function change(t)
  local all = {}
  for key in next, t do all[#all + 1] = key end
  local key = #all > 0 and random(4) > 1 and any(all) or any(option_names)
  local inner = t[key]
  if type(inner) == "table" and debug.getmetatable(inner) == nil and random(2) == 1 then
    change(inner)
  else
    t[key] = value(1)
  end
end

local function arguments(name)
  local list = { n = random(0, 5) }
  left = COPIES
  local of = samples[name]
  if of and random(8) > 1 then
    local from = any(of)
    list.n = from.n
    for i = 1, from.n do list[i] = copied(from[i], 0) end
    for _ = 1, random(0, 2) do
      local i = random(list.n + 1)
      if type(list[i]) == "table" and debug.getmetatable(list[i]) == nil and random(3) > 1 then
        change(list[i])
        if random(6) == 1 then hostile(list[i]) end
      else
        list[i] = value()
        if i > list.n then list.n = i end
      end
    end
    if list.n > 0 and random(12) == 1 then list.n = list.n - 1 end
  else
    for i = 1, list.n do list[i] = value() end
    local kind = string.match(name, "^(.-)[:.]")
    if pool[kind] and random(4) > 1 then
      list[1] = any(pool[kind])
      if list.n == 0 then list.n = 1 end
    end
  end
  if long[name] then
    for i = 1, list.n do list[i] = small(list[i], 0) end
  end
  return list
end

-- ---- the calls ----------------------------------------------------------------------------------------------------

local function shown(v)
  if type(v) == "string" then return string.format("%q", string.sub(v, 1, 40)) end
  if type(v) == "userdata" then return tostring(getmetatable(v)) end
  return type(v) == "table" and "table" or type(v) == "function" and "function" or tostring(v)
end

local function described(name, list)
  local parts = {}
  for i = 1, list.n do parts[i] = shown(list[i]) end
  return name .. "(" .. table.concat(parts, ", ") .. ")"
end

local calls, errors, slow = 0, 0, 0
local well, findings, known = {}, {}, {}

local function find(text, name, list)
  local key = string.gsub(text, "0x%x+", "")
  if known[key] then return end
  known[key] = true
  findings[#findings + 1] = described(name, list) .. ": " .. text
end

-- An error is one line, and neither Lua's own nor one with a place inside the library.
local inside = core.lua_dir() .. "/"
local function check_error(message, name, list)
  if type(message) ~= "string" then return end
  if string.find(message, "hostile", 1, true) then return end
  if string.find(message, "attempt to ", 1, true) or string.find(message, "bad argument", 1, true)
    or string.find(message, "' expected", 1, true) or string.find(message, "invalid key to", 1, true)
    or string.find(message, inside, 1, true) or string.find(message, "stack overflow", 1, true) then
    find("a raw error: " .. message, name, list)
  elseif string.find(message, "\n", 1, true) then
    find("more than one line: " .. message, name, list)
  end
end

-- What was made is kept for later calls, but for what would take all memory once it is used.
local function keep_result(v)
  if type(v) == "userdata" then
    local kind = getmetatable(v)
    if kind == "tensor" and v:count() > 1 << 20 then return v:close() end
    if kind == "plan" and v:info().arena_bytes > 1 << 24 then return v:close() end
    if kind == "node" then
      local count = 1
      for _, dim in ipairs(core.node_dims(v)) do count = count * dim end
      if count > 1 << 16 or count < 0 then return end
    end
    if kind == "params" and v:elements() > 1 << 20 then return v:close() end
  end
  keep(v)
end

local function perform(name, list)
  trace:seek("set", settings.pace and trace:seek("end") or 0)
  trace:write(string.format("%d %s%s", calls, described(name, list), settings.pace and "\n" or "\n-- end --\n"))
  trace:flush()
  calls = calls + 1
  for i = 1, list.n do
    if type(list[i]) == "table" and debug.getmetatable(list[i]) == nil and not list[i].handle then
      seen[#seen < 40 and #seen + 1 or random(#seen)] = list[i]
    end
  end
  local before = core.seconds()
  local result
  if random(10) == 1 then
    local thread = coroutine.create(targets[name])
    result = table.pack(coroutine.resume(thread, table.unpack(list, 1, list.n)))
    if coroutine.status(thread) == "suspended" then coroutine.close(thread) end
  else
    result = table.pack(pcall(targets[name], table.unpack(list, 1, list.n)))
  end
  if core.seconds() - before > 2 and depth == 0 then
    slow = slow + 1
    io.stderr:write(string.format("slow, %.1f s: %s\n", core.seconds() - before, described(name, list)))
  end
  if result[1] then
    well[name] = true
    for i = 2, result.n do pcall(keep_result, result[i]) end
    if random(4) == 1 then sample(name, list) end
  else
    errors = errors + 1
    check_error(result[2], name, list)
  end
end

function call_random()
  local name = any(names)
  perform(name, arguments(name))
end

-- ---- a small study, whose calls are the first samples -------------------------------------------------------------

-- Every function of a table notes what it is called with.
local function listen(prefix, t, undo)
  for _, key in ipairs(sorted(t)) do
    local f, name = t[key], prefix .. key
    if type(f) == "function" and not skipped[name] and rawget(t, key) then
      t[key] = function(...)
        local list = table.pack(...)
        for i = 1, list.n do list[i] = copied(list[i], 0) end
        local result = table.pack(f(...))
        sample(name, list)
        for i = 1, result.n do keep(result[i]) end
        return table.unpack(result, 1, result.n)
      end
      undo[#undo + 1] = function() t[key] = f end
    end
  end
end

local function listen_methods(kind, v, undo)
  local meta = debug.getmetatable(v)
  if type(meta) == "table" and type(meta.__index) == "table" then listen(kind .. ":", meta.__index, undo) end
end

local function write(name, text)
  local file = assert(io.open(name, "w"))
  file:write(text)
  file:close()
end

local function files()
  local text = {}
  for i = 1, 200 do text[i] = '{"text": "line ' .. i .. ' of a small text about the deep"}\n' end
  write("text.jsonl", table.concat(text))
  write("c.yaml", "model: {width: 8, depth: 1, heads: 2, context: 4}\n")
  write("kit.lua", "error 'none'")
end

local study = {}

local function all_ops(g, tensor)
  local x, w = g:input("x", "f32", { 2, 4 }), g:leaf("w", tensor)
  local ids = g:input("ids", "i32", { 2 })
  for _, name in ipairs(core.ops()) do
    for _, inputs in ipairs { { x }, { x, x }, { x, w }, { w, ids }, { x, x, x }, { ids } } do
      pcall(core.op, name, inputs, { 1, 0, 1, 0 }, { 1, 0, 1, 0 })
    end
  end
  local y = (x:matmul(w) + x):tanh()
  local grad = core.grad(y, { x, w })
  local plan = core.plan({ y, grad[1], grad[2] }, { compute = "f32" })
  plan:run { x = { 1, 2, 3, 4, 5, 6, 7, 8 } }
  core.node_name(y, "y")
  core.node_op(y)
  core.node_id(y)
  core.node_inputs(y)
  core.node_graph(y)
  pcall(plan.dump, plan, "f1")
  plan:set("x", sonde.tensor("f32", { 2, 4 }, 1))
  return plan:run():output(1)
end

local function run_study()
  files()
  local undo = {}
  listen("core.", core, undo)
  for _, name in ipairs(debug.getmetatable(sonde).__names()) do
    local part = sonde[name]
    if type(part) == "table" then
      for _, key in ipairs(sorted(part)) do add("sonde." .. name .. "." .. key, part[key]) end
    end
    add("sonde." .. name, part)
  end
  listen("sonde.", sonde, undo)
  local g, tensor = core.graph(), core.tensor("f32", { 4, 4 }, 0.5)
  local tokenizer = core.tokenizer_train({ "some text about the deep", "and more of it" }, { vocab = 300 })
  for _, each in ipairs {
    { "graph", g }, { "tensor", tensor }, { "tokenizer", tokenizer }, { "plan", core.plan { g:constant(1, { 2 }) } },
  } do listen_methods(each[1], each[2], undo) end
  core.set_threads(0)
  all_ops(core.graph(), tensor)
  core.roles()
  core.columns()
  core.cpu()
  core.peak_rss()
  core.json_decode(core.json_encode { 1, { a = "b" } })
  select(2, core.yaml_decode(core.yaml_encode { a = { 1, 2 } })):where("a")
  core.tokenizer_train({ "x" }, { vocab = 260, special = { "<s>" } })
  tokenizer:save("tokenizer.json")
  core.tokenizer("tokenizer.json")
  tokenizer:decode(tokenizer:encode("some text"))
  local s = core.least_squares(2, 1)
  listen_methods("least squares", s, undo)
  s:add(core.tensor("f32", { 3, 2 }, { 1, 2, 3, 4, 5, 7 }), core.tensor("f32", { 3, 1 }, 1)):solve()
  core.singular_values(core.tensor("f32", { 2, 3 }, 1))
  core.sampler(4, { 0 }, { temperature = 1 })
  local corpus = sonde.corpus("text.jsonl", { vocab = 280, cache = "cache" })
  local model = sonde.transformer { vocab = 280, width = 8, depth = 2, heads = 2, context = 8 }
  study.model, study.corpus = model, corpus
  listen("model:", debug.getmetatable(model), undo)
  if debug.getmetatable(corpus) then listen("corpus:", debug.getmetatable(corpus), undo) end
  sonde.norm("fuzzed", { options = { { name = "eps", type = "number", preset = 1e-5, doc = "small" } } },
    function(site, o, x)
    return x:rmsnorm(site:param("gain", { site.width }, "gain"), o.eps)
  end)
  sonde.placement("fuzzed", function(block, x)
    x = x + block:attention(block:norm_in "attn" (x))
    return x + block:ffn(block:norm_in "ffn" (x))
  end)
  sonde.init("fuzzed", function() return { kind = "normal", a = 0.02 } end)
  local sweep = sonde.sweep { name = "fuzzed", root = "runs", grid = { seed = { 1 } } }
  study.sweep = sweep
  listen("sweep:", debug.getmetatable(sweep).__index, undo)
  sweep:run(function(trial)
    listen("trial:", debug.getmetatable(trial).__index, undo)
    study.trial = trial
    sonde.train(model, corpus, { tokens = 64, batch = 2, progress = false, eval_tokens = 64, log_every = 1 })
    trial:report { perplexity = 1 }
  end)
  pcall(sweep.summary, sweep, { by = { "seed" }, metric = "perplexity" })
  sonde.evaluate(model, corpus)
  sonde.generate(model, { { 1, 2 } }, { tokens = 2 })
  sonde.probe(model, corpus, { "variance" }, { tokens = 16 })
  model:save("model")
  sonde.load("model")
  pcall(sonde.prune, model, { strategy = "last", remove = 1 })
  for i = #undo, 1, -1 do undo[i]() end
  for _, key in ipairs(sorted(core)) do add("core." .. key, core[key]) end
  for kind, list in pairs(pool) do
    if type(list[1]) == "userdata" then add_methods(kind, list[1]) end
  end
  for name, object in pairs(study) do add_methods(name, object) end
  table.sort(names)
end

local out = io.stdout
run_study()
calls, errors = 0, 0

-- ---- and go -------------------------------------------------------------------------------------------------------

local began = core.seconds()
for i = 1, budget do
  if i % 50 == 1 then collectgarbage(any { "generational", "incremental" }) end
  if random(20) == 1 then hostile {} end
  if random(300) == 1 then pcall(files) end
  local ok, message = pcall(call_random)
  if not ok then error("the fuzzer itself: " .. tostring(message)) end
  if collectgarbage "count" > 2e6 then error("Lua holds 2 GB after call " .. calls) end
end
local n_well = 0
for _, name in ipairs(names) do
  if well[name] then n_well = n_well + 1 end
end
out:write(string.format("%d calls of %d functions (%d went well at least once) in %.1f s; %d errors, %d slow; seed "
  .. "%s\n",
  calls, #names, n_well, core.seconds() - began, errors, slow, seed))
for _, text in ipairs(findings) do out:write("finding: ", string.sub(text, 1, 600), "\n") end
os.exit(#findings == 0 and 0 or 1, true)
