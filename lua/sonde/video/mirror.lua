--- mirror.lua - clips as a camera would see them in a mirror: left and right exchanged, in their features.

local core = require "sonde.core"

local mirror = {}

local FIGURES, CELL = 16, 5                      -- columns of a row: src/video/analyse.h
local PLANAR = 8                                 -- figures in front of the parameters of the camera's motion
local TURNED = { 0, 2, 4, 6 }                    -- those whose sign changes with that of x and u: src/video/planar.h

-- Columns of a picture [height, width, numbers]: from where each comes.
local function picture(height, width, numbers)
  local from = {}
  for y = 0, height - 1 do
    for x = 0, width - 1 do
      for c = 1, numbers do from[#from + 1] = (y * width + width - 1 - x) * numbers + c end
    end
  end
  return from
end

--- From which column of a part each of the mirrored one comes, and the columns whose sign changes; nil: the part has no
--- left and right.
---@param part string
---@param info table     grid_width, grid_height, thumb_width, thumb_height, thumb_bytes
---@return integer[]|nil from, table<integer, boolean>|nil turned
function mirror.columns(part, info)
  local turned = {}
  if part == "picture" or part == "objects" then return nil end
  if part == "thumbnail" then return picture(info.thumb_height, info.thumb_width, info.thumb_bytes), turned end
  if part == "figures" then
    local from = {}
    for k = 1, FIGURES do from[k] = k end
    for _, a in ipairs(TURNED) do turned[PLANAR + a + 1] = true end
    return from, turned
  end
  for k = 1, info.grid_width * info.grid_height * CELL, CELL do turned[k] = true end     -- u
  return picture(info.grid_height, info.grid_width, CELL), turned
end

-- [F, F]: the product of a row with it is the mirrored row.
local function matrix(parts, info, width)
  local values, at = {}, 0
  for i = 1, width * width do values[i] = 0 end
  for _, part in ipairs(parts) do
    local from, turned = mirror.columns(part, info)
    if not from then error(core.where() .. "arrays: '" .. part .. "' has no left and right to mirror", 0) end
    for k, j in ipairs(from) do values[(at + k - 1) * width + at + j] = turned[k] and -1 or 1 end
    at = at + #from
  end
  return core.tensor("f32", { width, width }, values)
end

--- The rows of features, and behind them the same mirrored.
---@param x sonde.tensor     [N, T, F] of these parts
---@param parts string[]
---@param info table
---@return sonde.tensor      [2 N, T, F]
function mirror.doubled(x, parts, info)
  local dims = x:dims()
  local rows, width = dims[1] * dims[2], dims[3]
  local graph = core.graph()
  local own = graph:leaf("x", x):reshape { rows, width }
  local turned = own:linear(graph:leaf("mirror", matrix(parts, info, width)))
  local plan, both = core.plan { own * 1, turned }, core.tensor("f32", { 2 * dims[1], dims[2], width })
  plan:run {}
  for k = 1, 2 do
    core.copy_rows(plan:output(k), both, (k - 1) * rows * width + 1, width, 1, rows, 1, width)
  end
  plan:close()
  graph:close()
  return both
end

return mirror
