--- pattern.lua - how much of a matrix is left: a share of its weights, or N of each M neighbours in a row ("2:4").

local core = require "sonde.core"
local args = require "sonde.base.args"

local pattern = { MOST = 256 }      -- neighbours of a group

---@class sonde.sparsity_pattern
---@field sparsity number        share of the weights that go
---@field keep? integer          N: weights of a group that stay
---@field group? integer         M: weights of a group

local function refuse(where, text)
  error(args.place(where) .. "sparsity: " .. text, 0)
end

--- Reads "2:4", 0.5 or "0.5".
---@param given number|string
---@param where? fun(): string
---@return sonde.sparsity_pattern
function pattern.read(given, where)
  local keep, group = string.match(tostring(given), "^(%d+):(%d+)$")
  if keep then
    keep, group = math.floor(tonumber(keep)), math.floor(tonumber(group))
    if keep < 1 or keep >= group or group > pattern.MOST then
      refuse(where, string.format("'%s' must keep fewer than the M of N:M, which is at most %d, and at least one",
        given, pattern.MOST))
    end
    return { sparsity = 1 - keep / group, keep = keep, group = group }
  end
  local share = tonumber(given)
  if not share or not (share >= 0 and share < 1) then
    refuse(where, "'" .. tostring(given) .. "' is neither a share from 0 to below 1 nor a pattern such as 2:4")
  end
  return { sparsity = share }
end

--- The same with less taken out: of the final sparsity the fraction `done`.
---@param whole sonde.sparsity_pattern
---@param done number      from 0 to 1
---@return sonde.sparsity_pattern
function pattern.part(whole, done)
  if not whole.group then return { sparsity = whole.sparsity * done } end
  local out = math.floor((whole.group - whole.keep) * done + 0.5)
  return { sparsity = out / whole.group, keep = whole.group - out, group = whole.group }
end

--- As text: "2:4", "0.5".
---@param of sonde.sparsity_pattern
---@return string
function pattern.text(of)
  return of.group and of.keep .. ":" .. of.group or string.format("%.14g", of.sparsity)
end

--- Refuses rows that are no whole groups.
---@param of sonde.sparsity_pattern
---@param matrices table[]      of params:list()
---@param where? fun(): string
function pattern.check(of, matrices, where)
  for _, param in ipairs(of.group and matrices or {}) do
    local inputs = param.dims[#param.dims]
    if inputs % of.group ~= 0 then
      error(args.place(where) .. string.format("%s has rows of %d weights, which are no whole groups of %d; choose "
        .. "another pattern, or other matrices", param.name, inputs, of.group), 0)
    end
  end
end

--- Takes the lowest scores out of the masks of {name, score, mask, weight}; weights that are out become 0.
---@param list table[]
---@param of sonde.sparsity_pattern
---@param scope "row"|"matrix"|"model"
function pattern.apply(list, of, scope)
  core.mask_lowest(list, { scope = scope, sparsity = of.sparsity, keep = of.keep, group = of.group })
end

return pattern
