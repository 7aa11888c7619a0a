--- session.lua - one measurement: the model, the windows of text, and the passes over them that all probes
-- share.
--
-- A job is a table:
--   nodes     function(base, edited): nodes [B, ..] of the traces of the model as it is and of the edited one
--   edit      an intervention, made by session:skip, :swap or :edit; nil: the model as it is
--   compares  whether `nodes` of an edited model uses the base too
--   scored    whether `nodes` needs the targets, as every loss does
--   before    function(start): called before each batch with the number (from 0) of its first window
--   each      function(tensors, start, first): takes the nodes' values after each batch, whose windows before
--             the first-th were seen already; it may give back a tensor [B, K] to be kept. Without it all
--             values are kept.
-- After session:compute, job.samples holds a tensor [B, K] for each batch.
--
-- Jobs that edit the model alike share its trace, and a graph of several traces computes what they have in
-- common once.

local core = require "sonde.core"
local documents = require "sonde.data.documents"
local front = require "sonde.base.front"
local machine = require "sonde.base.machine"
local windows = require "sonde.data.windows"

local EDITS = 8                   -- edited models in one graph

---@class sonde.session
---@field model sonde.model
---@field depth integer      blocks L
---@field width integer      D
---@field context integer    tokens T of a window
---@field batch integer      windows B computed at once
---@field rows integer       windows in all
---@field places integer[]   which windows of the text they are
---@field passes integer     forward passes so far, each over all windows
---@field options table      of sonde.probe
local session = {}
session.__index = session

--- A measurement on whole windows spread evenly over a source: all of them where `tokens` allows.
---@param model sonde.model
---@param source sonde.corpus|integer[]|sonde.tensor   a corpus stands for its validation text
---@param options table     context, tokens, batch, progress
---@return sonde.session
function session.open(model, source, options)
  local context = options.context
  if not context then      -- no more than the text and the tokens to take of it fill once
    local there = windows.open(source, model, 1):tokens() - 1
    context = math.min(512, model.config.context, math.max(2, math.min(there, options.tokens)))
  end
  if options.tokens < context then
    error(core.where() .. string.format("probe: %d tokens are less than one window of %d; give more tokens, or a "
      .. "smaller "
      .. "context", options.tokens, context), 0)
  end
  local stream = windows.open(source, model, context)
  local all = math.floor((stream:tokens() - 1) / context)
  local rows = math.min(all, math.floor(options.tokens / context))
  if rows < 1 then
    error(core.where() .. "probe: " .. stream:tokens() .. " tokens hold no whole window of " .. context
      .. " and a target; give a longer text" .. (context > 2 and ", or a smaller context" or ""), 0)
  end
  model:init()
  local batch = math.min(options.batch or windows.batch(context, rows), rows)
  return setmetatable({
    model = model, depth = model.config.depth, width = model.config.width, context = context, stream = stream,
    rows = rows, places = windows.spread(rows, all), batch = batch, options = options, passes = 0, edits = {},
    documents = documents.of_trace(options, source, model, "probe"),
    report = options.progress or function() end, label = "probe", part = 0, parts = 1,
  }, session)
end

--- Names what the next calls of session:compute are for, and how many they are: for the display of progress.
---@param label string
---@param parts integer
function session:begin(label, parts)
  self.label, self.part, self.parts = label, 0, parts
end

--- The intervention of that name, which probes then share.
---@param name string
---@param options table     of model:trace
---@return table
function session:edit(name, options)
  self.edits[name] = self.edits[name] or options
  return self.edits[name]
end

