-- The distillation scaling law: values by hand, and fits to made data.

local lu = require "luaunit"
local law = require "sonde.distill.law"

local SUPERVISED = { E = 1.5, A = 2000, B = 15000, a = 0.38, b = 0.45, g = 0.5 }
local STUDENT = { A = 1800, B = 20000, a = 0.3, b = 0.6, g = 0.8, c0 = 2.2, c1 = 400, d1 = 1.25, f1 = 0.1 }

local function close(a, b, tolerance, what)
  lu.assertTrue(math.abs(a - b) <= tolerance * math.abs(b), (what or "") .. " " .. a .. " for " .. b)
end

local function supervised_rows()
  local rows = {}
  for _, n in ipairs { 1e7, 4e7, 1.6e8, 6.4e8, 2.5e9 } do
    for _, d in ipairs { 1e9, 4e9, 1.6e10, 6.4e10 } do
      rows[#rows + 1] = { parameters = n, tokens = d, loss = law.loss(SUPERVISED, n, d) }
    end
  end
  return rows
end

local function student_rows()
  local rows = {}
  for _, row in ipairs(supervised_rows()) do
    for _, teacher_loss in ipairs { 2.0, 2.3, 2.7, 3.2 } do
      rows[#rows + 1] = { parameters = row.parameters, tokens = row.tokens, teacher_loss = teacher_loss,
        loss = law.predict(STUDENT, SUPERVISED, row.parameters, row.tokens, teacher_loss) }
    end
  end
  return rows
end

TestLaw = {}

function TestLaw:test_values_by_hand()
  local one = { E = 1, A = 8, B = 27, a = 1, b = 1, g = 1 }
  lu.assertAlmostEquals(law.loss(one, 4, 9), 1 + 2 + 3, 1e-12)
  local student = { A = 8, B = 27, a = 1, b = 1, g = 2, c0 = 1, c1 = 3, d1 = 0.5, f1 = 0.5 }
  -- 2 + 1/2 (1 + (2 / (6 0.5))^2)^-1.5 5^2
  lu.assertAlmostEquals(law.predict(student, one, 4, 9, 2), 2 + 0.5 * (1 + 4 / 9) ^ -1.5 * 25, 1e-12)
end

function TestLaw:test_made_data_give_their_coefficients()
  local fit = law.supervised(supervised_rows())
  for _, row in ipairs(supervised_rows()) do close(law.loss(fit, row.parameters, row.tokens), row.loss, 1e-3) end
  for name, value in pairs(SUPERVISED) do close(fit[name], value, 1e-3, name) end
  local student = law.student(student_rows(), fit)
  for _, row in ipairs(student_rows()) do
    close(law.predict(student, fit, row.parameters, row.tokens, row.teacher_loss), row.loss, 0.01)
  end
  -- between the sizes and the teachers that were fitted
  close(law.predict(student, fit, 8e7, 8e9, 2.5), law.predict(STUDENT, SUPERVISED, 8e7, 8e9, 2.5), 0.01)
  -- A', B' and g' trade against each other, and so do c1 and d1
  for _, name in ipairs { "a", "b", "g", "c0", "d1", "f1" } do close(student[name], STUDENT[name], 0.08, name) end
end

function TestLaw:test_too_few_models_have_no_law()
  local rows = supervised_rows()
  lu.assertNil(law.supervised { table.unpack(rows, 1, 6) })
  lu.assertNil(law.student({ table.unpack(student_rows(), 1, 9) }, SUPERVISED))
end

os.exit(lu.LuaUnit.run("-o", "tap"), true)
