-- made.lua - numbers that follow from a name, the same as in tests/reference/make_norms.py.
local made = {}

local crc = {}
for n = 0, 255 do
  local c = n
  for _ = 1, 8 do c = (c & 1) == 1 and 0xedb88320 ~ (c >> 1) or c >> 1 end
  crc[n] = c
end

local function crc32(text)
  local c = 0xffffffff
  for i = 1, #text do c = crc[(c ~ text:byte(i)) & 0xff] ~ (c >> 8) end
  return c ~ 0xffffffff
end

--- n numbers in [lo, hi).
function made.numbers(name, n, lo, hi)
  local seed, list = crc32(name), {}
  for i = 0, n - 1 do
    local h = (i + seed) & 0xffffffff
    h = ((h ~ (h >> 16)) * 0x7feb352d) & 0xffffffff
    h = ((h ~ (h >> 15)) * 0x846ca68b) & 0xffffffff
    h = h ~ (h >> 16)
    list[i + 1] = lo + (hi - lo) * ((h >> 8) / 0x1000000)
  end
  return list
end

--- Gives every parameter of a model such numbers, and computes its buffers. Returns the model.
function made.fill(model)
  local params = model:params()
  for _, param in ipairs(params:list()) do
    local tensor, middle = params:find(param.name), param.role == "gain" and 1 or 0
    if param.role ~= "buffer" then
      tensor:fill(made.numbers(param.name, tensor:count(), middle - 0.5, middle + 0.5))
    end
  end
  return model:refresh()
end

--- The parameters that are trained, in the order of their names.
function made.trained(model)
  local list = {}
  for _, param in ipairs(model:params():list()) do
    if param.role ~= "buffer" then list[#list + 1] = param end
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

return made
