-- Every probe against PyTorch (tests/reference/make_probes.py); the estimates against the exact matrix.

local lu = require "luaunit"
local sonde = require "sonde"
local core = require "sonde.core"

local folder = os.getenv("abs_srcdir") .. "/tests/reference/llama_probes"
local expected = core.json_load(folder .. "/expected.json")

local BOUND = 2e-5                  -- of f32 beside f64, relative to the largest value of a probe

local wanted = {}
for name in pairs(expected.probes) do
  if not string.find(name, " ") then wanted[#wanted + 1] = name end
end
table.sort(wanted)
wanted[#wanted + 1] = "jacobian_estimate"

-- A batch that does not divide the windows: the last one overlaps.
local _, details = sonde.probe(sonde.load(folder), expected.tokens, wanted, { context = expected.context, batch = 4 })

local function flat(value, list)
  list = list or {}
  if type(value) == "table" then
    for _, item in ipairs(value) do flat(item, list) end
  else
    list[#list + 1] = value
  end
  return list
end

local function check(name, got, want)
  local a, b, largest = flat(got), flat(want), 0
  lu.assertEquals(#a, #b, name)
  for _, x in ipairs(b) do largest = math.max(largest, math.abs(x)) end
  for i, x in ipairs(b) do
    local off = math.abs(a[i] - x) / largest
    lu.assertTrue(off < BOUND, name .. " " .. i .. ": " .. a[i] .. " for " .. x .. ", off by " .. off)
  end
end

TestReference = {}

for name, want in pairs(expected.probes) do
  TestReference["test_" .. string.gsub(name, " ", "_")] = function()
    local probe, scalar = string.match(name, "^(%S+) ?(.*)$")
    local entry = details.probes[probe]
    check(name, scalar == "" and entry.values or entry.scalars[scalar].value, want)
  end
end

function TestReference:test_every_figure_has_an_interval()
  for name, entry in pairs(details.probes) do
    local values, ci = flat(entry.values), flat(entry.ci or {})
    lu.assertEquals(#ci, string.find(name, "^weight_") and 0 or 2 * #values, name)      -- weights are not of a text
    if #ci == 0 then values = {} end
    for i = 1, #values do lu.assertTrue(ci[2 * i - 1] <= ci[2 * i], name) end
    for _, scalar in pairs(#ci > 0 and entry.scalars or {}) do lu.assertTrue(scalar.ci[1] <= scalar.ci[2], name) end
    lu.assertTrue(#entry.definition > 20, name)
  end
  lu.assertEquals(details.windows, 6)
  lu.assertEquals(details.tokens, 120)
end

-- Random vectors: within what so many of them leave open. The largest singular value is not random.
function TestReference:test_jacobian_estimate()
  for block, exact in ipairs(expected.probes.jacobian) do
    local got, ci = details.probes.jacobian_estimate.values[block], details.probes.jacobian_estimate.ci[block]
    lu.assertTrue(math.abs(got[1] / exact[1] - 1) < 0.35, got[1] .. " for " .. exact[1])
    lu.assertTrue(math.abs(got[2] - exact[3]) < 0.3, got[2] .. " for " .. exact[3])
    lu.assertTrue(math.abs(got[3] / exact[5] - 1) < 0.35, got[3] .. " for " .. exact[5])
    lu.assertTrue(math.abs(got[4] / exact[6] - 1) < 1e-5, got[4] .. " for " .. exact[6])
    lu.assertTrue(ci[1][1] < exact[1] and exact[1] < ci[1][2] * 1.2)
  end
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
