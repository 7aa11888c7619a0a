-- The registry of named things: what it takes, what it refuses, and what is known of Sonde's own things.

local lu = require "luaunit"
local registry = require "sonde.base.registry"

TestRegistry = {}

local function shapes()
  return registry.new {
    kind = "shape", doc = "text",
    schema = {
      { name = "corners", type = "integer", preset = 4, doc = "how many" },
      { name = "text", type = "string", preset = "", doc = "one line" },
    },
    others = function() return { "taken" } end,
  }
end

function TestRegistry:test_what_is_added_is_found()
  local r = shapes()
  r:add("square", { text = "all sides alike" })
  r:add("angle-3", { corners = 3, text = "three sides" })
  lu.assertEquals(r:find("square"), { name = "square", corners = 4, text = "all sides alike" })
  lu.assertNil(r:get("circle"))
  lu.assertEquals(r:names(), { "angle-3", "square", "taken" })
  lu.assertEquals(r:described(), { { "angle-3", "three sides" }, { "square", "all sides alike" } })
  lu.assertEquals(r:lines(25), { "  angle-3  three sides", "  square   all sides..." })
end

function TestRegistry:test_mistakes()
  local r = shapes()
  r:add("square", {})
  local function refuses(text, ...) lu.assertErrorMsgContains(text, r.add, r, ...) end
  refuses("the shape 'square' exists already", "square", {})
  refuses("the shape 'taken' exists already", "taken", {})
  for _, name in ipairs { "", "a b", "3d", "a/b", "a.b" } do
    refuses("cannot name a thing of the kind shape", name, {})
  end
  refuses("unknown option 'corner' of shape 'other'; did you mean 'corners'?", "other", { corner = 3 })
  refuses("must be a whole number", "other", { corners = "three" })
  lu.assertErrorMsgContains("unknown shape 'sqare'; did you mean 'square'?", r.find, r, "sqare")
  lu.assertEquals(r:names(), { "square", "taken" })      -- what was refused is not there
end

-- Whose a name is already is said: Sonde's own, or the script's line.
function TestRegistry:test_whose_a_name_is()
  local placement = require "sonde.model.placement"
  lu.assertErrorMsgContains("the placement 'pre_ln' exists already, from Sonde", placement.register, "pre_ln", print)
  placement.register("mine", function(_, x) return x end)
  lu.assertErrorMsgContains("'mine' exists already, from ", placement.register, "mine", print)
  lu.assertErrorMsgContains("registry.lua:", placement.register, "mine", print)
end

-- What a name is for is known of each of Sonde's own things, for help and documentation.
function TestRegistry:test_sondes_own_things_say_what_they_are()
  local kinds = {
    placement = "sonde.model.placement", initialisation = "sonde.model.init_policy", probe = "sonde.probe.registry",
    strategy = "sonde.sparse.strategy", quantity = "sonde.report.quantity",
  }
  for kind, module in pairs(kinds) do
    local own = require(module).registry
    lu.assertEquals(own.kind, kind)
    local rows = own:described()
    lu.assertTrue(#rows > 5, kind)
    for _, row in ipairs(rows) do lu.assertTrue(#row[2] > 8, kind .. " " .. row[1]) end
  end
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
