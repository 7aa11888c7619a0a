--- sumo.lua - traffic by SUMO (Lopez et al. 2018) as trajectories: a grid of streets with pavements, crossings and
-- lanes for bicycles, and drivers who are less careful than SUMO's own. Only `sumo` and `netgenerate` are run.

local core = require "sonde.core"

local sumo = {}

local SIDE, LENGTH = 4, 120             -- junctions along each side of the grid, metres between them
local WARM_UP = 30                      -- seconds in which the streets fill
local EVERY = { car = 0.8, bicycle = 2, person = 0.8 }  -- seconds between two departures

-- Between SUMO's defaults and recklessness: yield at 2 hours of driving is several encounters under half a second.
local DRIVER = 'sigma="0.8" tau="0.5" minGap="1" speedFactor="normc(1.2,0.2,0.6,2)" jmIgnoreFoeProb="0.05" '
  .. 'jmIgnoreFoeSpeed="15" jmTimegapMinor="0.3" impatience="0.7"'
local SHAPES = { { 4.0, 1.74, 30 }, { 4.6, 1.80, 28 }, { 4.5, 1.86, 24 }, { 5.3, 1.95, 9 }, { 7.4, 2.30, 6 },
  { 10.5, 2.50, 3 } }                   -- length, width, per cent: sonde_car_size

local function quote(text) return "'" .. string.gsub(text, "'", "'\\''") .. "'" end

-- Runs a program; what it says goes into an error.
local function run(program, words)
  local line = {}
  for k, word in ipairs(words) do line[k] = quote(word) end
  local pipe = assert(io.popen("LC_ALL=C SUMO_HOME=${SUMO_HOME:-/usr/share/sumo} " .. program .. " "
    .. table.concat(line, " ") .. " 2>&1 </dev/null; echo status $?", "r"))
  local text = pipe:read "*a"
  pipe:close()
  local said, status = string.match(text, "^(.-)status (%d+)\n$")
  if status == "0" then return end
  local first = string.match(said or "", "Error: ([^\n]+)") or string.match(said or "", "([^\n]+)") or "it said nothing"
  if status == "127" then first = "it is not installed; Debian: apt install sumo" end
  error(core.where() .. program .. " failed: " .. first, 0)
end

local function network(path)
  run("netgenerate", { "--grid", "--grid.number", tostring(SIDE), "--grid.length", tostring(LENGTH),
    "--sidewalks.guess", "--crossings.guess", "--bikelanes.guess", "--default-junction-type", "priority", "--seed", "1",
    "-o", path .. ".part.xml" })
  assert(os.rename(path .. ".part.xml", path))
end

-- Draws whole numbers from 0 up to n - 1, the same in any Lua.
local function draws(seed)
  local state = seed % 2147483646 + 1
  return function(n)
    state = state * 48271 % 2147483647
    return math.floor(state / 2147483647 * n)
  end
end

local function edges()
  local function name(x, y) return string.char(65 + x) .. string.format("%d", y) end
  local list = {}
  for x = 0, SIDE - 1 do
    for y = 0, SIDE - 1 do
      if x + 1 < SIDE then list[#list + 1] = { name(x, y), name(x + 1, y) } end
      if y + 1 < SIDE then list[#list + 1] = { name(x, y), name(x, y + 1) } end
    end
  end
  for k = 1, #list do list[#list + 1] = { list[k][2], list[k][1] } end
  for k, each in ipairs(list) do list[k] = each[1] .. each[2] end
  return list
end

-- One road user from one street to another.
local function trip(kind, n, time, from, to, shape)
  if kind == "person" then
    return string.format('<person id="p%d" depart="%.2f"><walk from="%s" to="%s"/></person>', n, time, from, to)
  end
  return string.format('<trip id="%s%d" type="%s" depart="%.2f" from="%s" to="%s" departLane="best" '
    .. 'departSpeed="max"/>', string.sub(kind, 1, 1), n, kind == "car" and "car" .. shape or kind, time, from, to)
end

local function demand(path, seed, seconds)
  local draw, list, streets, trips = draws(seed), { "<routes>" }, edges(), {}
  for k, s in ipairs(SHAPES) do
    list[#list + 1] = string.format('<vType id="car%d" length="%.2f" width="%.2f" %s/>', k - 1, s[1], s[2], DRIVER)
  end
  list[#list + 1] = '<vType id="bicycle" vClass="bicycle" length="1.75" width="0.6" minGap="0.5"/>'
  for _, kind in ipairs { "car", "bicycle", "person" } do
    for n = 1, math.floor(seconds / EVERY[kind]) do
      local time, from, to = (n - 1 + draw(1000) / 1000) * EVERY[kind], draw(#streets) + 1, draw(#streets) + 1
      local shape, percent = 0, draw(100)
      for k, s in ipairs(SHAPES) do
        if percent >= s[3] then percent, shape = percent - s[3], math.min(k, #SHAPES - 1) else break end
      end
      if from ~= to then
        trips[#trips + 1] = { time, #trips, trip(kind, n, time, streets[from], streets[to], shape) }
      end
    end
  end
  table.sort(trips, function(a, b) return a[1] < b[1] or a[1] == b[1] and a[2] < b[2] end)
  for _, each in ipairs(trips) do list[#list + 1] = each[3] end
  list[#list + 1] = "</routes>\n"
  core.write_file(path, table.concat(list, "\n"))
end

--- The trajectories of the n-th run of a seed, in the folder; a file that is there already is taken as it is, so its
--- name says of what seed and how many seconds it is.
---@param folder string
---@param seed integer
---@param n integer      from 1
---@param seconds integer
---@return string path
function sumo.trajectories(folder, seed, n, seconds)
  local name = string.format("%s/seed%d-%ds-%d", folder, seed, seconds, n)
  local path = name .. ".fcd.xml.gz"
  if core.exists(path) then return path end
  core.mkdirs(folder)
  local net = folder .. "/net.xml"
  if not core.exists(net) then network(net) end
  demand(name .. ".rou.xml", seed * 1009 + n, seconds + WARM_UP)
  run("sumo", { "-n", net, "-r", name .. ".rou.xml", "--seed", string.format("%d", (seed * 1009 + n) % 2147483647),
    "--step-length", "0.1", "-b", "0", "-e", string.format("%d", seconds + WARM_UP), "--device.fcd.begin",
    string.format("%d", WARM_UP), "--lanechange.duration", "2", "--no-step-log", "--no-warnings",
    "--ignore-route-errors", "--xml-validation", "never", "--collision.action", "none", "--fcd-output",
    name .. ".part.xml.gz", "--fcd-output.attributes", "x,y,angle,speed,type" })
  assert(os.rename(name .. ".part.xml.gz", path))
  return path
end

return sumo
