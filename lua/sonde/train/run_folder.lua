--- run_folder.lua - the run folder of a training: which one it is, whether what it holds was made with the same model,
-- options and text, and what is written down of them.

local core = require "sonde.core"
local changes = require "sonde.train.changes"
local current = require "sonde.base.current"
local front = require "sonde.base.front"
local record = require "sonde.train.record"
local start = require "sonde.train.start"

local run_folder = {}

local shown_only = {
  dir = true, save = true, progress = true, profile = true, rates = true, accept_changes = true, redo = true,
  hooks = true, log = true, teachers = true, divergence = true, courses = true,
}

-- How the training will be recorded: without what only concerns where and how it is shown.
local function configuration(model, corpus, o, run)
  local kept = {}
  for key, value in pairs(o) do
    if not shown_only[key] then kept[key] = value end
  end
  local text = { name = corpus.spec, sha256 = corpus.hash, vocab = corpus.vocab }
  local there = changes.configuration_of(run:dir())
  return {
    model = record.model(model), train = kept, corpus = text,
    begins_with = start.begins_with(model, o, run, there and there.begins_with),
  }
end

-- The folder of this training: the one that options.dir names, or the sweep's, or, for a second training in the sweep's
-- trial, one inside it. The second result: whether the caller ends the run.
local function open_folder(o)
  if o.dir then return core.run_open(record.split(o.dir)), true end
  local run = current.run()
  if not run then return nil, false end
  local n = (current.trained[run] or 0) + 1
  current.trained[run] = n
  if n == 1 then return run, false end
  return core.run_open(run:dir(), string.format("train-%d", n)), true
end

--- Opens the run and compares it with the training that the script describes.
---@param model sonde.model
---@param corpus sonde.corpus|sonde.feed
---@param o table                options of train, resolved
---@return sonde.run|nil run     nil: nothing is kept
---@return boolean own           whether the caller ends the run
---@return function|nil commit   writes down what the training is made with
---@return boolean finished      the run is done, and nothing of its record changes
---@return boolean ended         the run was done, which it is no more where updates are left
function run_folder.open(model, corpus, o)
  local run, own = open_folder(o)
  local config
  local ok, finished, commit = pcall(function()
    start.check_source(o, corpus, run)
    if not run then return end
    config = configuration(model, corpus, o, run)
    return changes.settle(run, config, record.plugins(model, o), o)
  end)
  if not ok then                                     -- the record of another run is as it was
    if own then run:close() end
    error(finished, 0)
  end
  if not run then return nil, false, nil, false, false end
  local ended = own and run:is_done()
  finished = finished and ended
  if own and not finished then run:begin(front.command_line()) end
  return run, own, function()
    local plugins = commit()
    if finished then return end
    run:describe {
      corpus = { name = corpus.spec, sha256 = corpus.hash, tokenizer = corpus.tokenizer_hash }, plugins = plugins,
      from = start.facts(o, run, config.begins_with),
    }
  end, finished, ended
end

return run_folder
