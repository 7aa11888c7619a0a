-- Folders of what is built like Llama: the logits and losses of an independent forward pass (reference/make_llamas.py),
-- with the keys that a folder may lack or spell otherwise; and what is made of them again.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"

local REFERENCE = os.getenv "abs_srcdir" .. "/tests/reference/llamas"
local scratch = os.tmpname()
os.remove(scratch)
core.mkdirs(scratch)

local made = 0

-- A copy of a reference folder with other keys: changed, or taken out.
local function folder_of(name, change, without)
  made = made + 1
  local dir = scratch .. "/" .. name .. made
  core.mkdirs(dir)
  local tree = core.json_load(REFERENCE .. "/" .. name .. "/config.json", true)
  for key, value in pairs(change or {}) do tree[key] = value end
  for _, key in ipairs(without or {}) do tree[key] = nil end
  core.json_save(dir .. "/config.json", tree)
  core.write_file(dir .. "/model.safetensors", core.read_file(REFERENCE .. "/" .. name .. "/model.safetensors"))
  return dir
end

local ROWS = 2

local function values_of(model, expected)
  local length = #expected.tokens / ROWS
  local trace = model:trace { batch = ROWS, context = length }
  local plan = core.plan { trace.loss, trace:logits() }
  plan:run { tokens = expected.tokens, targets = expected.targets }
  local loss, logits = plan:output(1):values(), plan:output(2):values()
  local vocab, last = model.config.vocab, {}
  for k = 1, vocab do last[k] = logits[(length - 1) * vocab + k] end
  plan:close()
  trace.graph:close()
  return loss, last
end

local function off(a, b)
  local most = 0
  for k, value in ipairs(b) do most = math.max(most, a[k] and math.abs(a[k] - value) or 1 / 0) end
  return most
end

local BOUND = 1e-5

local function check(model, expected, case, what)
  local loss, last = values_of(model, expected)
  lu.assertTrue(off(loss, case.loss) < BOUND, what .. ": the losses are off by " .. off(loss, case.loss))
  lu.assertTrue(off(last, case.last) < BOUND, what .. ": the logits are off by " .. off(last, case.last))
end

TestValues = {}

for _, name in ipairs(core.list_dir(REFERENCE)) do
  TestValues["test_" .. name] = function()
    local expected = core.json_load(REFERENCE .. "/" .. name .. "/expected.json", true)
    for _, case in ipairs(expected.cases) do
      check(sonde.load(folder_of(name, case.keys, case.without)), expected, case, name .. ", " .. case.name)
    end
  end
end

-- What is saved is the same model under the same architecture and the same tensors: with the keys as they came, and
-- without the section that Sonde adds.
TestSaved = {}

local function tensors_of(dir)
  local file, list = core.weights_open(dir), {}
  for _, name in ipairs(file:names()) do list[name] = table.concat(file:find(name).dims, " ") end
  file:close()
  return list
end

for _, name in ipairs(core.list_dir(REFERENCE)) do
  TestSaved["test_" .. name] = function()
    local expected = core.json_load(REFERENCE .. "/" .. name .. "/expected.json", true)
    for _, case in ipairs(expected.cases) do
      local dir, what = folder_of(name, case.keys, case.without), name .. ", " .. case.name
      local model, to = sonde.load(dir), dir .. "-saved"
      model:save(to)
      local before, after = core.json_load(dir .. "/config.json", true), core.json_load(to .. "/config.json", true)
      lu.assertEquals(after.model_type, before.model_type, what)
      lu.assertEquals(after.architectures, before.architectures)
      for key, value in pairs(before) do
        lu.assertEquals(core.json_encode { after[key] }, core.json_encode { value }, what .. ": " .. key)
      end
      lu.assertEquals(tensors_of(to), tensors_of(dir))
      lu.assertEquals(sonde.load(to):params():sha256(), model:params():sha256())
      check(sonde.load(to), expected, case, what .. ", saved")
      after.sonde = nil
      core.json_save(to .. "/config.json", after)
      check(sonde.load(to), expected, case, what .. ", saved, without the section")
      -- A model that came from no folder says all of it in its own words.
      model.origin = nil
      model:save(to .. "-own")
      after = core.json_load(to .. "-own/config.json", true)
      after.sonde = nil
      core.json_save(to .. "-own/config.json", after)
      check(sonde.load(to .. "-own"), expected, case, what .. ", in other words, as " .. after.model_type)
    end
  end
end

local status = lu.LuaUnit.run("-o", "tap")
core.remove_tree(scratch)
os.exit(status, true)
