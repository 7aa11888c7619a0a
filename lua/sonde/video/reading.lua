--- reading.lua - how a model of frames reads clips: which numbers of each frame, how they are scaled, and what its
-- classes are. It is kept in the model's folder, so that the model can be used on videos that it was not trained on.

local core = require "sonde.core"
local args = require "sonde.base.args"
local features = require "sonde.video.features"

local reading = {}
local class = args.class("clip_reading", { __name = "sonde.clip_reading" })
class.__index = class
args.kind("clip_reading", "the reading of clips (of clips:feed)",
  function(v) return type(v) == "table" and getmetatable(v) == class end)

local FILE = "clips.json"
local KEPT = { "task", "labelled", "parts", "frames", "names", "baseline", "made_with", "features", "classes",
  "quiet" }
local CLIPS_AT_ONCE = 16

---@class sonde.clip_reading
---@field task "recognition"|"warning"
---@field features integer       numbers F of a frame
---@field frames integer         rows of a clip
---@field classes integer        2 of a warning: quiet, event
---@field names string[]         of the classes
---@field labelled integer       recognition: the last frames whose log-probabilities are averaged
---@field quiet string|nil       recognition: the class in which nothing happens, where one was named
---@field train sonde.clip[]     those that it was made of; none where it was opened from a folder
---@field validation sonde.clip[]

---@private
function reading.new(fields) return setmetatable(fields, class) end

-- ---- what feed.lua shares ------------------------------------------------------------------------------------------

--- The tensors of some nodes that need no input.
---@private
function reading.compute(nodes, inputs)
  local plan, results = core.plan(nodes), {}
  plan:run(inputs)
  for i = 1, #nodes do results[i] = plan:output(i) end
  plan:close()
  return results
end

-- (x - mean) * factor, and 0 where the mask is; x [rows, F] and mask [rows, 1] are nodes.
local function scaled_node(x, scale, mask)
  local graph = x:graph()
  return (x - graph:leaf("mean", scale.mean)) * graph:leaf("factor", scale.factor) * mask
end

--- (x - mean) * factor, and 0 where the mask is.
---@private
---@param x sonde.tensor        [N, T, F]
---@param scale {mean: sonde.tensor, factor: sonde.tensor}
---@param mask sonde.tensor     [N T, 1]
---@return sonde.tensor         [N, T, F]
function reading.scaled(x, scale, mask)
  local graph, dims = core.graph(), x:dims()
  local rows = graph:leaf("x", x):reshape { mask:dims()[1], dims[3] }
  local result = reading.compute({ scaled_node(rows, scale, graph:leaf("mask", mask)):reshape(dims) })[1]
  graph:close()
  return result
end

--- A plan that does so for one window again and again: inputs x [T, F] and mask [T, 1], output [1, T, F].
---@private
---@param scale sonde.clip_reading
---@return sonde.plan
function reading.scaler(scale)
  local graph, frames, width = core.graph(), scale.frames, scale.features
  local y = scaled_node(graph:input("x", "f32", { frames, width }), scale, graph:input("mask", "f32", { frames, 1 }))
  local plan = core.plan { y:reshape { 1, frames, width } }
  graph:close()
  return plan
end

--- The first row at or after the event, from 1; rows + 1: the event comes after all of them. Nil: nothing happens.
---@private
function reading.event_row(clip, rows, times)
  if not clip.event then return nil end
  for k = 1, rows do
    if times[k] >= clip.event then return k end
  end
  return rows + 1
end

--- Says how many clips cannot be used for warning. It is an error where none is left.
---@private
---@param what string       who says it
---@param left_out integer
---@param all integer       clips
---@param frames integer    of a clip that are read, the last ones
function reading.note_left_out(what, left_out, all, frames)
  if left_out == 0 then return end
  local text = string.format("%s: %d of %d clips are left out: among their last %d frames there are none to warn in "
    .. "before the event; with more frames there may be", what, left_out, all, frames)
  if left_out == all then error(core.where() .. text, 0) end
  core.warn(text)
