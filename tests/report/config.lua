-- Settings of an experiment: the YAML file beside the script, and what --set puts over it.
local lu = require "luaunit"
local core = require "sonde.core"
local settings = require "sonde.base.settings"
local sonde = require "sonde"

local base = os.tmpname()
os.remove(base)
core.mkdirs(base)

local function load(text, given)
  core.write_file(base .. "/c.yaml", text)
  local own = arg[0]
  arg[0], settings.given = base .. "/script.lua", given or {}
  local ok, result = pcall(sonde.config, "c.yaml")
  arg[0], settings.given = own, {}
  if not ok then error(result, 0) end
  return result
end

local TEXT = "depth: [4, 8]\nwidth: 64\nname: x\nquick: false\ntrain:\n  lr: 0.001\n  clip: 1\n"

TestConfig = {}

function TestConfig:test_the_file_as_it_is()
  local c = load(TEXT)
  lu.assertEquals({ c.width, c.depth[2], c.train.lr, c.quick }, { 64, 8, 0.001, false })
end

function TestConfig:test_settings_go_over_it()
  local c = load(TEXT, { width = 96, depth = { 2 }, train = { lr = 0.01 } })
  lu.assertEquals({ c.width, #c.depth, c.depth[1], c.train.lr, c.train.clip }, { 96, 1, 2, 0.01, 1 })
end

function TestConfig:test_unknown_settings_are_refused()
  lu.assertErrorMsgContains("--set widht: ", load, TEXT, { widht = 96 })
  lu.assertErrorMsgContains("did you mean 'width'?", load, TEXT, { widht = 96 })
end

function TestConfig:test_options_left_at_their_default_can_be_set_below_the_top()
  lu.assertEquals(load(TEXT, { train = { batch = 8 } }).train, { lr = 0.001, clip = 1, batch = 8 })
end

function TestConfig:test_a_setting_of_another_kind_is_refused()
  lu.assertErrorMsgContains("--set depth: must be a list", load, TEXT, { depth = 4 })
  lu.assertErrorMsgContains("--set width: must be a number", load, TEXT, { width = "wide" })
  lu.assertErrorMsgContains("--set train: must be several settings", load, TEXT, { train = 1 })
end

function TestConfig:test_what_is_no_file_of_settings_is_refused()
  lu.assertErrorMsgContains("there is no such file", sonde.config, base .. "/none.yaml")
  lu.assertErrorMsgContains("is not a list of settings", load, "[1, 2]\n")
end

local status = lu.LuaUnit.run("-o", "tap")
core.remove_tree(base)
os.exit(status)
