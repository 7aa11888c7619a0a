--- schedule.lua - what changes from update to update, such as the learning rate: a function or a list of points as one
-- number for each update, taken before the training begins, so that no Lua runs in it and a training that goes on has
-- the same.

local core = require "sonde.core"

local schedule = {}

local MOST = 10000000     -- updates that a list is made for

local function of_function(f, steps, where, name, what)
  return function(update)
    local rate = f(update, steps)
    if type(rate) ~= "number" or not (rate >= 0 and rate < math.huge) then
      error(string.format("%s%s gives %s at update %d of %d; it must give a number from 0, the %s", where(), name,
        rate ~= rate and "NaN" or tostring(rate), update, steps, what), 0)
    end
    return rate
  end
end

-- Straight between the points, and level before the first and after the last.
local function of_points(points, where, name, what)
  for k, point in ipairs(points) do
    if #point ~= 2 or point[2] < 0 or (k > 1 and point[1] <= points[k - 1][1]) then
      error(where() .. string.format("%s: point %d must be {update, %s}, with a later update than the point before it "
        .. "and a number from 0", name, k, what), 0)
    end
  end
  if #points == 0 then error(where() .. name .. ": a list of points has at least one", 0) end
  local k = 1
  return function(update)
    while points[k + 1] and points[k + 1][1] <= update do k = k + 1 end
    local a, b = points[k], points[k + 1]
    if not b or update <= a[1] then return a[2] end
    return a[2] + (b[2] - a[2]) * (update - a[1]) / (b[1] - a[1])
  end
end

--- The numbers of all updates, and what stands for them in a record.
---@param given function|table
---@param steps integer
---@param where fun(): string
---@param name string          for messages: "the schedule"
---@param what string          "rate over lr"
---@return number[] numbers, table text
function schedule.sample(given, steps, where, name, what)
  if steps > MOST then
    error(where() .. string.format("%s of one's own is for at most %d updates, not %d", name, MOST, steps), 0)
  end
  local is_function = type(given) == "function"
  local f = is_function and of_function(given, steps, where, name, what) or of_points(given, where, name, what)
  local rates, text = {}, {}
  for update = 1, steps do
    rates[update] = f(update)
    text[#text + 1] = string.format("%.17g", rates[update])
    if #text == 1000 then text = { core.sha256(table.concat(text, " ")) } end
  end
  return rates, { kind = is_function and "function" or "points", sha256 = core.sha256(table.concat(text, " ")) }
end

-- ---- what options of a training say of it -----------------------------------------------------------------------

local function count_steps(options, where)
  if (options.tokens == nil) == (options.steps == nil) then
    error(where() .. (options.steps and "train takes either tokens or steps, not both"
      or "train needs how long: give either tokens or steps"), 0)
  end
  return options.steps or math.ceil(options.tokens / (options.batch * options.context * options.accumulate))
end

-- Updates, where a number below 1 is a fraction of them all; there are `room` for them.
local function part(name, value, steps, room, where)
  local updates = math.floor((value < 1 and value * steps or value) + 0.5)
  if updates > room then
    error(string.format("%soption '%s' of train: %.0f updates do not fit into the %d that %s; give fewer, or a "
      .. "fraction below 1",
      where(), name, updates, room, room < steps and "the warm-up leaves" or "there are"), 0)
  end
  return updates
end

-- A cosine of one update falls nowhere: the first cycle, which is the shortest, has two.
local function check_cycles(o, where)
  local room, parts = o.steps - o.warmup, 0
  for i = 0, o.cycles - 1 do parts = parts + o.cycle_growth ^ i end
  if room < 2 * parts then
    error(string.format("%soption 'cycles' of train: %d cycles do not fit into the %d updates that %s, of which the "
      .. "first has two at least; give fewer%s", where(), o.cycles, room,
      o.warmup > 0 and "the warm-up leaves" or "there are",
      o.cycle_growth > 1 and ", or a smaller cycle_growth" or ""), 0)
  end
end

local MOST_TOKENS = 2 ^ 53

-- Options that the schedule does not read are mistakes: nobody would see that they change nothing.
local function refuse_unread(o, given, where)
  local function refuse(name, why)
    error(where() .. "option '" .. name .. "' of train has no effect: " .. why .. "; leave it out", 0)
  end
  if given.decay and o.schedule ~= "wsd" then
    refuse("decay", "the schedule is '" .. o.schedule .. "', and wsd alone has a last phase")
  end
  if given.min_lr and o.schedule == "constant" then refuse("min_lr", "the schedule is 'constant'") end
  if given.warmup_from and o.warmup == 0 then refuse("warmup_from", "there is no warm-up") end
end

--- Steps and tokens, which follow from each other.
---@param o table             options of a training, changed
---@param where fun(): string
function schedule.resolve_length(o, where)
  o.steps = count_steps(o, where)
  if 1.0 * o.steps * o.batch * o.context * o.accumulate > MOST_TOKENS then
    error(where() .. "train: batch, context, accumulate and steps give more than 2^53 tokens; make one of them smaller",
      0)
  end
  o.tokens = o.steps * o.batch * o.context * o.accumulate
end

--- The updates of warm-up and decay, or the rate of each update; refuses what the schedule does not read.
---@param o table             options of a training, changed
---@param given table         as they were given
---@param where fun(): string
function schedule.resolve(o, given, where)
  if type(o.schedule) == "string" then
    o.warmup = part("warmup", o.warmup, o.steps, o.steps, where)
    refuse_unread(o, given, where)
    o.decay = o.schedule == "wsd" and part("decay", o.decay, o.steps, o.steps - o.warmup, where) or nil
    if o.schedule == "cosine_restarts" then
      o.cycles, o.cycle_growth = o.cycles or 4, o.cycle_growth or 1
      check_cycles(o, where)
    elseif o.cycles or o.cycle_growth then
      error(string.format("%soption '%s' of train has no effect: the schedule is '%s'; cosine_restarts has cycles",
        where(),
        o.cycles and "cycles" or "cycle_growth", o.schedule), 0)
    end
    return
  end
  for _, key in ipairs { "warmup", "warmup_from", "min_lr", "decay", "cycles", "cycle_growth" } do
    if given[key] ~= nil then
      error(where() .. "option '" .. key .. "' of train has no effect: the schedule gives every update its rate", 0)
    end
    o[key] = nil
  end
  o.rates, o.schedule = schedule.sample(o.schedule, o.steps, where, "the schedule", "rate over lr")
end

return schedule
