-- Handles: shut metatables, closing what is in use, tables that run code, arguments of the wrong kind, memory that
-- ends.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"

local function refused(text, f, ...)
  local ok, message = pcall(f, ...)
  lu.assertFalse(ok, text)
  lu.assertStrContains(message, text)
  lu.assertNil(string.find(message, "\n"))
  return message
end

local function small()
  local model = sonde.transformer { vocab = 30, width = 8, heads = 2, depth = 1, context = 4 }
  local ids = {}
  for i = 1, 200 do ids[i] = i * 7 % 30 end
  return model, core.tensor("i32", { 200 }, ids)
end

local function trainer_of(model, ids, run, more)
  local options = { context = 4, steps = 3, log_every = 1, checkpoint_every = run and 1 or nil }
  for key, value in pairs(more or {}) do options[key] = value end
  local trace, params = model:trace { batch = 2 }, model:init():params()
  return core.trainer(trace.loss, params, core.feed_tokens(ids, 4, 0), options, run), trace, params
end

-- ---- metatables -------------------------------------------------------------------------------------------------

TestMetatables = {}

function TestMetatables:test_they_are_shut()
  local g = core.graph()
  for _, handle in ipairs { core.tensor("f32", { 1 }), g, core.params(1), g:constant(1, { 1 }), core.block() } do
    lu.assertEquals(type(getmetatable(handle)), "string")
    lu.assertFalse(pcall(setmetatable, handle, {}))
  end
  lu.assertEquals(getmetatable(core.list()), "list")
end

-- With the debug library they are in reach: each looks at what it is given all the same.
function TestMetatables:test_each_metamethod_checks_its_argument()
  local g = core.graph()
  local others = { 1, "x", io.stdout, {}, print, core.params(1), g:constant(1, { 1 }) }
  for _, handle in ipairs { core.tensor("f32", { 1 }), core.graph(), g:constant(2, { 1 }) } do
    local meta = debug.getmetatable(handle)
    for _, name in ipairs { "__gc", "__close", "__tostring", "__eq" } do
      for _, other in ipairs(others) do
        if meta[name] and getmetatable(other) ~= "params" then pcall(meta[name], other, other) end
      end
    end
    for name, method in pairs(meta.__index) do
      for _, other in ipairs(others) do
        if name ~= "close" and getmetatable(other) ~= getmetatable(handle) then
          lu.assertFalse(pcall(method, other), name)
        end
      end
    end
  end
end

function TestMetatables:test_a_foreign_userdata_in_our_clothes_is_refused()
  local file = assert(io.tmpfile())
  local own = debug.getmetatable(file)
  debug.setmetatable(file, debug.getmetatable(core.tensor("f32", { 1 })))
  refused("a tensor is needed here, not a", core.graph().leaf, core.graph(), "x", file)
  debug.setmetatable(file, own)
  local params = core.params(1)
  own = debug.getmetatable(params)
  debug.setmetatable(params, debug.getmetatable(core.tensor("f32", { 1 })))
  lu.assertFalse(pcall(function() return params:get(1) end))
  debug.setmetatable(params, own)                                  -- or it is never freed
end

-- ---- closing what is in use --------------------------------------------------------------------------------------

TestClosing = {}

function TestClosing:test_a_trainer_says_what_of_its_was_closed()
  local model, ids = small()
  local trainer, trace = trainer_of(model, ids)
  trainer:run()
  trace.graph:close()                      -- plans keep the graph
  trainer:run()
  ids:close()
  refused("the tensor of this trainer has been closed", trainer.run, trainer)
  refused("the tensor of this trainer has been closed", trainer.evaluate, trainer)
  trainer:close()
  local other, more = small()
  trainer = trainer_of(other, more)
  other:params():close()
  refused("the params of this trainer have been closed", trainer.run, trainer)
end

function TestClosing:test_a_run_that_is_closed_is_let_go_with_its_trainer()
  local root = core.new_folder("handles")
  local model, ids = small()
  local run = core.run_open(root, "a/b")
  local trainer = trainer_of(model, ids, run)
  run:close()
  refused("the run of this trainer has been closed", trainer.run, trainer)
  trainer:close()
  lu.assertFalse(core.run_held(root, "a/b"))
  core.remove_tree(root)
end

function TestClosing:test_windows_and_sites()
  local ids = core.tensor("i32", { 40 }, 1)
  local windows = core.windows(ids, 4, 30)
  ids:close()
  refused("the tensor of these windows has been closed", windows.rows, windows)
  local g, params = core.graph(), core.params(1)
  local site = core.site { graph = g, params = params, layer = 1, depth = 1, number = 1, slot = "attn", prefix = "x.",
    width = 4, batch = 1, context = 2, trained_context = 2 }
  params:close()
  refused("the params of this site have been closed", site.param, site, "w", { 4 }, "gain")
