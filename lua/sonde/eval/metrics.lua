--- metrics.lua - what is measured of a task's documents, and how sure it is: the definitions of
-- lm-evaluation-harness. doc/evaluation.md gives the formulas.

local core = require "sonde.core"
local sorted_keys = require "sonde.base.sorted_keys"
local text = require "sonde.eval.text"

local metrics = {}

---@class sonde.scored      a document with its likelihoods
---@field item sonde.item
---@field sums number[]      log-likelihood of each choice, or of the target or the text
---@field greedy boolean[]   of each

-- The place (from 0) of the largest, the first of equals.
local function best(values)
  local at = 1
  for k = 2, #values do
    if values[k] > values[at] then at = k end
  end
  return at - 1
end

local function hit(values, answer) return best(values) == answer and 1 or 0 end

-- Log-likelihoods over the length of each choice, without the delimiter.
local function normed(doc, length)
  local values = {}
  for k, choice in ipairs(doc.item.contexts or doc.item.choices) do values[k] = doc.sums[k] / length(choice) end
  return hit(values, doc.item.answer)
end

local function mean(values)
  local sum = 0
  for _, x in ipairs(values) do sum = sum + x end
  return sum / #values
end

-- The mean, and the standard error sqrt(sum (x - m)^2 / (n - 1)) / sqrt(n).
local function mean_error(values, resamples)
  local m, squares = mean(values), 0
  if #values == 1 or resamples == 0 then return m end
  for _, x in ipairs(values) do squares = squares + (x - m) * (x - m) end
  return m, math.sqrt(squares / (#values - 1)) / math.sqrt(#values)
end

local function bootstrapped(name)
  return function(values, resamples)
    return core.bootstrap(name, values, #values > 1 and resamples or 0)
  end
end

-- The mean over the classes of F1 of one against the rest. Values are {gold, predicted}.
local function mean_f1(values)
  local classes, sum, n = 0, 0, 0
  for _, pair in ipairs(values) do classes = math.max(classes, pair[1], pair[2]) end
  for class = 0, classes do
    local hits, wrong = 0, 0
    for _, pair in ipairs(values) do
      if pair[1] == class and pair[2] == class then hits = hits + 1
      elseif pair[1] == class or pair[2] == class then wrong = wrong + 1 end
    end
    sum, n = sum + (hits > 0 and 2 * hits / (2 * hits + wrong) or 0), n + 1
  end
  return sum / n
end

-- exp(-sum ll / sum of the lengths).
local function per(length, finish)
  return {
    kind = "rolling", higher = false,
    of = function(doc) return { doc.sums[1], length(doc.item.text) } end,
    sum = function(values)
      local total, lengths = 0, 0
      for _, pair in ipairs(values) do total, lengths = total + pair[1], lengths + pair[2] end
      return finish(total / lengths)
    end,
  }
end

local function exp_less(x) return math.exp(-x) end
local function bytes(s) return #s end

-- kind: of the tasks it is for; of: the value of a document; sum: of all values, with the standard error where there is
-- one; label: its name in results.
local known = {
  acc = {
    of = function(doc)
      if doc.item.target then return doc.greedy[1] and 1 or 0 end
      return hit(doc.sums, doc.item.answer)
    end,
    sum = mean_error, higher = true, greedy = true, averaged = true,
  },
  acc_norm = {
    kind = "multiple_choice", of = function(doc) return normed(doc, text.length) end, sum = mean_error, higher = true,
    averaged = true,
  },
  acc_bytes = {
    kind = "multiple_choice", of = function(doc) return normed(doc, bytes) end, sum = mean_error, higher = true,
    averaged = true,
  },
  f1 = {
    kind = "multiple_choice", higher = true, sum = bootstrapped "f1",
    of = function(doc) return 2 * math.min(1, doc.item.answer) + math.min(1, best(doc.sums)) end,
  },
  f1_mean = {
    kind = "multiple_choice", higher = true, label = "f1", sum = mean_f1,
    of = function(doc) return { doc.item.answer, best(doc.sums) } end,
  },
  perplexity = {
    kind = "cloze", higher = false, sum = bootstrapped "perplexity", of = function(doc) return doc.sums[1] end,
  },
  word_perplexity = per(text.words, exp_less), byte_perplexity = per(bytes, exp_less),
  bits_per_byte = per(bytes, function(x) return -x / math.log(2) end),
}

--- The names of all metrics.
---@return string[]
function metrics.names()
  return sorted_keys(known)
end

---@param name string
---@return table
function metrics.find(name)
  return known[name]
end

--- Whether a metric is for tasks of a kind.
---@param name string
---@param kind string
---@return boolean
function metrics.fits(name, kind)
  local of = known[name].kind
  return of == kind or of == nil and kind ~= "rolling"
end

--- The name of a metric in results.
---@param name string
---@return string
function metrics.label(name)
  return known[name].label or name
end

--- A metric of documents, and its standard error (nil: there is none).
---@param name string
---@param docs sonde.scored[]
---@param resamples integer     of the bootstrap; 0: no standard errors
---@return number value, number|nil stderr, any[] values   of each document
function metrics.of(name, docs, resamples)
  local values = {}
  for k, doc in ipairs(docs) do values[k] = known[name].of(doc) end
  local value, stderr = known[name].sum(values, resamples)
  return value, stderr, values
end

--- A mean over tasks, each document alike: sum v n / sum n, and the pooled standard error sqrt(sum (n - 1) n e^2 /
--- (sum n - tasks) / sum n).
---@param parts {value: number, stderr: number|nil, n: integer}[]
---@return number value, number|nil stderr
function metrics.pooled(parts)
  local sum, squares, all, certain = 0, 0, 0, true
  for _, part in ipairs(parts) do
    sum, all = sum + part.value * part.n, all + part.n
    if part.stderr then squares = squares + (part.n - 1) * part.n * part.stderr * part.stderr else certain = false end
  end
  return sum / all, certain and math.sqrt(squares / (all - #parts) / all) or nil
end

return metrics
