--- version - what is running: the program, its Lua, the libraries it computes with.

local core = require "sonde.core"

return {
  summary = "the version of the program",
  usage = "[--json]",
  options = { { name = "json", type = "boolean", preset = false, doc = "as a JSON object" } },
  example = "sonde version --json",
  run = function(options)
    local facts = { sonde = core.version, lua = _VERSION, library = core.lua_dir() }
    if options.json then
      print(core.json_encode(facts, 2))
    else
      print("sonde " .. facts.sonde .. " (" .. facts.lua .. ")")
    end
  end,
}