end

-- The graph that a cache is attached to traces through it.
function TestClosing:test_a_graph_keeps_its_cache()
  local model = small():init()
  local g = core.graph()
  local cache = core.cache(1, 8)
  cache:attach(g, true)
  cache:close()
  collectgarbage()
  local x = g:input("x", "f32", { 1, 2, 2, 4 })
  lu.assertEquals(x:attention(x, x):dims(), { 1, 2, 2, 4 })
  local another, second = core.cache(1, 8), core.graph()
  another:attach(second, true)
  refused("the cache was attached to another graph last", another.outputs, another, core.graph())
  lu.assertEquals(model:count().total > 0, true)
end

-- ---- code that runs in the middle of a call ----------------------------------------------------------------------

TestCode = {}

function TestCode:test_factors_of_a_trainer_are_plain_tables()
  local model, ids = small()
  local name = model:init():params():list()[1].name
  local function lent() return setmetatable({}, { __index = function() return {} end }) end
  refused("factors must be a table, not 5", trainer_of, model, ids, nil, { factors = 5 })
  refused("factors must be a plain table", trainer_of, model, ids, nil, { factors = lent() })
  refused("the factors of a parameter must be a table, not 2", trainer_of, model, ids, nil,
    { factors = { [name] = 2 } })
  refused("the factors of a parameter must be a plain table", trainer_of, model, ids, nil,
    { factors = { [name] = lent() } })
end

function TestCode:test_tables_with_metatables_are_refused()
  local closed = false
  local function trap(t)
    return setmetatable(t or {}, { __index = function() closed = true end,
      __len = function() closed = true return 1 end })
  end
  local ids = core.tensor("i32", { 100 }, 1)
  local windows = core.windows(ids, 4, 30)
  refused("must be a plain table", windows.fill, windows, trap(), core.tensor("i32", { 4 }), core.tensor("i32", { 4 }))
  refused("must be a plain table", core.sampler, 4, { 0 }, trap())
  refused("must be a plain table", core.op, "tanh", trap())
  refused("must be a plain table", core.plan, trap())
  refused("must be a plain table", core.weights_save, "w", trap(), {})
  lu.assertFalse(closed)
  lu.assertEquals(core.graph():constant(1, core.list { 2 }):dims(), { 2 })
end

-- Finalisers run at any allocation: here they close all that the call under way works with.
function TestCode:test_finalisers_that_close_what_is_in_use()
  local mode = collectgarbage("incremental", 10, 10000)
  for round = 1, 60 do
    local g = core.graph()
    local x, w = g:input("x", "f32", { 2, 4 }), g:leaf("w", core.tensor("f32", { 4, 4 }, 1))
    local params, plan = core.params(round), core.plan { x:matmul(w) }
    for k = 1, 3 do params:need("p" .. k, { 4 }, "gain", { kind = "fill", a = 1 }) end
    for k = 1, 4 do
      setmetatable({}, { __gc = function()
        if k == round % 5 then g:close() params:close() plan:close() end
      end })
    end
    for _ = 1, 20 do
      pcall(function() return plan:run { x = { 1, 2, 3, 4, 5, 6, 7, 8 } }:output(1) end)
      pcall(function() return params:list(), g:names() end)
      pcall(function() return core.grad(x:matmul(w), { x, w }) end)
      pcall(core.op, "matmul", { x, w }, {}, { 0, 0 })
    end
  end
  collectgarbage(mode)
end

-- A script's norm that closes the graph it is built in, and one that builds in itself.
function TestCode:test_a_module_that_closes_its_graph()
  local calls = 0
  sonde.norm("closes", function(site, _, x)
    calls = calls + 1
    core.node_graph(x):close()
    return x * 2, site
  end)
  refused("this graph has been closed", function()
    return sonde.transformer { vocab = 30, width = 8, heads = 2, depth = 1, context = 4, norm = "closes" }:init()
  end)
  lu.assertEquals(calls, 1)
end

function TestCode:test_coroutines()
  local model, ids = small()
  local thread = coroutine.wrap(function()
    local trainer = trainer_of(model, ids)
    for _ = 1, 3 do coroutine.yield(trainer:run().step) end
    trainer:close()
    return "closed"
  end)
  lu.assertEquals({ thread(), thread(), thread(), thread() }, { 1, 2, 3, "closed" })
  sonde.norm("yields", function(_, _, x)
    coroutine.yield()
    return x
  end)
  local build = coroutine.wrap(function()
    return pcall(function()
      sonde.transformer { vocab = 30, width = 8, heads = 2, depth = 1, context = 4, norm = "yields" }:init()
    end)
  end)
  local ok, message = build()
  lu.assertFalse(ok)
  lu.assertStrContains(message, "yield")
end

-- ---- numbers and strings -----------------------------------------------------------------------------------------

