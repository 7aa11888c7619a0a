--- packing.lua - sequences with shared beginnings as rows of tokens, each beginning once.
--
-- A row is a list of segments (op attention): a sequence is the first tokens of an earlier one and then a segment of
-- its own. What is computed for a token depends on its sequence alone, to the bit, so neither the order of the requests
-- nor the size of the rows changes a result.

local packing = {}

local SHARE = 4                       -- tokens a segment, at least, on average
local AHEAD = 64                      -- groups that are tried for what is left of a row

--- How many segments a row of `tokens` has room for.
---@param tokens integer
---@return integer
function packing.most_segments(tokens) return math.max(1, math.floor(tokens / SHARE)) end

---@class sonde.request      tokens to score behind others
---@field context integer[]        at least one token
---@field continuation integer[]   at least one token

---@class sonde.row
---@field tokens integer[]      of all segments
---@field positions integer[]   of each token in its sequence
---@field segments integer[]    first, length, parent and depth of each
---@field rows integer[]        the places (from 0) of the tokens that are scored with `targets`
---@field targets integer[]
---@field owners integer[]      the number of the request of each
---@field distinct integer      tokens
---@field requests integer      how many
local row = {}
row.__index = row

--- The tokens that a request's continuation is predicted from: all but the last, at most `longest` of them from the
--- end.
---@param request sonde.request
---@param longest integer
---@return integer[] ids, integer scored   how many of the last predict a token of the continuation
function packing.sequence(request, longest)
  local ids, n, m = {}, #request.context, #request.continuation
  local skip = math.max(0, n + m - 1 - longest)
  for k = skip + 1, n do ids[k - skip] = request.context[k] end
  for k = 1, m - 1 do
    if n + k > skip then ids[n + k - skip] = request.continuation[k] end
  end
  return ids, m
end

local function new_row(capacity)
  return setmetatable({ capacity = capacity, tokens = {}, positions = {}, segments = {}, rows = {}, targets = {},
    owners = {}, last = {}, path = {}, requests = 0 }, row)
end

local function shared(a, b)
  local n = math.min(#a, #b)
  for k = 1, n do
    if a[k] ~= b[k] then return k - 1 end
  end
  return n
end

-- Whether a group of sequences fits behind what is there.
local function fits(self, group)
  local tokens, segments, scored, last = #self.tokens, #self.segments / 4, #self.rows, self.last
  for _, sequence in ipairs(group) do
    local new = #sequence.ids - shared(last, sequence.ids)
    tokens, segments, scored, last = tokens + new, segments + 1, scored + sequence.scored, sequence.ids
  end
  return tokens <= self.capacity and segments <= packing.most_segments(self.capacity) and scored <= self.capacity
end

-- The path is the segments of the last sequence: {number, depth, first}.
local function add(self, sequence)
  local ids, depth = sequence.ids, shared(self.last, sequence.ids)
  local path, tokens, first = self.path, self.tokens, #self.tokens
  if depth < #ids then
    while #path > 0 and path[#path].depth >= depth do path[#path] = nil end
    local parent, segments = path[#path], self.segments
    path[#path + 1] = { number = #segments / 4, depth = depth, first = first }
    for _, value in ipairs { first, #ids - depth, parent and parent.number or -1, depth } do
      segments[#segments + 1] = value
    end
    for k = depth + 1, #ids do
      first = first + 1
      tokens[first], self.positions[first] = ids[k], k - 1
    end
    self.last = ids
  end
  self.requests = self.requests + 1
  local at, continuation = #path, sequence.continuation
  for k = sequence.scored, 1, -1 do            -- from the end, so that the path is walked up
    local place = #ids - (sequence.scored - k) - 1
    while path[at].depth > place do at = at - 1 end
    local n = #self.rows + 1
    self.rows[n], self.targets[n], self.owners[n] = path[at].first + place - path[at].depth, continuation[k],
      sequence.number
  end
end

--- Packs requests into rows of at most `capacity` tokens. Requests of one group (of one document) share a row.
---@param requests sonde.request[]
---@param groups integer[][]     the numbers of the requests, together in a row
---@param longest integer        tokens that the model takes
---@param capacity integer       at least `longest`
---@return fun(): sonde.row|nil
function packing.rows(requests, groups, longest, capacity)
  local waiting, next_group = {}, 1
  local function refill()
    while #waiting < AHEAD and groups[next_group] do
      local group = {}
      for k, number in ipairs(groups[next_group]) do
        local ids, scored = packing.sequence(requests[number], longest)
        group[k] = { ids = ids, scored = scored, number = number, continuation = requests[number].continuation }
      end
      waiting[#waiting + 1], next_group = group, next_group + 1
    end
  end
  return function()
    refill()
    if #waiting == 0 then return nil end
    local this, k = new_row(capacity), 1
    while waiting[k] do
      if fits(this, waiting[k]) then
        for _, sequence in ipairs(table.remove(waiting, k)) do add(this, sequence) end
        refill()
      elseif #this.tokens == 0 then      -- a group that no row takes whole
        local group = waiting[k]
        repeat add(this, table.remove(group, 1)) until not fits(this, { group[1] })
      else
        k = k + 1
      end
    end
    this.distinct = #this.tokens
    return this
  end
end

return packing
