-- Which teacher is best for a student of S parameters?
--
-- The question of Towards the Law of Capacity Gap in Distilling Language Models (Zhang et al., 2023), which answers a
-- teacher of 2.5 S. Teachers of several sizes are trained by one recipe; from each, students of several sizes are cut
-- out and learn from it, beside the same students without a teacher and students from scratch, at equal training tokens
-- and at equal total tokens. doc/distillation.md says what is fitted to the curves.
--
--   sonde run experiments/capacity_gap.lua                             minutes on two cores
--   sonde run experiments/capacity_gap.lua --set scale=workstation     hours; goes on where it was interrupted
--   sonde run experiments/capacity_gap.lua --set scale=paper           says what it needs, runs nothing
--
-- Settings are in capacity_gap/SCALE.yaml. Further axes: --set "weight=[0.25, 0.5, 1]", "temperature=[1, 4]",
-- "tokens=[..]", "teacher_tokens=[..]", "arms=[distilled, random]"; what could explain a curve without a lowest point
-- is varied by --set scale=variations. A student of another size, from the line: --set recommend=200000. Students of
-- the teachers that a policy chooses, not of all: --set search.policy=bayes

local sonde = require "sonde"

local study = sonde.experiment "capacity_gap"
local wanted = study.settings.recommend
if type(wanted) ~= "number" or not (wanted == 0 or wanted >= 1 and wanted < math.huge) then
  error("recommend is the parameters of a student, 0 for none; not " .. tostring(wanted), 0)
end
local options = { name = study.name, title = "The law of the capacity gap, " .. study.scale .. " scale",
  corpus = study.corpus, vocab = study.vocab }
for key, value in pairs(study.settings) do options[key] = value end
for _, key in ipairs { "scale", "text", "recommend" } do options[key] = nil end
options.corpus = study.corpus

local found = sonde.capacity_gap(options)
if found and wanted > 0 then
  local said = found.recommend(wanted)
  print(("a student of %d parameters: %s"):format(wanted, said.teacher
    and ("a teacher of %.0f (%s)"):format(said.teacher, said.why) or said.why))
end
