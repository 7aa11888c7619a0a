--- hooks.lua - functions of a script that a training calls between updates. doc/training.md shows some.

local core = require "sonde.core"
local format = require "sonde.base.format"

local hooks = {}

--- A hook: when it is called (exactly one of every and at), and with which name errors speak of it.
---@type sonde.schema
hooks.schema = {
  { name = "name", type = "string", doc = "for messages and records; default: its place in the list" },
  { name = "every", type = "integer", min = 1, max = 1000000000,
    doc = "called after each update whose number this divides" },
  { name = "at", type = "string", choices = { "evaluation", "end" },
    doc = "or after each evaluation, or once at the end" },
  { name = "call", type = "function", required = true,
    doc = "of the state; a text that it returns ends the training with that reason (not at the end)" },
}

--- Checks what the schema cannot, and names hooks that have no name.
---@param list table[]|nil
---@param where fun(): string
function hooks.check(list, where)
  local at = {}
  for i, hook in ipairs(list or {}) do
    hook.name = hook.name or tostring(i)
    if at[hook.name] then
      error(where() .. string.format("hooks %d and %d of train have one name, '%s'; give each its own", at[hook.name],
        i, hook.name), 0)
    end
    at[hook.name] = i
    if (hook.every == nil) == (hook.at == nil) then
      error(where() .. "hook '" .. hook.name .. "' of train needs either every, a number of updates, or at, "
        .. "\"evaluation\" or \"end\"", 0)
    end
  end
end

--- What waits for an evaluation, for messages; nil: none does.
---@param list table[]|nil
---@return string|nil
function hooks.awaits_evaluation(list)
  for _, hook in ipairs(list or {}) do
    if hook.at == "evaluation" then return "hook '" .. hook.name .. "' of train is called at evaluations" end
  end
end

--- The trainer's fields for these hooks: it returns where one is due.
---@param list table[]|nil
---@param fields table
function hooks.prepare(list, fields)
  local every = {}
  for _, hook in ipairs(list or {}) do
    if hook.every then every[#every + 1] = hook.every end
    if hook.at == "evaluation" then fields.hook_eval = true end
  end
  if #every > 0 then fields.hook_every = every end
end

local function due(hook, event, again)
  if hook.at == "end" then return event.diverged or event.done and (hook.again or not again) end
  if not event.hook then return false end
  if hook.at == "evaluation" then return event.evaluated end
  return event.step % hook.every == 0
end

-- A copy that belongs to the hook, with the model.
local function state_of(event, model)
  local state = { model = model }
  for key, value in pairs(event) do state[key] = value end
  return state
end

--- Calls the hooks that are due after an event of the trainer, in their order; the first reason that one returns ends
--- the training.
---@param list table[]|nil
---@param event table
---@param model sonde.model
---@param trainer userdata
---@param again boolean     it had ended before: hooks at the end were called then, and only those whose results are not
--- kept, which say `again`, are once more
function hooks.call(list, event, model, trainer, again)
  local stopped = false
  for _, hook in ipairs(list or {}) do
    if due(hook, event, again) then
      local ok, reason = pcall(hook.call, state_of(event, model))
      if not ok then
        if core.interrupted() then error(reason, 0) end
        error("hook '" .. hook.name .. "' at update " .. event.step .. ": " .. format.reason(reason), 0)
      end
      if reason ~= nil and (type(reason) ~= "string" or reason == "") then
        error("hook '" .. hook.name .. "' at update " .. event.step .. ": it returned "
          .. (reason == "" and "an empty text" or "a " .. type(reason))
          .. "; a text ends the training with that reason, nothing lets it go on", 0)
      end
      if reason and hook.at ~= "end" and not stopped then
        trainer:stop(string.format("hook '%s' at update %d of %d: %s", hook.name, event.step, event.steps, reason))
        stopped = true
      end
    end
  end
end

return hooks
