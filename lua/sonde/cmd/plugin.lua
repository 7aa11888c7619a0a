--- plugin - lists, describes, starts and tests plugins.

local core = require "sonde.core"
local format = require "sonde.base.format"
local output = require "sonde.base.output"

local json_option = output.json

-- ---- list, info ---------------------------------------------------------------------------------------------

--- Prints rows in columns.
local function columns(rows)
  for _, line in ipairs(format.columns(rows)) do print(line) end
end

local function list(options)
  local all = core.plugins()
  if options.json then return output.print_json(core.list(all)) end
  local rows, skipped = {}, {}
  for _, entry in ipairs(all) do
    if entry.status == "loaded" then
      rows[#rows + 1] = { entry.kind, entry.name, entry.version, entry.summary }
    else
      skipped[#skipped + 1] = entry
    end
  end
  columns(rows)
  for _, entry in ipairs(skipped) do print("skipped: " .. entry.why) end
end

local function show_options(entry)
  if #entry.options == 0 then return print("\nno options") end
  print("\noptions:")
  local rows = {}
  for _, option in ipairs(entry.options) do
    local preset = option.default and "default " .. (option.default == "" and "\"\"" or option.default)
      or "must be given"
    rows[#rows + 1] = { "  " .. option.name, option.takes .. "; " .. preset, option.doc }
  end
  columns(rows)
end

local function info(options)
  local entry = core.plugin(options.name)
  if options.json then return output.print_json(entry) end
  print(entry.kind .. " " .. entry.name .. " " .. entry.version)
  print("  " .. entry.summary)
  if entry.citation ~= "" then print("  " .. entry.citation) end
  print("  " .. entry.path)
  show_options(entry)
  if #entry.ops > 0 then print("\nops of its own: " .. table.concat(entry.ops, ", ")) end
end

-- ---- ops --------------------------------------------------------------------------------------------------------

local function inputs_text(op)
  local function many(n) return n .. (n == 1 and " input" or " inputs") end
  return op.min_inputs == op.max_inputs and many(op.max_inputs) or op.min_inputs .. " to " .. many(op.max_inputs)
end

-- The ops of that name: one, or those that the plugin of that name brings.
local function find_ops(all, name)
  local names, of_plugin = {}, {}
  for k, op in ipairs(all) do
    if op.name == name then return { op } end
    names[k] = op.name
    if op.name:sub(1, #name + 1) == name .. "." then of_plugin[#of_plugin + 1] = op end
  end
  if #of_plugin > 0 then return of_plugin end
  local known, plugin = pcall(core.plugin, name)
  if known then error("the " .. plugin.kind .. " '" .. plugin.name .. "' brings no ops of its own", 0) end
  local near = core.nearest(name, names)
  error("unknown op '" .. name .. "'; " .. (near and "did you mean '" .. near .. "'?" or "see `sonde plugin ops`"), 0)
end

local function show_op(op)
  local facts = { inputs_text(op), op.outputs .. (op.outputs == 1 and " result" or " results") }
  facts[#facts + 1] = op.gradient and "has a gradient" or "has no gradient"
  if op.elementwise then facts[#facts + 1] = "elementwise" end
  if op.random then facts[#facts + 1] = "other values each step" end
  print(op.name .. "\n  " .. op.doc .. "\n  " .. table.concat(facts, ", "))
end

local function ops(options)
  local all = core.ops()
  if options.name then
    local found = find_ops(all, options.name)
    if options.json then
      output.print_json(#found == 1 and found[1].name == options.name and found[1] or core.list(found))
    else
      for _, op in ipairs(found) do show_op(op) end
    end
  elseif options.json then
    output.print_json(core.list(all))
  else
    local rows = {}
    for k, op in ipairs(all) do rows[k] = { op.name, op.doc } end
    columns(rows)
  end
end

-- ---- new ------------------------------------------------------------------------------------------------------

local function kinds()
  local names = {}
  for k, kind in ipairs(core.kinds()) do names[k] = kind.name end
  return names
end

local function kind_of(name)
  for _, kind in ipairs(core.kinds()) do
    if kind.name == name then return kind end
  end
end

local function templates()
  local folder = core.lua_dir() .. "/../plugins/template"
  if not core.exists(folder) then error(folder .. ": the templates are not there; is Sonde installed whole?", 0) end
  return folder
end

--- The files of a new plugin: name in its folder -> template and what stands for the name there.
local function files_of(options)
  local name, kind = options.name, options.kind
  if options.lua then
    return { [name .. ".lua"] = { kind .. ".lua", "template" }, ["README.md"] = { "README_lua.md" } }
  end
  return {
    [name .. ".c"] = { kind .. (options.primitive and "_primitive" or "") .. ".c", "template" },
    ["Makefile"] = { "Makefile" }, ["README.md"] = { "README.md" },
  }
end

local function read_template(folder, file, options)
  local form = options.lua and "--lua" or options.primitive and "--primitive"
  if not core.exists(folder .. "/" .. file) then
    error(string.format("there is no template of the kind '%s'%s: %s/%s is not there; %s", options.kind,
      form and " for " .. form or "", folder, file, form and "leave out " .. form or "is Sonde installed whole?"), 0)
  end
  return core.read_file(folder .. "/" .. file)
end

local function check_new(options)
  local name = options.name
  if not string.match(name, "^[a-z][a-z0-9_]*$") or #name > 60 then
    error("'" .. name .. "' is no plugin name; use a-z, 0-9 and _, a letter first", 0)
  end
  local kind = kind_of(options.kind)
  if options.lua and not kind.scripts then
    error("a plugin of the kind '" .. kind.name .. "' is written in C: leave out --lua", 0)
  end
  if options.primitive and not kind.ops then
    error("a plugin of the kind '" .. kind.name .. "' brings no ops: leave out --primitive", 0)
  end
  if options.lua and options.primitive then
    error("an op of one's own is written in C: leave out --lua or --primitive", 0)
  end
end

local function new(options)
  check_new(options)
  for _, name in ipairs(core.modules(options.kind)) do
    if name == options.name then
      io.stderr:write("sonde: note: there is a ", options.kind, " '", name,
        "' already, and a second one is refused when it "
        .. "is loaded; a name of its own is better\n")
    end
  end
  local folder = (options.dir or ".") .. "/" .. options.name
  if core.exists(folder) then error(folder .. " is there already; remove it, or choose another name", 0) end
  local from, files = templates(), files_of(options)
  local texts, names = {}, {}
  for file, source in pairs(files) do
    local text = read_template(from, source[1], options)
    if source[2] then text = string.gsub(text, source[2], options.name) end
    text = string.gsub(string.gsub(text, "@NAME@", options.name), "@KIND@", options.kind)
    texts[file] = text
    names[#names + 1] = file
  end
  table.sort(names)
  require("sonde.base.whole_folder")(folder, function(part)
    for _, file in ipairs(names) do core.write_file(part .. "/" .. file, texts[file]) end
  end)
  for _, file in ipairs(names) do print(folder .. "/" .. file) end
  print(options.lua and "next: sonde plugin test " .. folder .. "/" .. options.name .. ".lua" or "next: make -C "
    .. folder .. " check")
end

-- ---- test -------------------------------------------------------------------------------------------------------

local function count(checks)
  local n = { pass = 0, fail = 0, skip = 0 }
  for _, check in ipairs(checks) do n[check.outcome] = n[check.outcome] + 1 end
  return n
end

local function print_tap(result, n)
  print("1.." .. #result.checks)
  for k, check in ipairs(result.checks) do
    local word = check.outcome == "fail" and "not ok " or "ok "
    print(word .. k .. " - " .. check.name .. (check.outcome == "skip" and " # SKIP " .. check.text or ""))
    if check.outcome ~= "skip" and check.text ~= "" then print("# " .. check.text) end
  end
  if result.speed ~= "" then print("# speed: " .. result.speed) end
  local what = result.name ~= "" and result.kind .. "/" .. result.name or result.file
  print(string.format("# %s: %d passed, %d failed, %d skipped", what, n.pass, n.fail, n.skip))
end

local function test(options)
  if not core.exists(options.file) then error(options.file .. ": there is no such file", 0) end
  local result = core.plugin_test(options.file, options.settings or {}, options.only)
  local n = count(result.checks)
  result.file, result.passed, result.failed, result.skipped = options.file, n.pass, n.fail, n.skip
  if options.json then
    result.checks = core.list(result.checks)
    output.print_json(result)
  else
    print_tap(result, n)
  end
  return n.fail > 0 and 1 or 0
end

-- ---- the command --------------------------------------------------------------------------------------------------

local name_field = { name = "name", type = "string", required = true, doc = "such as rmsnorm, or norm/rmsnorm",
  suggest = function()
    local names = {}
    for _, kind in ipairs(kinds()) do
      for _, name in ipairs(core.modules(kind)) do names[#names + 1] = name end
    end
    return names
  end }
local file_field = { name = "file", type = "string", required = true,
  doc = "the plugin: a shared object, or a script with one module" }

return {
  summary = "list, describe, start and test plugins",
  usage = "list | info NAME | ops [NAME] | new KIND NAME | test FILE",
  example = "sonde plugin new norm mine && make -C mine check",
  commands = {
    list = {
      summary = "every module and optimizer that there is, and files that were skipped", usage = "[--json]",
      options = { json_option }, example = "sonde plugin list", run = list,
    },
    info = {
      summary = "what one of them computes, and its options", usage = "NAME [--json]", positional = { name_field },
      options = { json_option }, example = "sonde plugin info norm/rmsnorm", run = info,
    },
    ops = {
      summary = "the ops that modules are built of: formula, inputs, attributes", usage = "[NAME] [--json]",
      details = "In a formula, i0 to i7 are the integer attributes of an op and f0 to f3 the others: of sonde_attr in "
        .. "C, of sonde.op\n"
        .. "in Lua.",
      positional = { { name = "name", type = "string", doc = "of an op, such as matmul, or of a plugin with ops" } },
      options = { json_option }, example = "sonde plugin ops matmul", run = ops,
    },
    new = {
      summary = "a folder with a complete plugin to change", usage = "KIND NAME [--primitive | --lua] [--dir DIR]",
      positional = {
        { name = "kind", type = "string", required = true, choices = kinds, doc = "what kind of module" },
        { name = "name", type = "string", required = true, doc = "of the plugin and its folder" },
      },
      options = {
        { name = "primitive", type = "boolean", preset = false,
          doc = "with ops of its own: shape rule, gradient rule, kernel" },
        { name = "lua", type = "boolean", preset = false, doc = "a script instead of C" },
        { name = "dir", type = "string", value = "DIR", doc = "where the folder is made; default: here" },
      },
      example = "sonde plugin new norm mine", run = new,
    },
    test = {
      summary = "try out everything a plugin must be able to do",
      usage = "FILE [OPTION=VALUE ...] [--only CHECK] [--json]",
      details = "Prints TAP. Each check runs in a process of its own, so that a plugin that crashes is one line. "
        .. "Options of the\n"
        .. "plugin may be given; the checks try other values of each option by themselves.",
      positional = {
        file_field,
        { name = "settings", type = "list", repeated = true, of = { name = "setting", type = "string", doc = "" },
          doc = "options of the plugin" },
      },
      options = { { name = "only", type = "string", value = "CHECK", doc = "one check, by its name" }, json_option },
      example = "sonde plugin test ./mine.so eps=1e-3", run = test,
    },
  },
}