end

--- Checks the name of the quiet class; refuse(text) raises.
---@private
---@param name string
---@param about {task: string, names: string[]}
---@param refuse fun(text: string)
function reading.check_quiet(name, about, refuse)
  if about.task == "warning" then refuse("the quiet class is named of recognition; a warning has one") end
  for _, each in ipairs(about.names) do
    if each == name then return end
  end
  refuse("there is no class '" .. name .. "'" .. args.hint(name, about.names))
end

-- ---- what a model says ---------------------------------------------------------------------------------------------

-- exp(logit) / sum of them, of C logits behind `at`.
local function softmax(logits, at, classes)
  local highest, sum, p = -math.huge, 0, {}
  for c = 1, classes do highest = math.max(highest, logits[at + c]) end
  for c = 1, classes do
    p[c] = math.exp(logits[at + c] - highest)
    sum = sum + p[c]
  end
  for c = 1, classes do p[c] = p[c] / sum end
  return p
end

--- What reads windows of frames, as many at a time: read(x [windows, T, F], scaled) gives the probabilities of the
--- classes by window, position and class; close() lets go of it.
---@private
---@param model sonde.model
---@param windows integer
---@param frames integer     T
---@return {read: (fun(x: sonde.tensor): number[][][]), close: fun()}
function class:reader(model, windows, frames)
  if self.features ~= model.config.features then
    error(core.where() .. string.format("the model reads %d numbers of a frame, the clips have %d",
      model.config.features or 0, self.features), 0)
  end
  local trace = model:init():trace { batch = windows, context = frames }
  local logits, classes = trace:logits(), self.classes
  local dims = logits:dims()
  if dims[#dims] ~= classes then
    trace.graph:close()
    error(core.where() .. string.format("the model has %d classes, the reading of clips %d (%s)", dims[#dims], classes,
      table.concat(self.names, ", ")), 0)
  end
  local plan = core.plan { logits }
  local function read(x)
    plan:run { features = x }
    local values, list = plan:output(1):values(), {}
    for n = 1, windows do
      list[n] = {}
      for k = 1, frames do list[n][k] = softmax(values, ((n - 1) * frames + k - 1) * classes, classes) end
    end
    return list
  end
  return { read = read, close = function()
    plan:close()
    trace.graph:close()
  end }
end

-- The probabilities of the classes at each position of some windows [N, T, F], scaled: by window, position and class.
local function probabilities(self, model, x)
  local dims, result = x:dims(), {}
  local windows, frames, width = dims[1], dims[2], dims[3]
  local batch = math.min(windows, CLIPS_AT_ONCE)
  local reader, some = self:reader(model, batch, frames), core.tensor("f32", { batch, frames, width })
  local flat = core.graph()
  local rows = reading.compute({ flat:leaf("x", x):reshape { windows * frames, width } * 1 })[1]
  flat:close()
  for first = 0, windows - 1, batch do
    local count = math.min(batch, windows - first)
    core.copy_rows(rows, some, 1, width, first * frames + 1, count * frames, 1, width)
    local list = reader.read(some)
    for n = 1, count do result[first + n] = list[n] end
  end
  reader.close()
  return result
end

local function data_of(self, part)
  local data = self.data and self.data[part]
  if not data then error(core.where() .. "clip_reading: there are no clips for " .. part, 0) end
  return data
end

--- What a model says of the clips of a split: for each clip the times of its rows (s) and at each of them the
--- probabilities of the classes.
---@param model sonde.model
---@param part? "train"|"validation"     default: validation
---@return {clip: sonde.clip, times: number[], p: number[][]}[]
function class:scores(model, part)
  local data, list = data_of(self, part or "validation"), {}
  local all = probabilities(self, model, data.features)
  for n, clip in ipairs(data.clips) do
    local rows, p = data.rows[n], {}
    for k = 1, rows do p[k] = all[n][self.frames - rows + k] end
    list[n] = { clip = clip, times = data.times[n], p = p }
  end
  return list
end

-- A clip as clip_metrics.warning takes it; nil: its event is before its first row.
local function for_warning(each)
  local clip, times, scores = each.clip, each.times, {}
  local rows = #times
  for k = 1, rows do scores[k] = each.p[k][2] end
  local event, from, to = reading.event_row(clip, rows, times), nil, nil
  if event == 1 or rows < 2 then return nil end
  for k = 1, rows do
    if clip.from and times[k] >= clip.from and times[k] < (clip.to or math.huge) then
      from, to = from or k - 1, k
    end
  end
  return { scores = scores, rate = (rows - 1) / (times[rows] - times[1]), event = event and event - 1, from = from,
    to = to }
end

-- The class of a clip, from 0, by the mean log-probability of its last frames.
local function recognised(p, labelled, classes)
  local best, most = 0, -math.huge
  for c = 1, classes do
    local sum = 0
    for k = math.max(1, #p - labelled + 1), #p do sum = sum + math.log(p[k][c]) end
    if sum > most then best, most = c - 1, sum end
  end
  return best
end

-- The clips of a split as clip_metrics.warning takes them, and how many there are with those that are left out.
local function warnings(self, model, part)
  local clips, scores = {}, self:scores(model, part)
  for _, each in ipairs(scores) do clips[#clips + 1] = for_warning(each) end
  return clips, #scores
end

--- How good a model is on the clips of validation: sonde.clip_metrics.recognition by the last frames of each,
--- or sonde.clip_metrics.warning by the risk of every frame. `clips` is how many were measured: those without a frame
--- before their event are left out, with a note.
---@param model sonde.model
---@param options? table     of sonde.clip_metrics
---@return table
function class:measure(model, options)
  local metrics = require "sonde.video.metrics"
  if self.task == "warning" then
    local clips, all = warnings(self, model)
    reading.note_left_out("measure", all - #clips, all, self.frames)
    return metrics.warning(clips, options)
  end
  local number, truth, guessed = {}, {}, {}
  for k, name in ipairs(self.names) do number[name] = k - 1 end
  for n, each in ipairs(self:scores(model)) do
    truth[n], guessed[n] = number[each.clip.class], recognised(each.p, self.labelled, self.classes)
  end
  return metrics.recognition(truth, guessed, self.classes, options)
end

--- A hook of sonde.train for the objective adalea: after each epoch it measures on the training clips how long before
--- the event the model warns (mean_tta of sonde.clip_metrics.warning), from which the next epoch's weights follow.
---@param batch integer     the training's
---@return table
function class:adalea(batch)
  local epoch = math.max(1, math.floor(#data_of(self, "train").rows / batch))
  return { name = "adalea", every = epoch, call = function(state)
    local measured = require("sonde.video.metrics").warning((warnings(self, state.model, "train")), { resamples = 0 })
    state.model:params():find("adalea.reached"):set(1, measured.mean_tta and measured.mean_tta.value or 0)
  end }
end

-- ---- on disk -------------------------------------------------------------------------------------------------------

--- Writes it into the folder of a model (clips.json), which is there.
---@param dir string
function class:save(dir)
  local kept = { mean = core.list(self.mean:values()), factor = core.list(self.factor:values()) }
  for _, key in ipairs(KEPT) do kept[key] = self[key] end
  core.write_file(dir .. "/" .. FILE, core.json_encode(kept) .. "\n")
end

local number = { name = "number", type = "number", doc = "" }
local part
for _, option in ipairs(features.array_schema) do
  if option.name == "parts" then part = option.of end
end

-- Of how features were made, what is read here and so must be there.
local SIZES = { "grid_width", "grid_height", "thumb_width", "thumb_height", "block" }

-- What the file holds.
local kept_schema = {
  { name = "task", type = "string", choices = { "recognition", "warning" }, required = true, doc = "of the model" },
  { name = "labelled", type = "integer", min = 1, required = true, doc = "last frames that are averaged" },
  { name = "parts", type = "list", some = true, required = true, of = part, doc = "what of a frame is read" },
  { name = "frames", type = "integer", min = 1, max = 1048576, required = true, doc = "rows of a clip" },
  { name = "names", type = "list", some = true, required = true, of = { name = "class", type = "string", doc = "" },
    doc = "of the classes" },
  { name = "baseline", type = "string", choices = { "mean", "looming" }, doc = "what is read in place of the parts" },
  { name = "made_with", type = "table", doc = "how features were made" },
  { name = "features", type = "integer", min = 1, required = true, doc = "numbers of a frame" },
  { name = "classes", type = "integer", min = 1, required = true, doc = "how many there are" },
  { name = "quiet", type = "string", doc = "the class in which nothing happens" },
  { name = "mean", type = "list", of = number, required = true, doc = "of each number" },
  { name = "factor", type = "list", of = number, required = true, doc = "of each number" },
}
local function check_fields(kept)
  local function nowhere() return "" end
  local checked = args.check(kept_schema, kept, "the file", nowhere)
  for _, name in ipairs(checked.made_with and SIZES or {}) do
    args.value({ name = "made_with." .. name, type = "integer", min = 0, max = 4096, required = true },
      checked.made_with[name], "the file", nowhere)
  end
  local possible, text = pcall(core.video_check, checked.made_with or {})
  if not possible then error("made_with: " .. string.sub(text, #core.where() + 1), 0) end
  return checked
end

-- What the file holds, checked.
local function check_kept(kept, refuse)
  if type(kept) ~= "table" then refuse("it must be an object") end
  local good, checked = pcall(check_fields, kept)
  if not good then refuse(checked) end
  if #checked.mean ~= checked.features or #checked.factor ~= checked.features then
    refuse(string.format("it has %d means and %d factors of %d features", #checked.mean, #checked.factor,
      checked.features))
  end
  if #checked.names ~= checked.classes then
    refuse(string.format("it has %d names of %d classes", #checked.names, checked.classes))
  end
  if checked.task == "warning" and checked.classes ~= 2 then refuse("a warning has two classes") end
  if checked.labelled > checked.frames then refuse("more frames are labelled than a clip has") end
  if checked.quiet then reading.check_quiet(checked.quiet, checked, refuse) end
  return checked
end

--- The reading that is in the folder of a model.
---@param dir string
---@return sonde.clip_reading
function reading.open(dir)
  local path = dir .. "/" .. FILE
  if not core.exists(path) then
    error(core.where() .. path .. ": there is no such file; the folder of a model of clips has it (about:save)", 0)
  end
  local function refuse(text) error(path .. ": does not say how a model reads clips: " .. text, 0) end
  local ok, kept = pcall(core.json_decode, core.read_file(path))
  if not ok then refuse(kept) end
  kept = check_kept(kept, refuse)
  for _, key in ipairs { "mean", "factor" } do kept[key] = core.tensor("f32", { 1, kept.features }, kept[key]) end
  kept.train, kept.validation = {}, {}
  return reading.new(kept)
end

local self = { name = "self", type = "clip_reading", required = true }

args.declare(class, "clip_reading:", {
  scores = { self, { name = "model", type = "model", required = true },
    { name = "part", type = "string", choices = { "train", "validation" } } },
  measure = { self, { name = "model", type = "model", required = true }, { name = "options", type = "table" } },
  adalea = { self, { name = "batch", type = "integer", min = 1, required = true } },
  save = { self, { name = "dir", type = "string", required = true } },
})

return args.declare(reading, "sonde.", {
  open = { as = "sonde.clip_reading", { name = "dir", type = "string", required = true } },
})
