-- What a training begins with beside its seed is compared with what its run folder was made with: values that a script
-- wrote, weights of folders, and what views are made with.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"

local Q, V = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.self_attn.v_proj.weight"

local values = {}
for i = 1, 400 do values[i] = i * i % 50 end
local corpus = { vocab = 50, handle = sonde.tensor("i32", { #values }, values), spec = "made", hash = "made" }

local root = os.tmpname()
os.remove(root)

local function model_of(options)
  local all = { vocab = 50, width = 16, depth = 2, heads = 2, context = 8, seed = 4 }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.transformer(all)
end

local function train(model, dir, options)
  local all = { steps = 6, batch = 2, lr = 1e-2, checkpoint_every = 2, progress = false, dir = root .. "/" .. dir }
  for key, value in pairs(options or {}) do all[key] = value end
  return sonde.train(model, corpus, all).state_sha256
end

-- Trains up to an update, in a run that is to be longer.
local function stopped(model, dir, options)
  local hook = { name = "stop", every = 3, call = function() error "enough" end }
  local all = { hooks = { hook } }
  for key, value in pairs(options or {}) do all[key] = value end
  lu.assertFalse((pcall(train, model, dir, all)))
end

local function assert_refused(text, ...)
  local ok, message = pcall(train, ...)
  lu.assertFalse(ok, text)
  lu.assertStrContains(message, "was made with another configuration: " .. text)
end

local function written(value)
  local model = model_of()
  model:params():find(Q):fill(value)
  return model
end

local function begins_with(dir)
  return core.yaml_load(root .. "/" .. dir .. "/config.yaml").begins_with
end

-- Makes a run one of a version that recorded less.
local function as_before(dir)
  local path, kept, left_out = root .. "/" .. dir .. "/config.yaml", {}, nil
  for line in core.read_file(path):gmatch "[^\n]+" do
    local indent = #line:match "^ *"
    if left_out and indent <= left_out then left_out = nil end
    if line:find "^ *begins_with:" or line:find "^ *view_options:" then left_out = indent end
    if not left_out then kept[#kept + 1] = line end
  end
  core.write_file(path, table.concat(kept, "\n") .. "\n")
  lu.assertNil(begins_with(dir))
  lu.assertNil(core.yaml_load(path).model.view_options)
end

TestBeginnings = {}

function TestBeginnings:test_values_that_a_script_wrote()
  local first = train(written(0.5), "written")
  lu.assertEquals(train(written(0.5), "written"), first)
  assert_refused("begins_with.weights (was ", written(0.7), "written")
  assert_refused("begins_with.weights (was ", model_of(), "written")
  assert_refused("begins_with.weights (was ", written(0.7), "written", { accept_changes = true })   -- all is done
  local other = train(written(0.7), "other")
  lu.assertEquals(train(written(0.7), "written", { redo = true }), other)
  lu.assertNotEquals(other, first)
  local set = model_of():init()
  set:params():find(Q):set(1, 2)
  assert_refused("begins_with.weights (was ", set, "written")
  stopped(written(0.5), "stopped")
  assert_refused("begins_with.weights (was ", written(0.7), "stopped")
  train(written(0.7), "stopped", { accept_changes = true })
  lu.assertEquals(train(written(0.7), "stopped"), train(written(0.7), "stopped"))
end

function TestBeginnings:test_what_the_seed_gives_is_not_compared_by_its_bits()
  local first = train(model_of(), "seed")
  lu.assertEquals(begins_with "seed", { weights = "its seed" })
  lu.assertEquals(train(model_of():init(), "seed"), first)
  local measured = model_of { norm = "bhyt" }      -- its buffers are computed
  sonde.evaluate(measured, corpus, { batch = 2, tokens = 64 })
  train(measured, "buffers")
  lu.assertEquals(begins_with "buffers", { weights = "its seed" })
  local adapted = model_of():init()
  adapted:params():low_rank(Q, 2, 1)
  adapted:params():mask(V)
  train(adapted, "views")
  lu.assertEquals(begins_with "views", { weights = "its seed" })
end

function TestBeginnings:test_masks()
  local function masked(value)
    local model = model_of()
    model:params():mask(Q):fill(value)
    return model
  end
  stopped(masked(0), "mask")
  assert_refused("begins_with.weights (was ", masked(1), "mask")
  train(masked(0), "mask")
end

function TestBeginnings:test_what_views_are_made_with()
  local function adapted(scale, rank)
    local model = model_of()
    model:params():low_rank(Q, rank or 2, scale)
    return model
  end
  local function shared(with)
    local model = model_of { depth = 3 }
    local name = "model.layers.%d.self_attn.q_proj.weight"
    model:params():share(name:format(2), name:format(with))
    return model
  end
  train(adapted(0.5), "scale")
  train(adapted(0.5), "scale")
  assert_refused("model.view_options." .. Q .. ".scale (was 0.5, now 5.0)", adapted(5), "scale")
  assert_refused("model.view_options." .. Q .. ".rank (was 2, now 3)", adapted(0.5, 3), "scale")
  lu.assertEquals(train(adapted(5), "scale", { redo = true }), train(adapted(5), "scale 5"))
  train(shared(0), "share")
  assert_refused("model.view_options.model.layers.2.self_attn.q_proj.weight.shares (was ", shared(1), "share")
end

function TestBeginnings:test_a_loaded_model_and_a_folder_to_begin_with()
  local base = root .. "/base"
  model_of():init():save(base)
  local from = { from = base }
  train(sonde.load(base), "loaded")
  local first = train(model_of(), "from", from)
  lu.assertEquals(train(sonde.load(base), "loaded"), first)
  stopped(model_of(), "stays", from)
  stopped(sonde.load(base), "stays loaded")
  written(0.5):init():save(base)
  assert_refused("begins_with.weights (was ", sonde.load(base), "loaded")
  assert_refused("begins_with.weights (was ", sonde.load(base), "stays loaded")
  assert_refused("begins_with.from.sha256 (was ", model_of(), "from", from)
  assert_refused("begins_with.from.sha256 (was ", model_of(), "stays", from)
  lu.assertEquals(train(sonde.load(base), "loaded", { redo = true }), train(model_of(), "from", { from = base,
    redo = true }))
  os.execute("rm -r '" .. base .. "'")                -- it has weights of its own now
  lu.assertEquals(train(model_of(), "stays", from), first)
  lu.assertEquals(train(model_of(), "stays", from), first)
end

function TestBeginnings:test_a_run_to_begin_with_may_go_on()
  local from = { from = root .. "/trunk", steps = 4, schedule = "constant" }
  train(model_of(), "trunk", { schedule = "constant" })
  local branch = train(model_of(), "branch", from)
  train(model_of(), "trunk", { schedule = "constant", steps = 8, accept_changes = true })
  lu.assertEquals(train(model_of(), "branch", from), branch)
  lu.assertEquals(begins_with("branch").from.step, 6)
  train(model_of(), "trunk", { schedule = "constant", lr = 1e-3, redo = true })
  assert_refused("begins_with.from.sha256 (was ", model_of(), "branch", from)
end

function TestBeginnings:test_trainings_after_each_other_go_on()
  local function both(stop)
    local model = model_of()
    train(model, "one", { trainable = { V } })
    if stop then return stopped(model, "two") end
    return train(model, "two")
  end
  both(true)
  local reached = both()
  lu.assertEquals(both(), reached)
end

function TestBeginnings:test_runs_that_recorded_less_go_on()
  local function adapted()
    local model = written(0.5)
    model:params():low_rank(V, 2, 0.5)
    return model
  end
  stopped(adapted(), "old")
  as_before "old"
  local reached = train(adapted(), "old")
  lu.assertNotNil(begins_with("old").weights)
  as_before "old"
  lu.assertEquals(train(adapted(), "old"), reached)
end

local status = lu.LuaUnit.run("-o", "tap")
os.execute("rm -rf '" .. root .. "'")
os.exit(status, true)
