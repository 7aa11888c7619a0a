-- luacheck's view of the tree: lua/ stays in what Lua 5.4 and LuaJIT share; scripts and tests run under Lua 5.4.
std = "min"
max_line_length = 120
unused_args = false
files["lua/sonde/base/current.lua"] = { read_globals = { "unpack", table = { fields = { "unpack" } } } }   -- one or the other
files["lua/sonde/base/types.lua"] = { ignore = { "241" } }   -- a variable of a stub only ever gets methods
files["experiments"] = { std = "lua54" }
files["plugins"] = { std = "lua54" }
files["tests"] = { std = "lua54", allow_defined_top = true }   -- luaunit finds tests among the globals
files["tests/report/config.lua"] = { globals = { "arg" } }   -- the script that a configuration stands beside
