--- version - what is running: the program, its Lua, the libraries it computes with.

local core = require "sonde.core"
local output = require "sonde.base.output"

return {
  summary = "the version of the program",
  usage = "[--json]",
  options = { output.json },
  example = "sonde version --json",
  run = function(options)
    local facts = { sonde = core.version, lua = _VERSION, library = core.lua_dir() }
    if options.json then
      output.print_json(facts)
    else
      print("sonde " .. facts.sonde .. " (" .. facts.lua .. ")")
    end
  end,
}