TestNumbers = {}

function TestNumbers:test_numbers_at_the_ends()
  local g = core.graph()
  local x, t = g:input("x", "f32", { 2, 3 }), core.tensor("f32", { 3 }, 1)
  local plan = core.plan { x }
  for _, n in ipairs { math.maxinteger, math.mininteger, 2 ^ 62, 2 ^ 32 + 1, -1, 0, 2 ^ 63, -2 ^ 63, 0 / 0, 1 / 0,
      1.5 } do
    lu.assertFalse(pcall(core.result, x, n))
    lu.assertFalse(pcall(t.get, t, n))
    lu.assertFalse(pcall(plan.output, plan, n))
    for _, method in ipairs { "sum", "mean", "amax", "variance" } do
      if n ~= -1 then lu.assertFalse(pcall(x[method], x, n), method .. " " .. n) end
    end
    for _, op in ipairs(core.ops()) do
      for at = 1, 3 do
        local integers = { 1, 1, 1 }
        integers[at] = n
        pcall(core.op, op, { x }, nil, integers)
        pcall(core.op, op, { x, x }, nil, integers)
      end
    end
  end
end

function TestNumbers:test_a_sampler_takes_logits_of_its_size()
  local plan = core.plan { core.graph():constant(1, { 2, 4 }) }
  plan:run()
  local tokens = core.tensor("i32", { 2 })
  core.sampler(4, { 0, 1 }, {}):choose(plan, 1, 0, tokens)
  refused("is not the f32 logits of 2 rows and 5 tokens", function()
    core.sampler(5, { 0, 1 }, {}):choose(plan, 1, 0, tokens)
  end)
  refused("the plan has no output 2", function() core.sampler(4, { 0, 1 }, {}):choose(plan, 2, 0, tokens) end)
end

function TestNumbers:test_zero_bytes_in_names()
  refused("a string without zero bytes", core.exists, "a\0b")
  refused("without zero bytes", core.graph().input, core.graph(), "a\0b", "f32", { 1 })
  refused("a string with a zero byte", core.json_encode, { a = "x\0y" })
  refused("a string with a zero byte", core.json_encode, { ["a\0b"] = 1 })
end

-- ---- the library's own refusals -------------------------------------------------------------------------------------

TestRefusals = {}

function TestRefusals:test_function_argument_and_what_is_wanted()
  local model = small()
  local here = "handles.lua:"
  for text, f in pairs {
    ["sonde.train: argument 'model' must be a model (of sonde.transformer or sonde.load), not nil"] = function()
      sonde.train()
    end,
    ["sonde.evaluate: argument 'source' must be"] = function() sonde.evaluate(model) end,
    ["sonde.load: argument 'dir' must be a string, not nil"] = function() sonde.load() end,
    ["sonde.norm: argument 'name' must be a string, not 1"] = function() sonde.norm(1, print) end,
    ["model:save: argument 'dir' must be a string, not nil"] = function() model:save() end,
    ["model:trace: argument 'options' must be a table, not 'x'"] = function() model:trace("x") end,
    ["sonde.generate: argument 'prompts[2][1]' must be a whole number, not 1.5"] = function()
      sonde.generate(model, { { 1 }, { 1.5 } })
    end,
    ["node:expand: argument 'dims' must be a list, not nil"] = function() sonde.graph():constant(1, { 1 }):expand() end,
    ["sonde.concat: argument 'nodes' must be a list, not nil"] = function() sonde.concat() end,
    ["sonde.prune: argument 'model' must be a model"] = function() sonde.prune({ layers = {}, config = {} }, {}) end,
    ["sonde.placement: argument 'build' must be a function, not nil"] = function() sonde.placement("p") end,
    ["sonde.corpus: argument 'source' must be a string or a list, not nil"] = function() sonde.corpus() end,
    ["unknown option 'options.casual' of node:attention; did you mean 'causal'?"] = function()
      local x = sonde.graph():constant(1, { 1, 1, 1, 2 })
      x:attention(x, x, { casual = false })
    end,
    ["unknown option 'options.transposed' of node:matmul"] = function()
      local x = sonde.graph():constant(1, { 2, 2 })
      x:matmul(x, { transposed = true })
    end,
    ["trace:mean_loss: argument 'predicted' must be a number"] = function() model:trace():mean_loss {} end,
    ["option 'layers' of transformer is a list without keys"] = function()
      local core = require "sonde.core"
      sonde.transformer { vocab = 300, width = 16, heads = 2, depth = 2,
        layers = core.json_decode '[{"norm": "layernorm"}]' }
    end,
    ["sweep:run: argument 'f' must be a function, not nil"] = function()
      sonde.sweep({ name = "s", grid = { seed = { 1 } } }):run()
    end,
  } do
    lu.assertStrContains(refused(text, f), here)
  end
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
