--- reads.lua - the files of teachers that a trial has read: folders of models, caches and sequences of `sonde teach`.
-- Their hashes are in the trial's run.json ("reads"); trials whose teacher was made anew since are not kept silently
-- (sweep/changes.lua).

local core = require "sonde.core"
local current = require "sonde.base.current"

local reads = { hash = {} }

local hash = reads.hash

--- The weights in a folder.
---@param path string
---@return string
function hash.model(path)
  local names, parts = {}, {}
  for _, name in ipairs(core.list_dir(path)) do
    if name:find "%.safetensors$" then names[#names + 1] = name end
  end
  table.sort(names)
  for k, name in ipairs(names) do parts[k] = name .. " " .. core.file_sha256(path .. "/" .. name) end
  return core.sha256(table.concat(parts, "\n"))
end

-- Its header says what it is of, and what is lost in it.
function hash.cache(path)
  local cache = core.teacher_cache(path)
  local text = core.json_encode { info = cache:info(), losses = cache:losses() }
  cache:close()
  return core.sha256(text)
end

function hash.sequences(path)
  return core.file_sha256(path .. ".json")
end

--- Records with the trial that runs now, if one does, that it reads a teacher's file. What lies in its own folder is
--- its own.
---@param kind "model"|"cache"|"sequences"
---@param path string
function reads.note(kind, path)
  local run = current.run()
  if not run or string.sub(path, 1, #run:dir() + 1) == run:dir() .. "/" then return end
  local list = core.list()
  for _, entry in ipairs(run:record().reads or {}) do
    if entry.path ~= path then list[#list + 1] = entry end
  end
  list[#list + 1] = { kind = kind, path = path, sha256 = hash[kind](path) }
  run:describe { reads = list }
end

--- In which of the files that a trial has read others are there now: "cache book.teach (was 0123.., now 4567..)". One
--- that is gone is not compared.
---@param list table[]|nil    of run.json
---@param now table           what was found so far, to look at each file once
---@return string[]
function reads.changed(list, now)
  local texts = {}
  for _, entry in ipairs(list or {}) do
    local path = entry.path
    if now[path] == nil and core.exists(path) then
      local ok, is = pcall(hash[entry.kind], path)
      now[path] = ok and is or "unreadable"
    end
    if now[path] and now[path] ~= entry.sha256 then
      texts[#texts + 1] = string.format("%s %s (was %.12s, now %.12s)", entry.kind, path, entry.sha256, now[path])
    end
  end
  return texts
end

return reads
