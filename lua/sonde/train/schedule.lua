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

return schedule