--- Without the blocks first..last, from 0.
---@param first integer
---@param last? integer
---@return table
function session:skip(first, last)
  local list = {}
  for index = first, last or first do list[#list + 1] = index end
  return self:edit("skip " .. first .. " " .. (last or first), { skip = list })
end

--- With the parameters of two blocks exchanged.
---@param a integer
---@param b integer
---@return table
function session:swap(a, b)
  return self:edit("swap " .. a .. " " .. b, { swap = { { a, b } } })
end

--- Mean loss of each window in nats, [B].
---@param trace sonde.trace
---@return sonde.node
function session.window_loss(trace)
  return trace.loss:reshape({ trace.batch, trace.context }):mean(2):reshape { trace.batch }
end

-- Jobs in groups that one graph each computes: {jobs, edits (a list), base}. Those of one edit stand
-- together.
local function grouped(jobs)
  local groups, place = {}, {}
  local function open()
    groups[#groups + 1] = { jobs = {}, edits = {}, base = false }
    return groups[#groups]
  end
  local plain
  for _, job in ipairs(jobs) do
    local group
    if not job.edit then
      plain = plain or groups[1] or open()
      group = plain
    else
      group = place[job.edit] or groups[#groups]
      if not place[job.edit] then
        if not group or #group.edits == EDITS then group = open() end
        group.edits[#group.edits + 1] = job.edit
        place[job.edit] = group
      end
    end
    group.base = group.base or not job.edit or job.compares == true
    group.jobs[#group.jobs + 1] = job
  end
  return groups
end

--- How many forward passes some jobs take.
---@param jobs table[]
---@return integer
function session.count(jobs)
  local passes = 0
  for _, group in ipairs(grouped(jobs)) do passes = passes + #group.edits + (group.base and 1 or 0) end
  return passes
end

local function flat(nodes, batch)
  local list = {}
  for i, node in ipairs(nodes) do
    if not core.is_node(node) then
      error(core.where() .. "a probe's nodes hold a " .. type(node) .. "; they are nodes", 0)
    end
    list[i] = node:reshape { batch, -1 }
  end
  return { require("sonde").concat(list, 2) }
end

-- The graph of a group: its plan, for each job where its nodes begin and how many they are, and whether
-- targets are needed.
local function planned(self, group)
  local function traced(graph, edit)
    local options = { batch = self.batch, context = self.context, graph = graph }
    for key, value in pairs(self.documents) do options[key] = value end
    for key, value in pairs(edit) do options[key] = value end
    return self.model:trace(options)
  end
  local base = traced(nil, {})
  local traces, nodes, parts, scored = {}, {}, {}, false
  for _, edit in ipairs(group.edits) do traces[edit] = traced(base.graph, edit) end
  for i, job in ipairs(group.jobs) do
    local own = job.nodes(base, traces[job.edit])
    if type(own) ~= "table" then
      error(core.where() .. "a probe's nodes give " .. type(own) .. "; they must give a list of nodes", 0)
    end
    if not job.each then own = flat(own, self.batch) end
    parts[i] = { first = #nodes + 1, count = #own }
    for _, node in ipairs(own) do nodes[#nodes + 1] = node end
    scored = scored or job.scored == true
  end
  return core.plan(nodes, { memory_budget = machine.memory() or 0 }), parts, scored
end

local function take(plan, job, part, start, first)
  local tensors = {}
  for i = 1, part.count do tensors[i] = plan:output(part.first + i - 1) end
  local kept = tensors[1]
  if job.each then kept = job.each(tensors, start, first) end
  job.samples[#job.samples + 1] = kept
end

-- The last batch begins where it is full; windows that were seen are left out by whoever takes it.
local function run(self, group, share)
  front.begin()
  local plan, parts, scored = planned(self, group)
  local places, tokens = {}, core.tensor("i32", { self.batch, self.context })
  local targets = core.tensor("i32", { self.batch * self.context })
  if plan:reads "tokens" then plan:set("tokens", tokens) end      -- linear blocks' Jacobians do not
  if scored then plan:set("targets", targets) end
  for row = 0, self.rows - 1, self.batch do
    local start = math.min(row, self.rows - self.batch)
    for i = 1, self.batch do places[i] = self.places[start + i] end
    self.stream:fill(places, tokens, targets)
    for _, job in ipairs(group.jobs) do
      if job.before then job.before(start) end
    end
    plan:run()
    for i, job in ipairs(group.jobs) do take(plan, job, parts[i], start, row - start + 1) end
    share((row + self.batch) / self.rows)
  end
  plan:close()
end

--- Computes jobs over all windows.
---@param jobs table[]
function session:compute(jobs)
  local all, done = self.count(jobs), 0
  for _, job in ipairs(jobs) do job.samples = {} end
  for _, group in ipairs(grouped(jobs)) do
    local passes = #group.edits + (group.base and 1 or 0)
    run(self, group, function(share)
      self.report((self.part + (done + passes * math.min(1, share)) / all) / self.parts, self.label)
    end)
    done = done + passes
  end
  self.passes, self.part = self.passes + all, self.part + 1
end

--- Which window (from 1) each row of the batches one after the other is; false where it was seen before.
---@return (integer|false)[]
function session:slots()
  local slots = {}
  for row = 0, self.rows - 1, self.batch do
    local start = math.min(row, self.rows - self.batch)
    for i = 0, self.batch - 1 do slots[#slots + 1] = start + i >= row and start + i + 1 or false end
  end
  return slots
end

return session
