--- law.lua - the law of Busbridge et al., Distillation Scaling Laws (2025, arXiv 2502.08606), eq. 8:
--
--   L_S = L_T + L_T^-c0 (1 + (L_T / (L~_S d1))^(1/f1))^(-c1 f1) (A'/N^a' + B'/D^b')^g'
--   L~_S = L(N, D) = E + (A/N^a + B/D^b)^g
--
-- N and D are the student's parameters and training tokens, L~_S what it reaches without a teacher. The teacher enters
-- through its cross-entropy L_T alone. All coefficients are above 0 and fitted in their logarithms, to the logarithm of
-- the loss. Many sets of them give nearly the same losses: what is fitted predicts, its coefficients say little where
-- sizes and tokens span less than a factor of ten.

local simplex = require "sonde.base.simplex"

local law = {}

-- Where searches begin: about the values that the paper has for large models, and a flatter curve.
local SUPERVISED = { "E", "A", "B", "a", "b", "g" }
local SUPERVISED_STARTS = { { 1.2, 3000, 18000, 0.4, 0.43, 0.45 }, { 2, 10, 10, 0.3, 0.3, 1 } }
local STUDENT = { "A", "B", "a", "b", "g", "c0", "c1", "d1", "f1" }
local STUDENT_STARTS = { { 2200, 24000, 0.32, 0.64, 0.76, 2.5, 500, 1.3, 0.09 },
  { 10, 10, 0.3, 0.3, 1, 1, 10, 1.3, 0.3 } }
local STEP, MOVES = 0.3, 800

local function term(fit, n, d)
  return (fit.A / n ^ fit.a + fit.B / d ^ fit.b) ^ fit.g
end

--- The loss of a model of n parameters after d tokens without a teacher.
---@param fit table      from law.supervised
---@param n number
---@param d number
---@return number
function law.loss(fit, n, d)
  return fit.E + term(fit, n, d)
end

--- The loss of a student of n parameters that learns from a teacher of that loss for d tokens.
---@param fit table            from law.student
---@param supervised table     from law.supervised
---@param n number
---@param d number
---@param teacher_loss number
---@return number
function law.predict(fit, supervised, n, d, teacher_loss)
  local ratio = (teacher_loss / (law.loss(supervised, n, d) * fit.d1)) ^ (1 / fit.f1)
  return teacher_loss + teacher_loss ^ -fit.c0 * (1 + ratio) ^ (-fit.c1 * fit.f1) * term(fit, n, d)
end

local function named(names, x)
  local fit = {}
  for k, name in ipairs(names) do fit[name] = math.exp(x[k]) end
  return fit
end

-- The coefficients of least squared error of the log loss, from the best of the starts.
local function fitted(names, starts, rows, predict)
  if #rows <= #names then return nil end
  local function misfit(x)
    local fit, sum = named(names, x), 0
    for _, row in ipairs(rows) do sum = sum + math.log(predict(fit, row) / row.loss) ^ 2 end
    return sum
  end
  local best, least
  for _, start in ipairs(starts) do
    local x = {}
    for k, value in ipairs(start) do x[k] = math.log(value) end
    local at, y = simplex.least(misfit, x, STEP, MOVES)
    if y < math.huge and (not least or y < least) then best, least = at, y end
  end
  return best and named(names, best)
end

--- L(N, D) from models that were trained without a teacher; nil where there are not more of them than coefficients.
---@param rows {parameters: number, tokens: number, loss: number}[]
---@return table|nil
function law.supervised(rows)
  return fitted(SUPERVISED, SUPERVISED_STARTS, rows, function(fit, row)
    return law.loss(fit, row.parameters, row.tokens)
  end)
end

--- The law's coefficients from students; nil where there are not more of them than coefficients.
---@param rows {parameters: number, tokens: number, teacher_loss: number, loss: number}[]
---@param supervised table
---@return table|nil
function law.student(rows, supervised)
  return fitted(STUDENT, STUDENT_STARTS, rows, function(fit, row)
    return law.predict(fit, supervised, row.parameters, row.tokens, row.teacher_loss)
  end)
end

return law
