-- gen-lua-api.lua - writes lua-api.md from the annotations in lua/sonde; `make lua-api` runs it.
--
-- Schemas are shown as the tables that the program itself checks options by.

local api = dofile(debug.getinfo(1, "S").source:match "^@(.*/)" .. "api.lua")

local out = {}
local function emit(...)
  out[#out + 1] = table.concat({ ... })
end

-- ---- writing ------------------------------------------------------------------------------------------------

local function code(text)
  return "`" .. text .. "`"
end

local function described(lines)
  local text = table.concat(lines, "\n"):gsub("%s+$", "")
  return text
end

local function emit_rows(rows)
  for _, row in ipairs(rows) do
    local name, kind, text = api.split(row)
    emit("- ", code(name), kind ~= "" and " " .. code(kind) or "", text ~= "" and ": " .. text or "")
  end
  if #rows > 0 then emit "" end
end

local function emit_function(doc, name)
  emit("### `", name, "(", doc.arguments, ")`\n")
  if #doc.lines > 0 then emit(described(doc.lines), "\n") end
  emit_rows(doc.params)
  for _, text in ipairs(doc.returns) do
    emit("Returns ", code(text), ".\n")
  end
end

local function emit_class(doc)
  local name, text = doc.class:match "^(%S+)%s*(.*)$"
  emit("### ", code(name), "\n")
  if text ~= "" then emit(text, ".\n") end
  emit_rows(doc.fields)
end

-- What a schema's field takes, in words.
local function takes(field)
  local words = field.type:gsub("|", " or ")
  if field.min and field.max then words = words .. (" %g to %g"):format(field.min, field.max)
  elseif field.min then words = words .. (" from %g"):format(field.min) end
  -- What modules there are depends on the plugins of a machine; placements and initialisations are the library's own.
  local choices = field.choices
  if type(choices) == "function" then choices = (field.name == "placement" or field.name == "init") and choices() end
  return choices and table.concat(choices, ", ") or words
end

local function preset(field)
  if field.required then return "required" end
  if field.preset == nil or type(field.preset) == "table" then return "" end
  return code(tostring(field.preset))
end

local function emit_schema(doc, file)
  emit(described(doc.lines), "\n\n| option | takes | default | |\n| --- | --- | --- | --- |")
  for _, field in ipairs(require(api.module_of(file))[doc.schema]) do
    if not field.hidden then
      emit("| ", code(field.name), " | ", takes(field), " | ", preset(field), " | ", (field.doc:gsub("|", "\\|")), " |")
    end
  end
  emit ""
end

local function emit_registry(registry)
  emit("| ", registry.kind, " | |\n| --- | --- |")
  for _, row in ipairs(registry:described()) do emit("| ", code(row[1]), " | ", (row[2]:gsub("|", "\\|")), " |") end
  emit ""
end

local function emit_file(file, prefix, wanted)
  for k, doc in ipairs(api.read(api.library .. file .. ".lua")) do
    if k == 1 and not doc.name and not doc.class and not doc.schema then
      local first = (doc.lines[1] or ""):gsub("^[%w_]+%.?%w* %- ", "")
      doc.lines[1] = first:sub(1, 1):upper() .. first:sub(2)
      emit(described(doc.lines), "\n")
    elseif doc.class then
      emit_class(doc)
    elseif doc.schema then
      emit_schema(doc, file)
    elseif doc.name and not doc.private and (not wanted or wanted[doc.name]) then
      local shown = wanted and wanted[doc.name] or doc.name
      emit_function(doc, (prefix or doc.owner .. doc.separator) .. shown)
    end
  end
end

emit "<!-- Made by doc/gen-lua-api.lua from the comments in lua/sonde; changes belong there. -->\n"
emit "# The Lua API\n"
for _, page in ipairs(api.pages) do
  emit("## ", page[1], "\n")
  if page[2] then emit(page[2], "\n") end
  for k = 3, #page do
    emit_file(page[k][1], page[k][2], page[k][3])
    if page[k].registry then emit_registry(require(api.module_of(page[k][1])).registry) end
  end
end
local text = table.concat(out, "\n"):gsub("\n\n\n+", "\n\n"):gsub("%s+$", "") .. "\n"
io.stdout:write(text)
