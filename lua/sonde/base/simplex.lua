--- simplex.lua - the least value of a function without derivatives (Nelder and Mead, 1965), for fits of a few
-- parameters to a few dozen numbers.

local simplex = {}

local ROUNDS = 4        -- a new simplex about the best point finds what a collapsed one missed

local function mixed(a, b, share)
  local x = {}
  for i = 1, #a do x[i] = a[i] + share * (b[i] - a[i]) end
  return x
end

local function corners_about(f, x, step)
  local corners = { { x = x, y = f(x) } }
  for i = 1, #x do
    local moved = mixed(x, x, 0)
    moved[i] = moved[i] + step
    corners[i + 1] = { x = moved, y = f(moved) }
  end
  return corners
end

local function centre_of(corners)
  local n, x = #corners - 1, {}
  for i = 1, n do
    x[i] = 0
    for k = 1, n do x[i] = x[i] + corners[k].x[i] / n end
  end
  return x
end

local function by_value(a, b) return a.y < b.y end

-- Replaces the worst corner, or draws all of them towards the best.
local function move(f, corners)
  local n = #corners - 1
  local worst, centre = corners[n + 1], centre_of(corners)
  local function try(share)
    local x = mixed(centre, worst.x, share)
    return { x = x, y = f(x) }
  end
  local new = try(-1)
  if new.y < corners[1].y then
    local further = try(-2)
    if further.y < new.y then new = further end
  elseif new.y >= corners[n].y then
    new = try(new.y < worst.y and -0.5 or 0.5)
  end
  if new.y < worst.y then
    corners[n + 1] = new
    return
  end
  for k = 2, n + 1 do
    local x = mixed(corners[1].x, corners[k].x, 0.5)
    corners[k] = { x = x, y = f(x) }
  end
end

--- A point where f is least, as far as the search from x goes, and the value there. A value that is no number counts
--- as infinite.
---@param f fun(x: number[]): number
---@param x number[]
---@param step number      how far the first corners are from x
---@param moves integer    at most, in each of four rounds
---@return number[] x, number y
function simplex.least(f, x, step, moves)
  local function value(at)
    local y = f(at)
    return y == y and y or math.huge
  end
  local best
  for _ = 1, ROUNDS do
    local corners = corners_about(value, best and best.x or x, step)
    table.sort(corners, by_value)
    for _ = 1, moves do
      if corners[#corners].y - corners[1].y <= 1e-9 * math.abs(corners[1].y) then break end
      move(value, corners)
      table.sort(corners, by_value)
    end
    best = corners[1]
  end
  return best.x, best.y
end

return simplex
